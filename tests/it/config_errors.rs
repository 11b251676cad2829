//! Settings files: the examples resolve, and every mistake is answered with its line, key and next step.

use std::path::{Path, PathBuf};
use std::time::Duration;

use vcp_line::config::{ConfigError, LineConfig, load, parse, raw, read};
use vcp_line::publish::outbox::Fsync;

fn pipelines() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines")
}

fn good() -> String {
    std::fs::read_to_string(pipelines().join("launch.toml")).expect("the example is there")
}

fn mistakes(text: &str) -> String {
    match parse(text, Path::new("line.toml")) {
        Err(error @ ConfigError::Invalid { .. }) => error.to_string(),
        other => panic!("expected mistakes, got {other:?}"),
    }
}

/// The one mistake that changing `from` to `to` in a good file makes.
fn mistake(from: &str, to: &str) -> String {
    let text = good();
    assert!(text.contains(from), "the example has no {from}");
    mistakes(&text.replacen(from, to, 1))
}

fn resolved(text: &str) -> LineConfig {
    parse(text, Path::new("/etc/vcp-line/line.toml")).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_example_resolves() {
    let mut seen = 0;
    for entry in std::fs::read_dir(pipelines()).expect("pipelines/") {
        let path = entry.expect("entry").path();
        let text = std::fs::read_to_string(&path).expect("text");
        let config = parse(&text, &path).unwrap_or_else(|error| panic!("{error}"));
        // The folder that README and the example line name as well, or the model that the package brings.
        let shipped = path.ends_with("synthetic.toml");
        let bundle = if shipped { "/usr/share/vcp-line/engines/vcp-demo" } else { "/var/lib/vcp-line/models/vcp-clip" };
        assert_eq!(config.engine.bundle, Path::new(bundle), "{}", path.display());
        seen += 1;
    }
    assert_eq!(seen, 9);
}

#[test]
fn the_reference_shows_every_key() {
    let text = std::fs::read_to_string(pipelines().join("reference.toml")).expect("text");
    let sections: [(&str, &[&str]); 23] = [
        ("top level", raw::TOP_LEVEL),
        ("model", read::keys_of::<raw::RawModel>()),
        ("model.remote", read::keys_of::<raw::RawRemote>()),
        ("recipe", read::keys_of::<raw::RawRecipe>()),
        ("mqtt", read::keys_of::<raw::RawMqtt>()),
        ("commands", read::keys_of::<raw::RawCommands>()),
        ("http", read::keys_of::<raw::RawHttp>()),
        ("trigger", read::keys_of::<raw::RawTrigger>()),
        ("levels", read::keys_of::<raw::RawLevels>()),
        ("sparkplug", read::keys_of::<raw::RawSparkplug>()),
        ("outbox", read::keys_of::<raw::RawOutbox>()),
        ("archive", read::keys_of::<raw::RawArchive>()),
        ("self_test", read::keys_of::<raw::RawSelfTest>()),
        ("traces", read::keys_of::<raw::RawTraces>()),
        ("stop", read::keys_of::<raw::RawStop>()),
        ("camera", read::keys_of::<raw::RawCamera>()),
        ("directory", read::keys_of::<raw::RawDirectory>()),
        ("v4l2", read::keys_of::<raw::RawV4l2>()),
        ("rtsp", read::keys_of::<raw::RawRtsp>()),
        ("aravis", read::keys_of::<raw::RawAravis>()),
        ("file", read::keys_of::<raw::RawFile>()),
        ("launch", read::keys_of::<raw::RawLaunch>()),
        ("synthetic", read::keys_of::<raw::RawSynthetic>()),
    ];
    for (section, keys) in sections {
        assert!(!keys.is_empty(), "{section}");
        for key in keys {
            let shown = text.lines().any(|line| {
                let line = line.trim_start_matches("# ");
                line.starts_with(&format!("{key} ="))
                    || line.starts_with(&format!("[{key}]"))
                    || line == format!("[[{key}]]")
            });
            assert!(shown, "{section}: reference.toml does not show '{key}'");
        }
    }
}

/// The reference claims to show the defaults: leaving its optional keys out changes nothing.
#[test]
fn the_reference_shows_the_defaults() {
    let text = std::fs::read_to_string(pipelines().join("reference.toml")).expect("text");
    let required = [
        "line",
        "bundle",
        "id",
        "defect_threshold",
        "url",
        "name",
        "source",
        "path",
        "device",
        "description",
        "classes",
        "pixel_format",
    ];
    let short: String = text
        .lines()
        .filter(|line| line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| required.contains(&key)))
        .flat_map(|line| [line, "\n"])
        .collect();
    assert_eq!(format!("{:?}", resolved(&text)), format!("{:?}", resolved(&short)));
}

#[test]
fn unknown_keys_are_named_with_what_is_near() {
    assert_eq!(
        mistake("defect_threshold", "defect_treshold"),
        "line.toml:10: recipe.defect_treshold: unknown key; did you mean 'defect_threshold'? allowed: id, version, \
         threshold, defect_threshold, min_area_px, regions, memory, calibration\n\
         line.toml: recipe.defect_threshold: missing; write defect_threshold = 0 … 1, the map value from which on a \
         pixel is defective"
    );
    assert_eq!(
        mistake("frame_size = [640, 480]", "exposure_us = 5.0"),
        "line.toml:19: camera 'top' (source = \"launch\").exposure_us: unknown key; allowed: description, name, \
         source, queue, when_full, reopen_min_ms, reopen_max_ms, frame_size, recipe, trigger, view, levels, locate"
    );
}

#[test]
fn wrong_types_are_named() {
    assert_eq!(
        mistake("defect_threshold = 0.6", "defect_threshold = 0.6\nversion = \"two\""),
        "line.toml:11: recipe.version: invalid type: string \"two\", expected u32"
    );
    assert_eq!(
        mistake("url = \"mqtt://127.0.0.1\"", "url = \"mqtt://127.0.0.1\"\nmax_queue = 2.5"),
        "line.toml:14: mqtt.max_queue: invalid type: floating point `2.5`, expected usize"
    );
    assert_eq!(
        mistake("[[camera]]\nname", "[camera]\nname"),
        "line.toml:15: camera: found table, expected one [[camera]] table (two brackets) per camera\n\
         line.toml: camera: missing; a line needs at least one [[camera]]"
    );
}

#[test]
fn values_out_of_range_are_named() {
    for (from, to, expected) in [
        (
            "defect_threshold = 0.6",
            "defect_threshold = 1.5",
            "line.toml:10: recipe.defect_threshold: 1.5 is out of range; allowed: 0 to 1 (anomaly map value)",
        ),
        (
            "defect_threshold = 0.6",
            "defect_threshold = 0.6\nthreshold = nan",
            "line.toml:11: recipe.threshold: NaN is out of range; allowed: 0 to 2 (image score, raw model units)",
        ),
        (
            "frame_size",
            "queue = 0\nframe_size",
            "line.toml:19: camera 'top'.queue: 0 is out of range; allowed: 1 to 1024 frames",
        ),
        (
            "frame_size",
            "when_full = \"wait\"\nframe_size",
            "line.toml:19: camera 'top'.when_full: \"wait\" is for a directory, or a file with realtime = false; allowed \
             here: drop-oldest, reject",
        ),
        (
            "name = \"top\"",
            "name = \"top view\"",
            "line.toml:16: camera 'top view'.name: \"top view\" is no name; allowed: letters, digits, '_' and '-', at \
             least one",
        ),
        (
            "source = \"launch\"",
            "source = \"webcam\"",
            "line.toml:17: camera 'top'.source: \"webcam\" is no kind of camera; allowed: directory, v4l2, rtsp, aravis, \
             file, launch, synthetic",
        ),
        (
            "mqtt://127.0.0.1",
            "http://127.0.0.1",
            "line.toml:13: mqtt.url: the scheme must be mqtt:// or mqtts://; allowed: mqtt://HOST or mqtt://HOST:PORT, with TLS \
             mqtts://HOST or mqtts://HOST:PORT",
        ),
        (
            "mqtt://127.0.0.1",
            "mqtt://h:0",
            "line.toml:13: mqtt.url: \"mqtt://h:0\" has no valid port; allowed: 1 to 65535",
        ),
    ] {
        assert_eq!(mistake(from, to), expected);
    }
}

#[test]
fn synthetic_products_are_checked() {
    let text = std::fs::read_to_string(pipelines().join("synthetic.toml")).expect("text");
    let mistake =
        |more: &str| mistakes(&text.replacen("classes = [\"ring\", \"leather\", \"printed-board\"]", more, 1));
    let start = "line.toml:18: camera 'top'.classes: ";
    assert!(
        mistake("classes = [\"ring\", \"rink\"]")
            .starts_with(&format!("{start}'rink' is no class of products; there are brushed-metal, wood-grain, "))
    );
    assert_eq!(mistake("classes = []"), format!("{start}is empty; name at least one"));
    assert_eq!(
        mistake(""),
        "line.toml: camera 'top'.classes: missing; write classes = [\"ring\", …], the products; `vcp-line synth --help` \
         tells how to see them"
    );
    let range = "line.toml:19: camera 'top'.difficulty: [0.5, 0.2] is no range; allowed: [LOW, HIGH] with 0 <= LOW <= \
                 HIGH <= 1";
    assert_eq!(mistake("classes = [\"ring\"]\ndifficulty = [0.5, 0.2]"), range);
    assert_eq!(
        mistake("classes = [\"ring\"]\npool = 1000\nsize = 2048"),
        "line.toml:19: camera 'top'.pool: 1000 pictures of 2048x2048 pixels take 12000 MiB; allowed: 2048 MiB"
    );
}

#[test]
fn polygons_are_checked() {
    assert_eq!(
        mistake("[600, 40], [600, 440]", "[700, 40], [600, 440]"),
        "line.toml:22: camera 'top'.recipe.regions: recipe 'cap-38mm': regions[0] has the corner [700, 40] outside the \
         frame of 640x480 pixels; draw the polygon inside it"
    );
    assert_eq!(
        mistake("[[40, 40], [600, 40], [600, 440], [40, 440]]", "[[40, 40], [600, 40]]"),
        "line.toml:22: camera 'top'.recipe.regions[0]: has 2 corners; a polygon needs at least 3"
    );
    assert_eq!(
        mistake("[600, 40], [600, 440]", "[600, 440], [600, 40]"),
        "line.toml:22: camera 'top'.recipe.regions[0]: crosses itself: side 0 and side 2 meet; list the corners in \
         order around it"
    );
}

#[test]
fn every_mistake_is_told_at_once() {
    let text = good().replacen("line = ", "lime = ", 1).replacen("0.6", "6", 1)
        + "\n[[camera]]\nname = \"top\"\nsource = \"rtsp\"\n";
    let all = mistakes(&text);
    let lines: Vec<_> = all.lines().collect();
    assert_eq!(lines.len(), 5, "{all}");
    for part in [
        "lime: unknown key; did you mean 'line'?",
        "6 is out of range",
        "\"top\" is the name of two cameras",
        "url: missing",
        "line: missing",
    ] {
        assert!(all.contains(part), "{part} is not in\n{all}");
    }
}

/// The mistakes that a `[camera.trigger]` of these lines makes.
fn trigger_mistakes(lines: &str) -> String {
    mistakes(&format!("{}\n[camera.trigger]\n{lines}\n", good()))
}

#[test]
fn triggers_are_checked() {
    let wrong = |lines, expected: &str| {
        let said = trigger_mistakes(lines);
        assert!(said.contains(expected) && said.lines().count() == 1, "{said}");
    };
    wrong("mode = \"hard\"", "camera 'top'.trigger.mode: unknown variant `hard`, expected one of `free`, `hardware`");
    wrong("mode = \"software\"\nmatch = \"time\"", "trigger.match: belongs to mode = \"matched\"; leave it out");
    wrong("window_ms = 10", "trigger.window_ms: belongs to mode = \"matched\"; leave it out");
    wrong(
        "deadline_ms = 10",
        "trigger.deadline_ms: a camera that runs free has no parts to give up; set mode, or leave it out",
    );
    wrong(
        "mode = \"matched\"\nwindow_ms = 500\ndeadline_ms = 400",
        "trigger.deadline_ms: is less than window_ms = 500; a part is given up before its frame may come",
    );
    wrong("mode = \"hardware\"\ndeadline_ms = 0", "trigger.deadline_ms: 0 is out of range; allowed: 1 to 600000");
    wrong("mod = \"free\"", "camera 'top'.trigger.mod: unknown key; did you mean 'mode'?");
}

/// aravissrc writes a format into the camera in any case, and nobody sends a software trigger: both are told before.
#[test]
fn a_genicam_camera_needs_its_format_and_a_trigger_that_somebody_gives() {
    let text = |lines: &str| {
        let head = good();
        let head = head.split("[[camera]]").next().unwrap();
        format!("{head}[[camera]]\nname = \"top\"\nsource = \"aravis\"\n{lines}\n")
    };
    let said = mistakes(&text("camera = \"10.0.0.2\""));
    assert!(
        said.ends_with(
            "camera 'top'.pixel_format: missing; write the one that the camera is set to: Mono8, Mono10, Mono12, \
             Mono14, Mono16, RGB8, BGR8, YUV422_8, YUV422_8_UYVY, BayerRG8, BayerGR8, BayerGB8, BayerBG8"
        ),
        "{said}"
    );
    let said = mistakes(&text("pixel_format = \"Mono8\"\ntrigger_source = \"Software\""));
    assert!(
        said.contains("camera 'top'.trigger_source: \"Software\" waits for a signal that this program does not send"),
        "{said}"
    );
    // What passes here is what the camera's pipeline takes.
    let said = mistakes(&text("pixel_format = \"Mono8\"\ngain = -0.5\nexposure_us = 0.5"));
    assert!(said.contains("gain: -0.5 is out of range; allowed: 0 to 100 decibels"), "{said}");
    assert!(said.contains("exposure_us: 0.5 is out of range; allowed: 1 to 60000000 microseconds"), "{said}");
}

/// What every later command would refuse does not start either.
#[test]
fn a_recipe_has_the_bounds_of_those_that_come_by_command() {
    let square = "[[40, 40], [600, 40], [600, 440], [40, 440]]";
    let regions = |count: usize| format!("regions = [{}]", vec![square; count].join(", "));
    let written = regions(1);
    assert_eq!(
        mistake(&written, &regions(65)),
        "line.toml:22: camera 'top'.recipe.regions: recipe 'cap-38mm': 65 regions are too many; at most 64"
    );
    let most = resolved(&good().replacen(&written, &regions(64), 1));
    assert_eq!(most.cameras[0].plan.recipe.regions.len(), 64);
    let corners = (0..1001).map(|x| format!("[{}, 40]", x % 600)).collect::<Vec<_>>().join(", ");
    assert_eq!(
        mistake(&written, &format!("regions = [[{corners}]]")),
        "line.toml:22: camera 'top'.recipe.regions[0]: has 1001 corners; at most 1000"
    );
    let long = "c".repeat(129);
    assert_eq!(
        mistake("id = \"cap-38mm\"", &format!("id = \"{long}\"")),
        "line.toml:9: recipe.id: has 129 characters; allowed: 1 to 128"
    );
    assert!(most.cameras[0].plan.recipe.check().is_ok());
}

#[test]
fn names_that_no_command_can_say_are_refused() {
    let long = "c".repeat(129);
    let said = mistake("name = \"top\"", &format!("name = \"{long}\""));
    assert!(
        said.starts_with("line.toml:16: camera '") && said.ends_with("'.name: has 129 characters; allowed: 1 to 128")
    );
    let with = |more: &str| mistake("url = \"mqtt://127.0.0.1\"", &format!("url = \"mqtt://127.0.0.1\"\n{more}"));
    assert_eq!(
        with(&format!("client_id = \"{}\"", "p".repeat(70_000))),
        "line.toml:14: mqtt.client_id: has 70000 characters; allowed: 1 to 200, none of them a control character"
    );
    assert_eq!(
        with(&format!("prefix = \"{}\"", vec!["plant"; 100].join("/"))),
        "line.toml:14: mqtt.prefix: has 599 bytes; allowed: 1 to 512"
    );
    for (prefix, mistake) in [
        ("plant/+", "has a '+' or '#', with which only readers may ask for several topics; leave it out"),
        ("#", "has a '+' or '#', with which only readers may ask for several topics; leave it out"),
        ("plant/", "ends with '/', which would make an empty level; leave it out"),
        ("$SYS/plant", "begins with '$', which is kept for the broker's own topics; leave it out"),
        ("a\\nb", "has control characters; leave them out"),
        ("", "is empty; write the first levels of every topic, such as vcp-line"),
    ] {
        assert_eq!(with(&format!("prefix = \"{prefix}\"")), format!("line.toml:14: mqtt.prefix: {mistake}"));
    }
    for prefix in ["acme.corp/Plant 1/line", "umh/v1/acme/k\u{f6}ln", "/factory/line", "plant//caps"] {
        let text = good().replacen("url = ", &format!("prefix = \"{prefix}\"\nusername = \"TOKEN\"\nurl = "), 1);
        let mqtt = parse(&text, Path::new("line.toml")).unwrap().mqtt;
        assert_eq!((mqtt.prefix.as_str(), mqtt.user), (prefix, Some(("TOKEN".to_owned(), None))));
    }
    for line in ["+", "a/b", "#", "\u{fc}", ""] {
        assert_eq!(
            mistakes(&good().replacen("line = \"launch\"", &format!("line = \"{line}\""), 1)),
            format!("line.toml:3: line: \"{line}\" is no name; allowed: letters, digits, '_' and '-', at least one")
        );
    }
}

/// The verdicts of a camera `cmd` would come back to the line as commands called `verdict`.
#[test]
fn cameras_have_names_of_their_own() {
    for word in ["cmd", "ack", "state"] {
        assert_eq!(
            mistake("name = \"top\"", &format!("name = \"{word}\"")),
            format!(
                "line.toml:16: camera '{word}'.name: \"{word}\" is a topic of the line itself (PREFIX/LINE/{word}); choose \
                 another name"
            )
        );
    }
    let second = "\n[[camera]]\nname = \"Top\"\nsource = \"launch\"\ndescription = \"videotestsrc ! appsink\"\n";
    let said = mistakes(&(good() + second));
    let capitals = "camera.name: \"Top\" and \"top\" differ only in capitals, which not every disk and host tells apart; \
                    give each its own name";
    assert!(said.ends_with(capitals) && said.lines().count() == 1, "{said}");
}

#[test]
fn times_that_contradict_each_other_are_refused() {
    let with = |deadline: u64, outbox: &str| {
        format!("{}\n[camera.trigger]\nmode = \"software\"\ndeadline_ms = {deadline}\n[outbox]\n{outbox}\n", good())
    };
    let said = mistakes(&with(400, "fsync_ms = 500"));
    let expected = "outbox.fsync_ms: 500 is more than deadline_ms = 400 of a camera: its parts would be due before they \
                    are on disk; allowed: 1 to 400";
    assert!(said.ends_with(expected) && said.lines().count() == 1, "{said}");
    let pause = |text: &str| resolved(text).outbox.fsync;
    assert_eq!(pause(&with(400, "fsync_ms = 400")), Fsync::Batch(Duration::from_millis(400)));
    // The usual pause gives way by itself.
    assert_eq!(pause(&with(5, "")), Fsync::Batch(Duration::from_millis(5)));
    assert_eq!(pause(&with(400, "")), Fsync::Batch(Duration::from_millis(20)));
    let url = "url = \"mqtt://127.0.0.1\"";
    assert_eq!(
        mistake(url, &format!("{url}\nreconnect_min_ms = 500\nreconnect_max_ms = 400")),
        "line.toml:15: mqtt.reconnect_max_ms: 400 is less than reconnect_min_ms = 500"
    );
    assert_eq!(
        mistake("frame_size", "reopen_min_ms = 500\nreopen_max_ms = 400\nframe_size"),
        "line.toml:20: camera 'top'.reopen_max_ms: 400 is less than reopen_min_ms = 500"
    );
}

#[test]
fn an_address_that_others_reach_needs_a_token() {
    let with = |http: &str| format!("{http}\n{}", good().replacen("line = ", "# ", 1));
    let said = |http: &str| mistakes(&with(&format!("line = \"caps\"\n[http]\n{http}")));
    let open = said("listen = \"0.0.0.0:8710\"");
    assert_eq!(
        open,
        "line.toml:3: http.listen: 0.0.0.0:8710 can be reached from other computers, which needs a token: write one into a \
         file and name that as token_file, or listen on 127.0.0.1"
    );
    assert!(said("listen = \"8710\"").contains("\"8710\" is no address; write ADDRESS:PORT as in 127.0.0.1:8710"));
    assert!(said("token_file = \"x\"").contains("http.token_file: needs listen = \"127.0.0.1:8710\" beside it"));
    let fine = resolved(&with("line = \"caps\"\n[http]\nlisten = \"[::1]:8710\""));
    assert_eq!(fine.http.expect("wanted").listen.port(), 8710);
}

#[test]
fn broken_toml_has_its_line() {
    assert!(mistakes("line = \"a\"\n[model\n").starts_with("line.toml:2:"));
}

#[test]
fn what_is_not_there_is_named() {
    let folder = tempfile::tempdir().expect("temp dir");
    let absent = folder.path().join("absent.toml");
    assert_eq!(
        load(&absent).expect_err("absent").to_string(),
        format!(
            "{}: No such file or directory (os error 2); name an existing settings file, \
             /usr/share/vcp-line/pipelines/reference.toml shows every key",
            absent.display()
        )
    );
    let text = std::fs::read_to_string(pipelines().join("directory.toml"))
        .expect("text")
        .replace("/var/lib/vcp-line/models/", "")
        .replace("url = ", "username = \"line\"\npassword_file = \"secret\"\nurl = ");
    let path = folder.path().join("line.toml");
    std::fs::write(&path, text).expect("written");
    let (file, base) = (path.display(), folder.path().display());
    assert_eq!(
        load(&path).expect_err("three files are absent").to_string(),
        format!(
            "{file}:6: model.bundle: no folder at {base}/vcp-clip; make it with `vcp-line model import`\n\
             {file}:14: mqtt.password_file: {base}/secret: No such file or directory (os error 2); write the password \
             into this file and let the service's user read it\n\
             {file}:20: camera 'top'.path: no folder at {base}/images; name one with images"
        )
    );
}

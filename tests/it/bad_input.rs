//! What people get wrong, each with the exact words and exit code of the real program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::line::{FOLDER, finished, model, pictures, settings};
use crate::support::mosquitto::{Mosquitto, Rules, free_port};

/// Exit code of a configuration that must be changed.
const CONFIG: i32 = 78;
/// Exit code of a command line that must be changed.
const ARGUMENTS: i32 = 2;

/// A folder with the settings `line.toml` and the pictures `parts`.
struct Place(tempfile::TempDir);

impl Place {
    fn new(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        pictures(&folder.path().join("parts"));
        fs::write(folder.path().join("line.toml"), settings).unwrap();
        Self(folder)
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// Exit code, standard output and standard error without log lines.
    fn call(&self, command: &str) -> (i32, String, String) {
        call(&[command, &self.file("line.toml")])
    }
}

fn call(arguments: &[&str]) -> (i32, String, String) {
    let done = finished(&[&["--log", "off"], arguments].concat());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code().expect("it ends by itself"), text(done.stdout), text(done.stderr))
}

/// `run` and `check` refuse with the same words, also as systemd calls it before the start.
fn refused(place: &Place, message: &str) {
    let expected = format!("vcp-line: {message}\n");
    for command in ["check", "run"] {
        let (code, _, error) = place.call(command);
        assert_eq!((code, error.as_str()), (CONFIG, expected.as_str()), "{command}");
    }
    let (code, _, error) = call(&["check", "--before-start", &place.file("line.toml")]);
    assert_eq!((code, error), (CONFIG, expected));
}

/// Settings with one thing changed.
fn changed(from: &str, to: &str) -> Place {
    let text = settings(free_port(), FOLDER);
    assert!(text.contains(from), "{text}");
    Place::new(&text.replace(from, to))
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_known_ones() {
    let place = changed("threads = 1", "thread = 1");
    refused(
        &place,
        &format!(
            "{}:5: model.thread: unknown key; did you mean 'threads'? \
 allowed: bundle, engine, precision, max_batch, threads, plan, scales, rebuild_plan, remote",
            place.file("line.toml")
        ),
    );
}

#[test]
fn a_value_of_the_wrong_type_is_named() {
    let place = changed("threads = 1", "threads = \"all\"");
    let message = "model.threads: invalid type: string \"all\", expected usize";
    refused(&place, &format!("{}:5: {message}", place.file("line.toml")));
}

#[test]
fn a_threshold_out_of_range_is_named_with_the_range() {
    let place = changed("defect_threshold = 0.5", "defect_threshold = 1.5");
    let message = "recipe.defect_threshold: 1.5 is out of range; allowed: 0 to 1 (anomaly map value)";
    refused(&place, &format!("{}:8: {message}", place.file("line.toml")));
}

#[test]
fn files_that_are_missing_are_named() {
    let place = changed("path = \"parts\"", "path = \"elsewhere\"");
    let message = format!("camera 'top'.path: no folder at {}; name one with images", place.file("elsewhere"));
    refused(&place, &format!("{}:16: {message}", place.file("line.toml")));

    let absent = place.file("absent.toml");
    for command in ["check", "run"] {
        let (code, _, error) = call(&[command, &absent]);
        let expected = format!(
            "vcp-line: {absent}: No such file or directory (os error 2); \
             name an existing settings file, /usr/share/vcp-line/pipelines/reference.toml shows every key\n"
        );
        assert_eq!((code, error), (CONFIG, expected));
    }
}

#[test]
fn a_polygon_outside_the_frame_is_found_without_or_with_the_camera() {
    let place = changed(
        "path = \"parts\"",
        "path = \"parts\"\nframe_size = [640, 480]\n[camera.recipe]\nregions = [[[0, 0], [700, 0], [10, 10]]]",
    );
    let message = "recipe 'cap': regions[0] has the corner [700, 0] outside the frame of 640x480 pixels; \
                   draw the polygon inside it";
    refused(&place, &format!("{}:19: camera 'top'.recipe.regions: {message}", place.file("line.toml")));

    // The first picture is 64x48.
    let place =
        changed("path = \"parts\"", "path = \"parts\"\n[camera.recipe]\nregions = [[[0, 0], [70, 0], [10, 10]]]");
    let message = "recipe 'cap': regions[0] has the corner [70, 0] outside the frame of 64x48 pixels; \
                   draw the polygon inside it";
    let (code, said, _) = place.call("check");
    assert_eq!(code, CONFIG);
    assert!(said.contains(&format!("FAIL  camera top   {message}\n")), "{said}");
    let (code, _, error) = place.call("run");
    assert_eq!((code, error), (CONFIG, format!("vcp-line: camera 'top': {message}\n")));
}

#[test]
fn a_broker_that_refuses_fails_the_check() {
    let port = free_port();
    let place = Place::new(&settings(port, FOLDER));
    let (code, said, error) = place.call("check");
    let expected = format!(
        "FAIL  broker       broker 127.0.0.1:{port} refuses connections; is it running, and is the port right?"
    );
    assert!(said.lines().any(|line| line == expected), "{said}");
    assert_eq!((code, error.as_str()), (1, "vcp-line: 1 of the checks above failed\n"));
    // It may be up when the service is: no reason not to start.
    assert_eq!(call(&["check", "--before-start", &place.file("line.toml")]).0, 0);
}

#[cfg(feature = "gstreamer")]
#[test]
fn a_camera_that_is_absent_fails_the_check() {
    let broker = Mosquitto::start(Rules::default());
    let port = free_port();
    let url = format!("rtsp://127.0.0.1:{port}/line");
    let table = format!("[[camera]]\nname = \"top\"\nsource = \"rtsp\"\nurl = \"{url}\"\n");
    let place = Place::new(&settings(broker.port, &table));
    let (code, said, error) = place.call("check");
    let line = said.lines().find(|line| line.starts_with("FAIL")).expect("a failure");
    assert!(line.starts_with(&format!("FAIL  camera top   camera 'top' ({url}) is not reachable: ")), "{line}");
    assert_eq!((code, error.as_str()), (1, "vcp-line: 1 of the checks above failed\n"));
}

#[test]
fn a_good_line_passes_every_check() {
    let broker = Mosquitto::start(Rules::default());
    let (code, said, error) = Place::new(&settings(broker.port, FOLDER)).call("check");
    assert_eq!((code, error.as_str()), (0, ""), "{said}");
    let checks: Vec<&str> =
        said.lines().filter_map(|line| line.strip_prefix("ok    ")).map(|line| &line[..12]).collect();
    let expected = [
        "settings    ",
        "model       ",
        "camera top  ",
        "broker      ",
        "outbox      ",
        "engine      ",
        "time top    ",
    ];
    assert_eq!(checks, expected, "{said}");
}

/// A copy of the model, to be damaged.
fn model_copy(folder: &Path) -> PathBuf {
    let copy = folder.join("model");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(model()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    copy
}

#[test]
fn a_damaged_model_bundle_is_a_wrong_configuration() {
    let place = Place::new("");
    let copy = model_copy(place.0.path());
    let weights = copy.join("weights.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&weights, bytes).unwrap();
    let text = settings(free_port(), FOLDER).replace(model().to_str().unwrap(), copy.to_str().unwrap());
    fs::write(place.file("line.toml"), text).unwrap();
    let start = format!("vcp-line: model bundle damaged: {}: ", copy.display());
    let image = place.file("parts/00.png");
    for arguments in [
        vec!["check", &place.file("line.toml")],
        vec!["check", "--before-start", &place.file("line.toml")],
        vec!["run", &place.file("line.toml")],
        vec!["inspect", "--engine", "reference", "--model", copy.to_str().unwrap(), &image],
        vec!["model", "info", copy.to_str().unwrap()],
    ] {
        let (code, _, error) = call(&arguments);
        assert!(error.starts_with(&start), "{arguments:?}: {error}");
        assert!(error.ends_with("; import it again with `vcp-line model import`\n"), "{arguments:?}: {error}");
        assert_eq!((code, error.lines().count()), (CONFIG, 1), "{arguments:?}");
    }
}

#[test]
fn a_model_that_is_not_there_is_named() {
    let place = Place::new("");
    let absent = place.file("absent");
    let (code, said, error) =
        call(&["inspect", "--engine", "reference", "--model", &absent, &place.file("parts/00.png")]);
    let start = format!("vcp-line: no model bundle at {absent}: ");
    assert!(error.starts_with(&start) && error.ends_with("; make one with `vcp-line model import`\n"), "{error}");
    assert_eq!((code, said.as_str()), (ARGUMENTS, ""));
}

#[test]
fn an_unreadable_image_does_not_keep_the_others_from_being_inspected() {
    let place = Place::new("");
    let torn = place.file("torn.png");
    let whole = fs::read(place.file("parts/00.png")).unwrap();
    fs::write(&torn, &whole[..whole.len() / 2]).unwrap();
    let absent = place.file("absent.png");
    let images = [place.file("parts/00.png"), torn.clone(), absent.clone(), place.file("parts/01.bmp")];
    let mut arguments = vec!["inspect", "--engine", "reference", "--model", model().to_str().unwrap()];
    arguments.extend(images.iter().map(String::as_str));
    let (code, said, error) = call(&arguments);
    let inspected: Vec<serde_json::Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = inspected.iter().map(|line| line["image"].as_str().unwrap()).collect();
    assert_eq!(names, [images[0].as_str(), images[3].as_str()]);
    let errors: Vec<&str> = error.lines().collect();
    assert!(errors[0].starts_with(&format!("vcp-line: image {torn}: ")), "{error}");
    assert_eq!(errors[1], format!("vcp-line: image {absent}: No such file or directory (os error 2)"));
    assert_eq!((errors[2], errors.len()), ("vcp-line: 2 of 4 images could not be read", 3));
    assert_eq!(code, 1);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let place = Place::new("");
    // Below a file there is no folder, not even for root.
    let blocked = place.file("line.toml/maps");
    let image = place.file("parts/00.png");
    let arguments =
        ["inspect", "--engine", "reference", "--model", model().to_str().unwrap(), "--maps", &blocked, &image];
    let (code, said, error) = call(&arguments);
    let expected = format!(
        "vcp-line: no folder at {blocked}, and none can be made; name another: Not a directory (os error 20)\n"
    );
    assert_eq!((code, said.as_str(), error), (1, "", expected));
}

/// A disk of one mebibyte.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(folder.path()).status();
        status.is_ok_and(|status| status.success()).then_some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let status = Command::new("umount").arg(self.0.path()).status();
        assert!(status.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[test]
fn an_import_onto_a_full_disk_leaves_nothing_behind() {
    let Some(disk) = SmallDisk::mount() else {
        assert!(std::env::var_os("CI").is_none(), "under CI this test needs the right to mount a tmpfs (root)");
        println!("NOT TESTED: mounting a small tmpfs needs root");
        return;
    };
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/oracle/tiny");
    let [clip, vcp] = ["clip.pt", "vcp.pth"].map(|name| fixtures.join(name).to_str().unwrap().to_owned());
    let out = disk.0.path().join("bundle").to_str().unwrap().to_owned();
    let (code, _, error) =
        call(&["model", "import", "--clip", &clip, "--vcp", &vcp, "--image-size", "98", "--output", &out]);
    let said = error.lines().last().unwrap();
    assert!(said.starts_with(&format!("vcp-line: disk full while writing model bundle {out} (up to ")), "{error}");
    assert!(said.ends_with(" bytes needed); free some space; nothing was left behind"), "{error}");
    assert_eq!(code, 1);
    assert!(fs::read_dir(disk.0.path()).unwrap().next().is_none());
}

#[test]
fn an_import_of_the_wrong_file_says_what_was_expected() {
    let place = Place::new("");
    let (wrong, out) = (place.file("parts/00.png"), place.file("bundle"));
    let (code, _, error) =
        call(&["model", "import", "--clip", &wrong, "--vcp", &wrong, "--image-size", "98", "--output", &out]);
    let said = error.lines().last().unwrap();
    assert!(said.starts_with(&format!("vcp-line: {wrong} is not a weight file: ")), "{error}");
    assert!(said.ends_with("; expected a TorchScript archive, a torch.save file or safetensors"), "{error}");
    assert_eq!(code, 1);
    assert!(!Path::new(&out).exists());
}

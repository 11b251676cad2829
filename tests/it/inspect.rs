//! `vcp-line inspect`: folders, names of all kinds, equal names, and a line's recipe.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use image::GrayImage;
use serde_json::Value;

use crate::support::events::{events, is_verdict};
use crate::support::line::{FOLDER, Line, Running, finished, model, pictures, program, settings};
use crate::support::mosquitto::{Mosquitto, Rules, Subscriber, free_port};

/// Exit code, what was said as JSON, and standard error.
fn inspect(arguments: &[&OsStr]) -> (i32, Vec<Value>, String) {
    let mut command = program(&["--log", "off", "inspect", "--engine", "reference", "--threads", "1"]);
    command.args(arguments);
    let mut running = Running::start(command);
    let code = running.end().code().unwrap();
    let said = running.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (code, said, running.stderr())
}

fn picture(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    GrayImage::from_fn(64, 48, |x, y| image::Luma([(x * 3 + y) as u8])).save(path).unwrap();
}

/// Paths of files in a folder, sorted.
fn files(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(root, &path, found) } else { found.push(path.strip_prefix(root).unwrap().to_owned()) }
    }
    found.sort();
}

#[test]
fn equal_names_are_inspected_and_their_outputs_keep_their_folders() {
    let place = tempfile::tempdir().unwrap();
    let [a, b] = ["a/000.png", "b/000.png"].map(|name| place.path().join(name));
    [&a, &b].into_iter().for_each(|path| picture(path));
    let with = ["--model".as_ref(), model().as_os_str()];
    let (code, said, error) = inspect(&[&with[..], &[a.as_os_str(), b.as_os_str()]].concat());
    assert_eq!((code, said.len()), (0, 2), "{error}");
    let out = place.path().join("out");
    let outputs = ["--maps".as_ref(), out.as_os_str(), "--overlays".as_ref(), out.as_os_str()];
    let (code, _, error) = inspect(&[&with[..], &outputs, &[a.as_os_str(), b.as_os_str()]].concat());
    assert_eq!(code, 0, "{error}");
    let mut written = Vec::new();
    files(&out, &out, &mut written);
    assert_eq!(written, ["a/000.npy", "a/000.png", "b/000.npy", "b/000.png"].map(PathBuf::from));
}

#[test]
fn a_folder_gives_its_pictures_in_natural_order_and_a_damaged_one_does_not_end_it() {
    let place = tempfile::tempdir().unwrap();
    let inside = |name: &str| place.path().join("in").join(name);
    ["10.png", "9.png", "sub/1.png"].into_iter().for_each(|name| picture(&inside(name)));
    fs::write(inside("._9.png"), b"\0\x05\x16\x07").unwrap();
    let folder = place.path().join("in");
    let arguments = ["--model".as_ref(), model().as_os_str(), folder.as_os_str()];
    let (code, said, error) = inspect(&arguments);
    let names: Vec<PathBuf> = said.iter().map(|line| line["image"].as_str().unwrap().into()).collect();
    assert_eq!((code, names), (0, ["9.png", "10.png", "sub/1.png"].map(inside).to_vec()), "{error}");
    fs::write(inside("9.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    let (code, said, error) = inspect(&arguments);
    assert_eq!((code, said.len()), (1, 2), "{error}");
    assert!(error.contains("9.png: ") && error.ends_with("vcp-line: 1 of 3 images could not be read\n"), "{error}");
}

#[test]
fn names_that_are_no_text_are_inspected_written_and_said() {
    let place = tempfile::tempdir().unwrap();
    let names: [&[u8]; 2] = [b"gr\xfc\xdfe.png", b"gr\xf6\xdfe.png"];
    let paths = names.map(|name| place.path().join("in").join(OsStr::from_bytes(name)));
    picture(&place.path().join("in/x.png"));
    fs::copy(place.path().join("in/x.png"), &paths[0]).unwrap();
    fs::rename(place.path().join("in/x.png"), &paths[1]).unwrap();
    let maps = place.path().join("maps");
    let more = ["--model".as_ref(), model().as_os_str(), "--maps".as_ref(), maps.as_os_str()];
    let (code, said, error) = inspect(&[&more[..], &[paths[0].as_os_str(), paths[1].as_os_str()]].concat());
    assert_eq!((code, said.len()), (0, 2), "{error}");
    assert!(said[0]["image"].as_str().unwrap().ends_with("gr\u{fffd}\u{fffd}e.png"), "{}", said[0]);
    assert!(said[0]["image_bytes"].as_str().unwrap().ends_with("in/gr%FC%DFe.png"), "{}", said[0]);
    assert!(maps.join(OsStr::from_bytes(b"gr\xfc\xdfe.npy")).exists());
    assert!(maps.join(OsStr::from_bytes(b"gr\xf6\xdfe.npy")).exists());
    let (code, said, _) = inspect(&["--model".as_ref(), model().as_os_str(), place.path().join("in").as_os_str()]);
    assert_eq!((code, said.len()), (0, 2));
}

/// The same pictures through the line and through `inspect --recipe`: the same verdicts, scores and defects.
#[test]
fn a_lines_recipe_gives_the_lines_verdicts() {
    let broker = Mosquitto::start(Rules::default());
    let reader = Subscriber::start(broker.port, "vcp-line/#", &[]);
    let second = "[[camera]]\nname = \"side\"\nsource = \"v4l2\"\ndevice = \"/dev/video9\"\n";
    let recipe = |text: &str| text.replace("defect_threshold = 0.5", "defect_threshold = 0.35\nmin_area_px = 9");
    let mut line = Line::with_pictures(&recipe(&settings(broker.port, FOLDER)));
    assert_eq!(line.service.end().code(), Some(0), "{}", line.service.stderr());
    let mut verdicts = 0;
    let messages = reader.until(|message| {
        verdicts += usize::from(is_verdict(message));
        verdicts == 12
    });
    let told = events(&messages);
    let file = line.folder.path().join("other.toml");
    fs::write(&file, recipe(&settings(broker.port, &format!("{FOLDER}{second}")))).unwrap();
    let parts = line.folder.path().join("parts");
    let arguments = |camera: &'static str| {
        ["--recipe".as_ref(), file.as_os_str(), "--camera".as_ref(), OsStr::new(camera), parts.as_os_str()]
    };
    let (code, said, error) = inspect(&arguments("top"));
    assert_eq!((code, said.len()), (0, 12), "{error}");
    assert_eq!(told.len(), said.len());
    assert!(said.iter().any(|line| line["verdict"] == "fail"), "{said:?}");
    for (event, said) in told.iter().zip(&said) {
        assert_eq!(
            event["frame"]["file"].as_str().unwrap(),
            Path::new(said["image"].as_str().unwrap()).file_name().unwrap()
        );
        for key in ["verdict", "reason", "score", "threshold", "defect_threshold", "defects", "recipe", "camera"] {
            assert_eq!(event[key], said[key], "{key}");
        }
        let area: u64 =
            event["defects"].as_array().unwrap().iter().map(|defect| defect["area_px"].as_u64().unwrap()).sum();
        assert_eq!(said["area_px"], area);
    }
    for camera in ["back", ""] {
        let (code, _, error) = inspect(&arguments(camera));
        assert!(code == 2 && error.contains("has the cameras top, side"), "{error}");
    }
    let (code, _, error) = inspect(&["--recipe".as_ref(), file.as_os_str(), parts.as_os_str()]);
    assert!(code == 2 && error.contains("several cameras; name one with --camera: top, side"), "{error}");
}

#[test]
fn what_cannot_be_asked_is_said() {
    let place = tempfile::tempdir().unwrap();
    pictures(&place.path().join("parts"));
    let parts = place.path().join("parts");
    let parts = parts.to_str().unwrap();
    let shipped = finished(&["inspect", parts]);
    let said = String::from_utf8(shipped.stderr).unwrap();
    assert!(
        shipped.status.success() && said.contains("model vcp-demo, which knows synthetic products alone"),
        "{said}"
    );
    assert_eq!(finished(&["inspect", "--model", parts, "--camera", "top", parts]).status.code(), Some(2));
    let empty = place.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let done = finished(&["inspect", "--model", model().to_str().unwrap(), empty.to_str().unwrap()]);
    let error = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.code() == Some(2) && error.contains("holds no image"), "{error}");
    // Regions outside of a picture are said for that picture.
    let file = place.path().join("line.toml");
    let regions = "defect_threshold = 0.5\nregions = [[[0, 0], [60, 0], [0, 47]]]";
    fs::write(&file, settings(free_port(), FOLDER).replace("defect_threshold = 0.5", regions)).unwrap();
    let (code, said, error) = inspect(&["--recipe".as_ref(), file.as_os_str(), OsStr::new(parts)]);
    assert_eq!(code, 1);
    assert!(!said.is_empty() && error.contains("outside") && error.contains("images could not be judged"), "{error}");
}

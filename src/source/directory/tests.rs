//! The folder as a source: once and watched, with real files.

use std::sync::Arc;

use super::*;
use crate::clock::SystemClock;

const SOON: Duration = Duration::from_secs(5);

fn spec(path: &Path) -> DirectorySpec {
    DirectorySpec { path: path.to_owned(), ..DirectorySpec::default() }
}

fn open(spec: DirectorySpec) -> Result<DirectorySource, SourceError> {
    let context = SourceContext { camera: Arc::from("top"), clock: Arc::new(SystemClock) };
    DirectorySource::open(spec, context)
}

/// A grey picture of one pixel, its level telling which file it came from.
fn write(folder: &Path, name: &str, level: u8) {
    image::GrayImage::from_raw(1, 1, vec![level]).expect("one pixel").save(folder.join(name)).expect("writable");
}

fn next(source: &mut DirectorySource) -> (u64, u8) {
    let frame = source.next(SOON).expect("readable").expect("in time");
    (frame.seq, frame.image.data()[0])
}

#[test]
fn images_come_in_natural_order_and_end() {
    let folder = tempfile::tempdir().expect("temporary folder");
    for (name, level) in [("img10.png", 10), ("img2.png", 2), ("IMG1.PNG", 1), ("notes.txt.png", 99)] {
        write(folder.path(), name, level);
    }
    std::fs::write(folder.path().join("notes.txt"), "no image").expect("writable");
    let mut source = open(spec(folder.path())).expect("images");
    let frames: Vec<_> = (0..4).map(|_| next(&mut source)).collect();
    assert_eq!(frames, [(0, 1), (1, 2), (2, 10), (3, 99)]);
    assert!(matches!(source.next(SOON), Err(SourceError::Ended { .. })));
}

#[test]
fn an_unreadable_image_leaves_a_gap() {
    let folder = tempfile::tempdir().expect("temporary folder");
    write(folder.path(), "1.png", 1);
    std::fs::write(folder.path().join("2.png"), b"\x89PNG\r\n\x1a\n").expect("writable");
    write(folder.path(), "3.png", 3);
    let mut source = open(spec(folder.path())).expect("images");
    assert_eq!(next(&mut source), (0, 1));
    let error = source.next(SOON).expect_err("damaged");
    assert!(matches!(&error, SourceError::Damaged { seq: 1, file, .. } if &**file == "2.png"), "{error}");
    assert_eq!(next(&mut source), (2, 3));
}

#[test]
fn a_repeated_folder_starts_over_and_never_spins_on_nothing() {
    let folder = tempfile::tempdir().expect("temporary folder");
    write(folder.path(), "1.png", 1);
    let repeated = DirectorySpec { repeat: true, ..spec(folder.path()) };
    let mut source = open(repeated.clone()).expect("images");
    assert_eq!([next(&mut source), next(&mut source)], [(0, 1), (1, 1)]);
    std::fs::write(folder.path().join("1.png"), "damaged").expect("writable");
    let mut source = open(repeated).expect("a file");
    assert!(matches!(source.next(SOON), Err(SourceError::Damaged { .. })));
    let error = source.next(SOON).expect_err("nothing readable").to_string();
    assert!(error.ends_with("holds no image that can be read"), "{error}");
}

#[test]
fn a_watched_folder_delivers_what_arrives() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut source = open(DirectorySpec { watch: true, ..spec(folder.path()) }).expect("may be empty");
    assert!(source.next(Duration::ZERO).expect("idle").is_none());
    write(folder.path(), "1.png", 7);
    assert_eq!(next(&mut source), (0, 7));
    assert!(source.next(Duration::ZERO).expect("idle").is_none());
    source.stop();
    assert!(matches!(source.next(SOON), Err(SourceError::Ended { .. })));
}

#[test]
fn a_file_still_being_written_is_waited_for() {
    let folder = tempfile::tempdir().expect("temporary folder");
    write(folder.path(), "whole.png", 5);
    let whole = std::fs::read(folder.path().join("whole.png")).expect("written");
    std::fs::remove_file(folder.path().join("whole.png")).expect("written");
    let mut source = open(DirectorySpec { watch: true, ..spec(folder.path()) }).expect("may be empty");
    let path = folder.path().join("1.png");
    for part in [&whole[..0], &whole[..10], &whole[..30]] {
        std::fs::write(&path, part).expect("writable");
        assert!(source.next(Duration::ZERO).expect("idle").is_none());
    }
    std::fs::write(&path, &whole).expect("writable");
    assert_eq!(next(&mut source), (0, 5));
}

#[test]
fn a_file_written_anew_is_delivered_again() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut source = open(DirectorySpec { watch: true, ..spec(folder.path()) }).expect("may be empty");
    write(folder.path(), "1.png", 7);
    assert_eq!(next(&mut source), (0, 7));
    write(folder.path(), "1.png", 8);
    assert_eq!(next(&mut source), (1, 8));
}

#[test]
fn empty_and_missing_folders_are_errors() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let error = open(spec(folder.path())).err().expect("empty").to_string();
    assert!(error.contains("camera 'top'") && error.contains("holds no image (png, jpg"), "{error}");
    let missing = folder.path().join("absent");
    let error = open(spec(&missing)).err().expect("missing").to_string();
    assert!(error.contains("absent: No such file"), "{error}");
    write(folder.path(), "1.png", 1);
    assert!(open(DirectorySpec { fps: Some(0.0), ..spec(folder.path()) }).is_err());
}

#[test]
fn the_rate_is_an_upper_limit() {
    let folder = tempfile::tempdir().expect("temporary folder");
    write(folder.path(), "1.png", 1);
    write(folder.path(), "2.png", 2);
    let mut source = open(DirectorySpec { fps: Some(20.0), ..spec(folder.path()) }).expect("images");
    next(&mut source);
    let first = Instant::now();
    assert!(source.next(Duration::from_millis(1)).expect("not yet").is_none());
    next(&mut source);
    assert!(first.elapsed() >= Duration::from_millis(45));
}

fn watched(folder: &Path) -> DirectorySpec {
    DirectorySpec { watch: true, ..spec(folder) }
}

/// With a memory in another folder.
fn remembered(folder: &Path, state: &Path) -> DirectorySpec {
    let memory = MemorySpec { file: state.join("taken/top.log") };
    DirectorySpec { memory: Some(memory), ..watched(folder) }
}

fn file(source: &mut DirectorySource) -> String {
    let frame = source.next(SOON).expect("readable").expect("in time");
    frame.file.expect("named").to_string()
}

/// Nothing comes within the time that any file here takes.
fn nothing(source: &mut DirectorySource) {
    let came = source.next(Duration::from_millis(900)).expect("watched");
    assert!(came.is_none(), "{:?}", came.and_then(|frame| frame.file));
}

#[test]
fn hidden_and_unfinished_files_never_come_and_a_renamed_one_does_once() {
    let folder = tempfile::tempdir().expect("temporary folder");
    for name in ["._0.png", ".0.png", "~0.png", "0.part.png", "0.png"] {
        write(folder.path(), name, 1);
    }
    std::fs::copy(folder.path().join("0.png"), folder.path().join("1.png.filepart")).expect("copied");
    let mut source = open(watched(folder.path())).expect("watched");
    assert_eq!(file(&mut source), "0.png");
    nothing(&mut source);
    std::fs::rename(folder.path().join("1.png.filepart"), folder.path().join("1.png")).expect("renamed");
    assert_eq!(file(&mut source), "1.png");
    // What was taken keeps being taken under another name.
    std::fs::rename(folder.path().join("1.png"), folder.path().join("done-1.png")).expect("renamed");
    nothing(&mut source);
    let mut once = open(spec(folder.path())).expect("images");
    assert_eq!([file(&mut once), file(&mut once)], ["0.png", "done-1.png"]);
    assert!(matches!(once.next(SOON), Err(SourceError::Ended { .. })));
}

#[test]
fn subfolders_come_only_when_they_are_wanted_also_new_ones() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let inside = |name: &str| folder.path().join(name);
    for name in ["a", "a/b", ".hidden", "@eaDir"] {
        std::fs::create_dir(inside(name)).expect("made");
        write(&inside(name), "1.png", 1);
    }
    std::os::unix::fs::symlink(folder.path(), inside("round")).expect("linked");
    write(folder.path(), "0.png", 1);
    let mut flat = open(watched(folder.path())).expect("watched");
    assert_eq!(file(&mut flat), "0.png");
    nothing(&mut flat);
    let mut deep = open(DirectorySpec { recursive: true, ..watched(folder.path()) }).expect("watched");
    let mut names = [file(&mut deep), file(&mut deep), file(&mut deep)];
    names.sort();
    assert_eq!(names, ["0.png", "a/1.png", "a/b/1.png"]);
    std::fs::create_dir_all(inside("new/newer")).expect("made");
    write(&inside("new/newer"), "7.png", 1);
    assert_eq!(file(&mut deep), "new/newer/7.png");
    write(&inside("a/b"), "8.png", 1);
    assert_eq!(file(&mut deep), "a/b/8.png");
    // What was taken stays so when its folder has another name, and a new folder of the old name is a new one.
    std::fs::rename(inside("new"), inside("old")).expect("renamed");
    std::fs::create_dir_all(inside("new/newer")).expect("made");
    nothing(&mut deep);
    write(&inside("new/newer"), "9.png", 1);
    assert_eq!(file(&mut deep), "new/newer/9.png");
    write(&inside("old/newer"), "10.png", 1);
    assert_eq!(file(&mut deep), "old/newer/10.png");
    let mut once = open(DirectorySpec { recursive: true, ..spec(folder.path()) }).expect("images");
    assert_eq!([file(&mut once), file(&mut once)], ["0.png", "a/1.png"]);
}

#[test]
fn each_file_comes_once_across_restarts_and_a_new_content_is_a_new_part() {
    let [folder, state] = [(); 2].map(|()| tempfile::tempdir().expect("temporary folder"));
    let odd = std::ffi::OsStr::new("2 ü%.png").to_owned();
    for name in ["1.png", odd.to_str().expect("text")] {
        write(folder.path(), name, 1);
    }
    let session = Uuid::from_u128(7);
    let mut first = open(remembered(folder.path(), state.path())).expect("watched");
    for frame in 0..2 {
        file(&mut first);
        first.hand_over(session, frame);
    }
    drop(first);
    write(folder.path(), "3.png", 3);
    let mut second = open(remembered(folder.path(), state.path())).expect("watched");
    assert_eq!(file(&mut second), "3.png");
    second.hand_over(Uuid::from_u128(8), 0);
    nothing(&mut second);
    write(folder.path(), "1.png", 9);
    assert_eq!(file(&mut second), "1.png");
    second.hand_over(Uuid::from_u128(8), 1);
    drop(second);
    // The start after it finds out what the outbox knows.
    let third = remembered(folder.path(), state.path());
    let memory = &third.memory.as_ref().expect("memory").file;
    let files = open_files(memory, folder.path()).expect("readable").open;
    let of_last = |file: &&OpenFile| file.open.session == Uuid::from_u128(8);
    let fate = |file: &OpenFile| if file.name == Path::new("3.png") { Fate::Lost } else { Fate::Answered };
    let fates: Vec<_> = files.iter().filter(of_last).map(|file| (file.clone(), fate(file))).collect();
    assert_eq!(fates.len(), 2);
    settle(memory, &fates).expect("written");
    let mut third = open(third).expect("watched");
    assert_eq!(file(&mut third), "3.png");
    nothing(&mut third);
    // Another folder has other files.
    let other = tempfile::tempdir().expect("temporary folder");
    write(other.path(), "3.png", 3);
    assert_eq!(file(&mut open(remembered(other.path(), state.path())).expect("watched")), "3.png");
}

#[test]
fn a_file_that_never_becomes_whole_is_told_once_and_holds_up_nobody() {
    let folder = tempfile::tempdir().expect("temporary folder");
    std::fs::write(folder.path().join("1.png"), b"\x89PNG\r\n\x1a\n").expect("writable");
    std::fs::write(folder.path().join("2.png"), "").expect("writable");
    write(folder.path(), "3.png", 3);
    let mut source = open(watched(folder.path())).expect("watched");
    assert_eq!(file(&mut source), "3.png");
    let mut told = Vec::new();
    while told.len() < 2 {
        match source.next(Duration::from_secs(8)) {
            Err(SourceError::Damaged { seq, file, .. }) => told.push((seq, file)),
            other => panic!("{other:?}"),
        }
    }
    told.sort();
    let names: Vec<&str> = told.iter().map(|(_, file)| &**file).collect();
    assert_eq!((told[0].0, told[1].0), (1, 2));
    assert!(names.contains(&"1.png") && names.contains(&"2.png"));
    nothing(&mut source);
    write(folder.path(), "1.png", 1);
    assert_eq!(file(&mut source), "1.png");
}

#[test]
fn a_watched_folder_that_is_not_there_is_lost_for_now() {
    let place = tempfile::tempdir().expect("temporary folder");
    let folder = place.path().join("in");
    let error = open(watched(&folder)).err().expect("not there");
    assert!(
        error.is_transient() && error.to_string().contains("make or mount the folder; the line goes on"),
        "{error}"
    );
    std::fs::create_dir(&folder).expect("made");
    let mut source = open(watched(&folder)).expect("watched");
    std::fs::remove_dir(&folder).expect("deleted");
    let error = source.next(SOON).expect_err("deleted");
    assert!(error.is_transient(), "{error}");
    std::fs::create_dir(&folder).expect("made");
    write(&folder, "1.png", 1);
    assert_eq!(file(&mut open(watched(&folder)).expect("watched")), "1.png");
}

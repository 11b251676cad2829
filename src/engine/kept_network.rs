//! A large network as OpenVINO reads it: a graph, and its weights in float32 beside it. Writing both takes most of the time before
//! they are compiled, so that they stay for the next start. Checksums tell whether what stayed is still what was written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::onnx::expanded::{ExpandError, Expanded};
use super::onnx::{self, Extras, Storage};
use super::sums::Sums;
use super::{EngineError, finish, scratch};
use crate::output::{self, NewFolder, Temporary};
use crate::weights::bundle::Bundle;

const GRAPH: &str = "network.onnx";
const ABOUT: &str = "about.json";
/// Networks that stay: a line has one, while it is tried in another arithmetic two.
const MOST: usize = 2;
/// What a process that was killed while it wrote has left is certainly nobody's after so long.
const ABANDONED: Duration = Duration::from_secs(3600);

/// The files, for as long as they are read.
pub(super) struct NetworkFiles(Folder);

enum Folder {
    Kept(PathBuf),
    Once(Temporary),
}

/// Checksums of what was written.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    graph: Vec<u32>,
    weights: Vec<u32>,
}

impl NetworkFiles {
    /// Those of an earlier start, if they are whole, else new ones; `cache` is the folder that they stay in.
    pub fn of(bundle: &Bundle, extras: Extras<'_>, cache: Option<PathBuf>) -> Result<Self, EngineError> {
        let place = cache.filter(|_| !extras.watched);
        if let Some((place, key)) = place.and_then(|place| Some((place, key(bundle, extras)?))) {
            let folder = place.join(key);
            if is_whole(&folder) {
                return Ok(Self(Folder::Kept(folder)));
            }
            tidy(&place, &folder, MOST - 1);
            match kept(bundle, extras, &folder) {
                Ok(()) => return Ok(Self(Folder::Kept(folder))),
                Err(error @ EngineError::Io { .. }) => {
                    tracing::warn!("{error}; the network is not kept for the next start");
                    // The disk may be the one that is needed now.
                    tidy(&place, &folder, 0);
                }
                Err(error) => return Err(error),
            }
        }
        let folder = scratch::folder()?;
        write(bundle, extras, folder.path())?;
        Ok(Self(Folder::Once(folder)))
    }

    fn folder(&self) -> &Path {
        match &self.0 {
            Folder::Kept(folder) => folder,
            Folder::Once(folder) => folder.path(),
        }
    }

    /// The graph.
    pub fn graph(&self) -> PathBuf {
        self.folder().join(GRAPH)
    }

    /// The folder, where they stay for the next start.
    pub fn stay_in(&self) -> Option<&Path> {
        match &self.0 {
            Folder::Kept(folder) => Some(folder),
            Folder::Once(_) => None,
        }
    }

    /// Whether it is there no more: another process has made room for its own.
    pub fn are_gone(&self) -> bool {
        !self.graph().exists() || !self.weights().exists()
    }

    /// The weights that it reads.
    pub fn weights(&self) -> PathBuf {
        self.folder().join(Expanded::FILE)
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> EngineError {
    let path = path.to_owned();
    move |source| EngineError::Io { path: path.clone(), source }
}

/// Names what the files are made from: model, scales, and this very program, which decides what a graph looks like.
/// `None` where that cannot be told.
fn key(bundle: &Bundle, extras: Extras<'_>) -> Option<String> {
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(env!("CARGO_PKG_VERSION").as_bytes());
    let program = std::env::current_exe().and_then(fs::metadata).ok()?;
    let made = program.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    add(format!("{} {made:?}", program.len()).as_bytes());
    add(&serde_json::to_vec(bundle.manifest()).ok()?);
    add(&serde_json::to_vec(&extras.scales).ok()?);
    add(format!("{:?}", extras.eight_bits).as_bytes());
    Some(hex::encode(&hash.finalize()[..8]))
}

fn write(bundle: &Bundle, extras: Extras<'_>, folder: &Path) -> Result<About, EngineError> {
    let constants = finish::text_constants(bundle)?;
    let expanded = Expanded::write(bundle, extras.scales, extras.eight_bits, folder).map_err(|error| match error {
        ExpandError::Bundle(error) => EngineError::Bundle(error),
        ExpandError::Io { path, source } => EngineError::Io { path, source },
    })?;
    let graph = onnx::encode(bundle, &constants, Storage::Expanded(&expanded), extras)?;
    let path = folder.join(GRAPH);
    fs::write(&path, &graph).map_err(failed(&path))?;
    let mut sums = Sums::default();
    sums.update(&graph);
    Ok(About { graph: sums.finish(), weights: expanded.sums })
}

/// Puts new files at `folder`, in the place of what is there.
fn kept(bundle: &Bundle, extras: Extras<'_>, folder: &Path) -> Result<(), EngineError> {
    let new = NewFolder::beside(folder).map_err(failed(folder))?;
    let about = write(bundle, extras, new.path())?;
    let text = serde_json::to_vec(&about).map_err(io::Error::other).map_err(failed(folder))?;
    output::write(&new.path().join(ABOUT), &text).map_err(failed(folder))?;
    new.put().map_err(failed(folder))
}

/// Whether the files of an earlier start are there as they were written.
fn is_whole(folder: &Path) -> bool {
    let about = folder.join(ABOUT);
    let Ok(text) = fs::read(&about) else { return false };
    let found = || -> io::Result<About> {
        Ok(About { graph: Sums::of(&folder.join(GRAPH))?, weights: Sums::of(&folder.join(Expanded::FILE))? })
    };
    let whole = match (serde_json::from_slice::<About>(&text), found()) {
        (Ok(written), Ok(found)) => written == found,
        _ => false,
    };
    if !whole {
        tracing::warn!(folder = %folder.display(), "the network of an earlier start is damaged; it is made anew");
        return false;
    }
    // Which one was used last: see `tidy`.
    let used = fs::write(&about, &text);
    if let Err(error) = used {
        tracing::debug!(folder = %folder.display(), %error, "cannot be marked as used");
    }
    true
}

/// Removes networks that were not used for longest, so that `most` others stay, and what killed processes have left.
fn tidy(place: &Path, ours: &Path, most: usize) {
    let Ok(entries) = fs::read_dir(place) else { return };
    let mut others = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path != ours) {
        let modified = |path: &Path| fs::metadata(path).and_then(|data| data.modified());
        match modified(&path.join(ABOUT)) {
            Ok(used) => others.push((used, path)),
            Err(_) => {
                let age = modified(&path).ok().and_then(|time| time.elapsed().ok());
                if age.is_some_and(|age| age > ABANDONED) {
                    remove(&path);
                }
            }
        }
    }
    others.sort();
    let too_many = others.len().saturating_sub(most);
    others[..too_many].iter().for_each(|(_, path)| remove(path));
}

fn remove(folder: &Path) {
    match fs::remove_dir_all(folder) {
        Ok(()) => tracing::info!(folder = %folder.display(), "a network that is not used any more is removed"),
        Err(error) => tracing::debug!(folder = %folder.display(), %error, "cannot be removed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vcp_clip::Architecture;

    fn bundle(folder: &Path, seed: u64) -> Bundle {
        let path = folder.join(format!("bundle-{seed}"));
        crate::weights::random(&path, &Architecture::smallest(), seed).unwrap();
        Bundle::open(&path).unwrap()
    }

    fn names(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn what_was_written_is_used_again_unless_it_is_damaged() {
        let home = tempfile::tempdir().unwrap();
        let cache = home.path().join("cache/openvino");
        let bundle = bundle(home.path(), 1);
        let files = || NetworkFiles::of(&bundle, Extras::default(), Some(cache.clone())).unwrap();
        let first = files();
        let inode = |path: PathBuf| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
        let (weights, graph) = (inode(first.weights()), inode(first.graph()));
        assert_eq!((inode(files().weights()), inode(files().graph())), (weights, graph), "the same files");

        let whole = [first.weights(), first.graph()].map(|path| fs::read(path).unwrap());
        for (path, bytes) in [first.weights(), first.graph(), first.folder().join(ABOUT)].into_iter().zip([10, 5, 30]) {
            let mut damaged = fs::read(&path).unwrap();
            damaged[bytes] ^= 4;
            fs::write(&path, damaged).unwrap();
            assert_eq!([files().weights(), files().graph()].map(|path| fs::read(path).unwrap()), whole, "{path:?}");
        }
        fs::write(first.weights(), &whole[0][..100]).unwrap();
        assert_eq!(fs::read(files().weights()).unwrap(), whole[0], "cut short");
        fs::remove_file(first.weights()).unwrap();
        assert_eq!(fs::read(files().weights()).unwrap(), whole[0], "gone");
        assert_eq!(names(&cache), 1, "nothing else is left");
    }

    #[test]
    fn each_network_has_its_own_files_and_the_oldest_go() {
        let home = tempfile::tempdir().unwrap();
        let cache = home.path().join("openvino");
        let bundles = [1, 2, 3].map(|seed| bundle(home.path(), seed));
        let folder = |at: usize| {
            let files = NetworkFiles::of(&bundles[at], Extras::default(), Some(cache.clone())).unwrap();
            files.folder().to_owned()
        };
        let (first, second) = (folder(0), folder(1));
        assert_ne!(first, second);
        // Used again, it is newer than the second one.
        std::thread::sleep(Duration::from_millis(20));
        folder(0);
        let third = folder(2);
        assert_eq!([&first, &second, &third].map(|folder| folder.exists()), [true, false, true]);
    }

    #[test]
    fn without_a_place_to_stay_they_are_there_once() {
        let home = tempfile::tempdir().unwrap();
        let bundle = bundle(home.path(), 1);
        let nowhere = home.path().join("file");
        fs::write(&nowhere, "no folder").unwrap();
        for cache in [None, Some(nowhere.join("openvino"))] {
            let files = NetworkFiles::of(&bundle, Extras::default(), cache).unwrap();
            let folder = files.folder().to_owned();
            assert!(files.graph().is_file() && files.weights().is_file());
            drop(files);
            assert!(!folder.exists());
        }
    }
}

//! What a folder of weights holds, as Hugging Face's libraries and open_clip lay it out.

use std::path::{Path, PathBuf};

use super::error::ImportError;

/// Whole models, in the order they are looked for: where a folder has two of them, they hold the same weights.
const FILES: [&str; 6] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "open_clip_pytorch_model.bin",
];
/// How names of weight files end.
const ENDINGS: [&str; 5] = ["safetensors", "bin", "pt", "pth", "ckpt"];
/// Files of a training beside its weights.
const NO_WEIGHTS: [&str; 4] = ["optimizer", "scheduler", "rng_state", "training_args"];

/// The files to read for a path: itself, what a folder has, or one for each tower in the folders within it.
pub(super) fn sources(path: &Path) -> Result<Vec<PathBuf>, ImportError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    if let Some(file) = known(path) {
        return Ok(vec![file]);
    }
    if let Some(file) = last_version(path)? {
        return Ok(vec![file]);
    }
    let entries = entries(path)?;
    let towers: Vec<PathBuf> = entries.iter().filter(|entry| entry.is_dir()).filter_map(|entry| known(entry)).collect();
    let files: Vec<&PathBuf> = entries.iter().filter(|entry| is_weights(entry)).collect();
    match (&files[..], &towers[..]) {
        ([file], []) => Ok(vec![(*file).clone()]),
        ([], [_, _]) => Ok(towers),
        ([], []) => Err(unrecognised(path, "a folder without model.safetensors or pytorch_model.bin".to_owned())),
        ([], towers) => Err(unrecognised(path, several("folders with weights", towers.iter()))),
        (files, _) => Err(unrecognised(path, several("weight files", files.iter().copied()))),
    }
}

/// The cache of Hugging Face has each version of a model in a folder of its own, and in `refs/main` which was the last one.
/// `None` where a folder is no such cache.
fn last_version(path: &Path) -> Result<Option<PathBuf>, ImportError> {
    let inner = entries(&path.join("snapshots")).unwrap_or_default();
    let versions: Vec<(&PathBuf, PathBuf)> = inner.iter().filter_map(|inner| Some((inner, known(inner)?))).collect();
    let main = std::fs::read_to_string(path.join("refs/main")).unwrap_or_default();
    let named = |(folder, _): &&(&PathBuf, PathBuf)| !main.trim().is_empty() && folder.ends_with(main.trim());
    match (versions.iter().find(named), &versions[..]) {
        (Some((_, file)), _) | (None, [(_, file)]) => Ok(Some(file.clone())),
        (None, []) => Ok(None),
        (None, several) => {
            Err(unrecognised(path, self::several("versions", several.iter().map(|(folder, _)| *folder))))
        }
    }
}

fn known(folder: &Path) -> Option<PathBuf> {
    FILES.iter().map(|file| folder.join(file)).find(|file| file.is_file())
}

fn entries(path: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let read = || std::fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>();
    let mut entries = read().map_err(|source| ImportError::Io { path: path.to_owned(), source })?;
    entries.sort();
    Ok(entries)
}

fn is_weights(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    path.is_file() && ENDINGS.contains(&ending) && !NO_WEIGHTS.iter().any(|name| stem.starts_with(name))
}

fn unrecognised(path: &Path, reason: String) -> ImportError {
    ImportError::Unrecognised { path: path.to_owned(), reason }
}

fn several<'a>(what: &str, paths: impl Iterator<Item = &'a PathBuf>) -> String {
    let names: Vec<String> = paths.map(|path| path.display().to_string()).collect();
    format!("a folder with several {what}, so name the one that is meant ({})", names.join(", "))
}

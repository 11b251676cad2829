//! Which images are looked at, and what the files written for each are called.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::cli::failure::wrong_arguments;
use crate::cli::terminal::note;
use crate::source::directory::{Listing, Wanted, natural_order};

/// One image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// As it was named, or found.
    pub path: PathBuf,
    /// Relative to the folder that was named; of a file that was named, its name.
    inside: PathBuf,
}

/// The images that the arguments name: files as they are, folders with all pictures in them and in their subfolders, in
/// natural order and without hidden ones. Also how many folders could not be read, which has been said.
pub fn find(arguments: &[PathBuf]) -> anyhow::Result<(Vec<Image>, usize)> {
    let (mut images, mut unreadable) = (Vec::new(), 0);
    for argument in arguments {
        if !argument.is_dir() {
            let inside = argument.file_name().map(PathBuf::from).unwrap_or_default();
            images.push(Image { path: argument.clone(), inside });
            continue;
        }
        let wanted = Wanted { recursive: true, ..Wanted::default() };
        let listing = match Listing::of(argument, Path::new(""), &wanted) {
            Ok(listing) => listing,
            Err(error) => {
                note!("vcp-line: {}: {error}", argument.display());
                unreadable += 1;
                continue;
            }
        };
        for (folder, error) in &listing.unreadable {
            note!("vcp-line: {}: {error}", argument.join(folder).display());
        }
        unreadable += listing.unreadable.len();
        if listing.files.is_empty() && listing.unreadable.is_empty() {
            let what = "holds no image (hidden and unfinished files are left out); name another folder, or a file";
            return Err(wrong_arguments(format!("{} {what}", argument.display())));
        }
        let mut names: Vec<PathBuf> = listing.files.into_iter().map(|(name, _)| name).collect();
        names.sort_by(|a, b| natural_order(a, b));
        images.extend(names.into_iter().map(|inside| Image { path: argument.join(&inside), inside }));
    }
    Ok((images, unreadable))
}

/// What the outputs of each image are called, without their ending: its name without ending, below its folder where a
/// folder was named. Where that would be the same for two, all are called by their paths below the folder that they
/// share; where one folder has two of a name, those keep their endings. Errors when one image was named twice.
pub fn output_names(images: &[Image]) -> anyhow::Result<Vec<OsString>> {
    let inside: Vec<PathBuf> = images.iter().map(|image| image.inside.clone()).collect();
    let stems: Vec<PathBuf> = inside.iter().map(|path| path.with_extension("")).collect();
    if first_double(&stems).is_none() {
        return Ok(stems.into_iter().map(PathBuf::into_os_string).collect());
    }
    let whole: Vec<PathBuf> = images.iter().map(|image| resolved(&image.path)).collect();
    if let Some((one, other)) = first_double(&whole) {
        return Err(wrong_arguments(format!(
            "{} and {} are one image, whose outputs would be written twice: name it once",
            images[one].path.display(),
            images[other].path.display()
        )));
    }
    let shared = shared_folder(&whole);
    let below: Vec<PathBuf> = whole.iter().map(|path| path.strip_prefix(&shared).unwrap_or(path).to_owned()).collect();
    let mut users: HashMap<PathBuf, usize> = HashMap::new();
    below.iter().for_each(|path| *users.entry(path.with_extension("")).or_default() += 1);
    let files: HashSet<&PathBuf> = below.iter().collect();
    let name = |path: &PathBuf| {
        let stem = path.with_extension("");
        // `1.png.png` beside `1.png` and `1.jpg`, too, would be called `1.png`.
        let own = users.get(&stem) == Some(&1) && !files.contains(&stem);
        if own { stem } else { path.clone() }.into_os_string()
    };
    Ok(below.iter().map(name).collect())
}

/// Two that are equal.
fn first_double(paths: &[PathBuf]) -> Option<(usize, usize)> {
    let mut seen = HashMap::new();
    paths.iter().enumerate().find_map(|(at, path)| Some((seen.insert(path, at)?, at)))
}

/// Without links and dots in its folder; the file itself may be a link.
fn resolved(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (fs::canonicalize(folder), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        // It cannot be read either, and nothing will be written for it.
        _ => path.components().filter(|step| *step != Component::ParentDir).collect(),
    }
}

fn shared_folder(paths: &[PathBuf]) -> PathBuf {
    let mut shared = paths.first().and_then(|path| path.parent()).unwrap_or(Path::new("")).to_owned();
    while paths.iter().any(|path| !path.starts_with(&shared)) && shared.pop() {}
    shared
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(paths: &[&str]) -> Vec<Image> {
        let image = |path: &&str| {
            let path = PathBuf::from(path);
            Image { inside: path.file_name().expect("a name").into(), path }
        };
        paths.iter().map(image).collect()
    }

    #[test]
    fn outputs_have_their_folders_only_where_names_would_be_equal() {
        let names = |paths: &[&str]| output_names(&named(paths)).expect("named");
        assert_eq!(names(&["x/a/1.png", "x/b/2.tar.png"]), ["1", "2.tar"]);
        assert_eq!(names(&["x/a/1.png", "x/b/1.png", "x/b/c/2.png"]), ["a/1", "b/1", "b/c/2"]);
        assert_eq!(names(&["x/1.png", "x/1.jpg", "x/2.png"]), ["1.png", "1.jpg", "2"]);
        assert_eq!(names(&["x/1.png", "x/1.jpg", "x/1.png.png"]), ["1.png", "1.jpg", "1.png.png"]);
        let twice = output_names(&named(&["x/1.png", "x/1.png"])).expect_err("twice").to_string();
        assert!(twice.contains("are one image"), "{twice}");
    }

    #[test]
    fn a_folder_is_its_pictures_in_natural_order() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let inside = |name: &str| folder.path().join(name);
        fs::create_dir_all(inside("b/.git")).expect("made");
        for name in ["10.png", "9.png", "b/1.JPG", "._9.png", ".8.png", "b/.git/2.png", "notes.txt", "7.png.part"] {
            fs::write(inside(name), "").expect("written");
        }
        let (images, unreadable) = find(&[folder.path().to_owned(), inside("9.png")]).expect("found");
        let found: Vec<&Path> = images.iter().map(|image| image.inside.as_path()).collect();
        assert_eq!((found, unreadable), (["9.png", "10.png", "b/1.JPG", "9.png"].map(Path::new).to_vec(), 0));
        assert_eq!(output_names(&images[..3]).expect("named"), ["9", "10", "b/1"]);
        let gone = find(&[inside("b/.git/2.png"), inside("gone")]);
        assert_eq!(gone.expect("a folder that is gone is a file that is not there").0.len(), 2);
        fs::create_dir(inside("empty")).expect("made");
        assert!(find(&[inside("empty")]).expect_err("empty").to_string().contains("holds no image"));
    }
}

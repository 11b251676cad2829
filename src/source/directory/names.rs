//! Which names in a folder are pictures, and the order in which a person would read them.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::source::image_file::EXTENSIONS;

/// Endings, in lower case, of files that are still being written: by FTP and SFTP clients (`filepart` of WinSCP, `upload`),
/// browsers, rsync, editors, and whoever else renames when done. A camera's software may put them before the picture's
/// own ending as well (`x.tmp.png`).
const UNFINISHED: [&[u8]; 28] = [
    b"part",
    b"partial",
    b"tmp",
    b"temp",
    b"filepart",
    b"crdownload",
    b"download",
    b"opdownload",
    b"upload",
    b"uploading",
    b"incomplete",
    b"inprogress",
    b"in-progress",
    b"writing",
    b"copying",
    b"transfer",
    b"aria2",
    b"swp",
    b"swo",
    b"swx",
    b"bak",
    b"lock",
    b"lck",
    b"!ut",
    b"!qb",
    b"dctmp",
    b"ftptmp",
    b"$$$",
];

/// Folders that file servers and desktops make for themselves, with thumbnails and deleted files.
const OF_SERVERS: [&[u8]; 7] =
    [b"@eadir", b"$recycle.bin", b"#recycle", b"#snapshot", b"lost+found", b"system volume information", b"__macosx"];

/// Whether a file of this name is hidden or unfinished: no picture, whatever its ending.
///
/// Hidden are `.x`, so also what macOS (`._x`), rsync (`.x.AbCdEf`), proftpd (`.in.x.`) and NFS (`.nfs…`) make, and `~x`
/// of Windows programs; unfinished are `x~` and what has one of the endings above, also before its last one.
pub fn is_set_aside(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let of_editor = name.starts_with(b"#") && name.ends_with(b"#");
    if name.starts_with(b".") || name.starts_with(b"~") || name.ends_with(b"~") || of_editor {
        return true;
    }
    let mut parts = name.rsplit(|byte| *byte == b'.');
    let unfinished = |part: &[u8]| UNFINISHED.iter().any(|ending| part.eq_ignore_ascii_case(ending));
    // The name itself, before all endings, may be any word.
    let endings = name.iter().filter(|byte| **byte == b'.').count().min(2);
    (0..endings).any(|_| parts.next().is_some_and(unfinished))
}

/// Whether a folder of this name holds no pictures of a line.
pub fn is_folder_set_aside(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.starts_with(b".") || OF_SERVERS.iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// Whether a file of this name is a picture: neither hidden nor unfinished, with one of these endings, in any letter case.
pub fn is_picture(name: &OsStr, endings: &[String]) -> bool {
    let ending = Path::new(name).extension().unwrap_or_default().as_bytes();
    let wanted = |wanted: &[u8]| wanted.eq_ignore_ascii_case(ending);
    let has_ending = match endings {
        [] => EXTENSIONS.iter().any(|ending| wanted(ending.as_bytes())),
        endings => endings.iter().any(|ending| wanted(ending.trim_start_matches('.').as_bytes())),
    };
    has_ending && !is_set_aside(name)
}

/// Compares paths folder by folder: runs of digits by their value, everything else by byte. Equal only where the bytes are.
pub fn natural_order(a: &Path, b: &Path) -> Ordering {
    let (mut steps_a, mut steps_b) = (a.components(), b.components());
    loop {
        match (steps_a.next(), steps_b.next()) {
            (Some(x), Some(y)) => match natural(x.as_os_str().as_bytes(), y.as_os_str().as_bytes()) {
                Ordering::Equal => {}
                order => return order,
            },
            // `01` and `1` have the same value.
            (None, None) => return a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()),
            (x, y) => return x.is_some().cmp(&y.is_some()),
        }
    }
}

fn natural(mut a: &[u8], mut b: &[u8]) -> Ordering {
    loop {
        let ((digits_a, rest_a), (digits_b, rest_b)) = (split_digits(a), split_digits(b));
        if digits_a.is_empty() || digits_b.is_empty() {
            match (a.split_first(), b.split_first()) {
                (Some((x, rest_a)), Some((y, rest_b))) if x == y => (a, b) = (rest_a, rest_b),
                (x, y) => return x.map(|x| x.0).cmp(&y.map(|y| y.0)),
            }
            continue;
        }
        let (value_a, value_b) = (without_zeros(digits_a), without_zeros(digits_b));
        match value_a.len().cmp(&value_b.len()).then_with(|| value_a.cmp(value_b)) {
            Ordering::Equal => (a, b) = (rest_a, rest_b),
            order => return order,
        }
    }
}

fn split_digits(name: &[u8]) -> (&[u8], &[u8]) {
    name.split_at(name.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(name.len()))
}

fn without_zeros(digits: &[u8]) -> &[u8] {
    &digits[digits.iter().position(|digit| *digit != b'0').unwrap_or(digits.len())..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_hide_or_have_not_finished_is_no_picture() {
        let aside = [
            "._0.png",
            ".0.png",
            ".in.0.png.",
            ".in.0.png",
            ".0.png.Ab3dEf",
            ".~0.png",
            "~$0.png",
            "~0.png",
            "#0.png#",
            "0.png~",
            "0.png.part",
            "0.png.PART",
            "0.png.filepart",
            "0.png.crdownload",
            "0.png.tmp",
            "0.png.upload",
            "0.part.png",
            "0.tmp.PNG",
            "0.png.swp",
            ".0.png.swp",
            "0.png.partial",
            ".nfs0001.png",
            "0.png.ocTransferId1.part",
            ".syncthing.0.png.tmp",
            "~syncthing~0.png.tmp",
        ];
        for name in aside {
            assert!(!is_picture(OsStr::new(name), &[]), "{name}");
            assert!(is_set_aside(OsStr::new(name)), "{name}");
        }
        for name in [
            "0.png",
            "part.png",
            "tmp.jpg",
            "a.b.JPEG",
            "upload 7.tif",
            "img~1.bmp",
            "a.part.0.png",
            "ü.webp",
            "#17.png",
            "#17#.png",
        ] {
            assert!(is_picture(OsStr::new(name), &[]), "{name}");
        }
        assert!(is_picture(OsStr::from_bytes(b"gr\xfc\xdfe.png"), &[]), "names are bytes");
        for name in ["png", "0", "0.txt", "Thumbs.db"] {
            assert!(!is_picture(OsStr::new(name), &[]), "{name}");
        }
        let only = [".RAW".to_owned()];
        assert!(is_picture(OsStr::new("0.raw"), &only) && !is_picture(OsStr::new("0.png"), &only));
        assert!(!is_picture(OsStr::new(".0.raw"), &only));
        for name in ["@eaDir", ".rsync-partial", "$RECYCLE.BIN", "__MACOSX"] {
            assert!(is_folder_set_aside(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn paths_are_ordered_as_a_person_reads_them() {
        let mut paths =
            ["b/1.png", "a10.png", "a2.png", "a02.png", "a/10.png", "a/9.png", "a", "A3.png"].map(Path::new);
        paths.sort_by(|a, b| natural_order(a, b));
        assert_eq!(
            paths,
            ["A3.png", "a", "a/9.png", "a/10.png", "a02.png", "a2.png", "a10.png", "b/1.png"].map(Path::new)
        );
    }
}

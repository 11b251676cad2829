//! Passwords come from files or systemd's credentials, never from the settings themselves.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::secret::{LEAST_TOKEN, Secret};

/// A password cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file is not there or may not be read.
    #[error("{path}: {source}; write the password into this file and let the service's user read it")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The first line is empty.
    #[error("{path}: the first line is empty; it must be the password, and for a user without one no file is named")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Written by an editor in another encoding, where each program sees another password.
    #[error("{path}: {found}; save it as UTF-8 (in Windows' Notepad: Save as, Encoding UTF-8)")]
    Encoding {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        found: &'static str,
    },
    /// A token that can be guessed.
    #[error("{path}: the token has less than {LEAST_TOKEN} characters; make one with `openssl rand -hex 32`")]
    Short {
        /// The file.
        path: PathBuf,
    },
    /// Every user of this computer has it.
    #[error(
        "{path}: every user of this computer can read or change the token; `chmod 640 {path}`, and let its group be the service's"
    )]
    Open {
        /// The file.
        path: PathBuf,
    },
}

/// The first line of the file, without its end, and without the marks that Windows' editors put at both ends of it.
pub fn read(path: &Path) -> Result<Secret, SecretError> {
    let bytes = std::fs::read(path).map_err(|source| SecretError::Read { path: path.to_owned(), source })?;
    let encoding = |found| SecretError::Encoding { path: path.to_owned(), found };
    let text = match utf16(&bytes) {
        Some(text) => text.map_err(|_| encoding("UTF-16 that is not all there"))?,
        None if bytes.contains(&0) => return Err(encoding("UTF-16, or no text at all")),
        None => String::from_utf8(bytes).map_err(|_| encoding("bytes that are no UTF-8"))?,
    };
    let first = text.trim_start_matches('\u{feff}').split(['\n', '\r']).next().unwrap_or_default();
    if first.is_empty() { Err(SecretError::Empty { path: path.to_owned() }) } else { Ok(Secret::new(first)) }
}

/// The text of a file that begins with the byte order mark of UTF-16, as PowerShell writes it; `None` for another one.
fn utf16(bytes: &[u8]) -> Option<Result<String, std::string::FromUtf16Error>> {
    let (rest, number): (_, fn([u8; 2]) -> u16) = match bytes {
        [0xff, 0xfe, rest @ ..] => (rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => (rest, u16::from_be_bytes),
        _ => return None,
    };
    // Half a letter at the end is none.
    let (pairs, half) = rest.as_chunks::<2>();
    let units = pairs.iter().map(|pair| number(*pair)).chain((!half.is_empty()).then_some(0xdc00));
    Some(String::from_utf16(&units.collect::<Vec<u16>>()))
}

/// Like [`read`] for what lets others in: long enough, and nobody's but the service's. systemd sees to its own credentials.
pub fn read_token(path: &Path) -> Result<Secret, SecretError> {
    let token = read(path)?;
    if token.reveal().len() < LEAST_TOKEN {
        return Err(SecretError::Short { path: path.to_owned() });
    }
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    if credentials.is_some_and(|folder| path.starts_with(folder)) {
        return Ok(token);
    }
    let found = std::fs::metadata(path).map_err(|source| SecretError::Read { path: path.to_owned(), source })?;
    if found.permissions().mode() & 0o007 != 0 {
        return Err(SecretError::Open { path: path.to_owned() });
    }
    Ok(token)
}

/// Where a `password_file` is: a bare name that systemd has put into the credentials folder is there, everything else
/// is relative to the settings file. A blank credential is the unit's word
/// for "there is none".
pub fn place(written: &Path, credentials: Option<&Path>, base: &Path) -> PathBuf {
    let bare = written.components().count() == 1 && !written.is_absolute();
    match credentials.map(|folder| folder.join(written)) {
        Some(credential) if bare && has_text(&credential) => credential,
        _ => base.join(written),
    }
}

fn has_text(file: &Path) -> bool {
    std::fs::read(file).is_ok_and(|bytes| !bytes.trim_ascii().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_password_and_is_never_shown() {
        let folder = tempfile::tempdir().expect("temp dir");
        let path = folder.path().join("mqtt");
        std::fs::write(&path, "hunter2\nmore\n").expect("written");
        let secret = read(&path).expect("read");
        assert_eq!((secret.reveal(), format!("{secret:?}").as_str()), ("hunter2", "***"));
        for empty in ["", "\n", "\r\n", "\u{feff}\r\n"] {
            std::fs::write(&path, empty).expect("written");
            assert!(matches!(read(&path), Err(SecretError::Empty { .. })));
        }
    }

    #[test]
    fn a_password_from_windows_is_the_same_word() {
        let folder = tempfile::tempdir().expect("temp dir");
        let path = folder.path().join("mqtt");
        for same in ["hünter 2", "hünter 2\n", "hünter 2\r\n", "hünter 2\r", "\u{feff}hünter 2\r\nmore"] {
            std::fs::write(&path, same).expect("written");
            assert_eq!(read(&path).expect("read").reveal(), "hünter 2", "{same:?}");
        }
        let utf16 =
            |bytes: fn(u16) -> [u8; 2]| "\u{feff}hünter 2\r\n".encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        for same in [utf16(u16::to_le_bytes), utf16(u16::to_be_bytes)] {
            std::fs::write(&path, &same).expect("written");
            assert_eq!(read(&path).expect("read").reveal(), "hünter 2");
        }
        let half = utf16(u16::to_le_bytes)[..9].to_vec();
        for other in [half, b"h\0i\0".to_vec(), b"h\xfcnter".to_vec()] {
            std::fs::write(&path, &other).expect("written");
            let error = read(&path).expect_err("refused").to_string();
            assert!(error.contains("save it as UTF-8") && !error.contains("nter"), "{error}");
        }
    }

    #[test]
    fn credentials_of_systemd_come_first() {
        let folder = tempfile::tempdir().expect("temp dir");
        std::fs::write(folder.path().join("mqtt"), "x").expect("written");
        std::fs::write(folder.path().join("empty"), "\n").expect("written");
        let base = Path::new("/etc/vcp-line");
        assert_eq!(place(Path::new("empty"), Some(folder.path()), base), base.join("empty"));
        assert_eq!(place(Path::new("mqtt"), Some(folder.path()), base), folder.path().join("mqtt"));
        assert_eq!(place(Path::new("other"), Some(folder.path()), base), base.join("other"));
        assert_eq!(place(Path::new("mqtt"), None, base), base.join("mqtt"));
    }
}

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
    #[error("{path}: the first line is empty; it must be the password")]
    Empty {
        /// The file.
        path: PathBuf,
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

/// The first line of the file, without its end.
pub fn read(path: &Path) -> Result<Secret, SecretError> {
    let text = std::fs::read_to_string(path).map_err(|source| SecretError::Read { path: path.to_owned(), source })?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(Secret::new(line)),
        _ => Err(SecretError::Empty { path: path.to_owned() }),
    }
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
        std::fs::write(&path, "\n").expect("written");
        assert!(matches!(read(&path), Err(SecretError::Empty { .. })));
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

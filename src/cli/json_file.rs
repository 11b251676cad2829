//! A result as a file of JSON.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;

/// Beside its place first, then renamed: whoever reads it never sees half of it.
pub fn write(path: &Path, json: &serde_json::Value) -> anyhow::Result<()> {
    let parent = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    let writing = || format!("writing {}", path.display());
    // Temporary files are private; the umask still has its say.
    let readable = Permissions::from_mode(0o666);
    let file = tempfile::Builder::new().prefix(".json.").permissions(readable).tempfile_in(parent);
    let mut file = file.with_context(writing)?;
    serde_json::to_writer_pretty(&mut file, json).with_context(writing)?;
    writeln!(file).with_context(writing)?;
    file.persist(path).with_context(writing)?;
    Ok(())
}

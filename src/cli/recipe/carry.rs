//! One recipe in one file, a zip: `recipe.toml` and what it names. Read from whoever sends it, so that sizes and names are ours.

use std::fs::{self, File};
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::text::lines;
use crate::config::{self, RecipeFile};
use crate::memory::Memory;
use crate::output;

const RECIPE: &str = "recipe.toml";
const MEMORY: &str = "good.memory";
const CALIBRATION: &str = "calibration.json";
/// Most bytes of each.
const LARGEST_RECIPE: u64 = 1 << 20;
const LARGEST: u64 = 2 << 30;

/// Writes it; says how many bytes.
pub fn export(file: &RecipeFile, output: &Path) -> anyhow::Result<usize> {
    let carried = RecipeFile {
        memory: file.memory.as_ref().map(|_| PathBuf::from(MEMORY)),
        calibration: file.calibration.as_ref().map(|_| PathBuf::from(CALIBRATION)),
        ..file.clone()
    };
    let text: String = lines(&carried).iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    let mut put = |name: &str, bytes: &[u8]| -> anyhow::Result<()> {
        zip.start_file(name, options)?;
        Ok(zip.write_all(bytes)?)
    };
    put(RECIPE, text.as_bytes())?;
    for (name, path) in [(MEMORY, &file.memory), (CALIBRATION, &file.calibration)] {
        if let Some(path) = path {
            put(name, &fs::read(path).with_context(|| path.display().to_string())?)?;
        }
    }
    let bytes = zip.finish()?.into_inner();
    output::write(output, &bytes).with_context(|| output.display().to_string())?;
    Ok(bytes.len())
}

/// Takes it into the folder: what it names first, so that a recipe that is there is whole. Says its name.
pub fn import(input: &Path, folder: &Path, replace: bool) -> anyhow::Result<String> {
    let named = || input.display().to_string();
    let file = File::open(input).with_context(named)?;
    let mut zip = ZipArchive::new(file).with_context(|| format!("{} is no exported recipe", input.display()))?;
    let mut take = |name: &str, most: u64| -> anyhow::Result<Option<Vec<u8>>> {
        let entry = match zip.by_name(name) {
            Err(zip::result::ZipError::FileNotFound) => return Ok(None),
            entry => entry?,
        };
        let mut bytes = Vec::new();
        entry.take(most + 1).read_to_end(&mut bytes)?;
        ensure!(bytes.len() as u64 <= most, "{name} is larger than {most} bytes");
        Ok(Some(bytes))
    };
    let text =
        take(RECIPE, LARGEST_RECIPE).with_context(named)?.with_context(|| format!("{}: no {RECIPE}", named()))?;
    let text = String::from_utf8(text).with_context(named)?;
    let id = id_of(&text).with_context(|| format!("{}: {RECIPE} names no id", named()))?;
    let RecipeFile { recipe, memory, calibration } = config::parse_recipe(&text, input, &id)?;
    recipe.check().with_context(named)?;
    let target = config::recipe_place(folder, &id);
    if target.exists() && !replace {
        bail!("{} is there already; --replace takes its place", target.display());
    }
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let mut beside = |named: Option<PathBuf>, entry: &str, ending: &str| -> anyhow::Result<Option<PathBuf>> {
        if named.is_none() {
            return Ok(None);
        }
        let bytes = take(entry, LARGEST)?.with_context(|| format!("{}: no {entry}", input.display()))?;
        let path = folder.join(format!("{id}.{ending}"));
        output::write(&path, &bytes).with_context(|| path.display().to_string())?;
        Ok(Some(path))
    };
    let memory = beside(memory, MEMORY, "memory")?;
    if let Some(memory) = &memory {
        Memory::read(memory)?;
    }
    let calibration = beside(calibration, CALIBRATION, "calibration.json")?;
    let name = |path: Option<PathBuf>| path.and_then(|path| path.file_name().map(PathBuf::from));
    let placed = RecipeFile { recipe, memory: name(memory), calibration: name(calibration) };
    let text: String = lines(&placed).iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
    output::write(&target, text.as_bytes()).with_context(|| target.display().to_string())?;
    output::sync_folder(folder).with_context(|| folder.display().to_string())?;
    Ok(id)
}

fn id_of(text: &str) -> Option<String> {
    let table: toml::Table = text.parse().ok()?;
    table.get("id")?.as_str().map(str::to_owned)
}

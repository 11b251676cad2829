//! What the Debian package brings, as Cargo.toml lists it, of the program that the tests run; without cargo-deb, whose build
//! takes minutes.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Where scripts/deb.sh puts what is made for the package.
const STAGE: &str = "target/package/";

pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What a program has said.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs this to its end, which has to be a good one, and gives what it has said on standard output.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The program that is packed: the one built with the tests, or another one (`VCP_LINE_BINARY`).
pub fn program() -> PathBuf {
    let built = || env!("CARGO_BIN_EXE_vcp-line").into();
    std::env::var_os("VCP_LINE_BINARY").unwrap_or_else(built).into()
}

/// `[package]` of Cargo.toml.
fn manifest() -> toml::Table {
    let manifest: toml::Table = fs::read_to_string(repository("Cargo.toml")).unwrap().parse().unwrap();
    manifest["package"].as_table().unwrap().clone()
}

/// The files that a source of an asset means: one, or all in a folder whose names end as behind its `*`.
fn sources(pattern: &Path) -> Vec<PathBuf> {
    let name = pattern.file_name().unwrap().to_str().unwrap();
    let Some(end) = name.strip_prefix('*') else { return vec![pattern.to_owned()] };
    let files = fs::read_dir(pattern.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|file| file.to_str().unwrap().ends_with(end)).collect()
}

/// As scripts/deb.sh fills it.
fn stage(folder: &Path) {
    run(Command::new("strip").arg("-o").arg(folder.join("vcp-line")).arg(program()));
    run(Command::new(folder.join("vcp-line")).arg("manual").arg(folder));
    run(Command::new(repository("scripts/bill.py")).arg(folder));
    for page in sources(&folder.join("man/*.1")) {
        pack(&page);
    }
    pack(&folder.join("vcp-line.cdx.json"));
}

fn pack(file: &Path) {
    let packed = fs::File::create(format!("{}.gz", file.display())).unwrap();
    let mut packed = flate2::write::GzEncoder::new(packed, flate2::Compression::fast());
    packed.write_all(&fs::read(file).unwrap()).unwrap();
    packed.finish().unwrap();
}

/// Every file of the package in its place below `root`, with its rights.
pub fn place(root: &Path) {
    let made = tempfile::tempdir().unwrap();
    stage(made.path());
    let assets = manifest()["metadata"]["deb"]["assets"].as_array().unwrap().clone();
    for asset in &assets {
        let [source, target, mode] = [0, 1, 2].map(|at| asset[at].as_str().unwrap());
        let pattern = source.strip_prefix(STAGE).map_or_else(|| repository(source), |name| made.path().join(name));
        let files = sources(&pattern);
        assert!(!files.is_empty(), "{source} means no file");
        for file in files {
            let name = if target.ends_with('/') { file.file_name().unwrap() } else { "".as_ref() };
            // Without a name the path would end as a folder's does.
            let place = root.join(target.trim_end_matches('/'));
            let place = if name.is_empty() { place } else { place.join(name) };
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::copy(&file, &place).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let mode = u32::from_str_radix(mode, 8).unwrap();
            fs::set_permissions(&place, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
}

/// A package of them in this folder, with the scripts that the shipped one has.
pub fn package(folder: &Path) -> PathBuf {
    let tree = folder.join("placed");
    place(&tree);
    let about = manifest();
    let deb = &about["metadata"]["deb"];
    let control = tree.join("DEBIAN");
    fs::create_dir(&control).unwrap();
    for script in sources(&repository("deploy/debian/*")) {
        // cargo-deb gives them these rights, too, and leaves the others of the folder out.
        if fs::read(&script).unwrap().starts_with(b"#!") {
            let copy = control.join(script.file_name().unwrap());
            fs::copy(&script, &copy).unwrap();
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
    let kept: Vec<&str> = deb["conf-files"].as_array().unwrap().iter().map(|file| file.as_str().unwrap()).collect();
    fs::write(control.join("conffiles"), kept.join("\n") + "\n").unwrap();
    let word = |value: &toml::Value| value.as_str().unwrap().to_owned();
    // What it is linked with finds cargo-deb.
    let depends = word(&deb["depends"]).replace("$auto, ", "");
    let said = format!(
        "Package: vcp-line\nVersion: {}-1\nArchitecture: amd64\nMaintainer: {}\nDepends: {depends}\nDescription: {}\n",
        word(&about["version"]),
        word(&deb["maintainer"]),
        word(&about["description"]),
    );
    fs::write(control.join("control"), said).unwrap();
    let package = folder.join("vcp-line.deb");
    run(Command::new("dpkg-deb").args(["--root-owner-group", "-Znone", "--build"]).args([&tree, &package]));
    package
}

/// One of the version after it, beside it.
pub fn newer(package: &Path) -> PathBuf {
    let tree = package.with_extension("tree");
    run(Command::new("dpkg-deb").args(["--raw-extract".as_ref(), package.as_os_str(), tree.as_os_str()]));
    let control = fs::read_to_string(tree.join("DEBIAN/control")).unwrap();
    let next = control.replace("\nVersion: ", "\nVersion: 9.");
    fs::write(tree.join("DEBIAN/control"), next).unwrap();
    let newer = package.with_file_name("newer.deb");
    run(Command::new("dpkg-deb").args(["--root-owner-group", "-Zgzip", "-z1", "--build"]).args([&tree, &newer]));
    newer
}

/// That of OpenVINO in this folder.
pub fn runtime(folder: &Path) -> PathBuf {
    let folder = folder.join("openvino");
    fs::create_dir(&folder).unwrap();
    run(Command::new(repository("scripts/openvino-deb.sh")).arg("--fast").arg(&folder));
    sources(&folder.join("*.deb")).remove(0)
}

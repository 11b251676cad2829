//! `scripts/setup-debian.sh run` brings every library that the program is linked with or loads, and every plugin that it
//! tells its user to install.
// Clippy knows only functions marked as tests for tests, not what they share.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Not of Debian's packages and not needed: OpenCL is for OpenVINO on an Intel GPU, which comes with that GPU's driver.
const WITHOUT: [&str; 1] = ["libOpenCL.so.1"];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).env("LC_ALL", "C").output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The packages of the group `run`.
fn run_group() -> Vec<String> {
    let script = read("scripts/setup-debian.sh");
    let (_, rest) = script.split_once("\nrun=(").unwrap();
    let (group, _) = rest.split_once("\n)").unwrap();
    group.split_whitespace().map(str::to_owned).collect()
}

/// Names of packages that a field such as Depends asks for: of alternatives the first, which apt takes.
fn asked(field: &str) -> impl Iterator<Item = String> {
    field.split(',').filter_map(|one| {
        let name = one.split(['|', '(', ':', '[']).next()?.trim();
        (!name.is_empty()).then(|| name.to_owned())
    })
}

/// The packages with everything that they depend on, as installed here.
fn closure(packages: Vec<String>) -> BTreeSet<String> {
    let format = "${Package}\t${Pre-Depends},${Depends}\n";
    let installed = output("dpkg-query", &["--show", &format!("--showformat={format}")]);
    let depends: BTreeMap<&str, &str> = installed.lines().filter_map(|line| line.split_once('\t')).collect();
    let (mut found, mut open) = (BTreeSet::new(), packages);
    while let Some(package) = open.pop() {
        if found.insert(package.clone()) {
            open.extend(depends.get(package.as_str()).into_iter().flat_map(|field| asked(field)));
        }
    }
    found
}

/// Names of the libraries that the loader needs for this file.
fn needed(file: &Path) -> Vec<String> {
    let dynamic = output("readelf", &["--dynamic", "--wide", file.to_str().unwrap()]);
    let name = |line: &str| line.split_once("(NEEDED)")?.1.split(['[', ']']).nth(1).map(str::to_owned);
    dynamic.lines().filter_map(name).collect()
}

/// The installed packages that hold a library of this name.
fn owners(library: &str) -> Vec<String> {
    let found = Command::new("dpkg-query").args(["--search", &format!("*/{library}")]).output().unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    let package = |line: &str| line.split([':', ',']).next().map(str::to_owned);
    found.lines().filter(|line| !line.starts_with("diversion ")).filter_map(package).collect()
}

/// OpenVINO's libraries, where the tests run with them.
fn openvino() -> Vec<PathBuf> {
    let folders = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let folder = std::env::split_paths(&folders).find(|folder| folder.join("libopenvino_c.so").exists());
    let Some(folder) = folder else {
        println!("NOT TESTED: OpenVINO's libraries are not on LD_LIBRARY_PATH; run `make test`");
        return Vec::new();
    };
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|file| file.is_file() && file.to_str().unwrap().contains(".so")).collect()
}

#[test]
fn every_library_comes_with_a_package_of_run() {
    let packages = closure(run_group());
    let openvino = openvino();
    let own: BTreeSet<&str> = openvino.iter().filter_map(|file| file.file_name()?.to_str()).collect();
    let program = PathBuf::from(env!("CARGO_BIN_EXE_vcp-line"));
    let mut wanted = BTreeMap::<String, PathBuf>::new();
    for file in openvino.iter().chain([&program]) {
        wanted.extend(needed(file).into_iter().map(|library| (library, file.clone())));
    }
    let mut missing = Vec::new();
    for (library, file) in &wanted {
        if own.contains(library.as_str()) || WITHOUT.contains(&library.as_str()) {
            continue;
        }
        let owners = owners(library);
        if !owners.iter().any(|owner| packages.contains(owner)) {
            missing.push(format!("{library}, which {} needs, is in {owners:?}", file.display()));
        }
    }
    assert!(missing.is_empty(), "not in `setup-debian.sh run`:\n{}", missing.join("\n"));
    println!("{} libraries", wanted.len());
    assert!(wanted.len() >= 5, "{wanted:?}");
}

/// All packages of GStreamer that some text of the program names.
fn named_packages(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            named_packages(&path, found);
        } else {
            let text = fs::read_to_string(&path).unwrap();
            let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)));
            let package = |word: &&str| word.starts_with("gstreamer1.0-") || *word == "libaravis-0.8-0";
            found.extend(words.filter(package).map(str::to_owned));
        }
    }
}

#[test]
fn every_plugin_that_the_program_asks_for_comes_with_run() {
    let (packages, mut named) = (closure(run_group()), BTreeSet::new());
    named_packages(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut named);
    assert!(named.len() >= 5, "{named:?}");
    let missing: Vec<_> = named.difference(&packages).collect();
    assert!(missing.is_empty(), "not in `setup-debian.sh run`: {missing:?}");
}

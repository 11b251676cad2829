//! Tells the program which commit it is built from, when that can be known: `VCP_LINE_COMMIT`, or git in a release build.

#![allow(clippy::print_stdout)] // how a build script speaks

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=VCP_LINE_COMMIT");
    let named = std::env::var("VCP_LINE_COMMIT").ok().filter(|commit| !commit.is_empty());
    // A development build would be compiled again after every commit, and is none that runs on a line.
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = named.or_else(|| if release { commit() } else { None });
    println!("cargo::rustc-env=VCP_LINE_COMMIT={}", commit.unwrap_or_default());
}

/// The commit of this very folder, with a `+` when files differ from it. None in a tarball, also inside of another repository.
fn commit() -> Option<String> {
    let here = std::env::var("CARGO_MANIFEST_DIR").ok()?;
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(&here).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let root = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&root).canonicalize().ok()? != Path::new(&here).canonicalize().ok()? {
        return None;
    }
    // The reference that HEAD names moves with the next commit, HEAD itself with another branch.
    let reference = git(&["symbolic-ref", "-q", "HEAD"]);
    for name in ["HEAD", "logs/HEAD", "packed-refs"].into_iter().chain(reference.as_deref()) {
        if let Some(path) = git(&["rev-parse", "--path-format=absolute", "--git-path", name])
            && Path::new(&path).exists()
        {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    for source in ["src", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={here}/{source}");
    }
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changed| !changed.is_empty());
    Some(git(&["rev-parse", "--short=12", "HEAD"])? + if changed { "+" } else { "" })
}

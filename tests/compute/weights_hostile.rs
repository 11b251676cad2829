//! Truncated, changed and hostile weight files, a full disk and damaged bundles: always an error, never a panic, never
//! half a bundle.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use crate::support::seeded;
use crate::support::tiny::{fixture, request};
use vcp_line::engine::finish;
use vcp_line::weights::{Bundle, ImportRequest, import};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

fn error(request: &ImportRequest) -> String {
    import(request, &mut |_, _, _| {}).unwrap_err().to_string()
}

/// Next number of splitmix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn truncated_files_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    for (name, steps) in [("clip.pt", 60), ("vcp.pth", 300)] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        let cut = dir.path().join(name);
        for step in 0..steps {
            std::fs::write(&cut, &bytes[..bytes.len() * step / steps]).unwrap();
            let (clip, vcp) =
                if name == "clip.pt" { (cut.clone(), fixture("vcp.pth")) } else { (fixture("clip.pt"), cut.clone()) };
            error(&request(&clip, &vcp, &out.join("b")));
            assert!(empty(&out));
        }
    }
}

/// Stored again with every entry deflated: a changed byte then reaches the pickle machine with a valid checksum.
fn repack(name: &str, method: CompressionMethod, change: impl Fn(&str, &mut Vec<u8>)) -> Vec<u8> {
    let mut from = zip::ZipArchive::new(std::fs::File::open(fixture(name)).unwrap()).unwrap();
    let mut to = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for i in 0..from.len() {
        let mut entry = from.by_index(i).unwrap();
        let name = entry.name().unwrap().into_owned();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        change(&name, &mut bytes);
        to.start_file(name, SimpleFileOptions::default().compression_method(method)).unwrap();
        to.write_all(&bytes).unwrap();
    }
    to.finish().unwrap().into_inner()
}

#[test]
fn a_deflated_archive_is_read_like_a_stored_one() {
    let dir = tempfile::tempdir().unwrap();
    let vcp = dir.path().join("deflated");
    std::fs::write(&vcp, repack("vcp.pth", CompressionMethod::Deflated, |_, _| {})).unwrap();
    let import = |vcp: &Path, name: &str| {
        let bundle = import(&request(&fixture("clip.pt"), vcp, &dir.path().join(name)), &mut |_, _, _| {});
        bundle.unwrap().sha256().to_owned()
    };
    assert_eq!(import(&vcp, "a"), import(&fixture("vcp.pth"), "b"));
}

#[test]
fn changed_bytes_never_panic_and_never_leave_a_bundle() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let changed = dir.path().join("changed");
    let mut state = 7;
    // The file is opened as CLIP, whose tensors it has not: even a harmless change ends in an error, so that what is
    // left behind can be checked, and no time goes into writing bundles.
    let mut refused = 0;
    let bytes = std::fs::read(fixture("vcp.pth")).unwrap();
    for _ in 0..2000 {
        let mut bytes = bytes.clone();
        let at = next(&mut state) as usize % bytes.len();
        bytes[at] ^= (next(&mut state) % 255 + 1) as u8;
        std::fs::write(&changed, &bytes).unwrap();
        error(&request(&changed, &fixture("vcp.pth"), &out.join("b")));
        refused += 1;
    }
    // Inside the pickle, checksums valid.
    for _ in 0..3000 {
        let (at, flip) = (next(&mut state) as usize, (next(&mut state) % 255 + 1) as u8);
        let bytes = repack("vcp.pth", CompressionMethod::Stored, |name, bytes| {
            if name == "vcp/data.pkl" {
                let at = at % bytes.len();
                bytes[at] ^= flip;
            }
        });
        std::fs::write(&changed, &bytes).unwrap();
        error(&request(&changed, &fixture("vcp.pth"), &out.join("b")));
        refused += 1;
    }
    assert_eq!(refused, 5000);
    // As VCP-CLIP, so that the sizes are changed too. A change that does not matter may give a whole bundle.
    for _ in 0..300 {
        let (at, flip) = (next(&mut state) as usize, (next(&mut state) % 255 + 1) as u8);
        let bytes = repack("vcp.pth", CompressionMethod::Stored, |name, bytes| {
            if name == "vcp/data.pkl" {
                let at = at % bytes.len();
                bytes[at] ^= flip;
            }
        });
        std::fs::write(&changed, &bytes).unwrap();
        if import(&request(&fixture("clip.pt"), &changed, &out.join("b")), &mut |_, _, _| {}).is_ok() {
            Bundle::open(&out.join("b")).unwrap();
            std::fs::remove_dir_all(out.join("b")).unwrap();
        }
        assert!(empty(&out));
    }
    assert!(empty(&out));
}

#[test]
fn a_pickle_that_calls_the_system_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let witness = dir.path().join("witness");
    let command = format!("touch {}", witness.display());
    let mut pickle = b"\x80\x02cposix\nsystem\nX".to_vec();
    pickle.extend((command.len() as u32).to_le_bytes());
    pickle.extend(command.as_bytes());
    pickle.extend(b"\x85R.");
    let bytes = repack("vcp.pth", CompressionMethod::Stored, |name, bytes| {
        if name == "vcp/data.pkl" {
            bytes.clone_from(&pickle);
        }
    });
    let hostile = dir.path().join("hostile.pth");
    std::fs::write(&hostile, bytes).unwrap();
    assert_eq!(
        error(&request(&fixture("clip.pt"), &hostile, &dir.path().join("b"))),
        format!(
            "weight file {} refused: its pickle asks for 'posix.system', which is no tensor data; nothing was executed",
            hostile.display()
        )
    );
    assert!(!witness.exists() && !dir.path().join("b").exists());
}

#[test]
fn files_of_other_kinds_say_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    let say = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        error(&request(&file, &fixture("vcp.pth"), &dir.path().join("b"))).replace(&file.display().to_string(), "FILE")
    };
    let expected = "expected a TorchScript archive, a torch.save file or safetensors";
    assert_eq!(say(b""), format!("FILE is not a weight file: it is empty; {expected}"));
    assert_eq!(
        say(b"hello, world"),
        format!("FILE is not a weight file: its first bytes are of no known container; {expected}")
    );
    let mut index = b"{".to_vec();
    index.resize((64 << 20) + 1, b' ');
    assert!(say(&index).contains("an index of more than 67108864 bytes"));
    assert_eq!(
        say(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."),
        "weight file FILE is truncated or damaged: pickle ends early; fetch it again"
    );
    assert!(say(b"\x80\x04}.").contains("a pickle that torch.save did not write"));
    assert!(say(b"version https://git-lfs.github.com/spec/v1\noid").contains("fetch it with `git lfs pull`"));
}

#[test]
fn a_damaged_bundle_is_refused_and_a_folder_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("b");
    let mut request = request(&fixture("clip.pt"), &fixture("vcp.pth"), &out);
    let first = import(&request, &mut |_, _, _| {}).unwrap().sha256().to_owned();
    assert_eq!(
        error(&request),
        format!(
            "{} exists already; choose another folder for the bundle, or replace a bundle with --force",
            out.display()
        )
    );
    let weights = out.join("weights.safetensors");
    let good = std::fs::read(&weights).unwrap();
    let opened = || Bundle::open(&out).unwrap_err().to_string();
    let damaged = |reason: &str| {
        format!("model bundle damaged: {}: {reason}; import it again with `vcp-line model import`", out.display())
    };
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    std::fs::write(&weights, &bad).unwrap();
    assert_eq!(opened(), damaged("weights.safetensors has another SHA-256 than manifest.json says"));
    std::fs::write(&weights, &good[..100]).unwrap();
    assert_eq!(opened(), damaged(&format!("weights.safetensors has 100 bytes, expected {}", good.len())));
    std::fs::remove_file(&weights).unwrap();
    assert_eq!(opened(), damaged("weights.safetensors is missing"));
    request.force = true;
    assert_eq!(import(&request, &mut |_, _, _| {}).unwrap().sha256(), first);
    // A folder that is no bundle is not replaced even then.
    request.out = dir.path().join("photos");
    std::fs::create_dir(&request.out).unwrap();
    assert!(error(&request).contains("photos is no model bundle, so it is not replaced"), "{}", error(&request));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}

/// Weights are read when they are needed. Whoever shortens or rewrites the file between the check and that moment gets
/// an error that names it, not a signal that ends the process, and never other numbers.
#[test]
fn weights_that_change_while_they_are_open_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("b");
    import(&request(&fixture("clip.pt"), &fixture("vcp.pth"), &out), &mut |_, _, _| {}).unwrap();
    let weights = out.join("weights.safetensors");
    let good = std::fs::read(&weights).unwrap();
    let change = |how: &dyn Fn(&std::fs::File)| {
        std::fs::write(&weights, &good).unwrap();
        let bundle = Bundle::open(&out).unwrap();
        how(&std::fs::File::options().write(true).open(&weights).unwrap());
        let read = bundle.f32("visual.conv1.weight").unwrap_err().to_string();
        let graph = finish::text_constants(&bundle).unwrap_err().to_string();
        let copy = bundle.copy_weights(&mut std::io::sink()).unwrap_err().to_string();
        assert_eq!((&read, &read), (&graph, &copy));
        read
    };
    let damaged = |how: &str| {
        format!(
            "model bundle damaged: {}: weights.safetensors {how} than it was when it was opened: something else writes \
             to it; import it again with `vcp-line model import`",
            out.display()
        )
    };
    for length in [0, 4096] {
        assert_eq!(change(&|file| file.set_len(length).unwrap()), damaged("is shorter"));
    }
    let zeros = vec![0; good.len()];
    assert_eq!(
        change(&|file| std::os::unix::fs::FileExt::write_all_at(file, &zeros, 0).unwrap()),
        damaged("holds other numbers")
    );
    // One that is replaced by another is no concern of whoever has it open.
    std::fs::write(&weights, &good).unwrap();
    let bundle = Bundle::open(&out).unwrap();
    std::fs::remove_file(&weights).unwrap();
    std::fs::write(&weights, b"other").unwrap();
    assert_eq!(bundle.f32("ln_final.bias").unwrap().0, [64]);
}

#[test]
fn a_source_that_is_shortened_while_it_is_imported_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let vcp = dir.path().join("vcp.safetensors");
    let sizes = seeded::tiny();
    seeded::write(&vcp, &seeded::vcp("tiny", &sizes), seeded::Store::F32, false);
    let mut cut = false;
    let error = import(&request(&fixture("clip.pt"), &vcp, &dir.path().join("b")), &mut |stage, _, _| {
        if stage == "tensors" && !std::mem::replace(&mut cut, true) {
            std::fs::File::options().write(true).open(&vcp).unwrap().set_len(3000).unwrap();
        }
    });
    let said = error.unwrap_err().to_string();
    let expected = format!("weight file {} is truncated or damaged: it became shorter", vcp.display());
    assert!(said.starts_with(&expected), "{said}");
    assert!(!dir.path().join("b").exists());
}

#[test]
fn a_manifest_that_claims_the_impossible_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("b");
    import(&request(&fixture("clip.pt"), &fixture("vcp.pth"), &out), &mut |_, _, _| {}).unwrap();
    let manifest = out.join("manifest.json");
    let good: serde_json::Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    for (pointer, value, said) in [
        ("/architecture/vision_layers", 1_000_000_000_000u64.into(), "the vision tower has 1000000000000 blocks"),
        ("/architecture/text_width", 1_000_000_000_000u64.into(), "the text tower has 1000000000000 channels"),
        ("/architecture/class_vectors", u64::MAX.into(), "prompt 'a photo of a good <|class|>' is 8 tokens long"),
        ("/architecture/context_length", 9.into(), "prompt 'a photo of a good <|class|>' is 8 tokens long"),
        ("/prompts/normal/tokens/0", 320.into(), "the tokens of prompt 'a photo of a good <|class|>' are not"),
        ("/prompts/abnormal/tokens/6", 320.into(), "the tokens of prompt 'a photo of a damaged <|class|>' are not"),
        ("/prompts/normal/tokens/7", 320.into(), "the tokens of prompt 'a photo of a good <|class|>' are not"),
        ("/prompts/normal/tokens", serde_json::json!([]), "the tokens of prompt"),
        ("/constants/raw_weight", 1.5.into(), "manifest.json: raw_weight is not"),
        ("/constants/top_k", 0.into(), "manifest.json: top_k is not"),
        ("/constants/sigma", 1e6.into(), "manifest.json: sigma is not"),
        ("/constants/std/1", 0.into(), "manifest.json: std is not"),
        ("/constants/mean/1", 1e300.into(), "manifest.json: mean is not"),
    ] {
        let mut changed = good.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        std::fs::write(&manifest, changed.to_string()).unwrap();
        let error = Bundle::open(&out).unwrap_err().to_string();
        assert!(error.contains(&format!("model bundle damaged: {}: {said}", out.display())), "{pointer}: {error}");
    }
    // As many words as fit the text tower with one class vector, not with two.
    let mut long = good.clone();
    let mut tokens = vec![320; 73];
    (tokens[0], tokens[1], tokens[72]) = (49406, 49408, 49407);
    *long.pointer_mut("/prompts/normal/tokens").unwrap() = tokens.clone().into();
    *long.pointer_mut("/architecture/class_vectors").unwrap() = 5.into();
    std::fs::write(&manifest, long.to_string()).unwrap();
    let error = Bundle::open(&out).unwrap_err().to_string();
    assert!(error.contains("takes 78 positions, and the text tower has 77"), "{error}");
}

/// A file system of one megabyte; the tiny bundle has two.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(dir.path()).status();
        status.is_ok_and(|status| status.success()).then_some(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let status = Command::new("umount").arg(self.0.path()).status();
        assert!(status.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    let Some(disk) = SmallDisk::mount() else {
        assert!(std::env::var_os("CI").is_none(), "under CI this test needs the right to mount a tmpfs (root)");
        eprintln!("not tested: mounting a small tmpfs needs root");
        return;
    };
    let out = disk.0.path().join("bundle");
    let text = error(&request(&fixture("clip.pt"), &fixture("vcp.pth"), &out));
    let start = format!("disk full while writing model bundle {} (up to ", out.display());
    assert!(text.starts_with(&start), "{text}");
    assert!(text.ends_with(" bytes needed); free some space; nothing was left behind"), "{text}");
    assert!(empty(disk.0.path()));
}

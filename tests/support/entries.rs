//! Where bytes of unknown origin enter the program, one function each: what fuzz/ feeds for hours and `make test` for
//! seconds. They may refuse anything and must survive everything.
#![allow(dead_code, reason = "each test program uses its part")]

use std::fs;
use std::path::Path;

use vcp_line::anomaly::{AnomalyMap, Prediction, StageTimes};
use vcp_line::calibrate::Record;
use vcp_line::command;
use vcp_line::learn::checkpoint;
use vcp_line::memory::Memory;
use vcp_line::publish::outbox::survey;
use vcp_line::publish::{sparkplug, watch};
use vcp_line::source::image_file;
use vcp_line::tokens::PatchTokens;
use vcp_line::{config, weights};

/// The settings of a line.
pub fn settings(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Err(error) = config::parse(text, Path::new("line.toml"))
    {
        assert!(!error.to_string().is_empty());
    }
}

/// What anybody may publish below the prefix, as `vcp-line watch` shows it. The first byte chooses the topic.
pub fn message(bytes: &[u8]) {
    let (first, payload) = bytes.split_first().unwrap_or((&0, &[]));
    let topic = ["a/b/verdict", "a/b/state", "a/b/alarm", "a/b"][usize::from(*first) % 4];
    let line = watch::readable(topic, payload);
    assert!(!line.contains('\u{1b}'), "control characters reach the terminal: {line:?}");
}

/// A command to the line. The first byte chooses which.
pub fn command(bytes: &[u8]) {
    let names = [&command::NAMES[..], &["", "no-such"]].concat();
    let (first, payload) = bytes.split_first().unwrap_or((&0, &[]));
    match command::parse(names[usize::from(*first) % names.len()], payload) {
        Ok(request) => assert!(!request.command.name().is_empty()),
        Err(refusal) => assert!(!format!("{refusal:?}").is_empty()),
    }
}

/// A picture of any format.
pub fn image(bytes: &[u8]) {
    match image_file::from_bytes(bytes) {
        Ok(image) => {
            let pixels = image.width as usize * image.height as usize;
            assert_eq!(image.data().len(), pixels * image.format.bytes_per_pixel());
        }
        Err(reason) => assert!(!reason.is_empty()),
    }
}

/// A TIFF or BigTIFF. The first byte chooses its kind.
pub fn tiff(bytes: &[u8]) {
    const KINDS: [&[u8; 4]; 4] = [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"];
    let mut bytes = bytes.to_vec();
    if let Some(kind) = bytes.first().map(|first| KINDS[usize::from(*first) % 4]).filter(|_| bytes.len() > 4)
        && !KINDS.iter().any(|kind| bytes.starts_with(*kind))
    {
        bytes[..4].copy_from_slice(kind);
    }
    image(&bytes);
}

/// A JPEG, followed to its end without computing its pixels, and with them.
pub fn jpeg(bytes: &[u8]) {
    if image_file::whole_jpeg(bytes).is_ok() {
        image(bytes);
    }
}

/// A Sparkplug host's command.
pub fn births(bytes: &[u8]) {
    sparkplug::asks_for_births(bytes);
}

/// The pickle inside a torch.save file, which the zip's checksums keep from being changed in place.
pub fn pickle(bytes: &[u8]) {
    if let Err(error) = weights::check_pickle(bytes) {
        assert!(!error.is_empty());
    }
}

/// A weight file: safetensors, torch.save or TorchScript.
pub fn weights(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("weights");
    fs::write(&file, bytes).expect("writable");
    if let Err(error) = weights::tensor_names(&file) {
        assert!(!error.to_string().is_empty());
        return;
    }
    for vcp in [false, true] {
        if let Err(error) = weights::read_all(std::slice::from_ref(&file), vcp) {
            assert!(!error.to_string().is_empty());
        }
    }
}

/// The index of weights in several files, beside one that is good.
pub fn index(bytes: &[u8]) {
    const GOOD: &[u8] = br#"{"visual.conv1.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}    "#;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shard = [&(GOOD.len() as u64).to_le_bytes()[..], GOOD, &[0; 4]].concat();
    fs::write(folder.path().join("a.safetensors"), shard).expect("writable");
    fs::write(folder.path().join("model.safetensors.index.json"), bytes).expect("writable");
    if let Err(error) = weights::read_all(&[folder.path().to_owned()], false) {
        assert!(!error.to_string().is_empty());
    }
}

/// A training checkpoint.
pub fn checkpoint(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("checkpoint.safetensors"), bytes).expect("writable");
    if let Err(error) = checkpoint::load(folder.path(), &serde_json::json!({"seed": 7})) {
        assert!(!error.to_string().is_empty());
    }
}

/// A segment of the outbox: what cannot be read is damage that is told, never an end.
pub fn outbox(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("0000000000000001.log"), bytes).expect("writable");
    if let Err(error) = survey::read(folder.path()) {
        assert!(!error.to_string().is_empty());
    }
}

/// A file of what good parts look like, and a look with it.
pub fn memory(bytes: &[u8]) {
    let Ok(memory) = Memory::parse(bytes, Path::new("fuzzed.memory")) else { return };
    let about = memory.about();
    if about.grid > 32 || about.width > 64 || about.tokens.len() > 8 {
        return;
    }
    let taps = about.tokens.iter().map(|_| vec![0.5; about.grid * about.grid * about.width]).collect();
    let tokens = Some(PatchTokens::new(about.grid, about.width, taps));
    let map = AnomalyMap::new(16, vec![0.25; 256]);
    let prediction = Prediction { map, score: 0.5, times: StageTimes::default(), tokens };
    let seen = memory.look(prediction, about.picture).expect("it fits itself");
    assert!((0.0..=1.0).contains(&seen.map.peak()) && (0.0..=2.0).contains(&seen.score));
}

/// What a calibration has left.
pub fn calibration(bytes: &[u8]) {
    if let Ok(record) = Record::parse(bytes) {
        serde_json::to_vec(&record).expect("what was read can be written");
    }
}

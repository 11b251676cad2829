//! The same training on a Vulkan device and on the processor comes to the same model. Fails where there is no device; the
//! one in software of Debian's mesa-vulkan-drivers (lavapipe of Mesa 22.3.6 and 25.0.7) crashes while it compiles the
//! first kernels, so this needs a card, and is a program of its own that nothing but the feature `train-vulkan` builds.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::path::Path;
use std::process::Command;

use safetensors::SafeTensors;

#[path = "support/tiny.rs"]
mod tiny;

/// Losses are sums of sixteen numbers up to 2.
const LOSS: f64 = 1e-3;
/// How far the two may end from each other, against how far the training has moved. Adam divides a gradient by its own
/// size, so numbers whose gradient is rounding error go their own way.
const APART: f64 = 0.05;

fn vcp_line(arguments: &[&str], folder: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_vcp-line")).args(arguments).current_dir(folder).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

/// Trains on `device`; the losses of each epoch, in training and validation.
fn train(device: &str, folder: &Path, rates: &[&str]) -> Vec<f64> {
    let clip = tiny::fixture("clip.pt");
    let (out, weights, log) = (format!("{device}-bundle"), format!("{device}.safetensors"), format!("{device}.log"));
    let data = ["train", "vcp", "--data", "parts", "--layout", "folders", "--clip", clip.to_str().unwrap()];
    let model = ["--image-size", "98", "--taps", "3,6,9,12", "--batch", "4", "--epochs", "2", "--hold-out", "0.25"];
    let files = ["--device", device, "--pth-names", &weights, "--log-file", &log, "-o", &out, "--force"];
    vcp_line(&[&data[..], &model, &files, rates].concat(), folder);
    let epochs = std::fs::read_to_string(folder.join(log)).unwrap();
    let losses = |line: &str| {
        let epoch: serde_json::Value = serde_json::from_str(line).unwrap();
        [&epoch["loss"], &epoch["validation"]["loss"]].map(|loss| loss["total"].as_f64().unwrap())
    };
    epochs.lines().flat_map(losses).collect()
}

/// What was learned, without the two temperatures, which move much faster than all else.
fn values(folder: &Path, device: &str) -> Vec<f64> {
    let bytes = std::fs::read(folder.join(device).with_extension("safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors = file.tensors();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let numbers = |bytes: &[u8]| -> Vec<f64> {
        bytes.as_chunks::<4>().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect()
    };
    tensors.iter().filter(|(_, view)| view.data().len() > 4).flat_map(|(_, view)| numbers(view.data())).collect()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn vulkan_learns_what_the_processor_learns() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let parts = ["synth", "--out", "parts", "--layout", "folders", "--classes", "ring,tile", "--size", "98"];
    vcp_line(&[&parts[..], &["--good", "6", "--defective", "10"]].concat(), folder);

    // Nothing moves, so this is where both begin.
    train("cpu", folder, &["--rate", "0", "--temperature-rate", "0"]);
    let first = values(folder, "cpu");
    let cpu = train("cpu", folder, &[]);
    let vulkan = train("vulkan", folder, &[]);
    for (epoch, (cpu, vulkan)) in cpu.iter().zip(&vulkan).enumerate() {
        assert!((cpu - vulkan).abs() < LOSS, "loss {epoch}: {cpu} on the processor, {vulkan} with Vulkan");
    }
    assert_eq!((cpu.len(), vulkan.len()), (4, 4));
    let [cpu, vulkan] = ["cpu", "vulkan"].map(|device| values(folder, device));
    let (moved, apart) = (distance(&first, &cpu), distance(&cpu, &vulkan));
    println!("moved by {moved:.3e}, apart by {apart:.3e}");
    assert!(moved > 0.0 && apart < APART * moved, "moved by {moved:.3e}, apart by {apart:.3e}");
}

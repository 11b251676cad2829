//! `vcp-line model`: weight files into a bundle, a bundle into ONNX, and what a bundle holds.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use super::failure::{self, wrong_arguments};
use super::quantize::{self, QuantizeArguments};
use super::terminal::{self, note, say};
use crate::engine::tensorrt::{self, BuildRequest};
use crate::engine::{EngineChoice, Precision, finish, onnx, plan};
use crate::weights::bundle::Bundle;
use crate::weights::{self, ImportRequest};

/// Heads of every released VCP-CLIP.
const POST_HEADS: usize = 8;

#[derive(Subcommand)]
pub enum ModelCommand {
    /// Turn CLIP and VCP-CLIP weight files into a bundle.
    Import(ImportArguments),
    /// Write a bundle's network as ONNX (opset 17, dynamic batch; large weights go into FILE.data beside it).
    Export(ExportArguments),
    /// Build a bundle's network into a plan for the TensorRT engine; works on a machine without a GPU.
    Build(BuildArguments),
    /// Find the scales that a bundle's network is computed by in 8 bits, on good pictures; only what passes the gate is written.
    Quantize(QuantizeArguments),
    /// Show a bundle's identity, sizes, prompts and hashes, after verifying them.
    Info(InfoArguments),
}

#[derive(Args)]
pub struct ImportArguments {
    /// CLIP weights: a file (TorchScript, torch.save or safetensors; names of OpenAI, open_clip or Hugging Face), an
    /// index of several files, or a folder with one of these; twice for towers that are saved alone.
    #[arg(long, value_name = "FILE", required = true, action = clap::ArgAction::Append)]
    clip: Vec<PathBuf>,
    /// VCP-CLIP weights: the released `.pth`, a checkpoint of its training, or the tensors flattened into safetensors.
    #[arg(long, value_name = "FILE")]
    vcp: PathBuf,
    /// Side of the model's square input, pixels; a multiple of the patch size (the published models use 518).
    #[arg(long, value_name = "PIXELS")]
    image_size: usize,
    /// Vision blocks whose patch tokens are used, counted from 1 [default: evenly spaced, as many as the VCP file has layers]
    #[arg(long, value_name = "LAYER,…", value_delimiter = ',')]
    taps: Option<Vec<usize>>,
    /// Heads of the Post-VCP cross-attention; no tensor tells it.
    #[arg(long, value_name = "N", default_value_t = POST_HEADS)]
    post_heads: usize,
    /// Name of the model, as it appears in every event [default: the folder's name]
    #[arg(long)]
    name: Option<String>,
    /// Replace an existing bundle.
    #[arg(long)]
    force: bool,
    /// Folder to write.
    #[arg(short, long, value_name = "BUNDLE")]
    output: PathBuf,
}

#[derive(Args)]
pub struct ExportArguments {
    /// Folder of the bundle.
    bundle: PathBuf,
    /// File to write [default: NAME.onnx in the current folder]
    #[arg(short, long, value_name = "FILE.onnx", conflicts_with = "triton")]
    output: Option<PathBuf>,
    /// Write a model repository instead, for Triton and other servers of the Open Inference Protocol: bytes of a picture in, map and
    /// score out; DIR/NAME-SHA8/config.pbtxt and DIR/NAME-SHA8/1/model.onnx.
    #[arg(long, value_name = "DIR")]
    triton: Option<PathBuf>,
}

#[derive(Args)]
pub struct BuildArguments {
    /// Folder of the bundle.
    bundle: PathBuf,
    /// The engine to build for; the others need no plan.
    #[arg(long, value_enum, default_value_t = EngineChoice::Tensorrt)]
    engine: EngineChoice,
    /// Architectures of the cards, compute capability as 8.9 or 89 [default: 8.0, 8.6, 8.9 and
    /// 12.0, of fp8 the last two; with TensorRT enterprise the card that is there]
    #[arg(long, value_name = "SM,…", value_delimiter = ',', value_parser = architecture)]
    sm: Vec<u32>,
    /// Arithmetic of the network; the engine must be asked for the same.
    #[arg(long, value_enum, default_value_t = Precision::Fp16)]
    precision: Precision,
    /// Scales for int8 and fp8 [default: where `model quantize` puts them, in the bundle's folder]
    #[arg(long, value_name = "FILE")]
    scales: Option<PathBuf>,
    /// Most frames in one inference, 1 to 64.
    #[arg(long, value_name = "N", default_value_t = plan::MAX_BATCH, value_parser = batch)]
    max_batch: usize,
    /// File to write, and FILE.json beside it [default: in the bundle's folder, where the engine looks for it]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// `8.9`, `89` or `12.0` as 89, 89, 120.
fn architecture(text: &str) -> Result<u32, String> {
    let wrong = || format!("'{text}' is no compute capability; write 8.9 or 89");
    match text.split_once('.') {
        Some((major, minor)) if minor.len() == 1 => {
            let number = |part: &str| part.parse::<u32>().map_err(|_| wrong());
            Ok(number(major)?.saturating_mul(10) + number(minor)?)
        }
        Some(_) => Err(wrong()),
        None => text.parse().map_err(|_| wrong()),
    }
}

fn batch(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| (1..=64).contains(n)).ok_or_else(|| "a number from 1 to 64".to_owned())
}

#[derive(Args)]
pub struct InfoArguments {
    /// Folder of the bundle.
    bundle: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(command: &ModelCommand) -> anyhow::Result<()> {
    match command {
        ModelCommand::Import(arguments) => import(arguments),
        ModelCommand::Export(arguments) => export(arguments),
        ModelCommand::Build(arguments) => build(arguments),
        ModelCommand::Quantize(arguments) => quantize::run(arguments),
        ModelCommand::Info(arguments) => info(arguments),
    }
}

/// A bar on a terminal, a plain line per stage otherwise.
fn progress() -> impl FnMut(&str, u64, u64) {
    let bar = std::io::stderr().is_terminal().then(|| {
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{msg:28} {bar:32} {percent:>3} % {eta}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    });
    let mut last = String::new();
    move |stage, done, total| match &bar {
        Some(bar) => {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(stage.to_owned());
        }
        None if last != stage => {
            note!("{stage} …");
            stage.clone_into(&mut last);
        }
        None => {}
    }
}

fn import(arguments: &ImportArguments) -> anyhow::Result<()> {
    let (clip, second_tower) = match &arguments.clip[..] {
        [clip] => (clip, None),
        [clip, other] => (clip, Some(other)),
        _ => return Err(wrong_arguments("--clip: give one file, or two for towers that are saved alone".to_owned())),
    };
    for path in &arguments.clip {
        failure::there("--clip", path)?;
    }
    failure::there("--vcp", &arguments.vcp)?;
    let request = ImportRequest {
        clip: clip.clone(),
        second_tower: second_tower.cloned(),
        vcp: arguments.vcp.clone(),
        image_size: arguments.image_size,
        taps: arguments.taps.clone(),
        post_heads: arguments.post_heads,
        name: arguments.name.clone(),
        out: arguments.output.clone(),
        force: arguments.force,
    };
    let bundle = weights::import(&request, &mut progress())?;
    say!("{}", arguments.output.display());
    print_info(&bundle);
    Ok(())
}

fn export(arguments: &ExportArguments) -> anyhow::Result<()> {
    failure::bundle_there(&arguments.bundle)?;
    let bundle = Bundle::open(&arguments.bundle)?;
    if let Some(repository) = &arguments.triton {
        for file in onnx::triton::write(&bundle, repository)? {
            say!("{}", file.display());
        }
        return Ok(());
    }
    let default = || PathBuf::from(format!("{}.onnx", bundle.manifest().name));
    let path = arguments.output.clone().unwrap_or_else(default);
    let constants = finish::text_constants(&bundle)?;
    let written = onnx::export(&bundle, &constants, &path, onnx::INLINE_LIMIT)
        .with_context(|| format!("writing {}", path.display()))?;
    for file in written {
        say!("{}", file.display());
    }
    Ok(())
}

fn build(arguments: &BuildArguments) -> anyhow::Result<()> {
    if arguments.engine != EngineChoice::Tensorrt {
        return Err(wrong_arguments(format!(
            "--engine {}: only tensorrt needs a plan, the others compile the model when they are opened",
            arguments.engine
        )));
    }
    failure::bundle_there(&arguments.bundle)?;
    let request = BuildRequest {
        bundle: arguments.bundle.clone(),
        sms: arguments.sm.clone(),
        precision: arguments.precision,
        max_batch: arguments.max_batch,
        output: arguments.output.clone(),
        scales: arguments.scales.clone(),
    };
    let start = Instant::now();
    let (path, identity) = tensorrt::build(&request, Box::new(progress()))?;
    let sms: Vec<String> = identity.sms.iter().map(|sm| format!("{}.{}", sm / 10, sm % 10)).collect();
    say!("{}", path.display());
    say!("model         {} ({})", identity.model, identity.model_sha256);
    say!("built by      {} {}", identity.flavour, identity.version);
    say!("runs on       SM {}", sms.join(", "));
    say!("precision     {}, batches of 1 to {}", identity.precision, identity.max_batch);
    if let Some(scales) = &identity.scales_sha256 {
        say!("scales        {scales}");
    }
    say!("size          {:.1} MB, {:.1} s", identity.plan_bytes as f64 / 1e6, start.elapsed().as_secs_f64());
    Ok(())
}

fn info(arguments: &InfoArguments) -> anyhow::Result<()> {
    failure::bundle_there(&arguments.bundle)?;
    let bundle = Bundle::open(&arguments.bundle)?;
    if arguments.json {
        terminal::json(bundle.manifest(), true)?;
    } else {
        print_info(&bundle);
    }
    Ok(())
}

/// What a bundle holds, in words.
pub fn print_info(bundle: &Bundle) {
    let manifest = bundle.manifest();
    let arch = &manifest.architecture;
    say!("name          {}", manifest.name);
    say!("sha256        {}", bundle.sha256());
    say!("input         {0}x{0} pixels, patches of {1}, grid {2}x{2}", arch.image_size, arch.patch, arch.grid());
    say!("vision tower  {} blocks of width {}, taps {:?}", arch.vision_layers, arch.vision_width, arch.taps);
    say!("text tower    {} blocks of width {}", arch.text_layers, arch.text_width);
    say!(
        "prompting     {} class vectors, {} prompt tokens, {} deep blocks, {} Post-VCP heads",
        arch.class_vectors,
        arch.prompt_tokens,
        arch.deep_prompts,
        arch.post_heads
    );
    say!("normal        {}", manifest.prompts.normal.template);
    say!("abnormal      {}", manifest.prompts.abnormal.template);
    say!("tensors       {}", bundle.names().count());
    for source in &manifest.sources {
        say!("from {:8} {} ({}, sha256 {})", source.role, source.file, source.kind, source.sha256);
    }
    say!("licence       {}", manifest.licence_note);
}

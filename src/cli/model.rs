//! `vcp-line model`: weight files into a bundle, a bundle into ONNX, and what a bundle holds.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use crate::engine::{finish, onnx};
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
    /// Show a bundle's identity, sizes, prompts and hashes, after verifying them.
    Info(InfoArguments),
}

#[derive(Args)]
pub struct ImportArguments {
    /// CLIP weights: OpenAI's TorchScript `.pt`, safetensors with OpenAI names, or a Hugging Face CLIPModel's safetensors.
    #[arg(long, value_name = "FILE")]
    clip: PathBuf,
    /// VCP-CLIP weights: the released `.pth`, or its tensors flattened into safetensors.
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
    #[arg(short, long, value_name = "FILE.onnx")]
    output: Option<PathBuf>,
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
            eprintln!("{stage} …");
            stage.clone_into(&mut last);
        }
        None => {}
    }
}

fn import(arguments: &ImportArguments) -> anyhow::Result<()> {
    let request = ImportRequest {
        clip: arguments.clip.clone(),
        vcp: arguments.vcp.clone(),
        image_size: arguments.image_size,
        taps: arguments.taps.clone(),
        post_heads: arguments.post_heads,
        name: arguments.name.clone(),
        out: arguments.output.clone(),
        force: arguments.force,
    };
    let bundle = weights::import(&request, &mut progress())?;
    println!("{}", arguments.output.display());
    print_info(&bundle);
    Ok(())
}

fn export(arguments: &ExportArguments) -> anyhow::Result<()> {
    let bundle = Bundle::open(&arguments.bundle)?;
    let default = || PathBuf::from(format!("{}.onnx", bundle.manifest().name));
    let path = arguments.output.clone().unwrap_or_else(default);
    let constants = finish::text_constants(&bundle)?;
    let written = onnx::export(&bundle, &constants, &path, onnx::INLINE_LIMIT)
        .with_context(|| format!("writing {}", path.display()))?;
    for file in written {
        println!("{}", file.display());
    }
    Ok(())
}

fn info(arguments: &InfoArguments) -> anyhow::Result<()> {
    let bundle = Bundle::open(&arguments.bundle)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(bundle.manifest())?);
    } else {
        print_info(&bundle);
    }
    Ok(())
}

/// What a bundle holds, in words.
pub fn print_info(bundle: &Bundle) {
    let manifest = bundle.manifest();
    let arch = &manifest.architecture;
    println!("name          {}", manifest.name);
    println!("sha256        {}", bundle.sha256());
    println!("input         {0}x{0} pixels, patches of {1}, grid {2}x{2}", arch.image_size, arch.patch, arch.grid());
    println!("vision tower  {} blocks of width {}, taps {:?}", arch.vision_layers, arch.vision_width, arch.taps);
    println!("text tower    {} blocks of width {}", arch.text_layers, arch.text_width);
    println!(
        "prompting     {} class vectors, {} prompt tokens, {} deep blocks, {} Post-VCP heads",
        arch.class_vectors, arch.prompt_tokens, arch.deep_prompts, arch.post_heads
    );
    println!("normal        {}", manifest.prompts.normal.template);
    println!("abnormal      {}", manifest.prompts.abnormal.template);
    println!("tensors       {}", bundle.names().count());
    for source in &manifest.sources {
        println!("from {:8} {} ({}, sha256 {})", source.role, source.file, source.kind, source.sha256);
    }
    println!("licence       {}", manifest.licence_note);
}

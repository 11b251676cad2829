//! `vcp-line train vcp`: the VCP modules on a frozen CLIP, from labelled pictures.

use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::checkpoint;
use super::vcp_settings::{AugmentArguments, LearnArguments, ModelArguments, TileArguments};
use crate::cli::failure::{self, wrong_arguments};
use crate::cli::interrupt::Interrupts;
use crate::cli::model;
use crate::cli::terminal::{note, say};
use crate::dataset::{Layout, Split};
use crate::learn::device::DeviceChoice;
use crate::learn::event::{Epoch, Event};
use crate::learn::vcp_run::{DataRequest, VcpRequest, run as train};

/// Bytes of a GiB.
const GIB: f64 = (1_u64 << 30) as f64;

#[derive(Args)]
pub struct VcpArguments {
    /// The frozen CLIP: OpenAI's `.pt`, safetensors with OpenAI names (such as `train clip` writes), or Hugging Face's.
    #[arg(long, value_name = "FILE")]
    clip: PathBuf,
    /// Labelled pictures: the root of a data set.
    #[arg(long, value_name = "ROOT")]
    data: PathBuf,
    /// How the data set is arranged.
    #[arg(long, value_enum, default_value_t = Layout::Auto)]
    layout: Layout,
    /// Go on when more than a tenth of the pictures cannot be used.
    #[arg(long)]
    allow_missing: bool,
    /// Classes to learn from [default: all]
    #[arg(long, value_name = "CLASS,…", value_delimiter = ',')]
    classes: Vec<String>,
    /// Part of the data set to learn from; the published models learned from the test part of another data set, which
    /// has the anomalous pictures.
    #[arg(long, value_enum, default_value_t)]
    split: SplitChoice,
    /// Another data set, arranged in the same way, to validate with after every epoch.
    #[arg(long, value_name = "ROOT", conflicts_with = "hold_out")]
    validate: Option<PathBuf>,
    /// Its classes to validate with [default: all]
    #[arg(long, value_name = "CLASS,…", value_delimiter = ',', requires = "validate")]
    validate_classes: Vec<String>,
    /// VCP weights to start from: a `.pth` or a file that --pth-names wrote [default: drawn by --seed]
    #[arg(long, value_name = "VCP_FILE")]
    start: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    tiles: TileArguments,
    #[command(flatten)]
    learn: LearnArguments,
    #[command(flatten)]
    augment: AugmentArguments,
    /// Memory for kept features, GiB; more of them go into a file in the checkpoint's or the temporary folder.
    #[arg(long, value_name = "GIB", default_value_t = 4.0)]
    cache_memory: f64,
    /// What computes.
    #[arg(long, value_enum, default_value_t)]
    device: DeviceChoice,
    /// Keep the run in this folder, so that it goes on after any end.
    #[arg(long, value_name = "DIR")]
    checkpoint: Option<PathBuf>,
    /// Go on with the run in --checkpoint, if there is one; it must have the same data and settings.
    #[arg(long, requires = "checkpoint")]
    resume: bool,
    /// Steps between two checkpoints; one more is written after every epoch.
    #[arg(long, value_name = "STEPS", default_value_t = 100)]
    checkpoint_every: u64,
    /// Write one JSON object per epoch into this file: losses, validation, time.
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// Keep the VCP weights as a file of their own, safetensors under the released names.
    #[arg(long, value_name = "FILE")]
    pth_names: Option<PathBuf>,
    /// Name of the model, as it appears in every event [default: the folder's name]
    #[arg(long)]
    name: Option<String>,
    /// Replace an existing bundle.
    #[arg(long)]
    force: bool,
    /// Folder of the bundle to write.
    #[arg(short, long, value_name = "BUNDLE")]
    output: PathBuf,
}

/// Part of a data set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum SplitChoice {
    /// Good and anomalous pictures.
    #[default]
    Test,
    /// Good pictures, as the published sets have them.
    Train,
    /// Both.
    All,
}

impl VcpArguments {
    fn request(&self, interrupts: &Interrupts) -> anyhow::Result<VcpRequest> {
        let layout = self.layout.resolve(&self.data)?;
        // One part is the whole of a layout without splits.
        let splits = match self.split {
            SplitChoice::Train => vec![Split::Train],
            SplitChoice::All if layout != Layout::Folders => vec![Split::Train, Split::Test],
            SplitChoice::Test | SplitChoice::All => vec![Split::Test],
        };
        if self.cache_memory.is_nan() || self.cache_memory < 0.0 {
            return Err(wrong_arguments(format!("--cache-memory {}: give a number from 0", self.cache_memory)));
        }
        let checkpoint =
            checkpoint::request(self.checkpoint.as_deref(), self.checkpoint_every, self.resume, interrupts);
        let data = |root: &Path, classes: &[String], splits: Vec<Split>| DataRequest {
            root: root.to_owned(),
            layout: self.layout,
            splits,
            classes: classes.to_vec(),
            allow_missing: self.allow_missing,
        };
        Ok(VcpRequest {
            clip: self.clip.clone(),
            start: self.start.clone(),
            whole: self.tiles.whole_data.as_ref().map(|root| data(root, &self.classes, splits.clone())),
            data: data(&self.data, &self.classes, splits),
            validate: self.validate.as_ref().map(|root| data(root, &self.validate_classes, vec![Split::Test])),
            settings: self.learn.settings(&self.model, &self.tiles, self.augment.augmentation(layout), &self.augment),
            device: self.device,
            checkpoint,
            most_memory: (self.cache_memory * GIB) as u64,
            out: self.output.clone(),
            name: self.name.clone(),
            force: self.force,
            vcp_file: self.pth_names.clone(),
        })
    }
}

pub fn run(arguments: &VcpArguments, interrupts: &Interrupts) -> anyhow::Result<()> {
    for (name, path) in [
        ("--clip", Some(&arguments.clip)),
        ("--data", Some(&arguments.data)),
        ("--whole-data", arguments.tiles.whole_data.as_ref()),
        ("--validate", arguments.validate.as_ref()),
        ("--start", arguments.start.as_ref()),
    ] {
        path.map_or(Ok(()), |path| failure::there(name, path))?;
    }
    let request = arguments.request(interrupts)?;
    if let Some(folder) = arguments.log_file.as_ref().and_then(|file| file.parent())
        && folder != Path::new("")
        && !folder.is_dir()
    {
        let message = format!("--log-file: no folder at {}; make it first", folder.display());
        return Err(wrong_arguments(message));
    }
    let mut log = Log { path: arguments.log_file.clone(), from: 1, started: false, failed: None };
    let mut screen = Screen::new();
    let result = train(&request, &mut |event| {
        match event {
            Event::Step { .. } => checkpoint::stepping(request.checkpoint.as_ref(), interrupts),
            // Everything that was learned is kept by now.
            Event::Preparing { .. } => interrupts.ask_first(None),
            Event::Resumed { epoch, .. } => log.from = epoch,
            Event::Epoch(epoch) => log.write(epoch),
            _ => {}
        }
        screen.show(event);
    });
    screen.end();
    let bundle = checkpoint::ended(result, interrupts)?;
    if let Some(error) = log.failed {
        return Err(error);
    }
    say!("{}", arguments.output.display());
    model::print_info(&bundle);
    Ok(())
}

/// A bar per epoch on a terminal, plain lines otherwise.
struct Screen {
    bar: Option<ProgressBar>,
    stage: String,
    epochs: usize,
}

impl Screen {
    fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            if let Ok(style) = ProgressStyle::with_template("{prefix:12} {bar:32} {pos}/{len} {eta:>5}  {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, stage: String::new(), epochs: 0 }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => note!("{text}"),
        }
    }

    fn show(&mut self, event: Event<'_>) {
        match event {
            Event::Found(line) => self.line(line),
            Event::Data { pictures, anomalous, validation } => {
                let kept = if validation > 0 { format!(", {validation} for validation") } else { String::new() };
                self.line(&format!("{pictures} pictures, {anomalous} of them anomalous{kept}"));
            }
            Event::Preparing { stage, done, total } => {
                if let Some(bar) = &self.bar {
                    bar.set_length(total);
                    bar.set_position(done);
                    bar.set_prefix(stage.to_owned());
                    bar.set_message("");
                } else if self.stage != stage {
                    self.line(&format!("{stage} …"));
                }
                stage.clone_into(&mut self.stage);
            }
            Event::Resumed { epoch, step } => self.line(&format!("goes on in epoch {epoch} after step {step}")),
            Event::Step { epoch, step, steps, losses } => {
                if let Some(bar) = &self.bar {
                    if self.epochs != epoch {
                        bar.reset();
                        self.epochs = epoch;
                    }
                    bar.set_length(steps as u64);
                    bar.set_position(step as u64);
                    bar.set_prefix(format!("epoch {epoch}"));
                    bar.set_message(format!("loss {:.4}", losses.total()));
                }
            }
            Event::Epoch(epoch) => self.line(&line(epoch)),
        }
    }
}

/// An epoch in words.
fn line(epoch: &Epoch) -> String {
    let Epoch { losses, validation, time, pictures, .. } = epoch;
    let seconds = time.as_secs_f64();
    let mut text = format!(
        "epoch {}: loss {:.4} (Pre-VCP {:.4}, Post-VCP {:.4})",
        epoch.epoch,
        losses.total(),
        losses.raw,
        losses.new
    );
    if let Some(validation) = validation {
        text += &format!(
            ", validation {:.4}: pixel AUROC {:.4}, PRO {:.4}, AP {:.4}, image AUROC {:.4}, AP {:.4}",
            validation.losses.total(),
            validation.pixel_auroc,
            validation.pixel_aupro,
            validation.pixel_ap,
            validation.image_auroc,
            validation.image_ap
        );
    }
    text + &format!(", {seconds:.1} s, {:.0} pictures/s", *pictures as f64 / seconds.max(1e-9))
}

/// One JSON object per epoch.
struct Log {
    path: Option<PathBuf>,
    /// First epoch of this process; what an earlier one wrote of it and later ones goes.
    from: usize,
    started: bool,
    /// The training is worth more than its log: it goes on, and the error comes at the end.
    failed: Option<anyhow::Error>,
}

impl Log {
    fn write(&mut self, epoch: &Epoch) {
        let Some(path) = self.path.clone() else { return };
        if self.failed.is_none()
            && let Err(error) = self.append(&path, epoch)
        {
            self.failed = Some(error.context(format!("the model is written, its log is not: {}", path.display())));
        }
    }

    fn append(&mut self, path: &Path, epoch: &Epoch) -> anyhow::Result<()> {
        if !self.started {
            self.started = true;
            let kept = kept_lines(path, self.from)?;
            std::fs::write(path, kept).context("writing")?;
        }
        let mut file = OpenOptions::new().append(true).open(path).context("opening")?;
        let losses = |losses: &crate::learn::vcp_training::Losses| json!({"total": losses.total(), "pre_vcp": losses.raw, "post_vcp": losses.new});
        let seconds = epoch.time.as_secs_f64();
        let validation = epoch.validation.as_ref().map(|validated| {
            // A figure without a definition is null.
            json!({"loss": losses(&validated.losses), "figures": validated})
        });
        let line = json!({
            "epoch": epoch.epoch,
            "loss": losses(&epoch.losses),
            "validation": validation,
            "seconds": seconds,
            "pictures": epoch.pictures,
        });
        writeln!(file, "{line}").context("writing")
    }
}

/// Lines of an earlier process that are still true: epochs before `from`.
fn kept_lines(path: &Path, from: usize) -> anyhow::Result<String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) if from > 1 => text,
        Ok(_) => return Ok(String::new()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error).context("reading"),
    };
    let earlier = |line: &&str| {
        let epoch = serde_json::from_str::<Value>(line).ok().and_then(|line| line.get("epoch")?.as_u64());
        epoch.is_some_and(|epoch| (epoch as usize) < from)
    };
    Ok(text.lines().filter(earlier).flat_map(|line| [line, "\n"]).collect())
}

//! `vcp-line demo`: a whole line with nothing configured.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::plan::{self, SourceSpec};
use super::{EngineArguments, demo_parts, service, watch};
use crate::clock::SystemClock;
use crate::event::RecipeInfo;
use crate::line::CameraPlan;
use crate::line::queue::WhenFull;
use crate::line::recipe::RecipeSpec;
use crate::publish::broker::EmbeddedBroker;
use crate::publish::{self, PublisherSpec};
use crate::source::SourceContext;
use crate::source::directory::DirectorySpec;
use crate::vcp_clip::Architecture;
use crate::weights;

/// Pictures made before the line starts; they are shown over and over.
const PARTS: usize = 24;
const LINE: &str = "demo";
const SEED: u64 = 7;

#[derive(Args)]
pub struct DemoArguments {
    /// Model bundle [default: a small one with random weights, which shows the line at work and finds nothing real]
    #[arg(long, value_name = "BUNDLE")]
    model: Option<PathBuf>,
    #[command(flatten)]
    engine: EngineArguments,
    /// Parts per second.
    #[arg(long, value_name = "RATE", default_value_t = 2.0)]
    rate: f64,
    /// Stop after this many parts (up to 10000) [default: run until Ctrl-C]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    parts: Option<u32>,
    /// Port of the broker inside, for a client of your own [default: a free one]
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
}

pub fn run(arguments: &DemoArguments) -> anyhow::Result<()> {
    anyhow::ensure!(
        arguments.rate > 0.0 && arguments.rate <= 1000.0,
        "--rate {}: parts per second, more than 0 and at most 1000",
        arguments.rate
    );
    let stop = service::stop_on_signal()?;
    let folder = tempfile::Builder::new().prefix("vcp-line-demo-").tempdir().context("creating a folder")?;
    let parts = folder.path().join("parts");
    let count = arguments.parts.map_or(PARTS, |n| n as usize);
    demo_parts::write(&parts, count, SEED).with_context(|| format!("writing pictures into {}", parts.display()))?;
    let model = match &arguments.model {
        Some(model) => model.clone(),
        None => random_model(folder.path())?,
    };

    let broker = EmbeddedBroker::start(arguments.port)?;
    let address = broker.address();
    println!("broker    mqtt://{address}  (follow it with: vcp-line watch mqtt://{address})");
    println!("input     {count} simulated parts at {} per second", arguments.rate);
    if arguments.model.is_none() {
        println!(
            "model     random weights: the line is real, its verdicts mean nothing. Use --model BUNDLE for real ones"
        );
    }

    let publisher = PublisherSpec::new(address.ip().to_string(), address.port(), LINE);
    let mut reader = publisher.clone();
    reader.client_id = "vcp-line-demo-reader".into();
    let filter = format!("{}/#", publisher.prefix);
    let end_of_watch = stop.child_token();
    let reading = end_of_watch.clone();
    let watcher = std::thread::Builder::new()
        .name("watch".into())
        .spawn(move || publish::watch::watch(&reader, &filter, &reading, watch::print))
        .context("starting the reader")?;

    let plan = CameraPlan {
        name: Arc::from("camera"),
        queue: 4,
        when_full: WhenFull::Wait,
        recipe: RecipeSpec {
            info: RecipeInfo { id: "demo".into(), version: 1 },
            threshold: None,
            defect_threshold: 0.5,
            min_area_px: 40,
            regions: vec![],
        },
        backoff_min: Duration::from_millis(500),
        backoff_max: Duration::from_secs(5),
    };
    let source = SourceSpec::Directory(DirectorySpec {
        path: parts,
        extensions: vec![],
        repeat: arguments.parts.is_none(),
        fps: Some(arguments.rate),
        watch: false,
    });
    let context = SourceContext { camera: Arc::clone(&plan.name), clock: Arc::new(SystemClock) };
    let served = service::serve(
        service::Service {
            line: LINE.into(),
            cameras: vec![(plan, plan::opener(source, context))],
            engine: plan::engine(arguments.engine.spec(&model, 4)),
            publisher,
            stop_deadline: Duration::from_secs(5),
        },
        &stop,
    );
    // What the reader has not printed yet has been acknowledged, so it is on its way.
    std::thread::sleep(Duration::from_millis(200));
    end_of_watch.cancel();
    let watched = watcher.join().map_err(|_| anyhow::anyhow!("the reader broke off"))?;
    served?;
    watched.context("reading from the broker inside")
}

/// Sizes small enough to run on anything, with every part of a real model present.
fn random_model(folder: &Path) -> anyhow::Result<PathBuf> {
    let bundle = folder.join("random-model");
    let architecture = Architecture {
        image_size: 154,
        patch: 14,
        vision_width: 128,
        vision_layers: 4,
        text_width: 64,
        text_layers: 2,
        context_length: 77,
        class_vectors: 2,
        prompt_tokens: 1,
        deep_prompts: 1,
        taps: vec![1, 2, 3, 4],
        post_heads: 8,
    };
    weights::random(&bundle, &architecture, SEED)?;
    Ok(bundle)
}

//! `vcp-line demo`: a whole line with nothing configured.

mod model;
mod score;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::commands::CommandSpec;
use super::kept::KeptRecipes;
use super::plan::{self, SourceSpec};
use super::engine_arguments::EngineArguments;
use super::{service, watch};
use crate::clock::SystemClock;
use crate::event::RecipeInfo;
use crate::line::CameraPlan;
use crate::line::parts::TriggerPlan;
use crate::line::queue::WhenFull;
use crate::line::recipe::RecipeSpec;
use crate::output::Temporary;
use crate::publish::broker::EmbeddedBroker;
use crate::publish::state::StateWord;
use crate::publish::watch::Heard;
use crate::publish::{self, PublisherSpec};
use crate::source::SourceContext;
use crate::source::synthetic::SyntheticSpec;
use crate::synth::{Class, Conveyor, DefectKind};
use score::Score;

/// Pictures made before the line starts; they are shown over and over.
const POOL: u32 = 48;
/// Side of the pictures, pixels.
const SIDE: u32 = 256;
const LINE: &str = "demo";
const SEED: u64 = 7;

#[derive(Args)]
pub struct DemoArguments {
    /// Model bundle [default: vcp-demo, which ships with the program]
    #[arg(long, value_name = "BUNDLE", env = "VCP_LINE_DEMO_MODEL")]
    model: Option<PathBuf>,
    /// A small model with random weights, which shows the line at work and finds nothing real.
    #[arg(long, conflicts_with = "model")]
    random_model: bool,
    #[command(flatten)]
    engine: EngineArguments,
    /// Products that come along in turn, named as in `vcp-line synth`.
    #[arg(
        long,
        value_name = "A,B,…",
        value_delimiter = ',',
        default_value = "leather,ring,printed-board,pill,tile,bottle-mouth"
    )]
    classes: Vec<Class>,
    /// Share of defective parts, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.3)]
    defective: f64,
    /// Image scores from here on fail, 0 to 2 [default: defects alone decide]
    #[arg(long, value_name = "SCORE")]
    threshold: Option<f32>,
    /// Map values from here on belong to a defect, 0 to 1.
    #[arg(long, value_name = "VALUE", default_value_t = 0.25)]
    defect_threshold: f32,
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

/// What the line says of itself is told once it is at work, and when it changes. A line begins by saying that it is not
/// online yet and by taking back the alarms of an earlier start, and nobody here has seen that one.
#[derive(Default)]
struct News {
    state: Option<StateWord>,
    alarms: BTreeSet<String>,
}

impl News {
    fn is_some_at(&mut self, heard: &Heard<'_>) -> bool {
        if let Some(state) = heard.state() {
            let before = self.state.replace(state.state);
            return before != self.state && (before.is_some() || state.state != StateWord::Offline);
        }
        match heard {
            Heard::Message { topic, payload } if topic.ends_with("/alarm") => match payload.is_empty() {
                true => self.alarms.remove(*topic),
                false => {
                    self.alarms.insert((*topic).to_owned());
                    true
                }
            },
            _ => true,
        }
    }
}

pub fn run(arguments: &DemoArguments) -> anyhow::Result<()> {
    anyhow::ensure!(
        arguments.rate > 0.0 && arguments.rate <= 1000.0,
        "--rate {}: parts per second, more than 0 and at most 1000",
        arguments.rate
    );
    let share = arguments.defective;
    anyhow::ensure!((0.0..=1.0).contains(&share), "--defective {share}: a share of the parts, 0 to 1");
    let stop = service::stop_on_signal()?;
    // Random weights live here as long as the line runs.
    let folder = Temporary::new(&std::env::temp_dir(), "vcp-line-demo-", "").context("creating a folder")?;
    let model = match &arguments.model {
        Some(model) => model.clone(),
        None if arguments.random_model => model::random(folder.path(), SEED)?,
        None => model::find()?,
    };

    let broker = EmbeddedBroker::start(arguments.port)?;
    let address = broker.address();
    println!("broker    mqtt://{address}  (follow it with: vcp-line watch mqtt://{address})");
    let products: Vec<&str> = arguments.classes.iter().map(|class| class.noun()).collect();
    println!("input     synthetic parts at {} per second: {}", arguments.rate, products.join(", "));
    if arguments.random_model {
        println!("model     random weights: the line is real, its verdicts mean nothing");
    } else {
        println!("model     {}", model.display());
    }

    let conveyor = Conveyor {
        classes: arguments.classes.clone(),
        kinds: DefectKind::ALL.to_vec(),
        defective: share,
        difficulty: (0.0, 0.4),
        size: SIDE,
        pool: POOL,
        seed: SEED,
    };
    let publisher = PublisherSpec::new(address.ip().to_string(), address.port(), LINE);
    let mut reader = publisher.clone();
    reader.client_id = "vcp-line-demo-reader".into();
    let filter = format!("{}/#", publisher.prefix);
    let end_of_watch = stop.child_token();
    let reading = end_of_watch.clone();
    let mut score = Score::new(conveyor.clone());
    let watcher = std::thread::Builder::new()
        .name("watch".into())
        .spawn(move || {
            let mut news = News::default();
            let watched = publish::watch::watch(&reader, &filter, &reading, |heard| {
                let line = heard.event().and_then(|event| score.line(&event));
                if line.is_some() || news.is_some_at(&heard) {
                    watch::print(&line.unwrap_or_else(|| heard.readable()));
                }
            });
            (watched, score)
        })
        .context("starting the reader")?;

    let mut plan = CameraPlan {
        name: Arc::from("camera"),
        queue: 4,
        when_full: WhenFull::DropOldest,
        trigger: TriggerPlan::hardware(None),
        kept: None,
        recipe: RecipeSpec {
            info: RecipeInfo { id: "demo".into(), version: 1 },
            threshold: arguments.threshold,
            defect_threshold: arguments.defect_threshold,
            min_area_px: 40,
            regions: vec![],
        },
        backoff_min: Duration::from_millis(500),
        backoff_max: Duration::from_secs(5),
    };
    let source = SourceSpec::Synthetic(SyntheticSpec {
        conveyor,
        fps: arguments.rate,
        count: arguments.parts.map(u64::from),
        first: 1,
        truth_file: None,
    });
    let context = SourceContext { camera: Arc::clone(&plan.name), clock: Arc::new(SystemClock) };
    let kept = KeptRecipes::open(None, &mut [&mut plan]);
    let commands = CommandSpec { max_age: Duration::from_secs(10), snapshots: None, kept };
    let served = service::serve(
        service::Service {
            line: LINE.into(),
            cameras: vec![(plan, plan::opener(source, context))],
            engine: plan::engine(arguments.engine.spec(&model, 4)),
            publisher,
            ask: service::Ask { commands, mqtt: true, http: None },
            sparkplug: None,
            stop_deadline: Duration::from_secs(5),
        },
        &stop,
    );
    // What the reader has not printed yet has been acknowledged, so it is on its way.
    std::thread::sleep(Duration::from_millis(200));
    end_of_watch.cancel();
    let (watched, score) = watcher.join().map_err(|_| anyhow::anyhow!("the reader broke off"))?;
    served?;
    watched.context("reading from the broker inside")?;
    println!("{}", score.summary());
    Ok(())
}

//! `vcp-line demo`: a whole line with nothing configured.

mod model;
mod reader;
mod score;

use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::engine_arguments::EngineArguments;
use super::failure::{self, wrong_arguments};
use super::shipped_model;
use super::terminal::say;
use crate::archive::ArchiveSpec;
use crate::event::RecipeInfo;
use crate::line::CameraPlan;
use crate::line::parts::TriggerPlan;
use crate::line::queue::WhenFull;
use crate::line::recipe::RecipeSpec;
use crate::logging::Log;
use crate::output::Temporary;
use crate::publish::broker::EmbeddedBroker;
use crate::publish::{OutboxSpec, PublisherSpec};
use crate::secret::Secret;
use crate::service::plan::{self, SourceSpec};
use crate::service::{self, CommandSpec, KeptRecipes, Pupils};
use crate::source::levels::LevelsSpec;
use crate::source::synthetic::{SyntheticFormat, SyntheticSpec};
use crate::synth::{Class, Conveyor, DefectKind};
use crate::web::{Texts, WebSpec};
use reader::Reader;

/// Pictures made before the line starts; they are shown over and over.
const POOL: u32 = 48;
/// Side of the pictures, pixels.
const SIDE: u32 = 256;
/// Bytes of the archive, which goes with the demo.
const ARCHIVE: u64 = 256 << 20;
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
    /// Port of the page on this computer [default: a free one]
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    page_port: u16,
}

pub fn run(arguments: &DemoArguments, log: &Log) -> anyhow::Result<()> {
    arguments.check()?;
    let stop = service::stop_on_signal()?;
    // Random weights, outbox and archive live here as long as the line runs.
    let folder = Temporary::new(&std::env::temp_dir(), "vcp-line-demo-", "").context("creating a folder")?;
    let model = arguments.model(folder.path())?;
    let address = EmbeddedBroker::start(arguments.port)?.address();
    let page = arguments.page()?;
    arguments.introduce(address, &page, &model);
    let mut publisher = PublisherSpec::new(address.ip().to_string(), address.port(), LINE);
    publisher.outbox = Some(OutboxSpec::new(folder.path().join("outbox")));
    let reader = Reader::start(&publisher, arguments.conveyor(), &stop)?;
    let served = service::serve(arguments.service(&model, folder.path(), publisher, page), log, &stop);
    // Whatever became of the line, what it has published is printed first.
    let score = reader.end();
    served?;
    say!("{}", score?.summary());
    Ok(())
}

impl DemoArguments {
    fn check(&self) -> anyhow::Result<()> {
        let Self { rate, defective, .. } = self;
        if !(*rate > 0.0 && *rate <= 1000.0) {
            return Err(wrong_arguments(format!("--rate {rate}: parts per second, more than 0 and at most 1000")));
        }
        if !(0.0..=1.0).contains(defective) {
            return Err(wrong_arguments(format!("--defective {defective}: a share of the parts, 0 to 1")));
        }
        self.camera().recipe.check().map_err(wrong_arguments)?;
        self.model.as_deref().map_or(Ok(()), failure::bundle_there)
    }

    /// The bundle; one with random weights is written into `folder`.
    fn model(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        match &self.model {
            Some(model) => Ok(model.clone()),
            None if self.random_model => model::random(folder, SEED),
            None => shipped_model::find()
                .context("no model for the demo; --random-model shows the line at work without a trained one"),
        }
    }

    /// Where the page is; its token lives as long as this demo.
    fn page(&self) -> anyhow::Result<WebSpec> {
        let wanted = SocketAddr::from(([127, 0, 0, 1], self.page_port));
        // Looked for here, because the address is printed before the line has it.
        let free = TcpListener::bind(wanted).and_then(|socket| socket.local_addr());
        let listen = free.with_context(|| format!("{wanted} for the page; choose another --page-port"))?;
        let mut random = [0; 8];
        File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut random)).context("random numbers")?;
        let token = Some(Secret::new(hex::encode(random)));
        Ok(WebSpec { listen, token, hosts: Vec::new(), texts: Texts::default() })
    }

    /// Says what comes, before it comes.
    fn introduce(&self, broker: SocketAddr, page: &WebSpec, model: &Path) {
        let token = page.token.as_ref().map_or("", Secret::reveal);
        say!("page      http://{}/  (to change something there: token {token})", page.listen);
        say!("broker    mqtt://{broker}  (follow it with: vcp-line watch mqtt://{broker})");
        let products: Vec<&str> = self.classes.iter().map(|class| class.noun()).collect();
        say!("input     synthetic parts at {} per second: {}", self.rate, products.join(", "));
        if self.random_model {
            say!("model     random weights: the line is real, its verdicts mean nothing");
        } else {
            say!("model     {}", model.display());
        }
    }

    fn conveyor(&self) -> Conveyor {
        Conveyor {
            frames: None,
            classes: self.classes.clone(),
            kinds: DefectKind::ALL.to_vec(),
            defective: self.defective,
            difficulty: (0.0, 0.4),
            size: SIDE,
            pool: POOL,
            seed: SEED,
        }
    }

    /// A line of one camera that looks at the conveyor.
    fn service(&self, model: &Path, folder: &Path, publisher: PublisherSpec, page: WebSpec) -> service::Service {
        let mut plan = self.camera();
        let kept = KeptRecipes::open(None, &mut [&mut plan]);
        let pupils = Pupils::new(None);
        let commands = CommandSpec {
            max_age: Duration::from_secs(10),
            snapshots: None,
            kept,
            pupils,
            reread: None,
            library: None,
            self_test: None,
        };
        let source = SourceSpec::Synthetic(SyntheticSpec {
            conveyor: self.conveyor(),
            fps: self.rate,
            count: self.parts.map(u64::from),
            first: 1,
            pixel_format: SyntheticFormat::default(),
            truth_file: None,
        });
        let opener = plan::opener(source, plan::context(&plan), LevelsSpec::default());
        service::Service {
            line: LINE.into(),
            cameras: vec![(plan, opener)],
            engine: plan::engine(self.engine.spec(model, 4)),
            publisher,
            ask: service::Ask { commands, mqtt: true, http: Some(page) },
            sparkplug: None,
            traces: None,
            archive: Some(ArchiveSpec {
                sample: 1.0,
                max_bytes: ARCHIVE,
                reserve_bytes: ARCHIVE / 4,
                ..ArchiveSpec::new(folder.join("archive"))
            }),
            stop_deadline: Duration::from_secs(5),
            files: Vec::new(),
            reread: None,
            watched: None,
        }
    }

    fn camera(&self) -> CameraPlan {
        CameraPlan {
            view: crate::view::ViewSpec::default(),
            name: "camera".into(),
            queue: 4,
            when_full: WhenFull::DropOldest,
            trigger: TriggerPlan::hardware(None),
            kept: None,
            memory: None,
            found_with: None,
            picture: None,
            locate: None,
            recipe: RecipeSpec {
                info: RecipeInfo { id: "demo".into(), version: 1 },
                threshold: self.threshold,
                defect_threshold: self.defect_threshold,
                min_area_px: 40,
                regions: vec![],
            },
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(5),
        }
    }
}

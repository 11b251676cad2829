//! Commands from the broker and from the API, one after the other on a thread of their own: read, carried out, answered.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use serde::Serialize;
use serde_json::{Value, json};

use super::error::ServiceError;
use super::kept::{KeptError, KeptRecipes};
use super::snapshot::{SnapshotError, Snapshots};
use crate::clock::{Clock, Moment};
use crate::command::{self, Ack, Command, CommandError, NewRecipe, Refusal, Request, Threshold, Trigger};
use crate::error_chain;
use crate::event::RecipeInfo;
use crate::line::control::{Control, ControlError, RecipeChange};
use crate::line::recipe::RecipeSpec;
use crate::publish::{AckSender, CommandPort};

/// Commands that may wait; more are refused at once.
const WAITING: usize = 1024;
/// Triggers that may come before the engine is ready.
const EARLY: usize = 256;
/// Commands that are carried out before the first of them is answered, because they share one wait for the disk.
const TOGETHER: usize = 256;
/// Acknowledgements that are remembered, for commands that are sent again.
const REMEMBERED: usize = 256;
/// Smallest defect of a recipe that does not say.
const MIN_AREA_PX: u32 = 25;

/// What commands may do besides asking the line.
pub struct CommandSpec {
    /// Older ones, by their own words, are not carried out.
    pub max_age: Duration,
    /// Where pictures go; `None` refuses them.
    pub snapshots: Option<Snapshots>,
    /// Where changed recipes are kept.
    pub kept: KeptRecipes,
}

/// A command cannot be carried out.
#[derive(Debug, thiserror::Error)]
enum CannotDo {
    /// The line says so.
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Keep(#[from] KeptError),
    #[error("no folder for pictures; set snapshots in [commands]")]
    NoFolder,
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

type Reply = Box<dyn FnOnce(Ack) + Send>;

struct Order {
    name: String,
    payload: Vec<u8>,
    retained: bool,
    at: Moment,
    reply: Reply,
}

/// How commands are doing, since the start.
#[derive(Default)]
struct Counters {
    done: AtomicU64,
    refused: AtomicU64,
    busy: AtomicU64,
}

/// The counters as `GET /api/state` shows them.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CommandCounts {
    /// Carried out.
    pub done: u64,
    /// Malformed, unknown, stale, retained, or impossible.
    pub refused: u64,
    /// Left out because too many waited.
    pub busy: u64,
}

/// The way in for commands; never waits.
#[derive(Clone)]
pub struct Inbox {
    orders: Sender<Order>,
    counters: Arc<Counters>,
    clock: Arc<dyn Clock>,
}

impl Inbox {
    fn order(&self, name: &str, payload: &[u8], retained: bool, reply: Reply) {
        // What is too long is refused by its length alone.
        let read = &payload[..payload.len().min(command::MAX_PAYLOAD + 1)];
        let name = name.chars().take(command::MAX_ID).collect();
        let order = Order { name, payload: read.to_vec(), retained, at: self.clock.now(), reply };
        if let Err(error) = self.orders.try_send(order) {
            self.counters.busy.fetch_add(1, Ordering::Relaxed);
            let Order { payload, reply, .. } = error.into_inner();
            let correlation_id = match command::parse("", &payload) {
                Ok(Request { correlation_id, .. }) | Err(Refusal { correlation_id, .. }) => correlation_id,
            };
            reply(Ack::refused(correlation_id, "too many commands wait, or the line is stopping; send it again"));
        }
    }

    /// A command of the API.
    pub fn ask(&self, name: &str, payload: &[u8], reply: impl FnOnce(Ack) + Send + 'static) {
        self.order(name, payload, false, Box::new(reply));
    }

    /// How commands are doing.
    pub fn counts(&self) -> CommandCounts {
        let Counters { done, refused, busy } = &*self.counters;
        let [done, refused, busy] = [done, refused, busy].map(|count| count.load(Ordering::Relaxed));
        CommandCounts { done, refused, busy }
    }
}

impl CommandPort for Inbox {
    fn command(&self, name: &str, payload: &[u8], retained: bool, acks: &AckSender) {
        let acks = acks.clone();
        let reply = move |ack: Ack| {
            // Without a correlation nobody could tell whose answer it is.
            if ack.correlation_id.is_some() {
                acks.send(&ack);
            }
        };
        self.order(name, payload, retained, Box::new(reply));
    }
}

/// The thread that carries commands out.
pub struct Commander {
    inbox: Inbox,
    control: Arc<OnceLock<Control>>,
    ready: Option<Sender<()>>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Commander {
    /// Starts it; until [`Commander::ready`], triggers wait and other commands are refused.
    /// `settle` waits until the parts accepted so far would be found by a restart: only then are triggers acknowledged.
    pub fn start(
        spec: CommandSpec,
        clock: Arc<dyn Clock>,
        settle: impl Fn() + Send + 'static,
    ) -> Result<Self, ServiceError> {
        let (orders, waiting) = bounded(WAITING);
        let (ready, is_ready) = bounded(0);
        let (stop, stopped) = bounded(0);
        let counters = Arc::new(Counters::default());
        let inbox = Inbox { orders, counters: Arc::clone(&counters), clock: Arc::clone(&clock) };
        let control = Arc::new(OnceLock::new());
        let work = Work {
            spec,
            clock,
            counters,
            control: Arc::clone(&control),
            early: Vec::new(),
            remembered: VecDeque::new(),
            answers: Vec::new(),
            settle: Box::new(settle),
            unsettled: false,
        };
        let thread = std::thread::Builder::new()
            .name("commands".into())
            .spawn(move || work.run(&waiting, &is_ready, &stopped))
            .map_err(|source| ServiceError::Thread { thread: "the thread for commands", source })?;
        Ok(Self { inbox, control, ready: Some(ready), stop: Some(stop), thread: Some(thread) })
    }

    /// The way in.
    pub fn inbox(&self) -> Inbox {
        self.inbox.clone()
    }

    /// The line is there.
    pub fn ready(&mut self, control: Control) {
        if self.control.set(control).is_err() {
            tracing::debug!("the line was there before");
        }
        // The channel's end is the message.
        self.ready = None;
    }

    /// The line, once it is there.
    pub fn control(&self) -> Arc<OnceLock<Control>> {
        Arc::clone(&self.control)
    }
}

impl Drop for Commander {
    fn drop(&mut self) {
        self.ready = None;
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread for commands panicked");
        }
    }
}

struct Work {
    spec: CommandSpec,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    control: Arc<OnceLock<Control>>,
    early: Vec<(Request, Moment, Reply)>,
    /// What was asked under a correlation, and what was answered.
    remembered: VecDeque<(Request, Ack)>,
    /// Not given yet.
    answers: Vec<(Reply, Ack)>,
    settle: Box<dyn Fn() + Send>,
    /// A part was accepted since the last wait for the disk.
    unsettled: bool,
}

impl Work {
    fn run(mut self, orders: &Receiver<Order>, ready: &Receiver<()>, stop: &Receiver<()>) {
        let never = crossbeam_channel::never();
        loop {
            let ready = if self.control.get().is_none() { ready } else { &never };
            select! {
                recv(orders) -> order => match order {
                    Ok(order) => self.order(order),
                    Err(_) => return,
                },
                recv(ready) -> _ => {}
                recv(stop) -> _ => return,
            }
            self.answer_early();
            while self.answers.len() < TOGETHER
                && let Ok(order) = orders.try_recv()
            {
                self.order(order);
            }
            self.give_answers();
        }
    }

    /// In the order of the commands.
    fn give_answers(&mut self) {
        if std::mem::take(&mut self.unsettled) {
            (self.settle)();
        }
        self.answers.drain(..).for_each(|(reply, ack)| reply(ack));
    }

    fn order(&mut self, order: Order) {
        let Order { name, payload, retained, at, reply } = order;
        let request = match command::parse(&name, &payload) {
            Ok(request) => request,
            Err(Refusal { correlation_id, error }) => return self.refuse(correlation_id, &error, reply),
        };
        let stale = if retained { Err(CommandError::Retained) } else { request.fresh(at.wall, self.spec.max_age) };
        if let Err(error) = stale {
            return self.refuse(request.correlation_id, &error, reply);
        }
        if let Some(ack) = self.before(&request) {
            return self.answers.push((reply, ack));
        }
        match self.control.get().cloned() {
            Some(control) => self.answer(&control, request, at, false, reply),
            None if matches!(request.command, Command::Trigger(_)) && self.early.len() < EARLY => {
                self.early.push((request, at, reply));
            }
            None => {
                let starting = "the line is starting; send it again when its state is online";
                self.refuse(request.correlation_id, &starting, reply);
            }
        }
    }

    /// A command that is sent again, as QoS 1 may do, is answered again and not carried out again.
    fn before(&self, request: &Request) -> Option<Ack> {
        request.correlation_id.as_ref()?;
        self.remembered.iter().find(|(asked, _)| asked == request).map(|(_, ack)| ack.clone())
    }

    fn refuse(&mut self, correlation_id: Option<String>, error: &dyn std::fmt::Display, reply: Reply) {
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(correlation_id, "command refused: {error}");
        self.answers.push((reply, Ack::refused(correlation_id, error)));
    }

    /// Triggers that came before the engine was ready are owed an event each, and this is why it has no verdict.
    fn answer_early(&mut self) {
        if let Some(control) = self.control.get().cloned() {
            for (request, at, reply) in std::mem::take(&mut self.early) {
                self.answer(&control, request, at, true, reply);
            }
        }
    }

    fn answer(&mut self, control: &Control, request: Request, at: Moment, early: bool, reply: Reply) {
        let correlation_id = request.correlation_id.clone();
        match self.carry_out(control, &request.command, at, early) {
            Ok(applied) => {
                self.counters.done.fetch_add(1, Ordering::Relaxed);
                if !matches!(request.command, Command::Trigger(_)) {
                    tracing::info!(command = request.command.name(), %applied, "command carried out");
                }
                let ack = Ack::done(correlation_id.clone(), applied);
                if correlation_id.is_some() {
                    if self.remembered.len() == REMEMBERED {
                        self.remembered.pop_front();
                    }
                    self.remembered.push_back((request, ack.clone()));
                }
                self.answers.push((reply, ack));
            }
            Err(error) => self.refuse(correlation_id, &error_chain::one_line(&error), reply),
        }
    }

    fn carry_out(&mut self, control: &Control, command: &Command, at: Moment, early: bool) -> Result<Value, CannotDo> {
        Ok(match command {
            Command::Trigger(Trigger { camera, part_id, trigger }) => {
                self.unsettled = true;
                let accepted = control.trigger(camera.as_deref(), part_id, *trigger, at, early)?;
                json!({ "camera": accepted.camera, "part": accepted.part })
            }
            Command::Pause(which) => json!({ "paused": control.pause(which.camera.as_deref(), true)? }),
            Command::Resume(which) => json!({ "resumed": control.pause(which.camera.as_deref(), false)? }),
            Command::Threshold(change) => {
                let changes = control.change_recipes(change.camera.as_deref(), |used| changed(used, change))?;
                self.apply(changes)?
            }
            Command::Recipe(recipe) => {
                let changes = control.change_recipes(recipe.camera.as_deref(), |used| replaced(used, recipe))?;
                self.apply(changes)?
            }
            Command::Snapshot(which) => {
                let snapshots = self.spec.snapshots.as_ref().ok_or(CannotDo::NoFolder)?;
                snapshots.take(&*control.latest(which.camera.as_deref())?, self.clock.now().wall)?
            }
        })
    }

    /// On disk first: what is in use is also what the next start uses.
    fn apply(&mut self, changes: Vec<RecipeChange>) -> Result<Value, CannotDo> {
        self.spec.kept.keep(changes.iter().map(|change| (&**change.camera(), &change.recipe)))?;
        let apply = |change: RecipeChange| {
            let camera = Arc::clone(change.camera());
            let RecipeInfo { id, version } = change.apply();
            json!({ "camera": camera, "recipe": { "id": id, "version": version } })
        };
        Ok(Value::Array(changes.into_iter().map(apply).collect()))
    }
}

fn changed(used: &RecipeSpec, change: &Threshold) -> RecipeSpec {
    RecipeSpec {
        threshold: change.threshold.unwrap_or(used.threshold),
        defect_threshold: change.defect_threshold.unwrap_or(used.defect_threshold),
        ..used.clone()
    }
}

fn replaced(used: &RecipeSpec, recipe: &NewRecipe) -> RecipeSpec {
    let first = if recipe.id == used.info.id { used.info.version.saturating_add(1) } else { 1 };
    RecipeSpec {
        info: RecipeInfo { id: recipe.id.clone(), version: recipe.version.unwrap_or(first) },
        threshold: recipe.threshold,
        defect_threshold: recipe.defect_threshold,
        min_area_px: recipe.min_area_px.unwrap_or(MIN_AREA_PX),
        regions: recipe.regions.clone(),
    }
}

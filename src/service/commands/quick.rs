//! The thread that reads commands, and carries out at once what needs no disk: triggers, pauses, and what is to be kept.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, select};
use serde_json::{Value, json};

use super::super::kept::Via;
use super::answers::{Answer, Keeping};
use super::orders::{BUSY, Counters, Order, Reply, count};
use super::repeats::Repeats;
use super::slow::Task;
use crate::clock::{Clock, Moment};
use crate::command::{self, Ack, Command, CommandError, Refusal, Request, Trigger};
use crate::line::Debt;
use crate::line::control::{Control, ControlError};

/// Triggers that may come before the engine is ready.
const EARLY: usize = 256;

/// Everything the thread owns.
pub struct Quick {
    max_age: Duration,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    control: Arc<OnceLock<Control>>,
    keeping: Arc<dyn Keeping>,
    answers: Sender<Answer>,
    slow: Sender<Task>,
    early: Vec<(Request, Moment, Reply)>,
    repeats: Repeats,
}

impl Quick {
    pub fn new(
        max_age: Duration,
        clock: Arc<dyn Clock>,
        counters: Arc<Counters>,
        control: Arc<OnceLock<Control>>,
        keeping: Arc<dyn Keeping>,
        answers: Sender<Answer>,
        slow: Sender<Task>,
    ) -> Self {
        let (early, repeats) = (Vec::new(), Repeats::default());
        Self { max_age, clock, counters, control, keeping, answers, slow, early, repeats }
    }

    /// Returns on `stop`.
    pub fn run(mut self, orders: &Receiver<Order>, ready: &Receiver<()>, stop: &Receiver<()>) {
        let never = crossbeam_channel::never();
        loop {
            let ready = if self.control.get().is_none() { ready } else { &never };
            select! {
                recv(orders) -> order => match order {
                    Ok(order) => {
                        self.answer_early();
                        self.order(order);
                    }
                    Err(_) => return,
                },
                recv(ready) -> _ => self.answer_early(),
                recv(stop) -> _ => return,
            }
        }
    }

    fn order(&mut self, order: Order) {
        let Order { name, payload, retained, at, via, reply } = order;
        let request = match command::parse(&name, &payload) {
            Ok(request) => request,
            Err(Refusal { correlation_id, error }) => return self.refuse(correlation_id, &error, reply),
        };
        let stale = if retained { Err(CommandError::Retained) } else { request.fresh(at.wall, self.max_age) };
        if let Err(error) = stale {
            return self.refuse(request.correlation_id, &error, reply);
        }
        // Answers wait for the disk in their order; a command is carried out only when there is room for its answer.
        if self.answers.is_full() {
            return self.busy(request.correlation_id, reply);
        }
        let is_trigger = matches!(request.command, Command::Trigger(_));
        match self.control.get().cloned() {
            Some(control) => self.carry_out(&control, request, (at, false), (via, reply)),
            None if is_trigger && self.early.len() < EARLY => self.early.push((request, at, reply)),
            None => {
                let starting = "the line is starting; send it again when its state is online";
                self.refuse(request.correlation_id, &starting, reply);
            }
        }
    }

    /// Triggers that came before the engine was ready are owed an event each, and this is why it has no verdict.
    fn answer_early(&mut self) {
        if let Some(control) = self.control.get().cloned() {
            for (request, at, reply) in std::mem::take(&mut self.early) {
                self.carry_out(&control, request, (at, true), (Via::Mqtt, reply));
            }
        }
    }

    fn carry_out(
        &mut self,
        control: &Control,
        request: Request,
        (at, early): (Moment, bool),
        (via, reply): (Via, Reply),
    ) {
        let result = match &request.command {
            Command::Threshold(_)
            | Command::Recipe(_)
            | Command::Snapshot(_)
            | Command::Calibrate(_)
            | Command::Learn(_)
            | Command::Rollback(_)
            | Command::Reload(_)
            | Command::SelfTest(_) => return self.hand_on(control, request, (via, reply)),
            _ if let Some((ack, debt)) = self.repeats.answer(&request, self.clock.now().monotonic) => {
                return self.give(Answer { reply, ack, debt });
            }
            Command::Trigger(trigger) => self.trigger(control, trigger, at, early),
            Command::Pause(which) => paused(control, which.camera.as_deref(), true),
            Command::Resume(which) => paused(control, which.camera.as_deref(), false),
            Command::Keep(keep) => control
                .keep(keep.camera.as_deref(), keep.parts)
                .map(|cameras| (json!({ "keep": cameras, "parts": keep.parts }), None)),
        };
        match result {
            Ok((applied, debt)) => {
                if debt.is_none() {
                    tracing::info!(command = request.command.name(), %applied, "command carried out");
                }
                let ack = Ack::done(request.correlation_id.clone(), applied);
                self.repeats.remember(&request, &ack, debt, self.clock.now().monotonic);
                self.give(Answer { reply, ack, debt });
            }
            Err(error) => self.refuse(request.correlation_id, &error, reply),
        }
    }

    fn trigger(
        &self,
        control: &Control,
        trigger: &Trigger,
        at: Moment,
        early: bool,
    ) -> Result<(Value, Option<Debt>), ControlError> {
        if let Some(reason) = self.keeping.refuses() {
            return Err(ControlError::Refused { reason });
        }
        let Trigger { camera, part_id, trigger } = trigger;
        let accepted = control.trigger(camera.as_deref(), part_id, *trigger, at, early)?;
        Ok((json!({ "camera": accepted.camera, "part": accepted.part }), Some(accepted.debt)))
    }

    fn hand_on(&self, control: &Control, request: Request, (via, reply): (Via, Reply)) {
        if let Err(full) = self.slow.try_send(Task { control: control.clone(), request, via, reply }) {
            let Task { request, reply, .. } = full.into_inner();
            self.busy(request.correlation_id, reply);
        }
    }

    fn give(&self, answer: Answer) {
        // There was room for it; otherwise whoever asked is told out of turn.
        if let Err(full) = self.answers.try_send(answer) {
            let Answer { reply, ack, .. } = full.into_inner();
            self.busy(ack.correlation_id, reply);
        }
    }

    fn refuse(&self, correlation_id: Option<String>, error: &dyn std::fmt::Display, reply: Reply) {
        tracing::warn!(correlation_id, "command refused: {error}");
        self.give(Answer { reply, ack: Ack::refused(correlation_id, error), debt: None });
    }

    fn busy(&self, correlation_id: Option<String>, reply: Reply) {
        count(&self.counters.busy);
        reply(Ack::refused(correlation_id, BUSY));
    }
}

fn paused(control: &Control, camera: Option<&str>, paused: bool) -> Result<(Value, Option<Debt>), ControlError> {
    let cameras = control.pause(camera, paused)?;
    Ok((if paused { json!({ "paused": cameras }) } else { json!({ "resumed": cameras }) }, None))
}

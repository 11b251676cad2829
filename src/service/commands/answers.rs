//! Answers, in the order of the commands: that to a trigger waits until its part is where a restart finds it.

use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::orders::{Counters, Reply, count};
use crate::command::Ack;
use crate::line::Debt;

/// Where an accepted part is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A restart finds it, its event is on disk or at the broker, or nobody has promised to keep anything.
    Safely,
    /// Only this process knows it, and the settings allow that.
    InMemory,
    /// Only this process knows it, for this reason, and the settings do not allow that.
    Not(String),
}

/// Keeps accepted parts. Implemented by the service's voice, and by tests.
pub trait Keeping: Send + Sync {
    /// Why a part that came now would not be kept though it must be.
    fn refuses(&self) -> Option<String>;
    /// Waits until it is clear where this part is kept. A disk that hangs is given up after some seconds.
    fn kept(&self, debt: Debt) -> Kept;
}

/// An answer that may have to wait.
pub struct Answer {
    pub reply: Reply,
    pub ack: Ack,
    /// The part that it promises.
    pub debt: Option<Debt>,
}

/// Everything the answering thread owns.
pub struct Answers {
    keeping: Arc<dyn Keeping>,
    counters: Arc<Counters>,
}

impl Answers {
    pub fn new(keeping: Arc<dyn Keeping>, counters: Arc<Counters>) -> Self {
        Self { keeping, counters }
    }

    /// Returns when nobody can ask any more.
    pub fn run(self, answers: &Receiver<Answer>) {
        for Answer { reply, ack, debt } in answers {
            let ack = match debt.filter(|_| ack.ok) {
                Some(debt) => self.promised(ack, debt),
                None => ack,
            };
            count(if ack.ok { &self.counters.done } else { &self.counters.refused });
            reply(ack);
        }
    }

    fn promised(&self, ack: Ack, debt: Debt) -> Ack {
        match self.keeping.kept(debt) {
            Kept::Safely => ack,
            Kept::InMemory => Ack { kept: Some("memory".into()), ..ack },
            Kept::Not(reason) => {
                let error =
                    format!("the part is not kept: {reason}; what becomes of it is told as long as this process lives");
                tracing::warn!(correlation_id = ack.correlation_id, "command refused: {error}");
                Ack::refused(ack.correlation_id, error)
            }
        }
    }
}

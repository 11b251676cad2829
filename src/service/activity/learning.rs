//! Learning on the running line: the tokens of the next good parts, and at their end a memory.

use serde_json::json;

use super::copies::Copies;
use super::pupil::{Outcome, Pupil, Unfit};
use crate::calibrate::Look;
use crate::line::Handed;
use crate::memory::{Learner, MemoryError, Settings};
use crate::verdict::Verdict;
use crate::view::ViewSpec;

/// Failed parts that are named.
const MOST_NAMED: usize = 20;

/// See the module.
pub struct Learning {
    camera: String,
    engine: String,
    learner: Learner,
    copies: Copies,
    /// Parts that the line itself has failed; a person should have looked at them.
    failed: Vec<String>,
}

impl Learning {
    /// From so many parts of this camera, looked at through this view.
    pub fn new(camera: String, settings: Settings, view: ViewSpec, wanted: usize) -> Self {
        let engine = settings.model.engine.clone();
        Self {
            camera,
            engine,
            learner: Learner::new(settings).through(view),
            copies: Copies::new(wanted, std::iter::empty()),
            failed: Vec::new(),
        }
    }
}

fn unfit(error: &MemoryError) -> Unfit {
    Unfit(format!("{error}; nothing was changed"))
}

impl Pupil for Learning {
    fn take(&mut self, part: &Handed) -> Result<bool, Unfit> {
        let said = part.own.as_ref();
        let tokens = said.and_then(|said| said.tokens.as_ref());
        let (Some(said), Some(tokens)) = (said, tokens) else {
            return Err(unfit(&MemoryError::NoTokens { engine: self.engine.clone() }));
        };
        let picture = Look::of(&part.frame.image).sha256;
        if !self.copies.is_new(picture)? {
            return Ok(false);
        }
        let size = (part.frame.image.width, part.frame.image.height);
        self.learner.take(tokens, said.score, size).map_err(|error| unfit(&error))?;
        self.learner.note(picture);
        if part.verdict == Verdict::Fail && self.failed.len() < MOST_NAMED {
            let name = part.frame.part.as_ref().map(|part| format!("part {}", part.id));
            self.failed.push(name.unwrap_or_else(|| format!("frame {}", part.frame.seq)));
        }
        Ok(true)
    }

    fn wants_tokens(&self) -> bool {
        true
    }

    /// Tokens are the engine's, whatever judges them.
    fn minds_changes(&self) -> bool {
        false
    }

    fn finish(self: Box<Self>) -> Result<Outcome, Unfit> {
        let Self { camera, learner, copies, failed, .. } = *self;
        let memory = learner.finish().map_err(|error| unfit(&error))?;
        let about = memory.about();
        let applied = json!({
            "camera": camera,
            "activity": "learn",
            "parts": about.parts,
            "copies": copies.count(),
            "failed": failed,
            "memory": memory.info(),
            "tokens": about.tokens,
            "bytes": memory.bytes(),
        });
        Ok(Outcome { applied, memory: Some(memory), ..Outcome::default() })
    }
}

//! Verdicts of the demo beside the truth, and how often they were right.

use crate::event::{InspectionEvent, VerdictWord};
use crate::synth::Conveyor;

/// Counts verdicts by what the parts really were.
pub struct Score {
    conveyor: Conveyor,
    /// Right verdicts and all verdicts, for good and for defective parts.
    good: (u64, u64),
    defective: (u64, u64),
    none: u64,
}

impl Score {
    pub fn new(conveyor: Conveyor) -> Self {
        Self { conveyor, good: (0, 0), defective: (0, 0), none: 0 }
    }

    /// A line about the verdict; `None` for an event without a part.
    pub fn line(&mut self, event: &InspectionEvent) -> Option<String> {
        let part = event.part.as_ref()?;
        let made = self.conveyor.part(part.trigger);
        let truth = made.defect.map_or("good", |defect| defect.kind.noun());
        let (word, right) = match event.verdict {
            VerdictWord::Pass => ("pass", Some(made.defect.is_none())),
            VerdictWord::Fail => ("FAIL", Some(made.defect.is_some())),
            VerdictWord::NoVerdict => ("none", None),
        };
        match right {
            Some(right) => {
                let side = if made.defect.is_some() { &mut self.defective } else { &mut self.good };
                side.0 += u64::from(right);
                side.1 += 1;
            }
            None => self.none += 1,
        }
        let mark = match right {
            Some(true) => "✓",
            Some(false) => "✗",
            None => "-",
        };
        let score = event.score.map_or("    -".to_owned(), |score| format!("{score:.3}"));
        let total = event.latency_ms.total;
        Some(format!(
            "{word}  {}  {:16}  score {score}  defects {:2}  {total:7.1} ms  (truth: {truth}) {mark}",
            part.id,
            made.class.noun(),
            event.defects.len(),
        ))
    }

    /// The sum of it all.
    pub fn summary(&self) -> String {
        let mut text = format!(
            "caught {} of {} defective parts, passed {} of {} good ones",
            self.defective.0, self.defective.1, self.good.0, self.good.1
        );
        if self.none > 0 {
            text += &format!("; {} came too fast and got no verdict", self.none);
        }
        text
    }
}

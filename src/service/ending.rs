//! How a service ended, and whether that is a failure.

use super::error::ServiceError;
use super::ways_out::Delivered;
use crate::line::{LineEnd, StopReport};

/// What is known after the stop.
pub struct Ending {
    /// Why the line ended by itself; `None` when it was asked to stop.
    pub end: Option<LineEnd>,
    /// How its threads stopped.
    pub report: StopReport,
    /// What became of its verdicts.
    pub delivered: Delivered,
}

impl Ending {
    /// The worst of it. Verdicts that wait are no failure of a service that was asked to stop: the next start has them.
    pub fn result(self) -> Result<(), ServiceError> {
        let Self { end, report, delivered: Delivered { unsent, rest, .. } } = self;
        let by_itself = end.is_some();
        match end {
            Some(LineEnd::Failed(error)) => Err(error.into()),
            _ if !report.late.is_empty() => Err(ServiceError::Late { threads: report.late }),
            _ if !report.panicked.is_empty() => Err(ServiceError::BrokeOff { threads: report.panicked }),
            _ if by_itself && unsent > 0 => Err(ServiceError::Undelivered { unsent, rest }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::LineError;

    fn ending(end: Option<LineEnd>, unsent: usize) -> Ending {
        let delivered = Delivered { acked: 7, unsent, rest: "are lost" };
        Ending { end, report: StopReport::default(), delivered }
    }

    fn failure(ending: Ending) -> String {
        ending.result().expect_err("a failure").to_string()
    }

    #[test]
    fn verdicts_that_wait_fail_only_a_line_that_has_ended_by_itself() {
        assert!(ending(None, 3).result().is_ok());
        assert!(ending(Some(LineEnd::SourcesEnded), 0).result().is_ok());
        assert_eq!(
            failure(ending(Some(LineEnd::SourcesEnded), 3)),
            "3 verdicts could not be delivered and are lost: is the broker running?"
        );
    }

    #[test]
    fn the_worst_is_said() {
        let mut all = ending(Some(LineEnd::SourcesEnded), 3);
        all.report.panicked = vec!["cam-top".into()];
        assert_eq!(failure(all), "broke off: thread cam-top");
        let mut all = ending(None, 3);
        all.report.panicked = vec!["cam-top".into()];
        all.report.late = vec!["cam-side".into(), "inference".into()];
        assert_eq!(failure(all), "still busy at the stop deadline: cam-side, inference");
        let mut all = ending(Some(LineEnd::Failed(LineError::WarmUp { side: 0 })), 3);
        all.report.late = vec!["cam-side".into()];
        assert_eq!(failure(all), LineError::WarmUp { side: 0 }.to_string());
    }
}

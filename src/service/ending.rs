//! How a service ended, and whether that is a failure.

use super::error::ServiceError;
use super::ways_out::Delivered;
use crate::line::{LineEnd, StopReport};

/// Why a line that was at work ends.
#[derive(Debug)]
pub enum End {
    /// Somebody asked for it.
    Asked,
    /// The line ended by itself.
    Line(LineEnd),
    /// A thread has ended without which verdicts or commands would be lost in silence. systemd starts the service again.
    Broken(&'static str),
}

/// What is known after the stop.
pub struct Ending {
    /// Why it ended.
    pub end: End,
    /// How its threads stopped.
    pub report: StopReport,
    /// What became of its verdicts.
    pub delivered: Delivered,
}

impl Ending {
    /// The worst of it. Verdicts that wait are no failure of a service that was asked to stop: the next start has them.
    pub fn result(self) -> Result<(), ServiceError> {
        let Self { end, report, delivered: Delivered { unsent, rest, .. } } = self;
        let by_itself = matches!(end, End::Line(_));
        match end {
            End::Line(LineEnd::Failed(error)) => Err(error.into()),
            End::Broken(thread) => Err(ServiceError::BrokeOff { threads: vec![thread.into()] }),
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

    fn ending(end: End, unsent: usize) -> Ending {
        let delivered = Delivered { acked: 7, unsent, rest: "are lost" };
        Ending { end, report: StopReport::default(), delivered }
    }

    fn failure(ending: Ending) -> String {
        ending.result().expect_err("a failure").to_string()
    }

    #[test]
    fn verdicts_that_wait_fail_only_a_line_that_has_ended_by_itself() {
        assert!(ending(End::Asked, 3).result().is_ok());
        assert!(ending(End::Line(LineEnd::SourcesEnded), 0).result().is_ok());
        assert_eq!(
            failure(ending(End::Line(LineEnd::SourcesEnded), 3)),
            "3 verdicts could not be delivered and are lost: is the broker running?"
        );
    }

    #[test]
    fn the_worst_is_said() {
        let mut all = ending(End::Line(LineEnd::SourcesEnded), 3);
        all.report.panicked = vec!["cam-top".into()];
        assert_eq!(failure(all), "broke off: thread cam-top");
        let mut all = ending(End::Asked, 3);
        all.report.panicked = vec!["cam-top".into()];
        all.report.late = vec!["cam-side".into(), "inference".into()];
        assert_eq!(failure(all), "still busy at the stop deadline: cam-side, inference");
        let mut all = ending(End::Line(LineEnd::Failed(LineError::WarmUp { side: 0 })), 3);
        all.report.late = vec!["cam-side".into()];
        assert_eq!(failure(all), LineError::WarmUp { side: 0 }.to_string());
    }
}

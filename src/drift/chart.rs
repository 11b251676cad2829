//! One control chart: an exponentially weighted moving average of normal scores (Roberts 1959) that says when it leaves its
//! limits, and, later and with less ado, when it is back.

/// Weight of the newest part. Of the weights between 0.02 and 0.2 this one finds the smallest change within 30 parts, at
/// one false alarm in a million.
pub const WEIGHT: f64 = 0.05;
/// The statistic is held at this multiple of the limit, so that the end of a long alarm is not told long after it.
const HELD: f64 = 1.25;
/// Share of the limit below which an alarm is over.
const OVER: f64 = 0.5;

/// A chart at work.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    limit: f64,
    statistic: f64,
    standing: bool,
}

impl Chart {
    /// Begins at 0 with this limit, in deviations.
    pub fn new(limit: f64) -> Self {
        Self { limit, statistic: 0.0, standing: false }
    }

    /// The next part. Says when an alarm begins (true) and when it is over (false).
    pub fn step(&mut self, score: f64) -> Option<bool> {
        let held = HELD * self.limit;
        self.statistic = (self.statistic + WEIGHT * (score - self.statistic)).clamp(-held, held);
        let distance = self.statistic.abs();
        let begins = !self.standing && distance >= self.limit;
        let ends = self.standing && distance < OVER * self.limit;
        self.standing ^= begins || ends;
        (begins || ends).then_some(begins)
    }

    /// Whether its alarm stands.
    pub fn stands(&self) -> bool {
        self.standing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(chart: &mut Chart, score: f64, wanted: bool) -> usize {
        (1..1000).find(|_| chart.step(score) == Some(wanted)).expect("a change")
    }

    #[test]
    fn an_alarm_begins_once_and_ends_once() {
        let mut chart = Chart::new(1.0);
        assert_eq!(steps(&mut chart, 2.5, true), 10);
        assert!((0..500).all(|_| chart.step(2.5).is_none()) && chart.stands());
        // From 1.25 limits to half a limit, however long it stood.
        assert_eq!(steps(&mut chart, 0.0, false), 18);
        assert!(!chart.stands());
    }

    #[test]
    fn at_the_limit_it_does_not_flutter() {
        let mut chart = Chart::new(1.0);
        let told = (0..1000).filter(|part| chart.step(if part % 40 < 20 { 1.3 } else { 0.8 }).is_some()).count();
        assert!(told <= 1, "{told}");
    }
}

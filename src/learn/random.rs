//! Random numbers that depend on what they are for and on nothing else: not on order, threads or time.

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// A stream of random numbers (splitmix64: Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The stream of `purpose`, such as `[seed, epoch, image]`.
    pub fn new(purpose: &[u64]) -> Self {
        let state = purpose.iter().fold(0, |state, &part| mix(state ^ mix(part.wrapping_add(GAMMA))).wrapping_add(GAMMA));
        Self { state }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        mix(self.state)
    }

    /// Uniform in 0 … 1, 1 excluded.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in `from` … `to`.
    pub fn between(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * self.unit()
    }

    /// Uniform in 0 … `count` − 1; 0 for a count of 0.
    pub fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.bits()) * count as u128) >> 64) as usize
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Normal with mean 0 and standard deviation 1 (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        // 1 − unit is never 0.
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// 0 … `count` − 1 in random order (Fisher and Yates).
    pub fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            order.swap(last, self.below(last + 1));
        }
        order
    }
}

/// The number of a name, as part of a purpose (FNV-1a).
pub fn number_of(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purpose_has_one_stream() {
        let draw = |purpose: &[u64]| Random::new(purpose).bits();
        assert_eq!(draw(&[1, 2, 3]), draw(&[1, 2, 3]));
        let different = [draw(&[1, 2, 3]), draw(&[1, 3, 2]), draw(&[2, 2, 3]), draw(&[1, 2]), draw(&[0, 0]), draw(&[0])];
        let unique: std::collections::BTreeSet<u64> = different.into_iter().collect();
        assert_eq!(unique.len(), different.len());
    }

    #[test]
    fn distributions_have_their_moments() {
        let mut random = Random::new(&[7]);
        let n = 100_000;
        let normal: Vec<f64> = (0..n).map(|_| random.normal()).collect();
        let mean = normal.iter().sum::<f64>() / f64::from(n);
        let variance = normal.iter().map(|x| x * x).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
        let low = (0..n).filter(|_| random.below(3) == 0).count() as f64 / f64::from(n);
        assert!((low - 1.0 / 3.0).abs() < 0.01, "{low}");
        assert!((0..n).all(|_| (2.0..3.0).contains(&random.between(2.0, 3.0))));
    }

    #[test]
    fn an_order_has_every_index_once() {
        let mut order = Random::new(&[3]).order(50);
        assert_ne!(order, (0..50).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..50).collect::<Vec<_>>());
        assert!(Random::new(&[3]).order(0).is_empty());
    }
}

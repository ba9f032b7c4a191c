//! A small generator of repeatable randomness (SplitMix64): the same seed makes the same visitors.

/// The generator's state.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator whose numbers follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Uniform in 0.0..1.0.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// One of `choices`, or nothing if there is none.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        let at = (self.unit() * choices.len() as f64) as usize;
        choices.get(at)
    }

    /// The time until the next of events that come `rate` times a second on average, in seconds.
    pub fn pause(&mut self, rate: f64) -> f64 {
        -(1.0 - self.unit()).ln() / rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_numbers_and_the_mean_is_right() {
        let (mut one, mut other) = (Random::new(7), Random::new(7));
        let pauses: Vec<f64> = (0..10_000).map(|_| one.pause(4.0)).collect();
        assert!(pauses.iter().all(|pause| *pause == other.pause(4.0) && pause.is_finite() && *pause >= 0.0));
        let mean = pauses.iter().sum::<f64>() / pauses.len() as f64;
        assert!((0.24..0.26).contains(&mean), "{mean}");
    }

    #[test]
    fn nothing_can_be_picked_from_nothing() {
        assert_eq!(Random::new(1).pick::<u8>(&[]), None);
        assert_eq!(Random::new(1).pick(&[5]), Some(&5));
    }
}

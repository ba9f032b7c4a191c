//! How long to wait before something is sent again: exponential backoff with jitter, as the Collector computes it.

use std::time::Duration;

use crate::settings::Retry;

/// The longest wait that another side can ask for: one that asks for a year answers garbage, and would never be asked again.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// The waits of one batch.
#[derive(Debug)]
pub(crate) struct Backoff<'r> {
    retry: &'r Retry,
    interval: Duration,
    waited: Duration,
}

impl<'r> Backoff<'r> {
    pub(crate) fn new(retry: &'r Retry) -> Self {
        Self { retry, interval: retry.initial_interval, waited: Duration::ZERO }
    }

    /// The next wait, at least as long as the other side asks for; `None` when the batch is to be given up. `random` is from 0
    /// to 1; `elapsed` is the time since the batch was sent first.
    pub(crate) fn next(&mut self, asked: Option<Duration>, elapsed: Duration, random: f64) -> Option<Duration> {
        if !self.retry.enabled {
            return None;
        }
        let spread = self.retry.randomization_factor * (2.0 * random - 1.0);
        let wait = self.interval.mul_f64((1.0 + spread).max(0.0));
        let longer = self.interval.as_secs_f64() * self.retry.multiplier;
        self.interval = Duration::try_from_secs_f64(longer).unwrap_or(self.retry.max_interval).min(self.retry.max_interval);
        let wait = wait.max(asked.unwrap_or_default().min(LONGEST_ASKED));
        if self.retry.max_elapsed_time.is_some_and(|most| elapsed.saturating_add(wait) > most) {
            return None;
        }
        self.waited = self.waited.saturating_add(wait);
        Some(wait)
    }
}

/// A number from 0 to 1.
pub(crate) fn random() -> f64 {
    getrandom::u64().map_or(0.5, |n| n as f64 / u64::MAX as f64)
}

/// What a `Retry-After` header asks for: seconds, or a date.
pub(crate) fn retry_after(value: &str, now: std::time::SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(value.trim()).ok()?;
    let at = std::time::SystemTime::from(at.timestamp());
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_with_jitter_and_end() {
        let retry = Retry {
            initial_interval: Duration::from_secs(2),
            max_interval: Duration::from_secs(5),
            max_elapsed_time: Some(Duration::from_secs(60)),
            multiplier: 2.0,
            ..Retry::default()
        };
        let mut backoff = Backoff::new(&retry);
        let seconds = |d: Option<Duration>| d.map(|d| d.as_secs_f64());
        assert_eq!(seconds(backoff.next(None, Duration::ZERO, 0.5)), Some(2.0));
        assert_eq!(seconds(backoff.next(None, Duration::ZERO, 0.0)), Some(2.0), "half of four");
        assert_eq!(seconds(backoff.next(None, Duration::ZERO, 1.0)), Some(7.5), "half more than five");
        let asked = Some(Duration::from_secs(20));
        assert_eq!(seconds(backoff.next(asked, Duration::ZERO, 0.5)), Some(20.0), "as the other side asks");
        assert_eq!(backoff.next(asked, Duration::from_secs(41), 0.5), None);
        let patient = Retry { max_elapsed_time: None, ..retry };
        let absurd = Some(Duration::from_secs(u64::MAX));
        assert_eq!(seconds(Backoff::new(&patient).next(absurd, Duration::ZERO, 0.5)), Some(3600.0));
        assert_eq!(Backoff::new(&Retry { enabled: false, ..retry }).next(None, Duration::ZERO, 0.5), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = std::time::UNIX_EPOCH + Duration::from_secs(1_445_412_470);
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT", now), Some(Duration::from_secs(10)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:27:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }
}

//! The one clock of the engine, which tests can move, and what of it retention may believe.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::{HOUR_NS, Timestamp};
use parking_lot::Mutex;

/// Tells the time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Wall-clock time, nanoseconds since the Unix epoch. May jump either way.
    fn now(&self) -> Timestamp;
    /// Time since some fixed moment; never goes back.
    fn monotonic(&self) -> Duration;
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(d) => Timestamp::try_from(d.as_nanos()).unwrap_or(Timestamp::MAX),
            Err(e) => Timestamp::try_from(e.duration().as_nanos()).map_or(Timestamp::MIN, |n| -n),
        }
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A clock that stands still until it is moved; clones are the same clock.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Mutex<(Timestamp, Duration)>>);

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new((now, Duration::ZERO))))
    }

    /// Time passes.
    pub fn advance(&self, by: Duration) {
        let mut state = self.0.lock();
        state.0 = state.0.saturating_add(Timestamp::try_from(by.as_nanos()).unwrap_or(Timestamp::MAX));
        state.1 += by;
    }

    /// Someone sets the wall clock.
    pub fn set(&self, now: Timestamp) {
        self.0.lock().0 = now;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.0.lock().0
    }

    fn monotonic(&self) -> Duration {
        self.0.lock().1
    }
}

/// How far the wall clock may be off before it counts as set.
const TOLERANCE: i64 = HOUR_NS;
/// How long a clock that was set forward must run on before it is believed.
const PROBATION: Duration = Duration::from_secs(24 * 3600);

/// The time that retention goes by. Deleting is the one thing that a wrong clock makes irreparable; so a wall clock that
/// jumps forward by more than an hour (against the monotonic clock, or at a start against the time in the manifest) is
/// believed only after it has run on for a day. Meanwhile time passes as if it had not jumped: data stays a day longer.
/// A clock that jumps back is believed at once: it deletes less.
#[derive(Debug)]
pub(crate) struct TrustedTime {
    /// Trusted wall time at a monotonic time.
    anchor: (Timestamp, Duration),
    /// Since when the wall clock has been ahead, and by how much.
    ahead: Option<(Duration, i64)>,
}

impl TrustedTime {
    /// Starts from `last`, when this data was last written, if that is known.
    pub(crate) fn new(clock: &dyn Clock, last: Option<Timestamp>) -> Self {
        let now = clock.now();
        let anchor = last.filter(|last| now.saturating_sub(*last) > TOLERANCE).unwrap_or(now);
        Self { anchor: (anchor, clock.monotonic()), ahead: None }
    }

    /// The time to go by.
    pub(crate) fn now(&mut self, clock: &dyn Clock) -> Timestamp {
        let (wall, monotonic) = (clock.now(), clock.monotonic());
        let passed = Timestamp::try_from(monotonic.saturating_sub(self.anchor.1).as_nanos()).unwrap_or(Timestamp::MAX);
        let expected = self.anchor.0.saturating_add(passed);
        let ahead = wall.saturating_sub(expected);
        if ahead <= TOLERANCE {
            self.anchor = (wall, monotonic);
            self.ahead = None;
            return wall;
        }
        match self.ahead {
            Some((since, by)) if ahead.saturating_sub(by).abs() <= TOLERANCE => {
                if monotonic.saturating_sub(since) >= PROBATION {
                    self.anchor = (wall, monotonic);
                    self.ahead = None;
                    return wall;
                }
            }
            _ => self.ahead = Some((monotonic, ahead)),
        }
        expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * HOUR_NS;

    #[test]
    fn a_clock_set_forward_is_believed_after_a_day_and_one_set_back_at_once() {
        let clock = ManualClock::new(100 * DAY);
        let mut time = TrustedTime::new(&clock, None);
        clock.advance(Duration::from_secs(3600));
        assert_eq!(time.now(&clock), 100 * DAY + HOUR_NS);
        clock.set(10_000 * DAY);
        assert_eq!(time.now(&clock), 100 * DAY + HOUR_NS);
        clock.advance(Duration::from_secs(12 * 3600));
        assert_eq!(time.now(&clock), 100 * DAY + 13 * HOUR_NS, "time passes meanwhile");
        clock.advance(Duration::from_secs(12 * 3600));
        assert_eq!(time.now(&clock), 10_001 * DAY);
        clock.set(50 * DAY);
        assert_eq!(time.now(&clock), 50 * DAY);
    }

    #[test]
    fn a_start_long_after_the_last_write_does_not_delete_at_once() {
        let clock = ManualClock::new(100 * DAY);
        let mut time = TrustedTime::new(&clock, Some(50 * DAY));
        assert_eq!(time.now(&clock), 50 * DAY);
        clock.advance(Duration::from_secs(25 * 3600));
        assert!(time.now(&clock) >= 101 * DAY);
    }

    #[test]
    fn extreme_clocks_do_not_overflow() {
        for (a, b) in [(i64::MIN, i64::MAX), (i64::MAX, i64::MIN), (0, i64::MAX), (i64::MAX, i64::MAX)] {
            let clock = ManualClock::new(a);
            let mut time = TrustedTime::new(&clock, Some(b));
            clock.set(b);
            time.now(&clock);
            clock.advance(Duration::from_secs(u64::MAX / 4));
            time.now(&clock);
        }
    }
}

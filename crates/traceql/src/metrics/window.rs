//! Intervals of time: left-open, named by their ends, aligned to the step.

use model::TimeRange;

/// From `start` to `end` in steps, nanoseconds since the Unix epoch. One step that is the whole range is an instant query:
/// one interval, as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Spans start after it.
    pub start: i64,
    /// Or at it, at the latest.
    pub end: i64,
    /// Width of an interval, positive.
    pub step: i64,
}

/// Most intervals of an answer.
const INTERVALS_MAX: i64 = 100_000;

impl Window {
    /// The window.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn new(start: i64, end: i64, step: i64) -> Result<Self, String> {
        if start < 0 || end <= 0 {
            return Err("start and end must be after 1970".to_owned());
        }
        if end <= start {
            return Err("end must be greater than start".to_owned());
        }
        if step <= 0 {
            return Err("step must be greater than 0".to_owned());
        }
        let window = Self { start, end, step };
        if (end - start) / step > INTERVALS_MAX {
            return Err(format!("more than {INTERVALS_MAX} intervals: choose a greater step"));
        }
        Ok(window)
    }

    fn is_instant(&self) -> bool {
        self.end - self.start == self.step
    }

    fn first(&self) -> i64 {
        if self.is_instant() { self.start } else { self.start - self.start % self.step }
    }

    /// How many intervals.
    #[must_use]
    pub fn intervals(&self) -> usize {
        if self.is_instant() {
            return 1;
        }
        let last = self.end.saturating_add((self.step - self.end % self.step) % self.step);
        ((last - self.first()) / self.step) as usize
    }

    /// The interval of a time.
    #[must_use]
    pub fn interval(&self, time: i64) -> Option<usize> {
        if self.is_instant() {
            return (self.start <= time && time <= self.end).then_some(0);
        }
        (self.start < time && time <= self.end).then(|| ((time - self.first() - 1) / self.step) as usize)
    }

    /// A range whose stretches of a width are the intervals, and the time after which spans count.
    pub(super) fn stretches(&self) -> (TimeRange, i64, i64) {
        if self.is_instant() {
            let end = self.end.saturating_add(1);
            return (TimeRange::new(self.start, end), end - self.start, self.start - 1);
        }
        (TimeRange::new(self.first().saturating_add(1), self.end.saturating_add(1)), self.step, self.start)
    }

    /// The end of an interval.
    #[must_use]
    pub fn timestamp(&self, interval: usize) -> i64 {
        self.first().saturating_add((interval as i64 + 1).saturating_mul(self.step))
    }

    /// The step that Tempo takes where none is given: about 240 intervals.
    #[must_use]
    pub fn default_step(start: i64, end: i64) -> i64 {
        const SECOND: i64 = 1_000_000_000;
        let baseline = end.saturating_sub(start) / 240;
        let five = baseline / (5 * SECOND) * (5 * SECOND);
        let step = if five < 5 * SECOND { baseline / SECOND * SECOND } else { five };
        step.max(SECOND)
    }
}

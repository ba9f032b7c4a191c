//! Points and ranges of time.

/// Nanoseconds since the Unix epoch, UTC; negative before it. Reaches the year 2262.
pub type Timestamp = i64;

/// Nanoseconds in an hour, the width of a table's partition.
pub const HOUR_NS: i64 = 3_600_000_000_000;

/// The partition that holds `time`: whole hours since the Unix epoch.
#[must_use]
pub fn hour_of(time: Timestamp) -> i64 {
    time.div_euclid(HOUR_NS)
}

/// From `start` (included) to `end` (excluded), nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// First nanosecond inside.
    pub start: Timestamp,
    /// First nanosecond after.
    pub end: Timestamp,
}

impl TimeRange {
    /// All of time but its last nanosecond.
    pub const ALL: Self = Self { start: i64::MIN, end: i64::MAX };

    /// The range; empty when `end <= start`.
    #[must_use]
    pub fn new(start: Timestamp, end: Timestamp) -> Self {
        Self { start, end }
    }

    /// Whether `time` lies inside.
    #[must_use]
    pub fn contains(&self, time: Timestamp) -> bool {
        self.start <= time && time < self.end
    }

    /// Whether any time of `first..=last` lies inside.
    #[must_use]
    pub fn overlaps(&self, first: Timestamp, last: Timestamp) -> bool {
        self.start <= last && first < self.end
    }

    /// Whether nothing lies inside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }
}

/// The times of a query: `start`, `start + step`, … up to `end`, in milliseconds or nanoseconds as its language counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// First step.
    pub start: i64,
    /// No step after it.
    pub end: i64,
    /// More than 0.
    pub step: i64,
}

impl Grid {
    /// How many steps.
    #[must_use]
    pub fn len(&self) -> usize {
        let span = self.end.saturating_sub(self.start);
        if span < 0 { 0 } else { (span / self.step.max(1)) as usize + 1 }
    }

    /// Whether there is no step.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end < self.start
    }

    /// The times.
    pub fn times(self) -> impl Iterator<Item = i64> + Clone {
        (0..self.len() as i64).map(move |i| self.start + i * self.step)
    }
}

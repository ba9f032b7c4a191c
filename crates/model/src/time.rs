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

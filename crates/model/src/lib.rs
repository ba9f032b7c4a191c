//! The nouns of telemetry, shared by every crate above: ids, attributes, labels, rows, time ranges, tenants.
//!
//! Nothing here does IO, knows a wire format or a query language. Rows ([`Span`], [`Log`]) borrow from the bytes
//! they were read from; what must outlive those bytes is copied by whoever keeps it.

mod attributes;
mod histogram;
mod ids;
mod labels;
mod rows;
mod tenant;
mod time;

pub use attributes::{Attr, OwnedValue, Scope, Value, ValueType};
pub use histogram::{
    Bucket, BucketSpan, CUSTOM_BUCKETS, Histogram, HistogramSum, IncompatibleBuckets, Merged, ResetHint, go_general,
};
pub use ids::{IdError, SpanId, TraceId};
pub use labels::Labels;
pub use rows::{Event, Group, Link, Log, Span};
pub use tenant::{Tenant, TenantError};
pub use time::{Grid, HOUR_NS, TimeRange, Timestamp, hour_of};

/// The bit pattern of Prometheus' staleness marker, a NaN of its own that must survive every hop.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Whether `value` is the staleness marker (not just any NaN).
#[must_use]
#[inline]
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

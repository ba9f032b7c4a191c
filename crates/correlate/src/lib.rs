//! Correlation: what belongs together finds each other, by trace id and by business keys.
//!
//! A thread ([`Correlator`]) reads the store's log behind a durable cursor and walks each request once more with the same walkers
//! that fill the columns. Spans, log records and metric exemplars are gathered by trace id in windows of *arrival* time ([`loom`]);
//! log records without a trace id wait for the trace that carries the same business key ([`join`]). A window that closes is an
//! event: a span of the service [`SERVICE`] in the trace that it is about ([`row`]), so that correlations need no storage, no
//! retention and no export of their own. What arrives later is a further part of the event; [`find`] puts the parts together.

mod carriers;
mod counters;
mod ends;
pub mod entity;
mod event;
pub mod find;
mod gather;
mod join;
pub mod keys;
mod lines;
mod loom;
mod names;
mod outward;
mod registry;
pub mod row;
mod run;
mod sender;
mod settings;
mod sink;
mod spelled;
#[cfg(test)]
mod tests;
mod trace;
mod traces;
#[cfg(test)]
mod truth;
mod waiting;
mod window;

pub use counters::Counters;
pub use event::{Event, joined_json, time_text};
pub use outward::{is_own, outward};
pub use registry::{Registry, Seen};
pub use run::{Correlator, READER};
pub use settings::{BusinessKey, DEFAULT_KEYS, Settings, Since};
pub use window::{Evidence, ExemplarRef, Joined, LogId, MAX_LINKS, Part, Position};

/// The service that synthetic spans belong to.
pub const SERVICE: &str = "braid-correlation";

/// Why correlation cannot start.
#[derive(Debug, thiserror::Error)]
pub enum CorrelateError {
    /// The business keys are not sound.
    #[error("business keys: {0}")]
    Keys(String),
    /// The cursor cannot be had.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// The system has no thread to give.
    #[error("starting correlation's thread: {0}")]
    Thread(String),
}

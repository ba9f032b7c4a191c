//! Service graph and span metrics, computed from spans as they arrive, with the names and semantics of Tempo's
//! metrics-generator (<https://grafana.com/docs/tempo/latest/metrics-from-traces/>).
//!
//! A [`Worker`] reads the store's log behind a durable cursor of its own and hands each request of spans to a
//! [`Generator`], which counts; at every collection interval the counts are written as samples into the metrics table of
//! the same tenant.
//!
//! # Invariants, each with the test that holds it
//!
//! 1. *Nothing counts twice over a restart, and nothing is lost*: counts, halves of edges that wait, and the cursor are
//!    saved in one transaction, before the samples are written; samples are cumulative, so that writing them once more
//!    changes nothing. (`a_restart_goes_on_where_it_was`)
//! 2. *A span that is sent again is counted once*, as it is stored once, within the last 128,000 spans or more.
//!    (`spans_sent_again_count_once`)
//! 3. *Memory is bounded*: halves that wait, series, remembered groups. What does not fit is evicted or refused, and
//!    counted. (`the_oldest_half_makes_room`, `series_past_the_limit_are_refused`)

mod counters;
mod edges;
mod generator;
mod groups;
mod routes;
mod seen;
mod series;
mod settings;
mod state;
mod text;
mod walk;
mod worker;

#[cfg(test)]
mod tests;

pub use counters::Counters;
pub use generator::Generator;
pub use settings::{DimensionMapping, Intrinsics, ServiceGraphs, Settings, SpanMetrics};
pub use worker::{GraphError, READER, Worker};

//! The engine: write-ahead log, builders, segments, compaction, retention, scan. Knows no query language.
//!
//! All that the languages know of it is the *contract*: [`Reader`] (scan, distinct, series, samples) over a
//! consistent snapshot, [`Predicate`] and [`Column`] to ask with, [`Batch`] to read from.

pub mod backup;
pub mod body;
pub mod columns;
pub mod contract;
pub mod deletes;
pub mod disk;
pub mod engine;
pub mod inspect;
mod lock;
pub mod log;
pub mod manifest;
pub mod memory;
mod priority;
mod recent;
mod remote;
pub mod series;
mod store;
mod table;

pub use columns::{CacheStats, cores, in_parallel};
pub use contract::{
    Aggregation, Appended, Batch, BatchStream, Column, CompareOp, Compared, Comparison, Counted, Deletion, Distinct, Doomed,
    EachSeries, Exemplar, Field, HistogramSample, IdSet, LabelMatcher, Language, Literal, MatchOp, Meaning, MemberTest, Order,
    Predicate, Reader, Request, RowTest, Scan, Selection, SeriesExemplars, SeriesSamples, SeriesStream, Sides, Source,
    StoreError, Table, Tallied, Tombstone, Worded, Writer, in_order, text_at, value_text,
};
pub use deletes::Tombstones;
pub use engine::{Engine, NamedReader, Options, Stats};
pub use log::AtCap;
pub use priority::Priority;
pub use recent::{KeptLines, LineKeeper};
pub use remote::{RemoteOptions, RemoteStats};
pub use store::Store;
pub use table::{Frozen, Record, SegmentFile, SegmentMeta, SegmentSource, Segments, Table as SignalTable};

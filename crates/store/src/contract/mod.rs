//! The contract between the engine and the languages; the embedded engine, the in-memory model and (later)
//! ClickHouse implement it, and one suite of property tests holds them together.

mod batch;
mod compare;
mod delete;
mod error;
mod language;
mod predicate;
mod reader;
mod selection;
mod writer;

pub use batch::{Batch, Meaning, text_at, value_text};
pub use compare::{Compared, Comparison, Sides, Tallied};
pub(crate) use delete::Order as DeletionOrder;
pub use delete::{Deletion, Doomed, Tombstone};
pub use error::StoreError;
pub use language::{Language, RowTest, Worded};
pub use predicate::{CompareOp, IdSet, LabelMatcher, Literal, MatchOp, MemberTest, Predicate};
pub use reader::{
    Aggregation, BatchStream, Column, Counted, Distinct, Exemplar, Field, HistogramSample, Order, Reader, Scan, SeriesExemplars,
    SeriesSamples, SeriesStream, Source, Table,
};
pub use selection::{EachSeries, Selection, in_order};
pub use writer::{Appended, Request, Writer};

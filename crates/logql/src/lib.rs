//! LogQL, after Loki 3: [`parse`] a query, then [`lines`] or [`metric`] evaluates it over a store's reader. Printing an
//! [`Expr`] gives Loki's canonical form, [`Expr::pretty`] the one for reading.
//!
//! Stream selectors and the line filters that stand first become one [`store::Predicate`], so that the engine finds the lines;
//! the rest of a pipeline runs on the rows of each batch, and its parsers extract only what the query uses.

mod ast;
mod deletion;
mod drain;
mod error;
mod eval;
mod fields;
pub mod invariants;
mod levels;
mod lexer;
mod lines;
mod live;
mod parser;
mod pipeline;
mod predicate;
mod pretty;
mod print;
mod regexp;
mod rows;
mod units;
mod volume;
mod work;

#[cfg(test)]
mod tests;

pub use ast::{
    AggregateOp, Binary, BinaryOp, Cardinality, CompareOp, Conversion, Expr, Grouping, LabelFilter, LabelFormat, LabelReplace,
    LineFilter, LineOp, LineTerm, LogQuery, LogfmtFlags, Matching, NamedMatcher, RangeAggregation, RangeOp, Stage, Unwrap,
    Variants, VectorAggregation,
};
pub use deletion::Deletions;
pub use drain::Pattern;
pub use error::{EvalError, ParseError};
pub use eval::{Grid, Metric, metric};
pub use fields::{DetectedField, FieldType, detected_fields, field_values};
pub use levels::SOURCES as LEVEL_SOURCES;
pub use lines::{Direction, Line, Question, Tally, each_line, lines, lines_apart};
pub use live::{Arrived, Arriving, Tail};
pub use parser::{MAX_QUERY, parse, parse_matchers};
pub use pipeline::{Category, LabelSet, Labels};
pub use predicate::matchers_predicate;
pub use volume::{LabelCost, StreamStats, Volume, VolumeBy, patterns, stream_stats, volume};

/// A size as LogQL writes it (`1.5KB`, `600MB`, `2MiB`), bytes.
///
/// # Errors
/// What `humanize.ParseBytes` says.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    units::parse_bytes(text)
}

/// A duration as LogQL writes it (`5m`, `1h30m`, `1.5s`, `2d`), nanoseconds. `None` where `text` is none.
#[must_use]
pub fn parse_duration(text: &str) -> Option<i64> {
    units::parse_duration(text)
}

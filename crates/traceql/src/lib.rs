//! TraceQL, after Tempo 2: [`parse`] a query, make a [`Plan`], [`search`] a store's reader.
//!
//! A span filter becomes one [`store::Predicate`], so that the engine finds the spans; this crate then gathers the
//! traces around them. Of the language there are span filters over a span's own columns and `select()`; everything else
//! is refused with its position.

mod ast;
mod compile;
mod error;
mod lexer;
mod parser;
mod search;
mod tags;

#[cfg(test)]
mod tests;

pub use ast::{AttributeScope, Binary, Expr, Intrinsic, KINDS, Node, Op, Query, STATUSES, Static, Type};
pub use compile::compile;
pub use error::{EvalError, ParseError};
pub use parser::{MAX_QUERY, parse};
pub use search::{Found, FoundSpan, FoundTrace, Plan, Question, search};
pub use tags::{logfmt, tags_predicate};

/// A duration as TraceQL writes it (`1.5s`, `1h30m`), nanoseconds. `None` where `text` is none.
#[must_use]
pub fn parse_duration(text: &str) -> Option<i64> {
    lexer::parse_duration(text)
}

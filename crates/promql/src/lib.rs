//! PromQL, after Prometheus 3: [`parse`] a query, then [`instant`] or [`range`] evaluates it over a store's reader.
//!
//! Evaluation walks the expression once for all steps of a query. Selectors and functions over ranges hand on one
//! series after the other, and aggregations fold them as they come, so what is held in memory is the answer, not the
//! samples. What the reference calls experimental is allowed unless [`Syntax`] and [`Options`] say otherwise.

mod ast;
mod check;
mod error;
mod eval;
mod functions;
mod lexer;
mod notes;
mod operators;
mod parser;
mod print;
mod series_description;

#[cfg(test)]
mod tests;

pub use ast::{
    AggregateOp, At, Binary, BinaryOp, DurationExpr, Expr, Extension, Grouping, Length, Matching, Node, Selector, Shift, Side,
    Type,
};
pub use error::{EvalError, ParseError};
pub use eval::{Answer, Grid, Limits, Matrix, Options, Outcome, Points, Question, Sample, Stats, instant, range};
pub use functions::{Function, functions};
pub use parser::{MAX_QUERY, Syntax, parse, parse_selector, parse_with};
pub use print::braces;
pub use series_description::{SequenceValue, SeriesDescription, parse_series_description};

/// A duration as Prometheus writes it (`1h30m`), milliseconds. `None` where `text` is none, or too long a one.
#[must_use]
pub fn parse_duration(text: &str) -> Option<i64> {
    syntax::prometheus_duration(text).flatten()
}

/// A value as `count_values` and numbers in queries print it: shortest digits that read back the same, never with an exponent.
pub(crate) fn plain(value: f64) -> String {
    if value.is_finite() { value.to_string() } else { number(value) }
}

/// A value as Prometheus' JSON prints it: shortest digits that read back the same, `+Inf`, `-Inf`, `NaN`;
/// an exponent only below 1e-6 and from 1e21 on.
#[must_use]
pub fn number(value: f64) -> String {
    let mut out = String::new();
    write_number(&mut out, value);
    out
}

/// Appends a value as [`number`] prints it.
pub fn write_number(out: &mut String, value: f64) {
    let size = value.abs();
    if size < 1e15 && value.trunc() == value && (value != 0.0 || value.is_sign_positive()) {
        out.push_str(itoa::Buffer::new().format(value as i64));
        return;
    }
    if value.is_finite() {
        let mut buffer = zmij::Buffer::new();
        let shortest = buffer.format_finite(value);
        if !shortest.contains('e') {
            out.push_str(shortest.strip_suffix(".0").unwrap_or(shortest));
            return;
        }
    }
    out.push_str(&uncommon(value));
}

/// What is neither of middling size nor whole.
fn uncommon(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        // Go writes at least two digits of exponent, and its sign.
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |e| ('-', e));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    value.to_string()
}

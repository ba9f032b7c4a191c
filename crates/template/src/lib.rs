//! Go's `text/template`, as LogQL's `line_format` and alert templates use it: [`Template::parse`] once, then
//! [`Template::execute`] for each set of data. Functions come from the caller ([`Functions`]); Go's own (`printf`, `index`,
//! `eq`, …) are always there.
//!
//! Everything is bounded: how deep a template nests, how many steps an execution takes, how much it writes.

mod builtin;
mod error;
mod exec;
mod format;
mod function;
mod lex;
mod node;
mod parse;
mod time;
mod value;

#[cfg(test)]
mod tests;

pub use error::{ExecError, ParseError};
pub use exec::BYTES_A_STEP;
pub use format::{format_float, printf, quote};
pub use function::{Function, Functions, Kind};
pub use node::Template;
pub use time::Time;
pub use value::{Map, Object, Value};

/// Bounds of an execution.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Nodes and rounds of loops.
    pub steps: usize,
    /// Bytes written.
    pub output: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { steps: 1_000_000, output: 1 << 20 }
    }
}

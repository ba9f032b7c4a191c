//! What PromQL, LogQL, TraceQL and the notations of labels have in common below their grammars: where something stands
//! in a text, Go's quoted strings, durations, regular expressions, cases of letters. Each language keeps a lexer and an AST of its own.

mod case;
mod duration;
mod position;
mod quoted;
mod regexp;
mod run;

pub use case::{go_lower, go_upper};
pub use duration::{go_duration, prometheus_duration, prometheus_duration_text};
pub use position::Position;
pub use quoted::quoted;
pub use regexp::{go_pattern, go_regexp, go_regexp_error};
pub use run::short_run;

//! Queries over several lines, as Loki's `format_query` lays them out.

use std::fmt::Display;

use template::{format_float, quote};

use crate::ast::{Conversion, Expr, Grouping, LogQuery, RangeAggregation, Stage, Unwrap};
use crate::units::range_text;

/// What is no longer than this stays on its line, where nothing else is said; bytes.
const LINE: usize = 100;

impl Expr {
    /// The query laid out for reading: what does not fit a line gets one line a stage, an argument, an operand.
    #[must_use]
    pub fn pretty(&self) -> String {
        self.pretty_within(LINE)
    }

    /// The same, where a line has `width` bytes.
    #[must_use]
    pub fn pretty_within(&self, width: usize) -> String {
        Layout { width }.expr(self, 0)
    }
}

/// How wide a line may be.
#[derive(Clone, Copy)]
struct Layout {
    width: usize,
}

fn indent(level: usize) -> String {
    "  ".repeat(level)
}

fn whole(text: &impl Display, level: usize) -> String {
    format!("{}{text}", indent(level))
}

/// `op(`, the arguments each on a line, `)`.
fn call(head: &str, arguments: &[String], level: usize) -> String {
    format!("{}{head}(\n{}\n{})", indent(level), arguments.join(",\n"), indent(level))
}

impl Layout {
    fn long(self, text: &impl Display) -> bool {
        text.to_string().len() > self.width
    }

    fn expr(self, expr: &Expr, level: usize) -> String {
        if !self.long(expr) && !matches!(expr, Expr::Log(_)) {
            return whole(expr, level);
        }
        match expr {
            Expr::Log(log) => self.query(log, level),
            Expr::Range(range) => {
                let parameter = range.parameter.map(|p| format!("{}{}", indent(level + 1), format_float(p, 'f', None)));
                let arguments: Vec<String> = parameter.into_iter().chain([self.ranged(range, level + 1)]).collect();
                call(range.op.as_str(), &arguments, level) + &range.grouping.as_ref().map(grouping).unwrap_or_default()
            }
            Expr::Aggregate(a) => {
                let parameter = a.parameter.map(|p| format!("{}{p}", indent(level + 1)));
                let arguments: Vec<String> = parameter.into_iter().chain([self.expr(&a.expr, level + 1)]).collect();
                call(&format!("{}{}", a.op, grouping(&a.grouping)), &arguments, level)
            }
            Expr::Binary(b) => format!(
                "{}\n{}{}\n{}",
                self.expr(&b.left, level + 1),
                indent(level),
                b.operator(true),
                self.expr(&b.right, level + 1)
            ),
            Expr::LabelReplace(r) => {
                let text = |t: &String| format!("{}{}", indent(level + 1), quote(t));
                let arguments =
                    [self.expr(&r.expr, level + 1), text(&r.destination), text(&r.replacement), text(&r.source), text(&r.regex)];
                call("label_replace", &arguments, level)
            }
            Expr::Number(_) | Expr::Vector(_) | Expr::Variants(_) => whole(expr, level),
        }
    }

    fn query(self, log: &LogQuery, level: usize) -> String {
        if log.stages.is_empty() || !self.long(log) {
            return whole(log, level);
        }
        let selector = LogQuery { matchers: log.matchers.clone(), stages: Vec::new() };
        let stages = log.stages.iter().map(|s| self.stage(s, level + 1));
        [whole(&selector, level)].into_iter().chain(stages).collect::<Vec<_>>().join("\n")
    }

    fn stage(self, stage: &Stage, level: usize) -> String {
        match stage {
            Stage::LineFilters(filters) if self.long(stage) => {
                filters.iter().map(|f| whole(f, level)).collect::<Vec<_>>().join("\n")
            }
            stage => whole(stage, level),
        }
    }

    /// The lines of a range aggregation; the range stays behind their last stage.
    fn ranged(self, range: &RangeAggregation, level: usize) -> String {
        let mut out = self.query(&range.log, level);
        if let Some(u) = &range.unwrap {
            out.push('\n');
            out.push_str(&unwrap(u, level + 1));
        }
        out.push_str(&format!(" [{}]", range_text(range.range_ns)));
        if range.offset_ns != 0 {
            out.push_str(&format!(" offset {}", range_text(range.offset_ns)));
        }
        out
    }
}

fn unwrap(unwrap: &Unwrap, level: usize) -> String {
    let head = match unwrap.conversion {
        Conversion::None => format!("| unwrap {}", unwrap.label),
        conversion => format!("| unwrap {}({})", conversion.as_str(), unwrap.label),
    };
    let filters = unwrap.filters.iter().map(|f| format!("\n{}| {f}", indent(level)));
    format!("{}{head}{}", indent(level), filters.collect::<String>())
}

fn grouping(grouping: &Grouping) -> String {
    let mut out = String::new();
    if grouping.without {
        out.push_str(" without");
    } else if !grouping.labels.is_empty() {
        out.push_str(" by");
    }
    if !grouping.labels.is_empty() {
        out.push_str(&format!(" ({})", grouping.labels.join(", ")));
    }
    out
}

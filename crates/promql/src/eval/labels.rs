//! Functions of labels: they do not look at values.

use std::cmp::Ordering;
use std::sync::Arc;

use model::Labels;
use regex::Regex;
use store::{LabelMatcher, MatchOp};

use super::value::{Series, unite};
use super::{Evaluator, Grid};
use crate::EvalError;
use crate::ast::{Expr, Node};

fn fail<T>(message: String) -> Result<T, EvalError> {
    Err(EvalError::Execution(message))
}

fn set_label(series: &mut Series, name: &str, value: &str) {
    series.labels = Arc::new(Labels::from_pairs(series.labels.iter().chain([(name, value)])));
    // A name that was set on purpose stays.
    series.drop_name &= name != "__name__";
}

/// Not empty, and UTF-8: bytes that are not have become U+FFFD.
fn is_label_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('\u{fffd}')
}

impl Evaluator<'_> {
    pub(super) fn label_replace(&self, args: &[Expr], grid: Grid) -> Result<Vec<Series>, EvalError> {
        let [vector, rest @ ..] = args else { return fail("label_replace() needs a vector".to_owned()) };
        let texts: Vec<String> = rest.iter().map(|arg| self.text(arg, grid)).collect::<Result<_, _>>()?;
        let [target, replacement, source, pattern] = texts.as_slice() else {
            return fail("label_replace() needs four texts".to_owned());
        };
        let Some(regex) = syntax::go_regexp(pattern).ok().and_then(|p| Regex::new(&format!("^(?s:{p})$")).ok()) else {
            return fail(format!("invalid regular expression in label_replace(): {pattern}"));
        };
        if !is_label_name(target) {
            return fail(format!("invalid destination label name in label_replace(): {target}"));
        }
        let mut series = self.vector(vector, grid)?;
        for s in &mut series {
            let value = s.labels.get(source).unwrap_or("").to_owned();
            if let Some(captures) = regex.captures(&value) {
                let mut expanded = String::new();
                captures.expand(replacement, &mut expanded);
                set_label(s, target, &expanded);
            }
        }
        unite(series)
    }

    pub(super) fn label_join(&self, args: &[Expr], grid: Grid) -> Result<Vec<Series>, EvalError> {
        let [vector, rest @ ..] = args else { return fail("label_join() needs a vector".to_owned()) };
        let texts: Vec<String> = rest.iter().map(|arg| self.text(arg, grid)).collect::<Result<_, _>>()?;
        let [target, separator, sources @ ..] = texts.as_slice() else {
            return fail("label_join() needs a target and a separator".to_owned());
        };
        if let Some(source) = sources.iter().find(|name| !is_label_name(name)) {
            return fail(format!("invalid source label name in label_join(): {source}"));
        }
        if !is_label_name(target) {
            return fail(format!("invalid destination label name in label_join(): {target}"));
        }
        let mut series = self.vector(vector, grid)?;
        for s in &mut series {
            let values: Vec<&str> = sources.iter().map(|name| s.labels.get(name).unwrap_or("")).collect();
            let joined = values.join(separator);
            set_label(s, target, &joined);
        }
        unite(series)
    }

    /// By the labels that are named, numbers in them by size, then by all labels.
    pub(super) fn sort_by_label(&self, args: &[Expr], descending: bool, grid: Grid) -> Result<Vec<Series>, EvalError> {
        let [vector, names @ ..] = args else { return fail("sort_by_label() needs a vector".to_owned()) };
        let names: Vec<String> = names.iter().map(|arg| self.text(arg, grid)).collect::<Result<_, _>>()?;
        let mut series = self.vector(vector, grid)?;
        series.sort_by(|a, b| {
            let of = |s: &Series, name: &str| s.labels.get(name).unwrap_or("").to_owned();
            let named = names.iter().map(|name| natural(&of(a, name), &of(b, name))).find(|o| o.is_ne());
            let order = named.unwrap_or_else(|| a.labels.cmp(&b.labels));
            if descending { order.reverse() } else { order }
        });
        Ok(series)
    }
}

/// Digits compare by the number that they write, everything else by its bytes.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a_rest, mut b_rest) = (a, b);
    while let (Some(x), Some(y)) = (part(&mut a_rest), part(&mut b_rest)) {
        let digits = |s: &str| s.starts_with(|c: char| c.is_ascii_digit());
        let order = if digits(x) && digits(y) {
            let [x, y] = [x, y].map(|s| s.trim_start_matches('0'));
            x.len().cmp(&y.len()).then_with(|| x.cmp(y))
        } else {
            x.cmp(y)
        };
        if order.is_ne() {
            return order;
        }
    }
    a_rest.len().cmp(&b_rest.len()).then_with(|| a.cmp(b))
}

/// The run of digits, or of other characters, that `text` starts with.
fn part<'t>(text: &mut &'t str) -> Option<&'t str> {
    let first = text.chars().next()?.is_ascii_digit();
    let end = text.find(|c: char| c.is_ascii_digit() != first).unwrap_or(text.len());
    let (part, rest) = text.split_at(end);
    *text = rest;
    Some(part)
}

/// The labels that a selector fixes: what `absent` says is not there.
pub(super) fn fixed_labels(expr: &Expr) -> Labels {
    let matchers: &[LabelMatcher] = match &expr.inner().node {
        Node::Selector(s) | Node::Range { selector: s, .. } => &s.matchers,
        _ => &[],
    };
    // Later matchers of a label make it uncertain, unless the first that says "equal" is yet to come.
    let mut fixed: Vec<(&str, Option<&str>)> = Vec::new();
    for m in matchers.iter().filter(|m| m.name != "__name__") {
        let said = fixed.iter_mut().find(|(name, _)| *name == m.name);
        match (m.op == MatchOp::Eq, said) {
            (true, None) => fixed.push((&m.name, Some(&m.value))),
            (_, Some((_, value))) => *value = None,
            (false, None) => {}
        }
    }
    Labels::from_pairs(fixed.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_labels_sort_by_size() {
        let mut texts = ["a10", "a9", "a", "b1", "a9b", "2", "10", "a09"];
        texts.sort_by(|a, b| natural(a, b));
        assert_eq!(texts, ["2", "10", "a", "a09", "a9", "a9b", "a10", "b1"]);
    }
}

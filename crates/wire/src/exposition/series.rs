//! The labels of a series, from where they stand in the text.

use std::borrow::Cow;

use super::number;
use super::token::quote;
use crate::{Limits, MetricKind};

/// A label or an exemplar's label.
pub(super) type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The text of a metric's or label's name, or of a value, as it stands there, without its quotes.
pub(super) fn text<'a>(bytes: &'a [u8], what: &str) -> Result<Cow<'a, str>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| format!("invalid UTF-8 {what}: {}", quote(bytes)))?;
    Ok(unescape(text, true))
}

/// Brings the bounds of histograms and the quantiles of summaries into their one form, sorts the labels. Empty ones stay: with
/// `honor_labels` they say that the series has no such label.
pub(super) fn finish(labels: &mut Vec<Pair<'_>>, kind: MetricKind, limits: &Limits) -> Result<(), String> {
    if labels.len() > limits.max_labels {
        return Err(format!("more than {} labels", limits.max_labels));
    }
    let number = match kind {
        MetricKind::Histogram => "le",
        MetricKind::Summary => "quantile",
        _ => "",
    };
    for (name, value) in labels.iter_mut() {
        if *name == number
            && let Ok(n) = number::float(value)
        {
            *value = Cow::Owned(number::canonical(n));
        }
    }
    sort(labels)
}

/// Sorts by name; names are unique.
pub(super) fn sort(labels: &mut [Pair<'_>]) -> Result<(), String> {
    labels.sort_unstable();
    match labels.windows(2).find(|w| w[0].0 == w[1].0) {
        Some(w) => Err(format!("label name {:?} is not unique: invalid sample", w[0].0)),
        None => Ok(()),
    }
}

/// `\\` and `\n`, and in `quotes` also `\"`; any other backslash stands for itself.
pub(super) fn unescape(text: &str, quotes: bool) -> Cow<'_, str> {
    if memchr::memchr(b'\\', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let escaped = match (c, chars.peek()) {
            ('\\', Some('\\')) => '\\',
            ('\\', Some('n')) => '\n',
            ('\\', Some('"')) if quotes => '"',
            _ => {
                out.push(c);
                continue;
            }
        };
        out.push(escaped);
        chars.next();
    }
    Cow::Owned(out)
}

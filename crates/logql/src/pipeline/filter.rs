//! Label filters.

use std::sync::Arc;

use store::LabelMatcher;

use super::ip::IpRange;
use super::labels::Labels;
use crate::ast::{CompareOp, LabelFilter};
use crate::units::{go_duration, parse_bytes, parse_float};

/// What the error label says.
pub(crate) const FILTER_ERROR: &str = "LabelFilterErr";

/// A condition, ready to be asked.
#[derive(Debug, Clone)]
pub(crate) enum Condition {
    Matcher(LabelMatcher),
    Number(Arc<str>, CompareOp, f64),
    Duration(Arc<str>, CompareOp, i64),
    Bytes(Arc<str>, CompareOp, u64),
    Ip(Arc<str>, bool, IpRange),
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
}

impl Condition {
    pub(crate) fn new(filter: &LabelFilter) -> Result<Self, String> {
        let both = |l: &LabelFilter, r: &LabelFilter| Ok::<_, String>((Box::new(Self::new(l)?), Box::new(Self::new(r)?)));
        Ok(match filter {
            LabelFilter::Matcher(m) => Self::Matcher(m.clone()),
            LabelFilter::Number(name, op, value) => Self::Number(name.as_str().into(), *op, *value),
            LabelFilter::Duration(name, op, ns) => Self::Duration(name.as_str().into(), *op, *ns),
            LabelFilter::Bytes(name, op, bytes) => Self::Bytes(name.as_str().into(), *op, *bytes),
            LabelFilter::Ip(name, negative, range) => Self::Ip(name.as_str().into(), *negative, IpRange::parse(range)?),
            LabelFilter::And(l, r) => {
                let (l, r) = both(l, r)?;
                Self::And(l, r)
            }
            LabelFilter::Or(l, r) => {
                let (l, r) = both(l, r)?;
                Self::Or(l, r)
            }
        })
    }

    /// Whether a line of these labels is kept. A value that cannot be compared is an error and keeps the line; a label that is not
    /// there is no value.
    pub(crate) fn accepts(&self, labels: &mut Labels) -> bool {
        match self {
            Self::Matcher(m) => m.matches(labels.value(&m.name)),
            Self::Number(name, op, value) => compare(labels, name, |text| parse_float(text).map(|v| op.holds(v, *value))),
            Self::Duration(name, op, ns) => compare(labels, name, |text| go_duration(text).map(|v| op.holds(v, *ns))),
            Self::Bytes(name, op, bytes) => compare(labels, name, |text| parse_bytes(text).map(|v| op.holds(v, *bytes))),
            Self::Ip(name, negative, range) => {
                if labels.has_error() {
                    return true;
                }
                labels.get(name).is_some_and(|(_, value)| range.in_text(value) != *negative)
            }
            Self::And(l, r) => {
                let left = l.accepts(labels);
                let right = r.accepts(labels);
                left && right
            }
            Self::Or(l, r) => l.accepts(labels) || r.accepts(labels),
        }
    }
}

fn compare(labels: &mut Labels, name: &str, holds: impl Fn(&str) -> Result<bool, String>) -> bool {
    let Some((_, value)) = labels.get(name) else { return false };
    match holds(value) {
        Ok(holds) => holds,
        Err(why) => {
            // What failed first says more.
            if !labels.has_error() {
                labels.set_error(FILTER_ERROR, why);
            }
            true
        }
    }
}

//! The inverted index: label name -> value -> series, and how matchers are answered from it.

use std::sync::Arc;

use hashbrown::HashMap;
use model::Labels;

use super::registry::{Registry, SeriesId};
use crate::LabelMatcher;
use crate::contract::MatchOp;

/// Series by one label's value.
type Values = HashMap<Arc<str>, Vec<SeriesId>>;

/// Label name -> value -> numbers of series, in no order.
#[derive(Debug, Default)]
pub(super) struct Postings {
    names: HashMap<Arc<str>, Values>,
    text_bytes: usize,
    entries: usize,
    values: usize,
}

impl Postings {
    /// Enters a series.
    pub(super) fn add(&mut self, labels: &Labels, id: SeriesId) {
        for (name, value) in labels.iter() {
            let values = match self.names.get_mut(name) {
                Some(values) => values,
                None => {
                    self.text_bytes += name.len();
                    self.names.entry(name.into()).or_default()
                }
            };
            match values.get_mut(value) {
                Some(ids) => ids.push(id),
                None => {
                    self.text_bytes += value.len();
                    self.values += 1;
                    values.insert(value.into(), vec![id]);
                }
            }
            self.entries += 1;
        }
    }

    /// Takes out every series whose flag is set.
    pub(super) fn remove(&mut self, dead: &[bool]) {
        let (mut text_bytes, mut entries, mut count) = (0, 0, 0);
        self.names.retain(|name, values| {
            values.retain(|value, ids| {
                ids.retain(|id| !dead[*id as usize]);
                ids.shrink_to_fit();
                if !ids.is_empty() {
                    text_bytes += value.len();
                    entries += ids.len();
                    count += 1;
                }
                !ids.is_empty()
            });
            if !values.is_empty() {
                text_bytes += name.len();
            }
            !values.is_empty()
        });
        (self.text_bytes, self.entries, self.values) = (text_bytes, entries, count);
    }

    /// Every label name with the series that have it, in no order.
    pub(super) fn names(&self) -> impl Iterator<Item = (&Arc<str>, impl Iterator<Item = SeriesId>)> {
        self.names.iter().map(|(name, values)| (name, values.values().flatten().copied()))
    }

    /// Every value of a label with its series, in no order.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = (&Arc<str>, &[SeriesId])> {
        self.names.get(name).into_iter().flatten().map(|(value, ids)| (value, &**ids))
    }

    /// Bytes held, about.
    pub(super) fn memory(&self) -> usize {
        // A value: its text behind two counters, the table's slot, a list.
        self.text_bytes + self.values * 80 + self.entries * 6 + self.names.len() * 96
    }
}

/// A set of series.
struct Set(Vec<u64>);

impl Set {
    fn new(bound: usize) -> Self {
        Self(vec![0; bound.div_ceil(64)])
    }

    fn add(&mut self, ids: &[SeriesId]) {
        for id in ids {
            self.0[*id as usize / 64] |= 1 << (id % 64);
        }
    }

    fn has(&self, id: SeriesId) -> bool {
        self.0[id as usize / 64] & (1 << (id % 64)) != 0
    }
}

/// Series that all matchers accept, in no order. An absent label has the empty value.
pub(super) fn select(registry: &Registry, matchers: &[LabelMatcher]) -> Vec<SeriesId> {
    let postings = registry.postings();
    // Start from the shortest list that an equality names.
    let shortest = matchers
        .iter()
        .enumerate()
        .filter(|(_, m)| m.op == MatchOp::Eq && !m.value.is_empty())
        .map(|(at, m)| {
            let ids = postings.names.get(m.name.as_str()).and_then(|values| values.get(m.value.as_str()));
            (at, ids.map_or(&[][..], |ids| ids))
        })
        .min_by_key(|(_, ids)| ids.len());
    let mut candidates = match shortest {
        Some((_, [])) => return Vec::new(),
        Some((_, ids)) => ids.to_vec(),
        None => registry.ids().collect(),
    };
    for (at, matcher) in matchers.iter().enumerate() {
        if candidates.is_empty() {
            break;
        }
        if shortest.is_none_or(|(start, _)| start != at) {
            narrow(registry, matcher, &mut candidates);
        }
    }
    candidates
}

/// Leaves the candidates that the matcher accepts: asks it once a candidate or once a value of the label, whichever is less.
fn narrow(registry: &Registry, matcher: &LabelMatcher, candidates: &mut Vec<SeriesId>) {
    let Some(values) = registry.postings().names.get(matcher.name.as_str()) else {
        if !matcher.matches("") {
            candidates.clear();
        }
        return;
    };
    let regex = matches!(matcher.op, MatchOp::Re | MatchOp::NotRe);
    if candidates.len() <= values.len() || (!regex && candidates.len() <= 1024) {
        candidates.retain(|id| registry.labels(*id).is_some_and(|l| matcher.matches(l.get(&matcher.name).unwrap_or(""))));
        return;
    }
    let mut set = Set::new(registry.bound());
    // Series without the label are in no list, so where they are accepted the lists of the others are taken out.
    let absent = matcher.matches("");
    for (_, ids) in values.iter().filter(|(value, _)| matcher.matches(value) != absent) {
        set.add(ids);
    }
    candidates.retain(|id| set.has(*id) != absent);
}

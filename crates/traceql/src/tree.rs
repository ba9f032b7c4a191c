//! The tree of a trace's spans, numbered as nested sets, and the relations of the language on it.

use std::collections::{HashMap, HashSet};

use crate::ast::{Mode, Relation};

/// Among so many spans an id is found fastest by looking at all of them.
const FEW: usize = 24;

/// A trace's spans as nested sets: a span contains those whose numbers lie between its own. Spans that no root leads to
/// (a parent that is missing, a cycle) have no numbers: 0.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    pub(crate) left: Vec<i64>,
    pub(crate) right: Vec<i64>,
    /// The parent's `left`; -1 for roots.
    pub(crate) parent: Vec<i64>,
    /// Spans that name the span as their parent.
    pub(crate) children: Vec<i64>,
}

impl Tree {
    /// The tree of spans with these ids and parents' ids (0 for roots), in the order of the trace.
    pub(crate) fn new(ids: &[u64], parents: &[u64]) -> Self {
        let spans = ids.len();
        let mut by_id: HashMap<u64, usize> = HashMap::new();
        if spans > FEW {
            by_id.reserve(spans);
            for (i, id) in ids.iter().enumerate() {
                by_id.entry(*id).or_insert(i);
            }
        }
        // The first of those that share an id.
        let place = |id: u64| match spans > FEW {
            true => by_id.get(&id).copied(),
            false => ids.iter().position(|own| *own == id),
        };
        let mut tree = Self { left: vec![0; spans], right: vec![0; spans], parent: vec![0; spans], children: vec![0; spans] };
        // Children of each span as linked lists, in the order of the trace.
        let mut first = vec![usize::MAX; spans];
        let mut next = vec![usize::MAX; spans];
        for i in (0..spans).rev() {
            if let Some(parent) = place(parents[i]).filter(|p| *p != i && parents[i] != 0) {
                tree.children[parent] += 1;
                next[i] = std::mem::replace(&mut first[parent], i);
            }
        }
        let mut number = 0;
        let mut path: Vec<(usize, usize)> = Vec::new();
        for root in (0..spans).filter(|i| parents[*i] == 0) {
            number += 1;
            (tree.left[root], tree.parent[root]) = (number, -1);
            path.push((root, first[root]));
            while let Some((span, child)) = path.last_mut() {
                number += 1;
                if *child == usize::MAX {
                    tree.right[*span] = number;
                    path.pop();
                    continue;
                }
                let (parent, at) = (*span, *child);
                *child = next[at];
                (tree.left[at], tree.parent[at]) = (number, tree.left[parent]);
                path.push((at, first[at]));
            }
        }
        tree
    }

    /// The spans that `left relation right` yields, ascending.
    pub(crate) fn related(&self, relation: Relation, mode: Mode, left: &[u32], right: &[u32]) -> Vec<u32> {
        match mode {
            Mode::Has => self.having(relation, left, right),
            Mode::Not if left.is_empty() => right.to_vec(),
            Mode::Not => {
                let having: HashSet<u32> = self.having(relation, left, right).into_iter().collect();
                right.iter().copied().filter(|r| self.left[*r as usize] != 0 && !having.contains(r)).collect()
            }
            Mode::Union => {
                let inverse = match relation {
                    Relation::Child => Relation::Parent,
                    Relation::Parent => Relation::Child,
                    Relation::Descendant => Relation::Ancestor,
                    Relation::Ancestor => Relation::Descendant,
                    Relation::Sibling => Relation::Sibling,
                };
                let mut all = self.having(relation, left, right);
                all.extend(self.having(inverse, right, left));
                all.sort_unstable();
                all.dedup();
                all
            }
        }
    }

    /// Those of `right` that are the relation of one of `left`.
    fn having(&self, relation: Relation, left: &[u32], right: &[u32]) -> Vec<u32> {
        let numbered = |spans: &[u32]| spans.iter().map(|s| *s as usize).filter(|s| self.left[*s] != 0).collect::<Vec<_>>();
        let (l, r) = (numbered(left), right.iter().copied().filter(|s| self.left[*s as usize] != 0));
        match relation {
            Relation::Child => {
                let parents: HashSet<i64> = l.iter().map(|s| self.left[*s]).collect();
                r.filter(|s| parents.contains(&self.parent[*s as usize])).collect()
            }
            Relation::Parent => {
                let parents: HashSet<i64> = l.iter().map(|s| self.parent[*s]).collect();
                r.filter(|s| parents.contains(&self.left[*s as usize])).collect()
            }
            Relation::Sibling => {
                let mut counts: HashMap<i64, i64> = HashMap::new();
                l.iter().filter(|s| self.parent[**s] > 0).for_each(|s| *counts.entry(self.parent[*s]).or_default() += 1);
                let own: HashSet<u32> = left.iter().copied().collect();
                r.filter(|s| {
                    let siblings = counts.get(&self.parent[*s as usize]).copied().unwrap_or(0);
                    siblings > i64::from(own.contains(s))
                })
                .collect()
            }
            Relation::Descendant => {
                // Sets nest or are apart: whoever starts before and ends after the start contains.
                let mut sets: Vec<(i64, i64)> = l.iter().map(|s| (self.left[*s], self.right[*s])).collect();
                sets.sort_unstable();
                let mut furthest = i64::MIN;
                let ends: Vec<i64> = sets
                    .iter()
                    .map(|(_, right)| {
                        furthest = furthest.max(*right);
                        furthest
                    })
                    .collect();
                r.filter(|s| {
                    let at = self.left[*s as usize];
                    let before = sets.partition_point(|(left, _)| *left < at);
                    before > 0 && ends[before - 1] > at
                })
                .collect()
            }
            Relation::Ancestor => {
                let mut starts: Vec<i64> = l.iter().map(|s| self.left[*s]).collect();
                starts.sort_unstable();
                r.filter(|s| {
                    let s = *s as usize;
                    let after = starts.partition_point(|left| *left <= self.left[s]);
                    starts.get(after).is_some_and(|left| *left < self.right[s])
                })
                .collect()
            }
        }
    }
}

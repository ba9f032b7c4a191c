//! How often, or with what weight, each value of each attribute stands inside and outside of a selection.

use std::collections::{BTreeMap, HashMap};
use std::ops::AddAssign;

/// Distinct values that are counted of an attribute; one with more is an identifier, which tells nothing, and is left out.
pub(super) const DISTINCT: usize = 10_000;

/// What is added up: counts, or measured amounts.
pub(super) trait Weight: Copy + Default + AddAssign {
    fn number(self) -> f64;
}

impl Weight for u64 {
    fn number(self) -> f64 {
        self as f64
    }
}

impl Weight for f64 {
    fn number(self) -> f64 {
        self
    }
}

/// Outside (0) and inside (1).
pub(super) type Pair<W> = [W; 2];

/// One attribute, ranked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Attribute<W> {
    pub(super) scope: &'static str,
    pub(super) key: String,
    /// Whether all of its values are numbers.
    pub(super) numeric: bool,
    /// The largest difference between a value's share inside and outside, 0 to 1.
    pub(super) score: f64,
    /// How much inside, and outside, has it.
    pub(super) inside: W,
    pub(super) outside: W,
    /// Its values, those first whose shares differ most.
    pub(super) values: Vec<(String, Pair<W>)>,
}

#[derive(Debug, Default)]
struct Tally<W> {
    values: HashMap<String, Pair<W>, foldhash::fast::RandomState>,
    text: bool,
    too_many: bool,
}

impl<W: Weight> Tally<W> {
    fn add(&mut self, value: &str, counts: Pair<W>) {
        if self.too_many {
            return;
        }
        match self.values.get_mut(value) {
            Some(sum) => {
                sum[0] += counts[0];
                sum[1] += counts[1];
            }
            None => {
                self.values.insert(value.to_owned(), counts);
            }
        }
        if self.values.len() > DISTINCT {
            *self = Self { too_many: true, ..Self::default() };
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Tallies<W> {
    pub(super) inside: W,
    pub(super) outside: W,
    by_key: BTreeMap<(&'static str, String), Tally<W>>,
}

impl<W: Weight> Tallies<W> {
    /// Adds a value of an attribute; the sums of all are the caller's.
    pub(super) fn count(&mut self, scope: &'static str, key: &str, value: &str, counts: Pair<W>) {
        let tally = self.of(scope, key);
        tally.text = true;
        tally.add(value, counts);
    }

    /// Adds a value that is a number.
    pub(super) fn number(&mut self, scope: &'static str, key: &str, value: &str, counts: Pair<W>) {
        self.of(scope, key).add(value, counts);
    }

    /// An attribute has more values than are counted.
    pub(super) fn too_many(&mut self, scope: &'static str, key: &str) {
        *self.of(scope, key) = Tally { too_many: true, ..Tally::default() };
    }

    fn of(&mut self, scope: &'static str, key: &str) -> &mut Tally<W> {
        self.by_key.entry((scope, key.to_owned())).or_default()
    }

    /// The attributes that differ most first; besides, those that have too many values.
    pub(super) fn ranked(&self) -> (Vec<Attribute<W>>, Vec<(&'static str, String)>) {
        let share = |n: W, of: W| if of.number() == 0.0 { 0.0 } else { n.number() / of.number() };
        let differs = |p: &Pair<W>| (share(p[1], self.inside) - share(p[0], self.outside)).abs();
        let mut ranked = Vec::new();
        let mut many = Vec::new();
        for ((scope, key), tally) in &self.by_key {
            if tally.too_many {
                many.push((*scope, key.clone()));
                continue;
            }
            let mut values: Vec<(String, Pair<W>)> = tally.values.iter().map(|(v, p)| (v.clone(), *p)).collect();
            values.sort_by(|a, b| differs(&b.1).total_cmp(&differs(&a.1)).then_with(|| a.0.cmp(&b.0)));
            let (mut outside, mut inside) = (W::default(), W::default());
            for (_, [o, i]) in &values {
                outside += *o;
                inside += *i;
            }
            let score = values.first().map_or(0.0, |(_, p)| differs(p));
            if score > 0.0 {
                ranked.push(Attribute { scope, key: key.clone(), numeric: !tally.text, score, inside, outside, values });
            }
        }
        // What names a thing comes before the number of the process that was it.
        ranked.sort_by(|a, b| {
            b.score
                .total_cmp(&a.score)
                .then_with(|| (numbered(&a.key), a.scope, &a.key).cmp(&(numbered(&b.key), b.scope, &b.key)))
        });
        (ranked, many)
    }
}

/// Whether a key says which one, not which kind.
fn numbered(key: &str) -> bool {
    [".id", "_id", ".pid", "_pid"].iter().any(|end| key.ends_with(end))
}

//! How often, or with what weight, each value of each attribute stands inside and outside of a selection.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::ops::AddAssign;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, UInt32Type};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use model::Scope;
use store::{Batch, Field, Meaning};

/// Distinct values that are counted of an attribute; one with more is an identifier, which tells nothing, and is left out.
const DISTINCT: usize = 10_000;

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

impl Tallies<u64> {
    /// Counts the rows of a batch; `inside` says of each where it stands.
    pub(super) fn add(&mut self, batch: &Batch, inside: &[bool]) {
        let within = inside.iter().filter(|i| **i).count() as u64;
        self.inside += within;
        self.outside += inside.len() as u64 - within;
        for (meaning, column) in batch.meaning().iter().zip(batch.columns().columns()) {
            let (scope, key) = match meaning {
                Meaning::Field(Field::Name) => ("intrinsic", "name"),
                Meaning::Field(Field::Kind) => ("intrinsic", "kind"),
                Meaning::Field(Field::StatusCode) => ("intrinsic", "status"),
                Meaning::Attribute(Scope::Record, key, _) => ("span", &**key),
                Meaning::Attribute(Scope::Resource, key, _) => ("resource", &**key),
                Meaning::Attribute(Scope::Instrumentation, key, _) => ("instrumentation", &**key),
                _ => continue,
            };
            let tally = self.by_key.entry((scope, key.to_owned())).or_default();
            if !tally.too_many {
                column_counts(scope, key, column, inside, tally);
            }
        }
    }
}

impl<W: Weight> Tallies<W> {
    /// Adds a value of an attribute; the sums of all are the caller's.
    pub(super) fn count(&mut self, scope: &'static str, key: &str, value: &str, counts: Pair<W>) {
        self.by_key.entry((scope, key.to_owned())).or_insert_with(|| Tally { text: true, ..Tally::default() }).add(value, counts);
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
        ranked.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| (a.scope, &a.key).cmp(&(b.scope, &b.key))));
        (ranked, many)
    }
}

/// Integers that lie so near to each other are counted in a table, not by their hashes.
const NEAR: i64 = 1 << 16;

fn column_counts(scope: &str, key: &str, column: &ArrayRef, inside: &[bool], tally: &mut Tally<u64>) {
    match column.data_type() {
        DataType::Dictionary(_, _) => {
            tally.text = true;
            let Some(dictionary) = column.as_dictionary_opt::<UInt32Type>() else { return };
            let (keys, values) = (dictionary.keys().values(), dictionary.values());
            let Some(texts) = values.as_string_opt::<i32>() else { return };
            let mut counts = vec![[0_u64; 2]; values.len()];
            each_row(column.nulls(), inside, |row, at| {
                if let Some(count) = counts.get_mut(keys[row] as usize) {
                    count[at] += 1;
                }
            });
            for (at, count) in counts.into_iter().enumerate() {
                // A dictionary may hold values that no row has, and its nulls among the values.
                if count != [0, 0] && !values.is_null(at) {
                    tally.add(texts.value(at), count);
                }
            }
        }
        DataType::Utf8 => {
            tally.text = true;
            let texts = column.as_string::<i32>();
            grouped(column.nulls(), inside, |row| texts.value(row), |v| v.to_owned(), tally);
        }
        DataType::Boolean => {
            tally.text = true;
            let values = column.as_boolean();
            grouped(column.nulls(), inside, |row| values.value(row), |v| v.to_string(), tally);
        }
        DataType::Int64 => integers(column.nulls(), inside, column.as_primitive::<Int64Type>().values(), tally),
        DataType::Float64 => {
            let values = column.as_primitive::<Float64Type>().values();
            grouped(column.nulls(), inside, |row| values[row].to_bits(), |v| f64::from_bits(v).to_string(), tally);
        }
        DataType::Int32 => {
            tally.text = true;
            let values = column.as_primitive::<Int32Type>().values();
            let name = |v: i32| word(scope, key, v).map_or_else(|| v.to_string(), str::to_owned);
            grouped(column.nulls(), inside, |row| values[row], name, tally);
        }
        _ => {}
    }
}

/// Calls `each` with every row that has a value, and with 1 where it stands inside, else 0.
fn each_row(nulls: Option<&NullBuffer>, inside: &[bool], mut each: impl FnMut(usize, usize)) {
    match nulls {
        Some(nulls) => nulls.valid_indices().for_each(|row| each(row, usize::from(inside[row]))),
        None => inside.iter().enumerate().for_each(|(row, inside)| each(row, usize::from(*inside))),
    }
}

/// A kind or status as TraceQL names it.
fn word(scope: &str, key: &str, value: i32) -> Option<&'static str> {
    let words: &[&str] = match (scope, key) {
        ("intrinsic", "status") => &["unset", "ok", "error"],
        ("intrinsic", "kind") => &["unspecified", "internal", "server", "client", "producer", "consumer"],
        _ => &[],
    };
    words.get(usize::try_from(value).ok()?).copied()
}

fn integers(nulls: Option<&NullBuffer>, inside: &[bool], values: &[i64], tally: &mut Tally<u64>) {
    let (mut least, mut most) = (i64::MAX, i64::MIN);
    each_row(nulls, inside, |row, _| {
        least = least.min(values[row]);
        most = most.max(values[row]);
    });
    match most.checked_sub(least) {
        Some(width @ 0..NEAR) => {
            let mut counts = vec![[0_u64; 2]; width as usize + 1];
            each_row(nulls, inside, |row, at| counts[(values[row] - least) as usize][at] += 1);
            for (value, count) in (least..).zip(counts).filter(|(_, count)| *count != [0, 0]) {
                tally.add(&value.to_string(), count);
            }
        }
        _ => grouped(nulls, inside, |row| values[row], |v| v.to_string(), tally),
    }
}

fn grouped<T: Hash + Eq + Copy>(
    nulls: Option<&NullBuffer>,
    inside: &[bool],
    value: impl Fn(usize) -> T,
    text: impl Fn(T) -> String,
    tally: &mut Tally<u64>,
) {
    let mut counts: HashMap<T, Pair<u64>, foldhash::fast::RandomState> = HashMap::default();
    each_row(nulls, inside, |row, at| counts.entry(value(row)).or_default()[at] += 1);
    for (value, count) in counts {
        tally.add(&text(value), count);
        if tally.too_many {
            return;
        }
    }
}

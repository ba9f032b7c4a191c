//! How often each value of each attribute stands inside and outside of a selection.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, UInt32Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use model::Scope;
use store::{Batch, Field, Meaning};

/// Distinct values that are counted of an attribute; one with more is an identifier, which tells nothing, and is left out.
const DISTINCT: usize = 10_000;

/// Counts outside (0) and inside (1).
type Pair = [u64; 2];

/// One attribute, ranked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Attribute {
    pub(super) scope: &'static str,
    pub(super) key: String,
    /// Whether all of its values are numbers.
    pub(super) numeric: bool,
    /// The largest difference between a value's share inside and outside, 0 to 1.
    pub(super) score: f64,
    /// Spans inside, and outside, that have it.
    pub(super) inside: u64,
    pub(super) outside: u64,
    /// Its values, those first whose shares differ most.
    pub(super) values: Vec<(String, Pair)>,
}

#[derive(Debug, Default)]
struct Tally {
    values: HashMap<String, Pair>,
    text: bool,
    too_many: bool,
}

impl Tally {
    fn add(&mut self, value: String, counts: Pair) {
        if self.too_many {
            return;
        }
        let sum = self.values.entry(value).or_default();
        *sum = [sum[0] + counts[0], sum[1] + counts[1]];
        if self.values.len() > DISTINCT {
            *self = Self { too_many: true, ..Self::default() };
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    pub(super) inside: u64,
    pub(super) outside: u64,
    by_key: BTreeMap<(&'static str, String), Tally>,
}

impl Tallies {
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

    /// The attributes that differ most first; besides, those that have too many values.
    pub(super) fn ranked(&self) -> (Vec<Attribute>, Vec<(&'static str, String)>) {
        let share = |n: u64, of: u64| if of == 0 { 0.0 } else { n as f64 / of as f64 };
        let differs = |p: &Pair| (share(p[1], self.inside) - share(p[0], self.outside)).abs();
        let mut ranked = Vec::new();
        let mut many = Vec::new();
        for ((scope, key), tally) in &self.by_key {
            if tally.too_many {
                many.push((*scope, key.clone()));
                continue;
            }
            let mut values: Vec<(String, Pair)> = tally.values.iter().map(|(v, p)| (v.clone(), *p)).collect();
            values.sort_by(|a, b| differs(&b.1).total_cmp(&differs(&a.1)).then_with(|| a.0.cmp(&b.0)));
            let (outside, inside) = values.iter().fold((0, 0), |(o, i), (_, p)| (o + p[0], i + p[1]));
            let score = values.first().map_or(0.0, |(_, p)| differs(p));
            if score > 0.0 {
                ranked.push(Attribute { scope, key: key.clone(), numeric: !tally.text, score, inside, outside, values });
            }
        }
        ranked.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| (a.scope, &a.key).cmp(&(b.scope, &b.key))));
        (ranked, many)
    }
}

fn column_counts(scope: &str, key: &str, column: &ArrayRef, inside: &[bool], tally: &mut Tally) {
    let rows = inside.len();
    let valid = |row: &usize| !column.is_null(*row);
    match column.data_type() {
        DataType::Dictionary(_, _) => {
            tally.text = true;
            let Some(dictionary) = column.as_dictionary_opt::<UInt32Type>() else { return };
            let (keys, values) = (dictionary.keys(), dictionary.values());
            let Some(texts) = values.as_string_opt::<i32>() else { return };
            let mut counts = vec![[0_u64; 2]; values.len()];
            for row in (0..rows).filter(valid) {
                if let Some(count) = counts.get_mut(keys.value(row) as usize) {
                    count[usize::from(inside[row])] += 1;
                }
            }
            for (at, count) in counts.into_iter().enumerate() {
                // A dictionary may hold values that no row has, and its nulls among the values.
                if count != [0, 0] && !values.is_null(at) {
                    tally.add(texts.value(at).to_owned(), count);
                }
            }
        }
        DataType::Utf8 => {
            tally.text = true;
            let texts = column.as_string::<i32>();
            grouped((0..rows).filter(valid).map(|row| (texts.value(row), inside[row])), |v| v.to_owned(), tally);
        }
        DataType::Boolean => {
            tally.text = true;
            let values = column.as_boolean();
            grouped((0..rows).filter(valid).map(|row| (values.value(row), inside[row])), |v| v.to_string(), tally);
        }
        DataType::Int64 => {
            let values = column.as_primitive::<Int64Type>();
            grouped((0..rows).filter(valid).map(|row| (values.value(row), inside[row])), |v| v.to_string(), tally);
        }
        DataType::Float64 => {
            let values = column.as_primitive::<Float64Type>();
            let bits = (0..rows).filter(valid).map(|row| (values.value(row).to_bits(), inside[row]));
            grouped(bits, |v| f64::from_bits(v).to_string(), tally);
        }
        DataType::Int32 => {
            tally.text = true;
            let values = column.as_primitive::<Int32Type>();
            let name = |v: i32| word(scope, key, v).map_or_else(|| v.to_string(), str::to_owned);
            grouped((0..rows).filter(valid).map(|row| (values.value(row), inside[row])), name, tally);
        }
        _ => {}
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

fn grouped<T: Hash + Eq + Copy>(values: impl Iterator<Item = (T, bool)>, text: impl Fn(T) -> String, tally: &mut Tally) {
    let mut counts: HashMap<T, Pair, foldhash::fast::RandomState> = HashMap::default();
    for (value, inside) in values {
        counts.entry(value).or_default()[usize::from(inside)] += 1;
    }
    for (value, count) in counts {
        tally.add(text(value), count);
        if tally.too_many {
            return;
        }
    }
}

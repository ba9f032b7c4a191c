//! Groups: what consecutive rows share (resource, instrumentation scope, stream labels). A row keeps a number; the
//! group's attributes become columns over the *groups* when a batch is sealed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use arrow_array::ArrayRef;
use hashbrown::{HashSet, HashTable};
use model::{Attr, Group, OwnedValue, Scope, Value, ValueType};

use super::id::{ColumnId, RestOf};
use super::rest;
use super::text::TextColumn;
use crate::contract::Field;

/// Group columns beyond so many go to the rest column.
const MAX_COLUMNS: usize = 200;

const SCOPE_NAME: u8 = 0x80;
const SCOPE_VERSION: u8 = 0x81;
const EXTRA: u8 = 0x82;

/// Writes a group as bytes, equal exactly when the groups are: what a builder interns by.
pub(crate) fn write_group(group: &Group<'_>, out: &mut Vec<u8>) {
    out.clear();
    let mut entry = |tag: u8, key: &str, value: &[u8]| {
        out.push(tag);
        out.extend_from_slice(&(key.len() as u32).to_le_bytes());
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(&(value.len() as u32).to_le_bytes());
        out.extend_from_slice(value);
    };
    let mut all = |scope: Scope, attributes: &[Attr<'_>]| {
        for Attr { key, value } in attributes {
            let tag = ((scope as u8) << 4) | value.value_type() as u8;
            match value {
                Value::Str(s) => entry(tag, key, s.as_bytes()),
                Value::Nested(s) => entry(tag, key, s.as_bytes()),
                Value::Bytes(b) => entry(tag, key, b),
                Value::Bool(b) => entry(tag, key, &[u8::from(*b)]),
                Value::Int(i) => entry(tag, key, &i.to_le_bytes()),
                Value::Double(d) => entry(tag, key, &d.to_bits().to_le_bytes()),
            }
        }
    };
    all(Scope::Resource, group.resource);
    all(Scope::Instrumentation, group.scope);
    for (name, value) in group.labels {
        entry((Scope::Label as u8) << 4, name, value.as_bytes());
    }
    if !group.scope_name.is_empty() {
        entry(SCOPE_NAME, "", group.scope_name.as_bytes());
    }
    if !group.scope_version.is_empty() {
        entry(SCOPE_VERSION, "", group.scope_version.as_bytes());
    }
    let mut extra = String::new();
    let mut field = |key: &str, count: u32, url: &str| {
        if count == 0 && url.is_empty() {
            return;
        }
        let _ = write!(extra, "{}\"{key}\":", if extra.is_empty() { "{" } else { "," });
        if url.is_empty() {
            let _ = write!(extra, "{count}");
        } else {
            rest::json_string(&mut extra, url);
        }
    };
    field("rd", group.resource_dropped, "");
    field("ru", 0, group.resource_schema_url);
    field("sd", group.scope_dropped, "");
    field("su", 0, group.scope_schema_url);
    if !extra.is_empty() {
        extra.push('}');
        entry(EXTRA, "", extra.as_bytes());
    }
}

/// The groups of one builder.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    kept: Vec<(u64, Box<[u8]>)>,
    table: HashTable<u32>,
    bytes: usize,
}

impl Groups {
    /// The number of the group written as `bytes`, with their `hash`.
    pub(crate) fn intern(&mut self, hash: u64, bytes: &[u8]) -> u32 {
        let kept = &self.kept;
        if let Some(&id) = self.table.find(hash, |&id| *kept[id as usize].1 == *bytes) {
            return id;
        }
        let id = self.kept.len() as u32;
        self.kept.push((hash, bytes.into()));
        self.bytes += bytes.len() + 64;
        let kept = &self.kept;
        self.table.insert_unique(hash, id, |&id| kept[id as usize].0);
        id
    }

    /// Bytes held.
    pub(crate) fn memory(&self) -> usize {
        self.bytes
    }

    /// The groups' columns, one row a group. `stream` adds the labels as one canonical text.
    pub(crate) fn columns(&self, stream: bool) -> Vec<(ColumnId, ArrayRef)> {
        let rows = self.kept.len();
        let mut attributes: BTreeMap<(Scope, &str, ValueType), (Vec<u32>, Vec<OwnedValue>)> = BTreeMap::new();
        let mut fields: BTreeMap<Field, (Vec<u32>, TextColumn)> = BTreeMap::new();
        let mut streams = TextColumn::new();
        for (row, (_, bytes)) in self.kept.iter().enumerate() {
            let row = row as u32;
            let mut labels: Vec<(&str, &str)> = Vec::new();
            let mut seen: HashSet<(Scope, &str)> = HashSet::new();
            for (tag, key, value) in Entries(bytes) {
                let field = match tag {
                    SCOPE_NAME => Some(Field::ScopeName),
                    SCOPE_VERSION => Some(Field::ScopeVersion),
                    EXTRA => Some(Field::GroupExtra),
                    _ => None,
                };
                if let Some(field) = field {
                    let (at, texts) = fields.entry(field).or_insert_with(|| (Vec::new(), TextColumn::new()));
                    at.push(row);
                    texts.push(text(value));
                    continue;
                }
                let (Some(scope), Some(kind)) =
                    (Scope::ALL.get(usize::from(tag >> 4)), ValueType::ALL.get(usize::from(tag & 15)))
                else {
                    continue;
                };
                if !seen.insert((*scope, key)) {
                    continue;
                }
                if *scope == Scope::Label {
                    labels.push((key, text(value)));
                }
                let (at, values) = attributes.entry((*scope, key, *kind)).or_default();
                at.push(row);
                values.push(owned(*kind, value));
            }
            if stream {
                streams.push(&stream_text(&labels));
            }
        }
        let mut by_rows: Vec<usize> = attributes.values().map(|(at, _)| at.len()).collect();
        by_rows.sort_unstable_by_key(|&n| std::cmp::Reverse(n));
        let least = by_rows.get(MAX_COLUMNS).map_or(0, |n| n + 1);
        let mut out = Vec::with_capacity(attributes.len() + 4);
        let mut rest: BTreeMap<u32, String> = BTreeMap::new();
        for ((scope, key, kind), (at, values)) in attributes {
            if at.len() >= least {
                out.push((ColumnId::Attribute(scope, key.into(), kind), rest::array_of(kind, &at, &values, rows)));
                continue;
            }
            for (row, value) in at.into_iter().zip(values) {
                rest::append(rest.entry(row).or_default(), scope, key, &value.as_value());
            }
        }
        if !rest.is_empty() {
            let mut texts = TextColumn::plain();
            let at: Vec<u32> = rest.keys().copied().collect();
            rest.values().for_each(|text| texts.push(&format!("{text}]")));
            out.push((ColumnId::Rest(RestOf::Group), texts.finish(Some(&at), rows, true)));
        }
        for (field, (at, mut texts)) in fields {
            let at = (at.len() < rows).then_some(at);
            out.push((ColumnId::Field(field), texts.finish(at.as_deref(), rows, true)));
        }
        if stream && rows > 0 {
            let text =
                if streams.is_plain() { plain_as_dictionary(&mut streams, rows) } else { streams.finish(None, rows, true) };
            out.push((ColumnId::Stream, text));
        }
        out
    }
}

fn plain_as_dictionary(texts: &mut TextColumn, rows: usize) -> ArrayRef {
    let values = texts.finish(None, rows, true);
    let keys = arrow_array::UInt32Array::from_iter_values(0..rows as u32);
    super::text::dictionary(keys, values)
}

/// The canonical text of a label set: a JSON object in the order given (sorted by name).
pub(crate) fn stream_text(labels: &[(&str, &str)]) -> String {
    let mut out = String::from("{");
    for (i, (name, value)) in labels.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        rest::json_string(&mut out, name);
        out.push(':');
        rest::json_string(&mut out, value);
    }
    out.push('}');
    out
}

fn text(bytes: &[u8]) -> &str {
    // Written from a `&str` by `write_group`.
    std::str::from_utf8(bytes).unwrap_or("")
}

fn owned(kind: ValueType, bytes: &[u8]) -> OwnedValue {
    let eight = || <[u8; 8]>::try_from(bytes).unwrap_or_default();
    match kind {
        ValueType::Str => OwnedValue::Str(text(bytes).to_owned()),
        ValueType::Nested => OwnedValue::Nested(text(bytes).to_owned()),
        ValueType::Bool => OwnedValue::Bool(bytes == [1]),
        ValueType::Int => OwnedValue::Int(i64::from_le_bytes(eight())),
        ValueType::Double => OwnedValue::Double(f64::from_bits(u64::from_le_bytes(eight()))),
        ValueType::Bytes => OwnedValue::Bytes(bytes.to_vec()),
    }
}

/// The entries that `write_group` wrote.
struct Entries<'a>(&'a [u8]);

impl<'a> Iterator for Entries<'a> {
    type Item = (u8, &'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&tag, tail) = self.0.split_first()?;
        let (key, tail) = sized(tail)?;
        let (value, tail) = sized(tail)?;
        self.0 = tail;
        Some((tag, text(key), value))
    }
}

fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, tail) = bytes.split_first_chunk::<4>()?;
    tail.split_at_checked(u32::from_le_bytes(*len) as usize)
}

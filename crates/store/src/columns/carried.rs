//! What a log record carries besides its stream, time and text. Records of equal text at the same time (clocks that tick in milliseconds) are
//! not the same where this differs.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use model::{Scope, Value, ValueType};
use xxhash_rust::xxh3::xxh3_128;

use super::id::{ColumnId, RestOf};
use super::rest;
use super::text::Texts;
use crate::contract::Field;

/// The columns of what records carry, of some rows.
pub(super) struct Carried<'a> {
    attributes: Vec<(&'a str, ValueType, &'a ArrayRef)>,
    rest: Option<&'a ArrayRef>,
    ids: Vec<&'a ArrayRef>,
}

/// Whether a column holds some of it.
pub(super) fn is_carried(id: &ColumnId) -> bool {
    matches!(
        id,
        ColumnId::Attribute(Scope::Record, ..) | ColumnId::Rest(RestOf::Record) | ColumnId::Field(Field::TraceId | Field::SpanId)
    )
}

impl<'a> Carried<'a> {
    /// Chooses from all columns of the rows.
    pub(super) fn new(columns: impl IntoIterator<Item = (&'a ColumnId, &'a ArrayRef)>) -> Self {
        let mut carried = Self { attributes: Vec::new(), rest: None, ids: Vec::new() };
        for (id, array) in columns {
            match id {
                ColumnId::Attribute(Scope::Record, key, kind) => carried.attributes.push((key, *kind, array)),
                ColumnId::Rest(RestOf::Record) => carried.rest = Some(array),
                ColumnId::Field(Field::TraceId | Field::SpanId) => carried.ids.push(array),
                _ => {}
            }
        }
        carried
    }

    /// A number that rows share which carry the same, whichever columns hold it; 0 for nothing.
    pub(super) fn number(&self, row: usize) -> u128 {
        let mut sum = 0u128;
        let mut text = String::new();
        let mut add = |key: &str, value: &Value<'_>| {
            text.clear();
            rest::append(&mut text, Scope::Record, key, value);
            sum = sum.wrapping_add(xxh3_128(text.as_bytes()));
        };
        for (key, kind, array) in &self.attributes {
            if let Some(value) = rest::value_in(array, *kind, row) {
                add(key, &value);
            }
        }
        // Rest columns hold attributes of other scopes, too.
        let entries = self.rest.and_then(|array| Texts::of(array)?.get(row).map(rest::entries)).unwrap_or_default();
        for (_, key, value) in entries.iter().filter(|(scope, ..)| *scope == Scope::Record) {
            add(key, &value.as_value());
        }
        for ids in self.ids.iter().filter_map(|array| array.as_fixed_size_binary_opt()).filter(|ids| ids.is_valid(row)) {
            // Trace ids are longer than span ids. None is as good as none at all.
            let id = ids.value(row);
            if id.iter().any(|b| *b != 0) {
                sum = sum.wrapping_add(xxh3_128(id));
            }
        }
        sum
    }
}

//! Values of spans, read from the columns of a scan.

use std::borrow::Cow;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, UInt32Type};
use arrow_array::{Array, ArrayRef, StructArray};
use model::{OwnedValue, Scope, ValueType};
use serde_json::Value as Json;
use store::{Batch, Column, Field as Stored, Meaning, text_at};

use crate::ast::{AttributeScope, Intrinsic};
use crate::fetch::{Fetch, Place};
use crate::value::{Kind, Static};

/// The store's columns that hold a place's values.
pub(crate) fn columns_of(place: &Place) -> Vec<Column> {
    let field = |f| vec![Column::Field(f)];
    match place {
        Place::Attribute(AttributeScope::Event, _) => vec![Column::Field(Stored::Events)],
        Place::Attribute(AttributeScope::Link, _) => vec![Column::Field(Stored::Links)],
        Place::Attribute(scope, name) => vec![Column::attribute(stored_scope(*scope), name)],
        Place::Intrinsic(intrinsic) => match intrinsic {
            Intrinsic::Duration => field(Stored::Duration),
            Intrinsic::Name => field(Stored::Name),
            Intrinsic::Status => field(Stored::StatusCode),
            Intrinsic::StatusMessage => field(Stored::StatusMessage),
            Intrinsic::Kind => field(Stored::Kind),
            Intrinsic::TraceId => field(Stored::TraceId),
            Intrinsic::SpanId => field(Stored::SpanId),
            Intrinsic::ParentId | Intrinsic::Parent => field(Stored::ParentSpanId),
            Intrinsic::EventName | Intrinsic::EventTimeSinceStart => field(Stored::Events),
            Intrinsic::LinkTraceId | Intrinsic::LinkSpanId => field(Stored::Links),
            Intrinsic::InstrumentationName => field(Stored::ScopeName),
            Intrinsic::InstrumentationVersion => field(Stored::ScopeVersion),
            // Of the trace as a whole.
            _ => Vec::new(),
        },
    }
}

/// The scope under which the store keeps attributes of `scope`.
pub(crate) fn stored_scope(scope: AttributeScope) -> Scope {
    match scope {
        AttributeScope::Resource => Scope::Resource,
        AttributeScope::Instrumentation => Scope::Instrumentation,
        _ => Scope::Record,
    }
}

/// A batch, and where in it the fields of a query are.
pub(crate) struct Rows {
    pub(crate) batch: Batch,
    places: Vec<Vec<(usize, ValueType)>>,
}

impl Rows {
    pub(crate) fn new(batch: Batch, fetch: &Fetch) -> Self {
        let meaning = batch.meaning();
        let places = fetch
            .fields
            .iter()
            .map(|field| match &field.place {
                Place::Attribute(AttributeScope::Event | AttributeScope::Link, _) | Place::Intrinsic(_) => Vec::new(),
                Place::Attribute(scope, name) => meaning
                    .iter()
                    .enumerate()
                    .filter_map(|(at, m)| match m {
                        Meaning::Attribute(s, key, kind) if *s == stored_scope(*scope) && **key == **name => Some((at, *kind)),
                        _ => None,
                    })
                    .collect(),
            })
            .collect();
        Self { batch, places }
    }

    /// Calls `visit` with each value of a field in a row, `None` where there is none: once, but for events and links, of which
    /// there may be any number. What only the trace knows is not here.
    pub(crate) fn each<'b>(&'b self, at: usize, place: &Place, row: usize, visit: &mut dyn FnMut(Option<Static<'b>>)) {
        match place {
            Place::Attribute(AttributeScope::Event, name) => {
                self.list(Stored::Events, row, &mut |events, i| visit(nested_attribute(events, i, name)));
            }
            Place::Attribute(AttributeScope::Link, name) => {
                self.list(Stored::Links, row, &mut |links, i| visit(nested_attribute(links, i, name)));
            }
            Place::Attribute(..) => {
                let columns = self.places.get(at).map_or(&[][..], |c| &c[..]);
                visit(columns.iter().find_map(|(column, kind)| value_at(self.batch.columns().column(*column), *kind, row)));
            }
            Place::Intrinsic(intrinsic) => self.intrinsic(*intrinsic, row, visit),
        }
    }

    /// Sets what `of` says of a field's value (the first one of which it says anything but 0) in each row where that is 0 yet.
    /// Asks once for each entry of a dictionary and each run of equal numbers.
    pub(crate) fn judge(&self, at: usize, place: &Place, of: &dyn Fn(Option<Static<'_>>) -> u8, said: &mut [u8]) {
        let columns = self.places.get(at).map_or(&[][..], |c| &c[..]);
        let field = |field| self.batch.field(field);
        match place {
            Place::Attribute(AttributeScope::Event | AttributeScope::Link, _) => {}
            Place::Attribute(..) => match columns {
                [] => return fill(said, of(None)),
                [(column, kind)] if judge_column(self.batch.columns().column(*column), *kind, of, said) => return,
                _ => {}
            },
            Place::Intrinsic(intrinsic) => {
                let text = match intrinsic {
                    Intrinsic::Name => Some(Stored::Name),
                    Intrinsic::StatusMessage => Some(Stored::StatusMessage),
                    Intrinsic::InstrumentationName => Some(Stored::ScopeName),
                    Intrinsic::InstrumentationVersion => Some(Stored::ScopeVersion),
                    _ => None,
                };
                if let Some(text) = text {
                    // Nothing is the empty text.
                    let of = |value: Option<Static<'_>>| of(Some(value.unwrap_or_else(|| Static::text(""))));
                    match field(text) {
                        None => return fill(said, of(None)),
                        Some(array) if judge_column(array, ValueType::Str, &of, said) => return,
                        Some(_) => {}
                    }
                }
                if *intrinsic == Intrinsic::Duration
                    && let Some(array) = field(Stored::Duration).filter(|a| a.null_count() == 0)
                {
                    let of = |value: Option<Static<'_>>| match value {
                        Some(Static::Int(i)) => of(Some(Static::Duration(i))),
                        other => of(other),
                    };
                    if judge_column(array, ValueType::Int, &of, said) {
                        return;
                    }
                }
            }
        }
        for (row, said) in said.iter_mut().enumerate().filter(|(_, s)| **s == 0) {
            self.each(at, place, row, &mut |value| {
                if *said == 0 {
                    *said = of(value);
                }
            });
        }
    }

    fn intrinsic<'b>(&'b self, intrinsic: Intrinsic, row: usize, visit: &mut dyn FnMut(Option<Static<'b>>)) {
        let int = |field| self.batch.int(row, field).unwrap_or(0);
        let text = |field| Static::text(self.batch.text(row, field));
        visit(Some(match intrinsic {
            Intrinsic::Duration => Static::Duration(int(Stored::Duration)),
            Intrinsic::Name => text(Stored::Name),
            Intrinsic::Status => Static::Status(int(Stored::StatusCode)),
            Intrinsic::StatusMessage => text(Stored::StatusMessage),
            Intrinsic::Kind => Static::Kind(int(Stored::Kind)),
            Intrinsic::TraceId => Static::text(hex(self.batch.id(row, Stored::TraceId))),
            Intrinsic::SpanId => Static::text(hex(self.batch.id(row, Stored::SpanId))),
            Intrinsic::ParentId => Static::text(hex(self.batch.id(row, Stored::ParentSpanId))),
            Intrinsic::InstrumentationName => text(Stored::ScopeName),
            Intrinsic::InstrumentationVersion => text(Stored::ScopeVersion),
            Intrinsic::EventName => {
                return self.list(Stored::Events, row, &mut |events, i| {
                    visit(events.column_by_name("name").and_then(|names| text_at(names, i)).map(Static::text));
                });
            }
            Intrinsic::EventTimeSinceStart => {
                let start = int(Stored::Time);
                return self.list(Stored::Events, row, &mut |events, i| {
                    let times = events.column_by_name("time").and_then(|t| t.as_primitive_opt::<Int64Type>());
                    visit(times.map(|t| Static::Duration(t.value(i).saturating_sub(start))));
                });
            }
            Intrinsic::LinkTraceId | Intrinsic::LinkSpanId => {
                let name = if intrinsic == Intrinsic::LinkTraceId { "trace_id" } else { "span_id" };
                return self.list(Stored::Links, row, &mut |links, i| {
                    let ids = links.column_by_name(name).and_then(|ids| ids.as_fixed_size_binary_opt());
                    visit(ids.map(|ids| Static::text(hex(ids.value(i)))));
                });
            }
            _ => return visit(None),
        }));
    }

    fn list<'b>(&'b self, field: Stored, row: usize, each: &mut dyn FnMut(&'b StructArray, usize)) {
        let Some(lists) = self.batch.field(field).and_then(|a| a.as_list_opt::<i32>()) else { return };
        if lists.is_null(row) {
            return;
        }
        let Some(items) = lists.values().as_struct_opt() else { return };
        let offsets = lists.value_offsets();
        for i in offsets[row]..offsets[row + 1] {
            each(items, i as usize);
        }
    }

    /// Every attribute of a row with its scope, events' and links' included.
    pub(crate) fn attributes<'b>(&'b self, row: usize, each: &mut dyn FnMut(AttributeScope, Cow<'b, str>, Static<'b>)) {
        for (at, meaning) in self.batch.meaning().iter().enumerate() {
            let Meaning::Attribute(scope, key, kind) = meaning else { continue };
            let scope = match scope {
                Scope::Resource => AttributeScope::Resource,
                Scope::Instrumentation => AttributeScope::Instrumentation,
                _ => AttributeScope::Span,
            };
            if let Some(value) = value_at(self.batch.columns().column(at), *kind, row) {
                each(scope, Cow::Borrowed(key), value);
            }
        }
        for (field, scope) in [(Stored::Events, AttributeScope::Event), (Stored::Links, AttributeScope::Link)] {
            self.list(field, row, &mut |items, i| {
                for (key, value) in nested_attributes(items, i) {
                    if let Some(value) = json_value(&value) {
                        each(scope, Cow::Owned(key), value);
                    }
                }
            });
        }
    }
}

fn fill(said: &mut [u8], answer: u8) {
    said.iter_mut().filter(|s| **s == 0).for_each(|s| *s = answer);
}

/// What `of` says of each row of one column; `false` where the column is of a kind that is looked at row by row.
fn judge_column(array: &ArrayRef, kind: ValueType, of: &dyn Fn(Option<Static<'_>>) -> u8, said: &mut [u8]) -> bool {
    match kind {
        ValueType::Str => {
            let Some(dictionary) = array.as_dictionary_opt::<UInt32Type>() else { return false };
            let (keys, values, none) = (dictionary.keys(), dictionary.values(), of(None));
            let answers: Vec<u8> =
                (0..values.len()).map(|i| text_at(values, i).map_or(none, |text| of(Some(Static::text(text))))).collect();
            for (row, (said, key)) in said.iter_mut().zip(keys.values()).enumerate() {
                if *said == 0 {
                    *said = match keys.is_null(row) {
                        true => none,
                        false => answers.get(*key as usize).copied().unwrap_or(none),
                    };
                }
            }
        }
        ValueType::Int => {
            let Some(ints) = array.as_primitive_opt::<Int64Type>() else { return false };
            let none = of(None);
            let mut last: Option<(i64, u8)> = None;
            for (row, (said, value)) in said.iter_mut().zip(ints.values()).enumerate() {
                if *said != 0 {
                    continue;
                }
                *said = match last {
                    _ if ints.is_null(row) => none,
                    Some((known, answer)) if known == *value => answer,
                    _ => last.insert((*value, of(Some(Static::Int(*value))))).1,
                };
            }
        }
        _ => return false,
    }
    true
}

pub(crate) fn hex(id: &[u8]) -> String {
    use std::fmt::Write as _;
    id.iter().fold(String::with_capacity(id.len() * 2), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

fn value_at(array: &ArrayRef, kind: ValueType, row: usize) -> Option<Static<'_>> {
    if array.is_null(row) {
        return None;
    }
    Some(match kind {
        ValueType::Str => Static::text(text_at(array, row)?),
        ValueType::Bool => Static::Bool(array.as_boolean_opt()?.value(row)),
        ValueType::Int => Static::Int(array.as_primitive_opt::<Int64Type>()?.value(row)),
        ValueType::Double => Static::Float(array.as_primitive_opt::<Float64Type>()?.value(row)),
        ValueType::Nested => json_value(&serde_json::from_str(text_at(array, row)?).ok()?)?,
        // Tempo does not search bytes.
        ValueType::Bytes => return None,
    })
}

/// A value that the store counted by; `None` for what the language does not know.
pub(crate) fn owned_value(value: &OwnedValue) -> Option<Static<'static>> {
    Some(match value {
        OwnedValue::Str(text) => Static::text(text.clone()),
        OwnedValue::Bool(b) => Static::Bool(*b),
        OwnedValue::Int(i) => Static::Int(*i),
        OwnedValue::Double(d) => Static::Float(*d),
        OwnedValue::Nested(text) => json_value(&serde_json::from_str(text).ok()?)?,
        OwnedValue::Bytes(_) => return None,
    })
}

/// The value of an OTLP/JSON `AnyValue` that the language knows: a scalar, or an array of scalars of one type.
fn json_value(value: &Json) -> Option<Static<'static>> {
    let (kind, inner) = value.as_object()?.iter().next()?;
    Some(match kind.as_str() {
        "stringValue" => Static::text(inner.as_str()?.to_owned()),
        "boolValue" => Static::Bool(inner.as_bool()?),
        "intValue" => Static::Int(inner.as_i64().or_else(|| inner.as_str()?.parse().ok())?),
        "doubleValue" => Static::Float(inner.as_f64().or_else(|| match inner.as_str()? {
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            "NaN" => Some(f64::NAN),
            _ => None,
        })?),
        "arrayValue" => {
            let values: Vec<Static<'static>> =
                inner.get("values")?.as_array()?.iter().map(json_value).collect::<Option<Vec<_>>>()?;
            let kind = values.first().map_or(Kind::Text, Static::kind);
            if kind == Kind::Array || values.iter().any(|v| v.kind() != kind) {
                return None;
            }
            Static::Array(kind, values)
        }
        _ => return None,
    })
}

fn nested_attributes(items: &StructArray, i: usize) -> Vec<(String, Json)> {
    let json = items.column_by_name("attributes").and_then(|a| text_at(a, i)).and_then(|t| serde_json::from_str(t).ok());
    let Some(Json::Array(pairs)) = json else { return Vec::new() };
    pairs
        .into_iter()
        .filter_map(|mut pair| Some((pair.get("key")?.as_str()?.to_owned(), pair.get_mut("value")?.take())))
        .collect()
}

fn nested_attribute<'b>(items: &StructArray, i: usize, name: &str) -> Option<Static<'b>> {
    nested_attributes(items, i).iter().find(|(key, _)| key == name).and_then(|(_, value)| json_value(value))
}

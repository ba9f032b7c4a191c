//! One row of the model: every field and attribute by name, owned.

use std::collections::BTreeMap;

use model::{Attr, Group, Log, OwnedValue, Scope, Span, Value, ValueType};
use serde_json::json;

use super::json::key_values;
use crate::{Column, Field};

/// A span or a log record.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    /// The fields that are not null.
    pub(crate) fields: BTreeMap<Field, Cell>,
    /// The attributes of all scopes, in the order they came; of equal keys in one scope only the first.
    pub(crate) attributes: Vec<(Scope, String, OwnedValue)>,
}

/// A field's value.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    /// Times, durations, kinds, counts.
    Int(i64),
    /// Names, bodies, messages.
    Text(String),
    /// Trace and span ids.
    Id(Vec<u8>),
    /// Span events.
    Events(Vec<EventCell>),
    /// Span links.
    Links(Vec<LinkCell>),
}

/// One event of a span; attributes as OTLP/JSON.
#[derive(Debug, Clone)]
pub(crate) struct EventCell {
    pub(crate) time: i64,
    pub(crate) name: String,
    pub(crate) dropped: u32,
    pub(crate) attributes: String,
}

/// One link of a span; attributes as OTLP/JSON.
#[derive(Debug, Clone)]
pub(crate) struct LinkCell {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) trace_state: String,
    pub(crate) flags: u32,
    pub(crate) dropped: u32,
    pub(crate) attributes: String,
}

impl Row {
    /// Trace and span id.
    pub(super) fn span_id(&self) -> Option<([u8; 16], [u8; 8])> {
        match (self.fields.get(&Field::TraceId), self.fields.get(&Field::SpanId)) {
            (Some(Cell::Id(trace)), Some(Cell::Id(span))) => {
                Some((trace.as_slice().try_into().ok()?, span.as_slice().try_into().ok()?))
            }
            _ => None,
        }
    }

    /// What makes a log record itself.
    pub(super) fn log_id(&self) -> super::LogId {
        (self.labels(), self.time(), self.text(Field::Body).to_owned(), self.carried())
    }

    /// The record's own attributes, and its ids where it has any.
    fn carried(&self) -> Vec<(String, String)> {
        let shown = |value: &OwnedValue| match value {
            // There are many that are not a number.
            OwnedValue::Double(d) => format!("{:x}", d.to_bits()),
            other => format!("{other:?}"),
        };
        let own = self.attributes.iter().filter(|(scope, ..)| *scope == Scope::Record);
        let mut carried: Vec<(String, String)> = own.map(|(_, key, value)| (key.clone(), shown(value))).collect();
        for field in [Field::TraceId, Field::SpanId] {
            if let Some(Cell::Id(id)) =
                self.fields.get(&field).filter(|cell| !matches!(cell, Cell::Id(id) if id.iter().all(|b| *b == 0)))
            {
                carried.push((String::new(), format!("{id:?}")));
            }
        }
        carried.sort();
        carried
    }

    /// The row of a span, made from what its group gives.
    pub(crate) fn span(group: &Self, span: &Span<'_>) -> Self {
        let mut row = group.clone();
        row.set_int(Field::Time, span.start);
        row.set_id(Field::TraceId, &span.trace_id.0);
        row.set_id(Field::SpanId, &span.span_id.0);
        row.set_id(Field::ParentSpanId, &span.parent_span_id.0);
        row.set_int(Field::Flags, span.flags.into());
        row.set_int(Field::DroppedAttributes, span.dropped_attributes.into());
        row.fields.insert(Field::Name, Cell::Text(span.name.to_owned()));
        row.set_int(Field::Kind, span.kind.into());
        row.set_int(Field::Duration, span.end.saturating_sub(span.start));
        row.set_int(Field::StatusCode, span.status_code.into());
        row.set_text(Field::StatusMessage, span.status_message);
        row.set_text(Field::TraceState, span.trace_state);
        row.set_int(Field::DroppedEvents, span.dropped_events.into());
        row.set_int(Field::DroppedLinks, span.dropped_links.into());
        row.attach(Scope::Record, span.attributes);
        let nested = |range: &std::ops::Range<usize>| key_values(span.nested.get(range.clone()).unwrap_or(&[]));
        if !span.events.is_empty() {
            let events = span.events.iter().map(|e| EventCell {
                time: e.time,
                name: e.name.to_owned(),
                dropped: e.dropped_attributes,
                attributes: nested(&e.attributes),
            });
            row.fields.insert(Field::Events, Cell::Events(events.collect()));
        }
        if !span.links.is_empty() {
            let links = span.links.iter().map(|l| LinkCell {
                trace_id: l.trace_id.0,
                span_id: l.span_id.0,
                trace_state: l.trace_state.to_owned(),
                flags: l.flags,
                dropped: l.dropped_attributes,
                attributes: nested(&l.attributes),
            });
            row.fields.insert(Field::Links, Cell::Links(links.collect()));
        }
        row
    }

    /// The row of a log record, made from what its group gives.
    pub(crate) fn log(group: &Self, log: &Log<'_>) -> Self {
        let mut row = group.clone();
        row.set_int(Field::Time, log.time);
        row.set_int(Field::Observed, log.observed);
        row.set_id(Field::TraceId, &log.trace_id.0);
        row.set_id(Field::SpanId, &log.span_id.0);
        row.set_int(Field::Flags, log.flags.into());
        row.set_int(Field::DroppedAttributes, log.dropped_attributes.into());
        row.set_int(Field::SeverityNumber, log.severity_number.into());
        row.set_text(Field::SeverityText, log.severity_text);
        row.set_text(Field::EventName, log.event_name);
        row.set_int(Field::BodyType, log.body.value_type() as i64);
        let body = match &log.body {
            Value::Str(text) => (*text).to_owned(),
            other => super::json::any_value(other).to_string(),
        };
        row.fields.insert(Field::Body, Cell::Text(body));
        row.attach(Scope::Record, log.attributes);
        row
    }

    /// What a group gives to each of its rows.
    pub(crate) fn group(group: &Group<'_>) -> Self {
        let mut row = Self::default();
        row.set_text(Field::ScopeName, group.scope_name);
        row.set_text(Field::ScopeVersion, group.scope_version);
        let mut extra = serde_json::Map::new();
        for (key, count) in [("rd", group.resource_dropped), ("sd", group.scope_dropped)] {
            if count != 0 {
                extra.insert(key.to_owned(), json!(count));
            }
        }
        for (key, url) in [("ru", group.resource_schema_url), ("su", group.scope_schema_url)] {
            if !url.is_empty() {
                extra.insert(key.to_owned(), json!(url));
            }
        }
        if !extra.is_empty() {
            row.set_text(Field::GroupExtra, &serde_json::Value::Object(extra).to_string());
        }
        row.attach(Scope::Resource, group.resource);
        row.attach(Scope::Instrumentation, group.scope);
        for (name, value) in group.labels {
            row.attach(Scope::Label, &[Attr { key: name, value: Value::Str(value) }]);
        }
        row
    }

    fn set_int(&mut self, field: Field, value: i64) {
        self.fields.insert(field, Cell::Int(value));
    }

    /// Sets a text field that is null when empty.
    fn set_text(&mut self, field: Field, value: &str) {
        if !value.is_empty() {
            self.fields.insert(field, Cell::Text(value.to_owned()));
        }
    }

    /// Sets an id field, null when all zero.
    fn set_id(&mut self, field: Field, bytes: &[u8]) {
        if bytes.iter().any(|b| *b != 0) {
            self.fields.insert(field, Cell::Id(bytes.to_vec()));
        }
    }

    fn attach(&mut self, scope: Scope, attributes: &[Attr<'_>]) {
        for a in attributes {
            if !self.attributes.iter().any(|(s, k, _)| *s == scope && k == a.key) {
                self.attributes.push((scope, a.key.to_owned(), a.value.to_owned_value()));
            }
        }
    }

    /// The row's time.
    pub(crate) fn time(&self) -> i64 {
        match self.fields.get(&Field::Time) {
            Some(Cell::Int(t)) => *t,
            _ => 0,
        }
    }

    /// A text field, empty when null.
    pub(crate) fn text(&self, field: Field) -> &str {
        match self.fields.get(&field) {
            Some(Cell::Text(t)) => t,
            _ => "",
        }
    }

    /// An id field, empty when null.
    pub(crate) fn id(&self, field: Field) -> &[u8] {
        match self.fields.get(&field) {
            Some(Cell::Id(id)) => id,
            _ => &[],
        }
    }

    /// What a column holds in this row; `None` where it is null. Lists of events and links have no value.
    pub(crate) fn value(&self, column: &Column) -> Option<Value<'_>> {
        match column {
            Column::Field(field) => match self.fields.get(field)? {
                Cell::Int(i) => Some(Value::Int(*i)),
                Cell::Text(t) => Some(Value::Str(t)),
                Cell::Id(id) => Some(Value::Bytes(id.into())),
                Cell::Events(_) | Cell::Links(_) => None,
            },
            Column::Attribute { scope: Some(scope), key } => self.attribute(*scope, key),
            Column::Attribute { scope: None, key } => [Scope::Record, Scope::Instrumentation, Scope::Resource, Scope::Label]
                .into_iter()
                .find_map(|scope| self.attribute(scope, key)),
            Column::Attributes(_) => None,
        }
    }

    fn attribute(&self, scope: Scope, key: &str) -> Option<Value<'_>> {
        self.attributes.iter().find(|(s, k, _)| *s == scope && k == key).map(|(_, _, v)| v.as_value())
    }

    /// Whether the row has the column (any of the attributes, for [`Column::Attributes`]).
    pub(crate) fn has(&self, column: &Column) -> bool {
        match column {
            Column::Field(field) => self.fields.contains_key(field),
            Column::Attribute { .. } => self.value(column).is_some(),
            Column::Attributes(scope) => self.attributes.iter().any(|(s, _, _)| scope.is_none_or(|scope| scope == *s)),
        }
    }

    /// The stream labels, sorted by name.
    pub(crate) fn labels(&self) -> Vec<(String, String)> {
        let mut labels: Vec<(String, String)> = self
            .attributes
            .iter()
            .filter(|(scope, _, _)| *scope == Scope::Label)
            .map(|(_, key, value)| (key.clone(), crate::value_text(&value.as_value())))
            .collect();
        labels.sort();
        labels
    }
}

/// The types that an attribute column may have are the types of its values.
pub(crate) fn type_of(value: &OwnedValue) -> ValueType {
    value.as_value().value_type()
}

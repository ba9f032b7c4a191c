//! What a kept column is: the contract's columns, and a few that only the engine knows.

use std::sync::Arc;

use arrow_schema::{DataType, Field as ArrowField, TimeUnit};
use model::{Scope, ValueType};

use crate::body::BodyColumnId;
use crate::contract::Field;

/// Identity of a column, in heads and in segments.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ColumnId {
    /// A part of log bodies that are split: their layout or a variable (see [`crate::body`]). Only in segments; the lines
    /// that are kept whole are in `Field(Body)`, and whoever loads that gets all lines.
    Body(BodyColumnId),
    /// A field. Events and links are kept as JSON text (see `nested`), not as lists.
    Field(Field),
    /// Logs: the stream's labels as canonical JSON text; what the rows of a segment are ordered by.
    Stream,
    /// An attribute.
    Attribute(Scope, Arc<str>, ValueType),
    /// Attributes that have no column of their own, as JSON text (see `rest`): the record's, or the group's.
    Rest(RestOf),
}

/// Whose attributes a rest column holds. A row may have both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum RestOf {
    /// The record's own.
    Record,
    /// The resource's, the instrumentation scope's, the labels.
    Group,
}

/// Every field with its persisted name.
const FIELDS: [(Field, &str); 25] = [
    (Field::Time, "time"),
    (Field::TraceId, "trace_id"),
    (Field::SpanId, "span_id"),
    (Field::ScopeName, "scope_name"),
    (Field::ScopeVersion, "scope_version"),
    (Field::Flags, "flags"),
    (Field::DroppedAttributes, "dropped_attributes"),
    (Field::GroupExtra, "group_extra"),
    (Field::ParentSpanId, "parent_span_id"),
    (Field::Name, "name"),
    (Field::Kind, "kind"),
    (Field::Duration, "duration"),
    (Field::StatusCode, "status_code"),
    (Field::StatusMessage, "status_message"),
    (Field::TraceState, "trace_state"),
    (Field::DroppedEvents, "dropped_events"),
    (Field::DroppedLinks, "dropped_links"),
    (Field::Events, "events"),
    (Field::Links, "links"),
    (Field::Body, "body"),
    (Field::BodyType, "body_type"),
    (Field::Observed, "observed"),
    (Field::SeverityNumber, "severity_number"),
    (Field::SeverityText, "severity_text"),
    (Field::EventName, "event_name"),
];

impl ColumnId {
    /// The column's name in a segment, for people: `time`, `resource.service.name`, `attr.http.status_code:int`.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Body(id) => id.name(),
            Self::Field(field) => field_name(*field).to_owned(),
            Self::Stream => "stream".to_owned(),
            Self::Attribute(scope, key, ValueType::Str) => format!("{}.{key}", scope.as_str()),
            Self::Attribute(scope, key, kind) => format!("{}.{key}:{}", scope.as_str(), kind.as_str()),
            Self::Rest(RestOf::Record) => "attributes_rest".to_owned(),
            Self::Rest(RestOf::Group) => "group_attributes_rest".to_owned(),
        }
    }

    /// How the segment's metadata spells the identity; [`ColumnId::parse`] reads it back.
    pub(crate) fn spell(&self) -> (String, String, String) {
        let own = |kind: &str, key: &str, t: &str| (kind.to_owned(), key.to_owned(), t.to_owned());
        match self {
            Self::Body(id) => own("body", &id.name(), ""),
            Self::Field(field) => own("field", field_name(*field), ""),
            Self::Stream => own("stream", "", ""),
            Self::Attribute(scope, key, t) => own(scope.as_str(), key, t.as_str()),
            Self::Rest(RestOf::Record) => own("rest", "record", ""),
            Self::Rest(RestOf::Group) => own("rest", "group", ""),
        }
    }

    /// The identity that [`ColumnId::spell`] wrote.
    pub(crate) fn parse(kind: &str, key: &str, value_type: &str) -> Option<Self> {
        Some(match (kind, key) {
            ("body", name) => Self::Body(BodyColumnId::parse(name)?),
            ("field", name) => Self::Field(FIELDS.iter().find(|(_, n)| *n == name)?.0),
            ("stream", _) => Self::Stream,
            ("rest", "record") => Self::Rest(RestOf::Record),
            ("rest", "group") => Self::Rest(RestOf::Group),
            (scope, key) => Self::Attribute(Scope::parse(scope)?, key.into(), ValueType::parse(value_type)?),
        })
    }

    /// The Arrow type that heads and scans hold; text is a dictionary unless `plain`.
    pub(crate) fn data_type(&self, plain: bool) -> DataType {
        let text = || {
            if plain { DataType::Utf8 } else { DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8)) }
        };
        match self {
            Self::Field(field) => match field {
                Field::Time | Field::Observed | Field::Duration => DataType::Int64,
                Field::TraceId => DataType::FixedSizeBinary(16),
                Field::SpanId | Field::ParentSpanId => DataType::FixedSizeBinary(8),
                Field::Kind | Field::StatusCode | Field::SeverityNumber => DataType::Int32,
                Field::Flags | Field::DroppedAttributes | Field::DroppedEvents | Field::DroppedLinks => DataType::UInt32,
                Field::BodyType => DataType::UInt8,
                _ => text(),
            },
            Self::Body(BodyColumnId::Value(variable)) if !variable.kind.is_text() => variable.kind.data_type(),
            Self::Body(BodyColumnId::Layout) => BodyColumnId::Layout.data_type(),
            Self::Stream | Self::Rest(_) | Self::Body(_) => text(),
            Self::Attribute(_, _, t) => match t {
                ValueType::Str | ValueType::Nested => text(),
                ValueType::Bool => DataType::Boolean,
                ValueType::Int => DataType::Int64,
                ValueType::Double => DataType::Float64,
                ValueType::Bytes => DataType::Binary,
            },
        }
    }

    /// The column in a segment's Arrow schema: as [`ColumnId::data_type`], but times are time stamps there.
    pub(crate) fn file_field(&self, name: String, plain: bool) -> ArrowField {
        let data_type = match self {
            Self::Field(Field::Time) => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
            _ => self.data_type(plain),
        };
        ArrowField::new(name, data_type, !matches!(self, Self::Field(Field::Time)))
    }

    /// Whether the column is text.
    pub(crate) fn is_text(&self) -> bool {
        self.data_type(true) == DataType::Utf8
    }

    /// Whether a missing value of this column means zero (and a scan fills it in).
    pub(crate) fn zero_when_absent(field: Field) -> bool {
        matches!(
            field,
            Field::Flags
                | Field::DroppedAttributes
                | Field::DroppedEvents
                | Field::DroppedLinks
                | Field::Kind
                | Field::StatusCode
                | Field::Observed
                | Field::SeverityNumber
                | Field::BodyType
        )
    }
}

fn field_name(field: Field) -> &'static str {
    FIELDS.iter().find(|(f, _)| *f == field).map_or("", |(_, name)| name)
}

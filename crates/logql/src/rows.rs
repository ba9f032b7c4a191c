//! Rows of the store as lines with labels.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt32Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use model::{Scope, SpanId, TraceId, Value};
use store::{Batch, Column, Field, Meaning, text_at};
use wire::otlp::as_text;

use crate::levels::{self, Heard, LEVEL};
use crate::pipeline::{LabelSet, Labels, sanitize};

/// Fields that Loki shows as structured metadata, and their names.
const FIELDS: [(Field, &str); 9] = [
    (Field::TraceId, "trace_id"),
    (Field::SpanId, "span_id"),
    (Field::SeverityNumber, "severity_number"),
    (Field::SeverityText, "severity_text"),
    (Field::Observed, "observed_timestamp"),
    (Field::Flags, "flags"),
    (Field::DroppedAttributes, "dropped_attributes_count"),
    (Field::ScopeName, "scope_name"),
    (Field::ScopeVersion, "scope_version"),
];

/// What a query needs of a row.
#[derive(Debug, Clone)]
pub(crate) struct Needs {
    /// The text of the line.
    pub(crate) line: bool,
    /// Its labels: all, or these.
    pub(crate) labels: NeededLabels,
}

/// Which labels of a row a query needs.
#[derive(Debug, Clone)]
pub(crate) enum NeededLabels {
    All,
    /// Those of the stream.
    Stream,
    Only(Vec<Arc<str>>),
}

impl Needs {
    /// Whether the level of the line is among them.
    pub(crate) fn level(&self) -> bool {
        match &self.labels {
            NeededLabels::All => true,
            NeededLabels::Stream => false,
            NeededLabels::Only(names) => names.iter().any(|n| n.strip_suffix("_extracted").unwrap_or(n) == LEVEL),
        }
    }

    /// The columns to scan; with all that the level may be found in where `levels` says so.
    pub(crate) fn projection(&self, levels: bool) -> Vec<Column> {
        let mut out = vec![Column::Field(Field::Time)];
        if self.line || levels {
            out.extend([Field::Body, Field::BodyType].map(Column::Field));
        }
        match &self.labels {
            NeededLabels::All => {
                out.extend(FIELDS.iter().map(|(field, _)| Column::Field(*field)));
                out.push(Column::Attributes(None));
            }
            NeededLabels::Stream => out.push(Column::Attributes(Some(Scope::Label))),
            NeededLabels::Only(names) => {
                let names = &match levels {
                    true => names.iter().cloned().chain(levels::SOURCES.map(Arc::from)).collect(),
                    false => names.clone(),
                };
                if levels {
                    out.push(Column::Field(Field::SeverityNumber));
                }
                // A name may be a key that had other characters; then every attribute has to be seen.
                let plain = names.iter().all(|n| !n.contains('_'));
                for name in names {
                    let name = name.strip_suffix("_extracted").unwrap_or(name);
                    out.push(Column::attribute(Scope::Label, name));
                    out.extend(FIELDS.iter().filter(|(_, n)| *n == name).map(|(field, _)| Column::Field(*field)));
                    if plain {
                        out.extend(
                            [Scope::Record, Scope::Instrumentation, Scope::Resource].map(|scope| Column::attribute(scope, name)),
                        );
                    }
                }
                if !plain {
                    out.extend([Scope::Record, Scope::Instrumentation, Scope::Resource].map(|s| Column::Attributes(Some(s))));
                }
            }
        }
        out
    }
}

/// A text column whose values are shared: each is copied once a batch.
struct Texts<'b> {
    array: &'b ArrayRef,
    /// By key of the dictionary.
    known: Vec<Option<Arc<str>>>,
}

impl<'b> Texts<'b> {
    fn new(array: &'b ArrayRef) -> Self {
        let keys = match array.data_type() {
            DataType::Dictionary(..) => array.as_any_dictionary().values().len(),
            _ => 0,
        };
        Self { array, known: vec![None; keys] }
    }

    fn get(&mut self, row: usize) -> Option<Arc<str>> {
        let text = text_at(self.array, row)?;
        match self.key(row).and_then(|key| self.known.get_mut(key as usize)) {
            Some(known) => Some(known.get_or_insert_with(|| text.into()).clone()),
            None => Some(text.into()),
        }
    }

    /// The key of a row's value, where the column is a dictionary; absent values have one too.
    fn key(&self, row: usize) -> Option<u32> {
        let dictionary = self.array.as_dictionary_opt::<UInt32Type>()?;
        Some(if self.array.is_null(row) { u32::MAX } else { dictionary.keys().value(row) })
    }
}

/// A column of metadata.
enum Metadata<'b> {
    Text(Texts<'b>),
    /// An attribute that is no text.
    Value(Scope, Arc<str>),
    Field(Field),
}

/// The rows of a batch.
pub(crate) struct Rows<'b> {
    batch: &'b Batch,
    stream: Vec<(Arc<str>, Texts<'b>)>,
    /// First wins.
    metadata: Vec<(Arc<str>, Metadata<'b>)>,
    /// Streams by the keys of their labels.
    streams: HashMap<Vec<u32>, Arc<LabelSet>>,
    keys: Vec<u32>,
    line: Option<&'b ArrayRef>,
    time: Option<&'b [i64]>,
    /// The stream of the row before.
    last: (Vec<u32>, Arc<LabelSet>),
    /// Whether the level is added to the metadata.
    levels: bool,
    /// A stream and the level that its labels say.
    stream_level: Option<(Arc<LabelSet>, Option<Arc<str>>)>,
    level_name: Arc<str>,
    known_levels: Vec<Arc<str>>,
}

/// A value that many rows share, from the few that are known.
fn shared(known: &mut Vec<Arc<str>>, text: &str) -> Arc<str> {
    const MOST: usize = 32;
    if let Some(found) = known.iter().find(|k| ***k == *text) {
        return found.clone();
    }
    let new: Arc<str> = text.into();
    if known.len() < MOST {
        known.push(new.clone());
    }
    new
}

impl<'b> Rows<'b> {
    /// `levels` says whether each row's level is found and added.
    pub(crate) fn new(batch: &'b Batch, levels: bool) -> Self {
        let mut stream = Vec::new();
        let mut metadata: Vec<(u8, Arc<str>, Metadata<'b>)> = Vec::new();
        for (at, meaning) in batch.meaning().iter().enumerate() {
            let array = batch.columns().column(at);
            match meaning {
                Meaning::Attribute(Scope::Label, key, _) => stream.push((key.clone(), Texts::new(array))),
                Meaning::Attribute(scope, key, kind) => {
                    let rank = match scope {
                        Scope::Record => 0,
                        Scope::Instrumentation => 1,
                        Scope::Resource | Scope::Label => 2,
                    };
                    let column = match kind {
                        model::ValueType::Str => Metadata::Text(Texts::new(array)),
                        _ => Metadata::Value(*scope, key.clone()),
                    };
                    metadata.push((rank, label_name(key), column));
                }
                Meaning::Field(field) => {
                    if let Some((_, name)) = FIELDS.iter().find(|(f, _)| f == field) {
                        metadata.push((3, (*name).into(), Metadata::Field(*field)));
                    }
                }
            }
        }
        metadata.sort_by_key(|(rank, ..)| *rank);
        Self {
            batch,
            stream,
            metadata: metadata.into_iter().map(|(_, name, column)| (name, column)).collect(),
            streams: HashMap::new(),
            keys: Vec::new(),
            line: batch.field(Field::Body),
            time: batch.field(Field::Time).and_then(|a| a.as_primitive_opt::<Int64Type>()).map(|a| &a.values()[..]),
            last: (Vec::new(), Arc::default()),
            levels,
            stream_level: None,
            level_name: LEVEL.into(),
            known_levels: Vec::new(),
        }
    }

    pub(crate) fn time(&self, row: usize) -> i64 {
        self.time.map_or(0, |times| times[row])
    }

    /// The line; empty where it was not asked for. A body that is no text is shown as Loki shows it.
    pub(crate) fn line(&self, row: usize) -> Cow<'b, str> {
        let text = self.line.and_then(|array| text_at(array, row)).unwrap_or("");
        match self.batch.int(row, Field::BodyType) {
            None | Some(0) => Cow::Borrowed(text),
            Some(_) => plain(&Value::Nested(Cow::Borrowed(text))),
        }
    }

    /// Bytes of the text of the first `rows` rows, as it is stored; 0 where it is not read.
    pub(crate) fn bytes(&self, rows: usize) -> u64 {
        let Some(array) = self.line else { return 0 };
        match array.as_string_opt::<i32>() {
            Some(texts) => texts.value_offsets()[rows].abs_diff(texts.value_offsets()[0]).into(),
            None => (0..rows).filter_map(|row| text_at(array, row)).map(|text| text.len() as u64).sum(),
        }
    }

    /// The labels of the row's stream, those that were asked for.
    pub(crate) fn stream(&mut self, row: usize) -> Arc<LabelSet> {
        self.keys.clear();
        for (_, texts) in &self.stream {
            match texts.key(row) {
                Some(key) => self.keys.push(key),
                None => return self.stream_of_texts(row),
            }
        }
        if self.keys == self.last.0 && !self.keys.is_empty() {
            return self.last.1.clone();
        }
        let found = match self.streams.get(&self.keys) {
            Some(found) => found.clone(),
            None => {
                let found = self.stream_of_texts(row);
                self.streams.insert(self.keys.clone(), found.clone());
                found
            }
        };
        self.last.0.clone_from(&self.keys);
        self.last.1 = found.clone();
        found
    }

    fn stream_of_texts(&mut self, row: usize) -> Arc<LabelSet> {
        let pairs = self.stream.iter_mut().filter_map(|(name, texts)| Some((name.clone(), texts.get(row)?)));
        Arc::new(LabelSet::from_pairs(pairs.filter(|(_, value)| !value.is_empty())))
    }

    /// Starts the row's labels: its stream's and its metadata.
    pub(crate) fn labels(&mut self, row: usize, labels: &mut Labels) {
        let stream = self.stream(row);
        labels.reset(&stream);
        let batch = self.batch;
        let mut heard = Heard::default();
        for (name, column) in &mut self.metadata {
            match column {
                Metadata::Text(texts) => {
                    let Some(value) = texts.get(row) else { continue };
                    let value = if self.levels { heard.hear(name, value) } else { value };
                    add(labels, &stream, name, value, false);
                }
                Metadata::Value(scope, key) => {
                    let column = Column::Attribute { scope: Some(*scope), key: key.to_string() };
                    let Some(value) = batch.attribute(row, &column) else { continue };
                    flat(name, &value, &mut |name, value| {
                        let value = if self.levels { heard.hear(name, value) } else { value };
                        add(labels, &stream, name, value, false);
                    });
                }
                Metadata::Field(field) => {
                    let Some(value) = field_text(batch, row, *field) else { continue };
                    let value = if self.levels { heard.hear(name, value.into()) } else { value.into() };
                    add(labels, &stream, name, value, true);
                }
            }
        }
        if !self.levels {
            return;
        }
        let of_stream = match &self.stream_level {
            Some((known, level)) if Arc::ptr_eq(known, &stream) => level.clone(),
            _ => {
                let level = levels::of_stream(&stream).map(|level| shared(&mut self.known_levels, &level));
                self.stream_level = Some((stream.clone(), level.clone()));
                level
            }
        };
        let level = match &of_stream {
            Some(level) => heard.level(Some(level), ""),
            None => heard.level(None, &self.line(row)),
        };
        if let Some(level) = level {
            let level = shared(&mut self.known_levels, &level);
            labels.add_metadata(&self.level_name, level);
        }
    }
}

/// Adds structured metadata. What a record says itself hides what its resource says; what became a stream label is not said twice.
pub(crate) fn add(labels: &mut Labels, stream: &LabelSet, name: &Arc<str>, value: Arc<str>, is_field: bool) {
    let said = labels.get(name).is_some_and(|(category, _)| category == crate::pipeline::Category::Metadata);
    let hidden = said || (is_field && !labels.has_metadata() && stream.get(name).is_some());
    if !hidden && stream.get(name).is_none_or(|v| *v != *value) {
        labels.add_metadata(name, value);
    }
}

/// An attribute as structured metadata: a map is one piece for each of its values, all else is text, as Loki has it.
pub(crate) fn flat(name: &Arc<str>, value: &Value<'_>, each: &mut dyn FnMut(&Arc<str>, Arc<str>)) {
    fn map(name: &str, json: &serde_json::Value, each: &mut dyn FnMut(&Arc<str>, Arc<str>)) {
        if let Some(pairs) = json.pointer("/kvlistValue").map(|list| list.get("values").and_then(|v| v.as_array())) {
            for pair in pairs.into_iter().flatten() {
                let key = pair.get("key").and_then(|k| k.as_str()).unwrap_or("");
                let inner = format!("{name}_{}", sanitize(key));
                map(&inner, pair.get("value").unwrap_or(&serde_json::Value::Null), each);
            }
            return;
        }
        // Of what is no value Loki makes an empty text.
        let text = if json.is_null() { "{}".to_owned() } else { json.to_string() };
        let json = Value::Nested(Cow::Owned(text));
        each(&name.into(), plain(&json).into());
    }
    match value {
        Value::Nested(json) if json.starts_with("{\"kvlistValue\"") => match serde_json::from_str(json) {
            Ok(json) => map(name, &json, each),
            Err(_) => each(name, json.as_ref().into()),
        },
        value => each(name, plain(value).into()),
    }
}

/// A value's text; of a text in OTLP/JSON the text itself, without quotes.
fn plain<'v>(value: &Value<'v>) -> Cow<'v, str> {
    let text = as_text(value);
    match value {
        Value::Nested(json) if json.starts_with("{\"stringValue\"") || json.starts_with("{\"bytesValue\"") => {
            serde_json::from_str(&text).map_or(text, Cow::Owned)
        }
        _ => text,
    }
}

/// A field as text; `None` where it is not set.
fn field_text(batch: &Batch, row: usize, field: Field) -> Option<String> {
    let text = match field {
        Field::TraceId => TraceId::from_slice(batch.id(row, field)).ok().filter(|id| !id.is_none())?.to_string(),
        Field::SpanId => SpanId::from_slice(batch.id(row, field)).ok().filter(|id| !id.is_none())?.to_string(),
        Field::SeverityText | Field::ScopeName | Field::ScopeVersion => batch.text(row, field).to_owned(),
        // Where it is the only time it is the line's own.
        Field::Observed if batch.int(row, field) == batch.int(row, Field::Time) => return None,
        field => batch.int(row, field).filter(|n| *n != 0)?.to_string(),
    };
    (!text.is_empty()).then_some(text)
}

/// Whether a label of this name may come from a field.
pub(crate) fn is_field_label(name: &str) -> bool {
    FIELDS.iter().any(|(_, n)| *n == name)
}

/// A label's name as Loki makes it of an attribute's key.
pub(crate) fn label_name(key: &str) -> Arc<str> {
    match key.starts_with(|c: char| c.is_ascii_digit()) {
        true => format!("key_{}", sanitize(key).trim_start_matches('_')).into(),
        false => sanitize(key).into(),
    }
}

//! Lines as they arrive: what a tail shows, before it can be read back from the store.

use std::borrow::Cow;
use std::sync::Arc;

use model::{Group, Log, Value};
use store::LabelMatcher;
use wire::otlp::as_text;

use crate::EvalError;
use crate::ast::LogQuery;
use crate::levels::{self, Heard, LEVEL};
use crate::lines::Line;
use crate::pipeline::{Hints, LabelSet, Labels, Pipeline};
use crate::rows::{add, flat, label_name};

/// Structured metadata: a name, a value, whether it is a field of the record rather than an attribute.
type Piece = (Arc<str>, Arc<str>, bool);

/// What lines that arrive together share.
#[derive(Debug)]
pub struct Arriving {
    stream: Arc<LabelSet>,
    level: Option<String>,
    /// Of the scope and the resource, in this order.
    attributes: Vec<Piece>,
    scope: Vec<Piece>,
    discover_levels: bool,
}

impl Arriving {
    /// The lines of a group; `discover_levels` as in [`crate::Question`].
    #[must_use]
    pub fn new(group: &Group<'_>, discover_levels: bool) -> Self {
        let stream = Arc::new(LabelSet::from_pairs(group.labels.iter().copied()));
        let level = discover_levels.then(|| levels::of_stream(&stream).map(Cow::into_owned)).flatten();
        let mut attributes = Vec::new();
        for attribute in group.scope.iter().chain(group.resource) {
            flat(&label_name(attribute.key), &attribute.value, &mut |name, value| {
                attributes.push((name.clone(), value, false));
            });
        }
        let mut scope = Vec::new();
        field(&mut scope, "scope_name", group.scope_name);
        field(&mut scope, "scope_version", group.scope_version);
        Self { stream, level, attributes, scope, discover_levels }
    }

    /// Labels of the stream.
    #[must_use]
    pub fn stream(&self) -> &LabelSet {
        &self.stream
    }

    /// One of the lines.
    #[must_use]
    pub fn line(&self, log: &Log<'_>) -> Arrived {
        let text = match &log.body {
            Value::Str(text) => (*text).to_owned(),
            other => as_text(other).into_owned(),
        };
        let mut pieces: Vec<Piece> = Vec::new();
        for attribute in log.attributes {
            flat(&label_name(attribute.key), &attribute.value, &mut |name, value| pieces.push((name.clone(), value, false)));
        }
        pieces.extend(self.attributes.iter().cloned());
        if !log.trace_id.is_none() {
            field(&mut pieces, "trace_id", &log.trace_id.to_string());
        }
        if !log.span_id.is_none() {
            field(&mut pieces, "span_id", &log.span_id.to_string());
        }
        field(&mut pieces, "severity_text", log.severity_text);
        let observed = if log.observed == log.time { 0 } else { log.observed };
        for (name, number) in [
            ("severity_number", i64::from(log.severity_number)),
            ("observed_timestamp", observed),
            ("flags", log.flags.into()),
            ("dropped_attributes_count", log.dropped_attributes.into()),
        ] {
            if number != 0 {
                field(&mut pieces, name, &number.to_string());
            }
        }
        pieces.extend(self.scope.iter().cloned());
        let mut level = None;
        if self.discover_levels {
            let mut heard = Heard::default();
            for (name, value, _) in &mut pieces {
                *value = heard.hear(name, value.clone());
            }
            level = heard.level(self.level.as_deref(), &text).map(|level| level.as_ref().into());
        }
        Arrived { time: log.time, text, stream: self.stream.clone(), pieces, level }
    }
}

fn field(pieces: &mut Vec<Piece>, name: &str, value: &str) {
    if !value.is_empty() {
        pieces.push((name.into(), value.into(), true));
    }
}

/// A line that has just arrived, with all that is known of it.
#[derive(Debug)]
pub struct Arrived {
    time: i64,
    text: String,
    stream: Arc<LabelSet>,
    pieces: Vec<Piece>,
    level: Option<Arc<str>>,
}

/// A log query that waits for lines.
#[derive(Debug)]
pub struct Tail {
    matchers: Vec<LabelMatcher>,
    pipeline: Pipeline,
    labels: Labels,
    level_name: Arc<str>,
}

impl Tail {
    /// The lines that `query` would find.
    ///
    /// # Errors
    /// [`EvalError::Parse`] for a stage that cannot be built.
    pub fn new(query: &LogQuery) -> Result<Self, EvalError> {
        let pipeline = Pipeline::new(&query.stages, Hints::default())?;
        Ok(Self { matchers: query.matchers.clone(), pipeline, labels: Labels::default(), level_name: LEVEL.into() })
    }

    /// Whether lines of the stream may be among them.
    #[must_use]
    pub fn wants(&self, stream: &LabelSet) -> bool {
        self.matchers.iter().all(|m| m.matches(stream.get(&m.name).unwrap_or("")))
    }

    /// The line as the query shows it; `None` where it does not want it. Its stream has been asked for by [`Tail::wants`].
    ///
    /// # Errors
    /// [`EvalError::TooMuchWork`] where templates take more steps than those of a query may: the tail is over.
    pub fn line(&mut self, line: &Arrived) -> Result<Option<Line>, EvalError> {
        let labels = &mut self.labels;
        labels.reset(&line.stream);
        labels.work().line_of_tail();
        for (name, value, is_field) in &line.pieces {
            add(labels, &line.stream, name, value.clone(), *is_field);
        }
        if let Some(level) = &line.level {
            labels.add_metadata(&self.level_name, level.clone());
        }
        let text = self.pipeline.run(Cow::Borrowed(&line.text), line.time, labels);
        labels.work().within()?;
        Ok(text.map(|text| Line::new(line.time, text.into_owned(), labels)))
    }
}

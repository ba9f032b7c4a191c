//! `line_format` and `label_format`.

use std::sync::Arc;

use template::{Functions, Limits, Map, Template, Time, Value};

use super::functions::functions;
use super::labels::{Category, ERROR, ERROR_DETAILS, Labels};
use crate::ast::LabelFormat;

/// What the error label says.
pub(crate) const TEMPLATE_ERROR: &str = "TemplateFormatErr";

/// A line may grow so far.
const LIMITS: Limits = Limits { steps: 100_000, output: 1 << 20 };

/// Parses a template with the functions of LogQL.
pub(crate) fn parse(name: &str, text: &str) -> Result<Template, template::ParseError> {
    // Each template keeps the functions that it may call; they are few and cheap to list.
    let functions: Functions = functions();
    Template::parse(name, text, &functions)
}

/// A template and what it reads.
#[derive(Debug, Clone)]
pub(crate) struct Format {
    template: Template,
    /// The labels that it reads, `None` for all of them.
    fields: Option<Vec<String>>,
    reads_line: bool,
    reads_time: bool,
}

impl Format {
    fn new(name: &str, text: &str) -> Result<Self, template::ParseError> {
        let template = parse(name, text)?;
        let fields = template.fields().map(|fields| fields.into_iter().map(str::to_owned).collect());
        let (reads_line, reads_time) = (template.calls("__line__"), template.calls("__timestamp__"));
        Ok(Self { template, fields, reads_line, reads_time })
    }

    /// The template of `line_format`.
    pub(crate) fn line(text: &str) -> Result<Self, String> {
        Self::new("line", text).map_err(|e| format!("invalid line template: {e}"))
    }

    fn execute(&self, data: &Value, line: &str, time: i64, labels: &mut Labels) -> Result<String, template::ExecError> {
        let line = if self.reads_line { Value::text(line) } else { Value::Nil };
        let time = if self.reads_time { Value::Time(Time::from_nanos(time)) } else { Value::Nil };
        // One line with many stages must not take long either.
        let limits = Limits { steps: LIMITS.steps.min(labels.work().left()), ..LIMITS };
        self.template.execute_counted(data, &[("__line__", line), ("__timestamp__", time)], limits, labels.work().taken())
    }

    fn data(&self, labels: &Labels) -> Value {
        let mut map = Map { texts: true, ..Map::default() };
        match &self.fields {
            Some(fields) => {
                for field in fields {
                    let value = match field.as_str() {
                        ERROR | ERROR_DETAILS => Some(labels.value(field)).filter(|v| !v.is_empty()).map(Arc::from),
                        name => labels.get(name).map(|(_, value)| value.clone()),
                    };
                    if let Some(value) = value {
                        map.entries.insert(field.as_str().into(), Value::Str(value));
                    }
                }
            }
            None => {
                labels.each(|_, name, value| {
                    map.entries.insert(name.clone(), Value::Str(value.clone()));
                });
                map.entries.extend(labels.errors().map(|(n, v)| (n.into(), Value::text(v))));
            }
        }
        Value::Map(Arc::new(map))
    }

    /// The line that the template makes; `None`, and an error label, where it fails.
    pub(crate) fn format_line(&self, line: &str, time: i64, labels: &mut Labels) -> Option<String> {
        match self.execute(&self.data(labels), line, time, labels) {
            Ok(line) => Some(line),
            Err(e) => {
                labels.set_error(TEMPLATE_ERROR, e.to_string());
                None
            }
        }
    }
}

/// `label_format`, ready to run.
#[derive(Debug, Clone)]
pub(crate) struct LabelFormats(Vec<One>);

#[derive(Debug, Clone)]
enum One {
    Rename { to: Arc<str>, from: Arc<str> },
    Template { to: Arc<str>, format: Box<Format> },
}

impl LabelFormats {
    pub(crate) fn new(formats: &[LabelFormat]) -> Result<Self, String> {
        let mut seen: Vec<&str> = Vec::new();
        let mut out = Vec::new();
        for format in formats {
            let (LabelFormat::Rename { to, .. } | LabelFormat::Template { to, .. }) = format;
            if to == ERROR {
                return Err(format!("{to} cannot be formatted"));
            }
            if seen.contains(&to.as_str()) {
                return Err(format!("multiple label name '{to}' not allowed in a single format operation"));
            }
            seen.push(to);
        }
        for format in formats {
            out.push(match format {
                LabelFormat::Rename { to, from } => One::Rename { to: to.as_str().into(), from: from.as_str().into() },
                LabelFormat::Template { to, template } => {
                    let format = Format::new("label", template).map_err(|e| format!("invalid template for label '{to}': {e}"))?;
                    One::Template { to: to.as_str().into(), format: Box::new(format) }
                }
            });
        }
        Ok(Self(out))
    }

    /// Every template sees the labels as they were when the first of them ran.
    pub(crate) fn apply(&self, line: &str, time: i64, labels: &mut Labels) {
        let mut before: Option<Value> = None;
        for one in &self.0 {
            match one {
                One::Rename { to, from } => {
                    let found = labels.get(from).map(|(category, value)| (category, value.clone()));
                    if let Some((category, value)) = found {
                        labels.set(category, to, value);
                        labels.delete(from);
                    }
                }
                One::Template { to, format } => {
                    let data = match &before {
                        Some(data) => data.clone(),
                        None => self.data(labels),
                    };
                    before = Some(data.clone());
                    match format.execute(&data, line, time, labels) {
                        Ok(value) => labels.set(Category::Parsed, to, value.into()),
                        Err(e) => labels.set_error(TEMPLATE_ERROR, e.to_string()),
                    }
                }
            }
        }
    }

    /// What any of the templates reads.
    fn data(&self, labels: &Labels) -> Value {
        let formats = || self.0.iter().filter_map(|one| if let One::Template { format, .. } = one { Some(format) } else { None });
        let all = formats().any(|f| f.fields.is_none());
        let mut fields: Vec<String> = formats().filter_map(|f| f.fields.as_ref()).flatten().cloned().collect();
        fields.sort_unstable();
        fields.dedup();
        match formats().next() {
            Some(first) => Format { fields: (!all).then_some(fields), ..Format::clone(first) }.data(labels),
            None => Value::Nil,
        }
    }
}

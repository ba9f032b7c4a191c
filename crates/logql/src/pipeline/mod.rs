//! Pipelines: what is done with a line and its labels, one stage after the other. Built once a query; patterns are compiled then.

mod decimal;
mod filter;
mod format;
mod functions;
mod hints;
mod ip;
mod json;
mod labels;
mod line;
mod logfmt;
mod pattern;

use std::borrow::Cow;
use std::sync::Arc;

use regex::Regex;
use store::LabelMatcher;

use crate::ParseError;
use crate::ast::{LogfmtFlags, NamedMatcher, Stage};
use crate::regexp::compile;
pub(crate) use filter::Condition;
use format::{Format, LabelFormats};
pub(crate) use hints::Hints;
pub(crate) use json::{leaves as json_leaves, level as json_level, text_of as json_text};
pub use labels::{Category, LabelSet, Labels};
pub(crate) use labels::{ERROR, PRESERVE_ERROR, sanitize};
use line::LineCondition;
pub(crate) use logfmt::{each_pair as logfmt_pairs, level as logfmt_level};
use pattern::Pattern;

/// The stages of a query, ready to run.
#[derive(Debug, Clone)]
pub(crate) struct Pipeline {
    steps: Vec<Step>,
    hints: Hints,
}

#[derive(Debug, Clone)]
enum Step {
    Lines(Vec<LineCondition>),
    Json,
    JsonPaths(Vec<(Arc<str>, Vec<json::Step>)>),
    Logfmt(LogfmtFlags),
    LogfmtKeys(LogfmtFlags, Vec<(Arc<str>, String)>),
    Regexp(Regex, Vec<Option<String>>),
    Pattern(Pattern),
    Unpack,
    Filter(Condition),
    LineFormat(Box<Format>),
    LabelFormat(LabelFormats),
    Decolorize(Regex),
    Drop(Vec<Named>),
    Keep(Vec<Named>),
}

#[derive(Debug, Clone)]
enum Named {
    Name(String),
    Matcher(LabelMatcher),
}

impl From<&NamedMatcher> for Named {
    fn from(n: &NamedMatcher) -> Self {
        match n {
            NamedMatcher::Name(name) => Self::Name(name.clone()),
            NamedMatcher::Matcher(m) => Self::Matcher(m.clone()),
        }
    }
}

/// Colours and other escape sequences of terminals.
const ANSI: &str = "[\u{1b}\u{9b}][\\[\\]()#;?]*(?:(?:(?:[a-zA-Z0-9]*(?:;[a-zA-Z0-9]*)*)?\u{7})\
                    |(?:(?:[0-9]{1,4}(?:;[0-9]{0,4})*)?[0-9A-PRZcf-ntqry=><~]))";

/// Checks the pattern of a `regexp` stage.
pub(crate) fn check_regexp(pattern: &str) -> Result<(), String> {
    regexp(pattern).map(|_| ())
}

/// Checks the pattern of a `pattern` stage.
pub(crate) fn check_pattern(pattern: &str) -> Result<(), String> {
    Pattern::parser(pattern).map(|_| ())
}

fn valid_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn regexp(pattern: &str) -> Result<(Regex, Vec<Option<String>>), String> {
    let regex = compile(pattern).map_err(|e| match e.ends_with("duplicate capture group name") {
        true => "duplicate extracted label name".to_owned(),
        false => e,
    })?;
    if regex.captures_len() == 1 {
        return Err("at least one named capture must be supplied".to_owned());
    }
    let names: Vec<Option<String>> = regex.capture_names().map(|n| n.map(str::to_owned)).collect();
    for name in names.iter().flatten() {
        if !valid_name(name) {
            return Err(format!("invalid extracted label name '{name}'"));
        }
    }
    if names.iter().flatten().next().is_none() {
        return Err("at least one named capture must be supplied".to_owned());
    }
    Ok((regex, names))
}

impl Step {
    fn new(stage: &Stage) -> Result<Self, String> {
        let named = |names: &[NamedMatcher]| names.iter().map(Named::from).collect();
        Ok(match stage {
            Stage::LineFilters(filters) => Self::Lines(filters.iter().map(LineCondition::new).collect::<Result<_, _>>()?),
            Stage::Json => Self::Json,
            Stage::JsonPaths(pairs) => {
                let mut out = Vec::new();
                for (name, text) in pairs {
                    let path = json::path(text)?;
                    if !valid_name(name) {
                        return Err(format!("invalid extracted label name '{name}'"));
                    }
                    out.push((name.as_str().into(), path));
                }
                Self::JsonPaths(out)
            }
            Stage::Logfmt(flags) => Self::Logfmt(*flags),
            Stage::LogfmtKeys(flags, pairs) => {
                let mut out = Vec::new();
                for (name, key) in pairs {
                    logfmt::check_key(key)?;
                    if !valid_name(name) {
                        return Err(format!("invalid extracted label name '{name}'"));
                    }
                    let key = syntax::quoted(key).map_or_else(|_| key.clone(), |(key, _)| key.into_owned());
                    out.push((name.as_str().into(), key));
                }
                Self::LogfmtKeys(*flags, out)
            }
            Stage::Regexp(pattern) => {
                let (regex, names) = regexp(pattern)?;
                Self::Regexp(regex, names)
            }
            Stage::Pattern(pattern) => Self::Pattern(Pattern::parser(pattern)?),
            Stage::Unpack => Self::Unpack,
            Stage::LabelFilter(filter) => Self::Filter(Condition::new(filter)?),
            Stage::LineFormat(text) => Self::LineFormat(Box::new(Format::line(text)?)),
            Stage::LabelFormat(formats) => Self::LabelFormat(LabelFormats::new(formats)?),
            Stage::Decolorize => Self::Decolorize(Regex::new(ANSI).map_err(|e| e.to_string())?),
            Stage::Drop(names) => Self::Drop(named(names)),
            Stage::Keep(names) => Self::Keep(named(names)),
        })
    }
}

impl Pipeline {
    /// Builds the stages.
    pub(crate) fn new(stages: &[Stage], hints: Hints) -> Result<Self, ParseError> {
        let mut steps = Vec::with_capacity(stages.len());
        for stage in stages {
            steps.push(Step::new(stage).map_err(|e| ParseError::stage(stage, &e))?);
        }
        Ok(Self { steps, hints })
    }

    /// Which labels its user needs.
    pub(crate) fn hints(&self) -> &Hints {
        &self.hints
    }

    /// Leaves out the first stages: whoever gives the lines has done them already.
    pub(crate) fn without_first(mut self, stages: usize) -> Self {
        self.steps.drain(..stages.min(self.steps.len()));
        self
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Runs the stages; `None` where the line is not kept.
    pub(crate) fn run<'l>(&self, line: Cow<'l, str>, time: i64, labels: &mut Labels) -> Option<Cow<'l, str>> {
        let mut line = line;
        for step in &self.steps {
            let failed = labels.has_error();
            match step {
                Step::Lines(filters) => {
                    if !filters.iter().all(|f| f.accepts(&line)) {
                        return None;
                    }
                }
                Step::Filter(condition) => {
                    if !condition.accepts(labels) {
                        return None;
                    }
                }
                Step::LineFormat(format) => {
                    if let Some(formatted) = format.format_line(&line, time, labels) {
                        line = Cow::Owned(formatted);
                    }
                }
                Step::LabelFormat(formats) => formats.apply(&line, time, labels),
                Step::Decolorize(ansi) => {
                    if let Cow::Owned(plain) = ansi.replace_all(&line, "") {
                        line = Cow::Owned(plain);
                    }
                }
                Step::Unpack => {
                    if let Some(entry) = json::unpack(&line, labels, &self.hints) {
                        line = Cow::Owned(entry);
                    }
                }
                Step::Drop(names) => names.iter().for_each(|n| drop_label(n, labels)),
                Step::Keep(names) => keep_labels(names, labels),
                parser => self.parse(parser, &line, labels),
            }
            if !failed && labels.has_error() && self.hints.preserve_error {
                labels.set(Category::Parsed, &PRESERVE_ERROR.into(), "true".into());
            }
        }
        Some(line)
    }

    fn parse(&self, parser: &Step, line: &str, labels: &mut Labels) {
        let hints = &self.hints;
        if hints.nothing {
            return;
        }
        let mut set = |name: &str, value: &str| {
            let name = labels.free_name(name);
            if hints.wants(&name) && !labels.is_extracted(&name) {
                let name: Arc<str> = name.into();
                labels.set(Category::Parsed, &name, value.into());
            }
        };
        match parser {
            Step::Json => json::fields(line, labels, hints),
            Step::JsonPaths(paths) => json::paths(line, paths, labels),
            Step::Logfmt(flags) => logfmt::pairs(line, *flags, labels, hints),
            Step::LogfmtKeys(flags, keys) => logfmt::keys(line, *flags, keys, labels, hints),
            Step::Regexp(regex, names) => {
                if let Some(found) = regex.captures(line) {
                    for (i, name) in names.iter().enumerate() {
                        if let Some(name) = name {
                            set(name, found.get(i).map_or("", |m| m.as_str()));
                        }
                    }
                }
            }
            Step::Pattern(pattern) => pattern.captures(line, |name, value| set(name, value)),
            _ => {}
        }
    }
}

fn drop_label(named: &Named, labels: &mut Labels) {
    let (name, matches) = match named {
        Named::Name(name) => (name, true),
        Named::Matcher(m) => (&m.name, m.matches(labels.value(&m.name))),
    };
    match name.as_str() {
        _ if !matches => {}
        ERROR => labels.reset_error(),
        labels::ERROR_DETAILS => labels.reset_details(),
        name if labels.get(name).is_some() => labels.delete(name),
        _ => {}
    }
}

fn keep_labels(names: &[Named], labels: &mut Labels) {
    let mut gone = Vec::new();
    labels.each(|_, name, value| {
        let kept = names.iter().any(|n| match n {
            Named::Name(n) => **n == **name,
            // A matcher keeps the label without a name as well, in Loki.
            Named::Matcher(m) => name.is_empty() || (*m.name == **name && m.matches(value)),
        });
        if !kept && &**name != PRESERVE_ERROR {
            gone.push(name.clone());
        }
    });
    gone.iter().for_each(|name| labels.delete(name));
}

//! Which labels a query uses: parsers extract no others.

use std::sync::Arc;

use super::labels::{ERROR, Labels};
use crate::ast::{Grouping, LabelFilter, LabelFormat, NamedMatcher, Stage, Unwrap};

/// What the parsers of a pipeline need to find.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hints {
    /// `None`: every label.
    required: Option<Vec<Arc<str>>>,
    /// No label at all: parsers need not run.
    pub(crate) nothing: bool,
    /// Somebody asks for `__error__`: it may be a label of a result.
    pub(crate) preserve_error: bool,
}

impl Hints {
    /// What a metric query of these stages needs, whose series are named by `grouping` (`None`: by all labels).
    pub(crate) fn metric(stages: &[Stage], unwrap: Option<&Unwrap>, grouping: Option<&Grouping>) -> Self {
        let mut names = Vec::new();
        stages.iter().for_each(|stage| stage_names(stage, &mut names));
        if let Some(unwrap) = unwrap {
            unwrap.filters.iter().for_each(|filter| filter_names(filter, &mut names));
            names.push(unwrap.label.clone());
        }
        let preserve_error = names.iter().any(|n| n == ERROR);
        let Some(grouping) = grouping.filter(|g| !g.without) else { return Self { preserve_error, ..Self::default() } };
        names.extend(grouping.labels.iter().cloned());
        // A filter may name the label that a parser finds under a name that is taken.
        let bare: Vec<String> = names.iter().filter_map(|n| n.strip_suffix("_extracted").map(str::to_owned)).collect();
        names.extend(bare);
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            return Self { nothing: true, ..Self::default() };
        }
        let preserve_error = names.iter().any(|n| n == ERROR);
        Self { required: Some(names.into_iter().map(Arc::from).collect()), nothing: false, preserve_error }
    }

    /// The labels that are needed; `None` where all of them are.
    pub(crate) fn required(&self) -> Option<&[Arc<str>]> {
        self.required.as_deref()
    }

    /// Whether a parser has to find this label.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.required.as_ref().is_none_or(|names| names.iter().any(|n| &**n == name))
    }

    /// Whether a label may begin so.
    pub(crate) fn wants_prefix(&self, prefix: &str) -> bool {
        self.required.as_ref().is_none_or(|names| names.iter().any(|n| n.starts_with(prefix)))
    }

    /// Whether a parser has found all that is needed.
    pub(crate) fn satisfied(&self, labels: &Labels) -> bool {
        self.required.as_ref().is_some_and(|names| names.iter().all(|n| labels.is_added(n)))
    }
}

fn stage_names(stage: &Stage, out: &mut Vec<String>) {
    match stage {
        Stage::LabelFilter(filter) => filter_names(filter, out),
        Stage::LineFormat(text) => out.extend(template_names(text)),
        Stage::LabelFormat(formats) => {
            for format in formats {
                match format {
                    LabelFormat::Rename { from, .. } => out.push(from.clone()),
                    LabelFormat::Template { template, .. } => out.extend(template_names(template)),
                }
            }
        }
        Stage::JsonPaths(pairs) | Stage::LogfmtKeys(_, pairs) => out.extend(pairs.iter().map(|(name, _)| name.clone())),
        Stage::Drop(names) | Stage::Keep(names) => {
            out.extend(names.iter().filter_map(|n| match n {
                NamedMatcher::Matcher(m) => Some(m.name.clone()),
                NamedMatcher::Name(_) => None,
            }));
        }
        Stage::LineFilters(_)
        | Stage::Json
        | Stage::Logfmt(_)
        | Stage::Regexp(_)
        | Stage::Pattern(_)
        | Stage::Unpack
        | Stage::Decolorize => {}
    }
}

/// The labels that a template reads.
fn template_names(text: &str) -> Vec<String> {
    let template = super::format::parse("line", text);
    let fields = template.as_ref().ok().and_then(|t| t.fields());
    fields.unwrap_or_default().into_iter().map(str::to_owned).collect()
}

fn filter_names(filter: &LabelFilter, out: &mut Vec<String>) {
    match filter {
        LabelFilter::Matcher(m) => out.push(m.name.clone()),
        LabelFilter::Number(name, ..)
        | LabelFilter::Duration(name, ..)
        | LabelFilter::Bytes(name, ..)
        | LabelFilter::Ip(name, ..) => {
            out.push(name.clone());
        }
        LabelFilter::And(left, right) | LabelFilter::Or(left, right) => {
            filter_names(left, out);
            filter_names(right, out);
        }
    }
}

//! `_created` lines of OpenMetrics: when the other series of their group began.

use std::collections::HashMap;

use super::openmetrics::Page;
use super::series::Pair;
use crate::MetricKind;

const CREATED: &str = "_created";

/// The start timestamps of one family.
#[derive(Debug, Default)]
pub(super) struct Created {
    /// By the labels of the group, as [`group`] writes them.
    starts: HashMap<Vec<u8>, i64>,
}

impl Created {
    /// Looks through the family that begins after the metadata line just read. Only families that count have any.
    pub(super) fn of_family(page: &Page<'_, '_>) -> Self {
        let mut found = Self::default();
        if !counts(page.kind) {
            return found;
        }
        let (bytes, begin) = (page.lexer.bytes, page.lexer.at);
        let rest = bytes.get(begin..).unwrap_or_default();
        if rest.starts_with(b"#") {
            // More metadata of the family; the last line of it looks.
            return found;
        }
        let end = memchr::memmem::find(rest, b"\n# ").map_or(rest.len(), |at| at + 1);
        let family = rest.get(..end).unwrap_or_default();
        if memchr::memmem::find(family, CREATED.as_bytes()).is_none() {
            return found;
        }
        let mut line = begin;
        for text in family.split_inclusive(|b| *b == b'\n') {
            if memchr::memmem::find(text, CREATED.as_bytes()).is_some() {
                let mut page = page.beside(line);
                if let Ok(seconds) = page.value()
                    && name(&page.labels).is_some_and(|n| n.ends_with(CREATED))
                    && seconds.is_finite()
                {
                    found.starts.insert(group(&page.labels, page.kind), (seconds * 1000.0) as i64);
                }
            }
            line += text.len();
        }
        found
    }

    pub(super) fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The start of the group that `labels` belong to, milliseconds since the Unix epoch; 0 for none.
    pub(super) fn start(&self, labels: &[Pair<'_>], kind: MetricKind) -> i64 {
        if self.is_empty() {
            return 0;
        }
        self.starts.get(&group(labels, kind)).copied().unwrap_or(0)
    }

    /// Whether this is a line that only says when the others began.
    pub(super) fn is_created(&self, labels: &[Pair<'_>]) -> bool {
        !self.is_empty() && name(labels).is_some_and(|n| n.ends_with(CREATED))
    }
}

fn counts(kind: MetricKind) -> bool {
    matches!(kind, MetricKind::Counter | MetricKind::Histogram | MetricKind::Summary)
}

fn name<'l>(labels: &'l [Pair<'_>]) -> Option<&'l str> {
    labels.iter().find(|(n, _)| n == "__name__").map(|(_, v)| &**v)
}

/// The family's name and the labels without the bound or the quantile, as bytes.
fn group(labels: &[Pair<'_>], kind: MetricKind) -> Vec<u8> {
    let mut key = Vec::with_capacity(64);
    for (label, value) in labels {
        let value = match (kind, &**label) {
            (_, "__name__") => {
                let suffixes = [CREATED, "_total", "_bucket", "_count", "_sum"];
                suffixes.iter().find_map(|s| value.strip_suffix(s)).unwrap_or(value)
            }
            (MetricKind::Histogram, "le") | (MetricKind::Summary, "quantile") => continue,
            _ => value,
        };
        // 0xff occurs in no UTF-8.
        for part in [label, value] {
            key.extend_from_slice(part.as_bytes());
            key.push(0xff);
        }
    }
    key
}

//! The fields that lines have besides their stream's labels: structured metadata, and what `json` or `logfmt` would find.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::BuildHasher;

use crate::lines::Line;
use crate::pipeline::{json_leaves, logfmt_pairs, sanitize};
use crate::units::{go_duration, parse_bytes, parse_float};

/// What a field's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// Anything else, or several of the others.
    String,
    /// Integers.
    Int,
    /// Numbers.
    Float,
    /// `true` and `false`.
    Boolean,
    /// `1h30m`.
    Duration,
    /// `5MB`.
    Bytes,
}

impl FieldType {
    /// As Loki writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Int => "int",
            Self::Float => "float",
            Self::Boolean => "boolean",
            Self::Duration => "duration",
            Self::Bytes => "bytes",
        }
    }

    fn of(value: &str) -> Self {
        if value.parse::<i64>().is_ok() {
            Self::Int
        } else if parse_float(value).is_ok() {
            Self::Float
        } else if matches!(value, "t" | "T" | "true" | "TRUE" | "True" | "f" | "F" | "false" | "FALSE" | "False") {
            Self::Boolean
        } else if go_duration(value).is_ok() {
            Self::Duration
        } else if parse_bytes(value).is_ok() {
            Self::Bytes
        } else {
            Self::String
        }
    }

    /// What values of both are.
    fn with(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::Int, Self::Float) | (Self::Float, Self::Int) => Self::Float,
            _ => Self::String,
        }
    }
}

/// A field of some lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetectedField {
    /// Its name as a label's.
    pub label: String,
    /// What its values are.
    pub kind: FieldType,
    /// How many different ones there are.
    pub cardinality: usize,
    /// The parsers that find it; none for structured metadata.
    pub parsers: Vec<&'static str>,
    /// The keys that lead to it in a JSON line.
    pub json_path: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
enum From<'l> {
    Metadata,
    /// The query's own parsers, in a line that this one reads.
    Query(Option<&'static str>),
    Json(&'l [String]),
    Logfmt,
}

/// Calls `each` for every field of a line.
fn each_field(line: &Line, each: &mut dyn FnMut(&str, &str, From<'_>)) {
    for (name, value) in line.metadata.iter() {
        each(name, value, From::Metadata);
    }
    let free = |name: &str| match line.stream.get(name) {
        Some(_) => format!("{name}_extracted"),
        None => name.to_owned(),
    };
    let mut seen: HashSet<String> = HashSet::new();
    let mut found: Vec<(String, std::sync::Arc<str>, Vec<String>)> = Vec::new();
    let is_json = json_leaves(&line.text, &mut |leaf| {
        let name = free(leaf.label);
        if !leaf.label.is_empty() && seen.insert(name.clone()) {
            found.push((name, leaf.value, leaf.path.to_vec()));
        }
    });
    let reads = match is_json {
        true => {
            found.iter().for_each(|(name, value, path)| each(name, value, From::Json(path)));
            Some("json")
        }
        false => {
            seen.clear();
            let mut any = false;
            logfmt_pairs(&line.text, &mut |key, value| {
                let name = free(&sanitize(key));
                if !name.is_empty() && seen.insert(name.clone()) {
                    any = true;
                    each(&name, &value, From::Logfmt);
                }
            });
            any.then_some("logfmt")
        }
    };
    for (name, value) in line.parsed.iter().filter(|(name, _)| !name.starts_with("__") && !seen.contains(*name)) {
        each(name, value, From::Query(reads));
    }
}

struct Known {
    kind: FieldType,
    values: HashSet<u64>,
    parsers: Vec<&'static str>,
    path: Vec<String>,
}

/// The first `limit` fields of the lines, sorted by name. Cardinalities are of these lines.
#[must_use]
pub fn detected_fields(lines: &[Line], limit: usize) -> Vec<DetectedField> {
    let hasher = RandomState::new();
    let mut fields: BTreeMap<String, Known> = BTreeMap::new();
    for line in lines {
        each_field(line, &mut |name, value, from| {
            let kind = FieldType::of(value);
            if !fields.contains_key(name) {
                if fields.len() >= limit {
                    return;
                }
                let new = Known { kind, values: HashSet::new(), parsers: Vec::new(), path: Vec::new() };
                fields.insert(name.to_owned(), new);
            }
            let Some(known) = fields.get_mut(name) else { return };
            known.kind = known.kind.with(kind);
            known.values.insert(hasher.hash_one(value));
            let parser = match from {
                From::Metadata => None,
                From::Query(reads) => reads,
                From::Logfmt => Some("logfmt"),
                From::Json(path) => {
                    if known.path.is_empty() {
                        known.path = path.to_vec();
                    }
                    Some("json")
                }
            };
            known.parsers.extend(parser.filter(|p| !known.parsers.contains(p)));
        });
    }
    let field = |(label, known): (String, Known)| DetectedField {
        label,
        kind: known.kind,
        cardinality: known.values.len(),
        parsers: known.parsers,
        json_path: known.path,
    };
    fields.into_iter().map(field).collect()
}

/// The first `limit` values of one field of the lines, sorted.
#[must_use]
pub fn field_values(lines: &[Line], label: &str, limit: usize) -> Vec<String> {
    let mut values = BTreeSet::new();
    for line in lines {
        each_field(line, &mut |name, value, _| {
            if name == label && values.len() < limit && !values.contains(value) {
                values.insert(value.to_owned());
            }
        });
    }
    values.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::LabelSet;

    fn line(text: &str) -> Line {
        Line {
            time: 0,
            text: text.to_owned(),
            stream: Arc::new(LabelSet::from_pairs([("app", "a")])),
            metadata: LabelSet::from_pairs([("trace_id", "x")]),
            parsed: LabelSet::default(),
        }
    }

    #[test]
    fn fields_have_names_types_parsers_and_paths() {
        let lines = [
            line(r#"{"status":200,"took":"1.5s","app":"b","a":{"b c":true},"size":"5MB","list":[1]}"#),
            line(r#"{"status":2.5}"#),
            line("status=ok rate=5"),
            line("nothing here"),
        ];
        let found = detected_fields(&lines, 100);
        let shown: Vec<String> = found
            .iter()
            .map(|f| format!("{} {} {} {:?} {:?}", f.label, f.kind.as_str(), f.cardinality, f.parsers, f.json_path))
            .collect();
        assert_eq!(
            shown,
            [
                r#"a_b_c boolean 1 ["json"] ["a", "b c"]"#,
                r#"app_extracted string 1 ["json"] ["app"]"#,
                r#"rate int 1 ["logfmt"] []"#,
                r#"size bytes 1 ["json"] ["size"]"#,
                r#"status string 3 ["json", "logfmt"] ["status"]"#,
                r#"took duration 1 ["json"] ["took"]"#,
                r#"trace_id string 1 [] []"#,
            ]
        );
        assert_eq!(detected_fields(&lines, 2).len(), 2);
        assert_eq!(field_values(&lines, "status", 2), ["2.5", "200"]);
    }
}

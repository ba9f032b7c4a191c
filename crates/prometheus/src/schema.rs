//! Which keys a section may have and what their values are: tables, and the walk that holds a tree against them.

use crate::error::{Flaw, unknown_key};
use crate::relabel::Action;
use crate::value;
use crate::yaml::{Node, Value};

/// A key.
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
}

/// Keys; a section may share some with others.
pub(crate) type Fields = &'static [Field];

/// What a value must be. Null stands for "not written" everywhere but in a list of sections.
pub(crate) enum Kind {
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    Bool,
    Int,
    Uint,
    Float,
    Duration,
    Size,
    Url,
    List(&'static Kind),
    /// Keys that the user chooses.
    Map(&'static Kind),
    Section(&'static [Fields]),
}

/// A key of a table.
pub(crate) const fn key(name: &'static str, kind: Kind) -> Field {
    Field { name, kind }
}

/// A list of texts.
pub(crate) const TEXTS: Kind = Kind::List(&Kind::Text);

/// Relabelling rules.
pub(crate) const RULES: Kind = Kind::List(&Kind::Section(&[&[
    key("source_labels", TEXTS),
    key("separator", Kind::Text),
    key("regex", Kind::Text),
    key("modulus", Kind::Uint),
    key("target_label", Kind::Text),
    key("replacement", Kind::Text),
    key("action", Kind::Text),
]]));

/// Holds a value against what it must be.
pub(crate) fn check(node: &Node, kind: &Kind) -> Result<(), Flaw> {
    if node.is_null() {
        return Ok(());
    }
    match kind {
        Kind::List(inner) => {
            let Value::List(list) = &node.value else { return Err(mismatch(node, "a list")) };
            for item in list {
                if item.is_null() && matches!(inner, Kind::Section(_)) {
                    return Err(item.flaw("empty or null section"));
                }
                check(item, inner)?;
            }
            Ok(())
        }
        Kind::Map(inner) => {
            let Value::Map(pairs) = &node.value else { return Err(mismatch(node, "a map")) };
            pairs.iter().try_for_each(|(_, value)| check(value, inner))
        }
        Kind::Section(tables) => section(node, tables),
        scalar => {
            let Value::Scalar { text, plain } = &node.value else { return Err(mismatch(node, "a single value")) };
            scalar_is(text, *plain, scalar).map_err(|what| node.flaw(what))
        }
    }
}

fn section(node: &Node, tables: &[Fields]) -> Result<(), Flaw> {
    let Value::Map(pairs) = &node.value else { return Err(mismatch(node, "a section with keys")) };
    for (name, value) in pairs {
        let text = name.text().unwrap_or_default();
        match tables.iter().flat_map(|t| t.iter()).find(|f| f.name == text) {
            Some(field) => check(value, &field.kind)?,
            None => {
                let known: Vec<&str> = tables.iter().flat_map(|t| t.iter()).map(|f| f.name).collect();
                return Err(name.flaw(unknown_key(text, &known)));
            }
        }
    }
    Ok(())
}

fn mismatch(node: &Node, wanted: &str) -> Flaw {
    let found = match &node.value {
        Value::Null => "null",
        Value::Scalar { .. } => "a single value",
        Value::List(_) => "a list",
        Value::Map(_) => "a section with keys",
    };
    node.flaw(format!("expected {wanted}, found {found}"))
}

fn scalar_is(text: &str, plain: bool, kind: &Kind) -> Result<(), String> {
    let is = |good: bool, what: &str| if good { Ok(()) } else { Err(format!("{text:?} is no {what}")) };
    match kind {
        Kind::Word(words) => match words.contains(&text) {
            true => Ok(()),
            false => Err(format!("{text:?} is none of {}", words.join(", "))),
        },
        Kind::Bool => is(plain && boolean(text).is_some(), "boolean"),
        Kind::Int => is(plain && integer(text).is_some(), "whole number"),
        Kind::Uint => is(plain && integer(text).is_some_and(|n| n >= 0), "whole number that is not negative"),
        Kind::Float => is(plain && text.replace('_', "").parse::<f64>().is_ok(), "number"),
        Kind::Duration => value::duration(text).map(drop),
        Kind::Size => value::size(text).map(drop),
        Kind::Url => value::url(text).map(drop),
        _ => Ok(()),
    }
}

/// YAML 1.1's booleans.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "y" | "yes" | "on" | "true" => Some(true),
        "n" | "no" | "off" | "false" => Some(false),
        _ => None,
    }
}

/// A whole number, with Go's prefixes of bases (`0x10`, `010`); Go takes one that is written as a float as well.
pub(crate) fn integer(text: &str) -> Option<i64> {
    let text = text.replace('_', "").to_ascii_lowercase();
    let float = || text.parse::<f64>().ok().filter(|n| n.fract() == 0.0 && n.abs() < 9.2e18).map(|n| n as i64);
    let bases = [("0x", 16), ("0b", 2), ("0o", 8), ("0", 8)];
    let digits = text.strip_prefix(['+', '-']).unwrap_or(&text);
    let based = bases.iter().find_map(|(prefix, base)| {
        Some((digits.strip_prefix(prefix).filter(|d| d.starts_with(|c: char| c.is_ascii_alphanumeric()))?, *base))
    });
    let number = match based {
        Some((digits, base)) => i64::from_str_radix(digits, base).ok().map(|n| if text.starts_with('-') { -n } else { n }),
        None => text.parse().ok(),
    };
    number.or_else(float)
}

impl Node {
    /// A boolean of a key that [`check`] has seen.
    pub(crate) fn bool_of(&self, name: &str) -> Option<bool> {
        self.get(name).and_then(Self::text).and_then(boolean)
    }

    /// A whole number of a key that [`check`] has seen; 0 where it is not written.
    pub(crate) fn uint_of(&self, name: &str) -> u64 {
        let number = self.get(name).and_then(Self::text).and_then(integer);
        number.and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
    }

    /// A duration of a key that [`check`] has seen.
    pub(crate) fn duration_of(&self, name: &str) -> Option<std::time::Duration> {
        self.get(name).and_then(Self::text).and_then(|t| value::duration(t).ok())
    }

    /// A size of a key that [`check`] has seen; 0 where it is not written.
    pub(crate) fn size_of(&self, name: &str) -> u64 {
        self.get(name).and_then(Self::text).and_then(|t| value::size(t).ok()).unwrap_or(0)
    }

    /// The keys and texts of a map.
    pub(crate) fn map_of(&self, name: &str) -> Vec<(String, String)> {
        let pairs = self.get(name).map_or(&[][..], Self::pairs);
        pairs.iter().map(|(k, v)| (k.text().unwrap_or_default().to_owned(), v.text().unwrap_or_default().to_owned())).collect()
    }

    /// What is wrong, unless it is so.
    pub(crate) fn must(&self, so: bool, what: impl Into<String>) -> Result<(), Flaw> {
        if so { Ok(()) } else { Err(self.flaw(what)) }
    }

    /// Whether any of the keys has a value that is not empty.
    pub(crate) fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|n| self.get(n).is_some_and(|v| v.text() != Some("")))
    }
}

/// The rules of a list that [`check`] has seen.
pub(crate) fn rules(list: &[Node], scheme: crate::NameScheme) -> Result<Vec<crate::relabel::Rule>, Flaw> {
    list.iter()
        .map(|node| {
            let text = |name: &str| node.entry(name).map(|n| n.text().unwrap_or_default().to_owned());
            let action = match node.get("action") {
                None => Action::default(),
                Some(word) => Action::parse(word.text().unwrap_or_default()).map_err(|e| word.flaw(e))?,
            };
            let sources = node.get("source_labels").map(|_| node.texts_of("source_labels"));
            if sources.iter().flatten().any(String::is_empty) {
                return Err(node.flaw("\"\" is not a valid label name"));
            }
            let rule = crate::relabel::RuleText {
                source_labels: sources,
                separator: text("separator"),
                regex: text("regex"),
                modulus: node.uint_of("modulus"),
                target_label: text("target_label").unwrap_or_default(),
                replacement: text("replacement"),
                action,
            };
            crate::relabel::Rule::new(rule, scheme).map_err(|e| node.flaw(e))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_go() {
        for (text, number) in [
            ("10", Some(10)),
            ("-1_000", Some(-1000)),
            ("0x1F", Some(31)),
            ("010", Some(8)),
            ("09", Some(9)),
            ("0", Some(0)),
            ("-0b11", Some(-3)),
            ("1e3", Some(1000)),
            ("1.5", None),
            ("0x", None),
            ("many", None),
            ("--010", None),
            ("0x+1", None),
        ] {
            assert_eq!(integer(text), number, "{text}");
        }
    }
}

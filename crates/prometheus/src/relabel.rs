//! Relabelling, after Prometheus' `model/relabel`: rules that keep, drop, rename and rewrite the labels of targets,
//! samples, alerts, and of what is written to elsewhere.

use std::fmt;

use md5::{Digest, Md5};
use regex::{Captures, Regex};

use crate::names::NameScheme;

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Action {
    /// Sets the target label to the replacement where the regex matches.
    #[default]
    Replace,
    /// Drops what the regex does not match.
    Keep,
    /// Drops what the regex matches.
    Drop,
    /// Drops where source and target label differ.
    KeepEqual,
    /// Drops where source and target label are equal.
    DropEqual,
    /// Sets the target label to a hash modulo a number.
    HashMod,
    /// Copies labels whose names the regex matches.
    LabelMap,
    /// Removes labels whose names the regex matches.
    LabelDrop,
    /// Removes labels whose names the regex does not match.
    LabelKeep,
    /// Sets the target label to the source in lower case.
    Lowercase,
    /// Sets the target label to the source in upper case.
    Uppercase,
}

impl Action {
    /// All of them with their words in configurations.
    pub const ALL: [(&'static str, Self); 11] = [
        ("replace", Self::Replace),
        ("keep", Self::Keep),
        ("drop", Self::Drop),
        ("keepequal", Self::KeepEqual),
        ("dropequal", Self::DropEqual),
        ("hashmod", Self::HashMod),
        ("labelmap", Self::LabelMap),
        ("labeldrop", Self::LabelDrop),
        ("labelkeep", Self::LabelKeep),
        ("lowercase", Self::Lowercase),
        ("uppercase", Self::Uppercase),
    ];

    /// The action with a word, in any case.
    ///
    /// # Errors
    /// Prometheus' words for one that there is not.
    pub fn parse(word: &str) -> Result<Self, String> {
        let lower = word.to_lowercase();
        let found = Self::ALL.iter().find(|(name, _)| *name == lower);
        found.map(|(_, action)| *action).ok_or_else(|| format!("unknown relabel action {word:?}"))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(_, action)| action == self).map_or("", |(name, _)| name))
    }
}

/// A rule as a configuration writes it; what it does not write is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuleText {
    /// `source_labels`
    pub source_labels: Option<Vec<String>>,
    /// `separator`
    pub separator: Option<String>,
    /// `regex`
    pub regex: Option<String>,
    /// `modulus`
    pub modulus: u64,
    /// `target_label`
    pub target_label: String,
    /// `replacement`
    pub replacement: Option<String>,
    /// `action`
    pub action: Action,
}

/// A rule that can be applied.
#[derive(Debug, Clone)]
pub struct Rule {
    text: RuleText,
    scheme: NameScheme,
    /// Anchored; a dot matches line breaks too.
    regex: Regex,
    separator: String,
    replacement: Template,
    target: Template,
    /// The regex is `(.*)`: it matches whatever there is.
    any: bool,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.scheme == other.scheme
    }
}

const REGEX: &str = "(.*)";
const SEPARATOR: &str = ";";
const REPLACEMENT: &str = "$1";

impl Rule {
    /// The rule that `text` stands for, where names may be as `scheme` says.
    ///
    /// # Errors
    /// Prometheus' words for what cannot be.
    pub fn new(text: RuleText, scheme: NameScheme) -> Result<Self, String> {
        validate(&text, scheme)?;
        let written = text.regex.as_deref().unwrap_or(REGEX);
        let regex = syntax::go_regexp(written).and_then(|translated| {
            let regex = Regex::new(&format!("^(?s:{translated})$"));
            regex.map_err(|e| syntax::go_regexp_error(written, &e.to_string()))
        })?;
        let replacement = Template::new(text.replacement.as_deref().unwrap_or(REPLACEMENT));
        Ok(Self {
            regex,
            separator: text.separator.clone().unwrap_or_else(|| SEPARATOR.to_owned()),
            replacement,
            target: Template::new(&text.target_label),
            any: written == REGEX,
            scheme,
            text,
        })
    }

    /// As the configuration writes it.
    #[must_use]
    pub fn text(&self) -> &RuleText {
        &self.text
    }

    /// Applies it; false where the labels are to be dropped as a whole.
    fn apply(&self, labels: &mut LabelBuilder) -> bool {
        let mut value = String::new();
        for (i, name) in self.text.source_labels.iter().flatten().enumerate() {
            if i > 0 {
                value.push_str(&self.separator);
            }
            value.push_str(labels.get(name));
        }
        let target = &self.text.target_label;
        match self.text.action {
            Action::Drop => return !self.regex.is_match(&value),
            Action::Keep => return self.regex.is_match(&value),
            Action::DropEqual => return labels.get(target) != value,
            Action::KeepEqual => return labels.get(target) == value,
            Action::Replace => self.replace(&value, labels),
            Action::Lowercase => labels.set(target, &value.chars().map(syntax::go_lower).collect::<String>()),
            Action::Uppercase => labels.set(target, &value.chars().map(syntax::go_upper).collect::<String>()),
            Action::HashMod => {
                // The last 8 bytes, as ever since the first version.
                let hash = Md5::digest(value.as_bytes());
                let last = hash[8..].iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
                labels.set(target, &(last % self.text.modulus.max(1)).to_string());
            }
            Action::LabelMap => {
                for (name, value) in labels.pairs() {
                    if let Some(found) = self.regex.captures(&name) {
                        labels.set(&self.replacement.expand(&found), &value);
                    }
                }
            }
            Action::LabelDrop => labels.retain(|name| !self.regex.is_match(name)),
            Action::LabelKeep => labels.retain(|name| self.regex.is_match(name)),
        }
        true
    }

    fn replace(&self, value: &str, labels: &mut LabelBuilder) {
        if self.any && value.is_empty() && self.target.is_plain() && self.replacement.is_plain() {
            return labels.set(&self.text.target_label, self.text.replacement.as_deref().unwrap_or(REPLACEMENT));
        }
        let Some(found) = self.regex.captures(value) else { return };
        let target = self.target.expand(&found);
        if self.scheme.is_label(&target) {
            labels.set(&target, &self.replacement.expand(&found));
        }
    }
}

/// Applies rules in order; false where the labels are to be dropped as a whole.
#[must_use]
pub fn process(rules: &[Rule], labels: &mut LabelBuilder) -> bool {
    rules.iter().all(|rule| rule.apply(labels))
}

/// Prometheus' `Config.Validate`.
fn validate(rule: &RuleText, scheme: NameScheme) -> Result<(), String> {
    use Action::{DropEqual, HashMod, KeepEqual, LabelDrop, LabelKeep, LabelMap, Lowercase, Replace, Uppercase};
    let (action, target) = (rule.action, rule.target_label.as_str());
    let replacement = rule.replacement.as_deref().unwrap_or(REPLACEMENT);
    let is_default_separator = rule.separator.as_deref().unwrap_or(SEPARATOR) == SEPARATOR;
    if action == HashMod && rule.modulus == 0 {
        return Err("relabel configuration for hashmod requires non-zero modulus".to_owned());
    }
    if matches!(action, Replace | HashMod | Lowercase | Uppercase | KeepEqual | DropEqual) && target.is_empty() {
        return Err(format!("relabel configuration for {action} action requires 'target_label' value"));
    }
    let target_is_valid = match action {
        Replace if target.contains('$') => scheme.is_label_template(target),
        Replace | Lowercase | Uppercase | KeepEqual | DropEqual | HashMod => scheme.is_label(target),
        _ => true,
    };
    if !target_is_valid {
        return Err(format!("{target:?} is invalid 'target_label' for {action} action"));
    }
    if matches!(action, Lowercase | Uppercase | KeepEqual | DropEqual) && replacement != REPLACEMENT {
        return Err(format!("'replacement' can not be set for {action} action"));
    }
    if action == LabelMap && !scheme.is_label_template(replacement) {
        return Err(format!("{replacement:?} is invalid 'replacement' for {action} action"));
    }
    // A regex that is written counts, even where it is the default one.
    if matches!(action, DropEqual | KeepEqual) && (rule.regex.is_some() || rule.modulus != 0 || !is_default_separator) {
        return Err(format!("{action} action requires only 'source_labels' and `target_label`, and no other fields"));
    }
    let more = rule.source_labels.is_some()
        || !target.is_empty()
        || rule.modulus != 0
        || !is_default_separator
        || replacement != REPLACEMENT;
    if matches!(action, LabelDrop | LabelKeep) && more {
        return Err(format!("{action} action requires only 'regex', and no other fields"));
    }
    Ok(())
}

/// A text with `$1`, `${name}` and `$$`, as Go's `Regexp.Expand` reads it.
#[derive(Debug, Clone)]
struct Template(Vec<Piece>);

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Group(String),
}

impl Template {
    fn new(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            plain.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                plain.push('$');
                rest = after;
                continue;
            }
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let (name, after) = match rest.strip_prefix('{') {
                Some(inner) => match inner.split_once('}') {
                    Some((name, after)) if name.chars().all(is_word) => (name, after),
                    _ => ("", rest),
                },
                None => rest.split_at(rest.find(|c| !is_word(c)).unwrap_or(rest.len())),
            };
            if name.is_empty() {
                // What is no reference is text.
                plain.push('$');
                continue;
            }
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
            pieces.push(Piece::Group(name.to_owned()));
            rest = after;
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain));
        Self(pieces)
    }

    /// Whether it has no reference.
    fn is_plain(&self) -> bool {
        self.0.len() == 1
    }

    fn expand(&self, found: &Captures<'_>) -> String {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Group(name) => {
                    // `$01` is a name.
                    let group = match name.parse::<usize>() {
                        Ok(number) if name == "0" || !name.starts_with('0') => found.get(number),
                        _ => found.name(name),
                    };
                    out.push_str(group.map_or("", |m| m.as_str()));
                }
            }
        }
        out
    }
}

/// Labels that are being changed: unique names, an empty value means that there is no such label.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelBuilder(Vec<(String, String)>);

impl LabelBuilder {
    /// A builder that starts with `pairs`; of equal names the last one counts.
    pub fn new<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut labels = Self::default();
        labels.0.extend(pairs.into_iter().map(|(n, v)| (n.into(), v.into())));
        labels.0.reverse();
        let mut seen = std::collections::HashSet::new();
        labels.0.retain(|(n, v)| seen.insert(n.clone()) && !v.is_empty());
        labels.0.reverse();
        labels
    }

    /// The value of a label; empty where there is none.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }

    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) {
        match self.0.iter().position(|(n, _)| n == name) {
            Some(at) if value.is_empty() => {
                self.0.remove(at);
            }
            Some(at) => value.clone_into(&mut self.0[at].1),
            None if value.is_empty() => {}
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }

    /// Keeps the labels whose names `keep` accepts.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|(n, _)| keep(n));
    }

    /// The labels, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    fn pairs(&self) -> Vec<(String, String)> {
        self.0.clone()
    }

    /// The labels, sorted by name.
    #[must_use]
    pub fn into_sorted(mut self) -> Vec<(String, String)> {
        self.0.sort();
        self.0
    }
}

#[cfg(test)]
mod tests;

//! Finds business keys and trace ids in attributes and in the text of lines: JSON, logfmt, plain.

use std::borrow::Cow;

use hashbrown::HashMap;
use model::{Attr, TraceId, Value};

use crate::BusinessKey;
use crate::ends::Ends;
use crate::spelled::{Spelled, apart};

/// A longer value is no key.
pub const MAX_VALUE: usize = 256;
/// Only so much of a line is looked at.
const MAX_BODY: usize = 64 * 1024;
/// A name has at most so many bytes, with its quotes.
const LONGEST_NAME: usize = 64;
/// So many values are taken from one record.
const MAX_FOUND: usize = 16;
/// What stands for "none" in a value.
const NOTHING: [&str; 8] = ["-", "null", "none", "nil", "unknown", "undefined", "n/a", "na"];

/// Where a value was found: part of the evidence of a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoundIn {
    /// An attribute of the record (Loki: structured metadata).
    Attribute,
    /// An attribute of the resource, or a stream label.
    Resource,
    /// A member of a JSON line.
    Json,
    /// A pair of a logfmt line.
    Logfmt,
    /// Plain text.
    Text,
    /// A configured pattern.
    Pattern,
}

impl FoundIn {
    /// All of them.
    const ALL: [Self; 6] = [Self::Attribute, Self::Resource, Self::Json, Self::Logfmt, Self::Text, Self::Pattern];

    /// The word for it in an event.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attribute => "attribute",
            Self::Resource => "resource",
            Self::Json => "json",
            Self::Logfmt => "logfmt",
            Self::Text => "text",
            Self::Pattern => "pattern",
        }
    }

    /// The place that [`FoundIn::as_str`] names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.as_str() == word)
    }
}

/// A value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue<'a> {
    /// Which key, as a position in the settings.
    pub key: u8,
    /// Its value: 1 to [`MAX_VALUE`] bytes, no control characters.
    pub value: Cow<'a, str>,
    /// Where it was.
    pub found: FoundIn,
}

impl KeyValue<'_> {
    /// A copy that owns its value.
    #[must_use]
    pub fn into_owned(self) -> KeyValue<'static> {
        KeyValue { key: self.key, value: Cow::Owned(self.value.into_owned()), found: self.found }
    }
}

/// What was found in one record.
#[derive(Debug, Default)]
pub struct Found<'a> {
    /// Keys; each pair of key and value once.
    pub keys: Vec<KeyValue<'a>>,
    /// A trace id that stands in an attribute or in the line, where the record itself has none.
    pub trace: Option<TraceId>,
    /// Values that were left out because they are too long.
    pub oversized: u64,
}

impl<'a> Found<'a> {
    /// With what a resource has.
    #[must_use]
    pub fn beginning_with(keys: &'a [KeyValue<'static>]) -> Self {
        let lend = |k: &'a KeyValue<'static>| KeyValue { key: k.key, value: Cow::Borrowed(&*k.value), found: k.found };
        Self { keys: keys.iter().map(lend).collect(), ..Self::default() }
    }

    /// What a resource has, and then a record of it.
    #[must_use]
    pub fn of_sender(sender: &'a [KeyValue<'static>], own: Vec<KeyValue<'a>>) -> Self {
        if sender.is_empty() {
            return Self { keys: own, ..Self::default() };
        }
        let mut found = Self::beginning_with(sender);
        for key in own {
            if found.keys.len() < MAX_FOUND && !found.keys.iter().any(|k| k.key == key.key && k.value == key.value) {
                found.keys.push(key);
            }
        }
        found
    }

    fn add(&mut self, key: u8, value: Cow<'a, str>, found: FoundIn) {
        let value = match value {
            Cow::Borrowed(v) => Cow::Borrowed(v.trim()),
            owned => owned,
        };
        if value.len() > MAX_VALUE {
            self.oversized += 1;
            return;
        }
        let is_nothing = NOTHING.iter().any(|n| n.eq_ignore_ascii_case(&value));
        if value.is_empty() || is_nothing || value.contains(char::is_control) || self.keys.len() >= MAX_FOUND {
            return;
        }
        if !self.keys.iter().any(|k| k.key == key && k.value == value) {
            self.keys.push(KeyValue { key, value, found });
        }
    }
}

/// The number that stands for "a trace id" among the keys.
const TRACE: u8 = u8::MAX;

/// Knows the names of the keys in all their spellings.
#[derive(Debug)]
pub struct Finder {
    names: HashMap<Box<str>, u8, foldhash::fast::RandomState>,
    /// With which letters names of so many bytes begin, as bits: nearly every other name is told apart by that.
    begins: [u32; 64],
    /// Where they end.
    ends: Ends,
    /// As they are spelled in text: each case by itself, so that fewer words are taken for names.
    spelled: Spelled,
    patterns: Vec<(u8, regex::Regex)>,
}

/// `circuit_id` in its other spellings.
fn spellings(name: &str) -> Vec<String> {
    let words: Vec<&str> = name.split(['_', '-', '.', ' ']).filter(|w| !w.is_empty()).collect();
    let mut all: Vec<String> = ["_", "-", ".", " ", ""].iter().map(|s| words.join(s).to_ascii_lowercase()).collect();
    all.push(name.to_ascii_lowercase());
    all.sort();
    all.dedup();
    all
}

/// The spellings in lower case, capitals, with initials, and as `circuitId`.
fn cases(name: &str) -> Vec<String> {
    let initial = |word: &str| {
        let mut chars = word.chars();
        chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect::<String>())
    };
    let words: Vec<String> = name.split(['_', '-', '.', ' ']).filter(|w| !w.is_empty()).map(str::to_ascii_lowercase).collect();
    let capitals: Vec<String> = words.iter().map(|w| w.to_ascii_uppercase()).collect();
    let initials: Vec<String> = words.iter().map(|w| initial(w)).collect();
    // `Circuit-ID`, `circuitID`.
    let last = |of: &[String]| {
        of.iter()
            .enumerate()
            .map(|(i, w)| if i + 1 == words.len() && i > 0 { w.to_ascii_uppercase() } else { w.clone() })
            .collect()
    };
    let camel: Vec<String> =
        initials.iter().enumerate().map(|(i, w)| if i == 0 { words[0].clone() } else { w.clone() }).collect();
    let (initials_last, camel_last, lower_last): (Vec<String>, Vec<String>, Vec<String>) =
        (last(&initials), last(&camel), last(&words));
    let mut all = vec![name.to_owned()];
    for separator in ["_", "-", ".", " ", ""] {
        all.extend([&words, &capitals, &initials, &initials_last, &lower_last].map(|w| w.join(separator)));
    }
    all.extend([camel.concat(), camel_last.concat()]);
    all.sort();
    all.dedup();
    all
}

impl Finder {
    /// A finder of `keys`.
    ///
    /// # Errors
    /// When there are more than 32 keys, or one has no sound name.
    pub fn new(keys: &[BusinessKey]) -> Result<Self, String> {
        if keys.len() > 32 {
            return Err("there can be at most 32 business keys".to_owned());
        }
        let mut names = HashMap::default();
        let mut spelled = Spelled::default();
        let with_trace = keys.iter().enumerate().map(|(i, k)| (i as u8, k.name.as_str()));
        let with_trace = with_trace.chain([(TRACE, "trace_id"), (TRACE, "otel_trace_id")]);
        for (number, name) in with_trace {
            if !name.chars().any(char::is_alphanumeric) || name.len() > 60 {
                return Err(format!("{name:?} is no name of a business key"));
            }
            for spelling in spellings(name) {
                names.insert(spelling.into_boxed_str(), number);
            }
            cases(name).iter().for_each(|spelling| spelled.add(spelling, number));
        }
        let mut begins = [0; 64];
        for name in names.keys() {
            begins[name.len().min(63)] |= name.bytes().next().map_or(0, letter);
        }
        let ends = Ends::new(names.keys().map(|name| name.as_bytes()).chain(spelled.spellings()));
        let patterns = keys.iter().enumerate();
        let patterns = patterns.flat_map(|(i, k)| k.patterns.iter().map(move |p| (i as u8, p.clone()))).collect();
        Ok(Self { names, begins, ends, spelled, patterns })
    }

    /// Whether an attribute of this name may be a key, or a trace id.
    #[inline]
    #[must_use]
    pub fn knows(&self, name: &[u8]) -> bool {
        self.may_know(name) && std::str::from_utf8(name).is_ok_and(|name| self.named(name).is_some())
    }

    #[inline]
    fn may_know(&self, name: &[u8]) -> bool {
        name.first().is_some_and(|first| self.begins[name.len().min(63)] & letter(*first) != 0)
    }

    #[inline]
    fn named(&self, name: &str) -> Option<u8> {
        if !self.may_know(name.as_bytes()) {
            return None;
        }
        match self.names.get(name) {
            Some(key) => Some(*key),
            None if name.bytes().any(|b| b.is_ascii_uppercase()) => self.names.get(&*name.to_ascii_lowercase()).copied(),
            None => None,
        }
    }

    /// Adds the keys among `attributes`.
    pub fn attributes<'a>(&self, attributes: &'a [Attr<'a>], place: FoundIn, found: &mut Found<'a>) {
        for attribute in attributes {
            let Some(key) = self.named(attribute.key) else { continue };
            match &attribute.value {
                Value::Str(text) => self.take(key, Cow::Borrowed(text), place, found),
                Value::Int(i) => self.take(key, Cow::Owned(i.to_string()), place, found),
                Value::Bytes(b) if key == TRACE && b.len() == 16 => found.trace = TraceId::from_slice(b).ok(),
                _ => {}
            }
        }
    }

    /// Adds the keys among stream labels.
    pub fn labels<'a>(&self, labels: &'a [(&'a str, &'a str)], found: &mut Found<'a>) {
        for (name, value) in labels {
            if let Some(key) = self.named(name) {
                self.take(key, Cow::Borrowed(value), FoundIn::Resource, found);
            }
        }
    }

    fn take<'a>(&self, key: u8, value: Cow<'a, str>, place: FoundIn, found: &mut Found<'a>) {
        if key != TRACE {
            found.add(key, value, place);
        } else if found.trace.is_none() && value.len() == 32 {
            found.trace = value.parse().ok().filter(|id: &TraceId| !id.is_none());
        }
    }

    /// Adds the keys in a line. Of a line of JSON with a trace id only the members are looked at, not what their text says.
    pub fn text<'a>(&self, body: &'a str, found: &mut Found<'a>) {
        let body = &body[..body.floor_char_boundary(MAX_BODY)];
        let is_json = body.as_bytes().iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{');
        if is_json {
            self.members(body, found);
        }
        if !is_json || found.trace.is_none() {
            self.anywhere(body, is_json, found);
        }
        for (key, pattern) in &self.patterns {
            for hit in pattern.captures_iter(body).take(MAX_FOUND) {
                let value = hit.name("value").or_else(|| hit.get(1)).or_else(|| hit.get(0));
                found.add(*key, Cow::Borrowed(value.map_or("", |v| v.as_str())), FoundIn::Pattern);
            }
        }
    }

    /// The members of a line of JSON, also of JSON that stands in a text in it.
    fn members<'a>(&self, body: &'a str, found: &mut Found<'a>) {
        let bytes = body.as_bytes();
        self.ends.each(bytes, |end| {
            let behind = &bytes[end..];
            if !behind.starts_with(b"\":") && !behind.starts_with(b"\\\":") {
                return;
            }
            let from = end.saturating_sub(LONGEST_NAME);
            let Some(quote) = memchr::memrchr(b'"', &bytes[from..end]) else { return };
            let name = &bytes[from + quote + 1..end];
            if !self.may_know(name) {
                return;
            }
            // Between two ASCII characters: both are borders.
            let Some(key) = body.get(from + quote + 1..end).and_then(|name| self.named(name)) else { return };
            if key == TRACE && found.trace.is_none() {
                found.trace = whole_id(behind);
                if found.trace.is_some() {
                    return;
                }
            }
            if let Some((value, _)) = value_after(&body[end..]) {
                self.take(key, Cow::Borrowed(value), FoundIn::Json, found);
            }
        });
    }

    /// The names wherever they stand, and what follows them.
    fn anywhere<'a>(&self, body: &'a str, is_json: bool, found: &mut Found<'a>) {
        let bytes = body.as_bytes();
        let mut hits = Vec::new();
        self.ends.each(bytes, |end| self.spelled.ending_at(bytes, end, &mut hits));
        apart(&mut hits);
        for hit in hits {
            // What may follow a name is ASCII.
            let Some((value, separator)) = body.get(hit.end..).and_then(value_after) else { continue };
            let place = match separator {
                _ if is_json => FoundIn::Json,
                b'=' => FoundIn::Logfmt,
                _ => FoundIn::Text,
            };
            self.take(hit.key, Cow::Borrowed(value), place, found);
        }
    }
}

/// A bit for each letter, capital or not, and one for everything else.
#[inline]
fn letter(byte: u8) -> u32 {
    match byte | 0x20 {
        lower @ b'a'..=b'z' => 1 << (lower - b'a'),
        _ => 1 << 31,
    }
}

/// The trace id in what follows its name, where it is written in the way in which nearly all are: what [`value_after`] would find, but
/// that nothing has to be searched for.
#[inline]
fn whole_id(rest: &[u8]) -> Option<TraceId> {
    let rest = rest.strip_prefix(b"\":\"")?;
    let (digits, b'"') = (rest.get(..32)?, rest.get(32)?) else { return None };
    let id: TraceId = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (!id.is_none()).then_some(id)
}

/// The value that follows a key's name, and what stands between them (` ` for blanks only).
fn value_after(rest: &str) -> Option<(&str, u8)> {
    let bytes = rest.as_bytes();
    let mut at = 0;
    // The name's own closing quote, escaped where JSON stands in a string.
    if bytes.first() == Some(&b'\\') {
        at += 1;
    }
    if matches!(bytes.get(at), Some(b'"' | b'\'')) {
        at += 1;
    }
    let skip_blanks = |mut at: usize| {
        let most = at + 8;
        while at < most && matches!(bytes.get(at), Some(b' ' | b'\t')) {
            at += 1;
        }
        at
    };
    let after_name = at;
    at = skip_blanks(at);
    let blanks = at > after_name;
    let mut separator = b' ';
    match bytes.get(at) {
        Some(b @ (b':' | b'=' | b'#')) => {
            separator = *b;
            at = skip_blanks(at + 1 + usize::from(bytes.get(at + 1) == Some(&b'>')));
        }
        // How OTLP/JSON writes a pair: `"key":"circuit_id","value":{"stringValue":"…"}`.
        Some(b',') if rest[at..].starts_with(",\"value\":{\"") => {
            at += rest[at + 11..].find(':')? + 12;
            separator = b':';
        }
        _ if blanks => {}
        _ => return None,
    }
    if bytes.get(at) == Some(&b'\\') && bytes.get(at + 1) == Some(&b'"') {
        at += 1;
    }
    let value = match bytes.get(at) {
        Some(quote @ (b'"' | b'\'')) => {
            let text = rest.get(at + 1..)?;
            let end = memchr::memchr3(*quote, b'\\', b'\n', text.as_bytes())?;
            &text[..end]
        }
        _ => {
            let text = rest.get(at..)?;
            let end = text.bytes().position(|b| !(b.is_ascii_alphanumeric() || b"._:/@-+".contains(&b) || b >= 0x80));
            text[..end.unwrap_or(text.len())].trim_end_matches(['.', ':', '-', '/'])
        }
    };
    // Words that merely follow the name ("circuit id missing") are no values.
    let sound = value.bytes().any(|b| b.is_ascii_alphanumeric() || b >= 0x80);
    (sound && (separator != b' ' || value.bytes().any(|b| b.is_ascii_digit()))).then_some((value, separator))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Settings;

    fn finder() -> Finder {
        Finder::new(&Settings::default().keys).expect("sound")
    }

    fn in_text(text: &str) -> Vec<(u8, String, FoundIn)> {
        let mut found = Found::default();
        finder().text(text, &mut found);
        found.keys.into_iter().map(|k| (k.key, k.value.into(), k.found)).collect()
    }

    #[test]
    fn keys_are_found_in_json_logfmt_and_plain_text() {
        let cases = [
            (r#"{"msg":"down","circuit_id":"C-1","n":1}"#, vec![(0, "C-1", FoundIn::Json)]),
            (r#"{"circuitId" : 17}"#, vec![(0, "17", FoundIn::Json)]),
            (r#"{"log":"{\"circuit_id\":\"C-9\"}"}"#, vec![(0, "C-9", FoundIn::Json)]),
            (r#"level=info circuit_id=C-1 request_id="a b""#, vec![(0, "C-1", FoundIn::Logfmt), (4, "a b", FoundIn::Logfmt)]),
            ("port down, Circuit-ID: C/1.2.", vec![(0, "C/1.2", FoundIn::Text)]),
            ("LOS on circuit id CKT-77, retrying", vec![(0, "CKT-77", FoundIn::Text)]),
            ("circuit id missing", vec![]),
            ("circuit_id=- product_id=null", vec![]),
            ("resource_type_id=router resource_id=r1", vec![(3, "router", FoundIn::Logfmt), (2, "r1", FoundIn::Logfmt)]),
            ("subcircuit_id=9", vec![]),
            ("circuit_id=", vec![]),
            ("circuit_id", vec![]),
        ];
        for (text, wanted) in cases {
            let wanted: Vec<_> = wanted.into_iter().map(|(k, v, f)| (k, v.to_owned(), f)).collect();
            assert_eq!(in_text(text), wanted, "{text}");
        }
    }

    #[test]
    fn of_json_with_a_trace_id_only_the_members_are_looked_at() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        let keys = |line: &str| {
            let mut found = Found::default();
            finder().text(line, &mut found);
            let values: Vec<String> = found.keys.iter().map(|k| k.value.to_string()).collect();
            (found.trace.map(|t| t.to_string()), values)
        };
        let some = Some(id.to_owned());
        let deep = format!(r#"{{"log":"{{\"traceId\":\"{id}\",\"circuit_id\":\"C-9\"}}"}}"#);
        assert_eq!(keys(&deep), (some.clone(), vec!["C-9".to_owned()]));
        assert_eq!(keys(&format!(r#"{{"msg":"circuit id C-7","trace_id": "{id}"}}"#)), (some, vec![]));
        assert_eq!(keys(r#"{"msg":"circuit id C-7","trace_id":null}"#), (None, vec!["C-7".to_owned()]));
    }

    #[test]
    fn a_key_of_a_mebibyte_is_counted_and_left_out() {
        let long = "x".repeat(1 << 20);
        let mut found = Found::default();
        let attributes = [Attr { key: "circuit_id", value: Value::Str(&long) }];
        finder().attributes(&attributes, FoundIn::Attribute, &mut found);
        assert!(found.keys.is_empty());
        assert_eq!(found.oversized, 1);
        assert_eq!(in_text(&format!("circuit_id={long}")), []);
    }

    #[test]
    fn a_trace_id_in_a_line_is_found() {
        let mut found = Found::default();
        finder().text("done traceID=0af7651916cd43dd8448eb211c80319c ok", &mut found);
        assert_eq!(found.trace.map(|t| t.to_string()).as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
    }

    #[test]
    fn configured_patterns_find_what_has_no_name() {
        let key = BusinessKey { name: "circuit_id".into(), patterns: vec![regex::Regex::new(r"\bCKT-(\d+)").expect("sound")] };
        let mut found = Found::default();
        Finder::new(&[key]).expect("sound").text("link CKT-12 lost", &mut found);
        assert_eq!(found.keys, [KeyValue { key: 0, value: "12".into(), found: FoundIn::Pattern }]);
    }

    proptest! {
        #[test]
        fn any_text_is_survived_and_values_are_parts_of_it(text in "(?s)\\{?(.|circuit_id|trace_id|=|\":|:|\"|\\\\){0,60}") {
            for (_, value, _) in in_text(&text) {
                prop_assert!(text.contains(&value));
                prop_assert!(!value.is_empty() && value.len() <= MAX_VALUE);
            }
        }
    }
}

//! YAML as a tree in which every value knows its place, read as Go's `yaml.v2` reads it: plain scalars keep their text,
//! `key:` alone is null, a key may stand only once.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, Span};

use crate::error::Flaw;

/// Nodes that a document may have with its aliases resolved.
const MAX_NODES: usize = 200_000;

/// Levels that it may have.
const MAX_DEPTH: usize = 64;

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    pub(crate) value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    /// A scalar; `plain` without quotes.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    /// Keys (scalars) and values, in order.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// The first document of `text`; an empty one is null.
    ///
    /// # Errors
    /// What is no YAML, with its place.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let mut reader = Reader { events: Parser::new_from_str(text), anchors: HashMap::new(), nodes: 0 };
        loop {
            match reader.next()? {
                None => return Ok(Self { line: 1, column: 1, value: Value::Null }),
                Some((Event::DocumentStart(..), _)) => {
                    let Some((event, span)) = reader.next()? else {
                        return Ok(Self { line: 1, column: 1, value: Value::Null });
                    };
                    if matches!(event, Event::DocumentEnd) {
                        return Ok(Self { line: 1, column: 1, value: Value::Null });
                    }
                    return reader.node(event, span, 0);
                }
                Some(_) => {}
            }
        }
    }

    /// What is wrong with this value.
    #[must_use]
    pub fn flaw(&self, what: impl Into<String>) -> Flaw {
        Flaw { line: self.line, column: self.column, what: what.into() }
    }

    /// The value of a key; `None` where it is missing or null.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).filter(|n| n.value != Value::Null)
    }

    /// The value of a key, null or not.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<&Self> {
        self.pairs().iter().find(|(k, _)| k.text() == Some(key)).map(|(_, v)| v)
    }

    /// A scalar's text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The text of a key; empty where it is missing or null.
    #[must_use]
    pub fn text_of(&self, key: &str) -> &str {
        self.get(key).and_then(Self::text).unwrap_or_default()
    }

    /// The elements of a list; none where this is no list.
    #[must_use]
    pub fn list(&self) -> &[Self] {
        match &self.value {
            Value::List(list) => list,
            _ => &[],
        }
    }

    /// The elements of a key's list.
    #[must_use]
    pub fn list_of(&self, key: &str) -> &[Self] {
        self.get(key).map_or(&[], Self::list)
    }

    /// The texts in a key's list.
    #[must_use]
    pub fn texts_of(&self, key: &str) -> Vec<String> {
        self.list_of(key).iter().map(|n| n.text().unwrap_or_default().to_owned()).collect()
    }

    /// Keys and values, in order; none where this is no map.
    #[must_use]
    pub fn pairs(&self) -> &[(Self, Self)] {
        match &self.value {
            Value::Map(pairs) => pairs,
            _ => &[],
        }
    }

    /// Whether it is null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }
}

struct Reader<'t> {
    events: Parser<'t, granit_parser::StrInput<'t>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<Option<(Event<'t>, Span)>, Flaw> {
        loop {
            match self.events.next() {
                None => return Ok(None),
                Some(Ok((Event::Comment(..), _))) => {}
                Some(Ok(found)) => return Ok(Some(found)),
                Some(Err(e)) => {
                    let at = e.marker();
                    return Err(Flaw { line: at.line(), column: at.col() + 1, what: e.info() });
                }
            }
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, Flaw> {
        let (line, column) = (span.start.line(), span.start.col() + 1);
        let wrong = |what: &str| Flaw { line, column, what: what.to_owned() };
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(wrong("more values than a configuration may have"));
        }
        if depth > MAX_DEPTH {
            return Err(wrong("nested too deeply"));
        }
        let made = |value| Node { line, column, value };
        let (anchor, node) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let value = match tag {
                    Some(tag) if tag.suffix() == "binary" => {
                        let bytes = base64(&text).ok_or_else(|| wrong("!!binary value contains invalid base64 data"))?;
                        let text = String::from_utf8(bytes).map_err(|_| wrong("!!binary value is not valid UTF-8"))?;
                        Value::Scalar { text, plain: false }
                    }
                    Some(_) => Value::Scalar { text: text.into_owned(), plain: false },
                    None if plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") => Value::Null,
                    None => Value::Scalar { text: text.into_owned(), plain },
                };
                (anchor, made(value))
            }
            Event::SequenceStart(_, anchor, _) => {
                let mut list = Vec::new();
                while let Some((event, span)) = self.next()? {
                    if matches!(event, Event::SequenceEnd) {
                        break;
                    }
                    list.push(self.node(event, span, depth + 1)?);
                }
                (anchor, made(Value::List(list)))
            }
            Event::MappingStart(_, anchor, _) => {
                let pairs = self.map(depth)?;
                (anchor, made(Value::Map(pairs)))
            }
            Event::Alias(id) => {
                let node = self.anchors.get(&id).cloned().ok_or_else(|| wrong("unknown anchor"))?;
                self.nodes += size(&node);
                (0, node)
            }
            _ => return Err(wrong("unexpected end of the document")),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn map(&mut self, depth: usize) -> Result<Vec<(Node, Node)>, Flaw> {
        let mut pairs: Vec<(Node, Node)> = Vec::new();
        let mut merged = Vec::new();
        while let Some((event, span)) = self.next()? {
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let mut key = self.node(event, span, depth + 1)?;
            if key.is_null() {
                key.value = Value::Scalar { text: String::new(), plain: false };
            }
            let Some(name) = key.text() else { return Err(key.flaw("a key must be a scalar")) };
            let Some((event, span)) = self.next()? else { return Err(key.flaw("a key without a value")) };
            let value = self.node(event, span, depth + 1)?;
            if name == "<<" && matches!(key.value, Value::Scalar { plain: true, .. }) {
                let maps = if value.pairs().is_empty() { value.list() } else { std::slice::from_ref(&value) };
                merged.extend(maps.iter().flat_map(|m| m.pairs().iter().cloned()));
                continue;
            }
            if pairs.iter().any(|(k, _)| k.text() == Some(name)) {
                return Err(key.flaw(format!("key {name:?} already set in map")));
            }
            pairs.push((key, value));
        }
        for (key, value) in merged {
            if !pairs.iter().any(|(k, _)| k.text() == key.text()) {
                pairs.push((key, value));
            }
        }
        Ok(pairs)
    }
}

fn size(node: &Node) -> usize {
    let inside: usize = match &node.value {
        Value::List(list) => list.iter().map(size).sum(),
        Value::Map(pairs) => pairs.iter().map(|(k, v)| size(k) + size(v)).sum(),
        _ => 0,
    };
    inside + 1
}

/// Standard base64 with padding; white space is passed over.
fn base64(text: &str) -> Option<Vec<u8>> {
    let symbols: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let padding = symbols.iter().rev().take_while(|b| **b == b'=').count();
    if !symbols.len().is_multiple_of(4) || padding > 2 {
        return None;
    }
    let mut out = Vec::with_capacity(symbols.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0);
    for symbol in &symbols[..symbols.len() - padding] {
        let value = match symbol {
            b'A'..=b'Z' => symbol - b'A',
            b'a'..=b'z' => symbol - b'a' + 26,
            b'0'..=b'9' => symbol - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_text_and_place() {
        let node = Node::parse("a: 1.10\nb:\n- x\n-\nc: &c {d: \"~\"}\ne:\n  <<: *c\n  f: !!binary aGk=\n").expect("YAML");
        assert_eq!(node.text_of("a"), "1.10");
        assert!(node.list_of("b")[1].is_null());
        assert_eq!(node.get("e").map(|e| (e.text_of("d"), e.text_of("f"))), Some(("~", "hi")));
        let x = &node.list_of("b")[0];
        assert_eq!((x.line, x.column), (3, 3));
        for (bad, line, what) in [
            ("a: 1\nb: 2\na: 3\n", 3, "key \"a\" already set in map"),
            ("a: !!binary \"/w==\"\n", 1, "!!binary value is not valid UTF-8"),
            ("a: [\n", 1, "unclosed bracket"),
        ] {
            let flaw = Node::parse(bad).expect_err(bad);
            assert_eq!(flaw.line, line, "{bad}: {flaw:?}");
            assert!(flaw.what.contains(what), "{flaw:?}");
        }
    }

    #[test]
    fn what_grows_without_bound_is_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..9 {
            let row = vec![format!("*a{}", i - 1); 10].join(", ");
            bomb.push_str(&format!("a{i}: &a{i} [{row}]\n"));
        }
        assert!(Node::parse(&bomb).is_err());
        assert!(Node::parse(&"[".repeat(10_000)).is_err());
    }
}

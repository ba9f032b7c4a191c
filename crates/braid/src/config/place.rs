//! Where in a file a key stands: what is wrong with a value is found out long after the text was read.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// A mapping or a list with the places of its values; a list's are named `[0]`, `[1]`.
struct Node(Vec<(String, Spanned<Node>)>);

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reading)
    }
}

struct Reading;

impl<'de> Visitor<'de> for Reading {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut all = Vec::new();
        while let Some(name) = map.next_key()? {
            all.push((name, map.next_value()?));
        }
        Ok(Node(all))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut all = Vec::new();
        while let Some(value) = list.next_element()? {
            all.push((format!("[{}]", all.len()), value));
        }
        Ok(Node(all))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node(Vec::new()))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node(Vec::new()))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node(Vec::new()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node(Vec::new()))
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node(Vec::new()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node(Vec::new()))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node(Vec::new()))
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Node, D::Error> {
        Node::deserialize(from)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<Node, D::Error> {
        IgnoredAny::deserialize(from).map(|_| Node(Vec::new()))
    }
}

/// Line and column of the value of `key` (such as `exporters.otlp/a.b.endpoint`), or of the nearest thing around it that is there.
pub(super) fn find(text: &str, key: &str) -> Option<(u64, u64)> {
    let root: Node = serde_saphyr::from_str(text).ok()?;
    let (mut node, mut rest, mut place) = (&root, key, None);
    // Names may have dots in them: the longest that fits is meant.
    while let Some((name, value)) = node.0.iter().filter(|(name, _)| begins_with(rest, name)).max_by_key(|(name, _)| name.len()) {
        place = Some((value.referenced.line(), value.referenced.column())).filter(|(line, _)| *line > 0).or(place);
        rest = rest[name.len()..].trim_start_matches('.');
        node = &value.value;
    }
    place
}

fn begins_with(path: &str, name: &str) -> bool {
    path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_where_its_value_stands() {
        let text = "memory: 1\nstorage:\n  log: {max_size: x}\n  retention:\n    logs: 7\nexporters:\n  otlp/a.b:\n    tls: {cert: q}\nscrape_configs:\n- a: 1\n- b: ~\n";
        for (key, place) in [
            ("memory", Some((1, 9))),
            ("storage.retention.logs", Some((5, 11))),
            ("storage.log.max_size", Some((3, 19))),
            ("storage.log.max", Some((3, 8))),
            ("exporters.otlp/a.b.tls.cert", Some((8, 17))),
            ("scrape_configs[1].b", Some((11, 6))),
            ("ports.loki", None),
            ("", None),
        ] {
            assert_eq!(find(text, key), place, "{key}");
        }
        assert_eq!(find("a: [", "a"), None);
    }
}

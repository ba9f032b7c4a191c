//! Label sets: what names a series (Prometheus) or a stream (Loki).

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// Labels sorted by name, names unique, no empty value. Orders as Prometheus does: label by label, name before value.
///
/// One text and one list of positions, however many labels: a million series fit into memory.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Labels {
    /// Names and values one after the other.
    text: Box<str>,
    /// Where each name and each value ends in `text`, by turns.
    ends: Box<[u32]>,
}

impl Labels {
    /// The set of `pairs`: sorted here, empty values dropped, the last of equal names kept.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let pairs: Vec<(N, V)> = pairs.into_iter().collect();
        let mut order: Vec<(&str, &str)> = pairs.iter().map(|(n, v)| (n.as_ref(), v.as_ref())).collect();
        if !order.is_sorted_by(|a, b| a.0 < b.0) {
            order.sort_by(|a, b| a.0.cmp(b.0));
            order.dedup_by(|later, kept| {
                let same = later.0 == kept.0;
                if same {
                    kept.1 = later.1;
                }
                same
            });
        }
        order.retain(|(_, v)| !v.is_empty());
        let mut text = String::with_capacity(order.iter().map(|(n, v)| n.len() + v.len()).sum());
        let mut ends = Vec::with_capacity(order.len() * 2);
        for (name, value) in order {
            for part in [name, value] {
                text.push_str(part);
                // A label set of 4 GiB does not pass any receiver's limit.
                ends.push(u32::try_from(text.len()).unwrap_or(u32::MAX));
            }
        }
        Self { text: text.into(), ends: ends.into() }
    }

    /// The value of `name`, if it is set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> + ExactSizeIterator + Clone {
        (0..self.len()).map(|i| {
            let start = if i == 0 { 0 } else { self.ends[2 * i - 1] as usize };
            let (middle, end) = (self.ends[2 * i] as usize, self.ends[2 * i + 1] as usize);
            (&self.text[start..middle], &self.text[middle..end])
        })
    }

    /// How many labels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len() / 2
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes that the set holds on the heap.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.text.len() + self.ends.len() * size_of::<u32>()
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
        self.ends.hash(state);
    }
}

/// As [`fmt::Display`] prints it.
impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `{a="1", b="x\"y"}`, values escaped as Prometheus and Loki do.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{name}=\"")?;
            for c in value.chars() {
                match c {
                    '"' => f.write_str("\\\"")?,
                    '\\' => f.write_str("\\\\")?,
                    '\n' => f.write_str("\\n")?,
                    c => write!(f, "{c}")?,
                }
            }
            f.write_str("\"")?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_become_a_sorted_set_where_the_last_wins_and_empty_means_absent() {
        let l = Labels::from_pairs([("b", "2"), ("a", "1"), ("a", "3"), ("c", "")]);
        assert_eq!(l.to_string(), r#"{a="3", b="2"}"#);
        assert_eq!(l.get("a"), Some("3"));
        assert_eq!(l.get("c"), None);
    }

    #[test]
    fn sets_order_label_by_label_and_not_by_their_joined_text() {
        let mut sets = [
            Labels::from_pairs([("a", "b"), ("c", "d")]),
            Labels::from_pairs([("a", "bc")]),
            Labels::from_pairs([("a", "b")]),
            Labels::from_pairs([("ab", "")]),
        ];
        sets.sort();
        assert_eq!(
            sets.iter().map(Labels::to_string).collect::<Vec<_>>(),
            ["{}", r#"{a="b"}"#, r#"{a="b", c="d"}"#, r#"{a="bc"}"#]
        );
        assert_ne!(Labels::from_pairs([("a", "bc")]), Labels::from_pairs([("ab", "c")]));
    }
}

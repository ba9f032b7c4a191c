//! Patterns of lines, found as they are read: Drain (He et al. 2017) over words and punctuation. Lines of as many tokens that
//! begin alike and share most of their words are one pattern; where they differ, and where a word has digits, stands `<_>`.

use std::collections::{BTreeMap, HashMap};

use crate::pipeline::json_text;

/// What stands for anything.
const ANY: &str = "<_>";
/// Tokens of a line that are told apart; the rest is one.
const MAX_TOKENS: usize = 128;
/// Longer lines have no pattern, as in Loki.
const MAX_LINE: usize = 3000;
/// Patterns that are kept at a time.
const MAX_PATTERNS: usize = 1000;
/// Fields of a JSON line that may be its message; the first one counts most.
const MESSAGES: [&str; 6] = ["log", "message", "msg", "msg_", "_msg", "content"];

/// A pattern and how often it came, by time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// As the line filter `|>` takes it.
    pub text: String,
    /// Start of a step (nanoseconds), and lines in it.
    pub samples: BTreeMap<i64, u64>,
    /// All lines.
    pub total: u64,
}

struct Token<'t> {
    spaces: u8,
    text: &'t str,
}

struct Cluster {
    /// Spaces before, and the text; `None` for anything.
    tokens: Vec<(u8, Option<Box<str>>)>,
    is_message: bool,
    key: (usize, Box<str>),
    samples: BTreeMap<i64, u64>,
    total: u64,
}

/// Collects patterns.
#[derive(Default)]
pub(crate) struct Drain {
    clusters: Vec<Cluster>,
    by_key: HashMap<(usize, Box<str>), Vec<usize>>,
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/')
}

/// Words, and what stands between them character by character.
fn tokens<'t>(text: &'t str, out: &mut Vec<Token<'t>>) {
    out.clear();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let spaces = rest.len() - rest.trim_start_matches(' ').len();
        at += spaces;
        let rest = &text[at..];
        let Some(first) = rest.chars().next() else { break };
        let length = match is_word(first) {
            _ if out.len() + 1 == MAX_TOKENS => rest.len(),
            true => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            false => first.len_utf8(),
        };
        out.push(Token { spaces: spaces.min(255) as u8, text: &rest[..length] });
        at += length;
    }
}

fn is_variable(text: &str) -> bool {
    text.bytes().any(|b| b.is_ascii_digit())
}

impl Drain {
    /// Takes a line of the step that begins at `step`.
    pub(crate) fn add(&mut self, line: &str, step: i64) {
        let trimmed = line.trim();
        if trimmed.len() > MAX_LINE || trimmed.is_empty() {
            return;
        }
        let is_json = trimmed.starts_with('{') && trimmed.ends_with('}');
        let message = match is_json {
            true => match json_text(trimmed, &MESSAGES) {
                Some(message) => message,
                None => return,
            },
            false => trimmed.into(),
        };
        let mut found = Vec::with_capacity(32);
        tokens(&message, &mut found);
        let Some(first) = found.first() else { return };
        let key = (found.len(), if is_variable(first.text) { ANY.into() } else { first.text.into() });
        let best = self.by_key.get(&key).into_iter().flatten().filter_map(|&id| {
            let cluster = self.clusters.get(id).filter(|c| c.is_message == is_json)?;
            cluster.alike(&found).map(|share| (share, id))
        });
        let best = best.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, id)| id);
        let id = match best {
            Some(id) => id,
            None => {
                if self.clusters.len() >= MAX_PATTERNS {
                    self.forget_the_rare();
                }
                let id = self.clusters.len();
                self.by_key.entry(key.clone()).or_default().push(id);
                let tokens = found.iter().map(|t| (t.spaces, (!is_variable(t.text)).then(|| t.text.into()))).collect();
                self.clusters.push(Cluster { tokens, is_message: is_json, key, samples: BTreeMap::new(), total: 0 });
                id
            }
        };
        if let Some(cluster) = self.clusters.get_mut(id) {
            cluster.widen(&found);
            *cluster.samples.entry(step).or_default() += 1;
            cluster.total += 1;
        }
    }

    /// Half of the patterns, the rarest, make room.
    fn forget_the_rare(&mut self) {
        self.clusters.sort_by_key(|c| std::cmp::Reverse(c.total));
        self.clusters.truncate(MAX_PATTERNS / 2);
        self.by_key.clear();
        for (id, cluster) in self.clusters.iter().enumerate() {
            self.by_key.entry(cluster.key.clone()).or_default().push(id);
        }
    }

    /// The most frequent patterns, at most `limit`.
    pub(crate) fn patterns(self, limit: usize) -> Vec<Pattern> {
        let mut out: BTreeMap<String, Pattern> = BTreeMap::new();
        for cluster in self.clusters {
            let text = cluster.text();
            let pattern = out.entry(text.clone()).or_insert_with(|| Pattern { text, samples: BTreeMap::new(), total: 0 });
            pattern.total += cluster.total;
            cluster.samples.into_iter().for_each(|(step, n)| *pattern.samples.entry(step).or_default() += n);
        }
        let mut out: Vec<Pattern> = out.into_values().collect();
        out.sort_by(|a, b| b.total.cmp(&a.total).then_with(|| a.text.cmp(&b.text)));
        out.truncate(limit);
        out
    }
}

impl Cluster {
    /// The share of words that are the same; `None` where that are too few.
    fn alike(&self, tokens: &[Token<'_>]) -> Option<f64> {
        let (mut words, mut same) = (0usize, 0usize);
        for ((_, known), token) in self.tokens.iter().zip(tokens) {
            match known {
                Some(known) if token.text.starts_with(is_word) => {
                    words += 1;
                    same += usize::from(**known == *token.text);
                }
                Some(known) if **known != *token.text => return None,
                Some(_) => {}
                // Digits stand for each other, and words that already differed for any.
                None => {
                    words += 1;
                    same += usize::from(is_variable(token.text));
                }
            }
        }
        let share = if words == 0 { 1.0 } else { same as f64 / words as f64 };
        (share >= 0.5).then_some(share)
    }

    fn widen(&mut self, tokens: &[Token<'_>]) {
        for ((_, known), token) in self.tokens.iter_mut().zip(tokens) {
            if known.as_deref().is_some_and(|k| k != token.text) {
                *known = None;
            }
        }
    }

    fn text(&self) -> String {
        let mut out = String::new();
        let any = |out: &mut String| {
            if !out.ends_with(ANY) {
                out.push_str(ANY);
            }
        };
        if self.is_message {
            any(&mut out);
        }
        for (spaces, text) in &self.tokens {
            out.extend(std::iter::repeat_n(' ', usize::from(*spaces)));
            match text {
                Some(text) => out.push_str(text),
                None => any(&mut out),
            }
        }
        if self.is_message {
            any(&mut out);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn patterns(lines: &[&str]) -> Vec<(String, u64)> {
        let mut drain = Drain::default();
        lines.iter().for_each(|line| drain.add(line, 0));
        drain.patterns(100).into_iter().map(|p| (p.text, p.total)).collect()
    }

    #[test]
    fn what_differs_stands_for_anything() {
        let found = patterns(&[
            "ts=1 level=info msg=\"request done\" took=5ms",
            "ts=2 level=info msg=\"request done\" took=17ms",
            "ts=3 level=warn msg=\"request done\" took=17ms",
            "user alice logged in",
            "user bob logged in",
            r#"{"time":"1","message":"open /tmp/1: no such file"}"#,
            r#"{"time":"2","message":"open /tmp/2: no such file"}"#,
            r#"{"no":"message"}"#,
            "",
        ]);
        let expected: [(&str, u64); 3] = [
            ("ts=<_> level=<_> msg=\"request done\" took=<_>", 3),
            ("<_>open <_> no such file<_>", 2),
            ("user <_> logged in", 2),
        ];
        assert_eq!(found, expected.map(|(text, n)| (text.to_owned(), n)));
    }

    #[test]
    fn the_rare_make_room() {
        let mut drain = Drain::default();
        for i in 0..3 * MAX_PATTERNS {
            let word: String = i.to_string().bytes().map(|b| char::from(b - b'0' + b'a')).collect();
            drain.add(&format!("{word} {word}{word}"), 0);
            drain.add("the usual line", 0);
        }
        let found = drain.patterns(usize::MAX);
        assert!(found.len() <= MAX_PATTERNS);
        assert_eq!((found[0].text.as_str(), found[0].total), ("the usual line", 3 * MAX_PATTERNS as u64));
    }

    proptest! {
        /// Every line that has a pattern is found by it.
        #[test]
        fn patterns_find_their_lines(lines in prop::collection::vec("[a-c0-2 =\\[\\],é]{1,24}", 1..12)) {
            let mut drain = Drain::default();
            lines.iter().for_each(|line| drain.add(line, 0));
            let total: u64 = drain.patterns(100).iter().map(|p| p.total).sum();
            prop_assert_eq!(total, lines.iter().filter(|l| !l.trim().is_empty()).count() as u64);
        }
    }
}

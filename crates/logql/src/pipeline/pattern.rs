//! Patterns: texts with captures (`<name>`) or gaps (`<_>`) between them.

use memchr::memmem::Finder;

/// A part of a pattern.
#[derive(Debug, Clone)]
enum Part {
    Text(Box<Finder<'static>>),
    /// `None` for `<_>`.
    Capture(Option<String>),
}

/// A parsed pattern.
#[derive(Debug, Clone)]
pub(crate) struct Pattern(Vec<Part>);

impl Pattern {
    /// A pattern that extracts labels.
    pub(crate) fn parser(text: &str) -> Result<Self, String> {
        let pattern = Self::parse(text)?;
        let names = pattern.names();
        if names.is_empty() {
            return Err("at least one capture is required".to_owned());
        }
        pattern.no_neighbours()?;
        for (i, name) in names.iter().enumerate() {
            if names[..i].contains(name) {
                return Err(format!("duplicate capture name ({name}): invalid expression"));
            }
        }
        Ok(pattern)
    }

    /// A pattern that lines are compared with.
    pub(crate) fn filter(text: &str) -> Result<Self, String> {
        let pattern = Self::parse(text)?;
        if let Some(name) = pattern.names().first() {
            return Err(format!("named captures are not allowed, found '{name}': invalid expression"));
        }
        pattern.no_neighbours()?;
        Ok(pattern)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let (mut start, mut at) = (0, 0);
        while let Some(open) = text[at..].find('<') {
            let open = at + open;
            let length = text[open + 1..].find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(0);
            let name = &text[open + 1..open + 1 + length];
            let capture =
                length > 0 && text[open + 1 + length..].starts_with('>') && !name.starts_with(|c: char| c.is_ascii_digit());
            if !capture {
                at = open + 1;
                continue;
            }
            if start < open {
                parts.push(Part::Text(Box::new(Finder::new(&text[start..open]).into_owned())));
            }
            parts.push(Part::Capture((name != "_").then(|| name.to_owned())));
            at = open + length + 2;
            start = at;
        }
        if start < text.len() {
            parts.push(Part::Text(Box::new(Finder::new(&text[start..]).into_owned())));
        }
        Ok(Self(parts))
    }

    fn no_neighbours(&self) -> Result<(), String> {
        let shown = |name: &Option<String>| format!("<{}>", name.as_deref().unwrap_or("_"));
        for pair in self.0.windows(2) {
            if let [Part::Capture(a), Part::Capture(b)] = pair {
                return Err(format!("found consecutive capture '{}{}': invalid expression", shown(a), shown(b)));
            }
        }
        Ok(())
    }

    /// Names of the captures, in order.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.0.iter().filter_map(|p| if let Part::Capture(Some(name)) = p { Some(name.as_str()) } else { None }).collect()
    }

    /// Calls `each` with what the named captures hold. A text that is not found gives the capture before it all of the rest.
    pub(crate) fn captures<'t>(&self, line: &'t str, mut each: impl FnMut(&str, &'t str)) {
        let mut rest = line;
        let mut parts = self.0.as_slice();
        if line.is_empty() {
            return;
        }
        if let Some((Part::Text(text), others)) = parts.split_first() {
            let Some(after) = rest.as_bytes().strip_prefix(text.needle()) else { return };
            rest = &rest[rest.len() - after.len()..];
            parts = others;
        }
        loop {
            let (name, found, after) = match parts {
                [Part::Capture(name), Part::Text(text), others @ ..] => match text.find(rest.as_bytes()) {
                    Some(at) => (name, &rest[..at], Some((&rest[at + text.needle().len()..], others))),
                    None => (name, rest, None),
                },
                [Part::Capture(name), ..] => (name, rest, None),
                _ => return,
            };
            if let Some(name) = name {
                each(name, found);
            }
            let Some((tail, others)) = after else { return };
            (rest, parts) = (tail, others);
        }
    }

    /// Whether the line ends with this pattern; every gap stands for some text. Loki does not ask where it begins.
    pub(crate) fn matches(&self, line: &str) -> bool {
        let Some(last) = self.0.last() else { return line.is_empty() };
        if line.is_empty() {
            return false;
        }
        let mut at = 0;
        for (i, part) in self.0.iter().enumerate() {
            let Part::Text(text) = part else { continue };
            let Some(found) = text.find(&line.as_bytes()[at..]) else { return false };
            if found == 0 && i > 0 {
                return false;
            }
            at += found + text.needle().len();
        }
        matches!(last, Part::Capture(_)) == (at < line.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_hold_what_stands_between_texts() {
        for (pattern, line, expected) in [
            ("<a> - <b>!", "x - y!", "a=x b=y"),
            ("<a> - <b>!", "x - y", "a=x b=y"),
            ("<a>;<b>", "x", "a=x"),
            ("in <_> <a>", "in 1 2", "a=2"),
            ("in <a>", "out", ""),
            ("<a < b> <c>", "<a < b> z", "c=z"),
        ] {
            let mut out = Vec::new();
            Pattern::parser(pattern).unwrap_or_else(|e| panic!("{e}")).captures(line, |n, v| out.push(format!("{n}={v}")));
            assert_eq!(out.join(" "), expected, "{pattern} {line}");
        }
    }

    #[test]
    fn filters_take_lines_to_their_end() {
        for (pattern, line, fits) in [
            ("GET", "GET", true),
            ("GET", "GET /", false),
            ("GET", "a GET", true),
            ("GET <_>", "GET /", true),
            ("GET <_>", "GET ", false),
            ("<_> baz", "foo bar baz", true),
            ("<_> bar", "foo bar baz", false),
            ("", "", true),
            ("<_>", "", false),
        ] {
            assert_eq!(Pattern::filter(pattern).is_ok_and(|p| p.matches(line)), fits, "{pattern} {line}");
        }
        assert!(Pattern::filter("<a>").is_err() && Pattern::filter("<_><_>").is_err());
    }
}

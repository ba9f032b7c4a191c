//! The grammar, line by line.

use std::borrow::Cow;

use super::{ExpositionSink, number};
use crate::{Limits, MetricKind, WireError};

/// Reads a whole scrape; returns how many samples it has.
///
/// # Errors
/// [`WireError::Text`] with the line at the first thing that Prometheus refuses: the scrape as a whole has failed then.
pub fn parse<S: ExpositionSink + ?Sized>(bytes: &[u8], limits: &Limits, sink: &mut S) -> Result<u64, WireError> {
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let before = bytes.get(..e.valid_up_to()).unwrap_or_default();
        fail(before.iter().filter(|b| **b == b'\n').count() + 1, "invalid UTF-8")
    })?;
    let mut scrape = Scrape { text, at: 0, kind: MetricKind::Unknown, labels: Vec::new(), samples: 0, limits };
    while scrape.at < text.len() {
        scrape.line(sink).map_err(|reason| fail(scrape.line_number(), &reason))?;
    }
    Ok(scrape.samples)
}

#[cold]
fn fail(line: usize, reason: &str) -> WireError {
    WireError::Text { what: "the exposition", line, reason: reason.to_owned() }
}

struct Scrape<'a, 'l> {
    text: &'a str,
    at: usize,
    /// Of the last `# TYPE` line.
    kind: MetricKind,
    labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    samples: u64,
    limits: &'l Limits,
}

/// Why a line is refused.
type Reason = Cow<'static, str>;

impl<'a> Scrape<'a, '_> {
    fn line_number(&self) -> usize {
        self.text.as_bytes()[..self.at.min(self.text.len())].iter().filter(|b| **b == b'\n').count() + 1
    }

    /// The next byte; a missing last line break is as good as there.
    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(b'\n')
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t') {
            self.at += 1;
        }
    }

    /// The bytes from here on that `belongs` accepts.
    fn take(&mut self, belongs: impl Fn(u8) -> bool) -> &'a str {
        let start = self.at;
        let rest = &self.text.as_bytes()[start..];
        self.at += rest.iter().position(|b| !belongs(*b)).unwrap_or(rest.len());
        // Bytes above ASCII are taken together or not at all, so that this is a boundary.
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn line_break(&mut self, wanted: &'static str) -> Result<(), Reason> {
        self.skip_space();
        if self.peek() != b'\n' {
            return Err(format!("{wanted}, got {:?}", self.next_char()).into());
        }
        self.at += 1;
        Ok(())
    }

    fn next_char(&self) -> char {
        self.text.get(self.at..).and_then(|t| t.chars().next()).unwrap_or('\n')
    }

    fn line<S: ExpositionSink + ?Sized>(&mut self, sink: &mut S) -> Result<(), Reason> {
        self.skip_space();
        match self.peek() {
            b'\n' => {
                self.at += 1;
                Ok(())
            }
            b'#' => self.comment(sink),
            _ => self.sample(sink),
        }
    }

    fn comment<S: ExpositionSink + ?Sized>(&mut self, sink: &mut S) -> Result<(), Reason> {
        self.at += 1;
        let spaced = matches!(self.peek(), b' ' | b'\t');
        self.skip_space();
        let rest = self.text.get(self.at..).unwrap_or_default();
        let is = |word: &str| spaced && rest.strip_prefix(word).is_some_and(|r| r.starts_with([' ', '\t']));
        let (help, kind) = (is("HELP"), is("TYPE"));
        if !help && !kind {
            self.take(|b| b != b'\n');
            self.at += 1;
            return Ok(());
        }
        self.at += "HELP".len();
        self.skip_space();
        let family = match self.peek() {
            b'"' => self.quoted().ok_or("expected metric name")?,
            _ => Cow::Borrowed(self.metric_name()),
        };
        if family.is_empty() {
            let word = if help { "HELP" } else { "TYPE" };
            return Err(format!("expected metric name after {word}, got {:?}", self.next_char()).into());
        }
        // One space belongs to the grammar; what follows is the text.
        let text = self.take(|b| b != b'\n');
        self.at += 1;
        let text = text.get(1..).unwrap_or_default();
        if help {
            sink.help(&family, &unescape(text, false));
            return Ok(());
        }
        self.kind = match text.trim_matches([' ', '\t']) {
            "counter" => MetricKind::Counter,
            "gauge" => MetricKind::Gauge,
            "histogram" => MetricKind::Histogram,
            "summary" => MetricKind::Summary,
            "untyped" | "unknown" => MetricKind::Unknown,
            "gaugehistogram" => MetricKind::GaugeHistogram,
            "info" => MetricKind::Info,
            "stateset" => MetricKind::StateSet,
            other => {
                self.at -= 1;
                return Err(format!("invalid metric type {other:?}").into());
            }
        };
        sink.kind(&family, self.kind);
        Ok(())
    }

    fn sample<S: ExpositionSink + ?Sized>(&mut self, sink: &mut S) -> Result<(), Reason> {
        self.labels.clear();
        let name = self.metric_name();
        let mut named = !name.is_empty();
        if named {
            self.labels.push((Cow::Borrowed("__name__"), Cow::Borrowed(name)));
            self.skip_space();
        }
        if self.peek() == b'{' {
            self.at += 1;
            self.label_set(&mut named)?;
            self.skip_space();
        } else if !named {
            return Err(format!("expected a valid start token, got {:?}", self.next_char()).into());
        }
        let value = self.take(|b| !matches!(b, b' ' | b'\t' | b'\n' | b'{' | 0));
        if value.is_empty() {
            return Err(format!("expected value after metric, got {:?}", self.next_char()).into());
        }
        if !named {
            return Err("metric name not set".into());
        }
        let value = number::read(value)?;
        self.skip_space();
        let sign = usize::from(self.peek() == b'-');
        let start = self.at;
        self.at += sign;
        let digits = self.take(|b| b.is_ascii_digit());
        let time = if digits.is_empty() {
            self.at = start;
            None
        } else {
            Some(self.text[start..self.at].parse::<i64>().map_err(|_| "timestamp out of range")?)
        };
        self.line_break("expected next entry after timestamp")?;
        self.at -= 1;
        self.sort_labels()?;
        self.at += 1;
        self.samples += 1;
        sink.sample(&self.labels, value, time);
        Ok(())
    }

    fn metric_name(&mut self) -> &'a str {
        if self.peek().is_ascii_digit() {
            return "";
        }
        self.take(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
    }

    /// What stands between the braces; commas between labels may be missing, as Prometheus lets them.
    fn label_set(&mut self, named: &mut bool) -> Result<(), Reason> {
        loop {
            self.skip_space();
            let name = match self.peek() {
                b'}' => {
                    self.at += 1;
                    return Ok(());
                }
                b'"' => {
                    let text = self.quoted().ok_or("expected label name, got an unterminated string")?;
                    self.skip_space();
                    if self.peek() != b'=' {
                        // A quoted string that stands alone is the metric's name.
                        if *named {
                            return Err(format!("expected equal, got {:?}", self.next_char()).into());
                        }
                        *named = true;
                        self.labels.push((Cow::Borrowed("__name__"), text));
                        self.after_label()?;
                        continue;
                    }
                    text
                }
                b if b.is_ascii_alphabetic() || b == b'_' => Cow::Borrowed(self.take(|b| b.is_ascii_alphanumeric() || b == b'_')),
                _ => return Err(format!("expected label name, got {:?}", self.next_char()).into()),
            };
            self.skip_space();
            if self.peek() != b'=' {
                return Err(format!("expected equal, got {:?}", self.next_char()).into());
            }
            self.at += 1;
            self.skip_space();
            let unexpected = self.next_char();
            let value = self.quoted().ok_or_else(|| format!("expected label value, got {unexpected:?}"))?;
            if self.labels.len() >= self.limits.max_labels {
                return Err(format!("more than {} labels", self.limits.max_labels).into());
            }
            let value = self.one_form(&name, value);
            self.labels.push((name, value));
            self.after_label()?;
        }
    }

    fn after_label(&mut self) -> Result<(), Reason> {
        self.skip_space();
        if self.peek() == b',' {
            self.at += 1;
        }
        Ok(())
    }

    /// Bounds and quantiles of classic histograms and summaries have one form.
    fn one_form(&self, name: &str, value: Cow<'a, str>) -> Cow<'a, str> {
        let is_number = matches!((self.kind, name), (MetricKind::Histogram, "le") | (MetricKind::Summary, "quantile"));
        match value.parse::<f64>() {
            Ok(number) if is_number => Cow::Owned(number::canonical(number)),
            _ => value,
        }
    }

    /// A string in double quotes; `None` when there is none or when it does not end.
    fn quoted(&mut self) -> Option<Cow<'a, str>> {
        let rest = self.text.get(self.at..)?.strip_prefix('"')?;
        let bytes = rest.as_bytes();
        let mut end = 0;
        loop {
            end += memchr::memchr2(b'"', b'\\', &bytes[end..])?;
            if bytes[end] == b'"' {
                break;
            }
            end = (end + 2).min(bytes.len());
        }
        self.at += end + 2;
        Some(unescape(&rest[..end], true))
    }

    fn sort_labels(&mut self) -> Result<(), Reason> {
        self.labels.retain(|(_, value)| !value.is_empty());
        self.labels.sort_unstable();
        match self.labels.windows(2).find(|w| w[0].0 == w[1].0) {
            Some(w) => Err(format!("label name {:?} is not unique", w[0].0).into()),
            None => Ok(()),
        }
    }
}

/// `\\` and `\n`, and in `quotes` also `\"`; any other backslash stands for itself.
fn unescape(text: &str, quotes: bool) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let escaped = match (c, chars.peek()) {
            ('\\', Some('\\')) => '\\',
            ('\\', Some('n')) => '\n',
            ('\\', Some('"')) if quotes => '"',
            _ => {
                out.push(c);
                continue;
            }
        };
        out.push(escaped);
        chars.next();
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Lines(Vec<String>);

    impl ExpositionSink for Lines {
        fn sample(&mut self, labels: &[(Cow<'_, str>, Cow<'_, str>)], value: f64, time_ms: Option<i64>) {
            let labels: Vec<_> = labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
            self.0.push(format!("{} {value} {time_ms:?}", labels.join(",")));
        }
        fn kind(&mut self, family: &str, kind: MetricKind) {
            self.0.push(format!("TYPE {family} {}", kind.as_str()));
        }
        fn help(&mut self, family: &str, help: &str) {
            self.0.push(format!("HELP {family} {help}"));
        }
    }

    fn read(text: &str) -> Result<Vec<String>, String> {
        let mut lines = Lines::default();
        let limits = Limits::default();
        parse(text.as_bytes(), &limits, &mut lines).map(|_| lines.0).map_err(|e| e.to_string())
    }

    #[test]
    fn samples_come_with_sorted_labels_and_metadata_in_order() {
        let text = "# HELP h A\\nB \\\\ \"c\"\n# TYPE h histogram\nh_bucket{le=\"1\", a=\"x\\\"y\"} 3\n\n  up 1 -5\nb{c=\"\"} +Inf\n{\"a.b\"} 2 7";
        assert_eq!(
            read(text).expect("well formed"),
            [
                "HELP h A\nB \\ \"c\"",
                "TYPE h histogram",
                "__name__=h_bucket,a=x\"y,le=1.0 3 None",
                "__name__=up 1 Some(-5)",
                "__name__=b inf None",
                "__name__=a.b 2 Some(7)",
            ]
        );
    }

    #[test]
    fn errors_name_their_line() {
        for (text, error) in [
            ("up 1\nup one\n", "the exposition at line 2: invalid number"),
            ("up{a=\"1\",a=\"2\"} 1\n", "the exposition at line 1: label name \"a\" is not unique"),
            ("# TYPE up upper\n", "the exposition at line 1: invalid metric type \"upper\""),
            ("up 1 2 3\n", "the exposition at line 1: expected next entry after timestamp, got '3'"),
            ("\n\n{} 1\n", "the exposition at line 3: metric name not set"),
        ] {
            assert_eq!(read(text), Err(error.to_owned()), "{text}");
        }
    }
}

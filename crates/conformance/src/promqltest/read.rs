//! Commands of a test file.

use promql::SeriesDescription;
use regex::Regex;

/// What a file asks for.
pub(super) enum Command {
    Clear,
    Load { gap_ms: i64, series: Vec<SeriesDescription>, nhcb: bool },
    Eval(Eval),
}

/// When to evaluate, milliseconds.
pub(super) enum When {
    Instant(i64),
    Range { start: i64, end: i64, step: i64 },
}

/// A query and what is expected of it.
pub(super) struct Eval {
    pub(super) query: String,
    pub(super) when: When,
    pub(super) ordered: bool,
    fails: Option<Text>,
    /// Kind (`warn`, `info`) and what one of that kind must say; `None` for `no_warn`, `no_info`.
    notes: Vec<(&'static str, Option<Text>)>,
    pub(super) string: Option<String>,
    /// First time and step of an expected range vector.
    pub(super) range: Option<(i64, i64)>,
    pub(super) scalar: Option<f64>,
    pub(super) series: Vec<SeriesDescription>,
}

/// What a message must be like.
enum Text {
    Any,
    Exactly(String),
    Like(Regex),
}

impl Text {
    fn accepts(&self, message: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(text) => text == message,
            Self::Like(regex) => regex.is_match(message),
        }
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Any => "anything",
            Self::Exactly(text) => text,
            Self::Like(regex) => regex.as_str(),
        }
    }
}

impl Eval {
    pub(super) fn expects_failure(&self) -> bool {
        self.fails.is_some()
    }

    pub(super) fn accepts_failure(&self, why: &str) -> Result<(), String> {
        match &self.fails {
            None => Err(format!("failed: {why}")),
            Some(text) if text.accepts(why) => Ok(()),
            Some(text) => Err(format!("expected it to fail with {:?}, got {why:?}", text.as_str())),
        }
    }

    /// Whether the notes of a kind are those expected: each expectation met, nothing besides.
    pub(super) fn accepts_notes(&self, kind: &str, notes: &[String]) -> Result<(), String> {
        let expected: Vec<&Option<Text>> = self.notes.iter().filter(|(k, _)| *k == kind).map(|(_, text)| text).collect();
        for text in &expected {
            match text {
                None if notes.is_empty() => {}
                None => return Err(format!("expected no {kind}, got {notes:?}")),
                Some(text) if notes.iter().any(|n| text.accepts(n)) => {}
                Some(text) => return Err(format!("expected {kind} {:?}, got {notes:?}", text.as_str())),
            }
        }
        let unexpected = |note: &&String| !expected.iter().flat_map(|t| t.iter()).any(|text| text.accepts(note));
        match notes.iter().find(unexpected) {
            Some(note) if !expected.is_empty() => Err(format!("unexpected {kind} {note:?}")),
            _ => Ok(()),
        }
    }
}

/// `5m`, or a number of seconds.
fn time(text: &str) -> Result<i64, String> {
    let (sign, size) = text.strip_prefix('-').map_or((1, text), |size| (-1, size));
    let seconds = || size.parse::<f64>().ok().map(|s| (s * 1000.0).round() as i64);
    promql::parse_duration(size).or_else(seconds).map(|ms| sign * ms).ok_or_else(|| format!("{text:?} is no time"))
}

/// The commands of a file and the lines where they stand.
pub(super) fn commands(text: &str) -> Vec<(usize, Result<Command, String>)> {
    // A comment ends a block, as an empty line does.
    let lines: Vec<&str> = text.lines().map(|l| l.trim()).map(|l| if l.starts_with('#') { "" } else { l }).collect();
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        let number = at + 1;
        at += 1;
        if line.is_empty() {
            continue;
        }
        let rest = lines.get(at..).unwrap_or_default();
        let block = rest.iter().position(|l| l.is_empty()).map_or(rest, |end| &rest[..end]);
        let word = line.split_whitespace().next().unwrap_or("");
        let command = match word {
            "clear" => Ok(Command::Clear),
            "load" | "load_with_nhcb" => {
                at += block.len();
                load(line, block)
            }
            _ if word.starts_with("eval") => {
                at += block.len();
                eval(line, block).map(Command::Eval)
            }
            _ => Err(format!("unknown command {line:?}")),
        };
        out.push((number, command));
    }
    out
}

fn series(line: &str) -> Result<SeriesDescription, String> {
    promql::parse_series_description(line).map_err(|e| format!("{line}: {e}"))
}

fn load(line: &str, block: &[&str]) -> Result<Command, String> {
    let (word, gap) = line.split_once(char::is_whitespace).ok_or("load needs a step")?;
    let series = block.iter().map(|l| series(l)).collect::<Result<_, _>>()?;
    Ok(Command::Load { gap_ms: time(gap.trim())?, series, nhcb: word == "load_with_nhcb" })
}

fn eval(line: &str, block: &[&str]) -> Result<Eval, String> {
    let (word, rest) = line.split_once(char::is_whitespace).ok_or("eval needs a query")?;
    let rest = rest.trim_start();
    let (when, query) = if let Some(rest) = rest.strip_prefix("instant") {
        let rest = rest.trim_start().strip_prefix("at").ok_or("expected \"at\"")?.trim_start();
        let (at, query) = rest.split_once(char::is_whitespace).ok_or("expected a query")?;
        (When::Instant(time(at)?), query)
    } else {
        let mut rest = rest.strip_prefix("range").ok_or("expected \"instant\" or \"range\"")?;
        let mut numbers = [0; 3];
        for (number, word) in numbers.iter_mut().zip(["from", "to", "step"]) {
            rest = rest.trim_start().strip_prefix(word).ok_or_else(|| format!("expected {word:?}"))?.trim_start();
            let (value, tail) = rest.split_once(char::is_whitespace).ok_or("expected a query")?;
            (*number, rest) = (time(value)?, tail);
        }
        let [start, end, step] = numbers;
        (When::Range { start, end, step }, rest)
    };
    let mut eval = Eval {
        query: query.trim().to_owned(),
        when,
        ordered: word == "eval_ordered",
        fails: (word == "eval_fail").then_some(Text::Any),
        notes: match word {
            "eval_warn" => vec![("warn", Some(Text::Any))],
            "eval_info" => vec![("info", Some(Text::Any))],
            _ => Vec::new(),
        },
        string: None,
        range: None,
        scalar: None,
        series: Vec::new(),
    };
    for line in block {
        if let Some(expectation) = line.strip_prefix("expect ") {
            expect(&mut eval, expectation.trim())?;
        } else if let Some(message) = line.strip_prefix("expected_fail_message") {
            eval.fails = Some(Text::Exactly(message.trim().to_owned()));
        } else if let Some(pattern) = line.strip_prefix("expected_fail_regexp") {
            eval.fails = Some(Text::Like(Regex::new(pattern.trim()).map_err(|e| e.to_string())?));
        } else if let Ok(value) = promql::parse_series_description(&format!("{{}} {line}")) {
            // A number alone is a scalar.
            match value.values.as_slice() {
                [promql::SequenceValue::Float(v)] => eval.scalar = Some(*v),
                _ => return Err(format!("unexpected line {line:?}")),
            }
        } else {
            eval.series.push(series(line)?);
        }
    }
    Ok(eval)
}

fn expect(eval: &mut Eval, expectation: &str) -> Result<(), String> {
    let (kind, rest) = expectation.split_once(char::is_whitespace).unwrap_or((expectation, ""));
    let rest = rest.trim();
    let text = || -> Result<Text, String> {
        if let Some(message) = rest.strip_prefix("msg:") {
            return Ok(Text::Exactly(message.trim().to_owned()));
        }
        match rest.strip_prefix("regex:") {
            Some(pattern) => Ok(Text::Like(Regex::new(pattern.trim()).map_err(|e| e.to_string())?)),
            None => Ok(Text::Any),
        }
    };
    match kind {
        "ordered" => eval.ordered = true,
        "fail" => eval.fails = Some(text()?),
        "warn" => eval.notes.push(("warn", Some(text()?))),
        "info" => eval.notes.push(("info", Some(text()?))),
        "no_warn" => eval.notes.push(("warn", None)),
        "no_info" => eval.notes.push(("info", None)),
        "string" => {
            let (text, _) = syntax::quoted(rest)?;
            eval.string = Some(text.into_owned());
        }
        "range" => {
            let words: Vec<&str> = rest.split_whitespace().collect();
            let ["vector", "from", from, "to", _, "step", step] = words.as_slice() else {
                return Err(format!("unknown expectation {expectation:?}"));
            };
            eval.range = Some((time(from)?, time(step)?));
        }
        _ => return Err(format!("unknown expectation {expectation:?}")),
    }
    Ok(())
}

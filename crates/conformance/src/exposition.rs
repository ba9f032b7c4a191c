//! Prometheus' cases of its text format and of OpenMetrics (`model/textparse`).

use std::path::Path;

use anyhow::Context;
use serde_json::Value;
use wire::exposition::{self, Exposed, ExpositionSink, Format, Options, Point};
use wire::{Limits, MetricKind, WireError};

use crate::go;
use crate::report::Report;

/// What the test's code adds to the text of its table before it is parsed.
const SETS: [(&str, &str, Format, &str); 4] = [
    (
        "openmetrics",
        "TestOpenMetricsParse",
        Format::OpenMetrics,
        "\n# HELP metric foo\0bar\nnull_byte_metric{a=\"abc\0\"} 1\n# EOF\n",
    ),
    ("openmetrics", "TestOpenMetricsParse_UTF8", Format::OpenMetrics, "# EOF\n"),
    ("promtext", "TestPromParse", Format::Text, "\n# HELP metric foo\0bar\nnull_byte_metric{a=\"abc\0\"} 1"),
    ("promtext", "TestUTF8PromParse", Format::Text, ""),
];

const ERRORS: [(&str, Format); 4] = [
    ("openmetrics_TestOpenMetricsParseErrors", Format::OpenMetrics),
    ("openmetrics_TestOMNullByteHandling", Format::OpenMetrics),
    ("promtext_TestPromParseErrors", Format::Text),
    ("promtext_TestPromNullByteHandling", Format::Text),
];

pub(crate) fn run(folder: &Path, report: &mut Report) -> anyhow::Result<()> {
    for (format, test, kind, more) in SETS {
        let file = |part: &str| json(&folder.join(format!("{format}_{test}_{part}.json")));
        let (input, expected) = (file("input")?, file("expected")?);
        let text = input["input"].as_str().context("no input")?.to_owned() + more;
        let mut found = Entries::default();
        let result = parse(kind, text.as_bytes(), &mut found);
        let mut from = 0;
        for case in cases(&expected)? {
            let name = format!("{test} {}", case["m"].as_str().or(case["comment"].as_str()).unwrap_or("?"));
            let wanted = Entry::expected(case);
            // The rows are a part of the sequence, in its order.
            let at = found.0[from..].iter().position(|e| *e == wanted);
            if let Some(at) = at {
                from += at + 1;
            }
            report.case(
                name,
                match (at, &result) {
                    (Some(_), _) => Ok(()),
                    (None, Err(e)) => Err(format!("{wanted:?} was not read: {e}")),
                    (None, Ok(_)) => Err(format!("{wanted:?} is not among what was read from there on")),
                },
            );
        }
    }
    for (file, format) in ERRORS {
        for case in cases(&json(&folder.join(format!("{file}.json")))?)? {
            let (input, wanted) = (case["input"].as_str().context("no input")?, case["err"].as_str().unwrap_or_default());
            // Go wrote some bytes as `\xff`; the table has them as the characters of that number.
            let latin =
                wanted.contains("\\xff") || input.chars().any(|c| ('\u{80}'..='\u{ff}').contains(&c)) && !wanted.is_empty();
            let bytes: Vec<u8> = match latin {
                true => input.chars().map(|c| c as u8).collect(),
                false => input.bytes().collect(),
            };
            let found = match parse(format, &bytes, &mut Entries::default()) {
                Ok(_) => String::new(),
                Err(WireError::Text { reason, .. }) => reason,
                Err(e) => e.to_string(),
            };
            // The end of the file is no error of ours.
            let wanted = if wanted == "EOF" { "" } else { wanted };
            report.case(
                format_args!("{file} {input:?}"),
                match found == wanted {
                    true => Ok(()),
                    false => Err(format!("{found:?} instead of {wanted:?}")),
                },
            );
        }
    }
    Ok(())
}

fn json(file: &Path) -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    serde_json::from_str(&text).with_context(|| file.display().to_string())
}

fn cases(value: &Value) -> anyhow::Result<&[Value]> {
    Ok(value["cases"].as_array().context("no cases")?)
}

fn parse(format: Format, bytes: &[u8], found: &mut Entries) -> Result<u64, WireError> {
    let options = Options { skip_created: true, ..Options::default() };
    exposition::parse(format, bytes, options, &Limits::default(), found)
}

#[derive(Debug, PartialEq)]
enum Entry {
    Comment(String),
    Kind(String, String),
    Help(String, String),
    Unit(String, String),
    /// A value that is not a number is `None`.
    Sample {
        text: String,
        labels: Vec<(String, String)>,
        value: Option<f64>,
        time: Option<i64>,
        start: i64,
        exemplars: Vec<String>,
    },
}

impl Entry {
    fn expected(case: &Value) -> Self {
        let text = |key: &str| case[key].as_str().unwrap_or_default().to_owned();
        let name = text("m");
        if !case["comment"].is_null() {
            return Self::Comment(text("comment"));
        }
        if !case["typ"].is_null() {
            return Self::Kind(name, go::word(&case["typ"]));
        }
        if !case["help"].is_null() {
            return Self::Help(name, text("help"));
        }
        if !case["unit"].is_null() {
            return Self::Unit(name, text("unit"));
        }
        let exemplar = |e: &Value| {
            let time = if e["HasTs"] == true { e["Ts"].as_i64() } else { None };
            format!("{:?} {} {time:?}", go::labels(&e["Labels"]).unwrap_or_default(), e["Value"].as_f64().unwrap_or(0.0))
        };
        Self::Sample {
            text: name,
            labels: go::labels(&case["lset"]).unwrap_or_default(),
            value: match &case["v"] {
                Value::Null => Some(0.0),
                v => v.as_f64(),
            },
            time: go::last_call(&case["t"], "int64p").and_then(|a| a.first()?.as_i64()),
            start: case["st"].as_i64().unwrap_or(0),
            exemplars: case["es"].as_array().into_iter().flatten().map(exemplar).collect(),
        }
    }
}

#[derive(Default)]
struct Entries(Vec<Entry>);

impl ExpositionSink for Entries {
    fn sample(&mut self, sample: &Exposed<'_>) {
        let pairs = |labels: &[(std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)]| -> Vec<(String, String)> {
            labels.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect()
        };
        let exemplars = sample.exemplars.iter().map(|e| format!("{:?} {} {:?}", pairs(&e.labels), e.value, e.time_ms));
        self.0.push(Entry::Sample {
            text: String::from_utf8_lossy(sample.text).into_owned(),
            labels: pairs(sample.labels),
            value: match sample.point {
                Point::Float(v) if !v.is_nan() => Some(v),
                _ => None,
            },
            time: sample.time_ms,
            start: sample.start_ms,
            exemplars: exemplars.collect(),
        });
    }
    fn kind(&mut self, family: &str, kind: MetricKind) {
        self.0.push(Entry::Kind(family.to_owned(), kind.as_str().to_owned()));
    }
    fn help(&mut self, family: &str, help: &str) {
        self.0.push(Entry::Help(family.to_owned(), help.to_owned()));
    }
    fn unit(&mut self, family: &str, unit: &str) {
        self.0.push(Entry::Unit(family.to_owned(), unit.to_owned()));
    }
    fn comment(&mut self, text: &[u8]) {
        self.0.push(Entry::Comment(String::from_utf8_lossy(text).into_owned()));
    }
}

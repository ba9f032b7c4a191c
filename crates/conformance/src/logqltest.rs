//! Loki's end-to-end tests of metric queries: `load` lines, `eval` queries over them.

use std::path::Path;

use anyhow::{Context, bail};
use logql::{Grid, Metric};
use model::Tenant;

use crate::lines::{Lines, Stream};
use crate::report::Report;

/// What the tests call 0: windows that reach before it must not reach before the epoch.
const ZERO: i64 = 1_700_006_400_000_000_000;

/// What an `eval` expects.
#[derive(Default)]
struct Expected {
    series: Vec<(Vec<(String, String)>, Vec<Option<f64>>)>,
    fails: Option<Option<Message>>,
    ordered: bool,
}

enum Message {
    Contains(String),
    Matches(regex::Regex),
}

pub(crate) fn run(dir: &Path, report: &mut Report) -> anyhow::Result<()> {
    let mut files: Vec<_> = std::fs::read_dir(dir)?.map(|e| Ok(e?.path())).collect::<std::io::Result<_>>()?;
    files.retain(|f| f.extension().is_some_and(|e| e == "logqltest"));
    files.sort();
    let store = Lines::open()?;
    for file in files {
        let name = file.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let text = std::fs::read_to_string(&file)?;
        run_file(&store, &name, &text, report).with_context(|| name.clone())?;
    }
    Ok(())
}

fn run_file(store: &Lines, name: &str, text: &str, report: &mut Report) -> anyhow::Result<()> {
    let lines: Vec<&str> = text.lines().collect();
    let mut section = 0;
    let mut tenant = Tenant::default();
    let mut at = 0;
    while at < lines.len() {
        let (number, line) = (at + 1, lines[at].trim());
        at += 1;
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let start = at;
        while lines.get(at).is_some_and(|l| l.starts_with([' ', '\t']) && !l.trim().is_empty()) {
            at += 1;
        }
        let block: Vec<&str> = lines[start..at].iter().map(|l| l.trim()).filter(|l| !l.starts_with('#')).collect();
        match line {
            "clear" => section += 1,
            "load" => {
                // A tenant of its own is an empty store.
                tenant = Tenant::new(&format!("{name}-{section}"))?;
                let streams = block.iter().map(|l| load(l).with_context(|| l.to_string())).collect::<anyhow::Result<Vec<_>>>()?;
                store.push(&tenant, &streams)?;
            }
            line => {
                let eval = line.strip_prefix("eval ").with_context(|| format!("line {number}: {line}"))?;
                let result = expected(&block).and_then(|expected| evaluate(store, &tenant, eval, &expected));
                report.case(format_args!("{name}:{number} {eval}"), result.map_err(|e| format!("{e:#}")));
            }
        }
    }
    Ok(())
}

/// `{a="b"}`; returns what is behind it as well.
fn labels(text: &str) -> anyhow::Result<(Vec<(String, String)>, &str)> {
    let mut rest = text.strip_prefix('{').context("labels expected")?.trim_start();
    let mut out = Vec::new();
    loop {
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok((out, rest.trim_start()));
        }
        let (name, value) = rest.split_once('=').context("a label expected")?;
        let (value, length) = syntax::quoted(value).map_err(|e| anyhow::anyhow!("{e}: {value}"))?;
        out.push((name.trim().to_owned(), value.into_owned()));
        rest = rest[name.len() + 1 + length..].trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
}

fn duration(text: &str) -> anyhow::Result<i64> {
    if text == "0" {
        return Ok(0);
    }
    logql::parse_duration(text).with_context(|| format!("{text:?} is no duration"))
}

/// `{labels} "line" @ 20s [repeat every 20s for 4] [metadata a="b"]`
fn load(line: &str) -> anyhow::Result<Stream> {
    let (labels, rest) = labels(line)?;
    let (text, length) = syntax::quoted(rest).map_err(|e| anyhow::anyhow!("{e}: {rest}"))?;
    let rest = rest[length..].trim_start().strip_prefix('@').context("@ expected")?.trim_start();
    let (first, mut rest) = rest.split_at(rest.find([' ', '#']).unwrap_or(rest.len()));
    let (mut every, mut count, mut metadata) = (0, 1, Vec::new());
    loop {
        rest = rest.trim_start();
        if let Some(repeat) = rest.strip_prefix("[repeat every ") {
            let (inner, after) = repeat.split_once(']').context("] expected")?;
            let (step, times) = inner.split_once(" for ").context("for expected")?;
            (every, count) = (duration(step.trim())?, times.trim().parse()?);
            rest = after;
        } else if let Some(pairs) = rest.strip_prefix("[metadata ") {
            let mut inner = pairs.trim_start();
            while !inner.starts_with(']') {
                let (name, value) = inner.split_once('=').context("= expected")?;
                let (value, length) = syntax::quoted(value).map_err(|e| anyhow::anyhow!("{e}: {value}"))?;
                metadata.push((name.trim().to_owned(), value.into_owned()));
                inner = inner[name.len() + 1 + length..].trim_start();
            }
            rest = &inner[1..];
        } else if rest.is_empty() || rest.starts_with('#') {
            break;
        } else {
            bail!("{rest:?} not understood");
        }
    }
    let first = ZERO + duration(first)?;
    let entries = (0..count).map(|i| (first + i * every, text.to_string(), metadata.clone())).collect();
    Ok((labels, entries))
}

fn expected(block: &[&str]) -> anyhow::Result<Expected> {
    let mut out = Expected::default();
    for line in block {
        if let Some(what) = line.strip_prefix("expect ") {
            match what.split_once(' ').unwrap_or((what, "")) {
                ("empty", _) => {}
                ("ordered", _) => out.ordered = true,
                ("fail", message) => {
                    out.fails = Some(match message.split_once(": ") {
                        Some(("msg", text)) => Some(Message::Contains(text.to_owned())),
                        Some(("regex", pattern)) => Some(Message::Matches(regex::Regex::new(pattern)?)),
                        _ => None,
                    });
                }
                _ => bail!("{line:?} not understood"),
            }
            continue;
        }
        // A number alone is a scalar.
        let (labels, rest) = if line.starts_with('{') { labels(line)? } else { (Vec::new(), *line) };
        let rest = rest.split_once('#').map_or(rest, |(values, _)| values);
        let values = rest.split_whitespace().map(|v| match v {
            "_" => Ok(None),
            "NaN" => Ok(Some(f64::NAN)),
            v => v.parse().map(Some).with_context(|| v.to_owned()),
        });
        out.series.push((labels, values.collect::<anyhow::Result<_>>()?));
    }
    Ok(out)
}

fn evaluate(store: &Lines, tenant: &Tenant, eval: &str, expected: &Expected) -> anyhow::Result<()> {
    let (grid, query) = if let Some(rest) = eval.strip_prefix("instant at ") {
        let (at, query) = rest.split_once(' ').context("a query expected")?;
        let at = ZERO + duration(at)?;
        (Grid { start: at, end: at, step: 1 }, query)
    } else {
        let rest = eval.strip_prefix("range from ").context("instant or range expected")?;
        let words: Vec<&str> = rest.splitn(6, ' ').collect();
        let [from, "to", to, "step", step, query] = words[..] else { bail!("{eval:?} not understood") };
        (Grid { start: ZERO + duration(from)?, end: ZERO + duration(to)?, step: duration(step)? }, query)
    };
    let result = logql::parse(query)
        .map_err(|e| e.to_string())
        .and_then(|expr| store.ask(tenant, |q| logql::metric(q, &expr, grid)).map_err(|e| e.to_string()));
    match (result, &expected.fails) {
        (Err(_), Some(None)) => Ok(()),
        (Err(got), Some(Some(Message::Contains(text)))) if got.contains(text) => Ok(()),
        (Err(got), Some(Some(Message::Matches(regex)))) if regex.is_match(&got) => Ok(()),
        (Err(got), Some(Some(Message::Contains(text)))) => bail!("failed with {got:?}, expected {text:?}"),
        (Err(got), Some(Some(Message::Matches(regex)))) => bail!("failed with {got:?}, expected {regex}"),
        (Err(got), None) => bail!("failed: {got}"),
        (Ok(_), Some(_)) => bail!("answered, expected a failure"),
        (Ok(metric), None) => compare(metric, expected, grid),
    }
}

fn almost(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-6 * a.abs().max(b.abs()),
        _ => false,
    }
}

fn compare(metric: Metric, expected: &Expected, grid: Grid) -> anyhow::Result<()> {
    let got: Vec<(Vec<(String, String)>, Vec<Option<f64>>)> = match metric {
        Metric::Scalar(values) => vec![(Vec::new(), values.into_iter().map(Some).collect())],
        Metric::Series(series) => {
            let pairs = |l: &logql::LabelSet| l.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            series.iter().map(|(labels, values)| (pairs(labels), values.clone())).collect()
        }
    };
    let show = |labels: &[(String, String)], values: &[Option<f64>]| format!("{labels:?} {values:?}");
    for (place, (labels, values)) in expected.series.iter().enumerate() {
        let mut sorted = labels.clone();
        sorted.sort();
        let mut values = values.clone();
        values.resize(grid.len().max(values.len()), None);
        let Some(found) = got.iter().position(|(l, _)| *l == sorted) else {
            bail!("{} is missing in {:?}", show(&sorted, &values), got);
        };
        let same = got[found].1.len() == values.len() && got[found].1.iter().zip(&values).all(|(a, b)| almost(*a, *b));
        anyhow::ensure!(same, "{}, expected {:?}", show(&sorted, &got[found].1), values);
        anyhow::ensure!(!expected.ordered || found == place, "{} at place {found}, expected {place}", show(&sorted, &values));
    }
    anyhow::ensure!(got.len() == expected.series.len(), "{} series, expected {}: {got:?}", got.len(), expected.series.len());
    Ok(())
}

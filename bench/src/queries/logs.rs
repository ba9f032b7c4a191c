//! Queries of log lines, over Loki's API.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::Value as Json;

use super::{Expected, Query, encoded, equal, get, list, total};
use crate::send::{Connection, Url};

const ALL: &str = "{service_name=~\".+\"}";

/// The lines of an answer: times and texts.
fn lines(answer: &Json) -> Result<Vec<(u64, &str)>> {
    let mut out = Vec::new();
    for stream in list(answer, "/data/result")? {
        for value in list(stream, "/values")? {
            let time = value.get(0).and_then(Json::as_str).and_then(|t| t.parse().ok()).context("a line has no time")?;
            out.push((time, value.get(1).and_then(Json::as_str).context("a line has no text")?));
        }
    }
    Ok(out)
}

fn statuses(lines: &[(u64, &str)]) -> Result<String> {
    for (_, line) in lines {
        let json: Json = serde_json::from_str(line).context("a line is no JSON")?;
        if json.get("status").and_then(Json::as_u64).is_none_or(|s| s < 500) {
            bail!("a line that was not asked for: {line}");
        }
    }
    equal("lines", lines.len() as u64, 1000)
}

/// The word that most of some thousand lines have.
fn common_word(url: &Url, path: &str) -> Result<(String, u64)> {
    let (_, body) = get(&mut Connection::open(url)?, path)?;
    let answer = serde_json::from_slice(&body)?;
    let mut words: BTreeMap<String, u64> = BTreeMap::new();
    for (_, line) in lines(&answer)? {
        let json: Json = serde_json::from_str(line).unwrap_or_default();
        for word in json.get("message").and_then(Json::as_str).unwrap_or("").split(' ').filter(|w| w.len() > 4) {
            *words.entry(word.to_owned()).or_default() += 1;
        }
    }
    words.into_iter().max_by_key(|(word, n)| (*n, word.clone())).context("no line has a word")
}

pub(super) fn queries(expected: &Expected, url: &Url) -> Result<Vec<Query>> {
    // The last lines lie a little behind the end; windows of a minute begin on the minute.
    let (start, end) = (expected.number("start_ms")? / 60_000 * 60_000, (expected.number("end_ms")? / 60_000 + 2) * 60_000);
    let asked = |query: &str, rest: &str| {
        format!("/loki/api/v1/query_range?query={}&start={start}000000&end={end}000000{rest}", encoded(query))
    };
    let counted = |query: &str| asked(query, "&step=60");
    let newest = |query: &str, limit: u64| asked(query, &format!("&direction=backward&limit={limit}"));
    let (word, _) = common_word(url, &newest(ALL, 1000))?;
    let (failed, prod) = (expected.number("status_ge_500")?, expected.number("prod_lines")?);
    let levels = ["info", "debug", "warn", "error"]
        .iter()
        .map(|level| Ok((*level, expected.number(&format!("prod_{level}"))?)))
        .collect::<Result<Vec<_>>>()?;
    let mut needles = Vec::new();
    for needle in expected.list("needles")? {
        needles.push(newest(&format!("{ALL} |= \"{needle}\""), 100));
    }
    Ok(vec![
        Query {
            name: "newest 100 lines of a service",
            bar: 5.0,
            paths: vec![newest("{service_name=\"checkout\"}", 100)],
            check: Box::new(|answer| equal("lines", lines(answer)?.len() as u64, 100)),
        },
        Query {
            name: "one trace id over everything",
            bar: 2.0,
            paths: needles,
            check: Box::new(|answer| match lines(answer)?.len() {
                0 => bail!("no line"),
                n => Ok(format!("{n} lines")),
            }),
        },
        Query {
            name: "json, status >= 500, newest 1,000",
            bar: 15.0,
            paths: vec![newest(&format!("{ALL} | json | status >= 500"), 1000)],
            check: Box::new(|answer| statuses(&lines(answer)?)),
        },
        Query {
            name: "json, status >= 500, counted per minute",
            bar: 10.0,
            paths: vec![counted(&format!("sum(count_over_time({ALL} | json | status >= 500 [1m]))"))],
            check: Box::new(move |answer| equal("lines", total(answer)? as u64, failed)),
        },
        Query {
            name: "json, duration_ms > 100, counted",
            bar: 30.0,
            paths: vec![counted(&format!("sum(count_over_time({ALL} | json | duration_ms > 100 [1m]))"))],
            check: Box::new(|answer| Ok(format!("{} lines", total(answer)?))),
        },
        Query {
            name: "sum by (level), env=prod, per minute",
            bar: 15.0,
            paths: vec![counted("sum by (level)(count_over_time({env=\"prod\"}[1m]))")],
            check: Box::new(move |answer| {
                for series in list(answer, "/data/result")? {
                    let level = series.pointer("/metric/level").and_then(Json::as_str).unwrap_or("");
                    let own = total(&serde_json::json!({"data": {"result": [series]}}))? as u64;
                    equal(level, own, levels.iter().find(|(l, _)| *l == level).map_or(0, |(_, n)| *n))?;
                }
                equal("lines", total(answer)? as u64, prod)
            }),
        },
        Query {
            name: "a common word, counted per minute",
            bar: 120.0,
            paths: vec![counted(&format!("sum(count_over_time({ALL} |= \"{word}\" [1m]))"))],
            check: Box::new(move |answer| Ok(format!("{} lines with {word:?}", total(answer)?))),
        },
    ])
}

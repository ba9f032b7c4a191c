//! `/loki/api/v1/query` and `/loki/api/v1/query_range`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use logql::{Direction, Expr, Grid, LabelSet, Line, LogQuery, Metric, Question, metric};
use model::{Tenant, TimeRange};
use store::Reader;

use super::{duration, range as time_range, time};
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::run::blocking;
use crate::{Api, Settings, json};

/// Most steps of a range query.
const MAX_STEPS: i64 = 11_000;
const SECOND_NS: i64 = 1_000_000_000;

pub(super) fn parse(ask: &Ask) -> Result<Expr, Failure> {
    logql::parse(ask.get("query").unwrap_or("")).map_err(|e| Failure::BadData(e.to_string()))
}

pub(crate) fn question<'a>(api: &Api, reader: &'a dyn Reader, tenant: &'a Tenant, cancelled: &'a AtomicBool) -> Question<'a> {
    let Settings { max_lines, discover_levels, .. } = api.settings;
    Question { reader, tenant, max_lines, discover_levels, cancelled }
}

pub(super) async fn instant(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let expr = parse(&ask)?;
    if matches!(expr, Expr::Log(_)) {
        return Err(Failure::BadData(
            "log queries are not supported as an instant query type, please change your query to a range query type".to_owned(),
        ));
    }
    let at = time(&ask, "time")?.unwrap_or(ask.now_ns);
    let tenant = ask.tenant()?;
    let state = api.clone();
    blocking(&api, None, move |cancelled| {
        let began = Instant::now();
        let reader = state.source.snapshot();
        let grid = Grid { start: at, end: at, step: 1 };
        let result = metric(&question(&state, &*reader, &tenant, cancelled), &expr, grid)?;
        let at_ms = at.div_euclid(1_000_000);
        let (kind, body, rows) = match result {
            Metric::Scalar(values) => {
                let mut out = String::new();
                json::point(&mut out, at_ms, values.first().copied().unwrap_or(f64::NAN));
                ("scalar", out, 1)
            }
            Metric::Series(series) => {
                let rows = series.len();
                let body = series_json(&series, |out, values| {
                    out.push_str("\"value\":");
                    // Series without a value are left out already.
                    json::point(out, at_ms, values.first().copied().flatten().unwrap_or(f64::NAN));
                });
                ("vector", body, rows)
            }
        };
        Ok(envelope(kind, &body, rows, Read::default(), began, false, reader.partial()))
    })
    .await
}

/// The query laid out for reading.
pub(super) async fn format(_: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let mut body = String::from("{\"status\":\"success\",\"data\":");
    json::string(&mut body, &parse(&ask)?.pretty());
    body.push('}');
    Ok(Answer::json(body, 1))
}

pub(super) async fn range(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let expr = parse(&ask)?;
    let range = time_range(&ask, 1)?;
    match expr {
        Expr::Log(log) => lines(api, ask, log, range).await,
        expr => series(api, ask, expr, range).await,
    }
}

/// Which lines are asked for.
pub(super) struct AskedLines {
    log: LogQuery,
    range: TimeRange,
    direction: Direction,
    limit: usize,
}

pub(super) fn asked_lines(api: &Api, ask: &Ask, log: LogQuery, range: TimeRange) -> Result<AskedLines, Failure> {
    let limit = ask.count("limit", 100)?;
    let most = api.settings.max_entries;
    if limit > most {
        return Err(Failure::BadData(format!(
            "max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {most})"
        )));
    }
    let direction = match ask.get("direction").unwrap_or("backward") {
        d if d.eq_ignore_ascii_case("backward") => Direction::Backward,
        d if d.eq_ignore_ascii_case("forward") => Direction::Forward,
        other => return Err(Failure::BadData(format!("invalid direction '{other}'"))),
    };
    // Loki takes 0 for "no limit of mine".
    Ok(AskedLines { log, range, direction, limit: if limit == 0 { most } else { limit } })
}

pub(super) async fn found_lines(api: &Arc<Api>, ask: &Ask, asked: AskedLines) -> Result<(Vec<Line>, Option<String>), Failure> {
    let tenant = ask.tenant()?;
    let state = api.clone();
    blocking(api, None, move |cancelled| {
        let reader = state.source.snapshot();
        let AskedLines { log, range, direction, limit } = asked;
        let found = logql::lines(&question(&state, &*reader, &tenant, cancelled), &log, range, direction, limit)?;
        Ok((found, reader.partial()))
    })
    .await
}

/// Whether labels are wanted by where they come from.
pub(super) fn categorizes(ask: &Ask) -> bool {
    ask.header("x-loki-response-encoding-flags").split(',').any(|f| f.trim() == "categorize-labels")
}

async fn lines(api: Arc<Api>, ask: Ask, log: LogQuery, range: TimeRange) -> Result<Answer, Failure> {
    let began = Instant::now();
    let asked = asked_lines(&api, &ask, log, range)?;
    let (found, partial) = found_lines(&api, &ask, asked).await?;
    let read = Read { lines: found.len(), bytes: found.iter().map(|l| l.text.len()).sum() };
    let categorize = categorizes(&ask);
    // Off the async threads: it may be long.
    let body = tokio::task::spawn_blocking(move || streams_json(&found, categorize)).await;
    let body = body.map_err(|e| Failure::Internal(format!("writing the answer: {e}")))?;
    Ok(envelope("streams", &body, read.lines, read, began, categorize, partial))
}

/// Lines grouped by their labels; each group keeps the order of the lines.
pub(super) fn streams_json(lines: &[Line], categorize: bool) -> String {
    let mut streams: BTreeMap<LabelSet, Vec<&Line>> = BTreeMap::new();
    for line in lines {
        let labels = if categorize { LabelSet::clone(&line.stream) } else { line.labels() };
        streams.entry(labels).or_default().push(line);
    }
    let mut out = String::from("[");
    json::list(&mut out, streams, |out, (labels, lines)| {
        out.push_str("{\"stream\":");
        json::pairs(out, labels.iter());
        out.push_str(",\"values\":[");
        json::list(out, lines, |out, line| {
            out.push_str(&format!("[\"{}\",", line.time));
            json::string(out, &line.text);
            if categorize {
                out.push_str(",{");
                let kinds = [("structuredMetadata", &line.metadata), ("parsed", &line.parsed)];
                json::list(out, kinds.iter().filter(|(_, labels)| !labels.is_empty()), |out, (kind, labels)| {
                    out.push_str(&format!("\"{kind}\":"));
                    json::pairs(out, labels.iter());
                });
                out.push('}');
            }
            out.push(']');
        });
        out.push_str("]}");
    });
    out.push(']');
    out
}

/// The parameter `step`, nanoseconds; without it as Loki chooses.
pub(super) fn step(ask: &Ask, range: TimeRange) -> Result<i64, Failure> {
    let span = range.end.saturating_sub(range.start);
    let step = match duration(ask, "step")? {
        Some(step) => step,
        None => (span / SECOND_NS / 250).max(1) * SECOND_NS,
    };
    if step <= 0 {
        return Err(Failure::BadData(
            "zero or negative query resolution step widths are not accepted. Try a positive integer".to_owned(),
        ));
    }
    Ok(step)
}

/// Refuses a range of too many steps.
pub(super) fn check_steps(range: TimeRange, step: i64) -> Result<(), Failure> {
    if range.end.saturating_sub(range.start) / step.max(1) > MAX_STEPS {
        return Err(Failure::BadData(
            "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter"
                .to_owned(),
        ));
    }
    Ok(())
}

async fn series(api: Arc<Api>, ask: Ask, expr: Expr, range: TimeRange) -> Result<Answer, Failure> {
    let step = step(&ask, range)?;
    check_steps(range, step)?;
    // Loki aligns both ends to the step.
    let align = |t: i64| t.div_euclid(step) * step;
    let grid = Grid { start: align(range.start), end: align(range.end), step };
    let tenant = ask.tenant()?;
    let state = api.clone();
    blocking(&api, None, move |cancelled| {
        let began = Instant::now();
        let reader = state.source.snapshot();
        let result = match metric(&question(&state, &*reader, &tenant, cancelled), &expr, grid)? {
            Metric::Series(series) => series,
            Metric::Scalar(values) => vec![(LabelSet::default(), values.into_iter().map(Some).collect())],
        };
        let body = series_json(&result, |out, values| {
            out.push_str("\"values\":[");
            let points = grid.times().zip(values).filter_map(|(t, v)| v.map(|v| (t.div_euclid(1_000_000), v)));
            json::list(out, points, |out, (t, v)| json::point(out, t, v));
            out.push(']');
        });
        Ok(envelope("matrix", &body, result.len(), Read::default(), began, false, reader.partial()))
    })
    .await
}

type Series = [(LabelSet, Vec<Option<f64>>)];

fn series_json(series: &Series, values: impl Fn(&mut String, &[Option<f64>])) -> String {
    let mut out = String::from("[");
    json::list(&mut out, series, |out, (labels, v)| {
        out.push_str("{\"metric\":");
        json::pairs(out, labels.iter());
        out.push(',');
        values(out, v);
        out.push('}');
    });
    out.push(']');
    out
}

/// What a query read, for the statistics that clients show.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Read {
    lines: usize,
    bytes: usize,
}

pub(super) fn envelope(
    kind: &str,
    result: &str,
    rows: usize,
    read: Read,
    began: Instant,
    categorized: bool,
    partial: Option<String>,
) -> Answer {
    let seconds = began.elapsed().as_secs_f64();
    let flags = if categorized { "\"encodingFlags\":[\"categorize-labels\"]," } else { "" };
    let stats = serde_json::json!({"summary": {
        "bytesProcessedPerSecond": (read.bytes as f64 / seconds.max(1e-9)) as u64,
        "linesProcessedPerSecond": (read.lines as f64 / seconds.max(1e-9)) as u64,
        "totalBytesProcessed": read.bytes,
        "totalLinesProcessed": read.lines,
        "execTime": seconds,
        "totalEntriesReturned": rows,
    }});
    let warnings = match &partial {
        Some(why) => format!(",\"warnings\":{}", json::strings([why])),
        None => String::new(),
    };
    let body = format!(
        "{{\"status\":\"success\",\"data\":{{\"resultType\":\"{kind}\",{flags}\"result\":{result},\"stats\":{stats}}}{warnings}}}"
    );
    Answer::json(body, rows).partial(partial)
}

//! `/loki/api/v1/query` and `/loki/api/v1/query_range`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use logql::{Direction, Expr, Grid, LabelSet, Line, LogQuery, Metric, Question, Tally, metric};
use model::{Tenant, TimeRange};
use store::Reader;

use super::{duration, positive, range as time_range, time};
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::run::blocking;
use crate::{Api, Settings, json};

/// Most steps of a range query.
const MAX_STEPS: i64 = 11_000;
const SECOND_NS: i64 = 1_000_000_000;
/// How many times what a PromQL query may take the labels of a LogQL query's series may.
const LABELS: usize = 4;
/// Lines of an answer where the request does not say.
const LIMIT: usize = 100;

pub(super) fn parse(ask: &Ask) -> Result<Expr, Failure> {
    logql::parse(ask.get("query").unwrap_or("")).map_err(|e| Failure::BadData(e.to_string()))
}

pub(crate) fn question<'a>(
    api: &Api,
    reader: &'a dyn Reader,
    tenant: &'a Tenant,
    cancelled: &'a AtomicBool,
    tally: &'a Tally,
) -> Question<'a> {
    let Settings { max_lines, discover_levels, max_query_memory, .. } = api.settings;
    // Labels that a million streams have fit into what a query may take several times over; what a template makes of lines may not.
    let max_label_bytes = max_query_memory.saturating_mul(LABELS);
    Question { reader, tenant, max_lines, max_label_bytes, max_value_bytes: max_query_memory, discover_levels, cancelled, tally }
}

/// Which lines come first.
fn direction(ask: &Ask) -> Result<Direction, Failure> {
    match ask.get("direction").unwrap_or("backward") {
        d if d.eq_ignore_ascii_case("backward") => Ok(Direction::Backward),
        d if d.eq_ignore_ascii_case("forward") => Ok(Direction::Forward),
        other => Err(Failure::BadData(format!("invalid direction '{other}'"))),
    }
}

pub(super) async fn instant(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let took = Took::begin(&ask);
    positive(&ask, "limit", LIMIT)?;
    let at = time(&ask, "time")?.unwrap_or(ask.now_ns);
    direction(&ask)?;
    let expr = parse(&ask)?;
    if matches!(expr, Expr::Log(_)) {
        return Err(Failure::BadData(
            "log queries are not supported as an instant query type, please change your query to a range query type".to_owned(),
        ));
    }
    let tenant = ask.tenant()?;
    let state = api.clone();
    blocking(&api, None, move |cancelled| {
        let mut took = took.run();
        let reader = state.source.snapshot();
        let grid = Grid { start: at, end: at, step: 1 };
        let tally = Tally::default();
        let result = metric(&question(&state, &*reader, &tenant, cancelled, &tally), &expr, grid)?;
        took.read(&tally);
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
        Ok(envelope(kind, &body, rows, &took, reader.partial()))
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
    let took = Took::begin(&ask);
    let range = time_range(&ask, 1)?;
    let asked = asked_lines(&ask, range)?;
    let step = step(&ask, range)?;
    check_steps(range, step)?;
    match parse(&ask)? {
        Expr::Log(log) => lines(api, ask, log, asked, took).await,
        expr => series(api, ask, expr, range, step, took).await,
    }
}

/// Which of a query's lines are asked for.
pub(super) struct AskedLines {
    range: TimeRange,
    direction: Direction,
    limit: usize,
    /// How far apart they are at least, nanoseconds.
    interval: i64,
}

pub(super) fn asked_lines(ask: &Ask, range: TimeRange) -> Result<AskedLines, Failure> {
    let interval = duration(ask, "interval")?.unwrap_or(0);
    if interval < 0 {
        return Err(Failure::BadData("interval must be >= 0".to_owned()));
    }
    Ok(AskedLines { range, direction: direction(ask)?, limit: positive(ask, "limit", LIMIT)?, interval })
}

/// Refuses more lines than an answer may have.
pub(super) fn check_entries(api: &Api, limit: usize) -> Result<(), Failure> {
    let most = api.settings.max_entries;
    if limit > most {
        return Err(Failure::BadData(format!(
            "max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {most})"
        )));
    }
    Ok(())
}

pub(super) async fn found_lines(
    api: &Arc<Api>,
    ask: &Ask,
    log: LogQuery,
    asked: AskedLines,
    took: Took,
) -> Result<(Vec<Line>, Took, Option<String>), Failure> {
    check_entries(api, asked.limit)?;
    let tenant = ask.tenant()?;
    let state = api.clone();
    blocking(api, None, move |cancelled| {
        let mut took = took.run();
        let reader = state.source.snapshot();
        let AskedLines { range, direction, limit, interval } = asked;
        let tally = Tally::default();
        let question = question(&state, &*reader, &tenant, cancelled, &tally);
        let found = logql::lines_apart(&question, &log, range, direction, limit, interval)?;
        took.read(&tally);
        Ok((found, took, reader.partial()))
    })
    .await
}

/// Whether labels are wanted by where they come from.
pub(super) fn categorizes(ask: &Ask) -> bool {
    ask.header("x-loki-response-encoding-flags").split(',').any(|f| f.trim() == "categorize-labels")
}

async fn lines(api: Arc<Api>, ask: Ask, log: LogQuery, asked: AskedLines, took: Took) -> Result<Answer, Failure> {
    let (found, took, partial) = found_lines(&api, &ask, log, asked, took).await?;
    let (rows, categorize) = (found.len(), took.categorized);
    // Off the async threads: it may be long.
    let body = tokio::task::spawn_blocking(move || streams_json(&found, categorize)).await;
    let body = body.map_err(|e| Failure::Internal(format!("writing the answer: {e}")))?;
    Ok(envelope("streams", &body, rows, &took, partial))
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

async fn series(api: Arc<Api>, ask: Ask, expr: Expr, range: TimeRange, step: i64, took: Took) -> Result<Answer, Failure> {
    // Loki aligns both ends to the step.
    let align = |t: i64| t.div_euclid(step) * step;
    let grid = Grid { start: align(range.start), end: align(range.end), step };
    let tenant = ask.tenant()?;
    let state = api.clone();
    blocking(&api, None, move |cancelled| {
        let mut took = took.run();
        let reader = state.source.snapshot();
        let tally = Tally::default();
        let result = match metric(&question(&state, &*reader, &tenant, cancelled, &tally), &expr, grid)? {
            Metric::Series(series) => series,
            Metric::Scalar(values) => vec![(LabelSet::default(), values.into_iter().map(Some).collect())],
        };
        let body = series_json(&result, |out, values| {
            out.push_str("\"values\":[");
            let points = grid.times().zip(values).filter_map(|(t, v)| v.map(|v| (t.div_euclid(1_000_000), v)));
            json::list(out, points, |out, (t, v)| json::point(out, t, v));
            out.push(']');
        });
        took.read(&tally);
        Ok(envelope("matrix", &body, result.len(), &took, reader.partial()))
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

/// What a query took, for the statistics that clients show, and how its answer is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Took {
    came: Instant,
    begun: Instant,
    lines: u64,
    bytes: u64,
    /// Labels are wanted by where they come from.
    categorized: bool,
}

impl Took {
    /// A query that has just come.
    pub(super) fn begin(ask: &Ask) -> Self {
        let now = Instant::now();
        Self { came: now, begun: now, lines: 0, bytes: 0, categorized: categorizes(ask) }
    }

    /// It has its turn.
    pub(super) fn run(self) -> Self {
        Self { begun: Instant::now(), ..self }
    }

    pub(super) fn read(&mut self, tally: &Tally) {
        (self.lines, self.bytes) = (tally.lines(), tally.bytes());
    }

    /// Loki's statistics of an answer of so many rows. There are neither splits nor shards of a query here.
    pub(super) fn stats(&self, rows: usize) -> serde_json::Value {
        let Self { came, begun, lines, bytes, .. } = *self;
        let seconds = begun.elapsed().as_secs_f64();
        let each_second = |n: u64| (n as f64 / seconds.max(1e-9)) as u64;
        serde_json::json!({
            "summary": {
                "bytesProcessedPerSecond": each_second(bytes),
                "linesProcessedPerSecond": each_second(lines),
                "totalBytesProcessed": bytes,
                "totalLinesProcessed": lines,
                "execTime": seconds,
                "queueTime": begun.saturating_duration_since(came).as_secs_f64(),
                "subqueries": 0,
                "splits": 0,
                "shards": 0,
                "totalEntriesReturned": rows,
            },
            "querier": {"store": {"chunk": {"decompressedBytes": bytes, "decompressedLines": lines}}},
        })
    }
}

pub(super) fn envelope(kind: &str, result: &str, rows: usize, took: &Took, partial: Option<String>) -> Answer {
    let stats = took.stats(rows);
    let flags = if took.categorized { "\"encodingFlags\":[\"categorize-labels\"]," } else { "" };
    let warnings = match &partial {
        Some(why) => format!(",\"warnings\":{}", json::strings([why])),
        None => String::new(),
    };
    let body = format!(
        "{{\"status\":\"success\",\"data\":{{\"resultType\":\"{kind}\",{flags}\"result\":{result},\"stats\":{stats}}}{warnings}}}"
    );
    Answer::json(body, rows).partial(partial)
}

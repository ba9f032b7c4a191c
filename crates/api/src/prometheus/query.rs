//! `/api/v1/query` and `/api/v1/query_range`.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use model::{Labels, Tenant};
use promql::{Expr, Grid, Options, Outcome, Question, Sample};
use store::Reader;

use super::{bad, close_envelope, cut, limit, open_envelope, required_time, time};
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::run::blocking;
use crate::time::prometheus_duration_ms;
use crate::{Api, json};

/// Most steps of a range query.
const MAX_STEPS: i64 = 11_000;

/// Most warnings, and most infos, of an answer.
const MAX_NOTES: usize = 10;

/// Bytes of a point, about: `[1435781451.781,"0.123456789012345"],`.
const POINT_ROOM: usize = 36;
/// Bytes of a series' labels, about.
const SERIES_ROOM: usize = 128;

/// What both kinds of queries read from the request.
struct Query {
    text: String,
    expr: Expr,
    tenant: Tenant,
    lookback_ms: i64,
    timeout: Option<Duration>,
    limit: usize,
    /// The parameter `stats`: empty for none, `all` for each step as well.
    stats: String,
    /// When the request came.
    came: Instant,
}

fn duration(ask: &Ask, name: &str) -> Result<Option<i64>, Failure> {
    let Some(text) = ask.get(name) else { return Ok(None) };
    let overflows = || text.parse().is_ok_and(|seconds: f64| seconds.abs() * 1e9 >= i64::MAX as f64);
    prometheus_duration_ms(text).map(Some).ok_or_else(|| {
        let more = if overflows() { ". It overflows int64" } else { "" };
        bad(name, format!("cannot parse {text:?} to a valid duration{more}"))
    })
}

impl Query {
    /// In the order in which Prometheus looks at the parameters: of several that are wrong it names the first.
    fn read(api: &Api, ask: &Ask, limit: usize) -> Result<Self, Failure> {
        let timeout = duration(ask, "timeout")?.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0)));
        let lookback_ms = match ask.get("lookback_delta") {
            None => None,
            Some(text) => Some(prometheus_duration_ms(text).ok_or_else(|| {
                Failure::BadData(format!("error parsing lookback delta duration: cannot parse {text:?} to a valid duration"))
            })?),
        };
        let text = ask.get("query").unwrap_or("").to_owned();
        let expr = promql::parse(&text).map_err(|e| bad("query", e))?;
        Ok(Self {
            expr,
            tenant: ask.tenant()?,
            lookback_ms: lookback_ms.filter(|ms| *ms > 0).unwrap_or(api.settings.lookback_ms),
            timeout,
            limit,
            stats: ask.get("stats").unwrap_or("").to_owned(),
            came: Instant::now(),
            text,
        })
    }

    fn question<'a>(&'a self, reader: &'a dyn Reader, api: &Api, cancelled: &'a AtomicBool) -> Question<'a> {
        Question {
            reader,
            tenant: &self.tenant,
            lookback_ms: self.lookback_ms,
            limits: api.limits(),
            cancelled,
            options: Options::default(),
            stats: !self.stats.is_empty(),
        }
    }

    /// The answer, with what it took if that was asked for. `begun`: when the query had its turn.
    fn answer(&self, mut outcome: Outcome, begun: Instant, at_ms: i64, partial: Option<String>) -> Answer {
        let stats = outcome.stats.take().map(|stats| self.stats(&stats, begun));
        answer(outcome, at_ms, self.limit, stats.as_deref(), partial)
    }

    /// As `prometheus/util/stats/query_stats.go` has it: times in seconds.
    fn stats(&self, stats: &promql::Stats, begun: Instant) -> String {
        let mut steps = String::new();
        if self.stats == "all" {
            steps.push_str("\"totalQueryableSamplesPerStep\":[");
            json::list(&mut steps, &stats.steps, |out, (time, samples)| {
                out.push('[');
                json::seconds(out, *time);
                let _ = write!(out, ",{samples}]");
            });
            steps.push_str("],");
        }
        let queue = begun.saturating_duration_since(self.came);
        let inner = stats.total.saturating_sub(stats.sorting);
        let timings = [
            ("evalTotalTime", stats.total),
            ("resultSortTime", stats.sorting),
            ("queryPreparationTime", begun.elapsed().saturating_sub(stats.total)),
            ("innerEvalTime", inner),
            ("execQueueTime", queue),
            ("execTotalTime", self.came.elapsed()),
        ];
        let timings = timings.map(|(name, took)| format!("\"{name}\":{}", took.as_secs_f64())).join(",");
        format!(
            "{{\"timings\":{{{timings}}},\"samples\":{{{steps}\"totalQueryableSamples\":{},\"peakSamples\":{}}}}}",
            stats.samples(),
            stats.peak
        )
    }
}

pub(super) async fn instant(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let limit = limit(&ask)?;
    let at = time(&ask, "time")?.unwrap_or(ask.now_ns.div_euclid(1_000_000));
    let query = Query::read(&api, &ask, limit)?;
    let state = api.clone();
    blocking(&api, query.timeout, move |cancelled| {
        let begun = Instant::now();
        let reader = state.source.snapshot();
        let outcome = promql::instant(&query.question(&*reader, &state, cancelled), &query.text, &query.expr, at)?;
        Ok(query.answer(outcome, begun, at, reader.partial()))
    })
    .await
}

pub(super) async fn range(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let limit = limit(&ask)?;
    let (start, end) = (required_time(&ask, "start")?, required_time(&ask, "end")?);
    if end < start {
        return Err(bad("end", "end timestamp must not be before start time"));
    }
    let Some(step) = duration(&ask, "step")? else { return Err(bad("step", "cannot parse \"\" to a valid duration")) };
    if step <= 0 {
        return Err(bad("step", "zero or negative query resolution step widths are not accepted. Try a positive integer"));
    }
    if end.saturating_sub(start) / step > MAX_STEPS {
        return Err(Failure::BadData(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"
                .to_owned(),
        ));
    }
    let query = Query::read(&api, &ask, limit)?;
    if !matches!(query.expr.value_type(), promql::Type::Scalar | promql::Type::Vector) {
        let got = query.expr.value_type().as_str();
        return Err(bad("query", format!("invalid expression type {got:?} for range query, must be Scalar or instant Vector")));
    }
    let state = api.clone();
    blocking(&api, query.timeout, move |cancelled| {
        let begun = Instant::now();
        let reader = state.source.snapshot();
        let question = query.question(&*reader, &state, cancelled);
        let outcome = promql::range(&question, &query.text, &query.expr, Grid { start, end, step })?;
        Ok(query.answer(outcome, begun, end, reader.partial()))
    })
    .await
}

fn answer(outcome: Outcome, at_ms: i64, limit: usize, stats: Option<&str>, partial: Option<String>) -> Answer {
    let Outcome { answer, mut warnings, mut infos, .. } = outcome;
    omit(&mut warnings, "warning");
    omit(&mut infos, "info");
    warnings.extend(partial.clone());
    let mut out = open_envelope(room(&answer, limit));
    out.push_str("{\"resultType\":");
    let rows = match answer {
        promql::Answer::Scalar(value) => {
            out.push_str("\"scalar\",\"result\":");
            json::point(&mut out, at_ms, value);
            1
        }
        promql::Answer::Text(text) => {
            out.push_str("\"string\",\"result\":[");
            json::seconds(&mut out, at_ms);
            out.push(',');
            json::string(&mut out, &text);
            out.push(']');
            1
        }
        promql::Answer::Vector(mut vector) => {
            cut(&mut vector, limit, &mut warnings);
            series(&mut out, "vector", &vector, |out, value| match value {
                Sample::Float(value) => {
                    out.push_str("\"value\":");
                    json::point(out, at_ms, *value);
                }
                Sample::Histogram(histogram) => {
                    out.push_str("\"histogram\":");
                    json::histogram_point(out, at_ms, histogram);
                }
            })
        }
        promql::Answer::Matrix(mut matrix) => {
            cut(&mut matrix, limit, &mut warnings);
            series(&mut out, "matrix", &matrix, |out, points| {
                let both = !points.floats.is_empty() && !points.histograms.is_empty();
                if !points.floats.is_empty() {
                    out.push_str("\"values\":[");
                    json::list(out, &points.floats, |out, (time, value)| json::point(out, *time, *value));
                    out.push_str(if both { "]," } else { "]" });
                }
                if !points.histograms.is_empty() {
                    out.push_str("\"histograms\":[");
                    json::list(out, &points.histograms, |out, (time, h)| json::histogram_point(out, *time, h));
                    out.push(']');
                }
            })
        }
    };
    if let Some(stats) = stats {
        out.push_str(",\"stats\":");
        out.push_str(stats);
    }
    out.push('}');
    close_envelope(out, rows, &warnings, &infos).partial(partial)
}

/// Bytes that an answer is written in, about: a text that grows is copied each time, to memory that is new.
fn room(answer: &promql::Answer, limit: usize) -> usize {
    let most = if limit > 0 { limit } else { usize::MAX };
    let points = match answer {
        promql::Answer::Scalar(_) | promql::Answer::Text(_) => 0,
        promql::Answer::Vector(vector) => vector.len().min(most) * (SERIES_ROOM + POINT_ROOM),
        promql::Answer::Matrix(matrix) => {
            matrix.iter().take(most).map(|(_, points)| SERIES_ROOM + points.floats.len() * POINT_ROOM).sum::<usize>()
        }
    };
    points.saturating_add(64)
}

/// Cuts a list of notes as the reference does.
fn omit(notes: &mut Vec<String>, kind: &str) {
    if notes.len() > MAX_NOTES {
        let more = notes.len() - MAX_NOTES;
        notes.truncate(MAX_NOTES);
        notes.push(format!("{more} more {kind} annotations omitted"));
    }
}

fn series<T>(out: &mut String, kind: &str, items: &[(Arc<Labels>, T)], values: impl Fn(&mut String, &T)) -> usize {
    out.push_str(&format!("\"{kind}\",\"result\":["));
    json::list(out, items, |out, (labels, value)| {
        out.push_str("{\"metric\":");
        json::labels(out, labels);
        out.push(',');
        values(out, value);
        out.push('}');
    });
    out.push(']');
    items.len()
}

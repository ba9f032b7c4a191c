//! Prometheus' own end-to-end tests of PromQL (`promql/promqltest`): series are loaded, queries evaluated, results compared.

mod compare;
mod nhcb;
mod read;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use model::Tenant;
use promql::{Answer, EvalError, Grid, Limits, Options, Outcome, Question, SequenceValue, SeriesDescription};
use wire::SampleSink;
use wire::remote_write::Encoder;

use crate::report::Report;
use crate::samples::{Samples, append};
use read::{Command, Eval, When};

/// The switches of the reference's own runs.
const OPTIONS: Options =
    Options { delayed_name_removal: true, type_and_unit_labels: false, start_timestamps: true, subquery_step_ms: 60_000 };

const LOOKBACK_MS: i64 = 300_000;
const MAX_SAMPLES: usize = 5_000_000;

/// Runs every `.test` file of the folder.
pub(crate) fn run(dir: &Path, report: &mut Report) -> anyhow::Result<()> {
    let mut files: Vec<_> = std::fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?;
    files.sort_by_key(std::fs::DirEntry::path);
    let mut store = House { samples: Samples::open()?, tenant: Tenant::default(), tenants: 0, loads: 0 };
    for file in files.iter().map(std::fs::DirEntry::path).filter(|p| p.extension().is_some_and(|e| e == "test")) {
        let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let text = std::fs::read_to_string(&file)?;
        run_file(&mut store, &name, &text, report).with_context(|| name.clone())?;
    }
    Ok(())
}

/// The store, and the tenant whose samples are asked for: one of its own is an empty store.
struct House {
    samples: Samples,
    tenant: Tenant,
    tenants: usize,
    loads: usize,
}

impl House {
    fn clear(&mut self) -> anyhow::Result<()> {
        self.tenants += 1;
        self.tenant = Tenant::new(&format!("case-{}", self.tenants))?;
        Ok(())
    }
}

fn run_file(store: &mut House, name: &str, text: &str, report: &mut Report) -> anyhow::Result<()> {
    store.clear()?;
    for (line, command) in read::commands(text) {
        let place = format!("{name}:{line}");
        match command {
            Err(why) => report.case(place, Err(why)),
            Ok(Command::Clear) => store.clear()?,
            Ok(Command::Load { gap_ms, series, nhcb }) => {
                let mut request = Encoder::new();
                load(&mut request, gap_ms, &series);
                if nhcb {
                    nhcb::load(&mut request, gap_ms, &series);
                }
                if let Err(why) = store.samples.push(&store.tenant, &mut request) {
                    report.case(format!("{place} load"), Err(why.to_string()));
                }
                // By turns the head and the segments are asked.
                store.loads += 1;
                if store.loads.is_multiple_of(2) {
                    store.samples.settle()?;
                }
            }
            Ok(Command::Eval(eval)) => {
                let result = evaluate(store, &eval);
                report.case(format!("{place} {}", eval.query), result);
            }
        }
    }
    Ok(())
}

/// Appends the samples of the described series.
fn load(sink: &mut Encoder, gap_ms: i64, series: &[SeriesDescription]) {
    for (i, described) in series.iter().enumerate().filter(|(_, s)| !s.is_starts) {
        // A series that is described twice is what the last description says.
        if series[i + 1..].iter().any(|s| !s.is_starts && s.labels == described.labels) {
            continue;
        }
        let starts = series.iter().find(|s| s.is_starts && s.labels == described.labels);
        append(sink, &described.labels);
        for (step, value) in described.values.iter().enumerate() {
            let time = step as i64 * gap_ms;
            let start = match starts.and_then(|s| s.values.get(step)) {
                Some(SequenceValue::Float(seconds)) => time + (seconds * 1000.0).round() as i64,
                _ => 0,
            };
            sink.start(start);
            match value {
                SequenceValue::Omitted => {}
                SequenceValue::Float(value) => sink.sample(time, *value),
                SequenceValue::Histogram { histogram, .. } => sink.histogram(time, histogram),
            }
        }
    }
}

fn ask(store: &House, query: &str, grid: Grid, instant: bool) -> Result<Outcome, String> {
    let expr = promql::parse(query).map_err(|e| e.to_string())?;
    let (reader, cancelled) = (store.samples.snapshot(), AtomicBool::new(false));
    let question = Question {
        reader: &*reader,
        tenant: &store.tenant,
        lookback_ms: LOOKBACK_MS,
        limits: Limits { samples: MAX_SAMPLES, threads: 2, ..Limits::default() },
        cancelled: &cancelled,
        options: OPTIONS,
        stats: false,
    };
    let outcome = match instant {
        true => promql::instant(&question, query, &expr, grid.start),
        false => promql::range(&question, query, &expr, grid),
    };
    outcome.map_err(|e: EvalError| e.to_string())
}

fn evaluate(store: &House, eval: &Eval) -> Result<(), String> {
    match eval.when {
        When::Range { start, end, step } => check(ask(store, &eval.query, Grid { start, end, step }, false), eval, |answer| {
            compare::matrix(answer, eval, start, step)
        }),
        When::Instant(at) => {
            let answer = ask(store, &eval.query, Grid { start: at, end: at, step: 1 }, true);
            check(answer, eval, |answer| compare::instant(answer, eval, at))?;
            in_range_mode(store, eval, at)
        }
    }
}

/// An instant query answers what a range query answers at that step.
fn in_range_mode(store: &House, eval: &Eval, at: i64) -> Result<(), String> {
    let of_its_range = ["start()", "end()", "range()", "step()"].iter().any(|f| eval.query.contains(f));
    let vector = promql::parse(&eval.query).is_ok_and(|e| e.value_type() == promql::Type::Vector);
    if eval.expects_failure() || eval.ordered || of_its_range || !vector || eval.query.contains("sort") {
        return Ok(());
    }
    let grid = Grid { start: at - 60_000, end: at + 60_000, step: 60_000 };
    // The steps beside the one that is asked for may fail for reasons of their own.
    let Ok(Outcome { answer: Answer::Matrix(matrix), .. }) = ask(store, &eval.query, grid, false) else { return Ok(()) };
    let middle = matrix.into_iter().filter_map(|(labels, points)| {
        let float = points.floats.iter().find(|(t, _)| *t == at).map(|(_, v)| promql::Sample::Float(*v));
        let histogram = points.histograms.iter().find(|(t, _)| *t == at).map(|(_, h)| promql::Sample::Histogram(Arc::clone(h)));
        float.or(histogram).map(|sample| (labels, sample))
    });
    compare::instant(&Answer::Vector(middle.collect()), eval, at).map_err(|why| format!("as a range query: {why}"))
}

/// Compares what is said about an answer, then the answer.
fn check(
    outcome: Result<Outcome, String>,
    eval: &Eval,
    answer: impl FnOnce(&Answer) -> Result<(), String>,
) -> Result<(), String> {
    match outcome {
        Err(why) => eval.accepts_failure(&why),
        Ok(_) if eval.expects_failure() => Err("expected a failure".to_owned()),
        Ok(outcome) => {
            eval.accepts_notes("warn", &outcome.warnings)?;
            eval.accepts_notes("info", &outcome.infos)?;
            answer(&outcome.answer)
        }
    }
}

//! Runs one suite of the reference implementations' cases through Braid's own code:
//! `conformance SUITE DIR`, where `DIR` is the suite's folder or the folder that holds it.
//!
//! Prints a line for each failure and, last and alone on its line, `N passed, M failed`; exits 0 when the suite could be
//! run at all, whatever it found: the level that must be held stands in `.ci/run`.

mod exposition;
mod go;
mod lines;
mod logql_log_queries;
mod logql_parser;
mod logqltest;
mod otlp_examples;
mod prometheus_config;
mod promql_parser;
mod promqltest;
mod promtool_rule_tests;
mod relabel;
mod report;
mod samples;
mod traceql_metrics;
mod traceql_parser;
mod traceql_search;
mod traces;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use report::Report;

/// Runs the cases in a folder.
type Suite = fn(&Path, &mut Report) -> anyhow::Result<()>;

/// The suites by the names of their folders.
const SUITES: &[(&str, Suite)] = &[
    ("exposition", exposition::run),
    ("logql_parser", logql_parser::run),
    ("logql_log_queries", logql_log_queries::run),
    ("logqltest", logqltest::run),
    ("otlp_examples", otlp_examples::run),
    ("prometheus_config", prometheus_config::run),
    ("relabel", relabel::run),
    ("traceql_parser", traceql_parser::run),
    ("traceql_search", traceql_search::run),
    ("traceql_metrics", traceql_metrics::run),
    ("promql_parser", promql_parser::run),
    ("promqltest", promqltest::run),
    ("promtool_rule_tests", promtool_rule_tests::run),
    ("prometheus_rules_fixtures", promtool_rule_tests::run),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("conformance: {e:#}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &[String]) -> anyhow::Result<Report> {
    let names = || SUITES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let [suite, dir] = args else { anyhow::bail!("usage: conformance SUITE DIR; suites: {}", names()) };
    let Some((_, runner)) = SUITES.iter().find(|(name, _)| name == suite) else {
        anyhow::bail!("no suite {suite:?}; there are {}", names())
    };
    let mut folder = PathBuf::from(dir);
    if folder.join(suite).is_dir() {
        folder.push(suite);
    }
    anyhow::ensure!(folder.is_dir(), "{} is no folder", folder.display());
    let mut report = Report::default();
    runner(&folder, &mut report)?;
    Ok(report)
}

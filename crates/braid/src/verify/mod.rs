//! `braid verify`: whether a running Braid does what it should, seen from outside: a line a check, an exit code, reasons.

mod messages;
mod server;
mod telemetry;

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use crate::access::Access;
use server::Server;

/// Flags of `braid verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyCommand {
    /// Braid's own port; where its other ports are it says itself
    #[arg(long, value_name = "URL", env = "BRAID_URL", default_value = "http://127.0.0.1:3000")]
    url: String,
    #[command(flatten)]
    access: Access,
    /// Write nothing: only what is there is looked at
    #[arg(long)]
    read_only: bool,
    /// Do not wait for a correlation: its window lasts a minute unless configured otherwise
    #[arg(long)]
    no_correlation: bool,
    /// Seconds that what is written may take to be found
    #[arg(long, value_name = "N", default_value_t = 15)]
    patience: u64,
    /// At least so many traces in the last quarter of an hour
    #[arg(long, value_name = "N")]
    traces: Option<u64>,
    /// At least so many log lines in the last quarter of an hour, each with the label service_name
    #[arg(long, value_name = "N")]
    logs: Option<u64>,
    /// At least so many series now
    #[arg(long, value_name = "N")]
    series: Option<u64>,
    /// At least this availability of the services in the last five minutes, percent (of http_requests_total and http_errors_total)
    #[arg(long, value_name = "PERCENT")]
    availability: Option<f64>,
    /// At most this 95th percentile of the services' answers in the last five minutes, seconds (of http_request_duration_seconds)
    #[arg(long, value_name = "SECONDS")]
    p95: Option<f64>,
    /// Print a JSON object a check
    #[arg(long)]
    json: bool,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// All is well; what was found.
    Fine(String),
    /// It is not; why.
    Failed(String),
    /// It was left out; why.
    Left(String),
}

/// Of a check: what was found, or why not.
type Checked = Result<String, String>;

/// The lines that are printed.
struct Report {
    json: bool,
    failed: Vec<String>,
    passed: usize,
}

impl Report {
    fn add(&mut self, name: &str, begun: Instant, outcome: Outcome) {
        let (word, mark, said) = match &outcome {
            Outcome::Fine(said) => ("ok", "ok    ", said),
            Outcome::Failed(said) => ("failed", "FAILED", said),
            Outcome::Left(said) => ("left out", "-     ", said),
        };
        match outcome {
            Outcome::Fine(_) => self.passed += 1,
            Outcome::Failed(_) => self.failed.push(format!("{name}: {said}")),
            Outcome::Left(_) => {}
        }
        if self.json {
            println!("{}", json!({"check": name, "outcome": word, "detail": said, "seconds": begun.elapsed().as_secs_f64()}));
        } else {
            println!("{mark} {name:<24} {said}");
        }
    }

    async fn check(&mut self, name: &str, checked: impl Future<Output = Checked>) -> bool {
        let begun = Instant::now();
        let outcome = match checked.await {
            Ok(found) => Outcome::Fine(found),
            Err(why) => Outcome::Failed(why),
        };
        let fine = matches!(outcome, Outcome::Fine(_));
        self.add(name, begun, outcome);
        fine
    }
}

impl VerifyCommand {
    /// Runs every check; returns the exit code: 0 where all is well, else 1.
    ///
    /// # Errors
    /// Flags that cannot be.
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.all())
    }

    async fn all(self) -> anyhow::Result<u8> {
        let mut report = Report { json: self.json, failed: Vec::new(), passed: 0 };
        let mut server = Server::new(&self.url, &self.access)?;
        if report.check("reached", server.reach()).await {
            report.check("ready", server.ready()).await;
            report.check("clock", server.clock()).await;
            let known = report.check("authentication", server.authentication(self.access.has_credential())).await;
            if known && report.check("settings", server.find_ports()).await {
                for (face, _) in server.ports() {
                    report.check(&format!("port {face}"), server.listens(&face)).await;
                    report.check(&format!("lock {face}"), server.is_locked(&face)).await;
                }
                report.check("disk and store", server.store()).await;
                self.telemetry(&mut report, &server).await;
                self.figures(&mut report, &server).await;
            }
        }
        let (passed, failed) = (report.passed, report.failed.len());
        if self.json {
            println!("{}", json!({"passed": passed, "failed": failed, "reasons": report.failed}));
        } else if failed == 0 {
            println!("\n{passed} checks passed: this Braid works");
        } else {
            println!("\n{failed} of {} checks failed:", passed + failed);
            report.failed.iter().for_each(|why| println!("  {why}"));
        }
        Ok(u8::from(failed > 0))
    }

    /// What is written by each protocol must be found by the query APIs.
    async fn telemetry(&self, report: &mut Report, server: &Server) {
        let begun = Instant::now();
        if self.read_only {
            return report.add("telemetry", begun, Outcome::Left("--read-only".to_owned()));
        }
        let patience = Duration::from_secs(self.patience);
        let run = telemetry::Run::new();
        for probe in telemetry::PROBES {
            if server.has(probe.port) {
                report.check(probe.name, run.probe(server, probe, patience)).await;
            } else {
                report.add(probe.name, Instant::now(), Outcome::Left(format!("no port {}", probe.port)));
            }
        }
        let begun = Instant::now();
        match server.correlation_window() {
            None => report.add("correlation", begun, Outcome::Left("switched off there".to_owned())),
            Some(_) if self.no_correlation => report.add("correlation", begun, Outcome::Left("--no-correlation".to_owned())),
            Some(window) => {
                report.check("correlation", run.correlation(server, window + patience)).await;
            }
        }
    }

    /// What the people who deployed expect of the services.
    async fn figures(&self, report: &mut Report, server: &Server) {
        if let Some(least) = self.traces {
            report.check("traces there", server.traces(least)).await;
        }
        if let Some(least) = self.logs {
            report.check("log lines there", server.lines(least)).await;
        }
        let count = "count({__name__!=\"\"})";
        let availability = "100 * (1 - (sum(rate(http_errors_total[5m])) or vector(0)) / sum(rate(http_requests_total[5m])))";
        let p95 = "histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))";
        for (name, query, bound, least) in [
            ("series there", count, self.series.map(|n| n as f64), true),
            ("availability", availability, self.availability, true),
            ("95th percentile", p95, self.p95, false),
        ] {
            if let Some(bound) = bound {
                report.check(name, server.figure(query, bound, least)).await;
            }
        }
    }
}

//! `braid-bench load`: encodes a workload, sends it over several connections, prints one JSON line.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use crate::send::{Url, send};
use crate::shapes::{Payload, Plan, logs, metrics, traces};

/// Headers of remote write 1.0.
pub(crate) const SAMPLES: &str =
    "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\n";

#[derive(Clone, Copy, ValueEnum, PartialEq, Eq, Debug)]
pub(crate) enum Workload {
    /// 4.8 M samples: 10,000 series, one sample every 15 s for two hours; remote write.
    Metrics,
    /// 2 M lines in 240 streams over one hour; Loki push.
    Logs,
    /// 1 M spans in 100,000 traces over one hour; OTLP/HTTP.
    Traces,
}

impl Workload {
    /// Where the protocol's servers listen.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Metrics => "/api/v1/write",
            Self::Logs => "/loki/api/v1/push",
            Self::Traces => "/v1/traces",
        }
    }

    fn headers(self) -> &'static str {
        match self {
            Self::Metrics => SAMPLES,
            Self::Logs | Self::Traces => "Content-Type: application/x-protobuf\r\n",
        }
    }
}

#[derive(Args)]
pub(crate) struct Options {
    /// Which workload.
    workload: Workload,
    /// Where to send it.
    #[arg(long)]
    url: Url,
    /// Names the data.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// End of the data, seconds since the Unix epoch (default: now).
    #[arg(long)]
    end: Option<u64>,
    /// Connections, one request in flight on each.
    #[arg(long, default_value_t = 4)]
    conns: u64,
    /// Lines or spans in all (default: 2 M lines, 1 M spans).
    #[arg(long)]
    count: Option<u64>,
    /// Items a request (default: 500 samples, 1,000 lines, 500 spans).
    #[arg(long)]
    batch: Option<u64>,
    /// Seconds of time that the data covers (default: 7200 for metrics, else 3600).
    #[arg(long)]
    span_secs: Option<u64>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let (count, batch, span_secs) = match options.workload {
        Workload::Metrics => (0, 500, 7_200),
        Workload::Logs => (2_000_000, 1_000, 3_600),
        Workload::Traces => (1_000_000, 500, 3_600),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    let plan = Plan {
        seed: options.seed,
        end_ms: options.end.map_or(now, |s| s * 1_000),
        connections: options.conns.clamp(1, 20),
        count: options.count.unwrap_or(count),
        batch: options.batch.unwrap_or(batch).max(1),
        span_secs: options.span_secs.unwrap_or(span_secs),
    };
    let payloads: Vec<Vec<Payload>> = on_each_connection(plan.connections, |c| match options.workload {
        Workload::Metrics => metrics::encode(&plan, c),
        Workload::Logs => logs::encode(&plan, c),
        Workload::Traces => traces::encode(&plan, c),
    });
    let begun = Instant::now();
    let sent = on_each_connection(plan.connections, |c| send(&options.url, options.workload.headers(), &payloads[c as usize]));
    let wall = begun.elapsed().as_secs_f64();
    let mut latencies: Vec<u64> = sent.iter().flat_map(|s| s.latencies.iter().copied()).collect();
    latencies.sort_unstable();
    let quantile = |q: f64| {
        let at = (latencies.len().saturating_sub(1) as f64 * q) as usize;
        latencies.get(at).map_or(0.0, |us| *us as f64 / 1_000.0)
    };
    let items: u64 = sent.iter().map(|s| s.items).sum();
    println!(
        "{}",
        serde_json::json!({
            "items_ok": items,
            "items": payloads.iter().flatten().map(|p| p.items).sum::<u64>(),
            "requests": latencies.len(),
            "wire_bytes": payloads.iter().flatten().map(|p| p.body.len()).sum::<usize>(),
            "wall_s": wall,
            "rate": items as f64 / wall,
            "lat_ms": {"p50": quantile(0.5), "p90": quantile(0.9), "p99": quantile(0.99), "max": quantile(1.0)},
            "retries": sent.iter().map(|s| s.retries).sum::<u64>(),
            "failed": sent.iter().map(|s| s.failed).sum::<u64>(),
            "first_error": sent.iter().find_map(|s| s.first_error.clone()),
        })
    );
    if sent.iter().any(|s| s.failed > 0) {
        bail!("some requests were not taken");
    }
    Ok(())
}

/// What `work` makes of each connection's number, all at once.
pub(crate) fn on_each_connection<T: Send>(connections: u64, work: impl Fn(u64) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..connections)
            .map(|c| {
                scope.spawn({
                    let work = &work;
                    move || work(c)
                })
            })
            .collect();
        running.into_iter().map(|t| t.join().unwrap_or_else(|e| std::panic::resume_unwind(e))).collect()
    })
}

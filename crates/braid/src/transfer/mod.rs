//! `braid export` and `braid import`: rows to files and back, of a running server over its API or of a data directory.
//!
//! Both speak to an [`endpoint::Endpoint`], which is a server's address or the same handlers over a directory that is
//! opened here; so there is one way for rows to go out, and one to come in.

mod endpoint;
mod export;
mod import;
mod lines;
mod remote;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::access::Access;
pub(crate) use endpoint::percent;
pub(crate) use export::Export;
pub(crate) use import::Import;

/// Where the rows are.
#[derive(Debug, Args)]
struct Place {
    /// A running server: Braid's own address, such as http://127.0.0.1:3000
    #[arg(long, value_name = "URL", conflicts_with = "data_dir")]
    url: Option<String>,
    /// The data directory of a stopped one
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    access: Access,
    /// Whose rows
    #[arg(long, value_name = "NAME", default_value = model::Tenant::DEFAULT)]
    tenant: String,
}

/// How rows stand in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Export requests of OTLP in protobuf, the length of each before it as a varint: traces, logs, metrics
    Otlp,
    /// Export requests of OTLP in JSON, one a line: traces, logs, metrics
    OtlpJson,
    /// Samples as `promtool tsdb dump` prints them: {labels} value milliseconds
    Prometheus,
    /// Samples as OpenMetrics text, with timestamps in seconds
    Openmetrics,
    /// Samples as remote-write requests, the length of each before it as a varint: native histograms and exemplars too
    RemoteWrite,
    /// Lines as Loki's push bodies in JSON, one a line
    Loki,
}

/// Which signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Signal {
    /// Spans.
    Traces,
    /// Log lines.
    Logs,
    /// Samples.
    Metrics,
}

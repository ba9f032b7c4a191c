//! Exporters: readers of the log that send what they read to other systems. OTLP over gRPC and HTTP, Loki, Prometheus remote
//! write, Datadog.
//!
//! # Invariants
//!
//! 1. *At least once*: the cursor moves only behind what the other side has answered for ([`run`](self)): taken, or refused for good
//!    and counted with the reason. After a crash some is sent a second time. (`tests/it/exporters.rs` kills the process in between.)
//! 2. *A slow or absent peer costs disk, up to a limit, never memory and never the appends*: what waits is the log, and the store
//!    gives up its oldest files past `sending_queue.queue_size` ([`store::AtCap::DropOldestOver`]).
//! 3. *Signals do not wait for each other*: each (exporter, signal) has a cursor and a thread of its own.
//! 4. *Secrets stay out of the log*: headers are marked as sensitive, their values appear in no error and no `Debug`.

mod batch;
mod client;
mod counters;
mod datadog;
mod deleted;
mod delta;
mod line;
mod loki;
mod otlp;
mod peer;
mod remote_write;
mod retry;
mod run;
mod settings;
mod streams;

pub use counters::Counters;
pub use run::{Exporters, READER_PREFIX, Rewrite};
pub use settings::{Compression, Http, LokiLabel, Peer, Queue, Retry, Settings, Tenants, Tls};

/// Why an exporter cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A certificate, a header or an address that cannot be used.
    #[error("exporter {name}: {why}")]
    Client {
        /// The exporter.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// The cursor cannot be read or made.
    #[error("exporter {name}: its cursor: {source}")]
    Store {
        /// The exporter.
        name: String,
        /// What the store says.
        source: store::StoreError,
    },
    /// There is no thread for it.
    #[error("starting the thread of exporter {name}: {source}")]
    Thread {
        /// The exporter.
        name: String,
        /// What the system says.
        source: std::io::Error,
    },
}

//! A store on a temporary directory for the suites of log lines.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use logql::Question;
use model::Tenant;
use store::series::SeriesOptions;
use store::{Options, Request, Source, Store, Writer};
use wire::Encoding;

/// Lines may be of any age.
const NEVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// A stream's labels and its entries: time in nanoseconds, line, structured metadata.
pub(crate) type Stream = (Vec<(String, String)>, Vec<(i64, String, Vec<(String, String)>)>);

/// The store and the directory that it lives in.
pub(crate) struct Lines {
    store: Store,
    runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

impl Lines {
    pub(crate) fn open() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut options = Options::new(Arc::new(store::disk::RealDisk::open(dir.path())?));
        options.min_free = 0;
        options.retention = [NEVER; 3];
        options.discover_service_name = false;
        let store = Store::open(options, SeriesOptions::default())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        Ok(Self { store, runtime, _dir: dir })
    }

    /// Sends the streams as one push request.
    pub(crate) fn push(&self, tenant: &Tenant, streams: &[Stream]) -> anyhow::Result<()> {
        let object = |pairs: &[(String, String)]| {
            serde_json::Value::Object(pairs.iter().map(|(k, v)| (k.clone(), v.as_str().into())).collect())
        };
        let streams: Vec<serde_json::Value> = streams
            .iter()
            .map(|(labels, entries)| {
                let values: Vec<serde_json::Value> = entries
                    .iter()
                    .map(|(time, line, metadata)| match metadata.is_empty() {
                        true => serde_json::json!([time.to_string(), line]),
                        false => serde_json::json!([time.to_string(), line, object(metadata)]),
                    })
                    .collect();
                serde_json::json!({"stream": object(labels), "values": values})
            })
            .collect();
        let payload = Bytes::from(serde_json::json!({"streams": streams}).to_string());
        wire::check(Encoding::LokiPushJson, &payload, &wire::Limits::default())?;
        let request = Request { tenant: tenant.clone(), encoding: Encoding::LokiPushJson, payload };
        self.runtime.block_on(self.store.append(request))?;
        Ok(())
    }

    /// Writes everything into segments, so that these are asked.
    pub(crate) fn settle(&self) -> anyhow::Result<()> {
        Ok(self.store.settle()?)
    }

    pub(crate) fn ask<T>(&self, tenant: &Tenant, ask: impl FnOnce(&Question<'_>) -> T) -> T {
        let (reader, cancelled) = (self.store.snapshot(), AtomicBool::new(false));
        // The cases know only the labels that they load.
        let (discover_levels, tally) = (false, logql::Tally::default());
        let (max_lines, max_label_bytes) = (1_000_000, 1 << 30);
        ask(&Question {
            reader: &*reader,
            tenant,
            max_lines,
            max_label_bytes,
            max_value_bytes: max_label_bytes,
            discover_levels,
            cancelled: &cancelled,
            tally: &tally,
        })
    }
}

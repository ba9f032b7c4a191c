//! A store on a temporary directory for the suites of samples.

use std::sync::Arc;
use std::time::Duration;

use model::{Labels, Tenant};
use store::series::SeriesOptions;
use store::{Options, Reader, Request, Source, Store, Writer};
use wire::remote_write::Encoder;
use wire::{Encoding, RawLabels, SampleSink};

/// Samples may be of any age.
const NEVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The store and the directory that it lives in.
pub(crate) struct Samples {
    store: Store,
    runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

impl Samples {
    pub(crate) fn open() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut options = Options::new(Arc::new(store::disk::RealDisk::open(dir.path())?));
        options.min_free = 0;
        options.retention = [NEVER; 3];
        let series = SeriesOptions { out_of_order_ms: i64::MAX, ..SeriesOptions::default() };
        let store = Store::open(options, series)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        Ok(Self { store, runtime, _dir: dir })
    }

    /// Sends what the encoder holds as one request of remote write.
    pub(crate) fn push(&self, tenant: &Tenant, encoder: &mut Encoder) -> anyhow::Result<()> {
        if encoder.is_empty() {
            return Ok(());
        }
        let payload = encoder.finish()?.into();
        let request = Request { tenant: tenant.clone(), encoding: Encoding::RemoteWrite, payload };
        // Nothing is told of a request that was seen before.
        let Some(summary) = self.runtime.block_on(self.store.append(request))? else { return Ok(()) };
        anyhow::ensure!(summary.refused.total() == 0, "samples were refused: {}", summary.refused.message());
        Ok(())
    }

    /// Writes everything into segments, so that these are asked.
    pub(crate) fn settle(&self) -> anyhow::Result<()> {
        Ok(self.store.settle()?)
    }

    pub(crate) fn snapshot(&self) -> Arc<dyn Reader> {
        self.store.snapshot()
    }
}

/// Makes `labels` the series that samples are appended to.
pub(crate) fn append(sink: &mut impl SampleSink, labels: &Labels) {
    let pairs: Vec<_> = labels.iter().collect();
    let key = labels.to_string();
    SampleSink::series(sink, RawLabels::from_pairs(key.as_bytes(), &pairs));
}

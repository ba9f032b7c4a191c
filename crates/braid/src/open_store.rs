//! The store that a configuration asks for.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use logql::Deletions;
use store::disk::RealDisk;
use store::series::SeriesOptions;
use store::{Options, RemoteOptions, Store, log};

use crate::config::{Config, SyncMode};

/// Opens the data directory, which is made where it does not exist.
///
/// # Errors
/// Another process holds it, its format is newer than this version, IO.
pub(crate) fn open(config: &Config) -> anyhow::Result<Store> {
    let wanted = &config.storage;
    let dir = || format!("cannot open the data directory {}", wanted.dir.display());
    anyhow::ensure!(!wanted.dir.exists() || wanted.dir.is_dir(), "the data directory {} is no directory", wanted.dir.display());
    let disk = RealDisk::open(&wanted.dir).with_context(dir)?;
    let mut options = Options::new(Arc::new(disk));
    options.set_memory(config.memory);
    options.language = Some(Arc::new(Deletions { discover_levels: config.queries.discover_levels }));
    options.retention = [wanted.traces, wanted.logs, wanted.metrics];
    options.max_bytes = wanted.max_size;
    options.discover_service_name = config.limits.wire.discover_service_name;
    options.max_line_age = config.limits.wire.max_line_age_ns.map(|ns| Duration::from_nanos(ns.unsigned_abs()));
    options.max_line_ahead = config.limits.wire.max_line_ahead_ns.map(|ns| Duration::from_nanos(ns.unsigned_abs()));
    options.share_below = wanted.share_below.unwrap_or(options.share_below);
    options.apart = vec![correlate::SERVICE.to_owned()];
    options.min_free = wanted.min_free.unwrap_or(options.min_free);
    if let Some(cap) = wanted.log_cap {
        options.log_cap = cap;
        // It is cut by whole files.
        options.log.file_bytes = options.log.file_bytes.min(cap / 8);
    }
    options.log.sync = match wanted.sync {
        SyncMode::Always => log::SyncMode::EveryCommit,
        SyncMode::Interval(interval) => log::SyncMode::Interval(interval),
    };
    if let Some(objects) = &wanted.objects {
        collector::tls::provide();
        let bucket = objects.location.connect(&objects.settings).context("cannot use the object store")?;
        options.remote = Some(RemoteOptions { cache_bytes: objects.cache, lease: objects.lease, ..RemoteOptions::new(bucket) });
    }
    let out_of_order_ms = i64::try_from(wanted.out_of_order.as_millis()).unwrap_or(i64::MAX);
    let series = SeriesOptions {
        index_bytes: config.memory / 8,
        decoded_bytes: config.memory / 8,
        out_of_order_ms,
        custom_buckets: config.limits.wire.custom_buckets,
        max_series: config.tenants.defaults.series.unwrap_or(usize::MAX),
        share_below: options.share_below,
        max_series_of: config.tenants.named.iter().filter_map(|(name, t)| Some((name.clone(), t.series?))).collect(),
    };
    Store::open(options, series).with_context(dir)
}

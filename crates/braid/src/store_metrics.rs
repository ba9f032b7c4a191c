//! The store's counters in Prometheus' text format.

use std::fmt::Write;

use store::{CacheStats, Stats};
use wire::Signal;

/// Appends `stats`, the memory of label sets and indexes, that of decoded samples, and what the cache of columns did.
pub(crate) fn write_text(stats: &Stats, index_memory: usize, decoded_memory: usize, cache: &CacheStats, out: &mut String) {
    let mut one = |name: &str, kind: &str, help: &str, value: f64| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    };
    for (name, help, value) in [
        ("braid_store_appends_total", "Requests that were asked to be kept.", stats.appends),
        ("braid_store_append_bytes_total", "Bytes of their payloads.", stats.append_bytes),
        ("braid_store_duplicates_total", "Requests that were known already and only acknowledged.", stats.duplicates),
        ("braid_store_replayed_records_total", "Records read back from the log and applied.", stats.replayed),
        ("braid_store_unreadable_records_total", "Records that their table could not read.", stats.unreadable),
        ("braid_store_flushes_total", "Heads written as segments.", stats.flushes),
        ("braid_store_flush_errors_total", "Failed attempts at it.", stats.flush_errors),
        ("braid_store_compactions_total", "Merges of segments.", stats.compactions),
        ("braid_store_compaction_errors_total", "Failed attempts at it.", stats.compaction_errors),
        ("braid_store_deletions_total", "Deletions ordered.", stats.deletions),
        ("braid_store_deletions_cancelled_total", "Requests to delete that were cancelled.", stats.deletions_cancelled),
        ("braid_store_rewritten_segments_total", "Segments rewritten without deleted rows.", stats.rewritten),
        ("braid_store_read_bytes_total", "Bytes read of segments, by queries and merges.", stats.read_bytes),
        ("braid_store_reads_total", "Reads of segments.", stats.reads),
        ("braid_store_expired_segments_total", "Segments deleted by retention.", stats.expired),
        ("braid_store_quarantined_total", "Segments and manifests out of service because of damage.", stats.quarantined),
        ("braid_log_commits_total", "Groups of records made durable.", stats.commits),
        ("braid_log_failed_commits_total", "Groups refused because of the disk.", stats.failed_commits),
        ("braid_log_written_bytes_total", "Bytes written to the log.", stats.log_written),
        ("braid_log_read_errors_total", "Failed reads of the log.", stats.read_errors),
        ("braid_log_damaged_total", "Damaged stretches of the log.", stats.log_damaged),
        ("braid_log_damaged_bytes_total", "Bytes in them.", stats.log_damaged_bytes),
        ("braid_log_unknown_records_total", "Records of encodings that this version does not know.", stats.log_unknown),
        ("braid_log_dropped_for_readers_total", "Records that a slow reader of the log lost.", stats.dropped_for_readers),
        ("braid_store_column_cache_hits_total", "Decoded columns of segments that a query found in memory.", cache.hits),
        ("braid_store_column_cache_misses_total", "Columns of segments that had to be read.", cache.misses),
    ] {
        one(name, "counter", help, value as f64);
    }
    for (name, help, value) in [
        ("braid_store_index_bytes", "Memory of label sets and of indexes of metric segments.", index_memory as f64),
        ("braid_store_decoded_bytes", "Memory of decoded samples, kept for the next query over them.", decoded_memory as f64),
        ("braid_store_column_cache_bytes", "Memory of decoded columns of segments.", cache.bytes as f64),
        ("braid_store_deletions_pending", "Deletions of which rows may be on disk still.", stats.deletions_pending as f64),
        ("braid_store_deletions_waiting", "Requests to delete that wait.", stats.deletions_waiting as f64),
        ("braid_log_bytes", "Bytes in the log.", stats.log_bytes as f64),
        ("braid_log_files", "Files of the log.", stats.log_files as f64),
        ("braid_log_sequence", "Last durable record.", stats.log_sequence as f64),
        (
            "braid_store_replaying",
            "Whether the log is being replayed, and answers are partial.",
            f64::from(u8::from(stats.replaying)),
        ),
        ("braid_store_full", "Whether requests are refused for want of space.", f64::from(u8::from(stats.full))),
    ] {
        one(name, "gauge", help, value);
    }
    if let Some(remote) = &stats.remote {
        for (name, help, value) in [
            ("braid_object_cache_hits_total", "Reads that a local copy answered.", remote.hits),
            ("braid_object_cache_misses_total", "Reads that had to fetch from the object store.", remote.misses),
            ("braid_object_cache_evictions_total", "Local copies that were let go for others.", remote.evictions),
            ("braid_object_store_uploaded_segments_total", "Segments copied to the object store.", remote.uploaded),
            ("braid_object_store_deleted_objects_total", "Objects deleted there.", remote.deleted),
            ("braid_object_store_failed_rounds_total", "Rounds of copying that failed and are made again.", remote.failures),
        ] {
            one(name, "counter", help, value as f64);
        }
        for (name, help, value) in [
            ("braid_object_cache_bytes", "Local copies of what is in the object store.", remote.cache_bytes),
            ("braid_object_cache_limit_bytes", "What they may be.", remote.cache_limit),
            ("braid_object_store_pending_segments", "Segments that are on the local disk only.", remote.pending_segments),
            ("braid_object_store_pending_bytes", "Bytes in them.", remote.pending_bytes),
            (
                "braid_object_store_away_seconds",
                "How long the object store has not answered; 0 while it does.",
                remote.away_seconds,
            ),
            (
                "braid_object_store_fenced",
                "Whether another writer has taken over, and nothing is taken in.",
                u64::from(remote.fenced),
            ),
        ] {
            one(name, "gauge", help, value as f64);
        }
    }
    let mut by_signal = |name: &str, kind: &str, help: &str, values: [f64; 3]| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for signal in Signal::ALL {
            let _ = writeln!(out, "{name}{{signal=\"{}\"}} {}", signal.as_str(), values[signal as usize]);
        }
    };
    by_signal("braid_store_rows_total", "counter", "Spans, lines and samples applied.", stats.rows.map(|n| n as f64));
    by_signal("braid_store_head_bytes", "gauge", "Memory of the heads.", stats.head_bytes.map(|n| n as f64));
    by_signal("braid_store_segments", "gauge", "Segments in service.", stats.segments.map(|n| n as f64));
    let shared = stats.shared_segments.map(|n| n as f64);
    by_signal("braid_store_shared_segments", "gauge", "Segments that several small tenants share.", shared);
    by_signal("braid_store_segment_bytes", "gauge", "Bytes in them.", stats.segment_bytes.map(|n| n as f64));

    let name = "braid_store_refused_requests_total";
    let _ = writeln!(out, "# HELP {name} Requests that the store refused.\n# TYPE {name} counter");
    for (reason, n) in [("busy", stats.refused_busy), ("full", stats.refused_full), ("failed", stats.refused_failed)] {
        let _ = writeln!(out, "{name}{{reason=\"{reason}\"}} {n}");
    }
    let name = "braid_log_sync_seconds";
    let _ = writeln!(out, "# HELP {name} How long making a group durable took.\n# TYPE {name} histogram");
    let mut below = 0;
    for (bound, n) in &stats.sync.buckets {
        below += n;
        let le = bound.map_or_else(|| "+Inf".to_owned(), |us| (us as f64 / 1e6).to_string());
        let _ = writeln!(out, "{name}_bucket{{le=\"{le}\"}} {below}");
    }
    let _ = writeln!(out, "{name}_sum {}\n{name}_count {below}", stats.sync.sum_us as f64 / 1e6);
}

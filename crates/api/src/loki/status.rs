//! What is asked of the server itself.

use std::sync::Arc;

use crate::Api;
use crate::answer::{Answer, Failure};
use crate::ask::Ask;

/// The Loki whose API this is.
const COMPATIBLE: &str = "3.5.0";

/// Without an envelope, as Loki has it.
pub(super) async fn buildinfo(_: Arc<Api>, _: Ask) -> Result<Answer, Failure> {
    let info = serde_json::json!({
        "version": COMPATIBLE,
        "revision": concat!("braid-", env!("CARGO_PKG_VERSION")),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    });
    Ok(Answer::json(info.to_string(), 1))
}

/// What Grafana's Logs Drilldown asks first: which features there are, and how far it may go.
pub(super) async fn drilldown_limits(api: Arc<Api>, _: Ask) -> Result<Answer, Failure> {
    let settings = &api.settings;
    let service_names = if api.limits.discover_service_name { &wire::SERVICE_NAME_SOURCES[..] } else { &[] };
    let seconds = |time: std::time::Duration| format!("{}s", time.as_secs());
    let body = serde_json::json!({
        "limits": {
            "discover_log_levels": settings.discover_levels,
            "discover_service_name": service_names,
            "log_level_fields": logql::LEVEL_SOURCES,
            "max_entries_limit_per_query": settings.max_entries,
            "max_line_size_truncate": false,
            "max_query_bytes_read": "0B",
            "max_query_length": "0s",
            "max_query_lookback": "0s",
            "max_query_range": "0s",
            "max_query_series": 0,
            "metric_aggregation_enabled": false,
            "pattern_persistence_enabled": false,
            "query_timeout": seconds(settings.timeout),
            "retention_period": seconds(settings.log_retention),
            "retention_stream": [],
            "volume_enabled": true,
            "volume_max_series": 1000,
        },
        "pattern_ingester_enabled": true,
        "version": COMPATIBLE,
    });
    Ok(Answer::json(body.to_string(), 1))
}

/// The settings that have a name in Loki's configuration, in its form.
pub(super) async fn config(api: Arc<Api>, _: Ask) -> Result<Answer, Failure> {
    let settings = &api.settings;
    let age = api.limits.max_line_age_ns.map_or(0, |ns| ns / 1_000_000_000);
    let ahead = api.limits.max_line_ahead_ns.map_or(0, |ns| ns / 1_000_000_000);
    let body = format!(
        "target: all\nauth_enabled: false\nlimits_config:\n  reject_old_samples: {}\n  reject_old_samples_max_age: {age}s\n  \
         creation_grace_period: {ahead}s\n  \
         discover_service_name: [{}]\n  discover_log_levels: {}\n  allow_structured_metadata: true\n  volume_enabled: true\n  \
         max_entries_limit_per_query: {}\n  max_concurrent_tail_requests: {}\n  query_timeout: {}s\n  retention_period: {}s\n",
        age > 0,
        if api.limits.discover_service_name { wire::SERVICE_NAME_SOURCES.join(", ") } else { String::new() },
        settings.discover_levels,
        settings.max_entries,
        settings.max_tails,
        settings.timeout.as_secs(),
        settings.log_retention.as_secs(),
    );
    Ok(Answer::text(body))
}

pub(super) async fn services(_: Arc<Api>, _: Ask) -> Result<Answer, Failure> {
    let names = ["server", "store", "distributor", "ingester", "querier", "ruler"];
    Ok(Answer::text(names.map(|name| format!("{name} => Running\n")).concat()))
}

/// The level of the process' own log is chosen when it starts.
pub(super) async fn log_level(_: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    if ask.get("log_level").is_some() {
        return Err(Failure::BadData("the log level is chosen with RUST_LOG when Braid starts".to_owned()));
    }
    let level = tracing::level_filters::LevelFilter::current().to_string().to_ascii_lowercase();
    let body = serde_json::json!({"message": format!("Current log level is {level}")});
    Ok(Answer::json(body.to_string(), 1))
}

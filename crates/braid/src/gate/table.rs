//! Which scope each path needs. Every route has its row: a test reads the sources and fails for one that has none.

use axum::http::Method;
use guard::Scope;

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing.
    Open,
    /// A credential with this scope.
    Has(Scope),
}

const OPEN: Need = Need::Open;
const INGEST: Need = Need::Has(Scope::Ingest);
const READ: Need = Need::Has(Scope::Read);
const ADMIN: Need = Need::Has(Scope::Admin);

/// A path (`{…}` stands for one segment, `{*}` at the end for any rest), what looking at it needs (GET, HEAD), and what acting on it needs.
type Row = (&'static str, Need, Need);

/// The originals' query APIs take GET and POST alike, so that acting needs what looking needs.
const fn query(path: &'static str) -> Row {
    (path, READ, READ)
}

/// What takes telemetry in.
const fn door(path: &'static str) -> Row {
    (path, INGEST, INGEST)
}

/// What is looked at by readers and changed by administrators.
const fn change(path: &'static str) -> Row {
    (path, READ, ADMIN)
}

/// What is for administrators alone.
const fn admin(path: &'static str) -> Row {
    (path, ADMIN, ADMIN)
}

/// What says that the process lives; probes have no credentials.
const fn pulse(path: &'static str) -> Row {
    (path, OPEN, READ)
}

const ROWS: &[Row] = &[
    pulse("/ready"),
    pulse("/health"),
    pulse("/-/ready"),
    pulse("/-/healthy"),
    // Logging in and out; it asks for itself.
    ("/api/session", OPEN, OPEN),
    admin("/api/session/link"),
    admin("/-/reload"),
    admin("/-/quit"),
    admin("/api/admin/{*}"),
    admin("/api/v1/admin/{*}"),
    admin("/loki/api/v1/delete"),
    admin("/loki/api/v1/cache/generation_numbers"),
    query("/metrics"),
    query("/version"),
    query("/api/system"),
    // Doors.
    door("/v1/traces"),
    door("/v1/logs"),
    door("/v1/metrics"),
    door("/api/otlp/v1/traces"),
    door("/api/otlp/v1/logs"),
    door("/api/otlp/v1/metrics"),
    door("/otlp/v1/logs"),
    door("/api/v1/otlp/v1/metrics"),
    door("/api/v1/write"),
    door("/loki/api/v1/push"),
    door("/api/prom/push"),
    door("/api/v2/spans"),
    door("/opentelemetry.proto.collector.trace.v1.TraceService/Export"),
    door("/opentelemetry.proto.collector.logs.v1.LogsService/Export"),
    door("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"),
    door("/jaeger.api_v2.CollectorService/PostSpans"),
    ("/api/traces", READ, INGEST),
    ("/api/logs", READ, INGEST),
    // Prometheus.
    query("/api/v1/query"),
    query("/api/v1/query_range"),
    query("/api/v1/query_exemplars"),
    query("/api/v1/format_query"),
    query("/api/v1/parse_query"),
    query("/api/v1/read"),
    query("/api/v1/series"),
    query("/api/v1/labels"),
    query("/api/v1/label/{name}/values"),
    query("/api/v1/metadata"),
    query("/api/v1/targets"),
    query("/api/v1/targets/metadata"),
    query("/api/v1/scrape_pools"),
    query("/api/v1/rules"),
    query("/api/v1/alerts"),
    query("/api/v1/alertmanagers"),
    query("/api/v1/features"),
    query("/api/v1/notifications"),
    query("/api/v1/status/{*}"),
    query("/federate"),
    // Loki.
    query("/loki/api/v1/query"),
    query("/loki/api/v1/query_range"),
    query("/loki/api/v1/format_query"),
    query("/loki/api/v1/labels"),
    query("/loki/api/v1/label"),
    query("/loki/api/v1/label/{name}/values"),
    query("/loki/api/v1/series"),
    query("/loki/api/v1/index/stats"),
    query("/loki/api/v1/index/shards"),
    query("/loki/api/v1/index/volume"),
    query("/loki/api/v1/index/volume_range"),
    query("/loki/api/v1/patterns"),
    query("/loki/api/v1/detected_fields"),
    query("/loki/api/v1/detected_field/{name}/values"),
    query("/loki/api/v1/detected_labels"),
    query("/loki/api/v1/drilldown-limits"),
    query("/loki/api/v1/status/{*}"),
    query("/loki/api/v1/tail"),
    change("/loki/api/v1/rules"),
    change("/loki/api/v1/rules/{*}"),
    query("/prometheus/api/v1/rules"),
    query("/prometheus/api/v1/alerts"),
    query("/api/prom/query"),
    query("/api/prom/label"),
    query("/api/prom/label/{name}/values"),
    query("/api/prom/series"),
    query("/api/prom/tail"),
    change("/api/prom/rules"),
    change("/api/prom/rules/{*}"),
    query("/config"),
    query("/services"),
    change("/log_level"),
    // Tempo.
    query("/api/traces/{id}"),
    query("/api/v2/traces/{id}"),
    query("/api/search"),
    query("/api/search/tags"),
    query("/api/v2/search/tags"),
    query("/api/search/tag/{name}/values"),
    query("/api/v2/search/tag/{name}/values"),
    query("/api/metrics/query"),
    query("/api/metrics/query_range"),
    query("/api/echo"),
    query("/api/status/buildinfo"),
    change("/api/overrides"),
    query("/status"),
    query("/status/{*}"),
    query("/tempopb.StreamingQuerier/{method}"),
    // Braid's own.
    query("/api/compare"),
    query("/api/dashboards"),
    query("/api/dashboards/{id}"),
    query("/api/graph"),
    query("/api/correlate"),
    query("/api/correlations"),
    query("/api/entities"),
    query("/api/traces/{id}/logs"),
];

/// What a request needs. A path that has no row needs `read` to be looked at and `admin` for all else: what is forgotten is closed.
pub(super) fn need(method: &Method, path: &str) -> Need {
    let looks = looks(method);
    // A browser asks before it sends, without credentials; the answer holds nothing.
    let asks_first = *method == Method::OPTIONS;
    match row(path) {
        Some((_, INGEST, _) | (_, _, INGEST)) if asks_first => OPEN,
        _ if asks_first && path.starts_with("/api/v1/") => OPEN,
        Some((_, look, act)) => {
            if looks {
                *look
            } else {
                *act
            }
        }
        None if looks => READ,
        None => ADMIN,
    }
}

/// Whether a method only looks.
pub(super) fn looks(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn row(path: &str) -> Option<&'static Row> {
    ROWS.iter().find(|(pattern, ..)| matches(pattern, path))
}

/// Paths are compared as they came, as the routers do it: what is written otherwise (`//`, `%2f`) is another path, with no row.
fn matches(pattern: &str, path: &str) -> bool {
    let mut parts = path.split('/');
    let mut patterns = pattern.split('/');
    loop {
        match (patterns.next(), parts.next()) {
            (Some("{*}"), Some(rest)) => return !rest.is_empty(),
            (Some(p), Some(part)) if p == part || p.starts_with('{') && !part.is_empty() => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// Texts in the sources that look like paths and are none that is served.
    const NO_ROUTES: [&str; 11] = [
        "/api/",
        "/api/v1/",
        "/api/correlat",
        "/api/otlp/",
        "/api/prom/",
        "/loki/",
        "/prometheus/",
        "/buildinfo",
        "/-/",
        // Docker's, which are asked.
        "/containers/json",
        "/networks",
    ];

    fn collect(dir: &Path, found: &mut BTreeSet<String>) {
        for file in std::fs::read_dir(dir).expect("a folder of sources").flatten() {
            let (path, name) = (file.path(), file.file_name().into_string().expect("text"));
            if path.is_dir() && name != "tests" {
                collect(&path, found);
            }
            if !name.ends_with(".rs") || name == "tests.rs" {
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("text");
            // What stands below `mod tests` asks, it does not serve.
            let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            for literal in text.split('"').skip(1).step_by(2) {
                let route = literal.strip_prefix('/').is_some_and(|rest| {
                    rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '-')
                        && rest.chars().all(|c| c.is_ascii_alphanumeric() || "/-_.{}".contains(c))
                });
                if route {
                    found.insert(literal.to_owned());
                }
            }
        }
    }

    #[test]
    fn every_route_in_the_sources_has_a_row() {
        // Tests run in the folder of their crate.
        let crates = Path::new("..");
        let mut found = BTreeSet::new();
        for dir in ["api/src", "collector/src"] {
            collect(&crates.join(dir), &mut found);
        }
        let app = std::fs::read_to_string(crates.join("braid/src/app.rs")).expect("text");
        found.extend(app.split('"').filter(|t| t.starts_with("/api/") || t.starts_with("/-/")).map(str::to_owned));
        assert!(found.len() > 80 && found.contains("/loki/api/v1/tail") && found.contains("/api/v1/write"), "{found:?}");
        let without: Vec<_> = found.iter().filter(|p| row(p).is_none() && !NO_ROUTES.contains(&p.as_str())).collect();
        assert!(without.is_empty(), "no row in gate::table for {without:?}");
    }

    #[test]
    fn what_changes_something_or_takes_data_in_is_told_from_what_is_asked() {
        for (method, path, expected) in [
            (Method::GET, "/ready", OPEN),
            (Method::GET, "/-/healthy", OPEN),
            (Method::POST, "/-/reload", ADMIN),
            (Method::POST, "/v1/traces", INGEST),
            (Method::OPTIONS, "/v1/traces", OPEN),
            (Method::OPTIONS, "/api/v1/query", OPEN),
            (Method::OPTIONS, "/loki/api/v1/query", READ),
            (Method::POST, "/api/v1/query", READ),
            (Method::POST, "/api/logs", INGEST),
            (Method::GET, "/api/logs", READ),
            (Method::GET, "/api/traces/0af7651916cd43dd8448eb211c80319c", READ),
            (Method::POST, "/api/traces", INGEST),
            (Method::GET, "/loki/api/v1/rules/a/b", READ),
            (Method::DELETE, "/loki/api/v1/rules/a/b", ADMIN),
            (Method::POST, "/api/admin/settle", ADMIN),
            (Method::GET, "/api/admin/snapshot/1/file", ADMIN),
            (Method::GET, "/metrics", READ),
            (Method::GET, "/nothing", READ),
            (Method::POST, "/nothing", ADMIN),
            (Method::GET, "//ready", READ),
            (Method::GET, "/ready/", READ),
            (Method::POST, "/v1/traces/", ADMIN),
        ] {
            assert_eq!(need(&method, path), expected, "{method} {path}");
        }
    }
}

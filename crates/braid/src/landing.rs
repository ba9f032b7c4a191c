//! The page at `/`: where data goes, and what to ask.

use std::net::SocketAddr;

use crate::config::Face;

/// The page, for a server that listens at `addresses`.
pub(crate) fn page(addresses: &[(Face, SocketAddr)]) -> String {
    let at = |face: Face| {
        addresses.iter().find(|(f, _)| *f == face).map_or_else(|| "(not listening)".to_owned(), |(_, a)| host_port(a))
    };
    let (own, grpc, http) = (at(Face::Braid), at(Face::OtlpGrpc), at(Face::OtlpHttp));
    let (prometheus, loki, tempo) = (at(Face::Prometheus), at(Face::Loki), at(Face::Tempo));
    format!(
        r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Braid</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:48rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}}
pre{{background:#f4f4f4;padding:.7rem;overflow-x:auto;border-radius:4px}}table{{border-collapse:collapse}}
td,th{{text-align:left;padding:.2rem 1rem .2rem 0}}
@media(prefers-color-scheme:dark){{body{{color:#ddd;background:#161616}}pre{{background:#252525}}a{{color:#8bf}}}}</style></head><body>
<h1>Braid {version}</h1>
<p>Traces, logs and metrics in one store. <a href="/health">health</a> · <a href="/metrics">metrics</a></p>
<h2>Send</h2>
<table><tr><th>what</th><th>where</th></tr>
<tr><td>OTLP over gRPC</td><td><code>{grpc}</code></td></tr>
<tr><td>OTLP over HTTP</td><td><code>http://{http}</code></td></tr>
<tr><td>Loki push</td><td><code>http://{loki}/loki/api/v1/push</code></td></tr>
<tr><td>Prometheus remote write</td><td><code>http://{prometheus}/api/v1/write</code></td></tr></table>
<pre>export OTEL_EXPORTER_OTLP_ENDPOINT=http://{http}
export OTEL_SERVICE_NAME=my-service</pre>
<h2>Ask</h2>
<p>Grafana's own data sources work: Prometheus at <code>http://{prometheus}</code>, Loki at <code>http://{loki}</code>,
Tempo at <code>http://{tempo}</code>. Every API also answers at <code>http://{own}</code>.</p>
<pre>curl -sG {tempo}/api/search --data-urlencode 'q={{ resource.service.name = "my-service" }}'
curl -sG {loki}/loki/api/v1/query_range --data-urlencode 'query={{service_name="my-service"}}'
curl -sG {prometheus}/api/v1/query --data-urlencode 'query=sum by (job) (rate(http_requests_total[5m]))'</pre>
</body></html>
"#,
        version = env!("CARGO_PKG_VERSION"),
    )
}

/// An address that a client on this machine can use.
fn host_port(address: &SocketAddr) -> String {
    if address.ip().is_unspecified() || address.ip().is_loopback() {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    }
}

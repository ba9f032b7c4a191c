//! Which path is which receiver.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use wire::Signal;

use crate::otlp_http::{self, Manner, Origins};
use crate::{Ingest, grpc, loki, records, remote_write, spans};

/// Which receivers a port has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Doors {
    /// OTLP over gRPC (4317).
    pub otlp_grpc: bool,
    /// OTLP over HTTP at `/v1/…` (4318).
    pub otlp_http: bool,
    /// Loki's push and OTLP paths (3100).
    pub loki: bool,
    /// Prometheus' remote write and OTLP paths (9090).
    pub prometheus: bool,
    /// Zipkin's spans (9411).
    pub zipkin: bool,
    /// Jaeger's Thrift over HTTP (14268).
    pub jaeger_http: bool,
    /// Jaeger's gRPC (14250).
    pub jaeger_grpc: bool,
    /// Records as plain JSON, and OTLP below `/api/otlp` (8080).
    pub correlation: bool,
}

impl Doors {
    /// All of them, as on Braid's own port.
    pub const ALL: Self = Self {
        otlp_grpc: true,
        otlp_http: true,
        loki: true,
        prometheus: true,
        zipkin: true,
        jaeger_http: true,
        jaeger_grpc: true,
        correlation: true,
    };

    /// Whether a POST to `path` is for one of them (gRPC aside).
    #[must_use]
    pub fn take(self, path: &str) -> bool {
        self.find(&http::Method::POST, path).is_some()
    }

    fn find(self, method: &http::Method, path: &str) -> Option<Door> {
        let posted = method == http::Method::POST;
        Some(match path {
            "/api/v1/write" if self.prometheus => Door::RemoteWrite,
            "/loki/api/v1/push" | "/api/prom/push" if self.loki => Door::Loki,
            "/api/v2/spans" if self.zipkin => Door::Zipkin,
            "/api/traces" if self.jaeger_http && posted => Door::Jaeger,
            // Asking for records is the API's.
            "/api/logs" if self.correlation && posted => Door::Records,
            "/v1/traces" if self.otlp_http => Door::Otlp(Signal::Traces, Manner::Otlp),
            "/v1/logs" if self.otlp_http => Door::Otlp(Signal::Logs, Manner::Otlp),
            "/v1/metrics" if self.otlp_http => Door::Otlp(Signal::Metrics, Manner::Otlp),
            "/api/otlp/v1/traces" if self.correlation => Door::Otlp(Signal::Traces, Manner::Otlp),
            "/api/otlp/v1/logs" if self.correlation => Door::Otlp(Signal::Logs, Manner::Otlp),
            "/api/otlp/v1/metrics" if self.correlation => Door::Otlp(Signal::Metrics, Manner::Otlp),
            "/otlp/v1/logs" if self.loki => Door::Otlp(Signal::Logs, Manner::Loki),
            "/api/v1/otlp/v1/metrics" if self.prometheus => Door::Otlp(Signal::Metrics, Manner::Prometheus),
            _ => return None,
        })
    }
}

/// A receiver of HTTP requests.
#[derive(Debug, Clone, Copy)]
enum Door {
    RemoteWrite,
    Loki,
    Zipkin,
    Jaeger,
    Records,
    Otlp(Signal, Manner),
}

/// All receivers.
pub struct Receivers {
    ingest: Arc<Ingest>,
    origins: Origins,
    parse_zipkin_tags: bool,
}

impl Receivers {
    /// Receivers in front of `ingest`; `origins` are the web pages that may send OTLP.
    #[must_use]
    pub fn new(ingest: Arc<Ingest>, origins: Origins) -> Self {
        Self { ingest, origins, parse_zipkin_tags: false }
    }

    /// Whether Zipkin's tags become numbers and booleans where they look like such (`parse_string_tags` of the Collector).
    #[must_use]
    pub fn parse_zipkin_tags(self, parse_zipkin_tags: bool) -> Self {
        Self { parse_zipkin_tags, ..self }
    }

    /// What they share.
    #[must_use]
    pub fn ingest(&self) -> &Arc<Ingest> {
        &self.ingest
    }

    /// Answers a request that one of `doors` is for.
    ///
    /// # Errors
    /// The request itself, untouched, when it is for none of them.
    pub async fn handle<B>(&self, doors: Doors, request: Request<B>) -> Result<Response<Body>, Request<B>>
    where
        B: hyper::body::Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let path = request.uri().path();
        let ingest = &self.ingest;
        if (doors.otlp_grpc || doors.jaeger_grpc) && grpc::is_grpc(request.headers()) {
            return match grpc::Method::of(path).filter(|m| m.is_behind(doors)) {
                Some(method) => Ok(grpc::handle(ingest, method, request).await),
                // On a port of its own there is nothing else that could know the method.
                None if doors != Doors::ALL => Ok(grpc::unimplemented(path)),
                None => Err(request),
            };
        }
        let Some(door) = doors.find(request.method(), path) else { return Err(request) };
        Ok(match door {
            Door::RemoteWrite => remote_write::handle(ingest, request).await,
            Door::Loki => loki::handle(ingest, request).await,
            Door::Zipkin => spans::handle(ingest, spans::Door::Zipkin { parse_tags: self.parse_zipkin_tags }, request).await,
            Door::Jaeger => spans::handle(ingest, spans::Door::Jaeger, request).await,
            Door::Records => records::handle(ingest, request).await,
            Door::Otlp(signal, manner) => otlp_http::handle(ingest, &self.origins, signal, manner, request).await,
        })
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use http_body_util::{BodyExt, Full};
    use store::{Appended, StoreError, Writer};
    use tokio::sync::broadcast;

    use super::*;
    use crate::{Budget, Counters, Limits};

    /// A store that answers every request with the same error.
    struct Refusing(fn() -> StoreError);

    impl Writer for Refusing {
        fn append(&self, _: store::Request) -> Appended<'_> {
            Box::pin(async { Err(self.0()) })
        }

        fn delete(&self, _: store::Deletion) -> Result<Arc<store::Tombstone>, StoreError> {
            Err(StoreError::Closed)
        }

        fn subscribe(&self) -> broadcast::Receiver<store::Request> {
            broadcast::channel(1).1
        }
    }

    fn receivers(error: fn() -> StoreError, budget: usize) -> Receivers {
        let ingest =
            Ingest::new(Arc::new(Refusing(error)), Limits::default(), Budget::new(budget), Arc::new(Counters::default()));
        Receivers::new(Arc::new(ingest), Origins::default())
    }

    /// A request that is good.
    fn good(path: &str) -> Request<Full<Bytes>> {
        // One span: ids (1, 2), name (5), start (7), end (8).
        let ids = [&[0x0a, 16][..], &[1; 16], &[0x12, 8], &[2; 8]].concat();
        let times =
            [&[0x39][..], &1_700_000_000_000_000_000u64.to_le_bytes(), &[0x41], &1_700_000_000_000_000_001u64.to_le_bytes()];
        let span = [ids, b"\x2a\x01n".to_vec(), times.concat()].concat();
        let mut trace = span;
        for tag in [0x12, 0x12, 0x0a] {
            trace = [vec![tag, trace.len() as u8], trace].concat();
        }
        let (content_type, body) = match path {
            "/v1/traces" => ("application/x-protobuf", trace),
            "/api/v1/write" => {
                let mut encoder = wire::remote_write::Encoder::new();
                encoder.series([("__name__", "up")], &[(1_700_000_000_000, 1.0)]);
                ("application/x-protobuf", encoder.finish().expect("small"))
            }
            "/loki/api/v1/push" => {
                let json = r#"{"streams":[{"stream":{"a":"b"},"values":[["1700000000000000000","line"]]}]}"#;
                ("application/json", json.as_bytes().to_vec())
            }
            _ => ("application/grpc", [vec![0, 0, 0, 0, trace.len() as u8], trace].concat()),
        };
        Request::post(path).header("content-type", content_type).body(Full::new(body.into())).expect("valid")
    }

    const GRPC: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    const HTTP: [&str; 3] = ["/v1/traces", "/api/v1/write", "/loki/api/v1/push"];

    async fn ask(receivers: &Receivers, path: &str) -> Response<Body> {
        match receivers.handle(Doors::ALL, good(path)).await {
            Ok(response) => response,
            Err(request) => panic!("nobody took {}", request.uri()),
        }
    }

    #[tokio::test]
    async fn what_the_store_cannot_take_now_is_refused_as_retryable_in_every_protocol() {
        let errors: [fn() -> StoreError; 4] = [
            || StoreError::Busy("busy".into()),
            || StoreError::Full("full".into()),
            || StoreError::Closed,
            || StoreError::Io { what: "log".into(), source: std::io::Error::other("broken") },
        ];
        for error in errors {
            let receivers = receivers(error, 1 << 20);
            for path in HTTP {
                let response = ask(&receivers, path).await;
                assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}: {}", error());
                assert!(response.headers().contains_key("retry-after"), "{path}: {}", error());
            }
            let response = ask(&receivers, GRPC).await;
            assert_eq!(response.headers()["grpc-status"], "14", "{}", error());
            assert!(response.headers().contains_key("grpc-status-details-bin"), "RetryInfo");
            let mut text = String::new();
            receivers.ingest().counters().write_text(&mut text);
            assert_eq!(text.matches("braid_receiver_refused_requests_total{").count(), 4, "{text}");
        }
    }

    #[tokio::test]
    async fn a_full_budget_is_busy_and_nothing_stays_held() {
        let receivers = receivers(|| StoreError::Closed, 8);
        for path in HTTP {
            let response = ask(&receivers, path).await;
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
            let body = response.into_body().collect().await.expect("memory").to_bytes();
            assert!(String::from_utf8_lossy(&body).contains("in flight"), "{body:?}");
        }
        let mut text = String::new();
        receivers.ingest().write_text(&mut text);
        assert!(text.contains("braid_in_flight_bytes 0\n"), "{text}");
    }

    /// A store that takes every request and tells this of it.
    struct Taking(Option<wire::Summary>);

    impl Writer for Taking {
        fn append(&self, _: store::Request) -> Appended<'_> {
            Box::pin(async { Ok(self.0.clone()) })
        }

        fn delete(&self, _: store::Deletion) -> Result<Arc<store::Tombstone>, StoreError> {
            Err(StoreError::Closed)
        }

        fn subscribe(&self) -> broadcast::Receiver<store::Request> {
            broadcast::channel(1).1
        }
    }

    /// Status, what remote write was told of samples, histograms and exemplars, and the body's first line.
    async fn told(applied: Option<wire::Summary>, path: &str, content_type: &str, body: Vec<u8>) -> (u16, [String; 3], String) {
        let ingest =
            Ingest::new(Arc::new(Taking(applied)), Limits::default(), Budget::new(1 << 20), Arc::new(Counters::default()));
        let receivers = Receivers::new(Arc::new(ingest), Origins::default());
        let request = Request::post(path).header("content-type", content_type).body(Full::new(Bytes::from(body))).expect("valid");
        let Ok(response) = receivers.handle(Doors::ALL, request).await else { panic!("nobody took {path}") };
        let header = |name: &str| {
            let value = response.headers().get(format!("x-prometheus-remote-write-{name}-written"));
            value.map_or("-", |v| v.to_str().expect("digits")).to_owned()
        };
        let written = ["samples", "histograms", "exemplars"].map(header);
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("memory").to_bytes();
        (status, written, String::from_utf8_lossy(&body).lines().next().unwrap_or_default().to_owned())
    }

    /// A request of remote write 2.0 with one sample and one exemplar, in a snappy block that compresses nothing.
    fn version_2() -> Vec<u8> {
        let mut request = b"\x22\x00\x22\x08__name__\x22\x02up\x22\x01a".to_vec();
        let sample = b"\x12\x0d\x09\0\0\0\0\0\0\xf0\x3f\x10\x05\x18\x04";
        let exemplar = b"\x22\x0d\x0a\x02\x03\x02\x11\0\0\0\0\0\0\xf0\x3f";
        let series = [&b"\x0a\x04\x01\x02\x03\x02"[..], sample, exemplar].concat();
        request.extend([0x2a, series.len() as u8]);
        request.extend(series);
        [&[request.len() as u8, 60 << 2, request.len() as u8 - 1], &*request].concat()
    }

    #[tokio::test]
    async fn remote_write_says_what_was_written_of_both_versions() {
        let v2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
        let written = |samples: u64, histograms: u64, exemplars: u64| [samples, histograms, exemplars].map(|n| n.to_string());
        let fine = told(None, "/api/v1/write", v2, version_2()).await;
        assert_eq!(fine, (204, written(1, 0, 1), String::new()));
        let mut applied = wire::Summary { accepted: 5, histograms: 2, exemplars: 3, ..Default::default() };
        applied.refused.add("too old sample");
        let partial = told(Some(applied.clone()), "/api/v1/write", v2, version_2()).await;
        assert_eq!(partial, (400, written(3, 2, 3), "too old sample: 1".to_owned()));
        let mut encoder = wire::remote_write::Encoder::new();
        encoder.series([("__name__", "up")], &[(1_700_000_000_000, 1.0)]);
        let v1 = encoder.finish().expect("small");
        assert_eq!(told(Some(applied), "/api/v1/write", "application/x-protobuf", v1).await, partial);
        let nothing = written(0, 0, 0);
        let (status, said, _) =
            told(None, "/api/v1/write", "application/x-protobuf;proto=io.prometheus.write.v3.Request", version_2()).await;
        assert_eq!((status, said), (415, nothing.clone()));
        let (status, said, _) = told(None, "/api/v1/write", v2, b"\x01\x00x".to_vec()).await;
        assert_eq!((status, said), (400, nothing));
    }

    #[tokio::test]
    async fn prometheus_own_otlp_path_answers_as_prometheus() {
        let path = "/api/v1/otlp/v1/metrics";
        // One gauge `g` with a point at 5 ms.
        let point = [&b"\x19"[..], &5_000_000u64.to_le_bytes(), b"\x21", &1f64.to_le_bytes()].concat();
        let mut request = [&[0x0a, point.len() as u8], &*point].concat();
        request = [&b"\x0a\x01g\x2a"[..], &[request.len() as u8], &*request].concat();
        for tag in [0x12, 0x12, 0x0a] {
            request = [vec![tag, request.len() as u8], request].concat();
        }
        let none = ["-", "-", "-"].map(str::to_owned);
        let fine = told(None, path, "application/x-protobuf", request.clone()).await;
        assert_eq!(fine, (200, none.clone(), String::new()));
        let mut applied = wire::Summary::default();
        applied.refused.add("too old sample");
        let refused = told(Some(applied), path, "application/x-protobuf", request).await;
        assert_eq!(refused, (400, none.clone(), "too old sample: 1".to_owned()));
        let (status, _, said) = told(None, path, "application/x-protobuf", b"\x0b".to_vec()).await;
        assert_eq!((status, said.as_str()), (400, "protobuf: a group at byte 0"));
    }
}

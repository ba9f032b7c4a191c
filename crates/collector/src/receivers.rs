//! Which path is which receiver.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use wire::Signal;

use crate::otlp_http::{self, Manner, Origins};
use crate::{Ingest, grpc, loki, remote_write};

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
}

impl Doors {
    /// All of them, as on Braid's own port.
    pub const ALL: Self = Self { otlp_grpc: true, otlp_http: true, loki: true, prometheus: true };
}

/// All receivers.
pub struct Receivers {
    ingest: Arc<Ingest>,
    origins: Origins,
}

impl Receivers {
    /// Receivers in front of `ingest`; `origins` are the web pages that may send OTLP.
    #[must_use]
    pub fn new(ingest: Arc<Ingest>, origins: Origins) -> Self {
        Self { ingest, origins }
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
        if doors.otlp_grpc && grpc::is_grpc(request.headers()) {
            return match grpc::export(path) {
                Some(signal) => Ok(grpc::handle(ingest, signal, request).await),
                // On a port of its own there is nothing else that could know the method.
                None if doors != Doors::ALL => Ok(grpc::unimplemented(path)),
                None => Err(request),
            };
        }
        let (signal, manner) = match path {
            "/api/v1/write" if doors.prometheus => return Ok(remote_write::handle(ingest, request).await),
            "/loki/api/v1/push" | "/api/prom/push" if doors.loki => return Ok(loki::handle(ingest, request).await),
            "/v1/traces" if doors.otlp_http => (Signal::Traces, Manner::Otlp),
            "/v1/logs" if doors.otlp_http => (Signal::Logs, Manner::Otlp),
            "/v1/metrics" if doors.otlp_http => (Signal::Metrics, Manner::Otlp),
            "/otlp/v1/logs" if doors.loki => (Signal::Logs, Manner::Loki),
            "/api/v1/otlp/v1/metrics" if doors.prometheus => (Signal::Metrics, Manner::Otlp),
            _ => return Err(request),
        };
        Ok(otlp_http::handle(ingest, &self.origins, signal, manner, request).await)
    }
}

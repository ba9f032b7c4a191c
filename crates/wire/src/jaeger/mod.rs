//! Jaeger's spans (`jaeger.thrift` over HTTP, `jaeger.api_v2` over gRPC) to OTLP, by the translation rules of the
//! OpenTelemetry Collector's Jaeger receiver. What comes out is an `ExportTraceServiceRequest`, so that the rest of the way
//! is that of OTLP.

mod proto;
mod span;
mod thrift;

pub use proto::to_otlp as proto_to_otlp;
pub use thrift::{Protocol, to_otlp as thrift_to_otlp};

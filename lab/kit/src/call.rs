//! A request to another service as a client span whose context the other receives.

use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use opentelemetry::trace::{SpanKind, Status, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;

use crate::ask::{Answer, Asker};
use crate::{propagation, telemetry};

/// A client that makes a span of every request and propagates it.
#[derive(Debug, Clone)]
pub struct Caller {
    asker: Asker,
    tracer: SdkTracer,
}

impl Caller {
    /// Requests go through `asker`, spans through `tracer`.
    pub fn new(asker: Asker, tracer: SdkTracer) -> Self {
        Self { asker, tracer }
    }

    /// One request below the span of `parent`. An error means that there was no answer; any status is an answer, though 4xx
    /// and 5xx make the span an error.
    pub async fn call(
        &self,
        parent: &Context,
        method: Method,
        url: &str,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> anyhow::Result<Answer> {
        let mut attributes = vec![
            KeyValue::new("http.request.method", method.to_string()),
            KeyValue::new("http.method", method.to_string()),
            KeyValue::new("url.full", url.to_owned()),
            KeyValue::new("http.url", url.to_owned()),
        ];
        if let Some((host, port)) =
            url.parse::<Uri>().ok().and_then(|uri| Some((uri.host()?.to_owned(), uri.port_u16().unwrap_or(80))))
        {
            attributes.push(KeyValue::new("server.address", host));
            attributes.push(KeyValue::new("server.port", i64::from(port)));
        }
        let span = telemetry::span(&self.tracer, parent, SpanKind::Client, method.to_string(), attributes);
        propagation::inject(&span, &mut headers);
        let outcome = self.asker.send(method, url, headers, body).await;
        match &outcome {
            Ok(answer) => {
                telemetry::set_status_code(&span, answer.status);
                if answer.status.is_client_error() || answer.status.is_server_error() {
                    telemetry::set(&span, "error.type", answer.status.as_str().to_owned());
                    span.span().set_status(Status::error(""));
                }
            }
            Err(error) => span.span().set_status(Status::error(format!("{error:#}"))),
        }
        telemetry::end(&span);
        outcome
    }
}

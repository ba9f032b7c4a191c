//! The context that travels with a request: W3C Trace Context and W3C Baggage.

use http::HeaderMap;
use opentelemetry::Context;
use opentelemetry::baggage::BaggageExt;

use crate::{baggage, trace_context};

/// The context that a request arrived with: the caller's span if `traceparent` is valid (else a new trace starts), and the
/// caller's baggage, which does not depend on it.
pub fn extract(headers: &HeaderMap) -> Context {
    let context = trace_context::extract(headers);
    let baggage = baggage::extract(headers);
    if baggage.is_empty() { context } else { context.with_baggage(baggage) }
}

/// Writes the span and the baggage of `context` into `headers`, replacing what they held of either.
pub fn inject(context: &Context, headers: &mut HeaderMap) {
    trace_context::inject(context, headers);
    baggage::inject(context.baggage(), headers);
}

//! W3C Trace Context over HTTP headers, read strictly and written canonically.
//!
//! The SDK's own propagator accepts repeated `traceparent` headers and trailing dashes, and writes an empty `tracestate`; a
//! lab that is used to test a trace store should follow <https://www.w3.org/TR/trace-context/> to the letter.

use std::str::FromStr;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The context that a request arrived with: the caller's span if `traceparent` is valid, else an empty one (a new trace starts).
///
/// A `tracestate` that cannot be parsed is dropped without touching the parent; without a valid `traceparent` it is ignored.
pub(crate) fn extract(headers: &HeaderMap) -> Context {
    match parent(headers) {
        Some(parent) => Context::new().with_remote_span_context(parent),
        None => Context::new(),
    }
}

/// Writes the span of `context` as `traceparent` and `tracestate`, replacing whatever the headers held.
pub(crate) fn inject(context: &Context, headers: &mut HeaderMap) {
    headers.remove(TRACEPARENT);
    headers.remove(TRACESTATE);
    let span = context.span();
    let span = span.span_context();
    if !span.is_valid() {
        return;
    }
    let sampled = u8::from(span.is_sampled());
    if let Ok(value) = HeaderValue::try_from(format!("00-{}-{}-{sampled:02x}", span.trace_id(), span.span_id())) {
        headers.insert(TRACEPARENT, value);
    }
    let state = span.trace_state().header();
    if !state.is_empty()
        && let Ok(value) = HeaderValue::try_from(state)
    {
        headers.insert(TRACESTATE, value);
    }
}

fn parent(headers: &HeaderMap) -> Option<SpanContext> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let value = values.next()?.to_str().ok()?.trim_matches([' ', '\t']);
    if values.next().is_some() {
        return None;
    }
    let (trace_id, span_id, flags) = parse_traceparent(value)?;
    Some(SpanContext::new(trace_id, span_id, flags, true, state(headers)))
}

/// The fields of a `traceparent` value, or nothing if any rule of section 3.2 is broken. A version above 00 may carry more
/// fields after a dash; version 00 has exactly 55 characters.
fn parse_traceparent(value: &str) -> Option<(TraceId, SpanId, TraceFlags)> {
    let bytes = value.as_bytes();
    if bytes.len() < 55 || !value.is_ascii() {
        return None;
    }
    let (head, rest) = value.split_at(55);
    let dashes = [2, 35, 52].iter().all(|&at| bytes[at] == b'-');
    let digits = [0..2, 3..35, 36..52, 53..55].iter().all(|field| bytes[field.clone()].iter().all(is_lower_hex));
    if !dashes || !digits {
        return None;
    }
    match &head[0..2] {
        "ff" => return None,
        "00" if !rest.is_empty() => return None,
        _ if !rest.is_empty() && !rest.starts_with('-') => return None,
        _ => {}
    }
    let trace_id = TraceId::from_hex(&head[3..35]).ok().filter(|id| *id != TraceId::INVALID)?;
    let span_id = SpanId::from_hex(&head[36..52]).ok().filter(|id| *id != SpanId::INVALID)?;
    let flags = u8::from_str_radix(&head[53..55], 16).ok()?;
    Some((trace_id, span_id, TraceFlags::new(flags) & TraceFlags::SAMPLED))
}

fn is_lower_hex(byte: &u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// `tracestate` may be spread over several headers, which are one list in order of appearance (section 3.3.1.2).
fn state(headers: &HeaderMap) -> TraceState {
    let lists: Option<Vec<&str>> = headers.get_all(TRACESTATE).iter().map(|value| value.to_str().ok()).collect();
    lists.and_then(|lists| TraceState::from_str(&lists.join(",")).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::try_from(*value).unwrap());
        }
        headers
    }

    #[test]
    fn a_valid_parent_is_taken_over_with_its_state_and_written_back() {
        let context = extract(&headers(&[("traceparent", VALID), ("tracestate", "a=1, b=2"), ("tracestate", "c=3")]));
        let mut out = headers(&[("tracestate", "stale=1")]);
        inject(&context, &mut out);
        assert_eq!(out["traceparent"], VALID);
        assert_eq!(out["tracestate"], "a=1,b=2,c=3");
        assert_eq!(out.get_all("tracestate").iter().count(), 1);
    }

    #[test]
    fn invalid_parents_start_a_new_trace() {
        for value in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x",
            "00-4bf92f3577b34da6a3ce929d0e0e4736x00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01extra",
        ] {
            let context = extract(&headers(&[("traceparent", value), ("tracestate", "a=1")]));
            assert!(!context.span().span_context().is_valid(), "{value:?} must be ignored");
        }
    }

    #[test]
    fn two_parents_are_none() {
        let context = extract(&headers(&[("traceparent", VALID), ("traceparent", VALID)]));
        assert!(!context.span().span_context().is_valid());
    }

    #[test]
    fn a_later_version_may_carry_more_fields() {
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-brings";
        let context = extract(&headers(&[("traceparent", later)]));
        let mut out = HeaderMap::new();
        inject(&context, &mut out);
        assert_eq!(out["traceparent"], VALID);
        assert!(!out.contains_key("tracestate"));
    }

    #[test]
    fn only_the_sampled_flag_travels() {
        for (flags, written) in [("00", "00"), ("01", "01"), ("02", "00"), ("ff", "01")] {
            let value = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
            let mut out = HeaderMap::new();
            inject(&extract(&headers(&[("traceparent", &value)])), &mut out);
            assert_eq!(out["traceparent"].to_str().unwrap(), format!("{}{written}", &value[..53]));
        }
    }

    #[test]
    fn a_broken_state_is_dropped_and_the_parent_kept() {
        let context = extract(&headers(&[("traceparent", VALID), ("tracestate", "no-equals-sign")]));
        let mut out = HeaderMap::new();
        inject(&context, &mut out);
        assert_eq!(out["traceparent"], VALID);
        assert!(!out.contains_key("tracestate"));
    }
}

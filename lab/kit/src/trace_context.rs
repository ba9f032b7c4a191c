//! W3C Trace Context over HTTP headers, read strictly and written canonically.
//!
//! The SDK's own propagator accepts repeated `traceparent` headers and trailing dashes, takes the first 32 of more members of
//! a `tracestate`, and writes an empty one; a lab that is used to test a trace store should follow the recommendation,
//! <https://www.w3.org/TR/trace-context-1/>, to the letter.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Members of a `tracestate` at most.
const MEMBERS: usize = 32;

/// The `tracestate` of a request, which travels on as it was read. The SDK's own type refuses systems of 14 characters.
#[derive(Debug)]
struct State(String);

/// The context that a request arrived with: the caller's span if `traceparent` is valid, else an empty one (a new trace starts).
///
/// A `tracestate` that breaks a rule is dropped without touching the parent; without a valid `traceparent` it is ignored.
pub(crate) fn extract(headers: &HeaderMap) -> Context {
    let Some((trace_id, span_id, flags)) = parent(headers) else { return Context::new() };
    let state = state(headers).unwrap_or_default();
    let known = TraceState::from_key_value(state.iter().cloned()).unwrap_or_default();
    let context = Context::new().with_remote_span_context(SpanContext::new(trace_id, span_id, flags, true, known));
    let members: Vec<String> = state.iter().map(|(key, value)| format!("{key}={value}")).collect();
    context.with_value(State(members.join(",")))
}

/// Writes the span of `context` as `traceparent`, and the `tracestate` that came with its trace, replacing whatever the headers
/// held.
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
    if let Some(State(state)) = context.get::<State>().filter(|state| !state.0.is_empty())
        && let Ok(value) = HeaderValue::try_from(state)
    {
        headers.insert(TRACESTATE, value);
    }
}

fn parent(headers: &HeaderMap) -> Option<(TraceId, SpanId, TraceFlags)> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let value = values.next()?.to_str().ok()?.trim_matches([' ', '\t']);
    if values.next().is_some() { None } else { parse_traceparent(value) }
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

/// `tracestate` may be spread over several headers, which are one list in order of appearance (section 3.3.1.2). A list that
/// breaks a rule is dropped as a whole; of equal keys the first, which is the most recent, is kept.
fn state(headers: &HeaderMap) -> Option<Vec<(String, String)>> {
    let lists: Option<Vec<&str>> = headers.get_all(TRACESTATE).iter().map(|value| value.to_str().ok()).collect();
    let list = lists?.join(",");
    let members = parse_tracestate(&list)?;
    Some(members.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

/// The members of a list; nothing if a key or value is not what sections 3.3.1.3.1 and 3.3.1.3.2 allow, or if there are more
/// than 32. Members that are empty do not count.
fn parse_tracestate(list: &str) -> Option<Vec<(&str, &str)>> {
    let mut members: Vec<(&str, &str)> = Vec::new();
    for member in list.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|member| !member.is_empty()) {
        let (key, value) = member.split_once('=')?;
        if !is_key(key) || !is_value(value) || members.len() == MEMBERS {
            return None;
        }
        if members.iter().all(|(known, _)| *known != key) {
            members.push((key, value));
        }
    }
    Some(members)
}

/// A name of 256 characters at most, or tenant (241) and system (14) around an `@`; a tenant may start with a digit.
fn is_key(key: &str) -> bool {
    let is_name = |name: &str, limit: usize, digit_first: bool| {
        let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || digit_first && byte.is_ascii_digit());
        let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'*' | b'/');
        first && name.len() <= limit && name.bytes().all(rest)
    };
    match key.split_once('@') {
        Some((tenant, system)) => is_name(tenant, 241, true) && is_name(system, 14, false),
        None => is_name(key, 256, false),
    }
}

/// 1 to 256 printable ASCII characters but `,` and `=`; a space may not stand at the end.
fn is_value(value: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b' '..=b'~') && byte != b',' && byte != b'=';
    (1..=256).contains(&value.len()) && value.bytes().all(allowed) && !value.ends_with(' ')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

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

    /// The state that is passed on for lists that arrive beside a valid parent; the parent itself is passed on in any case.
    fn passed_on(lists: &[&str]) -> Option<String> {
        let pairs = lists.iter().map(|list| ("tracestate", *list));
        let context = extract(&headers(&[("traceparent", VALID)].into_iter().chain(pairs).collect::<Vec<_>>()));
        let mut out = HeaderMap::new();
        inject(&context, &mut out);
        assert_eq!(out["traceparent"], VALID);
        out.get("tracestate").map(|state| state.to_str().unwrap().to_owned())
    }

    #[test]
    fn states_are_passed_on_or_dropped_as_a_whole() {
        let long = |length: usize| "z".repeat(length);
        for (list, expected) in [
            ("a=1,b=2", Some("a=1,b=2")),
            ("a=1 \t,\t b=2", Some("a=1,b=2")),
            ("a=1,,b=2,", Some("a=1,b=2")),
            ("a= 1", Some("a= 1")),
            ("a=1,b=2,a=3", Some("a=1,b=2")),
            ("0t@s=1", Some("0t@s=1")),
            ("a_-*/9=!\"#$%&'()*+-./:;<>?@[]^_`{|}~", Some("a_-*/9=!\"#$%&'()*+-./:;<>?@[]^_`{|}~")),
            ("", None),
            (",", None),
            ("a", None),
            ("a=", None),
            ("=1", None),
            ("a=1=2", None),
            ("a=1,B=2", None),
            ("a=1,b =2", None),
            ("a=1,b.c=2", None),
            ("a=1,0b=2", None),
            ("a=1,_b=2", None),
            ("a=1,b@=2", None),
            ("a=1,@b=2", None),
            ("a=1,b@@c=2", None),
            ("a=1,b@c@d=2", None),
            ("a=1,b@0c=2", None),
        ] {
            assert_eq!(passed_on(&[list]).as_deref(), expected, "{list:?}");
        }
        for (key, good) in [
            (long(256), true),
            (long(257), false),
            (format!("{}@{}", long(241), long(14)), true),
            (format!("{}@{}", long(242), long(1)), false),
            (format!("{}@{}", long(1), long(15)), false),
        ] {
            assert_eq!(passed_on(&[&format!("{key}=1")]).is_some(), good, "{key}");
        }
        assert!(passed_on(&[&format!("a={}", long(256))]).is_some());
        assert!(passed_on(&[&format!("a={}", long(257))]).is_none());
    }

    #[test]
    fn thirty_two_members_are_passed_on_and_thirty_three_are_not() {
        let members = |count: usize| (0..count).map(|number| format!("k{number}=1")).collect::<Vec<_>>();
        assert_eq!(passed_on(&[&members(32).join(",")]), Some(members(32).join(",")));
        assert_eq!(passed_on(&[&members(33).join(",")]), None);
        assert_eq!(passed_on(&[&members(32).join(","), "k32=1"]), None);
        assert_eq!(passed_on(&["a=1", "", "b=2"]).as_deref(), Some("a=1,b=2"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_what_is_passed_on_is_valid(
            parent in proptest::collection::vec(any::<u8>(), 0..80),
            state in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let mut given = headers(&[("traceparent", VALID)]);
            if let Ok(state) = HeaderValue::from_bytes(&state) {
                given.insert(TRACESTATE, state);
            }
            let mut out = HeaderMap::new();
            inject(&extract(&given), &mut out);
            prop_assert_eq!(&out["traceparent"], VALID);
            let mut again = HeaderMap::new();
            inject(&extract(&out), &mut again);
            prop_assert_eq!(again, out);
            if let Ok(parent) = HeaderValue::from_bytes(&parent) {
                given.insert(TRACEPARENT, parent);
                inject(&extract(&given), &mut HeaderMap::new());
            }
        }
    }
}

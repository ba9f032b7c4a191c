//! The five business keys of a request: from its query, its headers or its baggage, else a default; then in the baggage of its
//! context, from where telemetry takes them and where neighbours find them.

use axum::extract::{Query, Request};
use http::HeaderMap;
use http::Uri;
use http::request::Parts;
use opentelemetry::baggage::{Baggage, BaggageExt};
use opentelemetry::{Context, StringValue};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};

use crate::path::Path;

/// The keys, as they are called everywhere.
pub const KEYS: [&str; 5] = ["circuit_id", "product_id", "resource_id", "resource_type_id", "request_id"];
const REQUEST_ID: &str = "request_id";
/// Characters of a value at most.
const LIMIT: usize = 128;

/// Why a request is refused; the text is the API's `error`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} must have 1 to {LIMIT} characters, none of them a control character")]
pub(crate) struct Refusal {
    key: &'static str,
}

/// The context of a request with its keys in the baggage. The query wins over headers, headers over the caller's baggage; what
/// cannot be a key is passed over, so that every request has all five.
///
/// `request_id` is made where a test enters (its path is empty) and only travels in the baggage between the services: what a
/// client says about it cannot make two requests look like one.
pub(crate) fn context(request: &Request) -> Context {
    let context = kit::extract(request.headers());
    let given = Given { uri: request.uri(), headers: request.headers(), baggage: context.baggage() };
    let entering = Path::read(request.headers()).is_empty();
    let request_id = given.in_baggage(REQUEST_ID).filter(|_| !entering).unwrap_or_else(new_request_id);
    let mut baggage = copy(context.baggage());
    for key in KEYS {
        let value = match key {
            REQUEST_ID => request_id.clone(),
            _ => given.value(key).unwrap_or_else(|| default(key, &request_id)),
        };
        baggage.insert(key, value);
    }
    context.with_baggage(baggage)
}

/// Whether the query names a key with a value that cannot be one.
pub(crate) fn check(request: &Parts) -> Result<(), Refusal> {
    let wrong = |key: &&&str| in_query(&request.uri, key).is_some_and(|value| !is_value(&value));
    KEYS.iter().find(wrong).map_or(Ok(()), |key| Err(Refusal { key }))
}

/// The five keys of the current request with their values.
pub(crate) fn current() -> Vec<(&'static str, StringValue)> {
    Context::map_current(|context| KEYS.into_iter().filter_map(|key| Some((key, context.baggage().get(key)?.clone()))).collect())
}

/// What a request says itself.
struct Given<'a> {
    uri: &'a Uri,
    headers: &'a HeaderMap,
    baggage: &'a Baggage,
}

impl Given<'_> {
    fn value(&self, key: &str) -> Option<String> {
        let query = in_query(self.uri, key).filter(|value| is_value(value));
        query.or_else(|| self.in_headers(key)).or_else(|| self.in_baggage(key))
    }

    /// From `X-Circuit-Id`, as proxies pass it on, or from `circuit_id`.
    fn in_headers(&self, key: &str) -> Option<String> {
        let names = [format!("x-{}", key.replace('_', "-")), key.to_owned()];
        let values = names.iter().filter_map(|name| self.headers.get(name)?.to_str().ok());
        values.map(str::trim).find(|value| is_value(value)).map(str::to_owned)
    }

    fn in_baggage(&self, key: &str) -> Option<String> {
        self.baggage.get(key).map(StringValue::as_str).filter(|value| is_value(value)).map(str::to_owned)
    }
}

fn in_query(uri: &Uri, key: &str) -> Option<String> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).ok()?;
    pairs.into_iter().find(|(name, _)| name == key).map(|(_, value)| value)
}

fn is_value(value: &str) -> bool {
    !value.is_empty() && value.chars().count() <= LIMIT && !value.chars().any(char::is_control)
}

/// A request without keys is a test of the lab itself. Its circuit is its own, so that strangers are not joined by a default.
fn default(key: &str, request_id: &str) -> String {
    match key {
        "circuit_id" => format!("LAB-{request_id}"),
        "product_id" => "sense".to_owned(),
        "resource_id" => "lab".to_owned(),
        _ => "service".to_owned(),
    }
}

/// 128 random bits in the form of a UUID, version 4.
fn new_request_id() -> String {
    let mut bytes = RandomIdGenerator::default().new_trace_id().to_bytes();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..])
}

/// The entries of others, of which there is room for 64 in all: the keys come first.
fn copy(baggage: &Baggage) -> Baggage {
    let others = baggage.iter().filter(|(key, _)| !KEYS.contains(&key.as_str())).take(64 - KEYS.len());
    others.map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::body::Body;
    use proptest::prelude::*;

    use super::*;

    fn keys(query: &str, headers: &[(&str, &str)]) -> Vec<String> {
        let mut request = Request::builder().uri(format!("/api/test{query}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let context = context(&request.body(Body::empty()).unwrap());
        KEYS.iter().map(|key| context.baggage().get(key).unwrap().to_string()).collect()
    }

    #[test]
    fn the_query_wins_over_headers_and_headers_over_baggage() {
        let baggage = ("baggage", "circuit_id=b,product_id=b,resource_id=b,resource_type_id=b%20b,request_id=b");
        let header = ("x-circuit-id", "h");
        assert_eq!(keys("?circuit_id=q%C3%BC", &[header, baggage])[..4], ["qü", "b", "b", "b b"]);
        assert_eq!(keys("", &[header, ("product_id", "h"), baggage])[..4], ["h", "h", "b", "b b"]);
        assert_eq!(keys("?circuit_id=", &[baggage])[0], "b");
        assert_eq!(keys(&format!("?circuit_id={}", "x".repeat(129)), &[header])[0], "h");
        assert_eq!(keys("?circuit_id=a%0Ab", &[])[1..4], ["sense", "lab", "service"]);
    }

    #[test]
    fn a_request_id_is_made_where_a_test_enters_and_travels_only_between_the_services() {
        let baggage = ("baggage", "request_id=theirs");
        let (one, other) = (keys("?request_id=x", &[baggage]), keys("?request_id=x", &[baggage]));
        assert_ne!(one[4], other[4]);
        assert!(one[4].len() == 36 && one[4].as_bytes()[14] == b'4', "{}", one[4]);
        assert_eq!(one[0], format!("LAB-{}", one[4]));
        assert_eq!(keys("?request_id=x", &[baggage, ("x-sense-path", "arda")])[4], "theirs");
        assert_eq!(keys("", &[("x-sense-path", "arda")])[4].len(), 36);
    }

    #[test]
    fn a_full_baggage_has_room_for_the_keys() {
        let many: Vec<String> = (0..64).map(|number| format!("key{number}=1")).collect();
        assert_eq!(keys("?circuit_id=c", &[("baggage", &many.join(","))])[..4], ["c", "sense", "lab", "service"]);
    }

    #[test]
    fn a_query_that_names_a_key_in_vain_is_refused() {
        let check = |query: &str| check(&Request::builder().uri(format!("/?{query}")).body(()).unwrap().into_parts().0);
        assert_eq!(check("circuit_id=c&other="), Ok(()));
        for query in ["circuit_id=", "circuit_id=a%00", &format!("circuit_id={}", "x".repeat(129))] {
            let refusal = check(query).unwrap_err().to_string();
            assert!(refusal.starts_with("circuit_id must have 1 to 128 characters"), "{refusal}");
        }
    }

    proptest! {
        #[test]
        fn every_request_has_all_five(value in "[!-~]{0,60}", baggage in "[ -~]{0,60}") {
            let query = format!("?{}", value.replace(['#', '"', '<', '>', '`', '{', '}', '\\', '^', '|'], ""));
            let all = keys(&query, &[("baggage", &baggage), ("x-circuit-id", &value)]);
            prop_assert!(all.iter().all(|value| is_value(value)), "{all:?}");
        }
    }
}

//! W3C Baggage over HTTP headers, <https://www.w3.org/TR/baggage/>.
//!
//! The SDK's own propagator reads the first of several headers only and cuts a value off at its second `=`.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::baggage::Baggage;

use crate::ask::percent_encode;

const BAGGAGE: HeaderName = HeaderName::from_static("baggage");
/// What a sender may rely on (section 3.3.3); all of it beyond that is left behind rather than half of it passed on.
const LIMIT: usize = 8192;

/// The entries of all `baggage` headers, which are one list. An entry that breaks a rule is left out, and all of them when
/// they are too long together; of equal keys the last wins.
pub(crate) fn extract(headers: &HeaderMap) -> Baggage {
    let mut baggage = Baggage::new();
    let lists: Vec<&str> = headers.get_all(BAGGAGE).iter().filter_map(|value| value.to_str().ok()).collect();
    if lists.iter().map(|list| list.len() + 1).sum::<usize>() > LIMIT + 1 {
        return baggage;
    }
    for member in lists.iter().flat_map(|list| list.split(',')) {
        let (pair, properties) = member.split_once(';').unwrap_or((member, ""));
        let Some((key, value)) = pair.split_once('=') else { continue };
        let (key, value) = (key.trim_matches([' ', '\t']), value.trim_matches([' ', '\t']));
        let octets = value.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\'));
        if octets && let Some(value) = percent_decode(value) {
            // Keys are checked there, and so is the number of entries.
            baggage.insert_with_metadata(key.to_owned(), value, properties.trim_matches([' ', '\t']));
        }
    }
    baggage
}

/// Writes `baggage`, sorted by key, replacing what the headers held.
pub(crate) fn inject(baggage: &Baggage, headers: &mut HeaderMap) {
    headers.remove(BAGGAGE);
    let mut members: Vec<String> = baggage
        .iter()
        .map(|(key, (value, properties))| {
            let separator = if properties.as_str().is_empty() { "" } else { ";" };
            format!("{key}={}{separator}{properties}", percent_encode(value.as_str()))
        })
        .collect();
    members.sort_unstable();
    if !members.is_empty()
        && let Ok(value) = HeaderValue::try_from(members.join(","))
    {
        headers.insert(BAGGAGE, value);
    }
}

/// Nothing if what was encoded is not UTF-8; a percent sign without two digits stands for itself.
fn percent_decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                rest = &tail[2..];
            }
            None => {
                decoded.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn read(lists: &[&str]) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        for list in lists {
            headers.append(BAGGAGE, HeaderValue::try_from(*list).unwrap());
        }
        let baggage = extract(&headers);
        let mut entries: Vec<_> = baggage.iter().map(|(key, (value, _))| (key.to_string(), value.to_string())).collect();
        entries.sort();
        entries
    }

    #[test]
    fn lists_are_read_as_the_specification_says() {
        for (lists, expected) in [
            (&["a=1,b=2"][..], &[("a", "1"), ("b", "2")][..]),
            (&["a=1", "b=2"], &[("a", "1"), ("b", "2")]),
            (&[" a =\t1 ; p=q; r , b = 2 "], &[("a", "1"), ("b", "2")]),
            (&["a=b=c"], &[("a", "b=c")]),
            (&["a=%C3%BC%2C%20x"], &[("a", "ü, x")]),
            (&["a=100%,b=%zz"], &[("a", "100%"), ("b", "%zz")]),
            (&["a=%+1"], &[("a", "%+1")]),
            (&["a=%FF,b=2"], &[("b", "2")]),
            (&["a=1,a=2"], &[("a", "2")]),
            (&["a", "=1", "a b=1", "(=1", "a=x y", "a=\"1\"", "", ","], &[]),
            (&["a="], &[("a", "")]),
        ] {
            let expected: Vec<_> = expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            assert_eq!(read(lists), expected, "{lists:?}");
        }
    }

    #[test]
    fn too_long_is_nothing_and_too_many_are_the_first_64() {
        assert_eq!(read(&[&format!("a={}", "x".repeat(8190))]).len(), 1);
        assert_eq!(read(&[&format!("a={}", "x".repeat(8191))]).len(), 0);
        let many: Vec<String> = (0..100).map(|number| format!("key{number}=1")).collect();
        assert_eq!(read(&[&many.join(",")]).len(), 64);
    }

    #[test]
    fn properties_travel_along() {
        let mut headers = HeaderMap::new();
        headers.insert(BAGGAGE, HeaderValue::from_static("b=2;p=q;r,a=1"));
        let baggage = extract(&headers);
        inject(&baggage, &mut headers);
        assert_eq!(headers["baggage"], "a=1,b=2;p=q;r");
        inject(&Baggage::new(), &mut headers);
        assert!(headers.is_empty());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(values in proptest::collection::vec(".{0,40}", 1..10)) {
            let mut baggage = Baggage::new();
            for (at, value) in values.iter().enumerate() {
                baggage.insert(format!("key{at}"), value.clone());
            }
            let mut headers = HeaderMap::new();
            inject(&baggage, &mut headers);
            let again = extract(&headers);
            for (at, value) in values.iter().enumerate() {
                prop_assert_eq!(again.get(format!("key{at}")).unwrap().as_str(), value);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut headers = HeaderMap::new();
                headers.insert(BAGGAGE, value);
                inject(&extract(&headers), &mut headers);
            }
        }
    }
}

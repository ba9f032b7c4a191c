//! `prometheus.ReadRequest`, snappy block.

use crate::protobuf::Reader;
use crate::snappy::decompressed;
use crate::{Limits, WireError};

/// Queries of a request: Prometheus sends one.
const MAX_QUERIES: usize = 64;
/// Matchers of a query.
const MAX_MATCHERS: usize = 1024;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// One answer each, in this order.
    pub queries: Vec<Query>,
    /// Whether the asker takes `STREAMED_XOR_CHUNKS`.
    pub takes_chunks: bool,
    /// Whether the asker takes `SAMPLES`; so does one that says nothing.
    pub takes_samples: bool,
}

/// Which series, when.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    /// First time, milliseconds since the Unix epoch.
    pub first_ms: i64,
    /// Last time, inclusive.
    pub last_ms: i64,
    /// All must accept.
    pub matchers: Vec<Matcher>,
}

/// `LabelMatcher.Type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// `=`
    #[default]
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Match,
    /// `!~`
    NotMatch,
}

/// A condition on a label.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matcher {
    /// How.
    pub kind: Kind,
    /// Label.
    pub name: String,
    /// Text or anchored pattern.
    pub value: String,
}

/// Reads a request.
///
/// # Errors
/// [`WireError`] where it is none, or larger than `limits` allow.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Request, WireError> {
    decompressed(bytes, limits.max_uncompressed, |body| {
        let mut request = Request::default();
        let mut said = false;
        let mut r = Reader::new(body);
        while let Some(f) = r.field("ReadRequest")? {
            match f.number {
                1 if request.queries.len() == MAX_QUERIES => {
                    return Err(WireError::TooLarge { what: "queries", limit: MAX_QUERIES });
                }
                1 => request.queries.push(query(f.message()?)?),
                2 => f.repeated_varint(|kind| {
                    said = true;
                    request.takes_samples |= kind == 0;
                    request.takes_chunks |= kind == 1;
                })?,
                _ => {}
            }
        }
        request.takes_samples |= !said;
        Ok(request)
    })
}

fn query(mut r: Reader<'_>) -> Result<Query, WireError> {
    let mut query = Query::default();
    while let Some(f) = r.field("Query")? {
        match f.number {
            1 => query.first_ms = f.varint()? as i64,
            2 => query.last_ms = f.varint()? as i64,
            3 if query.matchers.len() == MAX_MATCHERS => {
                return Err(WireError::TooLarge { what: "matchers", limit: MAX_MATCHERS });
            }
            3 => query.matchers.push(matcher(f.message()?)?),
            _ => {}
        }
    }
    Ok(query)
}

fn matcher(mut r: Reader<'_>) -> Result<Matcher, WireError> {
    let mut matcher = Matcher::default();
    while let Some(f) = r.field("LabelMatcher")? {
        match f.number {
            1 => {
                matcher.kind = match f.u32()? {
                    0 => Kind::Equal,
                    1 => Kind::NotEqual,
                    2 => Kind::Match,
                    3 => Kind::NotMatch,
                    _ => return Err(WireError::Malformed { what: "a kind of matcher that cannot be", at: r.at() }),
                }
            }
            2 => f.string("a matcher's name")?.clone_into(&mut matcher.name),
            3 => f.string("a matcher's value")?.clone_into(&mut matcher.value),
            _ => {}
        }
    }
    Ok(matcher)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::write;

    #[test]
    fn a_request_comes_back() {
        let mut body = Vec::new();
        write::message(&mut body, 1, |out| {
            write::put_varint(out, 1, 5);
            write::put_varint(out, 2, 9);
            write::message(out, 3, |out| {
                write::put_varint(out, 1, 2);
                write::put_bytes(out, 2, b"job");
                write::put_bytes(out, 3, b"a.*");
            });
        });
        let packed = |body: &[u8]| snap::raw::Encoder::new().compress_vec(body).expect("compresses");
        let read = |body: &[u8]| read(&packed(body), &Limits::default()).expect("a request");
        let plain = read(&body);
        let matcher = Matcher { kind: Kind::Match, name: "job".into(), value: "a.*".into() };
        assert_eq!(plain.queries, [Query { first_ms: 5, last_ms: 9, matchers: vec![matcher] }]);
        assert!(plain.takes_samples && !plain.takes_chunks);
        write::put_bytes(&mut body, 2, &[1]);
        let chunks = read(&body);
        assert!(!chunks.takes_samples && chunks.takes_chunks);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for bytes in [&b""[..], b"\x04\x0c\x0a\x7f\x00\x00", &[0xff; 40]] {
            assert!(read(bytes, &Limits::default()).is_err(), "{bytes:?}");
        }
    }
}

//! Tempo's answers as protobuf (`pkg/tempopb/tempo.proto`): the JSON of an answer, written by a table of its message. So each
//! answer is made in one place, whichever form the client wants.

use serde_json::Value as Json;

/// What a field holds.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    /// `uint32`, `uint64`, `int64`: a number, or one in quotes as protobuf's JSON has 64 bits.
    Number,
    /// `double`.
    Double,
    Bool,
    Message(&'static Message),
    /// A map from text to messages.
    Map(&'static Message),
    /// `PARTIAL` is 1.
    Status,
}

/// Fields: their names in JSON, numbers and kinds. Lists are repeated fields.
#[derive(Debug)]
pub(super) struct Message(&'static [(&'static str, u32, Kind)]);

use Kind::{Bool, Double, Map, Number, Status, Text};

static ANY: Message = Message(&[
    ("stringValue", 1, Text),
    ("boolValue", 2, Bool),
    ("intValue", 3, Number),
    ("doubleValue", 4, Double),
    ("arrayValue", 5, Kind::Message(&ARRAY)),
]);
static ARRAY: Message = Message(&[("values", 1, Kind::Message(&ANY))]);
static KEY_VALUE: Message = Message(&[("key", 1, Text), ("value", 2, Kind::Message(&ANY))]);
static SPAN: Message = Message(&[
    ("spanID", 1, Text),
    ("name", 2, Text),
    ("startTimeUnixNano", 3, Number),
    ("durationNanos", 4, Number),
    ("attributes", 5, Kind::Message(&KEY_VALUE)),
]);
static SPAN_SET: Message =
    Message(&[("spans", 1, Kind::Message(&SPAN)), ("matched", 2, Number), ("attributes", 3, Kind::Message(&KEY_VALUE))]);
static SERVICE_STATS: Message = Message(&[("spanCount", 1, Number), ("errorCount", 2, Number)]);
static TRACE: Message = Message(&[
    ("traceID", 1, Text),
    ("rootServiceName", 2, Text),
    ("rootTraceName", 3, Text),
    ("startTimeUnixNano", 4, Number),
    ("durationMs", 5, Number),
    ("spanSet", 6, Kind::Message(&SPAN_SET)),
    ("spanSets", 7, Kind::Message(&SPAN_SET)),
    ("serviceStats", 8, Map(&SERVICE_STATS)),
]);
static SEARCH_METRICS: Message = Message(&[
    ("inspectedTraces", 1, Number),
    ("inspectedBytes", 2, Number),
    ("totalBlocks", 3, Number),
    ("completedJobs", 4, Number),
    ("totalJobs", 5, Number),
]);
static METADATA_METRICS: Message = Message(&[("inspectedBytes", 1, Number)]);
static SCOPE: Message = Message(&[("name", 1, Text), ("tags", 2, Text)]);
static TAG_VALUE: Message = Message(&[("type", 1, Text), ("value", 2, Text)]);
static SAMPLE: Message = Message(&[("value", 1, Double), ("timestampMs", 2, Number)]);
static EXEMPLAR: Message = Message(&[("labels", 1, Kind::Message(&KEY_VALUE)), ("value", 2, Double), ("timestampMs", 3, Number)]);
static TIME_SERIES: Message = Message(&[
    ("labels", 1, Kind::Message(&KEY_VALUE)),
    ("samples", 2, Kind::Message(&SAMPLE)),
    ("promLabels", 3, Text),
    ("exemplars", 4, Kind::Message(&EXEMPLAR)),
]);
static INSTANT_SERIES: Message =
    Message(&[("labels", 1, Kind::Message(&KEY_VALUE)), ("value", 2, Double), ("promLabels", 3, Text)]);

/// `SearchResponse`.
pub(super) static SEARCH: Message =
    Message(&[("traces", 1, Kind::Message(&TRACE)), ("metrics", 2, Kind::Message(&SEARCH_METRICS))]);
/// `SearchTagsResponse`.
pub(super) static TAGS: Message = Message(&[("tagNames", 1, Text), ("metrics", 2, Kind::Message(&METADATA_METRICS))]);
/// `SearchTagsV2Response`.
pub(super) static TAGS_V2: Message =
    Message(&[("scopes", 1, Kind::Message(&SCOPE)), ("metrics", 2, Kind::Message(&METADATA_METRICS))]);
/// `SearchTagValuesResponse`.
pub(super) static VALUES: Message = Message(&[("tagValues", 1, Text), ("metrics", 2, Kind::Message(&METADATA_METRICS))]);
/// `SearchTagValuesV2Response`.
pub(super) static VALUES_V2: Message =
    Message(&[("tagValues", 1, Kind::Message(&TAG_VALUE)), ("metrics", 2, Kind::Message(&METADATA_METRICS))]);
/// `QueryRangeResponse`.
pub(super) static QUERY_RANGE: Message = Message(&[
    ("series", 1, Kind::Message(&TIME_SERIES)),
    ("metrics", 2, Kind::Message(&SEARCH_METRICS)),
    ("status", 3, Status),
    ("message", 4, Text),
]);
/// `QueryInstantResponse`.
pub(super) static QUERY_INSTANT: Message = Message(&[
    ("series", 1, Kind::Message(&INSTANT_SERIES)),
    ("metrics", 2, Kind::Message(&SEARCH_METRICS)),
    ("status", 3, Status),
    ("message", 4, Text),
]);

/// The bytes of `message` whose JSON is `json`; what the table does not know is left out.
pub(super) fn encode(message: &Message, json: &Json) -> Vec<u8> {
    let mut out = Vec::new();
    fields(message, json, &mut out);
    out
}

fn fields(message: &Message, json: &Json, out: &mut Vec<u8>) {
    for (name, number, kind) in message.0 {
        match json.get(name) {
            None | Some(Json::Null) => {}
            Some(Json::Array(list)) => list.iter().for_each(|item| field(*number, *kind, item, out)),
            Some(value) => field(*number, *kind, value, out),
        }
    }
}

fn field(number: u32, kind: Kind, json: &Json, out: &mut Vec<u8>) {
    match kind {
        Text => bytes(number, json.as_str().unwrap_or("").as_bytes(), out),
        Number => {
            let text = |t: &str| t.parse::<i64>().map(|n| n as u64).or_else(|_| t.parse()).unwrap_or(0);
            tagged(number, 0, out);
            varint(json.as_str().map(text).or(json.as_i64().map(|n| n as u64)).or(json.as_u64()).unwrap_or(0), out);
        }
        Bool => {
            tagged(number, 0, out);
            out.push(u8::from(json.as_bool() == Some(true)));
        }
        Double => {
            let special = match json.as_str() {
                Some("Infinity") => f64::INFINITY,
                Some("-Infinity") => f64::NEG_INFINITY,
                _ => f64::NAN,
            };
            tagged(number, 1, out);
            out.extend_from_slice(&json.as_f64().unwrap_or(special).to_le_bytes());
        }
        Kind::Message(message) => bytes(number, &encode(message, json), out),
        Map(message) => {
            for (key, value) in json.as_object().into_iter().flatten() {
                let mut entry = Vec::new();
                bytes(1, key.as_bytes(), &mut entry);
                bytes(2, &encode(message, value), &mut entry);
                bytes(number, &entry, out);
            }
        }
        Status => {
            tagged(number, 0, out);
            out.push(u8::from(json == "PARTIAL"));
        }
    }
}

fn tagged(number: u32, wire_type: u32, out: &mut Vec<u8>) {
    varint(u64::from(number << 3 | wire_type), out);
}

fn varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// A length-delimited field.
pub(super) fn bytes(number: u32, bytes: &[u8], out: &mut Vec<u8>) {
    tagged(number, 2, out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// A field of a request: its number, and its value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// The text that it is, empty for what is none.
    pub(super) fn text(self) -> &'a str {
        match self {
            Self::Bytes(bytes) => std::str::from_utf8(bytes).unwrap_or(""),
            Self::Number(_) => "",
        }
    }
}

/// The fields of a message; `None` where it is none.
pub(super) fn read(mut bytes: &[u8]) -> Option<Vec<(u32, Value<'_>)>> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let tag = number(&mut bytes)?;
        let field = u32::try_from(tag >> 3).ok()?;
        let value = match tag & 7 {
            0 => Value::Number(number(&mut bytes)?),
            1 => Value::Number(u64::from_le_bytes(take(&mut bytes, 8)?.try_into().ok()?)),
            2 => {
                let length = usize::try_from(number(&mut bytes)?).ok()?;
                Value::Bytes(take(&mut bytes, length)?)
            }
            5 => Value::Number(u32::from_le_bytes(take(&mut bytes, 4)?.try_into().ok()?).into()),
            _ => return None,
        };
        out.push((field, value));
    }
    Some(out)
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(n)?;
    *bytes = rest;
    Some(taken)
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut out = 0;
    for shift in (0..64).step_by(7) {
        let byte = *take(bytes, 1)?.first()?;
        out |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(out);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_the_same_in_both_forms() {
        let json = json!({"series": [{
            "labels": [{"key": "p", "value": {"doubleValue": 0.5}}, {"key": "n", "value": {"intValue": "-1"}}],
            "samples": [{"timestampMs": "1500", "value": 2}],
        }], "status": "PARTIAL", "message": "cut"});
        let bytes = encode(&QUERY_RANGE, &json);
        let fields = read(&bytes).expect("sound");
        assert_eq!(fields.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1, 3, 4]);
        assert_eq!((fields[1].1, fields[2].1.text()), (Value::Number(1), "cut"));
        let Value::Bytes(series) = fields[0].1 else { panic!("a message") };
        let series = read(series).expect("sound");
        let Value::Bytes(sample) = series[2].1 else { panic!("a message") };
        assert_eq!(read(sample), Some(vec![(1, Value::Number(2f64.to_bits())), (2, Value::Number(1500))]));
        let Value::Bytes(label) = series[1].1 else { panic!("a message") };
        let Value::Bytes(value) = read(label).expect("sound")[1].1 else { panic!("a message") };
        assert_eq!(read(value), Some(vec![(3, Value::Number(-1i64 as u64))]));
    }

    #[test]
    fn maps_are_lists_of_entries() {
        let bytes = encode(&TRACE, &json!({"serviceStats": {"shop": {"spanCount": 3}}}));
        assert_eq!(bytes, b"\x42\x0a\x0a\x04shop\x12\x02\x08\x03");
    }

    #[test]
    fn what_is_no_message_is_none() {
        for bad in [&b"\x0a\x05ab"[..], b"\x80", b"\x0b", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}

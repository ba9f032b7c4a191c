//! Log records as plain JSON, `POST /api/logs`:
//! `{"resource":{"service","host","env"},"records":[{"timestamp","severity","message","labels":{},"trace_id"?,"span_id"?,…}]}`.
//!
//! A bad record is named with its position and the reason, the good ones are kept, as OTLP records; any other scalar member of a
//! record (`circuit_id`, …) is an attribute of it.

use std::time::Instant;

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use model::{Attr, Group, Log, SpanId, TraceId, Value};
use serde_json::{Map, Value as Json, json};
use wire::otlp::LogEncoder;
use wire::{Encoding, LogSink, Signal};

use crate::ingest::{Envelope, Translation, content_encoding, tenant};
use crate::{ContentEncoding, Ingest, Refusal, Via, reply};

/// Bad records that an answer names; more are counted.
const MAX_NAMED: usize = 100;
/// Members of a record and of its labels that are kept.
const MAX_MEMBERS: usize = 256;

pub(crate) async fn handle<B>(ingest: &Ingest, request: Request<B>) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let begun = Instant::now();
    let (head, body) = request.into_parts();
    if head.method != Method::POST {
        return reply::method_not_allowed("GET, POST");
    }
    let door = (Via::LogsApi, Signal::Logs, begun);
    let taken = async {
        let tenant = tenant(&head.headers)?;
        let compression = content_encoding(&head.headers)?;
        let (bytes, mut held) = ingest.read(&tenant, body, 0).await?;
        let bytes = match compression {
            ContentEncoding::Identity => bytes,
            other => ingest.inflate(other, &bytes, &mut held)?,
        };
        // The tree of a JSON text takes several times its size.
        held.at_least(bytes.len().saturating_mul(4))?;
        let (payload, rejected) = encode(&bytes).map_err(Refusal::Framing)?;
        let envelope = Envelope {
            via: Via::LogsApi,
            encoding: Encoding::OtlpLogs,
            compression: ContentEncoding::Identity,
            begun,
            translation: Translation::None,
        };
        let summary = match payload.is_empty() {
            true => wire::Summary::default(),
            false => ingest.take(envelope, tenant, payload.into(), held).await?,
        };
        Ok::<_, Refusal>((summary, rejected))
    };
    match taken.await {
        Ok((summary, rejected)) => {
            let status = if summary.accepted == 0 && !rejected.is_empty() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
            let named: Vec<Json> =
                (rejected.iter().take(MAX_NAMED)).map(|(index, reason)| json!({"index": index, "reason": reason})).collect();
            let mut body = json!({"accepted": summary.accepted, "rejected_count": rejected.len(), "rejected": named});
            if summary.refused.total() > 0 {
                body["refused"] = summary.refused.message().into();
            }
            answer(status, &body)
        }
        Err(refusal) => {
            ingest.refuse(door, &head.headers, &refusal);
            let mut response = answer(refusal.http_status(), &json!({"error": refusal.to_string()}));
            reply::retry_after(&refusal, response.headers_mut());
            response
        }
    }
}

fn answer(status: StatusCode, body: &Json) -> Response<Body> {
    reply::with(status, "application/json", body.to_string())
}

/// What is wrong with which record.
type Rejected = Vec<(usize, String)>;

/// The good records as an OTLP request (empty where there are none), and the bad ones.
fn encode(bytes: &[u8]) -> Result<(Vec<u8>, Rejected), String> {
    let body: Json = serde_json::from_slice(bytes).map_err(|e| format!("the body is no JSON: {e}"))?;
    let body = body.as_object().ok_or("the body is no JSON object with the members \"resource\" and \"records\"")?;
    let records = match body.get("records") {
        Some(Json::Array(records)) => records,
        Some(_) => return Err("\"records\" is no array".to_owned()),
        None => return Err("\"records\" is missing".to_owned()),
    };
    let empty = Map::new();
    let resource = match body.get("resource") {
        None | Some(Json::Null) => &empty,
        Some(Json::Object(resource)) => resource,
        Some(_) => return Err("\"resource\" is no object".to_owned()),
    };
    let mut texts: Vec<(&str, String)> = Vec::new();
    for (name, value) in resource.iter().take(MAX_MEMBERS) {
        let key = match name.as_str() {
            "service" => "service.name",
            "host" => "host.name",
            "env" => "deployment.environment",
            other => other,
        };
        match value {
            Json::Null => {}
            Json::String(s) => texts.push((key, s.clone())),
            Json::Number(_) | Json::Bool(_) => texts.push((key, value.to_string())),
            _ => return Err(format!("\"resource\": {name:?} is neither text nor number")),
        }
    }
    let mut encoder = LogEncoder::default();
    let attributes: Vec<Attr<'_>> = texts.iter().map(|(key, v)| Attr { key, value: Value::Str(v) }).collect();
    encoder.group(&Group { resource: &attributes, ..Group::default() });
    let mut rejected = Vec::new();
    for (index, record) in records.iter().enumerate() {
        if let Err(reason) = put(&mut encoder, record) {
            rejected.push((index, reason));
        }
    }
    let payload = encoder.finish().map_err(|e| e.to_string())?;
    Ok((if rejected.len() == records.len() { Vec::new() } else { payload }, rejected))
}

/// `SeverityNumber` of the words that loggers and syslog use; 0 for others.
pub(crate) fn severity_number(word: &str) -> i32 {
    const WORDS: [(&str, i32); 18] = [
        ("trace", 1),
        ("debug", 5),
        ("info", 9),
        ("information", 9),
        ("informational", 9),
        ("notice", 10),
        ("warn", 13),
        ("warning", 13),
        ("err", 17),
        ("error", 17),
        ("severe", 17),
        ("crit", 21),
        ("critical", 21),
        ("fatal", 21),
        ("panic", 24),
        ("alert", 22),
        ("emerg", 24),
        ("emergency", 24),
    ];
    WORDS.iter().find(|(w, _)| w.eq_ignore_ascii_case(word)).map_or(0, |(_, n)| *n)
}

fn put(encoder: &mut LogEncoder, record: &Json) -> Result<(), String> {
    let record = record.as_object().ok_or("the record is no object")?;
    let text = |name: &str| match record.get(name) {
        None | Some(Json::Null) => Ok(""),
        Some(Json::String(s)) => Ok(s.as_str()),
        Some(_) => Err(format!("{name:?} is no text")),
    };
    let timestamp = text("timestamp")?;
    if timestamp.is_empty() {
        return Err("\"timestamp\" is missing".to_owned());
    }
    let time: jiff::Timestamp = timestamp.parse().map_err(|_| format!("\"timestamp\": {timestamp:?} is no RFC 3339 time"))?;
    let time = i64::try_from(time.as_nanosecond())
        .ok()
        .filter(|t| *t > 0)
        .ok_or_else(|| format!("\"timestamp\": {timestamp:?} lies outside the years 1970 to 2262"))?;
    if !record.contains_key("message") {
        return Err("\"message\" is missing".to_owned());
    }
    let (message, severity) = (text("message")?, text("severity")?);
    let trace_id = match text("trace_id")? {
        "" => TraceId::NONE,
        id if id.len() == 32 => id.parse().map_err(|e| format!("\"trace_id\": {id:?}: {e}"))?,
        id => return Err(format!("\"trace_id\": {id:?} does not have 32 hexadecimal digits")),
    };
    let span_id = match text("span_id")? {
        "" => SpanId::NONE,
        id if id.len() == 16 => id.parse().map_err(|e| format!("\"span_id\": {id:?}: {e}"))?,
        id => return Err(format!("\"span_id\": {id:?} does not have 16 hexadecimal digits")),
    };
    let labels = match record.get("labels") {
        None | Some(Json::Null) => None,
        Some(Json::Object(labels)) => Some(labels),
        Some(_) => return Err("\"labels\" is no object".to_owned()),
    };
    const OWN: [&str; 6] = ["timestamp", "severity", "message", "labels", "trace_id", "span_id"];
    let members = record.iter().filter(|(name, _)| !OWN.contains(&name.as_str())).chain(labels.into_iter().flatten());
    let mut attributes = Vec::new();
    for (name, value) in members.take(MAX_MEMBERS) {
        let value = match value {
            Json::Null => continue,
            _ if name.is_empty() => return Err("a member without a name".to_owned()),
            Json::String(s) => Value::Str(s),
            Json::Bool(b) => Value::Bool(*b),
            Json::Number(n) => n.as_i64().map_or_else(|| Value::Double(n.as_f64().unwrap_or(f64::NAN)), Value::Int),
            _ => return Err(format!("{name:?} is neither text nor number")),
        };
        attributes.push(Attr { key: name, value });
    }
    encoder.log(&Log {
        time,
        observed: 0,
        severity_number: severity_number(severity),
        severity_text: severity,
        body: Value::Str(message),
        event_name: "",
        trace_id,
        span_id,
        flags: 0,
        attributes: &attributes,
        dropped_attributes: 0,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_records_are_named_and_good_ones_kept() {
        let body = json!({
            "resource": {"service": "blueplanet", "host": "h1", "env": "dev"},
            "records": [
                {"timestamp": "2026-11-27T10:00:00.5Z", "severity": "ERROR", "message": "down", "circuit_id": "C-1",
                 "trace_id": "0af7651916cd43dd8448eb211c80319c", "labels": {"port": 7}},
                {"timestamp": "yesterday", "message": "x"},
                {"message": "x"},
                {"timestamp": "2026-11-27T10:00:00Z"},
                {"timestamp": "2026-11-27T10:00:00Z", "message": "x", "trace_id": "xyz"},
                {"timestamp": "2026-11-27T10:00:00Z", "message": "x", "circuit_id": ["a"]},
                7,
                {"timestamp": "1960-01-01T00:00:00Z", "message": "x"},
            ],
        });
        let (payload, rejected) = encode(body.to_string().as_bytes()).expect("an object with records");
        assert_eq!(rejected.iter().map(|(i, _)| *i).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(rejected[0].1, "\"timestamp\": \"yesterday\" is no RFC 3339 time");
        let summary = wire::check(Encoding::OtlpLogs, &payload, &wire::Limits::default()).expect("OTLP");
        assert_eq!(summary.accepted, 1);
        let json = wire::otlp::logs_json(&payload, wire::otlp::Style::Protobuf).expect("OTLP");
        for part in ["blueplanet", "\"circuit_id\"", "C-1", "host.name", "deployment.environment", "down", "\"port\""] {
            assert!(json.contains(part), "{part} is not in {json}");
        }
    }

    #[test]
    fn what_has_no_records_is_refused_whole() {
        for bad in ["", "[]", "{}", r#"{"records":1}"#, r#"{"records":[],"resource":[]}"#] {
            assert!(encode(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(encode(br#"{"records":[]}"#).map(|(p, r)| (p.len(), r.len())), Ok((0, 0)));
    }
}

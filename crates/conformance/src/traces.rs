//! Suites of queries over traces: a store that holds the traces, and the walk over the cases.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use model::Tenant;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use store::disk::RealDisk;
use store::series::SeriesOptions;
use store::{Options, Reader, Request, Source, Store, Writer};
use wire::Encoding;

use crate::report::Report;

#[derive(Deserialize)]
struct File {
    traces: Vec<Trace>,
}

#[derive(Deserialize)]
struct Trace {
    json: Json,
}

/// A query and what it must give.
pub(crate) trait Case: DeserializeOwned {
    /// What the engine answers.
    type Answer;

    fn query(&self) -> &str;

    /// Part of the error that is expected instead of an answer.
    fn error(&self) -> Option<&str>;

    fn answer(&self, reader: &dyn Reader) -> Result<Self::Answer, String>;

    /// How the answer differs from what is expected.
    fn judge(&self, answer: Self::Answer) -> Result<(), String>;
}

#[derive(Deserialize)]
struct Cases<C> {
    cases: Vec<C>,
}

/// Runs `cases.json` over `traces.json`: each case on the head, then on segments.
pub(crate) fn run<C: Case>(folder: &Path, report: &mut Report) -> anyhow::Result<()> {
    let Cases::<C> { cases } = serde_json::from_slice(&std::fs::read(folder.join("cases.json"))?)?;
    let traces = stored(folder)?;
    let head = traces.store.snapshot();
    let on_head: Vec<Result<(), String>> = cases.iter().map(|case| check(case, &*head)).collect();
    traces.store.settle()?;
    let segments = traces.store.snapshot();
    for (case, on_head) in cases.iter().zip(on_head) {
        let result = on_head.and_then(|()| check(case, &*segments).map_err(|e| format!("in segments: {e}")));
        report.case(case.query(), result);
    }
    Ok(())
}

fn check<C: Case>(case: &C, reader: &dyn Reader) -> Result<(), String> {
    let answer = case.answer(reader);
    match (case.error(), answer) {
        (None, answer) => case.judge(answer?),
        (Some(expected), Err(e)) if e.contains(expected) => Ok(()),
        (Some(expected), Err(e)) => Err(format!("{e}, expected {expected}")),
        (Some(expected), Ok(_)) => Err(format!("an answer, expected {expected}")),
    }
}

/// The store, and the folder that it is in.
struct Traces {
    store: Store,
    _dir: tempfile::TempDir,
}

/// Stores the traces of `traces.json`, each its own request.
fn stored(folder: &Path) -> anyhow::Result<Traces> {
    let file: File = serde_json::from_slice(&std::fs::read(folder.join("traces.json"))?)?;
    let dir = tempfile::tempdir()?;
    let mut options = Options::new(Arc::new(RealDisk::open(dir.path())?));
    // The traces are as old as the epoch.
    options.retention = [Duration::from_secs(200 * 366 * 24 * 3600); 3];
    let store = Store::open(options, SeriesOptions::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for mut trace in file.traces {
        ids_to_hex(&mut trace.json);
        let request = Request {
            tenant: Tenant::default(),
            encoding: Encoding::OtlpTracesJson,
            payload: Bytes::from(serde_json::to_vec(&trace.json)?),
        };
        runtime.block_on(store.append(request)).context("store a trace")?;
    }
    Ok(Traces { store, _dir: dir })
}

/// The cases have their ids as protobuf's JSON has bytes; OTLP's has them in hexadecimal.
fn ids_to_hex(json: &mut Json) {
    match json {
        Json::Object(map) => {
            for (key, value) in map {
                match value {
                    Json::String(id) if matches!(key.as_str(), "traceId" | "spanId" | "parentSpanId") => {
                        *id = from_base64(id).iter().map(|b| format!("{b:02x}")).collect();
                    }
                    other => ids_to_hex(other),
                }
            }
        }
        Json::Array(items) => items.iter_mut().for_each(ids_to_hex),
        _ => {}
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits = 0u32;
    let mut out = Vec::new();
    for (i, digit) in text.bytes().filter_map(|b| DIGITS.iter().position(|d| *d == b)).enumerate() {
        bits = bits << 6 | digit as u32;
        if i % 4 > 0 {
            out.push((bits >> (6 - 2 * (i % 4))) as u8);
        }
    }
    out
}

/// A value of the language as protobuf's JSON has it.
pub(crate) fn any_value(value: &traceql::Static<'_>) -> Json {
    use serde_json::json;
    use traceql::Static;
    match value {
        Static::Int(i) => json!({"intValue": i.to_string()}),
        Static::Float(f) => json!({"doubleValue": f}),
        Static::Bool(b) => json!({"boolValue": b}),
        Static::Text(t) => json!({"stringValue": t}),
        other => json!({"stringValue": other.to_string()}),
    }
}

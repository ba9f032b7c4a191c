//! A store that holds the traces of a suite.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use model::Tenant;
use serde::Deserialize;
use serde_json::Value as Json;
use store::disk::RealDisk;
use store::series::SeriesOptions;
use store::{Options, Request, Store, Writer};
use wire::Encoding;

#[derive(Deserialize)]
struct File {
    traces: Vec<Trace>,
}

#[derive(Deserialize)]
struct Trace {
    json: Json,
}

/// The store, and the folder that it is in.
pub(crate) struct Traces {
    pub(crate) store: Store,
    _dir: tempfile::TempDir,
}

/// Stores the traces of `traces.json`, each its own request.
pub(crate) fn stored(folder: &Path) -> anyhow::Result<Traces> {
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

//! `braid export`.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use axum::body::Bytes;
use axum::http::Method;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value as Json, json};

use super::endpoint::Endpoint;
use super::lines::{self, Labels};
use super::remote;
use super::{Format, Place, Signal};
use crate::backup::Wrong;

const SECOND: i64 = 1_000_000_000;
/// Lines of one answer, as Loki allows at most.
const LINES: usize = 5000;
/// Traces of one search.
const TRACES: usize = 1000;
/// Series and hours that are asked for at once: bounded answers.
const WINDOW: i64 = 3600;

/// Writes rows to a file, in the order of time.
#[derive(Debug, Args)]
pub(crate) struct Export {
    #[command(flatten)]
    place: Place,
    /// Which signal
    #[arg(long, value_enum)]
    signal: Signal,
    /// How to write it
    #[arg(long, value_enum, default_value_t = Format::OtlpJson)]
    format: Format,
    /// From when, RFC 3339 or seconds since 1970
    #[arg(long, value_name = "TIME")]
    start: String,
    /// Until when, excluded [default: now]
    #[arg(long, value_name = "TIME")]
    end: Option<String>,
    /// Which rows: TraceQL, a LogQL selector with line filters, or a PromQL selector [default: all]
    #[arg(long, value_name = "QUERY")]
    query: Option<String>,
    /// The file; - is standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// Nanoseconds since the Unix epoch.
fn time(text: &str) -> anyhow::Result<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        if seconds.abs() < 9e9 {
            return Ok((seconds * 1e9) as i64);
        }
        bail!("{text:?} is no time in seconds since 1970");
    }
    let at: jiff::Timestamp = text.parse().with_context(|| format!("{text:?} is no time"))?;
    i64::try_from(at.as_nanosecond()).context("the time is too far away")
}

/// What goes out, and how far it has come.
struct Out {
    file: Box<dyn Write>,
    format: Format,
    bar: ProgressBar,
    rows: u64,
}

impl Out {
    fn line(&mut self, line: &str) -> anyhow::Result<()> {
        writeln!(self.file, "{line}").context("writing the file")
    }

    /// A request of OTLP in protobuf, its length before it.
    fn delimited(&mut self, message: &[u8]) -> anyhow::Result<()> {
        let mut length = message.len() as u64;
        let mut prefix = Vec::new();
        while length >= 0x80 {
            prefix.push(length as u8 | 0x80);
            length >>= 7;
        }
        prefix.push(length as u8);
        self.file.write_all(&prefix).and_then(|()| self.file.write_all(message)).context("writing the file")
    }
}

impl Export {
    /// Writes the file.
    ///
    /// # Errors
    /// What the server says, and IO.
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
        runtime.block_on(Box::pin(self.work()))
    }

    async fn work(self) -> anyhow::Result<u8> {
        let fits = match self.signal {
            Signal::Traces => matches!(self.format, Format::Otlp | Format::OtlpJson),
            Signal::Logs => matches!(self.format, Format::Otlp | Format::OtlpJson | Format::Loki),
            Signal::Metrics => !matches!(self.format, Format::Loki),
        };
        if !fits {
            let (of, instead) = match self.signal {
                Signal::Traces => ("traces", "otlp and otlp-json are"),
                Signal::Logs => ("logs", "loki, otlp and otlp-json are"),
                Signal::Metrics => ("metrics", "prometheus, openmetrics, remote-write, otlp and otlp-json are"),
            };
            return Err(Wrong(format!("--format: that is none of {of}; {instead}")).into());
        }
        let start = time(&self.start).map_err(|e| Wrong(format!("--start: {e:#}")))?;
        let end = match &self.end {
            Some(text) => time(text).map_err(|e| Wrong(format!("--end: {e:#}")))?,
            None => i64::try_from(jiff::Timestamp::now().as_nanosecond()).context("the clock")?,
        };
        if end <= start {
            return Err(Wrong("--end is not after --start".to_owned()).into());
        }
        let endpoint = Endpoint::open(&self.place).await?;
        let fresh = !self.output.exists();
        let done = self.write(&endpoint, start, end).await;
        // What failed before its first row leaves no empty file behind.
        if done.is_err() && fresh && std::fs::metadata(&self.output).is_ok_and(|file| file.is_file() && file.len() == 0) {
            let _ = std::fs::remove_file(&self.output);
        }
        endpoint.close();
        done.map(|()| 0)
    }

    async fn write(&self, endpoint: &Endpoint, start: i64, end: i64) -> anyhow::Result<()> {
        let file: Box<dyn Write> = match self.output.as_os_str() == "-" {
            true => Box::new(std::io::stdout().lock()),
            false => {
                let name = || format!("creating {}", self.output.display());
                Box::new(BufWriter::new(File::create(&self.output).with_context(name)?))
            }
        };
        let bar = ProgressBar::new(((end - start) / SECOND).max(1) as u64);
        bar.set_style(ProgressStyle::with_template("{wide_bar} {percent}%  {msg}  {eta} left")?);
        let mut out = Out { file, format: self.format, bar, rows: 0 };
        let query = self.query.as_deref();
        match self.signal {
            Signal::Traces => traces(endpoint, query.unwrap_or("{}"), start, end, &mut out).await?,
            Signal::Logs => logs(endpoint, query.unwrap_or("{service_name=~\".+\"}"), start, end, &mut out).await?,
            Signal::Metrics => {
                let query = query.unwrap_or("{__name__=~\".+\"}");
                match self.format {
                    Format::RemoteWrite => whole_samples(endpoint, query, start, end, &mut out).await?,
                    _ => metrics(endpoint, query, start, end, &mut out).await?,
                }
            }
        }
        if self.format == Format::Openmetrics {
            out.line("# EOF")?;
        }
        out.file.flush().context("writing the file")?;
        out.bar.finish_and_clear();
        eprintln!("{} rows exported", out.rows);
        Ok(())
    }
}

/// Whole traces that have a match in the range, by stretches of time; each once.
async fn traces(endpoint: &Endpoint, query: &str, start: i64, end: i64, out: &mut Out) -> anyhow::Result<()> {
    let mut seen: HashSet<String> = HashSet::new();
    // Tempo's times are seconds.
    let mut todo = vec![(start.div_euclid(SECOND), (end - 1).div_euclid(SECOND) + 1)];
    let limit = TRACES.to_string();
    while let Some((from, to)) = todo.pop() {
        // The last second belongs to Tempo's range.
        let (first, last) = (from.to_string(), (to - 1).max(from).to_string());
        let form = [("q", query), ("start", &first), ("end", &last), ("limit", &limit), ("spss", "1")];
        let found = endpoint.ask("/api/search", &form).await?;
        let found = found["traces"].as_array().map(Vec::as_slice).unwrap_or_default();
        if found.len() >= TRACES && to - from > 1 {
            let middle = from + (to - from) / 2;
            todo.extend([(middle, to), (from, middle)]);
            continue;
        }
        for id in found.iter().filter_map(|t| t["traceID"].as_str()) {
            if !seen.insert(id.to_owned()) {
                continue;
            }
            let headers = [("accept", "application/protobuf")];
            let answer = endpoint.send(Method::GET, &format!("/api/traces/{id}"), &headers, Bytes::new()).await?;
            if answer.status == 404 {
                // Deleted or expired meanwhile.
                continue;
            }
            let trace = answer.success().with_context(|| format!("trace {id}"))?;
            match out.format {
                Format::Otlp => out.delimited(&trace)?,
                _ => {
                    let json = wire::otlp::traces_json(&trace, wire::otlp::Style::Otlp, "resourceSpans");
                    out.line(&json.with_context(|| format!("trace {id}"))?)?;
                }
            }
            out.rows += 1;
        }
        out.bar.set_position((to - start / SECOND).max(0) as u64);
        out.bar.set_message(format!("{} traces", out.rows));
    }
    Ok(())
}

/// Lines, the oldest first. Where more lines than one answer holds are of one nanosecond, the rest of them is left out, with a word.
async fn logs(endpoint: &Endpoint, query: &str, start: i64, end: i64, out: &mut Out) -> anyhow::Result<()> {
    let mut from = start;
    // Lines of the last nanosecond that are written already.
    let mut written: HashSet<String> = HashSet::new();
    let limit = LINES.to_string();
    loop {
        let (first, last) = (from.to_string(), end.to_string());
        let form = [("query", query), ("start", &first), ("end", &last), ("limit", &limit), ("direction", "forward")];
        let headers = [("x-loki-response-encoding-flags", "categorize-labels")];
        let answer = endpoint.ask_with("/loki/api/v1/query_range", &form, &headers).await?;
        let mut all: Vec<(i64, Json, String, Json)> = Vec::new();
        for stream in answer["data"]["result"].as_array().map(Vec::as_slice).unwrap_or_default() {
            for entry in stream["values"].as_array().map(Vec::as_slice).unwrap_or_default() {
                let time: i64 = entry[0].as_str().and_then(|t| t.parse().ok()).context("a line without a time")?;
                let line = entry[1].as_str().context("a line without a text")?.to_owned();
                all.push((time, stream["stream"].clone(), line, entry[2]["structuredMetadata"].clone()));
            }
        }
        all.sort_by_key(|(time, ..)| *time);
        let full = all.len() >= LINES;
        let newest = all.last().map(|(time, ..)| *time);
        let key = |(time, stream, line, metadata): &(i64, Json, String, Json)| format!("{time} {stream} {line} {metadata}");
        let fresh: Vec<_> = all.iter().filter(|row| !written.contains(&key(row))).collect();
        out.rows += fresh.len() as u64;
        match out.format {
            Format::Loki => {
                let mut streams: BTreeMap<String, (Json, Vec<Json>)> = BTreeMap::new();
                for (time, stream, line, metadata) in &fresh {
                    let values = &mut streams.entry(stream.to_string()).or_insert_with(|| (stream.clone(), Vec::new())).1;
                    values.push(match metadata.is_object() {
                        true => json!([time.to_string(), line, metadata]),
                        false => json!([time.to_string(), line]),
                    });
                }
                for (stream, values) in streams.into_values() {
                    out.line(&json!({ "streams": [{ "stream": stream, "values": values }] }).to_string())?;
                }
            }
            format => {
                let request = otlp_logs(&fresh);
                if !fresh.is_empty() {
                    write_json(out, format, Signal::Logs, &request)?;
                }
            }
        }
        out.bar.set_position((newest.unwrap_or(end).saturating_sub(start) / SECOND).max(0) as u64);
        out.bar.set_message(format!("{} lines", out.rows));
        let Some(newest) = newest.filter(|_| full) else { return Ok(()) };
        if fresh.is_empty() {
            eprintln!("more than {LINES} lines are of the nanosecond {newest}: the rest of them is left out");
            (from, written) = (newest + 1, HashSet::new());
            continue;
        }
        written = all.iter().filter(|(time, ..)| *time == newest).map(key).collect();
        from = newest;
    }
}

fn attributes<'a>(pairs: impl Iterator<Item = (&'a String, &'a Json)>) -> Json {
    pairs.filter_map(|(k, v)| Some(json!({"key": k, "value": {"stringValue": v.as_str()?}}))).collect()
}

/// Lines as an export request: labels become attributes of the resource, metadata those of the record.
fn otlp_logs(rows: &[&(i64, Json, String, Json)]) -> Json {
    let mut resources: BTreeMap<String, (&Json, Vec<Json>)> = BTreeMap::new();
    for (time, stream, line, metadata) in rows {
        let mut record = json!({"timeUnixNano": time.to_string(), "body": {"stringValue": line}});
        if let Some(metadata) = metadata.as_object() {
            let id = |key: &str, len: usize| {
                let text = metadata.get(key)?.as_str()?;
                (text.len() == len && text.bytes().all(|b| b.is_ascii_hexdigit())).then(|| text.to_owned())
            };
            let own = [("trace_id", "traceId", id("trace_id", 32)), ("span_id", "spanId", id("span_id", 16))];
            let is_own = |key: &str| own.iter().any(|(name, _, value)| *name == key && value.is_some());
            record["attributes"] = attributes(metadata.iter().filter(|(key, _)| !is_own(key)));
            for (_, name, value) in own {
                if let Some(value) = value {
                    record[name] = value.into();
                }
            }
        }
        resources.entry(stream.to_string()).or_insert_with(|| (stream, Vec::new())).1.push(record);
    }
    let resources: Vec<Json> = resources
        .into_values()
        .map(|(stream, records)| {
            let labels = stream.as_object().map(|o| attributes(o.iter())).unwrap_or_default();
            json!({"resource": {"attributes": labels}, "scopeLogs": [{"logRecords": records}]})
        })
        .collect();
    json!({ "resourceLogs": resources })
}

fn write_json(out: &mut Out, format: Format, signal: Signal, request: &Json) -> anyhow::Result<()> {
    if format == Format::OtlpJson {
        return out.line(&request.to_string());
    }
    let encoding = match signal {
        Signal::Traces => wire::Encoding::OtlpTracesJson,
        Signal::Logs => wire::Encoding::OtlpLogsJson,
        Signal::Metrics => wire::Encoding::OtlpMetricsJson,
    };
    let message = wire::otlp_protobuf(encoding, request.to_string().as_bytes()).context("a request in protobuf")?;
    out.delimited(&message)
}

/// Where the next samples from `first` on may be, milliseconds: time without any is passed over by halves, not hour by hour.
async fn next_samples(endpoint: &Endpoint, query: &str, first: i64, last: i64) -> anyhow::Result<Option<i64>> {
    let (mut low, mut high) = (first, last);
    let mut to = last;
    loop {
        let (start, end) = (format!("{}", low as f64 / 1e3), format!("{}", to as f64 / 1e3));
        let form = [("match[]", query), ("start", &start), ("end", &end), ("limit", "1")];
        let found = endpoint.ask("/api/v1/series", &form).await?;
        match found["data"].as_array().is_some_and(|series| !series.is_empty()) {
            true => high = to,
            false if to == last => return Ok(None),
            false => low = to + 1,
        }
        if high - low < 1000 {
            return Ok(Some(low));
        }
        to = low + (high - low) / 2;
    }
}

/// Samples of every kind, with their exemplars, hour by hour, or less where that is too much for one answer.
async fn whole_samples(endpoint: &Endpoint, query: &str, start: i64, end: i64, out: &mut Out) -> anyhow::Result<()> {
    let (first, last) = (start.div_euclid(1_000_000), (end - 1).div_euclid(1_000_000));
    let mut window = WINDOW * 1000;
    let (mut from, mut quiet) = (first, true);
    while from <= last {
        if quiet {
            let Some(next) = next_samples(endpoint, query, from, last).await? else { break };
            from = next;
        }
        let to = (from + window - 1).min(last);
        let Some((requests, rows)) = remote::requests(endpoint, query, from, to).await? else {
            window = (window / 2).max(1);
            continue;
        };
        for request in requests {
            out.delimited(&request)?;
        }
        out.rows += rows;
        (from, quiet) = (to + 1, rows == 0);
        out.bar.set_position(((from - first) / 1000).max(0) as u64);
        out.bar.set_message(format!("{} samples", out.rows));
    }
    Ok(())
}

/// Samples, hour by hour; native histograms are counted and left out.
async fn metrics(endpoint: &Endpoint, query: &str, start: i64, end: i64, out: &mut Out) -> anyhow::Result<()> {
    let (first, last) = (start.div_euclid(1_000_000), (end - 1).div_euclid(1_000_000));
    let (mut from, mut quiet) = (first, true);
    let mut histograms = 0;
    let range = format!("{query}[{WINDOW}s]");
    while from <= last {
        if quiet {
            let Some(next) = next_samples(endpoint, query, from, last).await? else { break };
            from = next;
        }
        let to = (from + WINDOW * 1000 - 1).min(last);
        // A range is open on its left: all of an hour is what ends at its last millisecond.
        let at = format!("{}", (from + WINDOW * 1000 - 1) as f64 / 1e3);
        let answer = endpoint.ask("/api/v1/query", &[("query", &range), ("time", &at)]).await?;
        let found = answer["data"]["result"].as_array().map(Vec::as_slice).unwrap_or_default();
        quiet = found.is_empty();
        for series in found {
            let labels: Labels = series["metric"]
                .as_object()
                .map(|o| o.iter().map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned())).collect())
                .unwrap_or_default();
            histograms += series["histograms"].as_array().map_or(0, Vec::len);
            let mut samples: Vec<(i64, f64)> = Vec::new();
            for point in series["values"].as_array().map(Vec::as_slice).unwrap_or_default() {
                let time = (point[0].as_f64().context("a sample without a time")? * 1e3).round() as i64;
                let text = point[1].as_str().context("a sample without a value")?;
                samples.push((time, text.parse().with_context(|| format!("{text:?} is no number"))?));
            }
            samples.retain(|(time, _)| (from..=to).contains(time));
            out.rows += samples.len() as u64;
            match out.format {
                Format::Prometheus | Format::Openmetrics => {
                    let seconds = out.format == Format::Openmetrics;
                    for (time, value) in samples {
                        out.line(&lines::print(&labels, time, value, seconds))?;
                    }
                }
                format if !samples.is_empty() => write_json(out, format, Signal::Metrics, &otlp_gauge(&labels, &samples))?,
                _ => {}
            }
        }
        from += WINDOW * 1000;
        out.bar.set_position(((from - first) / 1000).max(0) as u64);
        out.bar.set_message(format!("{} samples", out.rows));
    }
    if histograms > 0 {
        eprintln!("{histograms} native histograms are left out: text and gauges cannot hold them, --format remote-write can");
    }
    Ok(())
}

/// A series as a gauge: it comes back under the name that it has.
fn otlp_gauge(labels: &[(String, String)], samples: &[(i64, f64)]) -> Json {
    let name = labels.iter().find(|(n, _)| n == "__name__").map_or("", |(_, v)| v);
    let own: Json =
        labels.iter().filter(|(n, _)| n != "__name__").map(|(k, v)| json!({"key": k, "value": {"stringValue": v}})).collect();
    let number = |v: f64| match v {
        v if v.is_nan() => "NaN".into(),
        v if v.is_infinite() => if v > 0.0 { "Infinity" } else { "-Infinity" }.into(),
        v => json!(v),
    };
    let points: Vec<Json> = samples
        .iter()
        .map(
            |(t, v)| json!({"timeUnixNano": (i128::from(*t) * 1_000_000).to_string(), "asDouble": number(*v), "attributes": own}),
        )
        .collect();
    json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": name, "gauge": {"dataPoints": points}}]}]}]})
}

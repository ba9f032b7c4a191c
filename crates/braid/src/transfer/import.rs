//! `braid import`: files become the requests that a client would send. The same file makes the same requests, byte for byte,
//! so that what is sent twice is known and kept once; how far it came is noted beside the file.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use axum::body::Bytes;
use axum::http::Method;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::endpoint::Endpoint;
use super::lines::{self, Labels};
use super::{Format, Place, Signal};
use crate::backup::Wrong;

/// Samples of one request.
const SAMPLES: usize = 5000;
/// The longest line or message that is taken.
const LONGEST: usize = 64 << 20;
/// Bad lines that are named; more are counted.
const NAMED: u64 = 20;
/// What the process ends with where lines were bad or refused.
const SOME_BAD: u8 = 4;

/// Reads a file that `braid export`, a Collector's file exporter or promtool wrote.
#[derive(Debug, Args)]
pub(crate) struct Import {
    #[command(flatten)]
    place: Place,
    /// How the file is written
    #[arg(long, value_enum)]
    format: Format,
    /// Which signal it holds; needed for OTLP
    #[arg(long, value_enum)]
    signal: Option<Signal>,
    /// Begin at the start even where a run before did not finish
    #[arg(long)]
    restart: bool,
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Bytes of a reason that are shown.
const REASON: usize = 300;

/// A pass over a file.
struct Pass<'a> {
    endpoint: &'a Endpoint,
    name: String,
    note: PathBuf,
    bar: ProgressBar,
    sent: u64,
    bad: u64,
}

impl Pass<'_> {
    fn bad(&mut self, place: &str, why: &str) {
        self.bad += 1;
        // Of a line of another format the reason may quote all.
        let why = &why[..why.floor_char_boundary(REASON)];
        match self.bad {
            n if n < NAMED => self.bar.suspend(|| eprintln!("{}:{place}: {why}", self.name)),
            NAMED => self.bar.suspend(|| eprintln!("{}:{place}: {why}; more are only counted", self.name)),
            _ => {}
        }
    }

    /// Sends a request; the file is done up to `offset` (line `line`) when it is answered.
    async fn send(&mut self, path: &str, kind: &str, body: Vec<u8>, rows: u64, at: (&str, u64, u64)) -> anyhow::Result<()> {
        let answer = self.endpoint.send(Method::POST, path, &[("content-type", kind)], Bytes::from(body)).await?;
        match answer.status {
            200..=299 => self.sent += rows,
            400 | 413 | 415 | 422 => {
                // Some or all of it can never be taken; the rest is. A row alone is all.
                self.sent += rows.saturating_sub(1);
                self.bad(at.0, &format!("refused: {}", String::from_utf8_lossy(&answer.body).trim()));
            }
            _ => drop(answer.success().with_context(|| format!("{}:{}", self.name, at.0))?),
        }
        let (_, offset, line) = at;
        self.bar.set_position(offset);
        std::fs::write(&self.note, format!("{offset} {line}\n")).with_context(|| format!("writing {}", self.note.display()))
    }
}

/// Where a run before stopped: offset and line.
fn noted(note: &Path) -> (u64, u64) {
    let text = std::fs::read_to_string(note).unwrap_or_default();
    let mut words = text.split_whitespace().map(str::parse::<u64>);
    match (words.next(), words.next()) {
        (Some(Ok(offset)), Some(Ok(line))) => (offset, line),
        _ => (0, 0),
    }
}

impl Import {
    /// Sends the file.
    ///
    /// # Errors
    /// IO, and a server that does not answer. Bad lines are named, and are no error.
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
        runtime.block_on(Box::pin(self.work()))
    }

    async fn work(self) -> anyhow::Result<u8> {
        let name = self.file.display().to_string();
        let file = File::open(&self.file).with_context(|| format!("opening {name}"))?;
        let size = file.metadata().with_context(|| format!("size of {name}"))?.len();
        let note = PathBuf::from(format!("{name}.imported"));
        let (offset, line) = if self.restart { (0, 0) } else { noted(&note) };
        let (offset, line) = if offset <= size { (offset, line) } else { (0, 0) };
        if offset > 0 {
            eprintln!("{name}: going on behind line {line}, byte {offset}");
        }
        let bar = ProgressBar::new(size);
        bar.set_style(ProgressStyle::with_template("{wide_bar} {bytes} of {total_bytes}  {eta} left")?);
        let mut reader = BufReader::with_capacity(1 << 20, file);
        std::io::Seek::seek(&mut reader, std::io::SeekFrom::Start(offset)).with_context(|| format!("reading {name}"))?;
        let endpoint = Endpoint::open(&self.place).await?;
        let mut pass = Pass { endpoint: &endpoint, name, note, bar, sent: 0, bad: 0 };
        match self.format {
            Format::Prometheus | Format::Openmetrics => {
                samples(&mut pass, reader, offset, line, self.format == Format::Openmetrics).await?;
            }
            Format::Loki => requests(&mut pass, reader, offset, line, "/loki/api/v1/push").await?,
            Format::OtlpJson => requests(&mut pass, reader, offset, line, otlp_path(self.signal)?).await?,
            Format::RemoteWrite => messages(&mut pass, reader, offset, line, "/api/v1/write").await?,
            Format::Otlp => messages(&mut pass, reader, offset, line, otlp_path(self.signal)?).await?,
        }
        pass.bar.finish_and_clear();
        // A whole file leaves no note: the next run sends it again, and makes no double.
        let _ = std::fs::remove_file(&pass.note);
        eprintln!("{} sent, {} bad", pass.sent, pass.bad);
        let code = if pass.bad > 0 { SOME_BAD } else { 0 };
        endpoint.close();
        Ok(code)
    }
}

fn otlp_path(signal: Option<Signal>) -> anyhow::Result<&'static str> {
    Ok(match signal {
        Some(Signal::Traces) => "/v1/traces",
        Some(Signal::Logs) => "/v1/logs",
        Some(Signal::Metrics) => "/v1/metrics",
        None => return Err(Wrong("--signal says which signal a file of OTLP holds".to_owned()).into()),
    })
}

/// The next line, without its end; `None` at the end of the file, and an empty one where it is too long.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<Option<(u64, bool)>> {
    line.clear();
    let mut read = 0;
    loop {
        let chunk = reader.fill_buf()?;
        if chunk.is_empty() {
            return Ok((read > 0).then_some((read, line.len() <= LONGEST)));
        }
        let end = memchr::memchr(b'\n', chunk);
        let taken = end.map_or(chunk.len(), |at| at + 1);
        if line.len() <= LONGEST {
            line.extend_from_slice(&chunk[..end.unwrap_or(chunk.len())]);
        }
        reader.consume(taken);
        read += taken as u64;
        if end.is_some() {
            return Ok(Some((read, line.len() <= LONGEST)));
        }
    }
}

/// A request a line.
async fn requests(
    pass: &mut Pass<'_>,
    mut reader: impl BufRead,
    mut offset: u64,
    mut number: u64,
    path: &str,
) -> anyhow::Result<()> {
    let mut line = Vec::new();
    while let Some((read, fits)) = next_line(&mut reader, &mut line).with_context(|| format!("reading {}", pass.name))? {
        (offset, number) = (offset + read, number + 1);
        let place = number.to_string();
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if !fits {
            pass.bad(&place, "the line is too long");
            continue;
        }
        pass.send(path, "application/json", line.clone(), 1, (&place, offset, number)).await?;
    }
    Ok(())
}

/// Messages with their length before them.
async fn messages(
    pass: &mut Pass<'_>,
    mut reader: impl Read,
    mut offset: u64,
    mut number: u64,
    path: &str,
) -> anyhow::Result<()> {
    loop {
        let (mut length, mut shift, mut prefix) = (0u64, 0, 0u64);
        loop {
            let mut byte = [0];
            match reader.read(&mut byte).with_context(|| format!("reading {}", pass.name))? {
                0 if prefix == 0 => return Ok(()),
                0 => bail!("{}: byte {offset}: the file ends in the middle of a length", pass.name),
                _ => {}
            }
            prefix += 1;
            length |= u64::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] < 0x80 {
                break;
            }
            if shift > 56 {
                bail!("{}: byte {offset}: no length of a message", pass.name);
            }
        }
        if length > LONGEST as u64 {
            bail!("{}: byte {offset}: a message of {length} bytes is too long", pass.name);
        }
        let mut message = vec![0; length as usize];
        let cut = || format!("{}: byte {offset}: the file ends in the middle of a message", pass.name);
        reader.read_exact(&mut message).with_context(cut)?;
        (offset, number) = (offset + prefix + length, number + 1);
        let place = format!("message {number}");
        pass.send(path, "application/x-protobuf", message, 1, (&place, offset, number)).await?;
    }
}

/// Samples, as remote write.
async fn samples(
    pass: &mut Pass<'_>,
    mut reader: impl BufRead,
    mut offset: u64,
    mut number: u64,
    seconds: bool,
) -> anyhow::Result<()> {
    let mut line = Vec::new();
    let mut batch: Vec<(Labels, Vec<(i64, f64)>)> = Vec::new();
    let mut held = 0;
    loop {
        let next = next_line(&mut reader, &mut line).with_context(|| format!("reading {}", pass.name))?;
        if let Some((read, fits)) = next {
            (offset, number) = (offset + read, number + 1);
            let place = number.to_string();
            let parsed = match std::str::from_utf8(&line) {
                Ok(text) if fits => lines::parse(text, seconds).map_err(|e| format!("{e:#}")),
                Ok(_) => Err("the line is too long".to_owned()),
                Err(e) => Err(e.to_string()),
            };
            match parsed {
                Ok(Some((labels, time, value))) => {
                    held += 1;
                    match batch.last_mut().filter(|(known, _)| *known == labels) {
                        Some((_, samples)) => samples.push((time, value)),
                        None => batch.push((labels, vec![(time, value)])),
                    }
                }
                Ok(None) => {}
                Err(why) => pass.bad(&place, &why),
            }
        }
        if held >= SAMPLES || (next.is_none() && held > 0) {
            let mut encoder = wire::remote_write::Encoder::new();
            for (labels, samples) in batch.drain(..) {
                encoder.series(labels.iter().map(|(n, v)| (n.as_str(), v.as_str())), &samples);
            }
            let place = format!("{number} and before");
            let body = encoder.finish().context("a request of samples")?;
            pass.send("/api/v1/write", "application/x-protobuf", body, held as u64, (&place, offset, number)).await?;
            held = 0;
        }
        if next.is_none() {
            return Ok(());
        }
    }
}

//! `braid inspect`: what a data directory holds, printed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use logql::Deletions;
use store::disk::{Disk, RealDisk};
use store::inspect::{Inspection, inspect};

/// Looks at a data directory, of a stopped or of a running Braid, and changes nothing in it.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The data directory
    #[arg(value_name = "DIR", default_value = "braid-data", env = "BRAID_DATA_DIR")]
    dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Look for a text in every record and row, deleted or not; exits with 3 when it is found
    #[arg(long, value_name = "TEXT")]
    find: Option<String>,
    /// List the columns of every segment
    #[arg(long)]
    columns: bool,
}

/// What the process ends with.
pub(crate) const FOUND: u8 = 3;

impl Inspect {
    /// Prints; returns the exit code.
    ///
    /// # Errors
    /// The directory is none, or cannot be read.
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        if !self.dir.join("manifest").is_dir() && !self.dir.join("log").is_dir() {
            bail!("{} is no data directory of Braid: it has neither manifest/ nor log/", self.dir.display());
        }
        let dir = || format!("cannot read {}", self.dir.display());
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(&self.dir).with_context(dir)?);
        let seen = inspect(&disk, self.find.as_deref(), Some(&Deletions { discover_levels: true })).with_context(dir)?;
        match self.json {
            true => println!("{}", serde_json::to_string_pretty(&seen)?),
            false => print!("{}", self.text(&seen)),
        }
        Ok(if seen.found.is_empty() { 0 } else { FOUND })
    }

    fn text(&self, seen: &Inspection) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write(seen, &mut out);
        out
    }

    fn write(&self, seen: &Inspection, out: &mut String) -> std::fmt::Result {
        writeln!(out, "manifests")?;
        for m in &seen.manifests {
            let state = if m.damage.is_empty() { format!("{} segments", m.segments) } else { m.damage.clone() };
            writeln!(out, "  {}  {}  covers {:?}  {state}", m.file, time(m.written), m.covered)?;
        }
        writeln!(out, "log")?;
        for f in &seen.log {
            writeln!(
                out,
                "  {}  {}  records {} ({}..{})  damaged {}  deleted rows {}",
                f.file,
                size(f.bytes),
                f.records,
                f.first,
                f.last,
                size(f.damaged),
                f.doomed
            )?;
            for (of, bytes) in &f.payload {
                writeln!(out, "    {of}  {}", size(*bytes))?;
            }
        }
        writeln!(out, "segments")?;
        let mut totals: BTreeMap<(&str, &str), (u64, u64, u64)> = BTreeMap::new();
        for s in &seen.segments {
            let m = &s.meta;
            let tenant = if m.is_shared() { "(shared)" } else { &m.tenant };
            let total = totals.entry((tenant, &m.signal)).or_default();
            *total = (total.0 + 1, total.1 + m.rows, total.2 + m.bytes);
            write!(out, "  {}  level {}  rows {}  {}", m.file, m.level, m.rows, size(m.bytes))?;
            write!(out, "  {} to {}  columns {}", time(m.first), time(m.last), s.columns.len())?;
            if s.series > 0 {
                write!(out, "  series {}", s.series)?;
            }
            if s.doomed > 0 {
                write!(out, "  deleted rows {}", s.doomed)?;
            }
            if !s.damage.is_empty() {
                write!(out, "  DAMAGED: {}", s.damage)?;
            }
            writeln!(out)?;
            if self.columns {
                writeln!(out, "    {}", s.columns.join(", "))?;
            }
        }
        writeln!(out, "by tenant and signal")?;
        for ((tenant, signal), (segments, rows, bytes)) in totals {
            writeln!(out, "  {tenant}  {signal}  segments {segments}  rows {rows}  {}", size(bytes))?;
        }
        for (title, files) in [("files that no manifest names", &seen.unnamed), ("quarantine", &seen.quarantine)] {
            if !files.is_empty() {
                writeln!(out, "{title}")?;
            }
            for f in files {
                writeln!(out, "  {}  {}", f.file, size(f.bytes))?;
            }
        }
        writeln!(out, "deletions")?;
        for d in &seen.deletions {
            let t = &d.tombstone;
            let left = d.in_segments + d.in_log;
            let state = match (left, t.cleaned) {
                _ if t.due > 0 => format!("waits until {} and can be cancelled; its rows are hidden and whole", time(t.due)),
                (0, 0) => "no row of it is left; files that held them may wait to be removed".to_owned(),
                (0, at) => format!("no byte of it is left since {}", time(at)),
                _ => format!("{} rows left in segments, {} in the log", d.in_segments, d.in_log),
            };
            writeln!(
                out,
                "  {}  {}  {}  {}  {:?}  {state}",
                t.sequence,
                time(t.created),
                t.tenant,
                t.signal().as_str(),
                t.words
            )?;
        }
        if let Some(text) = &self.find {
            match seen.found.is_empty() {
                true => writeln!(out, "{text:?} is nowhere")?,
                false => writeln!(out, "{text:?} is found in")?,
            }
            for place in &seen.found {
                writeln!(out, "  {place}")?;
            }
        }
        Ok(())
    }
}

/// RFC 3339, to the second; the number where it is no time of a calendar.
fn time(ns: i64) -> String {
    match jiff::Timestamp::from_nanosecond(ns.into()) {
        Ok(at) => at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => ns.to_string(),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 30 => format!("{:.1} GiB", b as f64 / f64::from(1 << 30)),
        b if b >= 1 << 20 => format!("{:.1} MiB", b as f64 / f64::from(1 << 20)),
        b if b >= 1 << 10 => format!("{:.1} KiB", b as f64 / 1024.0),
        b => format!("{b} B"),
    }
}

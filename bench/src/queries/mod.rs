//! `braid-bench queries`: asks a loaded server what `BENCH`'s tables ask, checks each answer, then times it.

mod logs;
pub(crate) mod metrics;
mod traces;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value as Json;

use crate::load::Workload;
use crate::send::{Connection, Url};

#[derive(Args)]
pub(crate) struct Options {
    /// What was loaded.
    workload: Workload,
    /// The server; all APIs are asked of this one address.
    #[arg(long, default_value = "http://127.0.0.1:3000")]
    url: Url,
    /// What the generator's `--expect` wrote: times and right answers.
    #[arg(long)]
    expect: PathBuf,
    /// Timed runs of each query, after the one that is checked.
    #[arg(long, default_value_t = 7)]
    runs: usize,
    /// Only queries whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Drop the page cache before each first run (needs root) and show how long that took.
    #[arg(long)]
    cold: bool,
    /// So many clients at once, for two seconds a query: prints answers a second, and how long one took then.
    #[arg(long, default_value_t = 1)]
    clients: usize,
}

/// What a generator says of its data.
pub(crate) struct Expected(BTreeMap<String, String>);

impl Expected {
    fn text(&self, key: &str) -> Result<&str> {
        self.0.get(key).map(String::as_str).with_context(|| format!("--expect has no {key}"))
    }

    fn number(&self, key: &str) -> Result<u64> {
        self.text(key)?.parse().with_context(|| format!("--expect: {key} is no number"))
    }

    fn list(&self, key: &str) -> Result<Vec<&str>> {
        Ok(self.text(key)?.split(',').collect())
    }
}

/// Says what is wrong with an answer; a few words about it where nothing is.
type Check = Box<dyn Fn(&Json) -> Result<String> + Sync>;

/// A question, in one or several instances that take turns (ids, needles).
pub(crate) struct Query {
    pub(crate) name: &'static str,
    /// Milliseconds; what the project asks of itself, warm.
    bar: f64,
    pub(crate) paths: Vec<String>,
    check: Check,
}

/// Percent-encodes what stands in a query string.
fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Fails where an answer is not what the generator says.
fn equal(what: &str, found: u64, expected: u64) -> Result<String> {
    if found != expected {
        bail!("{what}: {found} instead of {expected}");
    }
    Ok(format!("{found} {what}"))
}

fn list<'j>(answer: &'j Json, pointer: &str) -> Result<&'j Vec<Json>> {
    answer.pointer(pointer).and_then(Json::as_array).with_context(|| format!("the answer has no {pointer}"))
}

/// The sum of all values of a range query's series.
fn total(answer: &Json) -> Result<f64> {
    let mut sum = 0.0;
    for series in list(answer, "/data/result")? {
        for point in list(series, "/values")? {
            sum += point.get(1).and_then(Json::as_str).and_then(|v| v.parse::<f64>().ok()).unwrap_or(f64::NAN);
        }
    }
    Ok(sum)
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let text = std::fs::read_to_string(&options.expect).with_context(|| format!("reading {}", options.expect.display()))?;
    let expected = Expected(serde_json::from_str(&text).context("reading what --expect wrote")?);
    let queries = match options.workload {
        Workload::Metrics => metrics::queries(&expected)?,
        Workload::Logs => logs::queries(&expected, &options.url)?,
        Workload::Traces => traces::queries(&expected)?,
    };
    println!("machine load before: {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    match options.clients {
        0 | 1 => println!("| query | answer | first ms | min / median / max ms | bar |\n|---|---|---|---|---|"),
        n => println!("| query | answer | answers/s, {n} clients | median / p95 / max ms |\n|---|---|---|---|"),
    }
    let mut wrong = 0;
    for query in queries.iter().filter(|q| q.name.contains(&options.only)) {
        if let Err(e) = one(query, options) {
            println!("| {} | WRONG: {e:#} |", query.name);
            wrong += 1;
        }
    }
    if wrong > 0 {
        bail!("{wrong} answers are wrong");
    }
    Ok(())
}

/// Asks, and fails where the answer is not 200.
pub(crate) fn get(connection: &mut Connection, path: &str) -> Result<(Duration, Vec<u8>)> {
    let begun = Instant::now();
    let (status, body) = connection.exchange(path, "GET", "", b"")?;
    let took = begun.elapsed();
    if status != 200 {
        bail!("{status}: {}", String::from_utf8_lossy(&body[..body.len().min(300)]));
    }
    Ok((took, body))
}

impl Query {
    /// Asks, and fails where the answer is not the expected one.
    pub(crate) fn verify(&self, connection: &mut Connection, path: &str) -> Result<String> {
        let (_, body) = get(connection, path)?;
        (self.check)(&serde_json::from_slice(&body).context("the answer is no JSON")?)
    }
}

fn one(query: &Query, options: &Options) -> Result<()> {
    if options.cold {
        std::fs::write("/proc/sys/vm/drop_caches", "3").context("dropping the page cache")?;
    }
    let mut connection = Connection::open(&options.url)?;
    let mut first = None;
    let mut said = String::new();
    for path in &query.paths {
        let (took, body) = get(&mut connection, path)?;
        first.get_or_insert(took);
        said = (query.check)(&serde_json::from_slice(&body).context("the answer is no JSON")?)?;
    }
    if options.clients > 1 {
        let (rate, times) = at_once(query, options)?;
        let [median, late, most] = [50, 95, 100].map(|hundredth| times[(times.len() - 1) * hundredth / 100]);
        println!("| {} | {said} | {rate:.0} | {median:.2} / {late:.2} / {most:.2} |", query.name);
        return Ok(());
    }
    let mut times = Vec::new();
    for _ in 0..options.runs.max(1) {
        for path in &query.paths {
            times.push(get(&mut connection, path)?.0.as_secs_f64() * 1e3);
        }
    }
    times.sort_by(f64::total_cmp);
    let (least, median, most) = (times[0], times[times.len() / 2], times[times.len() - 1]);
    println!(
        "| {} | {said} | {:.2} | {least:.2} / {median:.2} / {most:.2} | {} |",
        query.name,
        first.unwrap_or_default().as_secs_f64() * 1e3,
        query.bar
    );
    Ok(())
}

/// Answers a second that so many clients get, and how long each took, milliseconds, ascending; at least one a client.
fn at_once(query: &Query, options: &Options) -> Result<(f64, Vec<f64>)> {
    let begun = Instant::now();
    let client = |number: usize| -> Result<Vec<f64>> {
        let mut connection = Connection::open(&options.url)?;
        let mut times = Vec::new();
        for path in query.paths.iter().cycle().skip(number % query.paths.len()) {
            if begun.elapsed() > Duration::from_secs(2) && !times.is_empty() {
                break;
            }
            times.push(get(&mut connection, path)?.0.as_secs_f64() * 1e3);
        }
        Ok(times)
    };
    let mut times = Vec::new();
    std::thread::scope(|scope| -> Result<()> {
        let clients: Vec<_> = (0..options.clients).map(|number| scope.spawn(move || client(number))).collect();
        for client in clients {
            times.extend(client.join().unwrap_or_else(|_| bail!("a client failed"))?);
        }
        Ok(())
    })?;
    let rate = times.len() as f64 / begun.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    Ok((rate, times))
}

//! Times what looking for keys and trace ids costs a line, over lines like those of `braid-bench`:
//! `cargo run --release -p braid-correlate --example lines -- [passes]`. Prints nanoseconds a line, the least of the passes (what
//! other work on the machine adds is never less than nothing), and how much was found, which must not change.

use std::fmt::Write as _;
use std::time::Instant;

use braid_correlate::Settings;
use braid_correlate::keys::{Finder, Found};

/// Far from each other for numbers that are near (splitmix64).
fn mix(number: u64) -> u64 {
    let x = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Words without a meaning.
fn words(line: &mut String, of: u64) {
    const SYLLABLES: [&str; 8] = ["ba", "con", "der", "el", "for", "gra", "hi", "in"];
    for at in 0..11 {
        let x = mix(of ^ (at << 40));
        for shift in [3, 9, 15] {
            line.push_str(SYLLABLES[(x >> shift) as usize % 8]);
        }
        line.push(' ');
    }
}

fn json(number: u64) -> String {
    let (trace, span) = (mix(number / 5), mix(number));
    let mut line = format!(
        r#"{{"trace_id":"{trace:016x}{:016x}","span_id":"{span:016x}","method":"GET","path":"/api/v1/orders/{}","status":200,"duration_ms":{}.25,"message":""#,
        mix(trace),
        span % 5_000,
        span % 90,
    );
    words(&mut line, number);
    line.push_str(r#""}"#);
    line
}

fn logfmt(number: u64) -> String {
    let x = mix(number);
    let mut line = format!("level=info method=GET path=/api/v1/items/{} status=200 circuit_id=CKT-{} msg=\"", x % 5_000, x % 900);
    words(&mut line, number);
    line.push('"');
    line
}

fn plain(number: u64) -> String {
    let mut line = String::new();
    let _ = write!(line, "GET /api/v1/items/{} answered 200 in {} ms: ", number % 5_000, mix(number) % 90);
    words(&mut line, number);
    line
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let passes = std::env::args().nth(1).map_or(Ok(30), |n| n.parse::<u32>())?;
    let finder = Finder::new(&Settings::default().keys)?;
    for (name, line) in [("json", json as fn(u64) -> String), ("logfmt", logfmt), ("plain", plain)] {
        let lines: Vec<String> = (0..20_000).map(line).collect();
        let (mut least, mut keys, mut traces) = (f64::INFINITY, 0, 0);
        for _ in 0..passes {
            (keys, traces) = (0, 0);
            let start = Instant::now();
            for line in &lines {
                let mut found = Found::default();
                finder.text(line, &mut found);
                keys += found.keys.len();
                traces += usize::from(found.trace.is_some());
            }
            least = least.min(start.elapsed().as_secs_f64() * 1e9 / lines.len() as f64);
        }
        println!("{name}: {least:.1} ns a line of {} lines, {keys} keys, {traces} trace ids", lines.len());
    }
    Ok(())
}

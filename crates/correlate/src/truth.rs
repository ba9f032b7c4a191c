//! Traces and lines whose belonging together is known, and how much of it is found: the workload of `braid-bench correlate`, without
//! a server. Of the lines 30 % carry no trace id but a key, 5 % of the traces share their key with others, 2 % of the lines come after
//! everything else, and each sender has a clock of its own, up to two seconds wrong.

use std::collections::HashMap;
use std::time::Duration;

use crate::Settings;
use crate::tests::Loomed;

/// Numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    /// Uniform in `0.0..1.0`.
    fn unit(&mut self) -> f64 {
        self.0 += 1;
        (xxhash_rust::xxh3::xxh3_64(&self.0.to_le_bytes()) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `0..n`.
    fn below(&mut self, n: u32) -> u32 {
        (self.unit() * f64::from(n)) as u32
    }
}

/// How well it was found, as shares.
#[derive(Debug)]
struct Score {
    recall: f64,
    precision: f64,
    among_three: f64,
    /// Bytes at most.
    memory: usize,
}

/// Sends so many traces at 200 a second, with windows of ten seconds.
fn play(traces: u32) -> Score {
    const RATE: f64 = 200.0;
    let mut random = Numbers(0);
    let mut l = Loomed::new(&Settings { window: Duration::from_secs(10), ..Settings::default() });
    let skew: Vec<f64> = (0..23).map(|_| random.unit() * 4.0 - 2.0).collect();
    let pool = (traces / 60).max(1);
    let mut late = Vec::new();
    // The trace of each line with a key only, and whether others share the key, by the line's sequence.
    let mut truth: HashMap<u64, (u128, bool)> = HashMap::new();
    let mut parts = Vec::new();
    let mut memory = 0;
    for n in 0..traces {
        let at = f64::from(n) / RATE;
        let id = u128::from(n) + 1;
        let shared = random.unit() < 0.05;
        let circuit = if shared { format!("SHARED-{}", random.below(pool)) } else { format!("CKT-{n}") };
        for (service, name) in ["beorn", "palantir", "arda"].into_iter().enumerate() {
            l.span_of(at, at + skew[service], id, name, &[("circuit_id", &circuit)]);
        }
        for _ in 0..4 {
            let line = match random.below(3) {
                0 => format!("{{\"msg\":\"port down\",\"circuit_id\":\"{circuit}\"}}"),
                1 => format!("level=warn msg=\"port down\" circuit_id={circuit}"),
                _ => format!("LOS on circuit id {circuit}, retrying"),
            };
            let by_key = random.unit() < 0.3;
            let host = if by_key { 3 + random.below(20) as usize } else { 0 };
            let record = (at + skew[host], if by_key { 0 } else { id }, line, shared, id);
            if random.unit() < 0.02 {
                late.push(record);
            } else {
                send(&mut l, at, record, &mut truth);
            }
        }
        memory = memory.max(l.loom.sizes()[0]);
        parts.extend(l.loom.closed_mut().drain(..).map(|closed| closed.part));
    }
    let end = f64::from(traces) / RATE + 11.0;
    parts.extend(l.at(end));
    for record in late {
        send(&mut l, end, record, &mut truth);
    }
    parts.extend(l.at(end + 11.0));
    parts.extend(l.at(end + 15.0));
    // What each line was tied to.
    let mut certain: HashMap<u64, u128> = HashMap::new();
    let mut among: HashMap<u64, bool> = HashMap::new();
    for part in &parts {
        let trace = u128::from_be_bytes(part.trace.0);
        for joined in &part.joined {
            let sequence = joined.at.sequence;
            *among.entry(sequence).or_default() |= truth.get(&sequence).is_some_and(|(t, _)| *t == trace);
            if joined.certain {
                assert_eq!(certain.insert(sequence, trace), None, "joined for certain twice");
            }
        }
    }
    let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
    let right = |sequence: &u64| certain.get(sequence) == truth.get(sequence).map(|(trace, _)| trace);
    let clear: Vec<u64> = truth.iter().filter(|(_, (_, shared))| !shared).map(|(s, _)| *s).collect();
    let unclear: Vec<u64> = truth.iter().filter(|(_, (_, shared))| *shared).map(|(s, _)| *s).collect();
    Score {
        recall: share(clear.iter().filter(|s| right(s)).count(), clear.len()),
        precision: share(certain.keys().filter(|s| right(s)).count(), certain.len()),
        among_three: share(unclear.iter().filter(|s| among.get(s) == Some(&true)).count(), unclear.len()),
        memory,
    }
}

/// When the record says it was, the trace id that it carries (0 for none), its text, whether its key is shared, its trace.
type Line = (f64, u128, String, bool, u128);

fn send(l: &mut Loomed, at: f64, (time, carried, text, shared, trace): Line, truth: &mut HashMap<u64, (u128, bool)>) {
    let sequence = l.log_of(at, time, carried, "blueplanet", &text);
    if carried == 0 {
        truth.insert(sequence, (trace, shared));
    }
}

#[test]
fn what_belongs_together_is_found_and_nothing_else_is_said_for_certain() {
    let score = play(4_000);
    println!("{score:?}");
    assert!(score.recall >= 0.99, "{score:?}");
    assert!(score.precision >= 0.995, "{score:?}");
    assert!(score.among_three >= 0.95, "{score:?}");
    assert!(score.memory <= Settings::default().memory + 65_536, "{score:?}");
}

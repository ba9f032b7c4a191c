//! Times what it costs to keep the spans of the payloads in a folder (OTLP/HTTP bodies, as a load generator dumps them), and to give
//! them to a reader, beside walking them for that reader:
//! `cargo run --release -p braid-wire --example kept -- FOLDER ATTRIBUTE,… [passes]`. Prints nanoseconds a span, medians of the passes.

use std::time::Instant;

use braid_wire::{Encoding, Limits, Room, SpanKeeper, SpanSink, walk_spans};
use model::{Group, Span};

/// A reader that adds up what it is told.
struct Sum<'w>(&'w [&'w [u8]], u64);

impl SpanSink for Sum<'_> {
    fn group(&mut self, group: &Group<'_>) {
        self.1 += group.resource.len() as u64;
    }
    fn wants_nested(&self) -> bool {
        false
    }
    fn wants(&self, key: &[u8]) -> bool {
        self.0.contains(&key)
    }
    fn span(&mut self, span: &Span<'_>) {
        self.1 = self.1.wrapping_add((span.end - span.start).unsigned_abs() + span.attributes.len() as u64);
    }
}

/// The same, which wants everything, as columns do; and with a keeper beside it.
struct All<K>(u64, Option<K>);

impl<K: SpanSink> SpanSink for All<K> {
    fn group(&mut self, group: &Group<'_>) {
        self.1.iter_mut().for_each(|keeper| keeper.group(group));
    }
    fn span(&mut self, span: &Span<'_>) {
        self.0 += span.attributes.len() as u64;
        self.1.iter_mut().for_each(|keeper| keeper.span(span));
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let usage = "usage: kept FOLDER ATTRIBUTE,… [passes]";
    let (folder, names) = (args.next().ok_or(usage)?, args.next().ok_or(usage)?);
    let passes: usize = args.next().map_or(Ok(5), |n| n.parse())?;
    let wanted: Vec<&[u8]> = names.split(',').map(str::as_bytes).collect();
    let payloads = std::fs::read_dir(&folder)?.map(|e| std::fs::read(e?.path())).collect::<Result<Vec<_>, _>>()?;
    let limits = Limits::default();
    let mut times: [Vec<f64>; 4] = Default::default();
    let (mut spans, mut memory) = (0, 0);
    let mut room = Room::default();
    for _ in 0..passes.max(1) {
        let mut spent = [0.0; 4];
        (spans, memory) = (0, 0);
        for payload in &payloads {
            let mut time = |at: usize, begun: Instant| spent[at] += begun.elapsed().as_nanos() as f64;
            let keeper = || SpanKeeper::new(|key: &[u8]| wanted.contains(&key), room);
            let begun = Instant::now();
            let mut alone = All(0, None.or_else(|| Some(keeper()).filter(|_| false)));
            spans += walk_spans(Encoding::OtlpTraces, payload, &limits, &mut alone)?.accepted;
            time(0, begun);
            let begun = Instant::now();
            let mut beside = All(0, Some(keeper()));
            walk_spans(Encoding::OtlpTraces, payload, &limits, &mut beside)?;
            let kept = beside.1.and_then(SpanKeeper::finish).ok_or("too much")?;
            time(1, begun);
            memory += kept.memory();
            room = kept.room();
            let begun = Instant::now();
            let mut walked = Sum(&wanted, 0);
            walk_spans(Encoding::OtlpTraces, payload, &limits, &mut walked)?;
            time(2, begun);
            let begun = Instant::now();
            let mut given = Sum(&wanted, 0);
            kept.give(&mut given);
            time(3, begun);
            assert_eq!(walked.1, given.1);
        }
        times.iter_mut().zip(spent).for_each(|(all, ns)| all.push(ns / spans.max(1) as f64));
    }
    let [columns, beside, walked, given] = times.map(|mut all| {
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    });
    println!("{spans} spans, {passes} passes, ns a span: walked whole {columns:.0}, and kept {beside:.0}");
    println!("for a reader: walked {walked:.0}, given {given:.0}; {} bytes a span kept", memory as u64 / spans.max(1));
    Ok(())
}

#![no_main]

use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;

use model::{Labels, Tenant};
use promql::{Grid, Limits, Options, Question};
use store::memory::{Memory, View};
use wire::{RawLabels, SampleSink};

static VIEW: LazyLock<View> = LazyLock::new(|| {
    let store = Memory::new();
    let mut sink = store.ingest(&Tenant::default());
    for (i, (name, le)) in [("up", ""), ("up", "1"), ("x_bucket", "1"), ("x_bucket", "+Inf"), ("x_total", "")].iter().enumerate() {
        let labels = Labels::from_pairs([("__name__", *name), ("job", ["a", "b"][i % 2]), ("le", *le)]);
        let pairs: Vec<_> = labels.iter().collect();
        SampleSink::series(&mut sink, RawLabels::from_pairs(&[i as u8], &pairs));
        for minute in 0..30 {
            sink.sample(minute * 60_000, [1.0, 4.5, f64::NAN, -0.0, f64::INFINITY, 7.0][(minute as usize * (i + 1)) % 6]);
        }
    }
    drop(sink);
    store.view()
});

// What parses evaluates, if to an error, within its limits.
libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(expr) = promql::parse(text) else { return };
    let (tenant, cancelled) = (Tenant::default(), AtomicBool::new(false));
    let question = Question {
        reader: &*VIEW,
        tenant: &tenant,
        lookback_ms: 300_000,
        limits: Limits { samples: 20_000, bytes: 4 << 20, threads: 2, ..Limits::default() },
        cancelled: &cancelled,
        options: Options::default(),
        stats: true,
    };
    let _ = promql::instant(&question, text, &expr, 1_200_000);
    let _ = promql::range(&question, text, &expr, Grid { start: 0, end: 1_800_000, step: 60_000 });
});

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = promql::parse_series_description(text);
});

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| logql::invariants::pipeline(text));

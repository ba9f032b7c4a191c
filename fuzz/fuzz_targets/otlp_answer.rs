#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire::invariants::otlp_answer(bytes));

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| guard::invariants::strange(bytes));

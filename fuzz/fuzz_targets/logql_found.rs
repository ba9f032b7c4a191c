//! Levels, fields and patterns of any lines.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| logql::invariants::found_in(text));

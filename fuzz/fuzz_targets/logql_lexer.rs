//! Any text as LogQL tokens.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| logql::invariants::tokens(text));

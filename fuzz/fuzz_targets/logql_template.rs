//! Any template of `line_format`, with Loki's functions.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| logql::invariants::line_template(input.0, input.1));

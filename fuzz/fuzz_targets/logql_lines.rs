//! Any line through each parser of LogQL.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &str)| logql::invariants::line_parser(usize::from(input.0), input.1));

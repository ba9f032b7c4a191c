#![no_main]

use template::{Functions, Limits, Map, Template, Value};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let data = Value::Map(Map { texts: true, ..Map::default() }.into());
    if let Ok(template) = Template::parse("fuzz", text, &Functions::new()) {
        let _ = template.execute(&data, &[], Limits { steps: 10_000, output: 1 << 16 });
    }
});

#![no_main]

// What parses prints as something that parses to the same.
libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(expr) = promql::parse(text) {
        let printed = expr.to_string();
        let again = promql::parse(&printed).unwrap_or_else(|e| panic!("{printed}: {e}"));
        assert_eq!(again.to_string(), printed);
        let pretty = promql::parse(&expr.pretty()).unwrap_or_else(|e| panic!("{}: {e}", expr.pretty()));
        assert_eq!(pretty.to_string(), printed);
    }
});

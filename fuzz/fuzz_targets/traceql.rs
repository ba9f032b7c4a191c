#![no_main]

// What parses prints as something that parses to the same; what means something can be planned; other texts are read or refused.
libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(query) = traceql::parse_unchecked(text) {
        let printed = query.to_string();
        // Tempo prints `compare` with a brace in place of its closing parenthesis, and so does Braid.
        if !printed.contains("| compare(") {
            let again = traceql::parse_unchecked(&printed).unwrap_or_else(|e| panic!("{printed}: {e}"));
            assert_eq!(again.to_string(), printed);
        }
    }
    if let Some(plan) = traceql::parse(text).ok().and_then(|query| traceql::Plan::new(&query)) {
        let _ = plan.predicate();
    }
    let _ = (traceql::parse_identifier(text), traceql::parse_duration(text), traceql::logfmt(text));
});

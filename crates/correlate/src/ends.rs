//! Where the name of a member of JSON ends that may be one of those looked for.

/// Finds names by the colons behind them: a line has some ten members, and what stands before a colon tells nearly all of them apart.
#[derive(Debug)]
pub(crate) struct Ends {
    /// The last bytes of the names, in either case.
    last: [bool; 256],
}

impl Ends {
    /// Of these names in any case of their letters.
    pub(crate) fn new<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        let mut last = [false; 256];
        for byte in names.filter_map(|name| name.bytes().last()) {
            last[usize::from(byte.to_ascii_lowercase())] = true;
            last[usize::from(byte.to_ascii_uppercase())] = true;
        }
        Self { last }
    }

    /// Where names end, ascending: at least all of those that are looked for, with `":` or `\":` behind them.
    #[inline]
    pub(crate) fn each(&self, line: &[u8], mut each: impl FnMut(usize)) {
        for colon in memchr::memchr_iter(b':', line) {
            // A quote, and a name in front of it.
            if colon < 2 || line[colon - 1] != b'"' {
                continue;
            }
            let end = if line[colon - 2] == b'\\' { colon - 2 } else { colon - 1 };
            if end > 0 && self.last[usize::from(line[end - 1])] {
                each(end);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(ends: &Ends, line: &str) -> Vec<usize> {
        let mut all = Vec::new();
        ends.each(line.as_bytes(), |at| all.push(at));
        all
    }

    #[test]
    fn names_that_end_otherwise_are_passed_over() {
        let line = r#"{"method":"GET","a":{"TraceID":"x","z\":1,\"span_id\":2}}"#;
        let at = |name: &str| line.find(name).unwrap_or(0) + name.len();
        assert_eq!(found(&Ends::new(["trace_id"].into_iter()), line), [at("method"), at("TraceID"), at("span_id")]);
        assert_eq!(found(&Ends::new(["a"].into_iter()), line), [at("\"a")]);
    }

    proptest! {
        #[test]
        fn every_end_of_a_name_is_found_in_order(
            names in proptest::sample::subsequence(vec!["trace_id", "x", "größe", "id", "a b", "-.", "sku", "a:b"], 1..8),
            line in "(trace_id|Trace-ID|x|X|größe|GRÖßE|sku|a b|a:b|-\\.|\"|\":|\\\\\":|:|\\\\|\\{|,|i|d|[a-z ]{1,20}){0,40}",
        ) {
            let some = found(&Ends::new(names.iter().copied()), &line);
            prop_assert!(some.is_sorted_by(|a, b| a < b));
            for (quote, _) in line.match_indices("\":") {
                let end = if line[..quote].ends_with('\\') { quote - 1 } else { quote };
                let before = line[..end].to_ascii_lowercase();
                if names.iter().any(|name| before.ends_with(name)) {
                    prop_assert!(some.contains(&end), "{line:?} at {end}");
                }
            }
            for end in some {
                prop_assert!(line[end..].starts_with("\":") || line[end..].starts_with("\\\":"));
            }
        }
    }
}

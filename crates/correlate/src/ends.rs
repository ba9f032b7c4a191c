//! Where the name of a member of JSON ends that may be one of those looked for.

use std::collections::BTreeSet;

use aho_corasick::packed;
use memchr::memmem;

/// So many bytes of a name's end are looked for: fewer end too many other names, more make too many texts.
const TAIL: usize = 2;

/// Finds `":` after any name, or, where the machine can look for several texts at once and the names' ends are few (`id` in all
/// spellings of the default ones), only after names that end like one of those looked for: a line has some ten members, and
/// beginning the search anew after each was most of what a line cost.
#[derive(Debug)]
pub(crate) struct Ends {
    /// `":`, which ends the name of a member in JSON.
    any: memmem::Finder<'static>,
    likely: Option<packed::Searcher>,
}

impl Ends {
    /// Of these names in any case of their letters.
    pub(crate) fn new<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        Self { any: memmem::Finder::new("\":"), likely: tails(names).and_then(packed::Searcher::new) }
    }

    /// Of any name.
    #[cfg(test)]
    pub(crate) fn of_any() -> Self {
        Self { any: memmem::Finder::new("\":"), likely: None }
    }

    /// The places of `":`, ascending: at least all that end one of the names, with or without a backslash before the quote.
    #[inline]
    pub(crate) fn each(&self, line: &[u8], mut each: impl FnMut(usize)) {
        match &self.likely {
            Some(likely) => likely.find_iter(line).for_each(|hit| each(hit.end() - 2)),
            None => self.any.find_iter(line).for_each(each),
        }
    }
}

/// What stands at the ends of the names and behind them. Nothing if one of the names could be taken for an end itself.
fn tails<'n>(names: impl Iterator<Item = &'n str>) -> Option<BTreeSet<Vec<u8>>> {
    let mut tails = BTreeSet::new();
    for name in names {
        // Then two texts might overlap that end in different places, and only the first of them would be found.
        if name.is_empty() || name.bytes().any(|b| matches!(b, b'"' | b':' | b'\\')) {
            return None;
        }
        let tail = &name.as_bytes()[name.len().saturating_sub(TAIL)..];
        let mut cased = vec![Vec::new()];
        for byte in tail {
            let cases = BTreeSet::from([byte.to_ascii_lowercase(), byte.to_ascii_uppercase()]);
            cased = cased.iter().flat_map(|t| cases.iter().map(|b| [t.as_slice(), &[*b]].concat())).collect();
        }
        for tail in cased {
            tails.insert([tail.as_slice(), b"\":"].concat());
            tails.insert([tail.as_slice(), b"\\\":"].concat());
        }
    }
    Some(tails)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Places that end one of the names: of all of them, found the plain way.
    fn wanted(names: &[&str], line: &str) -> Vec<usize> {
        let mut all = Vec::new();
        Ends::of_any().each(line.as_bytes(), |at| all.push(at));
        let ends = |before: &str| names.iter().any(|n| before.to_ascii_lowercase().ends_with(n));
        all.retain(|at| ends(&line[..*at]) || line[..*at].strip_suffix('\\').is_some_and(ends));
        all
    }

    fn found(ends: &Ends, line: &str) -> Vec<usize> {
        let mut all = Vec::new();
        ends.each(line.as_bytes(), |at| all.push(at));
        all
    }

    #[test]
    fn names_that_end_otherwise_are_passed_over() {
        let ends = Ends::new(["trace_id"].into_iter());
        let line = r#"{"method":"GET","a":{"TraceID":"x","z\":1,\"span_id\":2}}"#;
        let some = found(&ends, line);
        // On machines without the instructions all are found.
        assert!(ends.likely.is_none() || some == [line.find(r#"":"x""#).unwrap_or(0), line.find(r#"":2"#).unwrap_or(0)]);
        assert!(wanted(&["trace_id"], line).iter().all(|at| some.contains(at)));
    }

    #[test]
    fn a_name_with_a_quote_in_it_is_found_the_plain_way() {
        for name in ["a\"b", "a:b", "a\\"] {
            assert!(Ends::new([name].into_iter()).likely.is_none(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn every_end_of_a_name_is_found_in_order(
            names in proptest::sample::subsequence(vec!["trace_id", "x", "größe", "id", "a b", "-.", "sku"], 1..7),
            line in "(trace_id|Trace-ID|x|X|größe|GRÖßE|sku|a b|-\\.|\"|\":|\\\\\":|:|\\\\|\\{|,|i|d|[a-z ]{1,20}){0,40}",
        ) {
            let ends = Ends::new(names.iter().copied());
            let some = found(&ends, &line);
            prop_assert!(some.is_sorted_by(|a, b| a < b));
            prop_assert!(some.iter().all(|at| line[*at..].starts_with("\":")));
            for at in wanted(&names, &line) {
                prop_assert!(some.contains(&at), "{line:?} at {at}");
            }
        }
    }
}

//! What a run found.

use std::fmt;

/// Counts cases, prints the failing ones as they come.
#[derive(Debug, Default)]
pub(crate) struct Report {
    passed: usize,
    failed: usize,
}

impl Report {
    /// Notes a case: `Err` says how the answer differs from what was expected.
    pub(crate) fn case(&mut self, name: impl fmt::Display, result: Result<(), String>) {
        match result {
            Ok(()) => self.passed += 1,
            Err(why) => {
                self.failed += 1;
                // A case is one line, whatever its query and its data hold.
                println!("FAIL {}: {}", name.to_string().replace('\n', "\\n"), why.replace('\n', "\\n"));
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

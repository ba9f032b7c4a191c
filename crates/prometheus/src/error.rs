//! What is wrong with a configuration, said so that it can be mended without looking anything up.

use std::path::Path;

/// Something wrong at a place of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// From 1; 0 where it has no place.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// What is wrong, in the reference's words where it has some.
    pub what: String,
}

impl Flaw {
    /// The flaw as one of a file.
    #[must_use]
    pub fn in_file(self, file: &str) -> ConfigError {
        let Self { line, column, what } = self;
        let place = if line == 0 { file.to_owned() } else { format!("{file}:{line}:{column}") };
        ConfigError(format!("{place}: {what}"))
    }
}

/// `file:line:column: what is wrong`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub(crate) String);

impl ConfigError {
    /// The file cannot be read.
    #[must_use]
    pub fn io(file: &Path, error: &std::io::Error) -> Self {
        Self(format!("{}: {error}", file.display()))
    }
}

/// Names the nearest of the known keys, if one is near, else all of them.
#[must_use]
pub fn unknown_key(key: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|k| (distance(key, k), *k)).min();
    match nearest {
        Some((d, name)) if d <= 2.max(key.len() / 3) => format!("unknown key `{key}`; did you mean `{name}`?"),
        _ => format!("unknown key `{key}`; here may stand: {}", known.join(", ")),
    }
}

/// How many characters must be added, removed, replaced or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    // Nobody mistypes so much; keeps the table small.
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_the_least_edits() {
        for (a, b, n) in [("", "", 0), ("job", "job", 0), ("jbo", "job", 1), ("jo", "job", 1), ("kitten", "sitting", 3)] {
            assert_eq!(distance(a, b), n, "{a} {b}");
        }
    }
}

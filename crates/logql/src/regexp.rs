//! Regular expressions in the words of Go.

use regex::Regex;
use regex_syntax::ast::{Ast, RepetitionKind, parse::Parser};

/// Compiles a pattern that was written for Go.
///
/// # Errors
/// What Go's `regexp.Compile` says.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    Regex::new(&syntax::go_pattern(pattern)).map_err(|e| syntax::go_regexp_error(pattern, &e.to_string()))
}

/// Whether Loki replaces the pattern by a search for texts: alternatives of texts, with `.*` around them.
pub(crate) fn is_literal(pattern: &str) -> bool {
    Parser::new().parse(&syntax::go_pattern(pattern)).is_ok_and(|ast| literal(&ast))
}

fn any(ast: &Ast) -> Option<RepetitionKind> {
    match ast {
        Ast::Repetition(r) if matches!(*r.ast, Ast::Dot(_)) => Some(r.op.kind.clone()),
        _ => None,
    }
}

/// Groups that only hold one thing are that thing.
fn bare(ast: &Ast) -> &Ast {
    match ast {
        Ast::Group(group) => bare(&group.ast),
        Ast::Concat(concat) if concat.asts.len() == 1 => bare(&concat.asts[0]),
        ast => ast,
    }
}

fn literal(ast: &Ast) -> bool {
    match bare(ast) {
        Ast::Empty(_) | Ast::Flags(_) | Ast::Literal(_) => true,
        Ast::Alternation(alternation) => alternation.asts.iter().all(literal),
        Ast::Repetition(_) => matches!(any(bare(ast)), Some(RepetitionKind::ZeroOrMore | RepetitionKind::OneOrMore)),
        Ast::Concat(concat) => {
            // A row of characters is one text; at most three parts, one text, alternatives only behind it.
            let (mut parts, mut texts, mut in_text) = (0, 0, false);
            for part in &concat.asts {
                match bare(part) {
                    Ast::Empty(_) | Ast::Flags(_) => continue,
                    Ast::Literal(_) => {
                        if !in_text {
                            parts += 1;
                            texts += 1;
                        }
                        in_text = true;
                        continue;
                    }
                    Ast::Alternation(alternation) if texts == 1 && alternation.asts.iter().all(literal) => {}
                    part if any(part) == Some(RepetitionKind::ZeroOrMore) => {}
                    _ => return false,
                }
                in_text = false;
                parts += 1;
            }
            parts <= 3 && texts <= 1
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_told_from_patterns() {
        for pattern in ["foo", "foo|bar", ".*foo.*", "(?i)error", "(?i).*|UNSET", ".*", ".+", r"foo\.bar", "foo(bar|baz)", ""] {
            assert!(is_literal(pattern), "{pattern}");
        }
        for pattern in [r"\w.*", "^foo", "5..", "(?i)^(a|b)$", "foo.*bar.*baz", "[ab]c"] {
            assert!(!is_literal(pattern), "{pattern}");
        }
    }
}

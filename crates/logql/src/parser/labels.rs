//! Label filters.

use super::{Parsed, Parser, label_matcher};
use crate::ast::{CompareOp, LabelFilter};
use crate::lexer::Token;
use store::MatchOp;

/// Between what an operand stands: decides what binds it.
#[derive(Clone, Copy, PartialEq)]
enum Behind {
    /// Nothing, a comma, or another filter: everything that follows belongs to it.
    Free,
    And,
    Or,
}

impl Parser {
    pub(super) fn label_filter(&mut self) -> Parsed<LabelFilter> {
        self.filter(Behind::Free)
    }

    /// `and` binds tighter than `or`; a comma and the absence of an operator mean `and` and take all that follows.
    fn filter(&mut self, behind: Behind) -> Parsed<LabelFilter> {
        self.deeper()?;
        let mut left = self.filter_operand()?;
        loop {
            let (and, next) = match self.token() {
                Token::Mark(",") => (true, Behind::Free),
                Token::Identifier(_) | Token::Mark("(") => {
                    let right = self.filter(Behind::Free)?;
                    left = LabelFilter::And(Box::new(left), Box::new(right));
                    continue;
                }
                Token::Keyword("and") if behind != Behind::And => (true, Behind::And),
                Token::Keyword("or") if behind == Behind::Free => (false, Behind::Or),
                _ => break,
            };
            self.operator()?;
            self.advance();
            let right = Box::new(self.filter(next)?);
            left = match and {
                true => LabelFilter::And(Box::new(left), right),
                false => LabelFilter::Or(Box::new(left), right),
            };
        }
        self.depth -= 1;
        Ok(left)
    }

    fn filter_operand(&mut self) -> Parsed<LabelFilter> {
        if self.eat("(") {
            let filter = self.filter(Behind::Free)?;
            self.expect(")", "")?;
            return Ok(filter);
        }
        let name = self.identifier("")?;
        let Token::Mark(mark) = *self.token() else { return self.unexpected("") };
        let (op, match_op) = match mark {
            "=" => (CompareOp::Eq, Some(MatchOp::Eq)),
            "==" => (CompareOp::Eq, None),
            "!=" => (CompareOp::Ne, Some(MatchOp::Ne)),
            ">" => (CompareOp::Gt, None),
            ">=" => (CompareOp::Ge, None),
            "<" => (CompareOp::Lt, None),
            "<=" => (CompareOp::Le, None),
            "=~" | "!~" => return Ok(LabelFilter::Matcher(self.matcher(&name, "")?)),
            _ => return self.unexpected(""),
        };
        self.advance();
        match (self.token().clone(), match_op) {
            (Token::Str(text), Some(op)) => {
                self.advance();
                Ok(LabelFilter::Matcher(label_matcher(&name, op, &text)?))
            }
            (Token::Function("ip") | Token::Keyword("ip"), Some(match_op)) => {
                self.advance();
                self.expect("(", "(")?;
                let range = self.string("STRING")?;
                self.expect(")", ")")?;
                Ok(LabelFilter::Ip(name, match_op == MatchOp::Ne, range))
            }
            (Token::Duration(ns), _) => {
                self.advance();
                Ok(LabelFilter::Duration(name, op, ns))
            }
            (Token::Bytes(bytes), _) => {
                self.advance();
                Ok(LabelFilter::Bytes(name, op, bytes))
            }
            (Token::Number(_) | Token::Mark("+" | "-"), _) => Ok(LabelFilter::Number(name, op, self.literal()?)),
            _ => self.unexpected(""),
        }
    }
}

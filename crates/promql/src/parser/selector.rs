//! Selectors and what follows them.

use store::{LabelMatcher, MatchOp};

use super::{Parsed, Parser};
use crate::ast::{At, BinaryOp, Expr, Extension, Length, Node, Selector, Shift};
use crate::lexer::{Keyword, Kind, unquote};

/// What may follow `offset` and stand in brackets.
pub(super) const DURATIONS: &str = "number, duration, step(), or range()";

impl Parser<'_> {
    fn shift_of<'e>(&self, expr: &'e mut Expr, modifier: &str) -> Parsed<&'e mut Shift> {
        match &mut expr.node {
            Node::Selector(s) | Node::Range { selector: s, .. } => Ok(&mut s.shift),
            Node::Subquery { shift, .. } => Ok(shift),
            _ => self.fail(
                expr.start,
                format!(
                    "{modifier} modifier must be preceded by an instant vector selector or range vector selector or a subquery"
                ),
            ),
        }
    }

    pub(super) fn offset(&mut self, expr: &mut Expr) -> Parsed<()> {
        self.advance()?;
        let offset = self.offset_length()?;
        let start = expr.start;
        let shift = self.shift_of(expr, "offset")?;
        if shift.offset != Length::Fixed(0) {
            return self.fail(start, "offset may not be set multiple times");
        }
        shift.offset = offset;
        Ok(())
    }

    pub(super) fn at(&mut self, expr: &mut Expr) -> Parsed<()> {
        self.advance()?;
        let start = expr.start;
        let at = match self.peek()?.kind {
            Kind::Keyword(k @ (Keyword::Start | Keyword::End)) => {
                self.advance()?;
                self.expect('(', "@", "timestamp")?;
                self.expect(')', "@", "timestamp")?;
                if k == Keyword::Start { At::Start } else { At::End }
            }
            _ => {
                let seconds = self.signed_number("@", "timestamp")?;
                if !seconds.is_finite() || seconds.abs() >= 9_223_372_036_854_775_807.0 {
                    let text = if seconds.is_finite() { format!("{seconds:.6}") } else { crate::number(seconds) };
                    return self.fail(start, format!("timestamp out of bounds for @ modifier: {text}"));
                }
                // Beyond what milliseconds can say, `as` stops at the last one.
                At::Time((seconds * 1000.0).round() as i64)
            }
        };
        let shift = self.shift_of(expr, "@")?;
        if shift.at.is_some() {
            return self.fail(start, "@ <timestamp> may not be set multiple times");
        }
        shift.at = Some(at);
        Ok(())
    }

    pub(super) fn extend(&mut self, expr: &mut Expr, keyword: Keyword) -> Parsed<()> {
        self.advance()?;
        let (name, extension) = match keyword {
            Keyword::Anchored => ("anchored", Extension::Anchored),
            _ => ("smoothed", Extension::Smoothed),
        };
        if !self.syntax.extended_selectors {
            return self.fail(expr.start, format!("{name} modifier is experimental and not enabled"));
        }
        match &mut expr.node {
            Node::Selector(s) | Node::Range { selector: s, .. } => match s.extension.replace(extension) {
                Some(before) if before != extension => {
                    self.fail(expr.start, "anchored and smoothed modifiers cannot be used together")
                }
                _ => Ok(()),
            },
            Node::Subquery { .. } => self.fail(expr.start, format!("{name} modifier is not supported for subqueries")),
            _ => self.fail(expr.start, format!("{name} modifier not implemented")),
        }
    }

    /// `[5m]` or `[5m:1m]` after `expr`.
    pub(super) fn range(&mut self, expr: Expr) -> Parsed<Expr> {
        let bracket = self.advance()?.start;
        let range = self.positive_length("subquery or range selector", DURATIONS)?;
        let start = expr.start;
        if self.eat(Kind::Mark(':'))? {
            let step = match self.peek()?.kind {
                Kind::Mark(']') => None,
                _ => Some(self.positive_length("subquery selector", "number, duration, step(), range(), or \"]\"")?),
            };
            self.expect(']', "subquery selector", "\"]\"")?;
            let node = Node::Subquery { expr: Box::new(expr), range, step, shift: Shift::default() };
            return Ok(Expr::new(node, start));
        }
        self.expect(']', "subquery or range", "\":\" or \"]\"")?;
        match expr.node {
            Node::Selector(s) if s.shift.offset != Length::Fixed(0) => {
                self.fail(bracket, "no offset modifiers allowed before range")
            }
            Node::Selector(s) if s.shift.at.is_some() => self.fail(bracket, "no @ modifiers allowed before range"),
            Node::Selector(selector) => Ok(Expr::new(Node::Range { selector, range }, start)),
            _ => self.fail(bracket, "ranges only allowed for vector selectors"),
        }
    }

    /// What follows a metric name, or starts with `{`.
    pub(super) fn selector(&mut self, name: Option<&str>) -> Parsed<Selector> {
        let mut matchers = Vec::new();
        if self.eat(Kind::Mark('{'))? {
            let mut first = true;
            while !self.eat(Kind::Mark('}'))? {
                if !first {
                    self.expect(',', "label matching", "\",\" or \"}\"")?;
                    if self.eat(Kind::Mark('}'))? {
                        break;
                    }
                }
                first = false;
                let matcher = self.matcher()?;
                matchers.push(matcher);
            }
        }
        if let Some(name) = name {
            matchers.push(self.compile("__name__", MatchOp::Eq, name, 0)?);
        }
        Ok(Selector { name: name.map(str::to_owned), matchers, shift: Shift::default(), extension: None })
    }

    /// `label="value"`, or a quoted metric name.
    fn matcher(&mut self) -> Parsed<LabelMatcher> {
        const CONTEXT: &str = "label matching";
        let token = self.peek()?;
        let text = self.lexer.text(token);
        let name = match token.kind {
            Kind::Identifier => text.to_owned(),
            Kind::Text => unquote(text).into_owned(),
            _ => return self.unexpected(CONTEXT, "identifier or \"}\""),
        };
        self.advance()?;
        let op = match self.peek()?.kind {
            Kind::Equals => MatchOp::Eq,
            Kind::Operator(BinaryOp::Ne) => MatchOp::Ne,
            Kind::Pattern(false) => MatchOp::Re,
            Kind::Pattern(true) => MatchOp::NotRe,
            _ if token.kind == Kind::Text => return self.compile("__name__", MatchOp::Eq, &name, token.start),
            _ => return self.unexpected(CONTEXT, "label matching operator"),
        };
        self.advance()?;
        let value = self.peek()?;
        if value.kind != Kind::Text {
            return self.unexpected(CONTEXT, "string");
        }
        self.advance()?;
        self.compile(&name, op, &unquote(self.lexer.text(value)), token.start)
    }

    fn compile(&self, name: &str, op: MatchOp, value: &str, at: usize) -> Parsed<LabelMatcher> {
        // Prometheus says what is wrong with the anchored pattern.
        let said = |e: regex::Error| syntax::go_regexp_error(&format!("^(?s:{value})$"), &e.to_string());
        LabelMatcher::new(name, op, value).or_else(|e| self.fail(at, said(e)))
    }
}

//! Numbers and durations.

use super::selector::DURATIONS;
use super::{Parsed, Parser};
use crate::ast::{BinaryOp, DurationExpr, Length};
use crate::lexer::{Keyword, Kind};

/// A number as the reference reads it: hexadecimal after `0x`, octal after `0`, else decimal.
pub(crate) fn number(text: &str) -> Option<f64> {
    let digits = text.replace('_', "");
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        return i64::from_str_radix(hex, 16).ok().map(|n| n as f64);
    }
    let octal = digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
    if octal && let Ok(n) = i64::from_str_radix(&digits, 8) {
        return Some(n as f64);
    }
    digits.parse().ok()
}

impl Parser<'_> {
    /// A number, or a duration in seconds; and which of both.
    pub(super) fn number_or_duration(&mut self) -> Parsed<(f64, bool)> {
        let token = self.advance()?;
        let text = self.lexer.text(token);
        if token.kind == Kind::Number {
            return match number(text) {
                Some(value) => Ok((value, false)),
                None => self.fail(token.start, format!("error parsing number: {text:?}: invalid syntax")),
            };
        }
        match syntax::prometheus_duration(text) {
            Some(Some(ms)) => Ok((ms as f64 / 1000.0, true)),
            Some(None) => self.fail(token.start, "duration out of range"),
            None => self.fail(token.start, format!("not a valid duration string: {text:?}")),
        }
    }

    /// A number or duration with a sign or without.
    pub(super) fn signed_number(&mut self, context: &str, expected: &str) -> Parsed<f64> {
        let minus = self.eat(Kind::Operator(BinaryOp::Sub))?;
        if !minus {
            self.eat(Kind::Operator(BinaryOp::Add))?;
        }
        if !matches!(self.peek()?.kind, Kind::Number | Kind::Duration) {
            return self.unexpected(context, expected);
        }
        let (value, _) = self.number_or_duration()?;
        Ok(if minus { -value } else { value })
    }

    /// The length behind `offset`: one operand, with a sign or without.
    pub(super) fn offset_length(&mut self) -> Parsed<Length> {
        const CONTEXT: &str = "offset";
        let start = self.peek()?.start;
        let minus = self.eat(Kind::Operator(BinaryOp::Sub))?;
        if !minus {
            self.eat(Kind::Operator(BinaryOp::Add))?;
        }
        let operand = self.duration_operand(CONTEXT, DURATIONS)?;
        let expr = if minus { negated(operand) } else { operand };
        self.length(expr, start)
    }

    /// What stands in brackets: more than nothing.
    pub(super) fn positive_length(&mut self, context: &str, expected: &str) -> Parsed<Length> {
        let start = self.peek()?.start;
        let expr = self.duration_expression(0, context, expected)?;
        if matches!(expr, DurationExpr::Seconds { value, .. } if value <= 0.0) {
            return self.fail(start, "duration must be greater than 0");
        }
        self.length(expr, start)
    }

    /// A length that is known, or what to compute it from.
    fn length(&self, expr: DurationExpr, at: usize) -> Parsed<Length> {
        match expr {
            DurationExpr::Seconds { value, .. } => Ok(Length::Fixed((value * 1000.0).round() as i64)),
            _ if !self.syntax.durations => self.fail(at, "experimental duration expression is not enabled"),
            expr => Ok(Length::Computed(Box::new(expr))),
        }
    }

    fn duration_expression(&mut self, floor: u8, context: &str, expected: &str) -> Parsed<DurationExpr> {
        let at = self.peek()?.start;
        self.depth = self.deeper(self.depth, at)?;
        let result = self.duration_operators(floor, context, expected);
        self.depth -= 1;
        result
    }

    fn duration_operators(&mut self, floor: u8, context: &str, expected: &str) -> Parsed<DurationExpr> {
        let mut left = match self.peek()?.kind {
            Kind::Operator(sign @ (BinaryOp::Sub | BinaryOp::Add)) => {
                self.advance()?;
                let operand = self.duration_expression(BinaryOp::Mul.precedence(), context, expected)?;
                if sign == BinaryOp::Sub { negated(operand) } else { operand }
            }
            _ => self.duration_operand(context, expected)?,
        };
        let mut count = 0;
        while let Kind::Operator(op) = self.peek()?.kind
            && op.is_arithmetic()
            && op != BinaryOp::Atan2
            && op.precedence() > floor
        {
            let at = self.advance()?.start;
            // A chain is as deep as it is long.
            count += 1;
            self.deeper(self.depth + count, at)?;
            let right = self.duration_expression(op.precedence() - u8::from(op == BinaryOp::Pow), context, expected)?;
            if matches!(right, DurationExpr::Seconds { value: 0.0, .. }) {
                match op {
                    BinaryOp::Div => return self.fail(at, "division by zero"),
                    BinaryOp::Mod => return self.fail(at, "modulo by zero"),
                    _ => {}
                }
            }
            left = DurationExpr::Binary(op, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn duration_operand(&mut self, context: &str, expected: &str) -> Parsed<DurationExpr> {
        let token = self.peek()?;
        match token.kind {
            Kind::Number | Kind::Duration => {
                let (value, duration) = self.number_or_duration()?;
                // What nanoseconds of 64 bits can say.
                if value.abs() > 9_223_372_036.854_775 || value.is_nan() {
                    return self.fail(token.start, "duration out of range");
                }
                Ok(DurationExpr::Seconds { value, duration })
            }
            Kind::Keyword(k @ (Keyword::Step | Keyword::Range)) => {
                self.advance()?;
                self.expect('(', context, expected)?;
                self.expect(')', context, expected)?;
                Ok(if k == Keyword::Step { DurationExpr::Step } else { DurationExpr::Range })
            }
            Kind::Keyword(k @ (Keyword::MinOf | Keyword::MaxOf)) => {
                self.advance()?;
                self.expect('(', context, expected)?;
                let a = self.duration_expression(0, context, expected)?;
                self.expect(',', context, "\",\"")?;
                let b = self.duration_expression(0, context, expected)?;
                self.expect(')', context, "\")\"")?;
                Ok(DurationExpr::Extreme(k == Keyword::MaxOf, Box::new(a), Box::new(b)))
            }
            Kind::Mark('(') => {
                self.advance()?;
                let inner = self.duration_expression(0, context, expected)?;
                self.expect(')', context, "\")\"")?;
                Ok(DurationExpr::Paren(Box::new(inner)))
            }
            _ => self.unexpected(context, expected),
        }
    }
}

fn negated(expr: DurationExpr) -> DurationExpr {
    match expr {
        DurationExpr::Seconds { value, duration } => DurationExpr::Seconds { value: -value, duration },
        expr => DurationExpr::Negate(Box::new(expr)),
    }
}

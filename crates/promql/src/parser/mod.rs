//! Tokens to an expression: a Pratt parser after `promql/parser/generated_parser.y` of Prometheus, with its error messages.

mod duration;
mod selector;

pub(crate) use duration::number;

use model::Labels;
use store::{LabelMatcher, MatchOp};

use crate::ast::{Binary, BinaryOp, Expr, Grouping, Matching, Node, Side};
use crate::lexer::{Keyword, Kind, Lexer, Token, unquote};
use crate::{ParseError, check, functions};

/// Longest query that is read, bytes.
pub const MAX_QUERY: usize = 256 << 10;
/// Deepest nesting of an expression.
const MAX_DEPTH: usize = 128;

/// Which parts of the language that the reference calls experimental are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Syntax {
    /// Functions and aggregations (`limitk`, `info`, `sort_by_label`, …).
    pub functions: bool,
    /// Computed durations: `[2 * step()]`.
    pub durations: bool,
    /// `anchored` and `smoothed`.
    pub extended_selectors: bool,
    /// `fill`, `fill_left` and `fill_right`.
    pub fill: bool,
}

impl Syntax {
    /// Everything.
    pub const ALL: Self = Self { functions: true, durations: true, extended_selectors: true, fill: true };
    /// What the reference allows unless told otherwise.
    pub const STABLE: Self = Self { functions: false, durations: false, extended_selectors: false, fill: false };
}

impl Default for Syntax {
    fn default() -> Self {
        Self::ALL
    }
}

/// Reads a query and checks its types; experimental parts are allowed.
///
/// # Errors
/// [`ParseError`] with the position of what is wrong.
pub fn parse(query: &str) -> Result<Expr, ParseError> {
    parse_with(query, Syntax::ALL)
}

/// Reads a query and checks its types.
///
/// # Errors
/// [`ParseError`] with the position of what is wrong.
pub fn parse_with(query: &str, syntax: Syntax) -> Result<Expr, ParseError> {
    short_enough(query)?;
    let mut parser = Parser::new(query, syntax);
    if parser.peek()?.kind == Kind::End {
        return parser.fail(0, "no expression found in input");
    }
    let (mut expr, _) = parser.expression(0)?;
    if parser.peek()?.kind != Kind::End {
        return parser.unexpected("", "");
    }
    check::check(query, &expr)?;
    expr.mark_fixed();
    Ok(expr)
}

/// Reads a series selector alone, as `match[]` has it; unlike in a query it may choose all series.
///
/// # Errors
/// [`ParseError`], also for whatever follows the selector.
pub fn parse_selector(query: &str) -> Result<Vec<LabelMatcher>, ParseError> {
    short_enough(query)?;
    let mut parser = Parser::new(query, Syntax::ALL);
    let name = match parser.peek()?.kind {
        Kind::Mark('{') => None,
        _ => {
            let token = parser.metric_name()?;
            Some(parser.lexer.text(token))
        }
    };
    let selector = parser.selector(name)?;
    if parser.peek()?.kind != Kind::End {
        return parser.unexpected("", "");
    }
    Ok(selector.matchers)
}

fn short_enough(query: &str) -> Result<(), ParseError> {
    if query.len() > MAX_QUERY {
        return Err(ParseError::at(query, 0, format!("the query is longer than {MAX_QUERY} bytes")));
    }
    Ok(())
}

/// Reads a metric with its labels, as in `metric{a="b"}`, at the start of `text`; says where it ends.
pub(crate) fn parse_metric(text: &str) -> Result<(Labels, usize), ParseError> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    let name = (end > 0).then(|| &text[..end]);
    let rest = text[end..].trim_start();
    if !rest.starts_with('{') || rest.starts_with("{{") {
        return match name {
            Some(name) => Ok((Labels::from_pairs([("__name__", name)]), end)),
            None => Err(ParseError::at(text, 0, "expected a metric name or \"{\"")),
        };
    }
    let mut parser = Parser::new(&text[end..], Syntax::ALL);
    let selector = parser.selector(None)?;
    let mut pairs: Vec<(&str, &str)> = name.map(|name| ("__name__", name)).into_iter().collect();
    for matcher in &selector.matchers {
        if matcher.op != MatchOp::Eq {
            return Err(ParseError::at(text, end, "unexpected matcher in label set, expected \"=\""));
        }
        pairs.push((&matcher.name, &matcher.value));
    }
    Ok((Labels::from_pairs(pairs), end + parser.lexer.position()))
}

pub(crate) struct Parser<'q> {
    lexer: Lexer<'q>,
    /// The next token, where it has been looked at.
    next: Option<Token>,
    syntax: Syntax,
    depth: usize,
}

type Parsed<T> = Result<T, ParseError>;

impl<'q> Parser<'q> {
    pub(crate) fn new(query: &'q str, syntax: Syntax) -> Self {
        Self { lexer: Lexer::new(query), next: None, syntax, depth: 0 }
    }

    fn peek(&mut self) -> Parsed<Token> {
        match self.next {
            Some(token) => Ok(token),
            None => {
                let token = self.lexer.next()?;
                Ok(*self.next.insert(token))
            }
        }
    }

    fn advance(&mut self) -> Parsed<Token> {
        let token = self.peek()?;
        self.next = None;
        Ok(token)
    }

    fn eat(&mut self, kind: Kind) -> Parsed<bool> {
        let found = self.peek()?.kind == kind;
        if found {
            self.next = None;
        }
        Ok(found)
    }

    fn expect(&mut self, mark: char, context: &str, expected: &str) -> Parsed<()> {
        if self.eat(Kind::Mark(mark))? { Ok(()) } else { self.unexpected(context, expected) }
    }

    fn fail<T>(&self, at: usize, message: impl Into<String>) -> Parsed<T> {
        Err(ParseError::at(self.lexer.query, at, message))
    }

    /// The next token should not be there; where, and what should, may be empty.
    fn unexpected<T>(&mut self, context: &str, expected: &str) -> Parsed<T> {
        let token = self.peek()?;
        let text = self.lexer.text(token);
        let mut message = match token.kind {
            Kind::End => "unexpected end of input".to_owned(),
            Kind::Identifier => format!("unexpected identifier {text:?}"),
            Kind::MetricIdentifier => format!("unexpected metric identifier {text:?}"),
            Kind::Number => format!("unexpected number {}", short(text)),
            Kind::Duration => format!("unexpected duration {}", short(text)),
            Kind::Text => format!("unexpected string {}", short(text)),
            Kind::Aggregation(_) => format!("unexpected <aggr:{text}>"),
            Kind::Keyword(k) if !k.is_function() => format!("unexpected <{text}>"),
            Kind::Operator(_) | Kind::Pattern(_) | Kind::At => format!("unexpected <op:{text}>"),
            Kind::Keyword(_) | Kind::Equals | Kind::Mark(_) => format!("unexpected {text:?}"),
        };
        if !context.is_empty() {
            message.push_str(&format!(" in {context}"));
        }
        if !expected.is_empty() {
            message.push_str(&format!(", expected {expected}"));
        }
        self.fail(token.start, message)
    }

    fn eat_keyword(&mut self, keyword: Keyword) -> Parsed<bool> {
        self.eat(Kind::Keyword(keyword))
    }

    /// An expression whose operators bind tighter than `floor`, and how deep it is.
    fn expression(&mut self, floor: u8) -> Parsed<(Expr, usize)> {
        let at = self.peek()?.start;
        self.depth = self.deeper(self.depth, at)?;
        let result = self.operators(floor);
        self.depth -= 1;
        result
    }

    fn operators(&mut self, floor: u8) -> Parsed<(Expr, usize)> {
        let (mut left, mut depth) = self.unary()?;
        while let Kind::Operator(op) = self.peek()?.kind
            && op.precedence() > floor
        {
            let op_start = self.advance()?.start;
            let (returns_bool, matching) = self.modifiers()?;
            // `^` groups from the right.
            let right_floor = op.precedence() - u8::from(op == BinaryOp::Pow);
            let (right, right_depth) = self.expression(right_floor)?;
            depth = self.deeper(depth.max(right_depth), op_start)?;
            if (matching.fill_left.is_some() || matching.fill_right.is_some()) && !self.syntax.fill {
                return self.fail(left.start, "binop fill modifiers are experimental and not enabled");
            }
            left = joined(left, right, op, op_start, returns_bool, matching);
        }
        Ok((left, depth))
    }

    fn deeper(&self, depth: usize, at: usize) -> Parsed<usize> {
        if depth >= MAX_DEPTH {
            return self.fail(at, format!("the expression is nested deeper than {MAX_DEPTH} levels"));
        }
        Ok(depth + 1)
    }

    /// `bool`, `on`, `ignoring`, `group_left`, `group_right`, `fill…`.
    fn modifiers(&mut self) -> Parsed<(bool, Matching)> {
        let returns_bool = self.eat_keyword(Keyword::Bool)?;
        let on = self.eat_keyword(Keyword::On)?;
        let mut matching = Matching { on, ..Matching::default() };
        if matching.on || self.eat_keyword(Keyword::Ignoring)? {
            matching.labels = self.label_names()?;
            matching.many = match self.peek()?.kind {
                Kind::Keyword(Keyword::GroupLeft) => Some(Side::Left),
                Kind::Keyword(Keyword::GroupRight) => Some(Side::Right),
                _ => None,
            };
            if matching.many.is_some() {
                self.advance()?;
                if self.peek()?.kind == Kind::Mark('(') {
                    matching.include = self.label_names()?;
                }
            }
        }
        while let Kind::Keyword(k @ (Keyword::Fill | Keyword::FillLeft | Keyword::FillRight)) = self.peek()?.kind {
            self.advance()?;
            self.expect('(', "fill modifier", "\"(\"")?;
            let value = self.signed_number("fill modifier", "number")?;
            self.expect(')', "fill modifier", "\")\"")?;
            if k != Keyword::FillRight {
                matching.fill_left = Some(value);
            }
            if k != Keyword::FillLeft {
                matching.fill_right = Some(value);
            }
        }
        Ok((returns_bool, matching))
    }

    fn unary(&mut self) -> Parsed<(Expr, usize)> {
        match self.peek()?.kind {
            Kind::Operator(BinaryOp::Sub) => self.signed(true),
            Kind::Operator(BinaryOp::Add) => self.signed(false),
            _ => self.postfixed(),
        }
    }

    #[inline(never)]
    fn signed(&mut self, minus: bool) -> Parsed<(Expr, usize)> {
        let start = self.advance()?.start;
        // Binds like `*`: `-a ^ b` is `-(a ^ b)`, `-a * b` is `(-a) * b`.
        let (expr, depth) = self.expression(BinaryOp::Mul.precedence())?;
        let depth = self.deeper(depth, start)?;
        let node = match expr.node {
            Node::Number { value, duration } => Node::Number { value: if minus { -value } else { value }, duration },
            node => Node::Unary { minus, expr: Box::new(Expr::new(node, expr.start)) },
        };
        Ok((Expr::new(node, start), depth))
    }

    /// An operand and its `[range]`, `offset`, `@`, `anchored`, `smoothed`.
    fn postfixed(&mut self) -> Parsed<(Expr, usize)> {
        let start = self.peek()?.start;
        let (mut expr, mut depth) = self.primary()?;
        loop {
            match self.peek()?.kind {
                Kind::Mark('[') => {
                    depth = self.deeper(depth, start)?;
                    expr = self.range(expr)?;
                }
                Kind::Keyword(Keyword::Offset) => self.offset(&mut expr)?,
                Kind::At => self.at(&mut expr)?,
                Kind::Keyword(k @ (Keyword::Anchored | Keyword::Smoothed)) => self.extend(&mut expr, k)?,
                _ => return Ok((expr, depth)),
            }
        }
    }

    // What calls itself through `expression` stays small on the stack: each kind of operand has a function of its own.
    fn primary(&mut self) -> Parsed<(Expr, usize)> {
        match self.peek()?.kind {
            Kind::Number | Kind::Duration | Kind::Text => self.literal(),
            Kind::Mark('(') => self.parenthesised(),
            Kind::Mark('{') => self.selection(None, 0),
            _ => self.named(),
        }
    }

    #[inline(never)]
    fn literal(&mut self) -> Parsed<(Expr, usize)> {
        let token = self.peek()?;
        let node = if token.kind == Kind::Text {
            self.advance()?;
            Node::Text(unquote(self.lexer.text(token)).into_owned())
        } else {
            let (value, duration) = self.number_or_duration()?;
            Node::Number { value, duration }
        };
        Ok((Expr::new(node, token.start), 1))
    }

    #[inline(never)]
    fn parenthesised(&mut self) -> Parsed<(Expr, usize)> {
        let start = self.advance()?.start;
        let (inner, depth) = self.expression(0)?;
        self.expect(')', "", "")?;
        let depth = self.deeper(depth, start)?;
        Ok((Expr::new(Node::Paren(Box::new(inner)), start), depth))
    }

    /// A selector; its name, where it has one before the braces, is read.
    #[inline(never)]
    fn selection(&mut self, name: Option<&str>, start: usize) -> Parsed<(Expr, usize)> {
        let start = if name.is_some() { start } else { self.peek()?.start };
        Ok((Expr::new(Node::Selector(self.selector(name)?), start), 1))
    }

    /// A word that may name a metric.
    fn metric_name(&mut self) -> Parsed<Token> {
        let token = self.peek()?;
        let names_metric = match token.kind {
            Kind::Aggregation(_) | Kind::Identifier | Kind::MetricIdentifier => true,
            Kind::Keyword(k) => k.names_metric(),
            Kind::Operator(op) => op.is_set(),
            _ => false,
        };
        if names_metric { self.advance() } else { self.unexpected("", "") }
    }

    /// What begins with a word.
    fn named(&mut self) -> Parsed<(Expr, usize)> {
        let token = self.metric_name()?;
        let (start, text) = (token.start, self.lexer.text(token));
        let next = self.peek()?.kind;
        match (token.kind, next) {
            (Kind::Aggregation(op), Kind::Mark('(') | Kind::Keyword(Keyword::By | Keyword::Without)) => self.aggregate(op, start),
            (Kind::Identifier, Kind::Mark('(')) => self.call(text, start),
            (Kind::Keyword(k), Kind::Mark('(')) if k.is_function() => self.call(&text.to_ascii_lowercase(), start),
            _ => self.selection(Some(text), start),
        }
    }

    #[inline(never)]
    fn call(&mut self, name: &str, start: usize) -> Parsed<(Expr, usize)> {
        let (args, depth) = self.arguments()?;
        let Some(function) = functions::find(name) else {
            return self.fail(start, format!("unknown function with name {name:?}"));
        };
        if function.experimental && !self.syntax.functions {
            return self.fail(start, format!("function {name:?} is not enabled"));
        }
        let depth = self.deeper(depth, start)?;
        Ok((Expr::new(Node::Call { function, args }, start), depth))
    }

    /// Arguments in parentheses.
    fn arguments(&mut self) -> Parsed<(Vec<Expr>, usize)> {
        self.expect('(', "", "")?;
        let mut args = Vec::new();
        let mut deepest = 1;
        while !self.eat(Kind::Mark(')'))? {
            if !args.is_empty() {
                let comma = self.peek()?.start;
                self.expect(',', "", "")?;
                if matches!(self.peek()?.kind, Kind::Mark(')' | ',')) {
                    return self.fail(comma, "trailing commas not allowed in function call args");
                }
            }
            let (arg, depth) = self.expression(0)?;
            deepest = deepest.max(depth);
            args.push(arg);
        }
        Ok((args, deepest))
    }

    #[inline(never)]
    fn aggregate(&mut self, op: crate::AggregateOp, start: usize) -> Parsed<(Expr, usize)> {
        let mut grouping = self.grouping()?;
        let (mut args, depth) = self.arguments()?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        let wanted = 1 + usize::from(op.has_param());
        if args.is_empty() {
            return self.fail(start, "no arguments for aggregate expression provided");
        }
        if op.is_experimental() && !self.syntax.functions {
            let flag = "--enable-feature=promql-experimental-functions";
            return self.fail(start, format!("{}() is experimental and must be enabled with {flag}", op.as_str()));
        }
        let (Some(expr), true) = (args.pop(), args.len() + 1 == wanted) else {
            let got = args.len() + 1;
            let message = format!("wrong number of arguments for aggregate expression provided, expected {wanted}, got {got}");
            return self.fail(start, message);
        };
        let depth = self.deeper(depth, start)?;
        let param = args.pop().map(Box::new);
        let node = Node::Aggregate { op, expr: Box::new(expr), param, grouping: grouping.unwrap_or_default() };
        Ok((Expr::new(node, start), depth))
    }

    fn grouping(&mut self) -> Parsed<Option<Grouping>> {
        let without = match self.peek()?.kind {
            Kind::Keyword(Keyword::By) => false,
            Kind::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.advance()?;
        Ok(Some(Grouping { without, labels: self.label_names()? }))
    }

    fn label_names(&mut self) -> Parsed<Vec<String>> {
        const CONTEXT: &str = "grouping opts";
        self.expect('(', CONTEXT, "\"(\"")?;
        let mut names = Vec::new();
        while !self.eat(Kind::Mark(')'))? {
            if !names.is_empty() {
                self.expect(',', CONTEXT, "\",\" or \")\"")?;
                if self.eat(Kind::Mark(')'))? {
                    break;
                }
            }
            let token = self.peek()?;
            let text = self.lexer.text(token);
            match token.kind {
                Kind::Identifier | Kind::Aggregation(_) | Kind::Keyword(_) => names.push(text.to_owned()),
                Kind::Operator(op) if op.is_set() || op == BinaryOp::Atan2 => names.push(text.to_owned()),
                Kind::Text if !unquote(text).is_empty() => names.push(unquote(text).into_owned()),
                _ => return self.unexpected(CONTEXT, "label"),
            }
            self.advance()?;
        }
        Ok(names)
    }
}

#[inline(never)]
fn joined(left: Expr, right: Expr, op: BinaryOp, op_start: usize, returns_bool: bool, matching: Matching) -> Expr {
    let start = left.start;
    Expr::new(Node::Binary(Box::new(Binary { op, op_start, left, right, returns_bool, matching })), start)
}

/// `%.10q...` of long texts.
fn short(text: &str) -> String {
    match text.char_indices().nth(10) {
        Some((end, _)) if text.len() > 10 => format!("{:?}...", &text[..end]),
        _ => format!("{text:?}"),
    }
}

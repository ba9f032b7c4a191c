//! Tokens to an expression: a Pratt parser after `promql/parser/generated_parser.y` of Prometheus 3.

use store::{LabelMatcher, MatchOp};

use crate::ast::{AggregateOp, At, Binary, BinaryOp, Expr, Grouping, Matching, Node, Selector, Shift, Side, Type};
use crate::functions;
use crate::lexer::{Spanned, Token, lex};
use crate::{ParseError, check};

/// Longest query that is read, bytes.
pub const MAX_QUERY: usize = 256 << 10;
/// Deepest nesting of an expression.
const MAX_DEPTH: usize = 128;

/// Reads a query and checks its types.
///
/// # Errors
/// [`ParseError`] with the position of what is wrong.
pub fn parse(query: &str) -> Result<Expr, ParseError> {
    if query.len() > MAX_QUERY {
        return Err(ParseError::at(query, 0, format!("the query is longer than {MAX_QUERY} bytes")));
    }
    let tokens = lex(query)?;
    if matches!(tokens.first(), Some(t) if t.token == Token::End) {
        return Err(ParseError::at(query, 0, "no expression found in input"));
    }
    let mut parser = Parser { query, tokens, at: 0, depth: 0 };
    let (expr, _) = parser.expression(0)?;
    if parser.peek().token != Token::End {
        return parser.unexpected("");
    }
    check::types(query, &expr)?;
    Ok(expr)
}

/// Reads a series selector alone, as `match[]` has it.
///
/// # Errors
/// [`ParseError`], also for any other expression and for `offset` and `@`.
pub fn parse_selector(query: &str) -> Result<Vec<LabelMatcher>, ParseError> {
    let expr = parse(query)?;
    match expr.node {
        Node::Selector(s) if s.shift == Shift::default() => Ok(s.matchers),
        _ => Err(ParseError::at(query, expr.start, "expected a series selector")),
    }
}

struct Parser<'q> {
    query: &'q str,
    tokens: Vec<Spanned>,
    at: usize,
    depth: usize,
}

type Parsed<T> = Result<T, ParseError>;

impl Parser<'_> {
    fn peek(&self) -> &Spanned {
        // `lex` ends with `End`, which is never passed.
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn advance(&mut self) -> Spanned {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn eat(&mut self, mark: char) -> bool {
        let found = self.peek().token == Token::Mark(mark);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, mark: char, context: &str) -> Parsed<()> {
        if self.eat(mark) { Ok(()) } else { self.unexpected(&format!(" in {context}, expected \"{mark}\"")) }
    }

    fn fail<T>(&self, at: usize, message: impl Into<String>) -> Parsed<T> {
        Err(ParseError::at(self.query, at, message))
    }

    fn unexpected<T>(&self, rest: &str) -> Parsed<T> {
        let found = self.peek();
        self.fail(found.start, format!("unexpected {}{rest}", found.token.name()))
    }

    /// The word here, where it is one of `words` in either case.
    fn eat_word(&mut self, words: &[&'static str]) -> Option<&'static str> {
        let Token::Word(w) = &self.peek().token else { return None };
        let found = words.iter().find(|word| word.eq_ignore_ascii_case(w)).copied();
        self.at += usize::from(found.is_some());
        found
    }

    fn binary_op(&self) -> Option<BinaryOp> {
        match &self.peek().token {
            Token::Operator(o) => BinaryOp::parse(o),
            Token::Word(w) => BinaryOp::parse(w),
            _ => None,
        }
    }

    /// An expression whose operators bind tighter than `floor`, and how deep it is.
    fn expression(&mut self, floor: u8) -> Parsed<(Expr, usize)> {
        self.depth = self.deeper(self.depth, self.peek().start)?;
        let result = self.operators(floor);
        self.depth -= 1;
        result
    }

    fn operators(&mut self, floor: u8) -> Parsed<(Expr, usize)> {
        let (mut left, mut depth) = self.unary()?;
        while let Some(op) = self.binary_op().filter(|op| op.precedence() > floor) {
            let op_at = self.advance().start;
            let (returns_bool, matching, matched) = self.modifiers(op)?;
            // `^` groups from the right.
            let right_floor = op.precedence() - u8::from(op == BinaryOp::Pow);
            let (right, right_depth) = self.expression(right_floor)?;
            depth = self.deeper(depth.max(right_depth), op_at)?;
            check::binary(self.query, op, op_at, &left, &right, returns_bool, matched)?;
            let start = left.start;
            left = Expr { node: Node::Binary(Box::new(Binary { op, left, right, returns_bool, matching })), start };
        }
        Ok((left, depth))
    }

    fn deeper(&self, depth: usize, at: usize) -> Parsed<usize> {
        if depth >= MAX_DEPTH {
            return self.fail(at, format!("the expression is nested deeper than {MAX_DEPTH} levels"));
        }
        Ok(depth + 1)
    }

    /// `bool`, `on`, `ignoring`, `group_left`, `group_right`; says where a matching was written.
    fn modifiers(&mut self, op: BinaryOp) -> Parsed<(bool, Matching, Option<usize>)> {
        let at = self.peek().start;
        let returns_bool = self.eat_word(&["bool"]).is_some();
        if returns_bool && !op.is_comparison() {
            return self.fail(at, "bool modifier can only be used on comparison operators");
        }
        let mut matching = Matching::default();
        let at = self.peek().start;
        let Some(word) = self.eat_word(&["on", "ignoring"]) else { return Ok((returns_bool, matching, None)) };
        matching.on = word == "on";
        matching.labels = self.label_names()?;
        let group_at = self.peek().start;
        if let Some(group) = self.eat_word(&["group_left", "group_right"]) {
            if op.is_set() {
                return self.fail(group_at, format!("no grouping allowed for {:?} operation", op.as_str()));
            }
            matching.many = Some(if group == "group_left" { Side::Left } else { Side::Right });
            if self.peek().token == Token::Mark('(') {
                matching.include = self.label_names()?;
            }
            if matching.on
                && let Some(label) = matching.include.iter().find(|l| matching.labels.contains(l))
            {
                return self.fail(group_at, format!("label {label:?} must not occur in ON and GROUP clause at once"));
            }
        }
        Ok((returns_bool, matching, Some(at)))
    }

    fn unary(&mut self) -> Parsed<(Expr, usize)> {
        let start = self.peek().start;
        let sign = match self.peek().token {
            Token::Operator("-") => true,
            Token::Operator("+") => false,
            _ => return self.postfixed(),
        };
        self.advance();
        // Binds like `*`: `-a ^ b` is `-(a ^ b)`, `-a * b` is `(-a) * b`.
        let (expr, depth) = self.expression(BinaryOp::Mul.precedence())?;
        let depth = self.deeper(depth, start)?;
        if !matches!(expr.value_type(), Type::Scalar | Type::Vector) {
            let got = expr.value_type().as_str();
            return self.fail(
                start,
                format!("unary expression only allowed on expressions of type scalar or instant vector, got {got:?}"),
            );
        }
        let node = match (sign, expr.node) {
            (true, Node::Number(n)) => Node::Number(-n),
            (false, node) => node,
            (true, node) => Node::Negate(Box::new(Expr { node, start: expr.start })),
        };
        Ok((Expr { node, start }, depth))
    }

    /// An operand and its `[range]`, `offset`, `@`.
    fn postfixed(&mut self) -> Parsed<(Expr, usize)> {
        let start = self.peek().start;
        let (mut expr, mut depth) = self.primary()?;
        loop {
            if self.peek().token == Token::Mark('[') {
                depth = self.deeper(depth, start)?;
                expr = self.range(expr)?;
            } else if let Some(word) = self.eat_word(&["offset", "anchored", "smoothed", "fill", "fill_left", "fill_right"]) {
                if word != "offset" {
                    return self.fail(self.tokens[self.at - 1].start, format!("{word} is experimental and not supported yet"));
                }
                let offset = self.signed_duration()?;
                let shift = self.shift_of(&mut expr)?;
                if shift.has_offset {
                    return self.fail(start, "offset may not be set multiple times");
                }
                shift.offset_ms = offset;
                shift.has_offset = true;
            } else if self.eat('@') {
                let at = self.at_time()?;
                let shift = self.shift_of(&mut expr)?;
                if shift.at.is_some() {
                    return self.fail(start, "@ <timestamp> may not be set multiple times");
                }
                shift.at = Some(at);
            } else {
                return Ok((expr, depth));
            }
        }
    }

    fn shift_of<'e>(&self, expr: &'e mut Expr) -> Parsed<&'e mut Shift> {
        let start = expr.start;
        match &mut expr.node {
            Node::Selector(s) | Node::Range { selector: s, .. } => Ok(&mut s.shift),
            Node::Subquery { shift, .. } => Ok(shift),
            _ => self.fail(
                start,
                "offset and @ modifiers must be preceded by an instant vector selector or range vector selector or a subquery",
            ),
        }
    }

    /// `[5m]` or `[5m:1m]` after `expr`.
    fn range(&mut self, expr: Expr) -> Parsed<Expr> {
        let bracket = self.advance().start;
        let range_at = self.peek().start;
        let range_ms = self.duration(true)?;
        if range_ms <= 0 {
            return self.fail(range_at, "duration must be greater than 0");
        }
        let start = expr.start;
        if self.eat(':') {
            let step_ms = match self.peek().token {
                Token::Mark(']') => None,
                _ => Some(self.duration(true)?),
            };
            if step_ms.is_some_and(|s| s <= 0) {
                return self.fail(range_at, "duration must be greater than 0");
            }
            self.expect(']', "subquery selector")?;
            if expr.value_type() != Type::Vector && expr.value_type() != Type::Scalar {
                let got = expr.value_type().as_str();
                return self.fail(start, format!("subquery is only allowed on instant vector, got {got} instead"));
            }
            let node = Node::Subquery { expr: Box::new(expr), range_ms, step_ms, shift: Shift::default() };
            return Ok(Expr { node, start });
        }
        self.expect(']', "subquery or range selector")?;
        match expr.node {
            Node::Selector(s) if s.shift.has_offset => self.fail(bracket, "no offset modifiers allowed before range"),
            Node::Selector(s) if s.shift.at.is_some() => self.fail(bracket, "no @ modifiers allowed before range"),
            Node::Selector(selector) => Ok(Expr { node: Node::Range { selector, range_ms }, start }),
            _ => self.fail(bracket, "ranges only allowed for vector selectors"),
        }
    }

    /// `5m`, or seconds as a number.
    fn duration(&mut self, bracketed: bool) -> Parsed<i64> {
        let at = self.peek().start;
        let ms = match self.peek().token {
            Token::Duration(ms) => ms,
            Token::Number(seconds) => self.milliseconds(seconds, at, "duration out of range")?,
            Token::Mark('(') | Token::Operator("-" | "+") => {
                return self.fail(at, "duration expressions are experimental and not supported yet");
            }
            Token::Word(ref w) if w == "step" || w == "range" || w == "min" || w == "max" => {
                return self.fail(at, "duration expressions are experimental and not supported yet");
            }
            _ => return self.unexpected(" in duration, expected number, duration, or step()"),
        };
        self.advance();
        if let Token::Operator("+" | "-" | "*" | "/" | "%" | "^") = self.peek().token
            && self.tokens.get(self.at + 1).is_some_and(|t| matches!(t.token, Token::Number(_) | Token::Duration(_)))
            && bracketed
        {
            return self.fail(self.peek().start, "duration expressions are experimental and not supported yet");
        }
        Ok(ms)
    }

    fn milliseconds(&self, seconds: f64, at: usize, problem: &str) -> Parsed<i64> {
        let ms = (seconds * 1000.0).round();
        // Within what nanoseconds of 64 bits can say.
        if ms.is_finite() && ms.abs() < 9.2e12 { Ok(ms as i64) } else { self.fail(at, problem) }
    }

    fn sign(&mut self) -> i64 {
        match self.peek().token {
            Token::Operator("-") => {
                self.at += 1;
                -1
            }
            Token::Operator("+") => {
                self.at += 1;
                1
            }
            _ => 1,
        }
    }

    fn signed_duration(&mut self) -> Parsed<i64> {
        let sign = self.sign();
        if !matches!(self.peek().token, Token::Number(_) | Token::Duration(_)) {
            return self.unexpected(" in offset, expected number, duration, or step()");
        }
        Ok(sign * self.duration(false)?)
    }

    fn at_time(&mut self) -> Parsed<At> {
        let start = self.peek().start;
        let negative = self.sign() < 0;
        let seconds = match self.peek().token.clone() {
            Token::Number(n) => n,
            Token::Duration(ms) => ms as f64 / 1000.0,
            Token::Word(w) if !negative && (w == "start" || w == "end") => {
                self.advance();
                self.expect('(', "@")?;
                self.expect(')', "@")?;
                return Ok(if w == "start" { At::Start } else { At::End });
            }
            Token::Word(w) if w.eq_ignore_ascii_case("inf") => f64::INFINITY,
            Token::Word(w) if w.eq_ignore_ascii_case("nan") => f64::NAN,
            _ => return self.unexpected(" in @, expected timestamp"),
        };
        self.advance();
        let seconds = if negative { -seconds } else { seconds };
        let problem = format!("timestamp out of bounds for @ modifier: {seconds}");
        let ms = (seconds * 1000.0).round();
        if !ms.is_finite() || ms.abs() >= 9.2e18 {
            return self.fail(start, problem);
        }
        Ok(At::Time(ms as i64))
    }

    fn primary(&mut self) -> Parsed<(Expr, usize)> {
        let Spanned { token, start, .. } = self.peek().clone();
        let leaf = |node| Ok((Expr { node, start }, 1));
        match token {
            Token::Number(n) => {
                self.advance();
                leaf(Node::Number(n))
            }
            Token::Duration(ms) => {
                self.advance();
                leaf(Node::Number(ms as f64 / 1000.0))
            }
            Token::Text(text) => {
                self.advance();
                leaf(Node::Text(text))
            }
            Token::Mark('(') => {
                self.advance();
                let (inner, depth) = self.expression(0)?;
                self.expect(')', "paren expression")?;
                let depth = self.deeper(depth, start)?;
                Ok((Expr { node: Node::Paren(Box::new(inner)), start }, depth))
            }
            Token::Mark('{') => leaf(Node::Selector(self.selector(None)?)),
            Token::Word(word) => self.word(word, start),
            _ => self.unexpected(""),
        }
    }

    fn word(&mut self, word: String, start: usize) -> Parsed<(Expr, usize)> {
        self.advance();
        let opens = self.peek().token == Token::Mark('(');
        if let Some(op) = AggregateOp::parse(&word) {
            let grouping_follows = matches!(&self.peek().token, Token::Word(w)
                if w.eq_ignore_ascii_case("by") || w.eq_ignore_ascii_case("without"))
                && self.tokens.get(self.at + 1).is_some_and(|t| t.token == Token::Mark('('));
            if opens || grouping_follows {
                return self.aggregate(op, start);
            }
        }
        if opens {
            return self.call(&word, start);
        }
        if word.eq_ignore_ascii_case("inf") {
            return Ok((Expr { node: Node::Number(f64::INFINITY), start }, 1));
        }
        if word.eq_ignore_ascii_case("nan") {
            return Ok((Expr { node: Node::Number(f64::NAN), start }, 1));
        }
        if ["on", "ignoring", "group_left", "group_right", "bool"].iter().any(|k| k.eq_ignore_ascii_case(&word)) {
            return self.fail(start, format!("unexpected <{}>", word.to_lowercase()));
        }
        let selector = self.selector(Some((word, start)))?;
        Ok((Expr { node: Node::Selector(selector), start }, 1))
    }

    fn call(&mut self, name: &str, start: usize) -> Parsed<(Expr, usize)> {
        let Some(function) = functions::find(name) else {
            return self.fail(start, format!("unknown function with name {name:?}"));
        };
        self.advance();
        let (args, depth) = self.arguments("function call")?;
        check::arity(self.query, function, start, args.len())?;
        let depth = self.deeper(depth, start)?;
        Ok((Expr { node: Node::Call { function, args }, start }, depth))
    }

    /// Arguments up to and with the closing parenthesis; the opening one is read.
    fn arguments(&mut self, context: &str) -> Parsed<(Vec<Expr>, usize)> {
        let mut args = Vec::new();
        let mut deepest = 1;
        while !self.eat(')') {
            if !args.is_empty() {
                self.expect(',', context)?;
                if self.peek().token == Token::Mark(')') {
                    return self.fail(self.peek().start, format!("trailing commas not allowed in {context} args"));
                }
            }
            let (arg, depth) = self.expression(0)?;
            deepest = deepest.max(depth);
            args.push(arg);
        }
        Ok((args, deepest))
    }

    fn aggregate(&mut self, op: AggregateOp, start: usize) -> Parsed<(Expr, usize)> {
        let mut grouping = self.grouping()?;
        self.expect('(', "aggregation")?;
        let (mut args, depth) = self.arguments("aggregation")?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        let wanted = 1 + usize::from(op.has_param());
        if args.is_empty() {
            return self.fail(start, "no arguments for aggregate expression provided");
        }
        if args.len() != wanted {
            let message =
                format!("wrong number of arguments for aggregate expression provided, expected {wanted}, got {}", args.len());
            return self.fail(start, message);
        }
        let depth = self.deeper(depth, start)?;
        let Some(expr) = args.pop().map(Box::new) else {
            return self.fail(start, "no arguments for aggregate expression provided");
        };
        let param = args.pop().map(Box::new);
        let node = Node::Aggregate { op, expr, param, grouping: grouping.unwrap_or_default() };
        Ok((Expr { node, start }, depth))
    }

    fn grouping(&mut self) -> Parsed<Option<Grouping>> {
        let Some(word) = self.eat_word(&["by", "without"]) else { return Ok(None) };
        Ok(Some(Grouping { without: word == "without", labels: self.label_names()? }))
    }

    fn label_names(&mut self) -> Parsed<Vec<String>> {
        self.expect('(', "grouping opts")?;
        let mut names = Vec::new();
        while !self.eat(')') {
            if !names.is_empty() {
                self.expect(',', "grouping opts")?;
                if self.eat(')') {
                    break;
                }
            }
            let Spanned { token, start, .. } = self.advance();
            match token {
                Token::Word(w) if !w.contains(':') => names.push(w),
                Token::Text(t) if !t.is_empty() => names.push(t),
                other => return self.fail(start, format!("unexpected {} in grouping opts, expected label", other.name())),
            }
        }
        Ok(names)
    }

    /// What follows a metric name, or starts with `{`.
    fn selector(&mut self, name: Option<(String, usize)>) -> Parsed<Selector> {
        let start = name.as_ref().map_or(self.peek().start, |(_, at)| *at);
        let outside = name.is_some();
        let mut metric = name.map(|(name, _)| name);
        let mut matchers = Vec::new();
        if self.eat('{') {
            let mut first = true;
            while !self.eat('}') {
                if !first {
                    if !self.eat(',') {
                        return self.unexpected(" in label matching, expected \",\" or \"}\"");
                    }
                    if self.eat('}') {
                        break;
                    }
                }
                first = false;
                self.matcher(&mut metric, &mut matchers)?;
            }
        }
        if let Some(name) = metric {
            if let Some(other) = matchers.iter().find(|m: &&LabelMatcher| outside && m.name == "__name__" && m.op == MatchOp::Eq)
            {
                let message = format!("metric name must not be set twice: {name:?} or {:?}", other.value);
                return self.fail(start, message);
            }
            matchers.insert(0, self.compile("__name__", MatchOp::Eq, &name, start)?);
        }
        if matchers.iter().all(|m| m.matches("")) {
            return self.fail(start, "vector selector must contain at least one non-empty matcher");
        }
        Ok(Selector { matchers, shift: Shift::default() })
    }

    /// `label="value"`, or a quoted metric name.
    fn matcher(&mut self, metric: &mut Option<String>, matchers: &mut Vec<LabelMatcher>) -> Parsed<()> {
        let Spanned { token, start, .. } = self.advance();
        let name = match token {
            Token::Word(w) if !w.contains(':') => w,
            Token::Text(name) if matches!(self.peek().token, Token::Mark(',' | '}')) => {
                if let Some(other) = metric {
                    return self.fail(start, format!("metric name must not be set twice: {other:?} or {name:?}"));
                }
                *metric = Some(name);
                return Ok(());
            }
            Token::Text(name) if !name.is_empty() => name,
            other => {
                return self.fail(start, format!("unexpected {} in label matching, expected label name or \"}}\"", other.name()));
            }
        };
        let op = match self.peek().token {
            Token::Operator("=") => MatchOp::Eq,
            Token::Operator("!=") => MatchOp::Ne,
            Token::Operator("=~") => MatchOp::Re,
            Token::Operator("!~") => MatchOp::NotRe,
            _ => return self.unexpected(" in label matching, expected one of: =, !=, =~, !~"),
        };
        self.advance();
        let Token::Text(value) = self.peek().token.clone() else {
            return self.unexpected(" in label matching, expected string");
        };
        let value_at = self.advance().start;
        matchers.push(self.compile(&name, op, &value, value_at)?);
        Ok(())
    }

    fn compile(&self, name: &str, op: MatchOp, value: &str, at: usize) -> Parsed<LabelMatcher> {
        LabelMatcher::new(name, op, value)
            .map_err(|e| ParseError::at(self.query, at, format!("error parsing regexp: {}", reason(&e))))
    }
}

/// What is wrong with a pattern, without the picture that `regex` draws.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    text.rsplit("error: ").next().unwrap_or(&text).to_owned()
}

//! Metric queries.

use super::{Parsed, Parser};
use crate::ParseError;
use crate::ast::{
    AggregateOp, Binary, BinaryOp, Cardinality, Conversion, Expr, Grouping, LabelFilter, LabelReplace, LogQuery, Matching,
    RangeAggregation, RangeOp, Unwrap, Variants, VectorAggregation,
};
use crate::lexer::Token;
use crate::units::parse_float;

/// What `[5m] offset 1m` and its surroundings say.
struct Lines {
    log: LogQuery,
    unwrap: Option<Unwrap>,
    range_ns: i64,
    offset_ns: i64,
}

impl Parser {
    /// An expression whose operators bind tighter than `least`.
    pub(super) fn expr(&mut self, least: u8) -> Parsed<Expr> {
        self.deeper()?;
        let mut left = self.operand()?;
        while let Some(op) = self.binary_op() {
            let precedence = op.precedence();
            if precedence <= least {
                break;
            }
            self.operator()?;
            self.advance();
            let (returns_bool, matching) = self.modifier()?;
            // `^` binds to the right.
            let right = self.expr(if op == BinaryOp::Pow { precedence - 1 } else { precedence })?;
            left = binary(op, returns_bool, matching, left, right)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    fn binary_op(&self) -> Option<BinaryOp> {
        let (Token::Mark(text) | Token::Keyword(text)) = self.token() else { return None };
        BinaryOp::SPELLINGS.iter().find(|(spelling, _)| spelling == text).map(|(_, op)| *op)
    }

    fn modifier(&mut self) -> Parsed<(bool, Matching)> {
        let returns_bool = self.eat_keyword("bool");
        let mut matching = Matching::default();
        if !self.is_keyword("on") && !self.is_keyword("ignoring") {
            return Ok((returns_bool, matching));
        }
        matching.on = self.is_keyword("on");
        self.advance();
        self.expect("(", "(")?;
        matching.labels = self.labels()?;
        if self.is_keyword("group_left") || self.is_keyword("group_right") {
            matching.cardinality = if self.is_keyword("group_left") { Cardinality::ManyToOne } else { Cardinality::OneToMany };
            self.advance();
            if self.eat("(") {
                matching.include = self.labels()?;
            }
        }
        Ok((returns_bool, matching))
    }

    /// Label names up to `)`.
    fn labels(&mut self) -> Parsed<Vec<String>> {
        let mut labels = Vec::new();
        if self.eat(")") {
            return Ok(labels);
        }
        labels.push(self.identifier("IDENTIFIER or )")?);
        while !self.eat(")") {
            self.expect(",", ", or )")?;
            labels.push(self.identifier("IDENTIFIER")?);
        }
        Ok(labels)
    }

    fn operand(&mut self) -> Parsed<Expr> {
        match self.token().clone() {
            Token::Mark("{") => {
                let matchers = self.selector()?;
                Ok(Expr::Log(LogQuery { matchers, stages: self.stages(false)? }))
            }
            Token::Mark("(") => {
                self.advance();
                let inner = self.expr(0)?;
                self.expect(")", "")?;
                Ok(inner)
            }
            Token::Number(_) | Token::Mark("+" | "-") => Ok(Expr::Number(self.literal()?)),
            Token::Function("vector") => {
                self.advance();
                self.expect("(", "(")?;
                let Token::Number(number) = self.token().clone() else { return self.unexpected("NUMBER") };
                self.advance();
                self.expect(")", ")")?;
                let value = parse_float(&number)
                    .map_err(|e| ParseError::anywhere(format!("unable to parse vectorExpr as a float: {e}")))?;
                Ok(Expr::Vector(value))
            }
            Token::Function("label_replace") => self.label_replace(),
            Token::Keyword("variants") => self.variants(),
            Token::Function(name) => {
                if let Some((_, op)) = RangeOp::SPELLINGS.iter().find(|(text, _)| *text == name) {
                    return self.range_aggregation(*op);
                }
                if let Some((_, op)) = AggregateOp::SPELLINGS.iter().find(|(text, _)| *text == name) {
                    return self.aggregation(*op);
                }
                self.unexpected("")
            }
            _ => self.unexpected(""),
        }
    }

    pub(super) fn literal(&mut self) -> Parsed<f64> {
        let negative = self.is_mark("-");
        if negative || self.is_mark("+") {
            self.advance();
        }
        let Token::Number(text) = self.token().clone() else { return self.unexpected("NUMBER") };
        self.advance();
        let value = parse_float(&text).map_err(|e| ParseError::anywhere(format!("unable to parse literal as a float: {e}")))?;
        Ok(if negative { -value } else { value })
    }

    fn range_aggregation(&mut self, op: RangeOp) -> Parsed<Expr> {
        self.advance();
        self.expect("(", "(")?;
        let mut parameter = None;
        if let Token::Number(text) = self.token().clone() {
            self.advance();
            self.expect(",", ",")?;
            parameter = Some(text);
        } else if !self.is_mark("{") && !self.is_mark("(") {
            return self.unexpected("NUMBER or { or (");
        }
        let lines = self.lines()?;
        self.expect(")", ")")?;
        let grouping = self.grouping()?;
        let parameter = match parameter {
            Some(text) if op == RangeOp::Quantile => Some(
                parse_float(&text)
                    .map_err(|e| ParseError::anywhere(format!("invalid parameter for operation {}: {e}", op.as_str())))?,
            ),
            Some(text) => {
                let message = format!("parameter {text} not supported for operation {}", op.as_str());
                return Err(ParseError::anywhere(message));
            }
            None if op == RangeOp::Quantile => {
                return Err(ParseError::anywhere(format!("parameter required for operation {}", op.as_str())));
            }
            None => None,
        };
        let Lines { log, unwrap, range_ns, offset_ns } = lines;
        Ok(Expr::Range(Box::new(RangeAggregation { op, parameter, log, unwrap, range_ns, offset_ns, grouping })))
    }

    /// A selector with its pipeline and its range, in any of the orders that Loki takes.
    fn lines(&mut self) -> Parsed<Lines> {
        self.deeper()?;
        let lines = self.lines_here();
        self.depth -= 1;
        lines
    }

    fn lines_here(&mut self) -> Parsed<Lines> {
        let mut unwrap = None;
        if self.eat("(") {
            if self.is_mark("(") {
                let inner = self.lines()?;
                self.expect(")", ")")?;
                return Ok(inner);
            }
            let log = LogQuery { matchers: self.selector()?, stages: self.stages(true)? };
            if self.unwrap_follows() {
                unwrap = Some(self.unwrap()?);
            }
            if matches!(self.token(), Token::Range(_)) {
                // The parentheses hold the range as well.
                let lines = self.ranged(log, unwrap)?;
                self.expect(")", ")")?;
                return Ok(lines);
            }
            self.expect(")", "")?;
            if !matches!(self.token(), Token::Range(_)) {
                return self.unexpected("RANGE");
            }
            return self.ranged(log, unwrap);
        }
        let matchers = match self.is_mark("{") {
            true => self.selector()?,
            false => return self.unexpected("{ or ("),
        };
        let log = LogQuery { matchers, stages: self.stages(true)? };
        if self.unwrap_follows() {
            unwrap = Some(self.unwrap()?);
        }
        self.ranged(log, unwrap)
    }

    /// The range, its offset, and a pipeline that stands behind them.
    fn ranged(&mut self, mut log: LogQuery, mut unwrap: Option<Unwrap>) -> Parsed<Lines> {
        let Token::Range(range_ns) = *self.token() else {
            return self.unexpected(if unwrap.is_some() { "RANGE or |" } else { "" });
        };
        self.advance();
        let mut offset_ns = 0;
        if self.eat_keyword("offset") {
            let Token::Duration(ns) = *self.token() else { return self.unexpected("DURATION") };
            self.advance();
            offset_ns = ns;
        }
        if log.stages.is_empty() && unwrap.is_none() {
            log.stages = self.stages(true)?;
            if self.unwrap_follows() {
                unwrap = Some(self.unwrap()?);
            }
        }
        Ok(Lines { log, unwrap, range_ns, offset_ns })
    }

    fn unwrap(&mut self) -> Parsed<Unwrap> {
        self.advance();
        self.advance();
        let conversion = match self.token() {
            Token::Function("bytes") => Conversion::Bytes,
            Token::Function("duration") => Conversion::Duration,
            Token::Function("duration_seconds") => Conversion::DurationSeconds,
            _ => Conversion::None,
        };
        let label = if conversion == Conversion::None {
            self.identifier("IDENTIFIER or BYTES_CONV or DURATION_CONV or DURATION_SECONDS_CONV")?
        } else {
            self.advance();
            self.expect("(", "(")?;
            let label = self.identifier("IDENTIFIER")?;
            self.expect(")", ")")?;
            label
        };
        let mut filters: Vec<LabelFilter> = Vec::new();
        while self.eat("|") {
            filters.push(self.label_filter()?);
        }
        Ok(Unwrap { label, conversion, filters })
    }

    fn grouping(&mut self) -> Parsed<Option<Grouping>> {
        let without = self.is_keyword("without");
        if !without && !self.is_keyword("by") {
            return Ok(None);
        }
        self.advance();
        self.expect("(", "(")?;
        Ok(Some(Grouping { without, labels: self.labels()? }))
    }

    fn aggregation(&mut self, op: AggregateOp) -> Parsed<Expr> {
        self.advance();
        let before = self.grouping()?;
        self.expect("(", "( or by or without")?;
        let mut parameter = None;
        if let (Token::Number(text), Some(Token::Mark(","))) =
            (self.token().clone(), self.tokens.get(self.at + 1).map(|t| &t.token))
        {
            self.advance();
            self.advance();
            parameter = Some(text);
        }
        let expr = self.metric_operand()?;
        self.expect(")", "")?;
        let grouping = match before {
            Some(grouping) => Some(grouping),
            None => self.grouping()?,
        };
        let name = op.as_str();
        let bad = |message: String| Err(ParseError::anywhere(message));
        let parameter = match parameter {
            None if op.takes_parameter() => return bad(format!("parameter required for operation {name}")),
            None => None,
            Some(text) if !op.takes_parameter() => return bad(format!("unsupported parameter for operation {name}({text},")),
            Some(text) => match text.parse::<i64>() {
                Err(_) => return bad(format!("invalid parameter {name}({text},")),
                Ok(k) if k <= 0 => return bad(format!("invalid parameter (must be greater than 0) {name}({text}")),
                Ok(k) => Some(usize::try_from(k).unwrap_or(usize::MAX)),
            },
        };
        if op == AggregateOp::ApproxTopK && grouping.is_some() {
            return bad(format!("grouping not allowed for {name} aggregation"));
        }
        if matches!(op, AggregateOp::Sort | AggregateOp::SortDesc) && grouping.as_ref().is_some_and(|g| !g.labels.is_empty()) {
            return bad("sort and sort_desc doesn't allow grouping by ".to_owned());
        }
        Ok(Expr::Aggregate(Box::new(VectorAggregation { op, parameter, expr, grouping: grouping.unwrap_or_default() })))
    }

    /// An operand that must have series: a log query ends with the token behind it.
    fn metric_operand(&mut self) -> Parsed<Expr> {
        let expr = self.expr(0)?;
        if matches!(expr, Expr::Log(_) | Expr::Variants(_)) {
            return self.unexpected("");
        }
        Ok(expr)
    }

    fn label_replace(&mut self) -> Parsed<Expr> {
        self.advance();
        self.expect("(", "(")?;
        let expr = self.metric_operand()?;
        let mut texts = Vec::with_capacity(4);
        for i in 0..4 {
            self.expect(",", if i == 0 { "" } else { "," })?;
            texts.push(self.string("STRING")?);
        }
        self.expect(")", ")")?;
        let mut texts = texts.into_iter();
        let mut next = || texts.next().unwrap_or_default();
        let (destination, replacement, source, regex) = (next(), next(), next(), next());
        regex::Regex::new(&format!("^(?:{})$", syntax::go_pattern(&regex))).map_err(|e| {
            let said = syntax::go_regexp_error(&regex, &e.to_string());
            ParseError::anywhere(format!("invalid regex in label_replace: {said}"))
        })?;
        Ok(Expr::LabelReplace(Box::new(LabelReplace { expr, destination, replacement, source, regex })))
    }

    fn variants(&mut self) -> Parsed<Expr> {
        self.advance();
        self.expect("(", "(")?;
        let mut variants = vec![self.metric_operand()?];
        while self.eat(",") {
            variants.push(self.metric_operand()?);
        }
        self.expect(")", "")?;
        if !self.eat_keyword("of") {
            return self.unexpected("of");
        }
        self.expect("(", "(")?;
        if !self.is_mark("{") && !self.is_mark("(") {
            return self.unexpected("{ or (");
        }
        let Lines { log, unwrap, range_ns, offset_ns } = self.lines()?;
        self.expect(")", ")")?;
        Ok(Expr::Variants(Box::new(Variants { variants, lines: log, unwrap, range_ns, offset_ns })))
    }
}

/// Checks and folds an operation.
fn binary(op: BinaryOp, returns_bool: bool, matching: Matching, left: Expr, right: Expr) -> Parsed<Expr> {
    let name = op.as_str();
    for (side, expr) in [("left", &left), ("right", &right)] {
        let kind = match expr {
            Expr::Log(log) if log.stages.is_empty() => "*syntax.MatchersExpr",
            Expr::Log(_) => "*syntax.PipelineExpr",
            Expr::Variants(_) => "*syntax.MultiVariantExpr",
            _ => continue,
        };
        let message = format!("unexpected type for {side} leg of binary operation ({name}): {kind}");
        return Err(ParseError::anywhere(message));
    }
    if op.is_set() {
        for (side, expr) in [("left", &left), ("right", &right)] {
            if let Expr::Number(n) = expr {
                let message = format!("unexpected literal for {side} leg of logical/set binary operation ({name}): {n:.6}");
                return Err(ParseError::anywhere(message));
            }
        }
    }
    if let (Expr::Number(l), Expr::Number(r)) = (&left, &right) {
        return Ok(Expr::Number(op.compute(*l, *r)));
    }
    Ok(Expr::Binary(Box::new(Binary { op, left, right, returns_bool, matching })))
}

/// What a range aggregation may be made of.
pub(super) fn check_range(range: &RangeAggregation) -> Parsed<()> {
    use RangeOp::{
        Absent, Avg, Bytes, BytesRate, Count, First, Last, Max, Min, Quantile, Rate, RateCounter, Stddev, Stdvar, Sum,
    };
    let name = range.op.as_str();
    let bad = |message: String| Err(ParseError::anywhere(message));
    let groups = matches!(range.op, Avg | Stddev | Stdvar | Quantile | Max | Min | First | Last);
    if range.grouping.is_some() && !groups {
        return bad(format!("grouping not allowed for {name} aggregation"));
    }
    match range.op {
        Avg | Sum | Max | Min | Stddev | Stdvar | Quantile | RateCounter | Absent | First | Last | Rate
            if range.unwrap.is_some() =>
        {
            Ok(())
        }
        Bytes | BytesRate | Count | Rate | Absent if range.unwrap.is_none() => Ok(()),
        _ if range.unwrap.is_some() => bad(format!("invalid aggregation {name} with unwrap")),
        _ => bad(format!("invalid aggregation {name} without unwrap")),
    }
}

//! Pipelines.

use super::{Parsed, Parser};
use crate::ParseError;
use crate::ast::{LabelFormat, LineFilter, LineOp, LineTerm, LogfmtFlags, NamedMatcher, Stage};
use crate::lexer::Token;
use crate::pipeline::{check_pattern, check_regexp};

impl Parser {
    /// Stages, as long as there are any. `unwrap` ends them where it may follow.
    pub(super) fn stages(&mut self, unwraps: bool) -> Parsed<Vec<Stage>> {
        let mut stages = Vec::new();
        loop {
            if self.line_op().is_some() {
                stages.push(Stage::LineFilters(self.line_filters()?));
                continue;
            }
            if !self.is_mark("|") || (unwraps && self.unwrap_follows()) {
                return Ok(stages);
            }
            self.advance();
            stages.push(self.stage()?);
        }
    }

    pub(super) fn unwrap_follows(&self) -> bool {
        self.is_mark("|") && matches!(self.tokens.get(self.at + 1).map(|t| &t.token), Some(Token::Keyword("unwrap")))
    }

    fn line_op(&self) -> Option<LineOp> {
        let Token::Mark(mark) = self.token() else { return None };
        LineOp::SPELLINGS.iter().find(|(text, _)| text == mark).map(|(_, op)| *op)
    }

    /// Filters that stand side by side are one stage.
    fn line_filters(&mut self) -> Parsed<Vec<LineFilter>> {
        let mut filters = Vec::new();
        while let Some(op) = self.line_op() {
            self.advance();
            let mut terms = vec![self.line_term()?];
            while self.eat_keyword("or") {
                terms.push(self.line_term()?);
            }
            if op.negative() {
                // Neither this nor that: not this, and not that.
                filters.extend(terms.into_iter().map(|term| LineFilter { op, terms: vec![term] }));
            } else {
                filters.push(LineFilter { op, terms });
            }
        }
        Ok(filters)
    }

    fn line_term(&mut self) -> Parsed<LineTerm> {
        if matches!(self.token(), Token::Function("ip") | Token::Keyword("ip")) {
            self.advance();
            self.expect("(", "(")?;
            let text = self.string("STRING")?;
            self.expect(")", ")")?;
            return Ok(LineTerm { text, ip: true });
        }
        Ok(LineTerm { text: self.string("STRING or ip")?, ip: false })
    }

    /// What stands behind `|`.
    fn stage(&mut self) -> Parsed<Stage> {
        let Token::Keyword(word) = *self.token() else { return Ok(Stage::LabelFilter(self.label_filter()?)) };
        match word {
            "json" => {
                self.advance();
                let paths = self.extractions()?;
                Ok(if paths.is_empty() { Stage::Json } else { Stage::JsonPaths(paths) })
            }
            "logfmt" => {
                self.advance();
                let mut flags = LogfmtFlags::default();
                while let Token::Flag(flag) = self.token() {
                    match *flag {
                        "--strict" => flags.strict = true,
                        _ => flags.keep_empty = true,
                    }
                    self.advance();
                }
                let keys = self.extractions()?;
                Ok(if keys.is_empty() { Stage::Logfmt(flags) } else { Stage::LogfmtKeys(flags, keys) })
            }
            "regexp" => {
                self.advance();
                let pattern = self.string("STRING")?;
                check_regexp(&pattern).map_err(|e| ParseError::anywhere(format!("invalid regexp parser: {e}")))?;
                Ok(Stage::Regexp(pattern))
            }
            "pattern" => {
                self.advance();
                let pattern = self.string("STRING")?;
                check_pattern(&pattern).map_err(|e| ParseError::anywhere(format!("invalid pattern parser: {e}")))?;
                Ok(Stage::Pattern(pattern))
            }
            "unpack" => {
                self.advance();
                Ok(Stage::Unpack)
            }
            "decolorize" => {
                self.advance();
                Ok(Stage::Decolorize)
            }
            "line_format" => {
                self.advance();
                Ok(Stage::LineFormat(self.string("STRING")?))
            }
            "label_format" => {
                self.advance();
                let mut formats = vec![self.label_format()?];
                while self.eat(",") {
                    formats.push(self.label_format()?);
                }
                Ok(Stage::LabelFormat(formats))
            }
            "drop" | "keep" => {
                self.advance();
                let mut names = vec![self.named_matcher()?];
                while self.eat(",") {
                    names.push(self.named_matcher()?);
                }
                Ok(if word == "drop" { Stage::Drop(names) } else { Stage::Keep(names) })
            }
            _ => self.unexpected(""),
        }
    }

    fn extractions(&mut self) -> Parsed<Vec<(String, String)>> {
        let mut out = Vec::new();
        if !matches!(self.token(), Token::Identifier(_)) {
            return Ok(out);
        }
        loop {
            let name = self.identifier("IDENTIFIER")?;
            let path = if self.eat("=") { self.string("STRING")? } else { name.clone() };
            out.push((name, path));
            if !self.eat(",") {
                return Ok(out);
            }
        }
    }

    fn label_format(&mut self) -> Parsed<LabelFormat> {
        let to = self.identifier("IDENTIFIER")?;
        self.expect("=", "=")?;
        match self.token() {
            Token::Identifier(_) => Ok(LabelFormat::Rename { to, from: self.identifier("")? }),
            _ => Ok(LabelFormat::Template { to, template: self.string("IDENTIFIER or STRING")? }),
        }
    }

    fn named_matcher(&mut self) -> Parsed<NamedMatcher> {
        let name = self.identifier("IDENTIFIER")?;
        // A line filter may follow: `drop a != "b"` is a matcher all the same, as in Loki.
        if matches!(self.token(), Token::Mark("=" | "!=" | "=~" | "!~")) {
            return Ok(NamedMatcher::Matcher(self.matcher(&name, "")?));
        }
        Ok(NamedMatcher::Name(name))
    }
}

//! Line filters.

use memchr::memmem::Finder;
use regex::Regex;

use super::ip::{INVALID_OPERATION, IpRange};
use super::pattern::Pattern;
use crate::ast::{LineFilter, LineOp, LineTerm};
use crate::regexp::compile;

/// A line filter, ready to be asked.
#[derive(Debug, Clone)]
pub(crate) struct LineCondition {
    negative: bool,
    terms: Vec<Term>,
}

#[derive(Debug, Clone)]
enum Term {
    Contains(Box<Finder<'static>>),
    Matches(Regex),
    Pattern(Pattern),
    Ip(IpRange),
}

impl Term {
    fn new(op: LineOp, term: &LineTerm) -> Result<Self, String> {
        Ok(match op {
            LineOp::Contains | LineOp::NotContains if term.ip => Self::Ip(IpRange::parse(&term.text)?),
            _ if term.ip => return Err(INVALID_OPERATION.to_owned()),
            LineOp::Contains | LineOp::NotContains => Self::Contains(Box::new(Finder::new(&term.text).into_owned())),
            LineOp::Matches | LineOp::NotMatches => Self::Matches(compile(&term.text)?),
            LineOp::Pattern | LineOp::NotPattern => Self::Pattern(Pattern::filter(&term.text)?),
        })
    }

    fn fits(&self, line: &str) -> bool {
        match self {
            Self::Contains(finder) => finder.find(line.as_bytes()).is_some(),
            Self::Matches(regex) => regex.is_match(line),
            Self::Pattern(pattern) => pattern.matches(line),
            Self::Ip(range) => range.in_text(line),
        }
    }
}

impl LineCondition {
    pub(crate) fn new(filter: &LineFilter) -> Result<Self, String> {
        let terms = filter.terms.iter().map(|term| Term::new(filter.op, term)).collect::<Result<_, _>>()?;
        Ok(Self { negative: filter.op.negative(), terms })
    }

    pub(crate) fn accepts(&self, line: &str) -> bool {
        self.terms.iter().any(|term| term.fits(line)) != self.negative
    }
}

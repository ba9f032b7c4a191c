//! A layout: the text of a line around its variables.

use std::fmt::Write;

use super::BodyError;
use super::column::Variable;
use super::json::{self, Slot, Visit};
use super::{logfmt, words};

/// Before a variable's name in a layout's text. Not in a line that is split.
pub(super) const OPEN: char = '\u{1}';
/// After a variable's name.
pub(super) const CLOSE: char = '\u{2}';

/// How a line is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    /// One JSON object.
    Json,
    /// `key=value` pairs.
    Logfmt,
    /// Plain text.
    Words,
}

impl Syntax {
    /// Finds the line's variables; `None` when it is not of this syntax.
    pub(super) fn walk(self, line: &str, visit: &mut impl Visit) -> Option<()> {
        match self {
            Self::Json => json::walk(line, visit),
            Self::Logfmt => logfmt::walk(line, visit),
            Self::Words => words::walk(line, visit),
        }
    }
}

/// A layout in parts: `literals[0]`, the first variable, `literals[1]`, …; one literal more than variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    pub literals: Vec<Box<str>>,
    pub variables: Vec<Variable>,
}

impl Layout {
    /// The layout of a line that its syntax has split into `slots`.
    pub(super) fn of(syntax: Syntax, line: &str, slots: &[Slot]) -> Option<Self> {
        let mut paths = Paths {
            line,
            variables: Vec::with_capacity(slots.len()),
            path: String::new(),
            keyed: syntax != Syntax::Words,
            parents: Vec::new(),
        };
        syntax.walk(line, &mut paths)?;
        let mut literals = Vec::with_capacity(slots.len() + 1);
        let mut at = 0;
        for slot in slots {
            literals.push(line.get(at..slot.start as usize)?.into());
            at = slot.end as usize;
        }
        literals.push(line.get(at..)?.into());
        Some(Self { literals, variables: paths.variables })
    }

    /// The layout as a column keeps it.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for (literal, variable) in self.literals.iter().zip(&self.variables) {
            // Writing to a String does not fail.
            let _ = write!(out, "{literal}{OPEN}{variable}{CLOSE}");
        }
        out.push_str(self.literals.last().map_or("", |l| l));
        out
    }

    /// Reads what [`Layout::text`] writes.
    pub(super) fn parse(text: &str) -> Result<Self, BodyError> {
        let bad = || BodyError::Layout(text.chars().take(200).collect());
        let mut layout = Self { literals: Vec::new(), variables: Vec::new() };
        let mut rest = text;
        while let Some((literal, tail)) = rest.split_once(OPEN) {
            let (name, tail) = tail.split_once(CLOSE).ok_or_else(bad)?;
            layout.literals.push(literal.into());
            layout.variables.push(Variable::parse(name).ok_or_else(bad)?);
            rest = tail;
        }
        layout.literals.push(rest.into());
        Ok(layout)
    }
}

/// Names the variables of a line.
struct Paths<'a> {
    line: &'a str,
    variables: Vec<Variable>,
    path: String,
    keyed: bool,
    /// Where the path of each object around ends.
    parents: Vec<usize>,
}

impl Visit for Paths<'_> {
    fn key(&mut self, start: usize, end: usize) {
        self.path.truncate(self.parents.last().copied().unwrap_or(0));
        if !self.parents.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(&self.line[start..end]);
    }

    fn enter(&mut self) {
        self.parents.push(self.path.len());
    }

    fn leave(&mut self) {
        self.parents.pop();
    }

    fn slot(&mut self, slot: Slot) {
        if self.path.is_empty() && self.parents.is_empty() && !self.keyed {
            self.variables.push(Variable { path: (self.variables.len() + 1).to_string().into(), nth: 1, kind: slot.kind });
            return;
        }
        let nth = 1 + self.variables.iter().filter(|v| *v.path == *self.path && v.kind == slot.kind).count() as u32;
        self.variables.push(Variable { path: self.path.as_str().into(), nth, kind: slot.kind });
    }
}

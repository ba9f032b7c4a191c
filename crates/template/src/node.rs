//! What a template says.

use std::collections::BTreeMap;
use std::fmt;

/// A parsed template, and those that it defines.
#[derive(Debug, Clone)]
pub struct Template {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) functions: crate::Functions,
    /// By name; the template itself under its own.
    pub(crate) lists: BTreeMap<String, List>,
}

pub(crate) type List = Vec<Node>;

#[derive(Debug, Clone)]
pub(crate) enum Node {
    Text(String),
    Action(Pipe),
    If(Branch),
    Range(Branch),
    With(Branch),
    Template { at: usize, name: String, pipe: Option<Pipe> },
    Break,
    Continue,
}

#[derive(Debug, Clone)]
pub(crate) struct Branch {
    pub(crate) pipe: Pipe,
    pub(crate) list: List,
    pub(crate) otherwise: Option<List>,
}

#[derive(Debug, Clone)]
pub(crate) struct Pipe {
    pub(crate) at: usize,
    /// Variables that it sets, `$` included.
    pub(crate) variables: Vec<String>,
    /// `=` instead of `:=`.
    pub(crate) assigns: bool,
    pub(crate) commands: Vec<Command>,
}

#[derive(Debug, Clone)]
pub(crate) struct Command {
    pub(crate) at: usize,
    pub(crate) words: Vec<Word>,
}

#[derive(Debug, Clone)]
pub(crate) struct Word {
    pub(crate) at: usize,
    pub(crate) kind: WordKind,
}

#[derive(Debug, Clone)]
pub(crate) enum WordKind {
    Function(String),
    /// `.a.b`
    Field(Vec<String>),
    /// `$x.a.b`
    Variable(String, Vec<String>),
    /// `(…).a.b`
    Chain(Box<Word>, Vec<String>),
    Pipe(Box<Pipe>),
    Dot,
    Nil,
    Bool(bool),
    Number(Number),
    /// As written, and what it says.
    Str(String, String),
}

/// A constant that becomes what it is used as.
#[derive(Debug, Clone)]
pub(crate) struct Number {
    pub(crate) text: String,
    pub(crate) int: Option<i64>,
    pub(crate) float: f64,
    /// Written as a whole number.
    pub(crate) whole: bool,
}

fn dotted(f: &mut fmt::Formatter<'_>, fields: &[String]) -> fmt::Result {
    fields.iter().try_for_each(|field| write!(f, ".{field}"))
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            WordKind::Function(name) => f.write_str(name),
            WordKind::Field(fields) => dotted(f, fields),
            WordKind::Variable(name, fields) => {
                f.write_str(name)?;
                dotted(f, fields)
            }
            WordKind::Chain(inner, fields) => {
                write!(f, "{inner}")?;
                dotted(f, fields)
            }
            WordKind::Pipe(pipe) => write!(f, "({pipe})"),
            WordKind::Dot => f.write_str("."),
            WordKind::Nil => f.write_str("nil"),
            WordKind::Bool(b) => write!(f, "{b}"),
            WordKind::Number(n) => f.write_str(&n.text),
            WordKind::Str(written, _) => f.write_str(written),
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.words.iter().enumerate().try_for_each(|(i, w)| write!(f, "{}{w}", if i > 0 { " " } else { "" }))
    }
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            write!(f, "{} {} ", self.variables.join(", "), if self.assigns { "=" } else { ":=" })?;
        }
        self.commands.iter().enumerate().try_for_each(|(i, c)| write!(f, "{}{c}", if i > 0 { " | " } else { "" }))
    }
}

impl Template {
    /// The fields that it reads of its data, where it can be told: `None` where it hands all of the data on.
    #[must_use]
    pub fn fields(&self) -> Option<Vec<&str>> {
        let mut out = Vec::new();
        let complete = self.lists.values().all(|list| {
            nodes(list, &mut |word| match &word.kind {
                WordKind::Field(fields) => {
                    out.extend(fields.first().map(String::as_str));
                    true
                }
                WordKind::Variable(name, fields) if name == "$" => {
                    out.extend(fields.first().map(String::as_str));
                    !fields.is_empty()
                }
                WordKind::Dot => false,
                _ => true,
            })
        });
        out.sort_unstable();
        out.dedup();
        complete.then_some(out)
    }

    /// Whether it calls the function `name`.
    #[must_use]
    pub fn calls(&self, name: &str) -> bool {
        !self.lists.values().all(|list| nodes(list, &mut |word| !matches!(&word.kind, WordKind::Function(f) if f == name)))
    }
}

/// Shows every word to `each`, until it says `false`.
fn nodes<'t>(list: &'t [Node], each: &mut dyn FnMut(&'t Word) -> bool) -> bool {
    list.iter().all(|node| match node {
        Node::Text(_) | Node::Break | Node::Continue => true,
        Node::Action(pipe) => words(pipe, each),
        Node::If(b) | Node::Range(b) | Node::With(b) => {
            words(&b.pipe, each) && nodes(&b.list, each) && b.otherwise.as_ref().is_none_or(|list| nodes(list, each))
        }
        Node::Template { pipe, .. } => pipe.as_ref().is_none_or(|pipe| words(pipe, each)),
    })
}

fn words<'t>(pipe: &'t Pipe, each: &mut dyn FnMut(&'t Word) -> bool) -> bool {
    pipe.commands.iter().flat_map(|c| &c.words).all(|w| word(w, each))
}

fn word<'t>(w: &'t Word, each: &mut dyn FnMut(&'t Word) -> bool) -> bool {
    each(w)
        && match &w.kind {
            WordKind::Chain(inner, _) => word(inner, each),
            WordKind::Pipe(pipe) => words(pipe, each),
            _ => true,
        }
}

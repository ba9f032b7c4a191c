//! Nodes to text.

use crate::node::{Branch, Command, Node, Number, Pipe, Template, Word, WordKind};
use crate::{ExecError, Kind, Limits, Value, builtin, quote};

/// How deep templates call each other.
const MAX_CALLS: usize = 100;
/// A function takes a step more for each so many bytes that it reads or makes.
pub const BYTES_A_STEP: usize = 1024;
/// Bytes that a function is given besides its longest argument: what it makes of them is bounded only once it has made it.
const MOST_GIVEN: usize = 4 << 20;

impl Template {
    /// What the template makes of `data`. `locals` are the values of this execution, by the names that were given to
    /// [`crate::Functions::add_local`].
    ///
    /// # Errors
    /// What failed and where, as Go says it; or which of `limits` was reached.
    pub fn execute(&self, data: &Value, locals: &[(&str, Value)], limits: Limits) -> Result<String, ExecError> {
        self.execute_counted(data, locals, limits, &mut 0)
    }

    /// The same; adds the steps that it took to `steps`, failed or not. What was written counts too, a step for each [`BYTES_A_STEP`].
    ///
    /// # Errors
    /// As for [`Template::execute`].
    pub fn execute_counted(
        &self,
        data: &Value,
        locals: &[(&str, Value)],
        limits: Limits,
        steps: &mut usize,
    ) -> Result<String, ExecError> {
        let mut run = Run {
            template: self,
            name: &self.name,
            locals,
            limits,
            out: String::new(),
            steps: 0,
            calls: 0,
            variables: vec![("$".to_owned(), data.clone())],
            at: None,
        };
        let done = run.list(self.lists.get(&self.name).map_or(&[], Vec::as_slice), data);
        *steps = steps.saturating_add(run.steps).saturating_add(run.out.len() / BYTES_A_STEP);
        done.map(|_| run.out)
    }
}

/// How a list ended.
#[derive(PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

/// What an error names: a node.
#[derive(Clone, Copy)]
enum Place<'t> {
    Pipe(&'t Pipe),
    Command(&'t Command),
    Word(&'t Word),
    Template(usize, &'t str),
}

struct Run<'t> {
    template: &'t Template,
    name: &'t str,
    locals: &'t [(&'t str, Value)],
    limits: Limits,
    out: String,
    steps: usize,
    calls: usize,
    variables: Vec<(String, Value)>,
    at: Option<Place<'t>>,
}

type Done<T> = Result<T, ExecError>;

impl<'t> Run<'t> {
    fn fail<T>(&self, message: impl AsRef<str>) -> Done<T> {
        let (at, context) = match self.at {
            None => return Err(ExecError(format!("template: {}: {}", self.name, message.as_ref()))),
            Some(Place::Pipe(p)) => (p.at, p.to_string()),
            Some(Place::Command(c)) => (c.at, c.to_string()),
            Some(Place::Word(w)) => (w.at, w.to_string()),
            Some(Place::Template(at, name)) => (at, format!("{{{{template {}}}}}", quote(name))),
        };
        let before = &self.template.text[..at.min(self.template.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |n| n + 1);
        Err(ExecError(format!(
            "template: {}:{line}:{column}: executing {} at <{context}>: {}",
            self.template.name,
            quote(self.name),
            message.as_ref()
        )))
    }

    fn step(&mut self) -> Done<()> {
        self.steps(1)
    }

    fn steps(&mut self, count: usize) -> Done<()> {
        self.steps = self.steps.saturating_add(count);
        if self.steps > self.limits.steps {
            return self.fail(format!("more than {} steps", self.limits.steps));
        }
        Ok(())
    }

    fn write(&mut self, text: &str) -> Done<()> {
        if self.out.len() + text.len() > self.limits.output {
            return self.fail(format!("more than {} bytes written", self.limits.output));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn list(&mut self, list: &'t [Node], dot: &Value) -> Done<Flow> {
        for node in list {
            self.step()?;
            match node {
                Node::Text(text) => self.write(text)?,
                Node::Action(pipe) => {
                    let value = self.pipe(pipe, dot)?;
                    if pipe.variables.is_empty() {
                        self.at = Some(Place::Pipe(pipe));
                        match &value {
                            Value::Nil => self.write("<no value>")?,
                            Value::Str(text) => self.write(text)?,
                            other => self.write(&other.to_string())?,
                        }
                    }
                }
                Node::If(branch) | Node::With(branch) => {
                    let scope = self.variables.len();
                    let value = self.pipe(&branch.pipe, dot)?;
                    let flow = match (value.truth(), &branch.otherwise) {
                        (true, _) if matches!(node, Node::With(_)) => self.list(&branch.list, &value)?,
                        (true, _) => self.list(&branch.list, dot)?,
                        (false, Some(list)) => self.list(list, dot)?,
                        (false, None) => Flow::On,
                    };
                    self.variables.truncate(scope);
                    if flow != Flow::On {
                        return Ok(flow);
                    }
                }
                Node::Range(branch) => self.range(branch, dot)?,
                Node::Template { at, name, pipe } => {
                    self.at = Some(Place::Template(*at, name));
                    let Some(list) = self.template.lists.get(name) else {
                        return self.fail(format!("template {} not defined", quote(name)));
                    };
                    self.calls += 1;
                    if self.calls > MAX_CALLS {
                        return self.fail(format!("exceeded maximum template depth ({MAX_CALLS})"));
                    }
                    let data = pipe.as_ref().map_or(Ok(Value::Nil), |pipe| self.pipe(pipe, dot))?;
                    let outer = std::mem::replace(&mut self.variables, vec![("$".to_owned(), data.clone())]);
                    let name = std::mem::replace(&mut self.name, name);
                    self.list(list, &data)?;
                    self.name = name;
                    self.variables = outer;
                    self.calls -= 1;
                }
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
            }
        }
        Ok(Flow::On)
    }

    fn range(&mut self, branch: &'t Branch, dot: &Value) -> Done<()> {
        let scope = self.variables.len();
        let value = self.pipe(&branch.pipe, dot)?;
        let items: Box<dyn Iterator<Item = (Value, Value)>> = match &value {
            Value::List(list) => Box::new(list.iter().enumerate().map(|(i, v)| (Value::Int(i as i64), v.clone()))),
            Value::Map(map) => Box::new(map.entries.iter().map(|(k, v)| (Value::Str(k.clone()), v.clone()))),
            Value::Int(n) | Value::Int64(n) => Box::new((0..*n).map(|i| (Value::Int(i), Value::Int(i)))),
            Value::Nil => Box::new(std::iter::empty()),
            other => return self.fail(format!("range can't iterate over {other}")),
        };
        let mut items = items.peekable();
        if items.peek().is_none() {
            if let Some(list) = &branch.otherwise {
                self.list(list, dot)?;
            }
            self.variables.truncate(scope);
            return Ok(());
        }
        let names = &branch.pipe.variables;
        for (key, item) in items {
            self.step()?;
            let mark = self.variables.len();
            let assigns = branch.pipe.assigns;
            match names.as_slice() {
                [one] => self.set(one, item.clone(), assigns),
                [first, second] => {
                    self.set(first, key, assigns);
                    self.set(second, item.clone(), assigns);
                }
                _ => {}
            }
            let flow = self.list(&branch.list, &item)?;
            self.variables.truncate(mark);
            if flow == Flow::Break {
                break;
            }
        }
        self.variables.truncate(scope);
        Ok(())
    }

    fn set(&mut self, name: &str, value: Value, assigns: bool) {
        match self.variables.iter_mut().rev().find(|(n, _)| n == name) {
            Some((_, slot)) if assigns => *slot = value,
            _ => self.variables.push((name.to_owned(), value)),
        }
    }

    fn pipe(&mut self, pipe: &'t Pipe, dot: &Value) -> Done<Value> {
        self.at = Some(Place::Pipe(pipe));
        let mut value: Option<Value> = None;
        for command in &pipe.commands {
            value = Some(self.command(command, dot, value)?);
        }
        let value = value.unwrap_or_default();
        // `range` sets its variables for each item.
        if pipe.variables.len() == 1 || pipe.assigns {
            for name in &pipe.variables {
                self.set(name, value.clone(), pipe.assigns);
            }
        }
        Ok(value)
    }

    fn command(&mut self, command: &'t Command, dot: &Value, last: Option<Value>) -> Done<Value> {
        self.step()?;
        let Some((first, arguments)) = command.words.split_first() else { return Ok(Value::Nil) };
        match &first.kind {
            WordKind::Function(name) => return self.function(name, Place::Command(command), first, arguments, dot, last),
            WordKind::Field(fields) => {
                self.at = Some(Place::Word(first));
                return self.fields(dot.clone(), fields, arguments, dot, last);
            }
            WordKind::Variable(name, fields) => {
                self.at = Some(Place::Word(first));
                let value = self.variable(name);
                if fields.is_empty() {
                    self.no_arguments(first, arguments, &last)?;
                    return Ok(value);
                }
                return self.fields(value, fields, arguments, dot, last);
            }
            WordKind::Chain(inner, fields) => {
                self.at = Some(Place::Word(first));
                let value = self.word(inner, dot)?;
                self.at = Some(Place::Word(first));
                return self.fields(value, fields, arguments, dot, last);
            }
            WordKind::Pipe(pipe) => {
                self.no_arguments(first, arguments, &last)?;
                return self.pipe(pipe, dot);
            }
            _ => {}
        }
        self.at = Some(Place::Word(first));
        self.no_arguments(first, arguments, &last)?;
        match &first.kind {
            WordKind::Nil => self.fail("nil is not a command"),
            _ => self.word(first, dot),
        }
    }

    fn no_arguments(&mut self, first: &'t Word, arguments: &[Word], last: &Option<Value>) -> Done<()> {
        if arguments.is_empty() && last.is_none() {
            return Ok(());
        }
        self.at = Some(Place::Word(first));
        self.fail(format!("can't give argument to non-function {first}"))
    }

    fn variable(&self, name: &str) -> Value {
        self.variables.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.clone()).unwrap_or_default()
    }

    /// A word as it stands, without a type in mind.
    fn word(&mut self, word: &'t Word, dot: &Value) -> Done<Value> {
        self.at = Some(Place::Word(word));
        Ok(match &word.kind {
            WordKind::Dot => dot.clone(),
            WordKind::Nil => Value::Nil,
            WordKind::Bool(b) => Value::Bool(*b),
            WordKind::Number(n) => constant(n),
            WordKind::Str(_, text) => Value::text(text),
            WordKind::Field(fields) => self.fields(dot.clone(), fields, &[], dot, None)?,
            WordKind::Variable(name, fields) => {
                let value = self.variable(name);
                self.fields(value, fields, &[], dot, None)?
            }
            WordKind::Pipe(pipe) => self.pipe(pipe, dot)?,
            WordKind::Chain(inner, fields) => {
                let value = self.word(inner, dot)?;
                self.at = Some(Place::Word(word));
                self.fields(value, fields, &[], dot, None)?
            }
            WordKind::Function(name) => self.function(name, Place::Word(word), word, &[], dot, None)?,
        })
    }

    /// `.a.b.c`: fields of what stands before; the last one may be a method.
    fn fields(
        &mut self,
        mut value: Value,
        fields: &'t [String],
        arguments: &'t [Word],
        dot: &Value,
        last: Option<Value>,
    ) -> Done<Value> {
        let Some((method, path)) = fields.split_last() else { return Ok(value) };
        let at = self.at;
        for field in path {
            value = self.field(&value, field)?;
        }
        let called = match &value {
            Value::Object(_) | Value::Time(_) => {
                let mut given = Vec::new();
                for word in arguments {
                    given.push(self.word(word, dot)?);
                }
                given.extend(last.clone());
                self.at = at;
                match &value {
                    Value::Object(object) => object.call(method, &given),
                    Value::Time(time) => time.call(method, &given),
                    _ => None,
                }
            }
            _ => None,
        };
        if let Some(result) = called {
            return result.or_else(|e| self.fail(format!("error calling {method}: {e}")));
        }
        if !arguments.is_empty() || last.is_some() {
            return self.fail(format!("{method} is not a method but has arguments"));
        }
        self.field(&value, method)
    }

    fn field(&self, value: &Value, name: &str) -> Done<Value> {
        match value {
            Value::Map(map) => Ok(match map.entries.get(name) {
                Some(value) => value.clone(),
                None if map.texts => Value::text(""),
                None => Value::Nil,
            }),
            Value::Object(object) => match object.field(name) {
                Some(value) => Ok(value),
                None => self.fail(format!("can't evaluate field {name} in type {}", object.type_name())),
            },
            Value::Nil => self.fail(format!("nil data; no entry for key {}", quote(name))),
            other => self.fail(format!("can't evaluate field {name} in type {}", other.type_name())),
        }
    }

    fn function(
        &mut self,
        name: &'t str,
        node: Place<'t>,
        word: &'t Word,
        arguments: &'t [Word],
        dot: &Value,
        last: Option<Value>,
    ) -> Done<Value> {
        self.at = Some(Place::Word(word));
        let count = arguments.len() + usize::from(last.is_some());
        if let Some((_, value)) = self.locals.iter().find(|(n, _)| *n == name) {
            return match count {
                0 => Ok(value.clone()),
                n => self.fail(format!("wrong number of args for {name}: want 0 got {n}")),
            };
        }
        let Some(function) = self.template.functions.functions.get(name).copied().or_else(|| builtin::find(name)) else {
            return self.fail(format!("{} is not a defined function", quote(name)));
        };
        let fixed = function.parameters.len();
        match function.variadic {
            Some(_) if count < fixed => {
                return self.fail(format!("wrong number of args for {name}: want at least {fixed} got {count}"));
            }
            None if count != fixed => return self.fail(format!("wrong number of args for {name}: want {fixed} got {count}")),
            _ => {}
        }
        let kind = |i: usize| function.parameters.get(i).copied().or(function.variadic).unwrap_or(Kind::Any);
        if matches!(name, "and" | "or") {
            return self.short_circuit(name == "or", arguments, dot, last);
        }
        let mut given = Vec::with_capacity(count);
        for (i, word) in arguments.iter().enumerate() {
            given.push(self.argument(word, kind(i), dot)?);
        }
        if let Some(last) = last {
            let kind = kind(arguments.len());
            given.push(self.fits(last, kind)?);
        }
        let before = self.at.replace(node);
        let sizes = || given.iter().map(Value::size);
        let (all, longest) = (sizes().sum::<usize>(), sizes().max().unwrap_or(0));
        self.steps(function.cost + all / BYTES_A_STEP)?;
        let made = match all - longest > MOST_GIVEN {
            true => Err("the text grows too long".to_owned()),
            false => (function.call)(&given),
        };
        let made = made.or_else(|e| self.fail(format!("error calling {name}: {e}")))?;
        let size = made.size();
        if size > self.limits.output.max(longest) && made.as_str().is_some() {
            return self.fail(format!("error calling {name}: the text grows too long"));
        }
        self.steps(size / BYTES_A_STEP)?;
        self.at = before;
        Ok(made)
    }

    /// `and` and `or` evaluate no further than they must.
    fn short_circuit(&mut self, or: bool, arguments: &'t [Word], dot: &Value, last: Option<Value>) -> Done<Value> {
        let mut value = Value::Nil;
        for word in arguments {
            value = self.argument(word, Kind::Any, dot)?;
            if value.truth() == or {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    fn argument(&mut self, word: &'t Word, kind: Kind, dot: &Value) -> Done<Value> {
        self.at = Some(Place::Word(word));
        let constant = match (&word.kind, kind) {
            (_, Kind::Any) => None,
            (WordKind::Str(_, text), Kind::Str) => Some(Value::text(text)),
            (WordKind::Bool(b), Kind::Bool) => Some(Value::Bool(*b)),
            (WordKind::Number(n), Kind::Int) if n.int.is_some() => n.int.map(Value::Int),
            (WordKind::Number(n), Kind::Int64) if n.int.is_some() => n.int.map(Value::Int64),
            (WordKind::Number(n), Kind::Float) => Some(Value::Float(n.float)),
            (WordKind::Str(..) | WordKind::Bool(_) | WordKind::Number(_), _) => {
                let expected = match kind {
                    Kind::Int | Kind::Int64 => "integer",
                    Kind::Float => "float",
                    other => other.name(),
                };
                return match kind {
                    Kind::Time => self.fail(format!("can't handle {word} for arg of type time.Time")),
                    _ => self.fail(format!("expected {expected}; found {word}")),
                };
            }
            (WordKind::Nil, _) => return self.fail(format!("cannot assign nil to {}", kind.name())),
            _ => None,
        };
        if let Some(value) = constant {
            return Ok(value);
        }
        let value = self.word(word, dot)?;
        self.at = Some(Place::Word(word));
        self.fits(value, kind)
    }

    fn fits(&self, value: Value, kind: Kind) -> Done<Value> {
        if kind.accepts(&value) {
            return Ok(value);
        }
        match value {
            Value::Nil => self.fail(format!("invalid value; expected {}", kind.name())),
            other => self.fail(format!("wrong type for value; expected {}; got {}", kind.name(), other.type_name())),
        }
    }
}

/// What a number is where nothing asks for a type.
fn constant(n: &Number) -> Value {
    match n.int {
        Some(int) if n.whole => Value::Int(int),
        _ => Value::Float(n.float),
    }
}

//! Functions that templates call.

use std::collections::HashMap;

use crate::Value;

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Str,
    Int,
    Int64,
    Float,
    Bool,
    Time,
    /// `interface{}`
    Any,
}

impl Kind {
    /// Go's name of it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Str => "string",
            Self::Int => "int",
            Self::Int64 => "int64",
            Self::Float => "float64",
            Self::Bool => "bool",
            Self::Time => "time.Time",
            Self::Any => "interface {}",
        }
    }

    /// Whether `value` may be given without conversion.
    pub(crate) fn accepts(self, value: &Value) -> bool {
        matches!(
            (self, value),
            (Self::Any, _)
                | (Self::Str, Value::Str(_))
                | (Self::Int, Value::Int(_))
                | (Self::Int64, Value::Int64(_))
                | (Self::Float, Value::Float(_))
                | (Self::Bool, Value::Bool(_))
                | (Self::Time, Value::Time(_))
        )
    }
}

/// A function: the template checks number and types of its arguments before it calls.
#[derive(Debug, Clone, Copy)]
pub struct Function {
    /// Parameters.
    pub parameters: &'static [Kind],
    /// The type of any number of further ones.
    pub variadic: Option<Kind>,
    /// What it does; the error says why it could not.
    pub call: fn(&[Value]) -> Result<Value, String>,
    /// How many steps a call is, besides those for what it reads and makes.
    pub cost: usize,
}

/// The functions of the caller, and the names of values that each execution brings along
/// (called without arguments: `{{ __line__ }}`).
#[derive(Debug, Clone, Default)]
pub struct Functions {
    pub(crate) functions: HashMap<&'static str, Function>,
    pub(crate) locals: Vec<&'static str>,
}

impl Functions {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a function; the last of a name counts.
    pub fn add(
        &mut self,
        name: &'static str,
        parameters: &'static [Kind],
        variadic: Option<Kind>,
        call: fn(&[Value]) -> Result<Value, String>,
    ) -> &mut Self {
        self.functions.insert(name, Function { parameters, variadic, call, cost: 1 });
        self
    }

    /// A call of a function that has been added is so many steps.
    pub fn costs(&mut self, name: &str, steps: usize) -> &mut Self {
        if let Some(function) = self.functions.get_mut(name) {
            function.cost = steps;
        }
        self
    }

    /// Adds the name of a value that each execution brings along.
    pub fn add_local(&mut self, name: &'static str) -> &mut Self {
        self.locals.push(name);
        self
    }
}

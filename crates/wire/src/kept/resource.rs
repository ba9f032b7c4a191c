//! A resource, kept once for all requests that name it.

use model::{Attr, OwnedValue, Value};

/// What a resource says.
#[derive(Debug)]
pub struct KeptResource {
    number: u64,
    attributes: Vec<(Box<str>, OwnedValue)>,
    memory: usize,
}

impl KeptResource {
    /// With all its attributes. Resources of one store with the same number say the same; 0 for one that has none.
    #[must_use]
    pub fn new(number: u64, attributes: &[Attr<'_>]) -> Self {
        let bytes = |value: &Value<'_>| match value {
            Value::Str(text) => text.len(),
            Value::Nested(json) => json.len(),
            Value::Bytes(bytes) => bytes.len(),
            _ => 0,
        };
        let texts: usize = attributes.iter().map(|a| a.key.len() + bytes(&a.value)).sum();
        let memory = size_of::<Self>() + attributes.len() * size_of::<(Box<str>, OwnedValue)>() + texts;
        let attributes = attributes.iter().map(|a| (a.key.into(), a.value.to_owned_value())).collect();
        Self { number, attributes, memory }
    }

    /// By which a reader knows it again, so that it need not look at what it says; `None` where it has to.
    #[inline]
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        (self.number != 0).then_some(self.number)
    }

    /// All that it says.
    #[must_use]
    pub fn attributes(&self) -> Vec<Attr<'_>> {
        self.attributes.iter().map(|(key, value)| Attr { key, value: value.as_value() }).collect()
    }

    /// Bytes that it takes, roughly.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.memory
    }
}

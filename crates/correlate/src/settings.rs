//! How correlation is set up.

use std::time::Duration;

use regex::Regex;

/// A business key: something that names what a record is about, and that records of one matter share.
#[derive(Debug, Clone)]
pub struct BusinessKey {
    /// Its name, as in attributes: `circuit_id`. Other spellings (`circuitId`, `circuit-id`, `circuit.id`, `circuit id`) mean the same.
    pub name: String,
    /// Where else it is found in plain text: the group `value`, or the first group, or the whole match is the value.
    pub patterns: Vec<Regex>,
}

/// From which record on the time of a window counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Since {
    /// The first that arrived.
    #[default]
    First,
    /// The last that arrived; a window then lasts at most ten times its length.
    Last,
}

/// How correlation is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long records are waited for.
    pub window: Duration,
    /// From when on.
    pub since: Since,
    /// What joins records that have no trace id; at most 32.
    pub keys: Vec<BusinessKey>,
    /// Events a second of traces that join nothing and carry no key; more of them are only counted.
    pub lone_events: u32,
    /// Bytes that open windows, records that wait for their trace, and known traces may take.
    pub memory: usize,
    /// Names of services that mean another.
    pub entities: crate::entity::Overrides,
    /// What the walkers accept.
    pub wire: wire::Limits,
}

/// The keys that are looked for when nobody says otherwise.
pub const DEFAULT_KEYS: [&str; 5] = ["circuit_id", "product_id", "resource_id", "resource_type_id", "request_id"];

impl Default for Settings {
    fn default() -> Self {
        let key = |name: &str| BusinessKey { name: name.to_owned(), patterns: Vec::new() };
        Self {
            window: Duration::from_secs(60),
            since: Since::First,
            keys: DEFAULT_KEYS.iter().map(|n| key(n)).collect(),
            lone_events: 100,
            memory: 16 << 20,
            entities: crate::entity::Overrides::new(),
            wire: wire::Limits::default(),
        }
    }
}

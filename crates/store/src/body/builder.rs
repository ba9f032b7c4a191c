//! Lines become columns.

use std::sync::Arc;

use arrow_array::types::UInt32Type;
use arrow_array::{ArrayRef, DictionaryArray, PrimitiveArray, StringArray};
use arrow_buffer::NullBufferBuilder;
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};
use std::hash::BuildHasher;

use super::BodyColumns;
use super::column::{BodyColumnId, Kind, Variable};
use super::json::{Slot, Visit, number, string, string_kind};
use super::layout::{Layout, Syntax};
use super::logfmt;
use super::values::{Texts, Values};

/// Most variable columns of a builder; a line that would need another is kept whole.
pub const COLUMNS_MAX: usize = 64;
/// Most layouts of a builder; a line that would need another is kept whole.
const LAYOUTS_MAX: usize = 4096;
/// So many layouts are free; beyond, each must have paid off: see [`BodyBuilder::admits`].
const LAYOUTS_FREE: usize = 64;
/// Lines that share a layout, on the average, for layouts to pay.
const LINES_A_LAYOUT: usize = 8;
/// A builder takes less than this many bytes of text: offsets are `i32`.
const BYTES_MAX: usize = 1 << 30;
/// Variables that a line may have.
const SLOTS_MAX: usize = COLUMNS_MAX;
/// Layouts that are tried before a line is walked.
const RECENT: usize = 4;
/// The row's layout: none.
const WHOLE: u32 = u32::MAX;

/// A layout as the builder uses it: the literal before each variable, the variable's kind and column.
#[derive(Debug)]
struct Known {
    syntax: Syntax,
    layout: Layout,
    columns: Box<[u32]>,
    signature: Box<[u8]>,
}

/// Collects log bodies and gives them back as columns. See the [module](super).
#[derive(Debug)]
pub struct BodyBuilder {
    /// How splitting plain text has gone; `None`: do not try.
    words: Option<Tried>,
    rows: usize,
    /// Lines that a batch is going to have, about; 0 where that is not known.
    expected: usize,
    /// Lines, those of batches that are sealed included.
    seen: usize,
    bytes: usize,
    keys: Vec<u32>,
    whole: Texts,
    whole_nulls: NullBufferBuilder,
    layouts: Vec<Known>,
    by_signature: HashTable<u32>,
    recent: [u32; RECENT],
    variables: Vec<Variable>,
    values: Vec<Values>,
    by_variable: HashMap<Variable, u32, FixedState>,
    slots: Slots,
    signature: Vec<u8>,
    hasher: FixedState,
}

impl Default for BodyBuilder {
    fn default() -> Self {
        Self {
            words: Some(Tried::default()),
            rows: 0,
            expected: 0,
            seen: 0,
            bytes: 0,
            keys: Vec::new(),
            whole: Texts::default(),
            whole_nulls: NullBufferBuilder::new(1024),
            layouts: Vec::new(),
            by_signature: HashTable::new(),
            recent: [WHOLE; RECENT],
            variables: Vec::new(),
            values: Vec::new(),
            by_variable: HashMap::default(),
            slots: Slots::default(),
            signature: Vec::new(),
            hasher: FixedState::default(),
        }
    }
}

impl BodyBuilder {
    /// An empty builder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty builder for batches of about so many lines.
    #[must_use]
    pub fn expecting(lines: usize) -> Self {
        Self { expected: lines, ..Self::default() }
    }

    /// Keeps plain text whole.
    #[must_use]
    pub fn without_words(mut self) -> Self {
        self.words = None;
        self
    }

    /// Lines so far.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of memory that the lines take, about.
    #[must_use]
    pub fn size(&self) -> usize {
        self.whole.bytes.len() + self.rows * 8 + self.values.iter().map(Values::size).sum::<usize>()
    }

    /// Appends a line. `false` when the builder has no room for it (1 GiB of text): nothing was kept, make a new one.
    /// An empty builder takes every line below 1 GiB.
    #[must_use]
    pub fn append(&mut self, line: &str) -> bool {
        if self.bytes + line.len() >= BYTES_MAX {
            return false;
        }
        self.bytes += line.len();
        let key = self.split(line);
        self.keys.push(key);
        if key == WHOLE {
            self.pad_whole();
            self.whole.push(line.as_bytes());
            self.whole_nulls.append_non_null();
        } else if let Some(known) = self.layouts.get(key as usize) {
            for (slot, column) in self.slots.0.iter().zip(&known.columns) {
                self.values[*column as usize].push(self.rows, slot, line.as_bytes());
            }
        }
        self.rows += 1;
        self.seen += 1;
        true
    }

    /// Appends nulls for the split lines since the last whole one.
    fn pad_whole(&mut self) {
        let missing = self.rows - self.whole_nulls.len();
        if missing > 0 {
            self.whole_nulls.append_n_nulls(missing);
            self.whole.offsets.resize(self.rows + 1, self.whole.bytes.len() as i32);
        }
    }

    /// The layout of the line, whose variables are in `self.slots` then; [`WHOLE`] when it is not to be split.
    fn split(&mut self, line: &str) -> u32 {
        for i in 0..RECENT {
            let key = self.recent[i];
            let Some(known) = self.layouts.get(key as usize) else { break };
            if known.fits(line, &mut self.slots) {
                self.recent[..=i].rotate_right(1);
                return key;
            }
        }
        let Some(syntax) = [Syntax::Json, Syntax::Logfmt, Syntax::Words].into_iter().find(|syntax| {
            self.slots.0.clear();
            (*syntax != Syntax::Words || self.words.as_mut().is_some_and(Tried::again))
                && syntax.walk(line, &mut self.slots).is_some()
                // What is JSON is nothing else, be there no variable in it: what is in a line is told from its layout.
                && (*syntax == Syntax::Json || !self.slots.0.is_empty())
        }) else {
            return WHOLE;
        };
        if !(1..=SLOTS_MAX).contains(&self.slots.0.len()) {
            return WHOLE;
        }
        self.sign(line);
        let hash = self.hasher.hash_one(&self.signature[..]);
        let found = self.by_signature.find(hash, |k| *self.layouts[*k as usize].signature == *self.signature);
        let key = match found {
            Some(key) => *key,
            None if syntax == Syntax::Words && !self.words.as_mut().is_some_and(|w| w.recurs(hash)) => return WHOLE,
            None => match self.learn(line, syntax) {
                Some(key) => {
                    let (layouts, hasher) = (&self.layouts, &self.hasher);
                    self.by_signature.insert_unique(hash, key, |k| hasher.hash_one(&layouts[*k as usize].signature[..]));
                    key
                }
                None => return WHOLE,
            },
        };
        if syntax == Syntax::Words {
            // Never a fit without a walk: see `Known::fits`.
            if let Some(words) = &mut self.words {
                words.kept += 1;
            }
        } else {
            self.recent.rotate_right(1);
            self.recent[0] = key;
        }
        key
    }

    /// What tells layouts apart: the line with each variable replaced by its kind. Equal texts around variables of equal
    /// kinds mean equal keys, so equal columns.
    fn sign(&mut self, line: &str) {
        self.signature.clear();
        let mut at = 0;
        for slot in &self.slots.0 {
            self.signature.extend_from_slice(&line.as_bytes()[at..slot.start as usize]);
            self.signature.extend_from_slice(&kind_mark(slot.kind));
            at = slot.end as usize;
        }
        self.signature.extend_from_slice(&line.as_bytes()[at..]);
    }

    /// Takes up the layout of the line, if there is room for it.
    fn learn(&mut self, line: &str, syntax: Syntax) -> Option<u32> {
        if !self.admits() {
            return None;
        }
        let layout = Layout::of(syntax, line, &self.slots.0)?;
        let new = layout.variables.iter().filter(|v| !self.by_variable.contains_key(*v)).count();
        if self.variables.len() + new > COLUMNS_MAX {
            return None;
        }
        let expected = self.expected;
        let columns = layout.variables.iter().map(|variable| {
            *self.by_variable.entry(variable.clone()).or_insert_with(|| {
                self.variables.push(variable.clone());
                self.values.push(Values::new(variable.kind, expected));
                (self.values.len() - 1) as u32
            })
        });
        let columns = columns.collect();
        self.layouts.push(Known { syntax, layout, columns, signature: self.signature.as_slice().into() });
        Some((self.layouts.len() - 1) as u32)
    }

    /// Whether there is room for one more layout: lines whose keys are data (ids, names) must not make each a layout.
    fn admits(&self) -> bool {
        let n = self.layouts.len();
        n < LAYOUTS_FREE || (n < LAYOUTS_MAX && n * LINES_A_LAYOUT < self.seen)
    }

    /// The lines as columns, which get the buffers.
    fn finish(&mut self) -> BodyColumns {
        let mut columns: Vec<(BodyColumnId, ArrayRef)> = Vec::with_capacity(self.values.len() + 2);
        // Layouts are numbered as they come, so that the dictionary has those that occur.
        let mut numbers = vec![WHOLE; self.layouts.len()];
        let mut texts: Vec<String> = Vec::new();
        let mut keys = Vec::with_capacity(self.rows);
        for key in &self.keys {
            let Some(number) = numbers.get_mut(*key as usize) else {
                keys.push(WHOLE);
                continue;
            };
            if *number == WHOLE {
                *number = texts.len() as u32;
                texts.push(self.layouts[*key as usize].layout.text());
            }
            keys.push(*number);
        }
        let whole = keys.contains(&WHOLE);
        if whole || texts.is_empty() {
            self.pad_whole();
            columns.push((BodyColumnId::Text, std::mem::take(&mut self.whole).array(self.whole_nulls.finish())));
        }
        if !texts.is_empty() {
            let keys: PrimitiveArray<UInt32Type> =
                if whole { keys.iter().map(|k| (*k != WHOLE).then_some(*k)).collect() } else { keys.into() };
            let texts = StringArray::from_iter_values(&texts);
            columns.push((BodyColumnId::Layout, Arc::new(DictionaryArray::new(keys, Arc::new(texts)))));
        }
        for (variable, values) in self.variables.iter().zip(&mut self.values) {
            if !values.is_empty() {
                columns.push((BodyColumnId::Value(variable.clone()), values.take(self.rows)));
            }
        }
        columns.sort_by(|(a, _), (b, _)| a.cmp(b));
        BodyColumns { rows: self.rows, columns }
    }

    /// The lines as columns; the builder has none then, but still knows its layouts: for the next lines of the same
    /// kind. So all batches of one builder together have at most [`COLUMNS_MAX`] variable columns.
    pub fn seal(&mut self) -> BodyColumns {
        let columns = self.finish();
        (self.rows, self.bytes) = (0, 0);
        self.keys.clear();
        self.whole = Texts::default();
        self.whole_nulls = NullBufferBuilder::new(1024);
        columns
    }

    /// The lines as columns; the builder is empty then.
    pub fn take(&mut self) -> BodyColumns {
        let columns = self.finish();
        *self = Self::default();
        columns
    }
}

/// Plain text is worth splitting where lines share patterns; free prose is not, and a look at it is not free.
#[derive(Debug, Default)]
struct Tried {
    lines: u32,
    kept: u32,
    skipped: u32,
    /// How often patterns that are no layouts yet were seen, by the hash of their signature.
    seen: HashMap<u64, u8, FixedState>,
}

/// So many lines of a pattern make it a layout.
const PATTERN_LINES: u8 = 4;
/// Patterns that are counted at a time.
const PATTERNS_MAX: usize = 4096;

impl Tried {
    /// Counts a pattern; whether it has come often enough to become a layout.
    fn recurs(&mut self, signature: u64) -> bool {
        if self.seen.len() >= PATTERNS_MAX {
            self.seen.clear();
        }
        let times = self.seen.entry(signature).or_default();
        *times += 1;
        let recurs = *times >= PATTERN_LINES;
        if recurs {
            self.seen.remove(&signature);
        }
        recurs
    }

    /// Whether to look at the next line: always at first and while half of them go well, else at one in sixteen.
    fn again(&mut self) -> bool {
        if self.lines >= 256 && self.kept < self.lines / 2 && self.skipped < 15 {
            self.skipped += 1;
            return false;
        }
        self.skipped = 0;
        self.lines = self.lines.saturating_add(1);
        true
    }
}

/// A mark of a kind that cannot be mistaken for text of a line that is split: U+0001, which such a line does not have.
fn kind_mark(kind: Kind) -> [u8; 3] {
    let (a, b) = match kind {
        Kind::Int => (0, 0),
        Kind::Decimal(scale) => (1, scale),
        Kind::Float => (2, 0),
        Kind::Number => (3, 0),
        Kind::Bool => (4, 0),
        Kind::Hex(bytes) => (5, bytes),
        Kind::Str => (6, 0),
        Kind::Escaped => (7, 0),
        Kind::Json => (8, 0),
    };
    [1, a, b]
}

/// The variables of the line at hand.
#[derive(Debug, Default)]
struct Slots(Vec<Slot>);

impl Visit for Slots {
    #[inline]
    fn key(&mut self, _: usize, _: usize) {}
    #[inline]
    fn enter(&mut self) {}
    #[inline]
    fn leave(&mut self) {}
    #[inline]
    fn slot(&mut self, slot: Slot) {
        self.0.push(slot);
    }
}

impl Known {
    /// Whether the line, of JSON or logfmt, has this layout; its variables are in `slots` then, just as [`walk`] finds them: between equal
    /// literals a walk is in equal states, and each variable ends where a walk ends it.
    fn fits(&self, line: &str, slots: &mut Slots) -> bool {
        slots.0.clear();
        let bytes = line.as_bytes();
        let mut at = 0;
        for (literal, variable) in self.layout.literals.iter().zip(&self.layout.variables) {
            let Some(rest) = bytes.get(at..).and_then(|r| r.strip_prefix(literal.as_bytes())) else { return false };
            at = bytes.len() - rest.len();
            let (end, kind, value) = match variable.kind {
                _ if self.syntax == Syntax::Logfmt => match logfmt::value(line, at, literal.ends_with('"')) {
                    Some(found) => found,
                    None => return false,
                },
                Kind::Str | Kind::Hex(_) | Kind::Escaped => match string(bytes, at) {
                    Some((end, true)) => (end, Kind::Escaped, 0),
                    Some((end, false)) => (end, string_kind(&bytes[at..end]), 0),
                    None => return false,
                },
                Kind::Int | Kind::Decimal(_) | Kind::Float | Kind::Number => match rest.first() {
                    Some(b'-' | b'0'..=b'9') => match number(line, at) {
                        Some(found) => found,
                        None => return false,
                    },
                    _ => return false,
                },
                Kind::Bool if rest.starts_with(b"true") => (at + 4, Kind::Bool, 1),
                Kind::Bool if rest.starts_with(b"false") => (at + 5, Kind::Bool, 0),
                // Rare, and a walk does it as well.
                Kind::Bool | Kind::Json => return false,
            };
            if kind != variable.kind {
                return false;
            }
            slots.0.push(Slot { start: at as u32, end: end as u32, kind, number: value });
            at = end;
        }
        self.layout.literals.last().is_some_and(|tail| bytes[at..] == *tail.as_bytes())
    }
}

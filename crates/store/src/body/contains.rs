//! Finds a text in lines without putting them together.
//!
//! A needle is in a line of `literal variable literal variable … literal` in one of three ways: inside a literal (then
//! every line of the layout has it), inside a variable's text, or across at least one border. In the last case it
//! overlaps some literal first; the ways to lay the needle over that literal are few and the same for all lines of the
//! layout, and only these are checked against the variables beside it. Literals between variables are never empty (a
//! separator stands there), so no way is left out.

use arrow_array::{Array, StringArray};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};
use memchr::memmem::Finder;

use super::column::{BodyColumnId, Kind, Variable};
use super::layout::Layout;
use super::view::{BodyView, Bound, Cells, TextCells};
use super::{BodyColumns, BodyError};

/// Which lines have it.
impl BodyView<'_> {
    /// For each row whether its line contains `needle`, byte for byte: the same as asking each restored line. False
    /// where a row has no line.
    #[must_use]
    pub fn contains(&self, needle: &str) -> BooleanBuffer {
        let needle = needle.as_bytes();
        let mut hits = vec![false; self.rows];
        let finder = Finder::new(needle);
        if let Some(text) = self.text {
            text_hits(text, &finder, &mut hits);
        }
        let mut across = Vec::with_capacity(self.layouts.len());
        let mut searched: Vec<*const ()> = Vec::new();
        for bound in &self.layouts {
            let Some(bound) = bound else {
                across.push(Across::Never);
                continue;
            };
            let way = Across::new(&bound.layout, needle);
            if !matches!(way, Across::Always) {
                for (cells, variable) in bound.cells.iter().zip(&bound.layout.variables) {
                    if !may_contain(variable.kind, needle) {
                        continue;
                    }
                    // Layouts share columns; one search does.
                    let identity = cells.identity();
                    if !searched.contains(&identity) {
                        searched.push(identity);
                        cells.hits(&finder, &mut hits);
                    }
                }
            }
            across.push(way);
        }
        if across.iter().any(|a| !matches!(a, Across::Never)) {
            let mut scratch = Vec::new();
            for (row, hit) in hits.iter_mut().enumerate().filter(|(_, hit)| !**hit) {
                if let Some((key, bound)) = self.layout(row) {
                    *hit = match &across[key] {
                        Across::Never => false,
                        Across::Always => true,
                        Across::Ways(ways) => ways.iter().any(|way| way.fits(bound, row, needle, &mut scratch)),
                    };
                }
            }
        }
        let mut out = BooleanBufferBuilder::new(self.rows);
        out.append_slice(&hits);
        out.finish()
    }
}

/// What [`BodyView::contains`] looks at.
#[derive(Debug, Default)]
pub(crate) struct Searched {
    /// Variables whose columns have to have been read.
    pub(crate) read: Vec<Variable>,
    /// Texts that are only searched, each for itself: whoever finds the needle in them otherwise need not read them.
    pub(crate) text: Vec<Variable>,
}

impl BodyColumns {
    /// What has to be looked at for this needle; only the layouts need to have been read to ask.
    ///
    /// # Errors
    /// A layout that is none.
    pub(crate) fn searched(&self, needle: &str) -> Result<Searched, BodyError> {
        let mut out = Searched::default();
        let Some(array) = self.get(&BodyColumnId::Layout) else { return Ok(out) };
        let Some(TextCells::Keyed(_, texts)) = TextCells::of(array) else {
            return Err(BodyError::Type("body.layout".to_owned()));
        };
        for text in texts.iter().flatten() {
            let layout = Layout::parse(text)?;
            match Across::new(&layout, needle.as_bytes()) {
                Across::Always => continue,
                Across::Ways(ways) => {
                    let beside = ways.iter().flat_map(|way| way.variables(&layout, needle.len()));
                    out.read.extend(beside.map(|at| layout.variables[at].clone()));
                }
                Across::Never => {}
            }
            for variable in layout.variables.into_iter().filter(|v| may_contain(v.kind, needle.as_bytes())) {
                if variable.kind.is_text() { out.text.push(variable) } else { out.read.push(variable) }
            }
        }
        for list in [&mut out.read, &mut out.text] {
            list.sort();
            list.dedup();
        }
        out.text.retain(|v| !out.read.contains(v));
        Ok(out)
    }
}

/// Whether the text of a value of this kind can contain the needle.
fn may_contain(kind: Kind, needle: &[u8]) -> bool {
    let only = |allowed: fn(&u8) -> bool| needle.iter().all(allowed);
    match kind {
        Kind::Int => needle.len() <= 20 && only(|b| matches!(b, b'0'..=b'9' | b'-')),
        Kind::Decimal(_) => needle.len() <= 20 && only(|b| matches!(b, b'0'..=b'9' | b'-' | b'.')),
        Kind::Float => only(|b| matches!(b, b'0'..=b'9' | b'-' | b'.')),
        Kind::Bool => memchr::memmem::find(b"true", needle).or(memchr::memmem::find(b"false", needle)).is_some(),
        Kind::Hex(bytes) => needle.len() <= usize::from(bytes) * 2 && only(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
        Kind::Number | Kind::Str | Kind::Escaped | Kind::Json => true,
    }
}

/// How a needle lies across the borders of a layout.
#[derive(Debug)]
enum Across {
    /// A literal has it whole.
    Always,
    /// In one of these ways, depending on the variables.
    Ways(Vec<Way>),
    /// In none.
    Never,
}

/// A needle laid over a layout: the first literal that it overlaps.
#[derive(Debug)]
struct Way {
    /// Which literal.
    literal: usize,
    /// So many bytes of the needle lie before it, at the end of the variable there.
    before: usize,
    /// The rest of the needle, after this literal, starts here in it; the needle's length when the literal ends it.
    after: usize,
}

impl Across {
    fn new(layout: &Layout, needle: &[u8]) -> Self {
        let mut ways = Vec::new();
        let last = layout.variables.len();
        for (i, literal) in layout.literals.iter().enumerate() {
            let literal = literal.as_bytes();
            if memchr::memmem::find(literal, needle).is_some() {
                return Self::Always;
            }
            // Starts in the literal, goes on past its end.
            if i < last {
                let longest = literal.len().min(needle.len().saturating_sub(1));
                ways.extend((1..=longest).filter(|n| literal.ends_with(&needle[..*n])).map(|n| Way {
                    literal: i,
                    before: 0,
                    after: n,
                }));
            }
            // Starts in the variable before.
            if i > 0 {
                for before in 1..needle.len() {
                    let rest = &needle[before..];
                    if literal.starts_with(rest) {
                        ways.push(Way { literal: i, before, after: needle.len() });
                    } else if i < last && rest.starts_with(literal) {
                        ways.push(Way { literal: i, before, after: before + literal.len() });
                    }
                }
            }
        }
        if ways.is_empty() { Self::Never } else { Self::Ways(ways) }
    }
}

impl Way {
    /// The variables that the needle may reach into, of `length` bytes.
    fn variables(&self, layout: &Layout, length: usize) -> std::ops::Range<usize> {
        let from = self.literal - usize::from(self.before > 0);
        let (mut to, mut left) = (self.literal, length - self.after);
        // A variable may be empty.
        while left > 0 && to < layout.variables.len() {
            to += 1;
            left = left.saturating_sub(layout.literals[to].len());
        }
        from..to
    }

    fn fits(&self, bound: &Bound<'_>, row: usize, needle: &[u8], scratch: &mut Vec<u8>) -> bool {
        let mut text = |variable: usize, check: &mut dyn FnMut(&[u8]) -> bool| -> bool {
            let cells = &bound.cells[variable];
            if let Cells::Text(t) = cells {
                return t.get(row).is_some_and(|t| check(t.as_bytes()));
            }
            scratch.clear();
            !cells.is_null(row) && {
                cells.write(row, scratch);
                check(scratch)
            }
        };
        if self.before > 0 && !text(self.literal - 1, &mut |t| t.ends_with(&needle[..self.before])) {
            return false;
        }
        // What is left must begin the rest of the line: variable, literal, variable, …
        let mut rest = &needle[self.after..];
        let mut variable = self.literal;
        while !rest.is_empty() {
            if variable == bound.cells.len() {
                return false;
            }
            let mut tail = None;
            let fits = text(variable, &mut |t| {
                if t.len() >= rest.len() {
                    tail = Some(rest.len());
                    t.starts_with(rest)
                } else {
                    tail = Some(t.len());
                    rest.starts_with(t)
                }
            });
            if !fits {
                return false;
            }
            rest = &rest[tail.unwrap_or(0)..];
            variable += 1;
            let literal = bound.layout.literals[variable].as_bytes();
            if literal.len() >= rest.len() {
                return literal.starts_with(rest);
            }
            match rest.strip_prefix(literal) {
                Some(tail) => rest = tail,
                None => return false,
            }
        }
        true
    }
}

impl Cells<'_> {
    /// Tells columns apart: where the array lies.
    pub(super) fn identity(&self) -> *const () {
        match self {
            Self::Int(a) => std::ptr::from_ref(*a).cast(),
            Self::Decimal(a, _) => std::ptr::from_ref(*a).cast(),
            Self::WideDecimal(a, _) => std::ptr::from_ref(*a).cast(),
            Self::Float(a) => std::ptr::from_ref(*a).cast(),
            Self::Bool(a) => std::ptr::from_ref(*a).cast(),
            Self::Hex(a) => std::ptr::from_ref(*a).cast(),
            Self::Text(TextCells::Plain(a)) => std::ptr::from_ref(*a).cast(),
            Self::Text(TextCells::Keyed(a, _)) => std::ptr::from_ref(*a).cast(),
            Self::Unread => std::ptr::null(),
        }
    }

    /// Marks the rows whose value contains the needle.
    fn hits(&self, finder: &Finder<'_>, hits: &mut [bool]) {
        let needle = finder.needle();
        match self {
            Self::Unread => return,
            Self::Text(t) => return text_hits(*t, finder, hits),
            Self::Hex(a) => {
                let digits = a.value_length() as usize * 2;
                if needle.len() == digits {
                    let bytes: Vec<u8> = needle.chunks_exact(2).map(super::values::byte).collect();
                    for (row, hit) in hits.iter_mut().enumerate() {
                        *hit |= a.value(row) == bytes && !a.is_null(row);
                    }
                    return;
                }
            }
            _ => {}
        }
        let mut text = Vec::new();
        for (row, hit) in hits.iter_mut().enumerate() {
            if !*hit && !self.is_null(row) {
                text.clear();
                self.write(row, &mut text);
                *hit = finder.find(&text).is_some();
            }
        }
    }
}

fn text_hits(texts: TextCells<'_>, finder: &Finder<'_>, hits: &mut [bool]) {
    match texts {
        TextCells::Plain(texts) => {
            each_hit(texts, finder, |row| hits[row] = true);
        }
        TextCells::Keyed(keys, texts) => {
            let mut found = vec![false; texts.len()];
            let mut any = false;
            each_hit(texts, finder, |key| {
                found[key] = true;
                any = true;
            });
            if any {
                for (key, hit) in keys.iter().zip(hits) {
                    *hit |= key.is_some_and(|k| found[k as usize]);
                }
            }
        }
    }
}

/// Calls `each` with the rows whose text contains the needle.
fn each_hit(texts: &StringArray, finder: &Finder<'_>, mut each: impl FnMut(usize)) {
    let length = finder.needle().len();
    if length == 0 {
        (0..texts.len()).filter(|row| !texts.is_null(*row)).for_each(each);
        return;
    }
    // One search over all texts as they lie in memory; a hit across two of them is none.
    let (offsets, bytes) = (texts.value_offsets(), texts.value_data());
    let end = offsets.last().map_or(0, |e| *e as usize);
    let mut at = offsets.first().map_or(0, |e| *e as usize);
    let mut row = 0;
    while let Some(found) = bytes.get(at..end).and_then(|b| finder.find(b)) {
        let from = at + found;
        // Hits are near each other, or rare.
        let mut step = 1;
        while offsets.get(row + step).is_some_and(|o| *o as usize <= from) {
            row += step;
            step *= 2;
        }
        row += offsets[row..offsets.len().min(row + step)].partition_point(|o| *o as usize <= from) - 1;
        let row_end = offsets[row + 1] as usize;
        if from + length <= row_end {
            // A null may hide bytes.
            if !texts.is_null(row) {
                each(row);
            }
            at = row_end;
        } else {
            at = from + 1;
        }
    }
}

//! What lines of JSON have under a name, told from the columns that they are split into.
//!
//! A value's *name* is the keys that lead to it, joined by `_`, with `_` for whatever is no ASCII letter or digit. The
//! answer is about lines in which the name is plain to see: at most one value goes by it, it is a number, and nothing in the
//! line needs a closer look (escapes in keys, odd keys, arrays). Of others it says that they are unclear; whoever wants them
//! reads the line. What is said of a line depends on nothing but its text: [`member`] says the same.

use arrow_array::Array;
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder, NullBuffer};

use super::column::{BodyColumnId, Kind, Variable};
use super::json::{self, Slot, Visit};
use super::layout::{Layout, Syntax};
use super::view::{BodyView, Cells, TextCells};
use super::{BodyColumns, BodyError};

/// Of a line with more values nothing is told.
const MEMBERS_MAX: usize = 1024;

/// What a line has under a name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Member {
    /// Nothing.
    Absent,
    /// This number, to the nearest double.
    Number(f64),
    /// The line has to be read.
    Unclear,
}

/// What a layout tells of a name in all of its lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Absent,
    /// It is the number in this variable.
    Number(usize),
    Unclear,
}

/// What `line` has under `name`.
#[must_use]
pub fn member(line: &str, name: &str) -> Member {
    let mut slots = Slots::default();
    // Names of so many are found out in a time that grows with their square; no line with nearly as many is split.
    if json::walk(line, &mut slots).is_none() || slots.0.len() > MEMBERS_MAX {
        return Member::Unclear;
    }
    match Layout::of(Syntax::Json, line, &slots.0).map(|layout| told(&layout, name)) {
        Some(Told::Absent) => Member::Absent,
        Some(Told::Number(at)) => slots.0.get(at).and_then(number).map_or(Member::Unclear, Member::Number),
        _ => Member::Unclear,
    }
}

#[derive(Default)]
struct Slots(Vec<Slot>);

impl Visit for Slots {
    fn key(&mut self, _: usize, _: usize) {}
    fn enter(&mut self) {}
    fn leave(&mut self) {}
    fn slot(&mut self, slot: Slot) {
        self.0.push(slot);
    }
}

fn number(slot: &Slot) -> Option<f64> {
    match slot.kind {
        Kind::Int => Some(slot.number as f64),
        Kind::Decimal(scale) => Some(decimal(slot.number, scale)),
        Kind::Float => Some(f64::from_bits(slot.number as u64)),
        _ => None,
    }
}

/// Digits and places after the point to the nearest double.
#[inline]
fn decimal(digits: i64, scale: u8) -> f64 {
    const POWERS: [f64; 7] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6];
    let power = POWERS.get(usize::from(scale)).copied().unwrap_or(f64::NAN);
    // Both are exact then, so that one rounding is all there is.
    if digits.unsigned_abs() <= 1 << 53 {
        return digits as f64 / power;
    }
    let sign = if digits < 0 { "-" } else { "" };
    let (whole, rest) = (digits.unsigned_abs() / power as u64, digits.unsigned_abs() % power as u64);
    format!("{sign}{whole}.{rest:0width$}", width = usize::from(scale)).parse().unwrap_or(f64::NAN)
}

/// Whether a path of keys can be read as a name without a closer look.
fn is_plain(path: &str) -> bool {
    path.split('.').all(|key| {
        key.starts_with(|c: char| c.is_ascii_graphic() && !c.is_ascii_digit())
            && key.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
            && !key.ends_with(' ')
            && !key.contains('\\')
    })
}

/// Whether a path of keys reads as `name`.
fn reads(path: &str, name: &str) -> bool {
    path.len() == name.len()
        && path.bytes().zip(name.bytes()).all(|(p, n)| if p.is_ascii_alphanumeric() { p == n } else { n == b'_' })
}

fn told(layout: &Layout, name: &str) -> Told {
    let odd = |v: &Variable| v.kind == Kind::Json || !is_plain(&v.path);
    if layout.literals.iter().any(|l| l.contains('\\')) || layout.variables.iter().any(odd) {
        return Told::Unclear;
    }
    let mut found = layout.variables.iter().enumerate().filter(|(_, v)| reads(&v.path, name));
    match (found.next(), found.next()) {
        (None, _) => Told::Absent,
        (Some((at, v)), None) if is_number(v.kind) => Told::Number(at),
        _ => Told::Unclear,
    }
}

fn is_number(kind: Kind) -> bool {
    matches!(kind, Kind::Int | Kind::Decimal(_) | Kind::Float)
}

/// Whether the lines of a layout are JSON: one of them, made up, is read as such, with the same variables.
fn is_json(layout: &Layout) -> bool {
    let mut line = String::new();
    for (literal, variable) in layout.literals.iter().zip(&layout.variables) {
        line.push_str(literal);
        line.push_str(match variable.kind {
            Kind::Int => "1",
            Kind::Decimal(_) | Kind::Float => "1.5",
            Kind::Number => "1e1",
            Kind::Bool => "true",
            Kind::Hex(_) | Kind::Str | Kind::Escaped => "x",
            Kind::Json => "[]",
        });
    }
    line.push_str(layout.literals.last().map_or("", |l| l));
    let mut slots = Slots::default();
    json::walk(&line, &mut slots).is_some()
        && Layout::of(Syntax::Json, &line, &slots.0).is_some_and(|read| {
            read.variables.len() == layout.variables.len()
                && read.variables.iter().zip(&layout.variables).all(|(a, b)| a.path == b.path)
        })
}

fn told_of(layout: &Layout, name: &str) -> Told {
    if is_json(layout) { told(layout, name) } else { Told::Unclear }
}

/// What a layout, as its column keeps it, tells of a name in all of its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InLayout {
    /// Nothing goes by it.
    Absent,
    /// The number in this variable.
    Number(Variable),
    /// The lines have to be read.
    Unclear,
}

/// A layout that is asked for several names; `None` where its lines are not JSON.
pub(crate) struct KnownLayout(Option<Layout>);

impl KnownLayout {
    /// The layout as its column keeps it.
    ///
    /// # Errors
    /// A layout that is none.
    pub(crate) fn parse(text: &str) -> Result<Self, BodyError> {
        Ok(Self(Some(Layout::parse(text)?).filter(is_json)))
    }

    /// See [`InLayout`].
    pub(crate) fn told(&self, name: &str) -> InLayout {
        let Some(layout) = &self.0 else { return InLayout::Unclear };
        match told(layout, name) {
            Told::Absent => InLayout::Absent,
            Told::Number(at) => layout.variables.get(at).cloned().map_or(InLayout::Unclear, InLayout::Number),
            Told::Unclear => InLayout::Unclear,
        }
    }
}

/// The number that an integer, or the digits of a decimal, stand for; ascends with them.
pub(crate) fn number_of(kind: Kind, stored: i64) -> f64 {
    match kind {
        Kind::Decimal(scale) => decimal(stored, scale),
        _ => stored as f64,
    }
}

/// Whether the lines that have a value in a column may have a number under `name`, by the column's variable.
#[must_use]
pub fn may_be_number(variable: &Variable, name: &str) -> bool {
    is_number(variable.kind) && reads(&variable.path, name)
}

impl BodyColumns {
    /// The variables whose columns [`BodyView::member`] looks at; only the layouts need to have been read to ask.
    ///
    /// # Errors
    /// A layout that is none.
    pub fn members(&self, name: &str) -> Result<Vec<Variable>, BodyError> {
        let mut out = Vec::new();
        let Some(array) = self.get(&BodyColumnId::Layout) else { return Ok(out) };
        let Some(TextCells::Keyed(_, texts)) = TextCells::of(array) else {
            return Err(BodyError::Type("body.layout".to_owned()));
        };
        for text in texts.iter().flatten() {
            let layout = Layout::parse(text)?;
            if let Told::Number(at) = told_of(&layout, name) {
                out.extend(layout.variables.into_iter().nth(at));
            }
        }
        out.sort();
        out.dedup();
        Ok(out)
    }
}

impl BodyView<'_> {
    /// For each row whether `absent` (its line has nothing under the name) or `holds` (of the number that it has there); false
    /// where the line is unclear, or there is none. The columns that [`BodyColumns::members`] names must have been read.
    #[must_use]
    pub fn member(&self, name: &str, absent: bool, holds: &dyn Fn(f64) -> bool) -> BooleanBuffer {
        let mut out = BooleanBuffer::new_unset(self.rows);
        let mut clear = vec![false; self.layouts.len()];
        let mut lacking = vec![false; self.layouts.len()];
        let mut searched: Vec<*const ()> = Vec::new();
        for (key, bound) in self.layouts.iter().enumerate() {
            let Some(bound) = bound else { continue };
            match told_of(&bound.layout, name) {
                Told::Unclear => {}
                Told::Absent => {
                    clear[key] = true;
                    lacking[key] = true;
                }
                Told::Number(at) => {
                    clear[key] = true;
                    // Layouts share columns; one look does.
                    let cells = &bound.cells[at];
                    if !searched.contains(&cells.identity()) {
                        searched.push(cells.identity());
                        out = &out | &passing(cells, self.rows, holds);
                    }
                }
            }
        }
        if let Some(keys) = self.keys {
            let used = |flags: &[bool]| (0..flags.len()).all(|k| flags[k] || self.layouts[k].is_none());
            let rows_of = |flags: &[bool]| {
                let values = keys.values();
                let bits =
                    BooleanBuffer::collect_bool(self.rows, |row| flags.get(values[row] as usize).copied().unwrap_or(false));
                keys.nulls().map_or(bits.clone(), |n| &bits & n.inner())
            };
            // A column may have values of lines that are not clear.
            if !used(&clear) {
                out = &out & &rows_of(&clear);
            }
            if absent && lacking.contains(&true) {
                out = &out | &rows_of(&lacking);
            }
        }
        let Some(text) = self.text else { return out };
        let whole = |row: usize| {
            let line = if self.is_whole(row) { text.get(row) } else { None };
            line.is_some_and(|line| match member(line, name) {
                Member::Absent => absent,
                Member::Number(number) => holds(number),
                Member::Unclear => false,
            })
        };
        match text {
            TextCells::Plain(texts) if texts.null_count() == self.rows => out,
            TextCells::Keyed(keys, _) if keys.null_count() == self.rows => out,
            _ => {
                let mut bits = BooleanBufferBuilder::new(self.rows);
                (0..self.rows).for_each(|row| bits.append(out.value(row) || whole(row)));
                bits.finish()
            }
        }
    }
}

/// The rows whose number passes.
fn passing(cells: &Cells<'_>, rows: usize, holds: &dyn Fn(f64) -> bool) -> BooleanBuffer {
    let valid = |bits: BooleanBuffer, nulls: Option<&NullBuffer>| nulls.map_or(bits.clone(), |n| &bits & n.inner());
    match cells {
        Cells::Int(a) => {
            let values = a.values();
            valid(BooleanBuffer::collect_bool(rows, |row| holds(values[row] as f64)), a.nulls())
        }
        Cells::Decimal(a, scale) => {
            let values = a.values();
            valid(BooleanBuffer::collect_bool(rows, |row| holds(decimal(values[row], *scale))), a.nulls())
        }
        Cells::WideDecimal(a, scale) => {
            let values = a.values();
            valid(BooleanBuffer::collect_bool(rows, |row| holds(decimal(values[row] as i64, *scale))), a.nulls())
        }
        Cells::Float(a) => {
            let values = a.values();
            valid(BooleanBuffer::collect_bool(rows, |row| holds(values[row])), a.nulls())
        }
        _ => BooleanBuffer::new_unset(rows),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::BodyBuilder;
    use super::*;

    #[test]
    fn names_are_found_where_they_are_plain_to_see() {
        for (line, expected) in [
            (r#"{"status":200}"#, Member::Number(200.0)),
            (r#"{"status":-2.50,"x":null}"#, Member::Number(-2.5)),
            (r#"{"a":{"status":1}}"#, Member::Absent),
            (r#"{"status":null}"#, Member::Absent),
            (r#"{"status":"200"}"#, Member::Unclear),
            (r#"{"status":1,"status":2}"#, Member::Unclear),
            (r#"{"status":1,"a":[1]}"#, Member::Unclear),
            (r#"{"status":1,"\u0061":null}"#, Member::Unclear),
            (r#"{"status":1,"0":2}"#, Member::Unclear),
            (r#"{"status":1e2}"#, Member::Unclear),
            (r#"{"status":123456789012.345678}"#, Member::Number("123456789012.345678".parse().expect("a number"))),
            ("status=1", Member::Unclear),
            ("", Member::Unclear),
        ] {
            assert_eq!(member(line, "status"), expected, "{line}");
        }
        for line in [r#"{"a":{"b":1}}"#, r#"{"a.b":1}"#, r#"{"a_b":1}"#, r#"{"a-b":1}"#] {
            assert_eq!(member(line, "a_b"), Member::Number(1.0), "{line}");
        }
        assert_eq!(member(r#"{"a":{"b":1},"a.b":2}"#, "a_b"), Member::Unclear);
    }

    #[test]
    fn json_without_a_variable_is_no_plain_text() {
        let mut builder = BodyBuilder::default();
        // Often enough for a pattern of words.
        assert!((0..100).all(|_| builder.append(r#"{"status":null}"#)));
        let columns = builder.seal();
        let absent = columns.view().expect("a view").member("status", true, &|_| true);
        assert_eq!(absent.count_set_bits(), 100);
    }

    fn line() -> impl Strategy<Value = String> {
        let value = prop_oneof![
            Just("1".to_owned()),
            Just("500".to_owned()),
            Just("2.50".to_owned()),
            Just("0.1234567890123".to_owned()),
            Just("-0".to_owned()),
            Just("1e3".to_owned()),
            Just("null".to_owned()),
            Just("\"x\"".to_owned()),
            Just("\"00112233445566778899aabbccddeeff\"".to_owned()),
            Just("[1]".to_owned()),
            Just("{\"status\":7}".to_owned()),
            Just("true".to_owned()),
            any::<i64>().prop_map(|i| i.to_string()),
        ];
        let key = prop_oneof![Just("status"), Just("a"), Just("a.b"), Just("a-b"), Just("0"), Just("\\u0061"), Just("")];
        let json = proptest::collection::vec((key, value), 0..4).prop_map(|members| {
            let inner: Vec<String> = members.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
            format!("{{{}}}", inner.join(","))
        });
        prop_oneof![4 => json, 1 => Just("status=1 a=2".to_owned()), 1 => "[{}\":,a1 ]{0,12}"]
    }

    proptest! {
        #[test]
        fn columns_say_what_the_line_says(lines in proptest::collection::vec(line(), 1..40), least in -1e3..1e3f64) {
            let mut builder = BodyBuilder::default();
            let taken = lines.iter().all(|line| builder.append(line));
            prop_assume!(taken);
            let columns = builder.seal();
            let view = columns.view().expect("a view");
            for name in ["status", "a", "a_b"] {
                for absent in [false, true] {
                    let found = view.member(name, absent, &|n| n >= least);
                    for (row, line) in lines.iter().enumerate() {
                        let expected = match member(line, name) {
                            Member::Absent => absent,
                            Member::Number(n) => n >= least,
                            Member::Unclear => false,
                        };
                        prop_assert_eq!(found.value(row), expected, "{} in {}", name, line);
                    }
                }
            }
        }
    }
}

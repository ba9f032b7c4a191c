//! What the footer tells of members of lines of JSON (`Predicate::Member`): of which zones all rows pass, and of which none.
//!
//! It knows the layouts of a zone's lines, and the bounds of the numbers in it as they are kept, which ascend with what they stand for
//! (`zones`). Lines that are unclear pass no comparison, as ever. Where something is not said, the rows are looked at.

use std::ops::Range;

use arrow_buffer::BooleanBuffer;

use super::footer::Footer;
use super::pick::{Left, Picked};
use super::zones::Zones;
use crate::StoreError;
use crate::body::InLayout;
use crate::contract::{CompareOp, MemberTest, Predicate, Table};

/// Which rows of a zone pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    No,
    Unknown,
    All,
}

impl Pass {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::All, Self::All) => Self::All,
            _ => Self::Unknown,
        }
    }

    fn not(self) -> Self {
        match self {
            Self::No => Self::All,
            Self::Unknown => Self::Unknown,
            Self::All => Self::No,
        }
    }
}

/// Of each zone of a row group whether its rows pass.
pub(super) struct Told {
    /// Where the zones end.
    ends: Vec<u32>,
    zones: Vec<Pass>,
}

impl Told {
    /// `None` where nothing is known.
    pub(super) fn of(footer: &Footer, group: usize, predicate: &Predicate) -> Option<Self> {
        let zones = footer.zones.as_ref().filter(|_| asks(predicate))?;
        let ends = zones.ends(group, footer.rows(group))?;
        let told = Asked { zones, group, count: ends.len() }.passes(predicate);
        told.iter().any(|p| *p != Pass::Unknown).then_some(Self { ends, zones: told })
    }

    /// Whether a row may pass.
    pub(super) fn may_match(&self) -> bool {
        self.zones.iter().any(|p| *p != Pass::No)
    }

    /// Whether all rows pass.
    pub(super) fn certain(&self) -> bool {
        self.zones.iter().all(|p| *p == Pass::All)
    }

    /// The zones with their rows.
    fn each(&self) -> impl Iterator<Item = (Range<usize>, Pass)> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).zip(&self.zones).map(|((start, end), pass)| (start as usize..*end as usize, *pass))
    }

    /// The rows of the zones in which rows may pass.
    pub(super) fn ranges(&self) -> Vec<Range<usize>> {
        let mut out: Vec<Range<usize>> = Vec::new();
        for (rows, _) in self.each().filter(|(_, p)| *p != Pass::No) {
            match out.last_mut() {
                Some(last) if last.end == rows.start => last.end = rows.end,
                _ => out.push(rows),
            }
        }
        out
    }

    /// Narrows rows to those that pass; `pass` is asked of no other rows than it must be, unless these are most of them anyway.
    ///
    /// # Errors
    /// What `pass` gives.
    pub(super) fn narrow(
        &self,
        left: Left,
        table: Table,
        dear: bool,
        pass: impl FnOnce(&Picked) -> Result<BooleanBuffer, StoreError>,
    ) -> Result<Left, StoreError> {
        let total = self.ends.last().map_or(0, |end| *end as usize);
        let unknown: usize = self.each().filter(|(_, p)| *p == Pass::Unknown).map(|(rows, _)| rows.len()).sum();
        if unknown * 2 > total {
            return left.spread().narrow(table, dear, pass);
        }
        if self.certain() {
            return Ok(left);
        }
        let (mut sure, mut open) = (Vec::new(), Vec::new());
        let rows = left.rows();
        let mut rows = &rows[..];
        for (zone, pass) in self.each() {
            let (own, later) = rows.split_at(rows.partition_point(|row| (*row as usize) < zone.end));
            rows = later;
            match pass {
                Pass::No => {}
                Pass::Unknown => open.extend_from_slice(own),
                Pass::All => sure.extend_from_slice(own),
            }
        }
        if !open.is_empty() {
            sure.extend(Left::Rows(open, total).narrow(table, dear, pass)?.rows());
            sure.sort_unstable();
        }
        Ok(Left::Rows(sure, total).spread())
    }
}

/// Whether it asks for a member at all.
fn asks(predicate: &Predicate) -> bool {
    match predicate {
        Predicate::Member { .. } => true,
        Predicate::And(all) | Predicate::Or(all) => all.iter().any(asks),
        Predicate::Not(p) => asks(p),
        _ => false,
    }
}

struct Asked<'z> {
    zones: &'z Zones,
    group: usize,
    /// How many zones.
    count: usize,
}

impl Asked<'_> {
    /// Zone by zone.
    fn passes(&self, predicate: &Predicate) -> Vec<Pass> {
        let joined = |all: &[Predicate], each: &dyn Fn(&Predicate) -> Vec<Pass>| {
            let both = |known: Vec<Pass>, p| known.into_iter().zip(each(p)).map(|(a, b)| a.and(b)).collect();
            all.iter().fold(vec![Pass::All; self.count], both)
        };
        let not = |zones: Vec<Pass>| zones.into_iter().map(Pass::not).collect::<Vec<_>>();
        match predicate {
            Predicate::True => vec![Pass::All; self.count],
            Predicate::And(all) => joined(all, &|p| self.passes(p)),
            Predicate::Or(some) => not(joined(some, &|p| not(self.passes(p)))),
            Predicate::Not(p) => not(self.passes(p)),
            Predicate::Member { name, test } => self.member(name, *test),
            _ => vec![Pass::Unknown; self.count],
        }
    }

    fn member(&self, name: &str, test: MemberTest) -> Vec<Pass> {
        let told = self.zones.told(name);
        // Of each layout the bounds of what its lines have under the name.
        let bounds = told.iter().map(|told| match (told, test) {
            (InLayout::Number(variable), MemberTest::Compare(..)) => self.zones.bounds(self.group, variable),
            _ => Vec::new(),
        });
        let bounds: Vec<Vec<Option<(f64, f64)>>> = bounds.collect();
        let pass = |(zone, layouts): (usize, Option<&[usize]>)| {
            let each = |layout: &usize| match (&told[*layout], test) {
                (InLayout::Absent, test) if test.absent() => Pass::All,
                (InLayout::Number(_), MemberTest::Plain) => Pass::All,
                (InLayout::Number(_), MemberTest::Compare(op, right)) => {
                    let bounds = bounds[*layout].get(zone).copied().flatten();
                    bounds.map_or(Pass::Unknown, |bounds| compared(bounds, op, right))
                }
                _ => Pass::No,
            };
            let alike = |known: Pass, next: Pass| if known == next { known } else { Pass::Unknown };
            layouts.and_then(|l| l.iter().map(each).reduce(alike)).unwrap_or(Pass::Unknown)
        };
        self.zones.layouts(self.group).enumerate().map(pass).collect()
    }
}

/// Whether numbers between these bounds pass.
fn compared((least, most): (f64, f64), op: CompareOp, right: f64) -> Pass {
    if right.is_nan() {
        return Pass::Unknown;
    }
    let (all, some) = match op {
        CompareOp::Eq => (least == right && most == right, least <= right && right <= most),
        CompareOp::Ne => (right < least || most < right, least != right || most != right),
        CompareOp::Lt => (most < right, least < right),
        CompareOp::Le => (most <= right, least <= right),
        CompareOp::Gt => (least > right, most > right),
        CompareOp::Ge => (least >= right, most >= right),
    };
    match (all, some) {
        (true, _) => Pass::All,
        (_, false) => Pass::No,
        _ => Pass::Unknown,
    }
}

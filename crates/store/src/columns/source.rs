//! The rows of a row group as a filter and a projection see them.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;

use arrow_array::{Array, ArrayRef};
use arrow_buffer::BooleanBuffer;
use memchr::memmem::Finder;

use super::bloom;
use super::body::{self, BODY};
use super::eval::Source;
use super::id::ColumnId;
use super::packed::{Packed, Span};
use super::pick::Picked;
use super::read::OpenSegment;
use crate::StoreError;
use crate::body::{BodyColumnId, BodyColumns, InLayout, Kind, KnownLayout, Searched, Variable, number_of};
use crate::contract::{Field, MemberTest, Table};

/// Rows of a row group: all, or a selection; columns are read when they are asked for, once.
pub(crate) struct GroupSource<'s> {
    table: Table,
    segment: &'s OpenSegment,
    group: usize,
    picked: &'s Picked,
    loaded: RefCell<BTreeMap<usize, ArrayRef>>,
    lines: OnceCell<ArrayRef>,
}

impl<'s> GroupSource<'s> {
    pub(crate) fn new(table: Table, segment: &'s OpenSegment, group: usize, picked: &'s Picked) -> Self {
        Self { table, segment, group, picked, loaded: RefCell::default(), lines: OnceCell::new() }
    }

    /// Reads several columns at once.
    ///
    /// # Errors
    /// IO and [`StoreError::Corrupt`].
    pub(crate) fn prefetch(&self, ids: &[ColumnId]) -> Result<(), StoreError> {
        if !ids.contains(&BODY) {
            return self.prefetch_as_kept(ids);
        }
        let parts = self.segment.footer.columns.iter().map(|c| &c.id).filter(|id| matches!(id, ColumnId::Body(_)));
        self.prefetch_as_kept(&ids.iter().chain(parts).cloned().collect::<Vec<_>>())
    }

    /// Reads several columns at once; of bodies only those parts that are named.
    fn prefetch_as_kept(&self, ids: &[ColumnId]) -> Result<(), StoreError> {
        let footer = &self.segment.footer;
        let mut places: Vec<usize> = ids.iter().filter_map(|id| footer.place(id)).collect();
        places.retain(|p| !self.loaded.borrow().contains_key(p));
        places.sort_unstable();
        places.dedup();
        if places.is_empty() {
            return Ok(());
        }
        let arrays = self.segment.picked(self.group, &places, self.picked)?;
        self.loaded.borrow_mut().extend(places.into_iter().zip(arrays));
        Ok(())
    }
}

impl GroupSource<'_> {
    /// The body columns of the rows: those that `wanted` chooses of the split ones, and the lines that are whole.
    fn bodies(&self, wanted: impl Fn(&BodyColumnId) -> bool) -> Result<BodyColumns, StoreError> {
        let footer = &self.segment.footer;
        let ids = footer.columns.iter().map(|c| &c.id);
        let is_wanted = |id: &&ColumnId| match id {
            ColumnId::Body(body) => wanted(body),
            id => **id == BODY && wanted(&BodyColumnId::Text) && !self.no_line_is_whole(),
        };
        let wanted: Vec<ColumnId> = ids.filter(is_wanted).cloned().collect();
        self.prefetch_as_kept(&wanted)?;
        let mut columns: Vec<(ColumnId, ArrayRef)> = Vec::with_capacity(wanted.len());
        for id in wanted {
            if let Some(array) = self.one(&id)? {
                columns.push((id, array));
            }
        }
        body::collect(&self.segment.meta.file, self.rows(), columns.iter().map(|(id, a)| (id, a)))
    }

    /// A column as the segment has it.
    fn one(&self, id: &ColumnId) -> Result<Option<ArrayRef>, StoreError> {
        let Some(place) = self.segment.footer.place(id) else { return Ok(None) };
        let loaded = self.loaded.borrow().get(&place).cloned();
        match loaded {
            Some(array) => Ok(Some(array)),
            None => {
                let array = self.segment.picked(self.group, &[place], self.picked)?.into_iter().next();
                self.loaded.borrow_mut().extend(array.clone().map(|a| (place, a)));
                Ok(array)
            }
        }
    }
}

impl GroupSource<'_> {
    /// Whether lines of the segment are split.
    fn is_split(&self) -> bool {
        self.segment.footer.columns.iter().any(|c| matches!(c.id, ColumnId::Body(_)))
    }

    /// Whether it is known that each line is split.
    fn no_line_is_whole(&self) -> bool {
        let Some(place) = self.segment.footer.place(&BODY) else { return true };
        if self.segment.footer.zones.as_ref().is_some_and(|zones| zones.all_split(self.group)) {
            return true;
        }
        matches!(self.segment.cached(self.group, place), Some(Packed::Nulls(..)))
    }

    /// [`Source::member`] of all rows, told from the columns as they are kept; `None` where it has to be told otherwise.
    fn packed_member(&self, name: &str, test: MemberTest) -> Result<Option<BooleanBuffer>, StoreError> {
        if self.picked.some().is_some() {
            return Ok(None);
        }
        // Lines that are whole have to be read.
        if let Some(place) = self.segment.footer.place(&BODY).filter(|_| !self.no_line_is_whole())
            && !matches!(self.segment.packed(self.group, place)?, Some(Packed::Nulls(..)))
        {
            return Ok(None);
        }
        let Some(layouts) = self.packed(&ColumnId::Body(BodyColumnId::Layout))? else { return Ok(None) };
        let Some(texts) = layouts.dictionary() else { return Ok(None) };
        let mut told = Vec::with_capacity(texts.len());
        for text in texts.iter() {
            let text = text.unwrap_or("");
            let layout = KnownLayout::parse(text).map_err(body::damaged(&self.segment.meta.file))?;
            told.push(layout.told(name));
        }
        let with = |wanted: &dyn Fn(&InLayout) -> bool| {
            layouts.texts(|_| told.iter().map(wanted).collect()).unwrap_or_else(|| BooleanBuffer::new_unset(self.rows()))
        };
        let mut found = BooleanBuffer::new_unset(self.rows());
        let mut asked: Vec<&Variable> = Vec::new();
        for in_layout in &told {
            let InLayout::Number(variable) = in_layout else { continue };
            if asked.contains(&variable) {
                continue;
            }
            asked.push(variable);
            let Some(column) = self.packed(&ColumnId::Body(BodyColumnId::Value(variable.clone())))? else { return Ok(None) };
            let Some(own) = numbers(&column, variable.kind, test) else { return Ok(None) };
            found = if asked.len() == 1 { own } else { &found | &own };
        }
        // A column may have values of lines that are not clear.
        if told.iter().any(|t| !matches!(t, InLayout::Number(_))) {
            found = &found & &with(&|t| matches!(t, InLayout::Number(_)));
        }
        if test.absent() && told.contains(&InLayout::Absent) {
            found = &found | &with(&|t| *t == InLayout::Absent);
        }
        Ok(Some(found))
    }
}

/// The rows of a variable's column whose number passes; `None` where the column has to be asked otherwise.
fn numbers(column: &Packed, kind: Kind, test: MemberTest) -> Option<BooleanBuffer> {
    let (op, right) = match test {
        MemberTest::Absent => return Some(BooleanBuffer::new_unset(column.rows())),
        MemberTest::Plain => return Some(column.valid()),
        MemberTest::Compare(op, right) => (op, right),
    };
    match column {
        Packed::Nulls(_, rows) => Some(BooleanBuffer::new_unset(*rows)),
        Packed::Integers(..) | Packed::Decimals(..) if !right.is_nan() => {
            let (least, most) = column.bounds()?;
            let less = |n: i64| number_of(kind, n) < right;
            let greater = |n: i64| number_of(kind, n) > right;
            column.numbers(Span::new(op, least, most, less, greater))
        }
        _ => None,
    }
}

impl Source for GroupSource<'_> {
    fn rows(&self) -> usize {
        self.picked.len()
    }

    fn table(&self) -> Table {
        self.table
    }

    fn ids(&self) -> Vec<&ColumnId> {
        let mut ids = self.segment.footer.ids();
        ids.retain(|id| !matches!(id, ColumnId::Body(_)));
        ids
    }

    fn packed(&self, id: &ColumnId) -> Result<Option<Packed>, StoreError> {
        if self.picked.some().is_some() || (*id == BODY && self.is_split()) {
            return Ok(None);
        }
        match self.segment.footer.place(id) {
            Some(place) => self.segment.packed(self.group, place),
            None => Ok(None),
        }
    }

    fn contains(&self, column: Field, needle: &str) -> Result<Option<BooleanBuffer>, StoreError> {
        if column != Field::Body || self.lines.get().is_some() {
            return Ok(None);
        }
        let file = &self.segment.meta.file;
        let layouts = self.bodies(|id| *id == BodyColumnId::Layout)?;
        let Searched { mut read, text } = layouts.searched(needle).map_err(body::damaged(file))?;
        let finder = Finder::new(needle.as_bytes());
        let is_id = bloom::hash_needle(needle).is_some();
        let mut found: Option<BooleanBuffer> = None;
        let mut whole = !self.no_line_is_whole();
        let texts = text.into_iter().map(BodyColumnId::Value).chain(whole.then_some(BodyColumnId::Text));
        for part in texts {
            let id = if part == BodyColumnId::Text { BODY } else { ColumnId::Body(part.clone()) };
            let Some(place) = self.segment.footer.place(&id) else { continue };
            if is_id && !self.segment.footer.may_hold_ids(self.group, place) {
                whole &= part != BodyColumnId::Text;
                continue;
            }
            // Single pages are kept when they are read.
            let as_it_lies = self.picked.is_wide() && !needle.is_empty();
            let at_hand = self.loaded.borrow().contains_key(&place) || self.segment.cached(self.group, place).is_some();
            if !at_hand && !needle.is_empty() && self.segment.dictionary_lacks(self.group, place, needle, &finder)? {
                whole &= part != BodyColumnId::Text;
                continue;
            }
            let own = match as_it_lies && !at_hand {
                true => self.segment.search(self.group, place, &finder, self.picked)?,
                false => None,
            };
            match (own, part) {
                (Some(own), part) => {
                    whole &= part != BodyColumnId::Text;
                    found = Some(found.map_or(own.clone(), |found| &found | &own));
                }
                (None, BodyColumnId::Value(variable)) => read.push(variable),
                (None, _) => {}
            }
        }
        let bodies = self.bodies(|id| match id {
            BodyColumnId::Value(variable) => read.contains(variable),
            BodyColumnId::Text => whole,
            BodyColumnId::Layout => true,
        })?;
        let rest = bodies.partial_view().map_err(body::damaged(file))?.contains(needle);
        Ok(Some(found.map_or(rest.clone(), |found| &found | &rest)))
    }

    fn member(&self, name: &str, test: MemberTest) -> Result<Option<BooleanBuffer>, StoreError> {
        if self.lines.get().is_some() {
            return Ok(None);
        }
        if let Some(found) = self.packed_member(name, test)? {
            return Ok(Some(found));
        }
        let damaged = body::damaged(&self.segment.meta.file);
        let wanted = self.bodies(|id| *id == BodyColumnId::Layout)?.members(name).map_err(&damaged)?;
        let bodies = self.bodies(|id| match id {
            BodyColumnId::Value(variable) => wanted.contains(variable),
            _ => true,
        })?;
        let view = bodies.partial_view().map_err(&damaged)?;
        Ok(Some(view.member(name, test.absent(), &|number| test.holds(number))))
    }

    fn load(&self, id: &ColumnId) -> Result<Option<ArrayRef>, StoreError> {
        if *id == BODY && self.is_split() {
            if let Some(lines) = self.lines.get() {
                return Ok(Some(lines.clone()));
            }
            let lines = body::lines(&self.segment.meta.file, &self.bodies(|_| true)?)?;
            return Ok(Some(self.lines.get_or_init(|| lines).clone()));
        }
        let Some(place) = self.segment.footer.place(id) else { return Ok(None) };
        if !self.loaded.borrow().contains_key(&place) {
            self.prefetch(std::slice::from_ref(id))?;
        }
        Ok(self.loaded.borrow().get(&place).cloned())
    }
}

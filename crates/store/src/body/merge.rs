//! Bodies of several batches become those of one.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::types::UInt32Type;
use arrow_array::{Array, ArrayRef, DictionaryArray, PrimitiveArray, StringArray, new_null_array};
use arrow_select::interleave::interleave;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::column::BodyColumnId;
use super::layout::Layout;
use super::view::TextCells;
use super::{BodyColumns, BodyError};

/// Most variable columns of a merged batch; the lines that use the rarest of more are put together and kept whole.
pub(super) const MERGED_COLUMNS_MAX: usize = 128;
/// Most layouts of a merged batch, likewise.
const MERGED_LAYOUTS_MAX: usize = 8192;
/// Not a layout.
const WHOLE: u32 = u32::MAX;

impl BodyColumns {
    /// The rows `picks` (part, row) of `parts`, in that order, as one batch. Every line stays byte for byte.
    ///
    /// # Errors
    /// When a part is not what a builder or a merge makes.
    pub fn interleave(parts: &[&Self], picks: &[(usize, usize)]) -> Result<Self, BodyError> {
        let merge = |e: arrow_schema::ArrowError| BodyError::Merge(e.to_string());
        let mut layouts = Layouts::default();
        let mut keys = layouts.number(parts, picks)?;
        let columns = layouts.choose(&mut keys)?;

        let mut out = Vec::with_capacity(columns.len() + 2);
        // Lines kept whole: those that were, and those whose layout is dropped.
        let mut whole: Vec<(usize, usize)> = Vec::new();
        let mut whole_at = vec![None; picks.len()];
        for (at, key) in keys.iter().enumerate() {
            if *key == WHOLE {
                whole_at[at] = Some(whole.len());
                whole.push(picks[at]);
            }
        }
        if !whole.is_empty() || layouts.texts.is_empty() {
            let mut views: Vec<Option<super::BodyView<'_>>> = parts.iter().map(|_| None).collect();
            let mut text = super::values::Texts::default();
            let mut valid = Vec::with_capacity(picks.len());
            for (at, (part, row)) in picks.iter().enumerate() {
                let mut has = false;
                if whole_at[at].is_some() {
                    if views[*part].is_none() {
                        views[*part] = Some(parts[*part].view()?);
                    }
                    if let Some(view) = &views[*part] {
                        has = view.write(*row, &mut text.bytes)?;
                    }
                }
                if i32::try_from(text.bytes.len()).is_err() {
                    return Err(BodyError::TooLong);
                }
                text.offsets.push(text.bytes.len() as i32);
                valid.push(has);
            }
            let nulls = valid.contains(&false).then(|| valid.into());
            out.push((BodyColumnId::Text, text.array(nulls)));
        }
        if !layouts.texts.is_empty() && keys.iter().any(|k| *k != WHOLE) {
            let dictionary: PrimitiveArray<UInt32Type> = keys.iter().map(|k| (*k != WHOLE).then_some(*k)).collect();
            let texts = StringArray::from_iter_values(layouts.texts.iter());
            let layout = DictionaryArray::try_new(dictionary, Arc::new(texts)).map_err(merge)?;
            out.push((BodyColumnId::Layout, Arc::new(layout)));
        }
        for id in columns {
            let null = new_null_array(&id.data_type(), 1);
            let mut arrays: Vec<&dyn Array> = Vec::with_capacity(parts.len() + 1);
            let mut place = Vec::with_capacity(parts.len());
            for part in parts {
                place.push(part.get(&id).map(|array| {
                    arrays.push(array.as_ref());
                    arrays.len() - 1
                }));
            }
            arrays.push(null.as_ref());
            let nowhere = (arrays.len() - 1, 0);
            let rows: Vec<(usize, usize)> = picks
                .iter()
                .zip(&keys)
                .map(|((part, row), key)| match place[*part] {
                    Some(array) if *key != WHOLE => (array, *row),
                    _ => nowhere,
                })
                .collect();
            let array = interleave(&arrays, &rows).map_err(merge)?;
            if array.null_count() < array.len() {
                out.push((id, array));
            }
        }
        Self::new(picks.len(), out)
    }
}

/// The layouts of a merge.
#[derive(Default)]
struct Layouts {
    texts: Vec<Box<str>>,
    rows: Vec<usize>,
}

impl Layouts {
    /// Gives the layouts of all parts common numbers; the number of each pick.
    fn number(&mut self, parts: &[&BodyColumns], picks: &[(usize, usize)]) -> Result<Vec<u32>, BodyError> {
        let mut by_text: HashMap<Box<str>, u32, FixedState> = HashMap::default();
        let mut of_parts = Vec::with_capacity(parts.len());
        for part in parts {
            let Some(array) = part.get(&BodyColumnId::Layout) else {
                of_parts.push(None);
                continue;
            };
            let Some(TextCells::Keyed(keys, texts)) = TextCells::of(array) else {
                return Err(BodyError::Type("body.layout".to_owned()));
            };
            let numbers: Vec<u32> = texts
                .iter()
                .map(|text| {
                    let Some(text) = text else { return WHOLE };
                    if let Some(number) = by_text.get(text) {
                        return *number;
                    }
                    let number = self.texts.len() as u32;
                    self.texts.push(text.into());
                    by_text.insert(text.into(), number);
                    number
                })
                .collect();
            of_parts.push(Some((keys, numbers)));
        }
        self.rows = vec![0; self.texts.len()];
        Ok(picks
            .iter()
            .map(|(part, row)| match &of_parts[*part] {
                Some((keys, numbers)) if !keys.is_null(*row) => {
                    let number = numbers[keys.value(*row) as usize];
                    if number != WHOLE {
                        self.rows[number as usize] += 1;
                    }
                    number
                }
                _ => WHOLE,
            })
            .collect())
    }

    /// Keeps the layouts that have most rows as long as their columns fit, and renumbers; the columns, in order.
    fn choose(&mut self, keys: &mut [u32]) -> Result<Vec<BodyColumnId>, BodyError> {
        let mut order: Vec<usize> = (0..self.texts.len()).filter(|i| self.rows[*i] > 0).collect();
        order.sort_by(|a, b| self.rows[*b].cmp(&self.rows[*a]).then(self.texts[*a].cmp(&self.texts[*b])));
        let mut columns: BTreeMap<BodyColumnId, ()> = BTreeMap::new();
        let mut numbers = vec![WHOLE; self.texts.len()];
        let mut kept = Vec::new();
        for i in order.into_iter().take(MERGED_LAYOUTS_MAX) {
            let variables = Layout::parse(&self.texts[i])?.variables;
            let ids: Vec<BodyColumnId> = variables.into_iter().map(BodyColumnId::Value).collect();
            let new = ids.iter().filter(|id| !columns.contains_key(*id)).count();
            if columns.len() + new <= MERGED_COLUMNS_MAX {
                columns.extend(ids.into_iter().map(|id| (id, ())));
                numbers[i] = kept.len() as u32;
                kept.push(std::mem::take(&mut self.texts[i]));
            }
        }
        self.texts = kept;
        for key in keys.iter_mut().filter(|k| **k != WHOLE) {
            *key = numbers[*key as usize];
        }
        Ok(columns.into_keys().collect())
    }
}

/// Appends one batch to another: see [`BodyColumns::interleave`].
impl BodyColumns {
    /// All rows of all parts, one after the other.
    ///
    /// # Errors
    /// As for [`BodyColumns::interleave`].
    pub fn concat(parts: &[&Self]) -> Result<Self, BodyError> {
        let picks: Vec<(usize, usize)> =
            parts.iter().enumerate().flat_map(|(part, c)| (0..c.rows).map(move |row| (part, row))).collect();
        Self::interleave(parts, &picks)
    }

    /// The rows `rows`, in that order.
    ///
    /// # Errors
    /// As for [`BodyColumns::interleave`].
    pub fn select(&self, rows: impl IntoIterator<Item = usize>) -> Result<Self, BodyError> {
        let picks: Vec<(usize, usize)> = rows.into_iter().map(|row| (0, row)).collect();
        Self::interleave(&[self], &picks)
    }

    /// The columns as pairs, for a batch that has others besides.
    pub fn into_columns(self) -> Vec<(BodyColumnId, ArrayRef)> {
        self.columns
    }
}

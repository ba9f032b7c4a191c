//! What the lines of a segment have in stretches of rows, as its footer says: the layouts that they are split into, and the bounds of
//! their numbers. What `| json | status >= 500` asks of the lines of a zone is told from that (see `members`), and nothing of it is read.
//!
//! A zone ends where a page does, and where a stream does: streams are short, and what they have is alike. Of zones in which a line is
//! not split, or which have many layouts, nothing is said.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal64Type, Float64Type, Int64Type, UInt32Type};
use arrow_array::{Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, PrimitiveArray, StringArray, UInt32Array};
use arrow_schema::DataType;
use serde::{Deserialize, Serialize};

use crate::body::{BodyColumnId, InLayout, Kind, KnownLayout, Variable, number_of};

/// Most layouts that a footer names, and their bytes.
const TEXTS_MAX: usize = 32;
const BYTES_MAX: usize = 16 << 10;
/// Most layouts of a zone.
const OF_A_ZONE: usize = 8;
/// A page in which more streams begin is one zone.
const STREAMS_OF_A_PAGE: usize = 16;
/// Most numbers of a row group, and of a footer.
const GROUP_MAX: usize = 1 << 12;
const BOUNDS_MAX: usize = 1 << 16;

/// So many zones, and the layouts of their lines by number; `None` where that is not said.
type Run = (usize, Option<Vec<usize>>);

/// What a footer says of a row group.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Group {
    /// Rows at which zones begin besides those at which pages do.
    cuts: Vec<u32>,
    /// Nothing where nothing is said.
    layouts: Vec<Run>,
    /// By variable the least and the greatest value of each zone as its column keeps them (of doubles the bits); the greatest is
    /// less than the least where there is none.
    bounds: BTreeMap<usize, Vec<i64>>,
}

/// What a footer says, as it is written.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Said {
    /// Rows of a page.
    rows: usize,
    /// The layouts; empty for all that are not JSON, of which lines nothing can be told but that they have to be read.
    texts: Vec<String>,
    /// The variables that have bounds.
    variables: Vec<String>,
    groups: Vec<Group>,
}

/// Where zones end.
fn ends(rows: usize, page: usize, cuts: &[u32]) -> Vec<u32> {
    let pages = (0..rows).step_by(page.max(1)).skip(1).map(|row| row as u32);
    let mut ends: Vec<u32> = pages.chain(cuts.iter().copied()).chain([rows as u32]).collect();
    ends.sort_unstable();
    ends.dedup();
    ends
}

/// A row group that is being written.
pub(super) struct Open {
    ends: Vec<u32>,
    group: Group,
}

impl Said {
    /// Nothing yet, of pages of so many rows.
    pub(super) fn new(rows: usize) -> Self {
        Self { rows: rows.max(1), ..Self::default() }
    }

    /// The next row group, whose lines are of these streams.
    pub(super) fn start(&self, streams: &ArrayRef) -> Open {
        let mut cuts: Vec<u32> = Vec::new();
        if let Some(keyed) = streams.as_dictionary_opt::<UInt32Type>() {
            let keys = keyed.keys().values();
            for (page, own) in keys.chunks(self.rows).enumerate() {
                let start = page * self.rows;
                let before = cuts.len();
                cuts.extend(own.windows(2).zip(start + 1..).filter(|(pair, _)| pair[0] != pair[1]).map(|(_, row)| row as u32));
                // Where a page begins, a zone does anyway.
                if cuts.len() - before > STREAMS_OF_A_PAGE {
                    cuts.truncate(before);
                }
            }
        }
        Open { ends: ends(streams.len(), self.rows, &cuts), group: Group { cuts, ..Group::default() } }
    }

    /// A part of the bodies of that row group.
    pub(super) fn column(&mut self, open: &mut Open, id: &BodyColumnId, array: &ArrayRef) {
        let variable = match id {
            BodyColumnId::Layout => {
                open.group.layouts = self.layouts(&open.ends, array);
                return;
            }
            BodyColumnId::Value(variable) => variable,
            BodyColumnId::Text => return,
        };
        let own = open.group.size() + open.ends.len() * 2;
        let all = own + self.groups.iter().map(Group::size).sum::<usize>();
        if array.null_count() == array.len() || own > GROUP_MAX || all > BOUNDS_MAX {
            return;
        }
        let bounds = match (variable.kind, array.data_type()) {
            (Kind::Int, DataType::Int64) => bounds(&open.ends, array.as_primitive::<Int64Type>(), |v| v),
            (Kind::Decimal(_), DataType::Decimal64(..)) => bounds(&open.ends, array.as_primitive::<Decimal64Type>(), |v| v),
            (Kind::Float, DataType::Float64) => {
                bounds(&open.ends, array.as_primitive::<Float64Type>(), |v| f64::to_bits(v) as i64)
            }
            _ => return,
        };
        let name = variable.to_string();
        let at = self.variables.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.variables.push(name);
            self.variables.len() - 1
        });
        open.group.bounds.insert(at, bounds);
    }

    /// Nothing more of that row group.
    pub(super) fn finish(&mut self, open: Option<Open>) {
        let group = open.map(|open| open.group).filter(|group| group.layouts.iter().any(|(_, layouts)| layouts.is_some()));
        self.groups.push(group.unwrap_or_default());
    }

    fn layouts(&mut self, ends: &[u32], array: &ArrayRef) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let Some(keyed) = array.as_dictionary_opt::<UInt32Type>() else { return runs };
        let Some(texts) = keyed.values().as_string_opt::<i32>() else { return runs };
        let mut known = vec![None; texts.len()];
        let mut start = 0;
        for end in ends.iter().map(|end| *end as usize) {
            let own = self.zone(&keyed.keys().slice(start, end - start), texts, &mut known);
            start = end;
            match runs.last_mut() {
                Some((zones, last)) if *last == own => *zones += 1,
                _ => runs.push((1, own)),
            }
        }
        runs
    }

    /// The layouts of a zone. `known` has the numbers of the texts that were looked at.
    fn zone(&mut self, keys: &UInt32Array, texts: &StringArray, known: &mut [Option<Option<usize>>]) -> Option<Vec<usize>> {
        if keys.null_count() > 0 {
            return None;
        }
        let mut used: Vec<u32> = Vec::new();
        for run in keys.values().chunk_by(|a, b| a == b) {
            if !used.contains(&run[0]) {
                if used.len() == OF_A_ZONE {
                    return None;
                }
                used.push(run[0]);
            }
        }
        let mut out = Vec::with_capacity(used.len());
        for key in used.into_iter().map(|key| key as usize) {
            let text = texts.is_valid(key).then(|| texts.value(key))?;
            let known = known.get_mut(key)?;
            out.push((*known.get_or_insert_with(|| self.number(text)))?);
        }
        out.sort_unstable();
        out.dedup();
        Some(out)
    }

    /// The number of a layout; `None` where there is no room for it.
    fn number(&mut self, text: &str) -> Option<usize> {
        let text = if text.trim_start().starts_with('{') { text } else { "" };
        if let Some(at) = self.texts.iter().position(|known| known == text) {
            return Some(at);
        }
        let bytes: usize = self.texts.iter().map(String::len).sum();
        if self.texts.len() == TEXTS_MAX || bytes + text.len() > BYTES_MAX {
            return None;
        }
        self.texts.push(text.to_owned());
        Some(self.texts.len() - 1)
    }

    /// Whether anything is said.
    pub(super) fn is_empty(&self) -> bool {
        self.groups.iter().all(|group| group.layouts.is_empty())
    }
}

impl Group {
    /// Numbers that it has.
    fn size(&self) -> usize {
        self.cuts.len() + self.layouts.len() * 2 + self.bounds.values().map(Vec::len).sum::<usize>()
    }
}

/// The least and the greatest value of each zone.
fn bounds<T: ArrowPrimitiveType>(ends: &[u32], array: &PrimitiveArray<T>, kept: impl Fn(T::Native) -> i64) -> Vec<i64> {
    let mut out = Vec::with_capacity(ends.len() * 2);
    let mut start = 0;
    for end in ends.iter().map(|end| *end as usize) {
        let least = |a: T::Native, b: T::Native| if b.is_lt(a) { b } else { a };
        let most = |a: T::Native, b: T::Native| if b.is_gt(a) { b } else { a };
        let own = &array.values()[start..end];
        let found = match array.nulls() {
            None => {
                own.split_first().map(|(&first, rest)| rest.iter().fold((first, first), |(a, b), &v| (least(a, v), most(b, v))))
            }
            Some(nulls) => (start..end).zip(own).filter(|(row, _)| nulls.is_valid(*row)).fold(None, |known, (_, &v)| {
                let (a, b) = known.unwrap_or((v, v));
                Some((least(a, v), most(b, v)))
            }),
        };
        out.extend(found.map_or([1, 0], |(a, b)| [kept(a), kept(b)]));
        start = end;
    }
    out
}

/// What a footer says, as it is read.
pub(super) struct Zones {
    known: Vec<KnownLayout>,
    variables: Vec<Variable>,
    groups: Vec<Group>,
    rows: usize,
    /// Bytes that it holds.
    pub(super) size: usize,
}

impl Zones {
    /// `None` for what makes no sense: then nothing is said. `rows` has those of each row group.
    pub(super) fn read(text: &str, rows: &[usize]) -> Option<Self> {
        let said: Said = serde_json::from_str(text).ok()?;
        let known: Vec<KnownLayout> = said.texts.iter().map(|t| KnownLayout::parse(t).ok()).collect::<Option<_>>()?;
        let variables: Vec<Variable> = said.variables.iter().map(|name| Variable::parse(name)).collect::<Option<_>>()?;
        let fits = |group: &Group, rows: usize| {
            let inside = group.cuts.is_sorted_by(|a, b| a < b) && group.cuts.iter().all(|cut| (*cut as usize) < rows && *cut > 0);
            if group.layouts.is_empty() || !inside {
                return group.layouts.is_empty();
            }
            let zones = ends(rows, said.rows, &group.cuts).len();
            let counted = group.layouts.iter().try_fold(0usize, |sum, (zones, _)| sum.checked_add(*zones));
            let named = group.layouts.iter().filter_map(|(_, layouts)| layouts.as_ref()).flatten().all(|at| *at < known.len());
            let bounded = group.bounds.iter().all(|(at, bounds)| *at < variables.len() && bounds.len() == zones * 2);
            counted == Some(zones) && named && bounded
        };
        let makes_sense = said.rows > 0
            && said.groups.len() == rows.len()
            && said.groups.iter().zip(rows).all(|(group, rows)| fits(group, *rows));
        let numbers: usize = said.groups.iter().map(Group::size).sum();
        let size = said.texts.iter().map(|t| t.len() * 4).sum::<usize>() + numbers * 16;
        makes_sense.then_some(Self { known, variables, groups: said.groups, rows: said.rows, size })
    }

    /// Where the zones of a row group of so many rows end; `None` where nothing is said of it.
    pub(super) fn ends(&self, group: usize, rows: usize) -> Option<Vec<u32>> {
        let group = self.groups.get(group).filter(|group| !group.layouts.is_empty())?;
        Some(ends(rows, self.rows, &group.cuts))
    }

    /// The layouts of the zones of a row group, by number.
    pub(super) fn layouts(&self, group: usize) -> impl Iterator<Item = Option<&[usize]>> {
        let runs = self.groups.get(group).map_or(&[][..], |group| &group.layouts);
        runs.iter().flat_map(|(zones, layouts)| std::iter::repeat_n(layouts.as_deref(), *zones))
    }

    /// Whether it is known that each line of a row group is split.
    pub(super) fn all_split(&self, group: usize) -> bool {
        let runs = self.groups.get(group).map_or(&[][..], |group| &group.layouts);
        !runs.is_empty() && runs.iter().all(|(_, layouts)| layouts.is_some())
    }

    /// What each layout tells of a name.
    pub(super) fn told(&self, name: &str) -> Vec<InLayout> {
        self.known.iter().map(|layout| layout.told(name)).collect()
    }

    /// The least and the greatest number that lines of each zone have in a variable; none where that is not said.
    pub(super) fn bounds(&self, group: usize, variable: &Variable) -> Vec<Option<(f64, f64)>> {
        let at = self.variables.iter().position(|known| known == variable);
        let Some(bounds) = at.and_then(|at| self.groups.get(group)?.bounds.get(&at)) else { return Vec::new() };
        let number = |kept: i64| match variable.kind {
            Kind::Float => f64::from_bits(kept as u64),
            kind => number_of(kind, kept),
        };
        let pair = |pair: &[i64; 2]| Some((number(pair[0]), number(pair[1]))).filter(|(least, most)| least <= most);
        bounds.as_chunks::<2>().0.iter().map(pair).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{DictionaryArray, Float64Array, Int64Array};

    use super::*;

    fn column(texts: &[Option<&str>]) -> ArrayRef {
        Arc::new(texts.iter().copied().collect::<DictionaryArray<UInt32Type>>())
    }

    fn add(said: &mut Said, streams: &[&str], columns: &[(&str, ArrayRef)]) {
        let streams: Vec<Option<&str>> = streams.iter().copied().map(Some).collect();
        let mut open = said.start(&column(&streams));
        for (name, array) in columns {
            let id = if name.is_empty() {
                BodyColumnId::Layout
            } else {
                BodyColumnId::Value(Variable::parse(name).expect("a variable"))
            };
            said.column(&mut open, &id, array);
        }
        said.finish(Some(open));
    }

    #[test]
    fn zones_end_with_pages_and_streams_and_have_layouts_and_bounds() {
        let mut said = Said::new(4);
        let [a, b, words] = ["{\"a\":\u{1}a:int\u{2}}", "{\"b\":\u{1}b:float\u{2}}", "x \u{1}1:int\u{2}"].map(Some);
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(9), Some(5), None, None, Some(i64::MIN), None]));
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![None, None, None, Some(-0.5), Some(2.5), None, None]));
        let lines = [("", column(&[a, a, a, b, b, a, words])), ("a:int", numbers.clone()), ("b:float", floats)];
        add(&mut said, &["s", "s", "t", "t", "t", "t", "t"], &lines);
        add(&mut said, &["s", "s"], &[("", column(&[None, b]))]);
        add(&mut said, &["s", "s", "s", "s", "s", "t"], &[("", column(&[a, None, a, a, a, a]))]);
        said.finish(None);
        let text = serde_json::to_string(&said).expect("JSON");
        let rows = [7, 2, 6, 3];
        let zones = Zones::read(&text, &rows).expect("zones");
        assert_eq!(zones.ends(0, 7), Some(vec![2, 4, 7]));
        assert_eq!(zones.layouts(0).collect::<Vec<_>>(), [Some(&[0][..]), Some(&[0, 1]), Some(&[0, 1, 2])]);
        let of = |name: &str| Variable::parse(name).expect("a variable");
        assert_eq!(zones.bounds(0, &of("a:int")), [Some((1.0, 9.0)), Some((5.0, 5.0)), Some((i64::MIN as f64, i64::MIN as f64))]);
        assert_eq!(zones.bounds(0, &of("b:float")), [None, Some((-0.5, -0.5)), Some((2.5, 2.5))]);
        assert_eq!(zones.bounds(0, &of("c:int")), []);
        assert_eq!((zones.ends(1, 2), zones.ends(3, 3)), (None, None));
        assert_eq!((zones.ends(2, 6), zones.layouts(2).next()), (Some(vec![4, 5, 6]), Some(None)));
        assert!(zones.all_split(0) && !zones.all_split(1) && !zones.all_split(2) && !zones.all_split(3));
        assert!(matches!(&zones.told("a")[..], [InLayout::Number(_), InLayout::Absent, InLayout::Unclear]));
        // Other rows than the file has, layouts or bounds that are not there.
        assert!(Zones::read(&text, &rows[1..]).is_none() && Zones::read(&text, &[9, 2, 6, 3]).is_none());
        for (from, to) in
            [("[0,1,2]", "[0,1,3]"), ("\"rows\":4", "\"rows\":0"), ("[2]", "[7]"), ("[1,9,", "[9,"), ("a:int\"]", "a\"]")]
        {
            assert!(text.contains(from) || from.starts_with("a:"), "{text} has {from}");
            assert!(!text.contains(from) || Zones::read(&text.replace(from, to), &rows).is_none(), "{from}");
        }
    }

    #[test]
    fn a_footer_says_little() {
        let texts: Vec<String> = (0..100).map(|i| format!("{{\"k{i}\":\u{1}k{i}:int\u{2}}}")).collect();
        let some = |n: usize| column(&texts.iter().take(n).map(|t| Some(t.as_str())).collect::<Vec<_>>());
        let mut said = Said::new(1);
        add(&mut said, &["s"; 100], &[("", some(100))]);
        assert_eq!(said.texts.len(), TEXTS_MAX);
        assert_eq!(said.groups[0].layouts.last(), Some(&(100 - TEXTS_MAX, None)));
        let long = format!("{{{}}}", " ".repeat(BYTES_MAX));
        let mut said = Said::new(1);
        add(&mut said, &["s"], &[("", column(&[Some(&long)]))]);
        assert!(said.is_empty());
        let mut said = Said::new(100);
        add(&mut said, &["s"; OF_A_ZONE + 1], &[("", some(OF_A_ZONE + 1))]);
        assert!(said.is_empty(), "too many layouts in one zone");
        let mut said = Said::new(100);
        let streams: Vec<&str> = texts.iter().map(String::as_str).collect();
        add(&mut said, &streams, &[("", column(&[Some(texts[0].as_str()); 100]))]);
        assert!(said.groups[0].cuts.is_empty(), "too many streams in one page");
        let mut said = Said::new(1);
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1_500));
        let lines = column(&vec![Some("{}"); 1_500]);
        add(&mut said, &["s"; 1_500], &[("", lines), ("a:int", numbers.clone()), ("b:int", numbers)]);
        assert_eq!(said.groups[0].bounds.len(), 1, "and no further bounds");
    }
}

//! The labels of a line while its pipeline runs.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::work::Work;

/// Where a label comes from. Later ones hide earlier ones of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Category {
    /// The stream.
    Stream,
    /// Structured metadata.
    Metadata,
    /// A stage of the pipeline.
    Parsed,
}

/// What says that a stage failed, why, and that somebody asked for it.
pub(crate) const ERROR: &str = "__error__";
pub(crate) const ERROR_DETAILS: &str = "__error_details__";
pub(crate) const PRESERVE_ERROR: &str = "__preserve_error__";
/// What a parsed label is called whose name is taken.
const DUPLICATE: &str = "_extracted";

/// A label set, sorted by name, names unique. Values may be empty: `--keep-empty` and structured metadata have such.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct LabelSet(Box<[(Arc<str>, Arc<str>)]>);

impl LabelSet {
    /// The set of `pairs`; the last of equal names counts.
    pub fn from_pairs<N: Into<Arc<str>>, V: Into<Arc<str>>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut pairs: Vec<(Arc<str>, Arc<str>)> = pairs.into_iter().map(|(n, v)| (n.into(), v.into())).collect();
        pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        pairs.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1 = later.1.clone();
            }
            same
        });
        Self(pairs.into())
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> + ExactSizeIterator + Clone {
        self.0.iter().map(|(n, v)| (&**n, &**v))
    }

    /// The same, shared.
    pub(crate) fn pairs(&self) -> &[(Arc<str>, Arc<str>)] {
        &self.0
    }

    /// The value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| &**n == name).map(|(_, v)| &**v)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that `keep` accepts by name.
    #[must_use]
    pub fn retain(&self, keep: impl Fn(&str) -> bool) -> Self {
        Self(self.0.iter().filter(|(n, _)| keep(n)).cloned().collect())
    }
}

/// `{a="1", b=""}`, values escaped as Go quotes.
impl std::fmt::Display for LabelSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("{")?;
        for (i, (n, v)) in self.iter().enumerate() {
            write!(f, "{}{n}={}", if i > 0 { ", " } else { "" }, template::quote(v))?;
        }
        f.write_str("}")
    }
}

/// The labels of one line: its stream's, its metadata, what parsers found.
#[derive(Debug, Default)]
pub struct Labels {
    stream: Arc<LabelSet>,
    added: Vec<(Category, Arc<str>, Arc<str>)>,
    /// Labels of the stream that are gone.
    deleted: Vec<Arc<str>>,
    /// Every name that was set, whatever became of it: parsers take the first of each.
    extracted: Vec<Arc<str>>,
    /// Once there are many, where each name is in `added`, and what is in `extracted`: looked through one by one, the labels of a line would
    /// take the square of their number.
    many: Option<Box<Many>>,
    error: Cow<'static, str>,
    details: Cow<'static, str>,
    /// What templates did, for this line and all before it.
    work: Work,
}

/// So many labels are looked through one by one.
const FEW: usize = 64;

#[derive(Debug, Default)]
struct Many {
    slots: HashMap<Arc<str>, Vec<usize>>,
    extracted: HashSet<Arc<str>>,
}

impl Labels {
    /// Starts a line of `stream`.
    pub(crate) fn reset(&mut self, stream: &Arc<LabelSet>) {
        if !Arc::ptr_eq(&self.stream, stream) {
            self.stream = stream.clone();
        }
        self.added.clear();
        self.deleted.clear();
        self.extracted.clear();
        self.many = None;
        self.reset_error();
        self.reset_details();
    }

    /// What templates did, and may still do, of all lines that these labels were reset for.
    pub(crate) fn work(&mut self) -> &mut Work {
        &mut self.work
    }

    /// The labels of the stream as they came.
    pub(crate) fn stream(&self) -> &Arc<LabelSet> {
        &self.stream
    }

    /// Whether these are still the stream's own labels.
    pub(crate) fn is_stream(&self) -> bool {
        self.added.is_empty() && self.deleted.is_empty() && self.error.is_empty() && self.details.is_empty()
    }

    /// Whether there is structured metadata.
    pub(crate) fn has_metadata(&self) -> bool {
        self.added.iter().any(|(c, ..)| *c == Category::Metadata)
    }

    /// Adds structured metadata; a name of the stream's gets a suffix.
    pub(crate) fn add_metadata(&mut self, name: &Arc<str>, value: Arc<str>) {
        match &**name {
            ERROR => self.error = Cow::Owned(value.to_string()),
            ERROR_DETAILS => self.details = Cow::Owned(value.to_string()),
            _ if self.stream.get(name).is_some() => self.set(Category::Metadata, &format!("{name}{DUPLICATE}").into(), value),
            _ => self.set(Category::Metadata, name, value),
        }
    }

    /// What a parser may call a label: with a suffix where the stream or the metadata have the name.
    pub(crate) fn free_name<'n>(&self, name: &'n str) -> Cow<'n, str> {
        if self.stream.get(name).is_some() || self.find(Category::Metadata, name).is_some() {
            return Cow::Owned(format!("{name}{DUPLICATE}"));
        }
        Cow::Borrowed(name)
    }

    /// Like [`Self::free_name`], for the parsers of Loki that look at the stream only.
    pub(crate) fn name_free_in_stream<'n>(&self, name: &'n str) -> Cow<'n, str> {
        match self.stream.get(name) {
            Some(_) => Cow::Owned(format!("{name}{DUPLICATE}")),
            None => Cow::Borrowed(name),
        }
    }

    /// Where in `added` labels of that name are.
    fn slots<'n>(&'n self, name: &'n str) -> impl Iterator<Item = usize> + 'n {
        let (known, rest) = match &self.many {
            Some(many) => (many.slots.get(name).map_or(&[][..], Vec::as_slice), 0..0),
            None => (&[][..], 0..self.added.len()),
        };
        known.iter().copied().chain(rest.filter(move |at| &*self.added[*at].1 == name))
    }

    fn find(&self, category: Category, name: &str) -> Option<usize> {
        self.slots(name).find(|at| self.added[*at].0 == category)
    }

    /// Whether the label was set by a stage or the metadata.
    pub(crate) fn is_added(&self, name: &str) -> bool {
        self.slots(name).next().is_some()
    }

    /// Whether a label of that name was set before.
    pub(crate) fn is_extracted(&self, name: &str) -> bool {
        match &self.many {
            Some(many) => many.extracted.contains(name),
            None => self.extracted.iter().any(|n| &**n == name),
        }
    }

    fn push(&mut self, category: Category, name: &Arc<str>, value: Arc<str>) {
        self.added.push((category, name.clone(), value));
        match &mut self.many {
            Some(many) => {
                many.slots.entry(name.clone()).or_default().push(self.added.len() - 1);
                many.extracted.insert(name.clone());
            }
            None => {
                self.extracted.push(name.clone());
                if self.added.len() > FEW {
                    let mut many = Many { extracted: self.extracted.drain(..).collect(), ..Many::default() };
                    for (at, (_, name, _)) in self.added.iter().enumerate() {
                        many.slots.entry(name.clone()).or_default().push(at);
                    }
                    self.many = Some(Box::new(many));
                }
            }
        }
    }

    /// Removes the labels of that name of which `goes` holds.
    fn remove(&mut self, name: &str, goes: impl Fn(Category) -> bool) {
        let Some(many) = &mut self.many else {
            return self.added.retain(|(c, n, _)| &**n != name || !goes(*c));
        };
        while let Some(at) = many.slots.get(name).and_then(|slots| slots.iter().copied().find(|at| goes(self.added[*at].0))) {
            // The last one takes its place.
            let last = self.added.len() - 1;
            let moved = self.added[last].1.clone();
            self.added.swap_remove(at);
            if let Some(slots) = many.slots.get_mut(name) {
                slots.retain(|slot| *slot != at);
            }
            if let Some(slot) = many.slots.get_mut(&moved).and_then(|slots| slots.iter_mut().find(|slot| **slot == last)) {
                *slot = at;
            }
        }
    }

    /// Bytes that the labels of the line itself take, about.
    pub(crate) fn size(&self) -> usize {
        const EACH: usize = 64;
        self.added.iter().map(|(_, n, v)| EACH + n.len() + v.len()).sum::<usize>() + self.details.len()
    }

    /// Sets a label. Metadata do not hide what was parsed.
    pub(crate) fn set(&mut self, category: Category, name: &Arc<str>, value: Arc<str>) {
        let mut slot = None;
        let mut hidden = false;
        for at in self.slots(name) {
            match self.added[at].0 {
                c if c == category => slot = Some(at),
                c if c > category && category == Category::Metadata => return,
                c if c > category => {}
                _ => hidden = true,
            }
        }
        match slot {
            Some(at) => self.added[at].2 = value,
            None => self.push(category, name, value),
        }
        if hidden {
            self.remove(name, |c| c < category);
        }
    }

    /// Removes a label.
    pub(crate) fn delete(&mut self, name: &str) {
        self.remove(name, |_| true);
        if self.stream.get(name).is_some() && !self.deleted.iter().any(|d| &**d == name) {
            self.deleted.push(name.into());
        }
    }

    /// A label's value and where it comes from.
    pub(crate) fn get(&self, name: &str) -> Option<(Category, &Arc<str>)> {
        let added = self.slots(name).map(|at| &self.added[at]);
        if let Some((category, _, value)) = added.min_by_key(|(c, _, _)| *c) {
            return Some((*category, value));
        }
        if self.deleted.iter().any(|d| &**d == name) {
            return None;
        }
        self.stream.pairs().iter().find(|(n, _)| &**n == name).map(|(_, v)| (Category::Stream, v))
    }

    /// A label's value as filters see it: the error is a label too, what is absent is empty.
    pub(crate) fn value(&self, name: &str) -> &str {
        match name {
            ERROR => &self.error,
            ERROR_DETAILS => &self.details,
            _ => self.get(name).map_or("", |(_, v)| v),
        }
    }

    pub(crate) fn has_error(&self) -> bool {
        !self.error.is_empty()
    }

    pub(crate) fn set_error(&mut self, error: &'static str, details: impl Into<Cow<'static, str>>) {
        self.error = Cow::Borrowed(error);
        self.details = details.into();
    }

    pub(crate) fn reset_error(&mut self) {
        self.error = Cow::Borrowed("");
    }

    pub(crate) fn reset_details(&mut self) {
        self.details = Cow::Borrowed("");
    }

    /// Calls `each` for every label, in no order.
    pub fn each(&self, mut each: impl FnMut(Category, &Arc<str>, &Arc<str>)) {
        for (name, value) in self.stream.pairs() {
            let gone = self.deleted.iter().any(|d| d == name) || self.is_added(name);
            if !gone {
                each(Category::Stream, name, value);
            }
        }
        for (category, name, value) in &self.added {
            let hidden = *category < Category::Parsed && self.slots(name).any(|at| self.added[at].0 > *category);
            if !hidden {
                each(*category, name, value);
            }
        }
    }

    /// The error as labels.
    pub(crate) fn errors(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [(ERROR, &*self.error), (ERROR_DETAILS, &*self.details)].into_iter().filter(|(_, v)| !v.is_empty())
    }

    /// All labels as one set.
    pub(crate) fn all(&self) -> LabelSet {
        let mut out: Vec<(Arc<str>, Arc<str>)> = Vec::with_capacity(self.stream.pairs().len() + self.added.len() + 2);
        self.each(|_, n, v| out.push((n.clone(), v.clone())));
        out.extend(self.errors().map(|(n, v)| (n.into(), v.into())));
        LabelSet::from_pairs(out)
    }

    /// The labels that a grouping keeps; all of them where there is an error, so that it is seen.
    pub(crate) fn grouped(&self, names: &[Arc<str>], without: bool) -> LabelSet {
        if self.has_error() {
            return self.all();
        }
        if without {
            return self.all().retain(|n| !names.iter().any(|g| &**g == n));
        }
        LabelSet::from_pairs(names.iter().filter_map(|n| self.get(n).map(|(_, v)| (n.clone(), v.clone()))))
    }
}

/// A label's name as Loki makes it of a key: letters, digits and `_`, no digit in front.
pub(crate) fn sanitize(key: &str) -> Cow<'_, str> {
    let key = key.trim();
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if key.chars().all(good) && !key.starts_with(|c: char| c.is_ascii_digit()) {
        return Cow::Borrowed(key);
    }
    let mut out = String::with_capacity(key.len() + 1);
    if key.starts_with(|c: char| c.is_ascii_digit()) {
        out.push('_');
    }
    out.extend(key.chars().map(|c| if good(c) { c } else { '_' }));
    Cow::Owned(out)
}

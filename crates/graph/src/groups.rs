//! What the spans of one resource share, worked out once for each resource.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use model::{Attr, Group};
use wire::KeptResource;

use crate::settings::{Settings, SpanMetrics};
use crate::text::{cut, find, free_label_name, text};

/// Resources that are remembered; past that they are worked out anew.
const REMEMBERED: usize = 10_000;
/// Resource attributes that name a database or what listens there.
const DATABASE: [&str; 6] =
    ["db.name", "db.system", "peer.service", "server.address", "network.peer.address", "network.peer.port"];

/// A resource as the metrics see it.
#[derive(Debug, Default)]
pub(crate) struct Resource {
    /// A keyed hash of all that it says.
    pub(crate) id: u64,
    /// Its spans are not counted.
    pub(crate) ignored: bool,
    /// `service.name`; `None` when it has none.
    pub(crate) service: Option<Arc<str>>,
    /// `service.namespace/service.name`.
    pub(crate) job: String,
    /// `service.instance.id`.
    pub(crate) instance: String,
    /// The labels of its `traces_target_info`, name and value by turns; empty where it gets none.
    pub(crate) target: Vec<String>,
    /// The attributes that dimensions and databases ask for.
    wanted: Vec<(String, String)>,
}

impl Resource {
    fn read(id: u64, attributes: &[Attr<'_>], wanted: &[String], settings: &Settings) -> Self {
        let get = |key: &str| find(attributes, key).map(|v| cut(&text(v)).to_owned());
        let service: Option<Arc<str>> = get("service.name").map(Arc::from);
        let name = service.as_deref().unwrap_or("");
        let job = match get("service.namespace") {
            _ if name.is_empty() => String::new(),
            Some(namespace) if !namespace.is_empty() => format!("{namespace}/{name}"),
            _ => name.to_owned(),
        };
        let instance = get("service.instance.id").unwrap_or_default();
        let ignored = service.as_deref().is_some_and(|s| settings.ignored_services.iter().any(|i| i == s));
        let targets = settings.span_metrics.as_ref().filter(|s| s.target_info && !ignored);
        let target = targets.map(|s| target(attributes, s, &job, &instance)).unwrap_or_default();
        let wanted = wanted.iter().filter_map(|key| Some((key.clone(), get(key)?))).collect();
        Self { id, ignored, service, job, instance, target, wanted }
    }

    /// An attribute that dimensions or databases ask for.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.wanted.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }
}

/// Only a resource with a job or an instance, and something else, is worth a series.
fn target(attributes: &[Attr<'_>], settings: &SpanMetrics, job: &str, instance: &str) -> Vec<String> {
    let mut pairs: Vec<(String, String)> = attributes
        .iter()
        .filter(|a| !matches!(a.key, "service.name" | "service.namespace" | "service.instance.id"))
        .filter(|a| !a.key.starts_with(|c: char| c.is_ascii_digit()) && !settings.target_info_excluded.iter().any(|e| e == a.key))
        .map(|a| (free_label_name(a.key, &["job", "instance"]), cut(&text(&a.value)).to_owned()))
        .collect();
    let named = !job.is_empty() || (!instance.is_empty() && settings.instance_label);
    if pairs.is_empty() || !named {
        return Vec::new();
    }
    pairs.push(("job".to_owned(), job.to_owned()));
    if settings.instance_label {
        pairs.push(("instance".to_owned(), instance.to_owned()));
    }
    pairs.sort();
    pairs.dedup_by(|b, a| a.0 == b.0);
    pairs.into_iter().flat_map(|(name, value)| [name, value]).collect()
}

/// The resources of a tenant by what they say.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    known: HashMap<u64, Arc<Resource>>,
    /// The same by the numbers that the store gives them.
    by_number: HashMap<u64, Arc<Resource>, RandomState>,
    hasher: RandomState,
}

impl Resources {
    /// A resource as the store keeps it.
    pub(crate) fn kept(&mut self, kept: &KeptResource, wanted: &[String], settings: &Settings) -> Arc<Resource> {
        if let Some(known) = kept.number().and_then(|number| self.by_number.get(&number)) {
            return Arc::clone(known);
        }
        let resource = self.of(&kept.attributes(), wanted, settings);
        if let Some(number) = kept.number() {
            if self.by_number.len() >= REMEMBERED {
                self.by_number.clear();
            }
            self.by_number.insert(number, Arc::clone(&resource));
        }
        resource
    }

    /// The resource with these attributes, found by a keyed hash of 64 bits of all of them.
    pub(crate) fn of(&mut self, attributes: &[Attr<'_>], wanted: &[String], settings: &Settings) -> Arc<Resource> {
        let mut hasher = self.hasher.build_hasher();
        for attribute in attributes {
            attribute.key.hash(&mut hasher);
            text(&attribute.value).hash(&mut hasher);
        }
        let hash = hasher.finish();
        if let Some(known) = self.known.get(&hash) {
            return Arc::clone(known);
        }
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        let read = Arc::new(Resource::read(hash, attributes, wanted, settings));
        self.known.insert(hash, Arc::clone(&read));
        read
    }
}

/// Every attribute that is asked for of resources.
pub(crate) fn wanted(settings: &Settings) -> Vec<String> {
    let mut all: Vec<String> = DATABASE.iter().map(|k| (*k).to_owned()).collect();
    all.extend(settings.service_graphs.iter().flat_map(|s| s.dimensions.iter().cloned()));
    if let Some(spans) = &settings.span_metrics {
        all.extend(spans.dimensions.iter().cloned());
        all.extend(spans.dimension_mappings.iter().flat_map(|m| m.sources.iter().cloned()));
    }
    all.sort();
    all.dedup();
    all
}

/// Every attribute that is asked for of spans.
pub(crate) fn asked_of_spans(settings: &Settings) -> NameSet {
    let graphs = settings.service_graphs.iter();
    let peers = graphs.flat_map(|s| s.peer_attributes.iter().chain([&s.span_multiplier_key])).cloned();
    let multiplier = settings.span_metrics.iter().map(|s| s.span_multiplier_key.clone());
    NameSet::new(wanted(settings).into_iter().chain(peers).chain(multiplier))
}

/// A few names, asked of every attribute of every span: mostly their lengths tell.
#[derive(Debug, Default)]
pub(crate) struct NameSet {
    /// The names of so many bytes.
    by_length: Vec<Vec<Box<[u8]>>>,
}

impl NameSet {
    fn new(names: impl Iterator<Item = String>) -> Self {
        let mut by_length: Vec<Vec<Box<[u8]>>> = Vec::new();
        for name in names {
            if by_length.len() <= name.len() {
                by_length.resize(name.len() + 1, Vec::new());
            }
            by_length[name.len()].push(name.into_bytes().into());
        }
        Self { by_length }
    }

    #[inline]
    pub(crate) fn has(&self, name: &[u8]) -> bool {
        self.by_length.get(name.len()).is_some_and(|same| same.iter().any(|n| **n == *name))
    }
}

/// What is asked of spans that somebody else walks.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) attributes: NameSet,
    /// Services whose spans are passed over.
    pub(crate) ignored: Vec<String>,
}

impl wire::Wanted for Asked {
    fn group(&self, group: &Group<'_>) -> bool {
        let service = find(group.resource, "service.name").map(text);
        service.is_none_or(|service| !self.ignored.iter().any(|ignored| *ignored == service))
    }

    #[inline]
    fn attribute(&self, name: &[u8]) -> bool {
        self.attributes.has(name)
    }
}

/// Texts that come again and again, each kept once.
#[derive(Debug, Default)]
pub(crate) struct Names {
    known: HashSet<Arc<str>, RandomState>,
}

impl Names {
    pub(crate) fn share(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.known.get(name) {
            return Arc::clone(known);
        }
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        let name: Arc<str> = name.into();
        self.known.insert(Arc::clone(&name));
        name
    }
}

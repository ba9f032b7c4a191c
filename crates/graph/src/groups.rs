//! What the spans of one resource share, worked out once for each resource.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use model::Attr;

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
    fn read(attributes: &[Attr<'_>], wanted: &[String], span_metrics: Option<&SpanMetrics>) -> Self {
        let get = |key: &str| find(attributes, key).map(|v| cut(&text(v)).to_owned());
        let service: Option<Arc<str>> = get("service.name").map(Arc::from);
        let name = service.as_deref().unwrap_or("");
        let job = match get("service.namespace") {
            _ if name.is_empty() => String::new(),
            Some(namespace) if !namespace.is_empty() => format!("{namespace}/{name}"),
            _ => name.to_owned(),
        };
        let instance = get("service.instance.id").unwrap_or_default();
        let target = span_metrics.filter(|s| s.target_info).map(|s| target(attributes, s, &job, &instance)).unwrap_or_default();
        let wanted = wanted.iter().filter_map(|key| Some((key.clone(), get(key)?))).collect();
        Self { service, job, instance, target, wanted }
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
    hasher: RandomState,
}

impl Resources {
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
        let read = Arc::new(Resource::read(attributes, wanted, settings.span_metrics.as_ref()));
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

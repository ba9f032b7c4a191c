//! Who sends, worked out once for each resource and not for each group of records.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use model::{Group, Tenant, Value};
use wire::KeptResource;

use crate::SERVICE;
use crate::entity::{self, Entity, Overrides};
use crate::keys::{Finder, Found, FoundIn, KeyValue};
use crate::registry::Registry;

/// Senders that are remembered; past that they are worked out anew.
const REMEMBERED: usize = 4096;

/// A resource, or the labels of a stream.
#[derive(Debug, Default)]
pub(crate) struct Sender {
    pub(crate) entity: Entity,
    /// Its business keys.
    pub(crate) keys: Vec<KeyValue<'static>>,
    /// The records are correlation's own.
    pub(crate) own: bool,
}

#[derive(Debug)]
struct Known {
    sender: Arc<Sender>,
    tenant: u32,
    /// What named it.
    from: &'static str,
    /// Groups since they were last told.
    groups: u64,
}

/// By a keyed hash of 64 bits of all that they say.
#[derive(Debug, Default)]
pub(crate) struct Senders {
    known: HashMap<u64, Known, RandomState>,
    /// Where those are in `known` that the store gives a number.
    by_number: HashMap<(u32, u64), u64, RandomState>,
    hasher: RandomState,
}

impl Senders {
    /// Whether there is no room for one more.
    pub(crate) fn is_full(&self) -> bool {
        self.known.len() >= REMEMBERED || self.by_number.len() >= REMEMBERED
    }

    /// Forgets all; what they have sent must have been told.
    pub(crate) fn clear(&mut self) {
        self.known.clear();
        self.by_number.clear();
    }

    /// A sender as the store keeps its resource.
    pub(crate) fn kept(&mut self, tenant: u32, kept: &KeptResource, finder: &Finder, overrides: &Overrides) -> Arc<Sender> {
        let at = kept.number().and_then(|number| self.by_number.get(&(tenant, number)));
        if let Some(known) = at.and_then(|at| self.known.get_mut(at)) {
            known.groups += 1;
            return Arc::clone(&known.sender);
        }
        let group = Group { resource: &kept.attributes(), ..Group::default() };
        let hash = self.hash(tenant, &group);
        if let Some(number) = kept.number() {
            self.by_number.insert((tenant, number), hash);
        }
        self.of_hash(hash, tenant, &group, finder, overrides)
    }

    /// The sender of a group.
    pub(crate) fn of(&mut self, tenant: u32, group: &Group<'_>, finder: &Finder, overrides: &Overrides) -> Arc<Sender> {
        self.of_hash(self.hash(tenant, group), tenant, group, finder, overrides)
    }

    fn hash(&self, tenant: u32, group: &Group<'_>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        tenant.hash(&mut hasher);
        for attribute in group.resource {
            attribute.key.hash(&mut hasher);
            match &attribute.value {
                Value::Str(text) => text.hash(&mut hasher),
                Value::Int(n) => n.hash(&mut hasher),
                Value::Bytes(bytes) => bytes.hash(&mut hasher),
                // No other value identifies.
                _ => {}
            }
        }
        group.labels.hash(&mut hasher);
        hasher.finish()
    }

    fn of_hash(&mut self, hash: u64, tenant: u32, group: &Group<'_>, finder: &Finder, overrides: &Overrides) -> Arc<Sender> {
        let known = self.known.entry(hash).or_insert_with(|| {
            let entity = entity::of_group(group, overrides);
            let mut found = Found::default();
            finder.attributes(group.resource, FoundIn::Resource, &mut found);
            finder.labels(group.labels, &mut found);
            let keys = found.keys.into_iter().map(KeyValue::into_owned).collect();
            let own = entity.service == SERVICE;
            let from = if group.resource.is_empty() { "labels" } else { "resource" };
            Known { sender: Arc::new(Sender { entity, keys, own }), tenant, from, groups: 0 }
        });
        known.groups += 1;
        Arc::clone(&known.sender)
    }

    /// Tells who has sent since the last time.
    pub(crate) fn tell(&mut self, registry: &mut Registry, tenants: &[Tenant], now: i64) {
        for known in self.known.values_mut().filter(|k| k.groups > 0 && !k.sender.own) {
            if let Some(tenant) = tenants.get(known.tenant as usize) {
                registry.saw(tenant, &known.sender.entity, known.from, now, known.groups);
            }
            known.groups = 0;
        }
    }
}

//! The entities that have been seen sending.

use hashbrown::HashMap;
use model::Tenant;

use crate::entity::Entity;

/// Entities that are remembered; of more the newest are left out and counted.
const MOST: usize = 20_000;

/// When and how an entity was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Who.
    pub entity: Entity,
    /// What named it: `resource` or `labels`.
    pub from: &'static str,
    /// First arrival, nanoseconds since the Unix epoch.
    pub first: i64,
    /// Last arrival.
    pub last: i64,
    /// Groups of records.
    pub groups: u64,
}

/// All that have been seen since the start.
#[derive(Debug, Default)]
pub struct Registry {
    seen: HashMap<(Tenant, Entity), Seen, foldhash::fast::RandomState>,
    /// Sightings that were left out.
    pub dropped: u64,
}

impl Registry {
    pub(crate) fn saw(&mut self, tenant: &Tenant, entity: &Entity, from: &'static str, now: i64, groups: u64) {
        if entity.service.is_empty() {
            return;
        }
        let key = (tenant.clone(), entity.clone());
        if let Some(seen) = self.seen.get_mut(&key) {
            (seen.last, seen.groups) = (seen.last.max(now), seen.groups + groups);
        } else if self.seen.len() < MOST {
            self.seen.insert(key, Seen { entity: entity.clone(), from, first: now, last: now, groups });
        } else {
            self.dropped += 1;
        }
    }

    /// A tenant's entities, sorted.
    #[must_use]
    pub fn of(&self, tenant: &Tenant) -> Vec<Seen> {
        let mut all: Vec<Seen> = self.seen.iter().filter(|((t, _), _)| t == tenant).map(|(_, s)| s.clone()).collect();
        all.sort_by(|a, b| a.entity.cmp(&b.entity));
        all
    }
}

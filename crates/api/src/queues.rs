//! Whose queries run: each tenant has a number of places of its own, so that one that asks much leaves places to others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::Tenant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::answer::Failure;

/// Requests of one tenant that may wait for a place.
const WAITING: usize = 256;
/// Tenants whose places are remembered; those without queries are forgotten first.
const REMEMBERED: usize = 10_000;

/// How much a tenant may ask at once, and for how long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantQueries {
    /// Queries at a time; default: three quarters of all places.
    pub concurrency: Option<usize>,
    /// How long one may take; default: as for all.
    pub timeout: Option<Duration>,
}

/// The places of all tenants.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    places: Mutex<HashMap<Tenant, Arc<Place>>>,
}

#[derive(Debug)]
struct Place {
    running: Arc<Semaphore>,
    /// Running or waiting.
    inside: Arc<Semaphore>,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(crate) struct Entered {
    _running: OwnedSemaphorePermit,
    _inside: OwnedSemaphorePermit,
}

impl Queues {
    /// Waits for a place among the `most` of a tenant.
    pub(crate) async fn enter(&self, tenant: &Tenant, most: usize) -> Result<Entered, Failure> {
        let place = {
            // A map of handles stays sound whoever panicked.
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            if places.len() >= REMEMBERED && !places.contains_key(tenant) {
                places.retain(|_, p| Arc::strong_count(&p.inside) > 1);
            }
            let new =
                || Arc::new(Place { running: Arc::new(Semaphore::new(most)), inside: Arc::new(Semaphore::new(most + WAITING)) });
            places.entry(tenant.clone()).or_insert_with(new).clone()
        };
        let busy = || Failure::Crowded(format!("too many queries of tenant {tenant} wait already"));
        let inside = place.inside.clone().try_acquire_owned().map_err(|_| busy())?;
        let running = place.running.clone().acquire_owned().await.map_err(|_| busy())?;
        Ok(Entered { _running: running, _inside: inside })
    }
}

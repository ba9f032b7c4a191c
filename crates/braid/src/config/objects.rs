//! `storage.object_store` and `storage.cache`.

use std::time::Duration;

use objects::{Credentials, Location, Settings};

use super::{ConfigError, raw, units};

/// The object store behind the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObjectStore {
    /// Where.
    pub(crate) location: Location,
    /// How it is spoken to.
    pub(crate) settings: Settings,
    /// Bytes of local copies.
    pub(crate) cache: u64,
    /// How long a writer may be silent before another may succeed it.
    pub(crate) lease: Duration,
}

const CACHE: u64 = 10 << 30;
const LEASE: Duration = Duration::from_secs(60);

impl ObjectStore {
    /// Validates the section, if there is one.
    pub(super) fn validate(name: &str, storage: &raw::Storage) -> Result<Option<Self>, ConfigError> {
        let wrong = |key: &str, why: String| ConfigError::value(name, &format!("storage.{key}"), why);
        let cache = match &storage.cache.max_size {
            None => CACHE,
            Some(text) => units::bytes(text).map_err(|e| wrong("cache.max_size", e))? as u64,
        };
        let Some(section) = &storage.object_store else {
            return match storage.cache.max_size {
                None => Ok(None),
                Some(_) => Err(wrong("cache.max_size", "there is no storage.object_store whose objects would be cached".into())),
            };
        };
        let Some(url) = &section.url else {
            return Err(wrong("object_store.url", "it is missing; for example s3://bucket/prefix".into()));
        };
        let location = Location::parse(url).map_err(|e| wrong("object_store.url", e.to_string()))?;
        let lease = match &section.lease {
            None => LEASE,
            Some(text) => units::duration(text).map_err(|e| wrong("object_store.lease", e))?,
        };
        if lease < Duration::from_secs(1) {
            return Err(wrong("object_store.lease", "less than 1s".into()));
        }
        if let Some(endpoint) = section.endpoint.as_ref().filter(|e| !(e.starts_with("http://") || e.starts_with("https://"))) {
            return Err(wrong("object_store.endpoint", format!("{endpoint:?} begins with neither http:// nor https://")));
        }
        let pair = |(id_key, id): (&str, &Option<String>), (key, secret): (&str, &Option<String>)| match (id, secret) {
            (None, None) => Ok(None),
            (Some(id), Some(secret)) => {
                let token = section.session_token.clone().filter(|t| !t.is_empty());
                Ok(Some(Credentials { id: id.clone(), secret: secret.clone(), token }))
            }
            (Some(_), None) => Err(wrong(&format!("object_store.{key}"), format!("{id_key} is given without it"))),
            (None, Some(_)) => Err(wrong(&format!("object_store.{id_key}"), format!("{key} is given without it"))),
        };
        let s3 = pair(("access_key_id", &section.access_key_id), ("secret_access_key", &section.secret_access_key))?;
        let azure = pair(("account_name", &section.account_name), ("account_key", &section.account_key))?;
        let settings = Settings {
            endpoint: section.endpoint.clone(),
            region: section.region.clone(),
            path_style: section.path_style,
            credentials: s3.or(azure),
        };
        Ok(Some(Self { location, settings, cache, lease }))
    }
}

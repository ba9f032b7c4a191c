//! `limits.defaults` and `limits.tenants`: what each tenant may do.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{ConfigError, raw, units};

/// What tenants may do.
#[derive(Debug, Clone, Default)]
pub(crate) struct TenantLimits {
    /// Those that are not named.
    pub(crate) defaults: Limits,
    /// By name; what one does not say is as in `defaults`.
    pub(crate) named: BTreeMap<String, Limits>,
}

/// What one tenant may do; `None`: no limit but the process'.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limits {
    /// Rates and sizes of what it sends.
    pub(crate) ingest: collector::TenantLimits,
    /// Series in the head.
    pub(crate) series: Option<usize>,
    /// Queries at a time.
    pub(crate) query_concurrency: Option<usize>,
    /// How long one may take.
    pub(crate) query_timeout: Option<Duration>,
}

impl TenantLimits {
    /// For the receivers.
    pub(crate) fn ingest(&self) -> collector::Tenants {
        let named = self.named.iter().map(|(name, limits)| (name.clone(), limits.ingest.clone()));
        collector::Tenants::new(self.defaults.ingest.clone(), named.collect())
    }

    /// For the APIs: of those that are not named, and of those that are.
    pub(crate) fn queries(&self) -> (api::TenantQueries, std::collections::HashMap<String, api::TenantQueries>) {
        let of = |l: &Limits| api::TenantQueries { concurrency: l.query_concurrency, timeout: l.query_timeout };
        (of(&self.defaults), self.named.iter().map(|(name, limits)| (name.clone(), of(limits))).collect())
    }
}

/// Checks both.
pub(super) fn read(file: &str, limits: &raw::Limits) -> Result<TenantLimits, ConfigError> {
    let defaults = one(file, "limits.defaults", &limits.defaults, &Limits::default())?;
    let mut named = BTreeMap::new();
    for (name, tenant) in &limits.tenants {
        let key = format!("limits.tenants.{name}");
        let id = model::Tenant::new(name).map_err(|e| ConfigError::value(file, &key, e))?;
        named.insert(id.as_str().to_owned(), one(file, &key, tenant, &defaults)?);
    }
    Ok(TenantLimits { defaults, named })
}

fn one(file: &str, key: &str, tenant: &raw::Tenant, defaults: &Limits) -> Result<Limits, ConfigError> {
    let wrong = |name: &str, why: String| ConfigError::value(file, &format!("{key}.{name}"), why);
    let rate = |name: &str, value: Option<f64>, default: Option<f64>| match value {
        Some(n) if !(n.is_finite() && n > 0.0) => Err(wrong(name, format!("{n} is no positive number"))),
        value => Ok(value.or(default)),
    };
    let size = |name: &str, value: &Option<String>| match value {
        None => Ok(None),
        Some(text) => match units::bytes(text) {
            Ok(0) => Err(wrong(name, "0 would refuse everything".to_owned())),
            Ok(n) => Ok(Some(n)),
            Err(why) => Err(wrong(name, why)),
        },
    };
    let count = |name: &str, value: Option<usize>, default: Option<usize>| match value {
        Some(0) => Err(wrong(name, "0 would refuse everything".to_owned())),
        value => Ok(value.or(default)),
    };
    let of = &defaults.ingest;
    let bytes = |value: Option<usize>, default: Option<f64>| value.map(|n| n as f64).or(default);
    let query_timeout = match &tenant.query_timeout {
        None => defaults.query_timeout,
        Some(text) => match units::duration(text) {
            Ok(time) if !time.is_zero() => Some(time),
            Ok(_) => return Err(wrong("query_timeout", "0 would refuse everything".to_owned())),
            Err(why) => return Err(wrong("query_timeout", why)),
        },
    };
    Ok(Limits {
        ingest: collector::TenantLimits {
            items_per_second: rate("items_per_second", tenant.items_per_second, of.items_per_second)?,
            items_burst: rate("items_burst", tenant.items_burst, of.items_burst)?,
            bytes_per_second: bytes(size("bytes_per_second", &tenant.bytes_per_second)?, of.bytes_per_second),
            bytes_burst: bytes(size("bytes_burst", &tenant.bytes_burst)?, of.bytes_burst),
            body: size("body", &tenant.body)?.or(of.body),
        },
        series: count("series", tenant.series, defaults.series)?,
        query_concurrency: count("query_concurrency", tenant.query_concurrency, defaults.query_concurrency)?,
        query_timeout,
    })
}

//! Who sent a record: one identity of service and instance, whichever protocol brought it.
//!
//! | what arrives | service, first that is there | instance, first that is there |
//! |---|---|---|
//! | OTLP resource | `service.name` (with `service.namespace` kept apart), `k8s.deployment.name`, `container.name`, `systemd.unit` without `.service`, `syslog.appname`, `process.executable.name` | `service.instance.id`, `k8s.pod.name`, `container.id`, `host.name` |
//! | labels: scrape, remote write, Loki stream | `service_name`, `service`, `job` (what follows `/` of `namespace/name`), `app`, `app_kubernetes_io_name`, `container`, `unit` without `.service`, `appname` | `service_instance_id`, `instance`, `pod`, `hostname`, `host`, `node` |
//! | syslog | the application's name, else the host | the host |
//!
//! A name that is `unknown_service` (or begins with `unknown_service:`) counts as missing unless nothing else is there. The configuration's
//! `correlation.entities` maps a name that was found to the one that is meant.

use std::collections::BTreeMap;

use model::{Attr, Group, Value};

/// Names that mean another: from what was found to what is meant.
pub type Overrides = BTreeMap<String, String>;

/// Who sent a record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entity {
    /// The service; empty where nothing names one.
    pub service: String,
    /// Which instance of it; empty where nothing names one.
    pub instance: String,
}

const SERVICE_ATTRIBUTES: [&str; 6] =
    ["service.name", "k8s.deployment.name", "container.name", "systemd.unit", "syslog.appname", "process.executable.name"];
const INSTANCE_ATTRIBUTES: [&str; 4] = ["service.instance.id", "k8s.pod.name", "container.id", "host.name"];
const SERVICE_LABELS: [&str; 8] =
    ["service_name", "service", "job", "app", "app_kubernetes_io_name", "container", "unit", "appname"];
const INSTANCE_LABELS: [&str; 6] = ["service_instance_id", "instance", "pod", "hostname", "host", "node"];
/// Longer names are cut.
const MAX_NAME: usize = 256;

fn is_unknown(name: &str) -> bool {
    name == "unknown_service" || name.starts_with("unknown_service:")
}

fn first<'a>(names: &[&str], get: impl Fn(&str) -> Option<&'a str>) -> &'a str {
    let mut unknown = "";
    for name in names {
        match get(name).filter(|v| !v.is_empty()) {
            Some(value) if is_unknown(value) => unknown = value,
            Some(value) => return value,
            None => {}
        }
    }
    unknown
}

fn entity(service: &str, instance: &str, overrides: &Overrides) -> Entity {
    let service = service.strip_suffix(".service").unwrap_or(service);
    let service = &service[..service.floor_char_boundary(MAX_NAME)];
    let meant = overrides.get(service).map_or(service, String::as_str);
    Entity { service: meant.to_owned(), instance: instance[..instance.floor_char_boundary(MAX_NAME)].to_owned() }
}

fn text<'a>(attributes: &'a [Attr<'a>], key: &str) -> Option<&'a str> {
    attributes.iter().find(|a| a.key == key).and_then(|a| match &a.value {
        Value::Str(s) => Some(*s),
        _ => None,
    })
}

/// The identity in a resource, or in the labels of a stream where there is no resource.
#[must_use]
pub fn of_group(group: &Group<'_>, overrides: &Overrides) -> Entity {
    if group.resource.is_empty() {
        return of_labels(group.labels, overrides);
    }
    let get = |name: &str| text(group.resource, name);
    let (service, instance) = (first(&SERVICE_ATTRIBUTES, get), first(&INSTANCE_ATTRIBUTES, get));
    // Nothing but a host: the host is who speaks.
    entity(if service.is_empty() { get("host.name").unwrap_or("") } else { service }, instance, overrides)
}

/// The identity in labels.
#[must_use]
pub fn of_labels(labels: &[(&str, &str)], overrides: &Overrides) -> Entity {
    let get = |name: &str| labels.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
    let service = first(&SERVICE_LABELS, |name| {
        let value = get(name)?;
        // Prometheus' job of an OTLP resource is `<namespace>/<name>`.
        Some(if name == "job" { value.rsplit('/').next().unwrap_or(value) } else { value })
    });
    let instance = first(&INSTANCE_LABELS, get);
    let host = || get("hostname").or_else(|| get("host")).unwrap_or("");
    entity(if service.is_empty() { host() } else { service }, instance, overrides)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_protocol_comes_to_the_same_service() {
        let none = Overrides::new();
        let resource =
            [Attr { key: "service.name", value: Value::Str("beorn") }, Attr { key: "host.name", value: Value::Str("h1") }];
        let otlp = of_group(&Group { resource: &resource, ..Group::default() }, &none);
        assert_eq!(otlp, Entity { service: "beorn".into(), instance: "h1".into() });
        let cases: [(&[(&str, &str)], &str, &str); 7] = [
            (&[("service_name", "beorn"), ("job", "x")], "beorn", ""),
            (&[("job", "shop/beorn"), ("instance", "h1:80")], "beorn", "h1:80"),
            (&[("app", "beorn"), ("pod", "p")], "beorn", "p"),
            (&[("unit", "beorn.service"), ("host", "h1")], "beorn", "h1"),
            (&[("host", "h1")], "h1", "h1"),
            (&[("service_name", "unknown_service"), ("container", "beorn")], "beorn", ""),
            (&[("service_name", "unknown_service")], "unknown_service", ""),
        ];
        for (labels, service, instance) in cases {
            let found = of_labels(labels, &none);
            assert_eq!((found.service.as_str(), found.instance.as_str()), (service, instance), "{labels:?}");
        }
    }

    #[test]
    fn the_configuration_has_the_last_word() {
        let overrides = Overrides::from([("legacy-7".to_owned(), "blueplanet".to_owned())]);
        assert_eq!(of_labels(&[("host", "legacy-7")], &overrides).service, "blueplanet");
    }
}

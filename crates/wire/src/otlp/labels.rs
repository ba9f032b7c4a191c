//! The stream labels that Loki's default configuration makes of an OTLP resource (API.md, section 2).

use std::borrow::Cow;

use model::Attr;

use super::text::as_text;
use crate::loki::{SERVICE_NAME, SERVICE_NAME_SOURCES, UNKNOWN_SERVICE};

/// Resource attributes that become labels, with the label's name.
const INDEXED: [(&str, &str); 18] = [
    ("service.name", SERVICE_NAME),
    ("service.namespace", "service_namespace"),
    ("service.instance.id", "service_instance_id"),
    ("deployment.environment", "deployment_environment"),
    ("deployment.environment.name", "deployment_environment_name"),
    ("cloud.region", "cloud_region"),
    ("cloud.availability_zone", "cloud_availability_zone"),
    ("k8s.cluster.name", "k8s_cluster_name"),
    ("k8s.namespace.name", "k8s_namespace_name"),
    ("k8s.pod.name", "k8s_pod_name"),
    ("k8s.container.name", "k8s_container_name"),
    ("container.name", "container_name"),
    ("k8s.replicaset.name", "k8s_replicaset_name"),
    ("k8s.deployment.name", "k8s_deployment_name"),
    ("k8s.statefulset.name", "k8s_statefulset_name"),
    ("k8s.daemonset.name", "k8s_daemonset_name"),
    ("k8s.cronjob.name", "k8s_cronjob_name"),
    ("k8s.job.name", "k8s_job_name"),
];

/// Labels of the stream that a resource's records belong to, sorted by name. Without a service name the first attribute
/// that Loki takes for one stands in, else `unknown_service`.
pub(crate) fn stream_labels<'a>(resource: &[Attr<'a>]) -> Vec<(&'static str, Cow<'a, str>)> {
    let mut labels: Vec<(&'static str, Cow<'a, str>)> = Vec::with_capacity(8);
    let mut stand_in = None;
    for attr in resource {
        let Some((_, name)) = INDEXED.iter().find(|(key, _)| *key == attr.key) else { continue };
        let text = as_text(&attr.value);
        if text.is_empty() {
            continue;
        }
        if stand_in.is_none() && SERVICE_NAME_SOURCES.contains(name) {
            stand_in = Some(text.clone());
        }
        match labels.iter_mut().find(|(n, _)| n == name) {
            Some((_, value)) => *value = text,
            None => labels.push((name, text)),
        }
    }
    if !labels.iter().any(|(name, _)| *name == SERVICE_NAME) {
        labels.push((SERVICE_NAME, stand_in.unwrap_or(Cow::Borrowed(UNKNOWN_SERVICE))));
    }
    labels.sort_unstable_by_key(|(name, _)| *name);
    labels
}

#[cfg(test)]
mod tests {
    use model::Value;

    use super::*;

    fn labels(pairs: &[(&'static str, Value<'static>)]) -> String {
        let resource: Vec<Attr<'_>> = pairs.iter().map(|(key, value)| Attr { key, value: value.clone() }).collect();
        stream_labels(&resource).iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn the_resource_attributes_that_loki_indexes_become_labels() {
        let shop = Value::Str("shop");
        assert_eq!(labels(&[]), "service_name=unknown_service");
        assert_eq!(labels(&[("service.name", shop.clone()), ("host.name", Value::Str("h"))]), "service_name=shop");
        assert_eq!(
            labels(&[("service.name", shop), ("k8s.pod.name", Value::Int(7)), ("cloud.region", Value::Str(""))]),
            "k8s_pod_name=7,service_name=shop"
        );
        assert_eq!(labels(&[("container.name", Value::Str("c"))]), "container_name=c,service_name=c");
    }
}

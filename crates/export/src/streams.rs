//! Lines of Loki's doors as OTLP: stream labels become the resource, structured metadata the attributes.

use model::{Attr, Group, Log, SpanId, TraceId, Value};
use wire::LogSink;

/// Labels that Loki's rules make of a resource's attributes, with the attributes' names.
const KNOWN: [(&str, &str); 18] = [
    ("service_name", "service.name"),
    ("service_namespace", "service.namespace"),
    ("service_instance_id", "service.instance.id"),
    ("deployment_environment", "deployment.environment"),
    ("deployment_environment_name", "deployment.environment.name"),
    ("cloud_region", "cloud.region"),
    ("cloud_availability_zone", "cloud.availability_zone"),
    ("k8s_cluster_name", "k8s.cluster.name"),
    ("k8s_namespace_name", "k8s.namespace.name"),
    ("k8s_pod_name", "k8s.pod.name"),
    ("k8s_container_name", "k8s.container.name"),
    ("container_name", "container.name"),
    ("k8s_replicaset_name", "k8s.replicaset.name"),
    ("k8s_deployment_name", "k8s.deployment.name"),
    ("k8s_statefulset_name", "k8s.statefulset.name"),
    ("k8s_cronjob_name", "k8s.cronjob.name"),
    ("k8s_job_name", "k8s.job.name"),
    ("k8s_daemonset_name", "k8s.daemonset.name"),
];

/// Passes log records on as OTLP has them.
#[derive(Debug)]
pub(crate) struct AsOtlp<S> {
    inner: S,
    /// The lines came through one of Loki's doors.
    streams: bool,
}

impl<S> AsOtlp<S> {
    pub(crate) fn new(inner: S, streams: bool) -> Self {
        Self { inner, streams }
    }

    pub(crate) fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: LogSink> LogSink for AsOtlp<S> {
    fn group(&mut self, group: &Group<'_>) {
        if !self.streams {
            return self.inner.group(group);
        }
        let resource: Vec<Attr<'_>> = group
            .labels
            .iter()
            .filter(|(name, value)| !(*name == "service_name" && *value == "unknown_service"))
            .map(|(name, value)| {
                let key = KNOWN.iter().find(|(label, _)| label == name).map_or(*name, |(_, key)| *key);
                Attr { key, value: Value::Str(value) }
            })
            .collect();
        self.inner.group(&Group { resource: &resource, ..Group::default() });
    }

    fn log(&mut self, log: &Log<'_>) {
        if !self.streams {
            return self.inner.log(log);
        }
        let (trace_id, span_id) = ids(log);
        let attributes: Vec<Attr<'_>> = log
            .attributes
            .iter()
            .filter(|a| (a.key != "trace_id" || trace_id.is_none()) && (a.key != "span_id" || span_id.is_none()))
            .cloned()
            .collect();
        self.inner.log(&Log { trace_id, span_id, attributes: &attributes, body: log.body.clone(), ..*log });
    }
}

/// A record's trace and span, from its attributes where it has none of its own.
pub(crate) fn ids(log: &Log<'_>) -> (TraceId, SpanId) {
    let (mut trace, mut span) = (log.trace_id, log.span_id);
    for a in log.attributes {
        if let Value::Str(text) = a.value {
            match a.key {
                "trace_id" if trace.is_none() && text.len() == 32 => trace = text.parse().unwrap_or_default(),
                "span_id" if span.is_none() && text.len() == 16 => span = text.parse().unwrap_or_default(),
                _ => {}
            }
        }
    }
    (trace, span)
}

/// Who wrote the lines of a group.
pub(crate) fn service<'g>(group: &'g Group<'_>) -> &'g str {
    const LABELS: [&str; 4] = ["service_name", "service", "app", "job"];
    resource_text(group, "service.name").or_else(|| LABELS.iter().find_map(|l| label(group, l))).unwrap_or("unknown_service")
}

/// Where they run; empty where that is not said.
pub(crate) fn environment<'g>(group: &'g Group<'_>) -> &'g str {
    const LABELS: [&str; 4] = ["env", "environment", "deployment_environment_name", "deployment_environment"];
    resource_text(group, "deployment.environment.name")
        .or_else(|| resource_text(group, "deployment.environment"))
        .or_else(|| resource_text(group, "env"))
        .or_else(|| LABELS.iter().find_map(|l| label(group, l)))
        .unwrap_or_default()
}

/// A resource's attribute that is text.
pub(crate) fn resource_text<'g>(group: &'g Group<'_>, key: &str) -> Option<&'g str> {
    group.resource.iter().find_map(|a| match a.value {
        Value::Str(text) if a.key == key && !text.is_empty() => Some(text),
        _ => None,
    })
}

fn label<'g>(group: &'g Group<'_>, name: &str) -> Option<&'g str> {
    group.labels.iter().find(|(n, _)| *n == name).map(|(_, value)| *value)
}

//! `metrics_generator`, with the keys that Tempo's own section has.

use std::collections::BTreeMap;
use std::time::Duration;

use graph::{DimensionMapping, ServiceGraphs, Settings, SpanMetrics};
use serde::Deserialize;

use super::{ConfigError, units};

/// `metrics_generator`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    enabled: Option<bool>,
    processors: Option<Vec<String>>,
    processor: Processor,
    registry: Registry,
    max_active_series: Option<usize>,
    trace_id_label_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Processor {
    service_graphs: Graphs,
    span_metrics: Spans,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Graphs {
    wait: Option<String>,
    max_items: Option<usize>,
    histogram_buckets: Option<Vec<f64>>,
    dimensions: Vec<String>,
    peer_attributes: Option<Vec<String>>,
    enable_client_server_prefix: bool,
    enable_messaging_system_latency_histogram: bool,
    enable_virtual_node_label: bool,
    span_multiplier_key: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Spans {
    histogram_buckets: Option<Vec<f64>>,
    intrinsic_dimensions: Intrinsics,
    dimensions: Vec<String>,
    dimension_mappings: Vec<Mapping>,
    enable_target_info: Option<bool>,
    target_info_excluded_dimensions: Vec<String>,
    enable_instance_label: Option<bool>,
    span_multiplier_key: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Intrinsics {
    service: Option<bool>,
    span_name: Option<bool>,
    span_kind: Option<bool>,
    status_code: Option<bool>,
    status_message: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mapping {
    name: String,
    source_labels: Vec<String>,
    #[serde(default)]
    join: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Registry {
    collection_interval: Option<String>,
    stale_duration: Option<String>,
    external_labels: BTreeMap<String, String>,
}

impl File {
    /// The settings; errors call the file `name`.
    pub(super) fn settings(self, name: &str) -> Result<Settings, ConfigError> {
        let wrong = |key: &str, why: String| ConfigError::value(name, &format!("metrics_generator.{key}"), why);
        let time = |key: &str, text: &Option<String>, default: Duration| match text {
            None => Ok(default),
            Some(text) => match units::duration(text) {
                Ok(zero) if zero.is_zero() => Err(wrong(key, "must not be 0".to_owned())),
                other => other.map_err(|e| wrong(key, e)),
            },
        };
        let buckets = |key: &str, given: Option<Vec<f64>>, default: Vec<f64>| match given {
            None => Ok(default),
            Some(b) if b.is_empty() || b.len() > 100 || !b.is_sorted_by(|a, b| a < b) || b.iter().any(|b| !b.is_finite()) => {
                Err(wrong(key, "must be 1 to 100 numbers in ascending order".to_owned()))
            }
            Some(b) => Ok(b),
        };
        let defaults = Settings::default();
        let on = |processor: &str| self.processors.as_ref().is_none_or(|p| p.iter().any(|p| p == processor));
        if let Some(odd) = self.processors.iter().flatten().find(|p| !["service-graphs", "span-metrics"].contains(&p.as_str())) {
            return Err(wrong("processors", format!("{odd:?} is neither \"service-graphs\" nor \"span-metrics\"")));
        }
        let (is_on, g, s) =
            (self.enabled.unwrap_or(self.processors.is_some()), self.processor.service_graphs, self.processor.span_metrics);
        let (graph_defaults, span_defaults) = (ServiceGraphs::default(), SpanMetrics::default());
        let service_graphs = ServiceGraphs {
            wait: time("processor.service_graphs.wait", &g.wait, graph_defaults.wait)?,
            max_items: g.max_items.unwrap_or(graph_defaults.max_items),
            buckets: buckets("processor.service_graphs.histogram_buckets", g.histogram_buckets, graph_defaults.buckets)?,
            dimensions: g.dimensions,
            peer_attributes: g.peer_attributes.unwrap_or(graph_defaults.peer_attributes),
            client_server_prefix: g.enable_client_server_prefix,
            messaging_system_latency: g.enable_messaging_system_latency_histogram,
            virtual_node_label: g.enable_virtual_node_label,
            span_multiplier_key: g.span_multiplier_key,
        };
        let (i, d) = (s.intrinsic_dimensions, span_defaults.intrinsics);
        let mappings = s.dimension_mappings.into_iter();
        let span_metrics = SpanMetrics {
            buckets: buckets("processor.span_metrics.histogram_buckets", s.histogram_buckets, span_defaults.buckets)?,
            intrinsics: graph::Intrinsics {
                service: i.service.unwrap_or(d.service),
                span_name: i.span_name.unwrap_or(d.span_name),
                span_kind: i.span_kind.unwrap_or(d.span_kind),
                status_code: i.status_code.unwrap_or(d.status_code),
                status_message: i.status_message.unwrap_or(d.status_message),
            },
            dimensions: s.dimensions,
            dimension_mappings: mappings
                .map(|m| DimensionMapping { name: m.name, sources: m.source_labels, join: m.join })
                .collect(),
            target_info: s.enable_target_info.unwrap_or(span_defaults.target_info),
            target_info_excluded: s.target_info_excluded_dimensions,
            instance_label: s.enable_instance_label.unwrap_or(span_defaults.instance_label),
            span_multiplier_key: s.span_multiplier_key,
        };
        let registry = &self.registry;
        Ok(Settings {
            service_graphs: (is_on && on("service-graphs")).then_some(service_graphs),
            span_metrics: (is_on && on("span-metrics")).then_some(span_metrics),
            collection_interval: time(
                "registry.collection_interval",
                &registry.collection_interval,
                defaults.collection_interval,
            )?,
            stale_duration: time("registry.stale_duration", &registry.stale_duration, defaults.stale_duration)?,
            external_labels: registry.external_labels.clone().into_iter().collect(),
            ignored_services: defaults.ignored_services,
            trace_id_label: self.trace_id_label_name.unwrap_or(defaults.trace_id_label),
            max_active_series: self.max_active_series.unwrap_or(defaults.max_active_series),
        })
    }
}

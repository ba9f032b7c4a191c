//! What can be chosen, with Tempo's defaults (`modules/generator` of Tempo 2.10).

use std::time::Duration;

/// Everything about generated metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// `traces_service_graph_*`; `None` switches them off.
    pub service_graphs: Option<ServiceGraphs>,
    /// `traces_spanmetrics_*` and `traces_target_info`; `None` switches them off.
    pub span_metrics: Option<SpanMetrics>,
    /// How often samples are written.
    pub collection_interval: Duration,
    /// How long a series may go without an update before it ends.
    pub stale_duration: Duration,
    /// Added to every series, sorted by name.
    pub external_labels: Vec<(String, String)>,
    /// The label of exemplars that holds the trace id.
    pub trace_id_label: String,
    /// Services whose spans are passed over: those that Braid itself makes.
    pub ignored_services: Vec<String>,
    /// Series of one tenant, counted as they are written (a histogram of 14 buckets is 17 series); more are refused.
    pub max_active_series: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            service_graphs: Some(ServiceGraphs::default()),
            span_metrics: Some(SpanMetrics::default()),
            collection_interval: Duration::from_secs(15),
            stale_duration: Duration::from_secs(15 * 60),
            external_labels: Vec::new(),
            trace_id_label: "traceID".to_owned(),
            ignored_services: Vec::new(),
            max_active_series: 200_000,
        }
    }
}

impl Settings {
    /// Whether anything is generated at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.service_graphs.is_some() || self.span_metrics.is_some()
    }
}

/// The processor `service-graphs`.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceGraphs {
    /// How long half of a request waits for the other.
    pub wait: Duration,
    /// Halves of one tenant that may wait at once; the oldest makes room.
    pub max_items: usize,
    /// Upper bounds in seconds, ascending, without infinity.
    pub buckets: Vec<f64>,
    /// Attributes that become labels too, of the resource before the span.
    pub dimensions: Vec<String>,
    /// Span attributes that name a peer which sends no spans, in order of preference.
    pub peer_attributes: Vec<String>,
    /// Dimensions become two labels, `client_…` and `server_…`.
    pub client_server_prefix: bool,
    /// `traces_service_graph_request_messaging_system_seconds` as well.
    pub messaging_system_latency: bool,
    /// The label `virtual_node` says which side of a virtual edge is the virtual one.
    pub virtual_node_label: bool,
    /// The span attribute that holds the ratio at which spans were sampled; empty for none.
    pub span_multiplier_key: String,
}

impl Default for ServiceGraphs {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(10),
            max_items: 10_000,
            buckets: doubling(0.1, 8),
            dimensions: Vec::new(),
            peer_attributes: ["peer.service", "db.name", "db.system"].map(str::to_owned).to_vec(),
            client_server_prefix: false,
            messaging_system_latency: false,
            virtual_node_label: false,
            span_multiplier_key: String::new(),
        }
    }
}

/// The processor `span-metrics`.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanMetrics {
    /// Upper bounds in seconds, ascending, without infinity.
    pub buckets: Vec<f64>,
    /// Which of a span's own properties become labels.
    pub intrinsics: Intrinsics,
    /// Attributes that become labels too, of the resource before the span.
    pub dimensions: Vec<String>,
    /// Labels that are put together from several attributes.
    pub dimension_mappings: Vec<DimensionMapping>,
    /// `traces_target_info`, and its labels `job` and `instance` on every span metric.
    pub target_info: bool,
    /// Resource attributes that `traces_target_info` leaves out.
    pub target_info_excluded: Vec<String>,
    /// Whether `instance` is one of them.
    pub instance_label: bool,
    /// As for [`ServiceGraphs::span_multiplier_key`].
    pub span_multiplier_key: String,
}

impl Default for SpanMetrics {
    fn default() -> Self {
        Self {
            buckets: doubling(0.002, 14),
            intrinsics: Intrinsics::default(),
            dimensions: Vec::new(),
            dimension_mappings: Vec::new(),
            target_info: true,
            target_info_excluded: Vec::new(),
            instance_label: true,
            span_multiplier_key: String::new(),
        }
    }
}

/// `intrinsic_dimensions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intrinsics {
    /// `service`.
    pub service: bool,
    /// `span_name`.
    pub span_name: bool,
    /// `span_kind`.
    pub span_kind: bool,
    /// `status_code`.
    pub status_code: bool,
    /// `status_message`.
    pub status_message: bool,
}

impl Default for Intrinsics {
    fn default() -> Self {
        Self { service: true, span_name: true, span_kind: true, status_code: true, status_message: false }
    }
}

/// One of `dimension_mappings`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DimensionMapping {
    /// The label.
    pub name: String,
    /// The attributes; those that are missing or empty are left out.
    pub sources: Vec<String>,
    /// What stands between two values.
    pub join: String,
}

fn doubling(first: f64, count: u32) -> Vec<f64> {
    (0..count).map(|i| first * f64::from(1u32 << i)).collect()
}

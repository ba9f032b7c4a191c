//! Loki's push API: `logproto.PushRequest` (`pkg/push/push.proto`) and its JSON form.

mod encode;
pub(crate) mod json;
mod labels;
pub(crate) mod push;
mod told;

pub use encode::PushEncoder;
pub(crate) use labels::StreamLabels;
pub use told::Told;

pub(crate) const SERVICE_NAME: &str = "service_name";
pub(crate) const UNKNOWN_SERVICE: &str = "unknown_service";

/// Labels that stand in for an absent `service_name`, the first one present wins (Loki's `discover_service_name`).
pub const SERVICE_NAME_SOURCES: [&str; 13] = [
    "service",
    "app",
    "application",
    "app_name",
    "name",
    "app_kubernetes_io_name",
    "container",
    "container_name",
    "k8s_container_name",
    "component",
    "workload",
    "job",
    "k8s_job_name",
];

/// Why a stream's lines are refused, in Loki's words.
pub(crate) const NO_LABELS: &str = "error at least one label pair is required per stream";
pub(crate) const DUPLICATE_LABEL: &str = "stream has a label name more than once";
pub(crate) const TOO_OLD: &str = "lines whose timestamp is too old";
pub(crate) const TOO_NEW: &str = "lines whose timestamp is too new";
pub(crate) const BAD_LABELS: &str = "streams whose labels do not parse";
pub(crate) const BAD_TIME: &str = "lines with a time outside of the years 1678 to 2262";

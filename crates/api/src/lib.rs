//! The HTTP surface: the query APIs of Prometheus, Loki and Tempo over the store.
//!
//! [`Api`] holds what the handlers share; [`prometheus_router`], [`loki_router`] and [`tempo_router`] are the paths of
//! one API each and can be merged into one router (their paths are disjoint). The `*_port` functions add what belongs to
//! an API's own port: `/ready`, and a 404 in that API's shape. All work over the store happens on blocking threads, a
//! bounded number at a time and for a bounded time, and stops when the client leaves.

mod about;
mod admin;
mod answer;
mod ask;
mod compare;
mod correlation;
mod cors;
mod dashboards;
mod face;
mod go;
mod graph;
mod json;
mod loki;
mod metrics;
mod prometheus;
mod queues;
mod run;
mod serve;
mod state;
mod targets;
mod tempo;
mod time;

#[cfg(test)]
mod tests;

pub use about::{About, Runtime};
pub use admin::Admin;
pub use cors::CorsOrigin;
pub use dashboards::{Dashboard, DashboardError, Dashboards};
pub use face::Face;
pub use metrics::QueryMetrics;
pub use queues::TenantQueries;
pub use serve::{
    correlation_port, correlation_router, every_port, graph_router, loki_port, loki_router, prometheus_port, prometheus_router,
    tempo_port, tempo_router,
};
pub use state::{Api, Asked, Settings};
pub use targets::{DroppedTargets, FamilyText, NoTargets, ScrapeTarget, Targets};

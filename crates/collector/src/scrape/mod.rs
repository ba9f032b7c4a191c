//! Scraping of Prometheus targets.

mod config;

pub use config::{ScrapeConfig, TargetConfig};

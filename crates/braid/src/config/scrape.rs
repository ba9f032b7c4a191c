//! `global`, `scrape_configs` and `scrape_config_files`, which mean what they mean in Prometheus' own configuration.

use std::path::Path;

use prometheus::yaml::Node;
use prometheus::{Config, ScrapeConfig};

use super::ConfigError;

/// The jobs in `text`, which errors call `name`, and `global.external_labels`; paths are relative to `folder`.
pub(super) fn jobs(name: &str, text: &str, folder: &Path) -> Result<(Vec<ScrapeConfig>, Vec<(String, String)>), ConfigError> {
    let node = Node::parse(text).map_err(|flaw| flaw.in_file(name))?;
    let config = Config::scraping(&node).map_err(|flaw| flaw.in_file(name))?;
    let config = config.with_files(&node, name, folder)?;
    match config.scrape_configs.iter().find_map(collector::scrape::unsupported) {
        Some(why) => Err(ConfigError::value(name, "scrape_configs", why)),
        None => Ok((config.scrape_configs, config.global.external_labels)),
    }
}

//! Prometheus' example configurations (`config/testdata`): each is good or bad, as its name says.

use std::path::Path;

use crate::report::Report;

/// What the names of some files leave open: those that are loaded for the agent, and the bad ones that are not called so.
const BAD: [&str; 5] = [
    "agent_mode.with_alert_manager.yml",
    "agent_mode.with_alert_manager_relabels.yml",
    "agent_mode.with_remote_reads.yml",
    "agent_mode.with_rule_files.yml",
    "config_with_deprecated_am_api_config.yml",
];

pub(crate) fn run(folder: &Path, report: &mut Report) -> anyhow::Result<()> {
    let mut files: Vec<_> = std::fs::read_dir(folder)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.sort();
    for file in files.iter().filter(|f| f.is_file()) {
        let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let good = !(name.contains(".bad.") || name.contains(".incompatible.") || BAD.contains(&name.as_str()));
        let found = prometheus::Config::load(file, name.starts_with("agent_mode."));
        report.case(
            &name,
            match (found, good) {
                (Ok(_), true) | (Err(_), false) => Ok(()),
                (Ok(_), false) => Err("accepted".to_owned()),
                (Err(e), true) => Err(e.to_string()),
            },
        );
    }
    Ok(())
}

//! OpenTelemetry's example requests: each must be accepted as OTLP/JSON.

use std::path::Path;

use anyhow::Context;
use wire::{Encoding, Limits};

use crate::report::Report;

pub(crate) fn run(folder: &Path, report: &mut Report) -> anyhow::Result<()> {
    let mut files: Vec<_> = std::fs::read_dir(folder)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.sort();
    for file in files {
        let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let encoding = match name.as_str() {
            "trace.json" => Encoding::OtlpTracesJson,
            "metrics.json" => Encoding::OtlpMetricsJson,
            "logs.json" | "events.json" => Encoding::OtlpLogsJson,
            _ => anyhow::bail!("{name}: no example of a known signal"),
        };
        let bytes = std::fs::read(&file).with_context(|| file.display().to_string())?;
        report.case(
            name,
            match wire::check(encoding, &bytes, &Limits::default()) {
                Ok(found) if found.accepted > 0 && found.refused.total() == 0 => Ok(()),
                Ok(found) => Err(format!("{} accepted; refused: {}", found.accepted, found.refused.message())),
                Err(e) => Err(e.to_string()),
            },
        );
    }
    Ok(())
}

//! Which lines a deletion names: a log query, kept with the deletion and asked of every line for as long as its rows may be
//! somewhere.

use std::sync::Arc;

use store::{Batch, Column, Language, Predicate, RowTest, Worded};

use crate::ast::{LogQuery, Stage};
use crate::lines::pipeline;
use crate::pipeline::{Hints, Labels, Pipeline};
use crate::predicate::{is_pushed, predicate};
use crate::rows::{NeededLabels, Needs, Rows};

/// Reads the queries of deletions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Deletions {
    /// Whether lines have a `detected_level`: see [`crate::Question::discover_levels`].
    pub discover_levels: bool,
}

/// The stages of a query that the store does not know.
#[derive(Debug)]
struct Stages {
    pipeline: Pipeline,
    columns: Vec<Column>,
    levels: bool,
}

impl Deletions {
    /// The lines that a deletion names.
    ///
    /// # Errors
    /// What is wrong with the query, or which stage a deletion cannot have.
    pub fn parse(&self, query: &str) -> Result<Predicate, String> {
        let log = self.log_query(query)?;
        let pushed = predicate(&log);
        Ok(match log.stages.iter().all(|s| matches!(s, Stage::LineFilters(filters) if filters.iter().all(is_pushed))) {
            true => pushed,
            // First what the store knows: it need not look at the other lines.
            false => pushed.and(Predicate::Worded(Worded::new(query, self.stages(&log)?))),
        })
    }

    fn log_query(&self, query: &str) -> Result<LogQuery, String> {
        let crate::Expr::Log(log) = crate::parse(query).map_err(|e| e.to_string())? else {
            return Err("a deletion takes a log query, not a metric query".to_owned());
        };
        // Templates may say what time it is: then a line would be deleted here and kept there.
        if log.stages.iter().any(|s| matches!(s, Stage::LineFormat(_) | Stage::LabelFormat(_))) {
            return Err("a deletion takes no line_format and no label_format: filter by what the line says".to_owned());
        }
        Ok(log)
    }

    fn stages(&self, log: &LogQuery) -> Result<Arc<dyn RowTest>, String> {
        let pipeline = pipeline(log, Hints::default()).map_err(|e| e.to_string())?;
        let needs = Needs { line: true, labels: NeededLabels::All };
        Ok(Arc::new(Stages { pipeline, columns: needs.projection(self.discover_levels), levels: self.discover_levels }))
    }
}

impl Language for Deletions {
    fn read(&self, words: &str) -> Result<Arc<dyn RowTest>, String> {
        self.stages(&self.log_query(words)?)
    }
}

impl RowTest for Stages {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn passes(&self, batch: &Batch) -> Vec<bool> {
        let mut rows = Rows::new(batch, self.levels);
        let mut labels = Labels::default();
        let passes = |row| {
            rows.labels(row, &mut labels);
            let time = rows.time(row);
            self.pipeline.run(rows.line(row), time, &mut labels).is_some()
        };
        (0..batch.rows()).map(passes).collect()
    }
}

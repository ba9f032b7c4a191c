//! What a generator has counted, as it is kept beside the cursor. JSON, so that it can be read; doubles as their bits.

use model::Tenant;
use serde::{Deserialize, Serialize};

use crate::edges::Edge;
use crate::generator::{Counts, EdgeValues, Generator, SpanValues, TargetValues};
use crate::series::Saved;

/// The version of the format.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct State<E, S, T> {
    version: u32,
    /// The bounds of the two histograms: counts under other bounds are of no use.
    graph_bounds: Vec<String>,
    span_bounds: Vec<String>,
    tenants: Vec<Kept<E, S, T>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept<E, S, T> {
    tenant: String,
    edges: Vec<(String, String, i64, Edge)>,
    graph: Saved<E>,
    spans: Saved<S>,
    targets: Saved<T>,
}

impl Generator {
    /// Everything but which spans were seen, as bytes for [`Generator::restore`].
    ///
    /// # Errors
    /// None that are known: nothing in it is without a form in JSON.
    pub fn save(&self) -> Result<Vec<u8>, serde_json::Error> {
        let (graph_bounds, span_bounds) = self.shape.bounds();
        let tenants = self.tenants.iter().map(|(tenant, counts)| Kept {
            tenant: tenant.as_str().to_owned(),
            edges: counts.edges.save(),
            graph: counts.graph.save(),
            spans: counts.spans.save(),
            targets: counts.targets.save(),
        });
        serde_json::to_vec(&State {
            version: VERSION,
            graph_bounds: graph_bounds.to_vec(),
            span_bounds: span_bounds.to_vec(),
            tenants: tenants.collect(),
        })
    }

    /// Goes on from what was saved. Counts under other labels or bounds than the settings have now are left behind: those
    /// series begin anew.
    ///
    /// # Errors
    /// Why the bytes are no state of a version that is known; nothing was taken then.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        let state: State<EdgeValues, SpanValues, TargetValues> = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if state.version != VERSION {
            return Err(format!("version {} where {VERSION} was expected", state.version));
        }
        let (graph_bounds, span_bounds) = self.shape.bounds();
        let same = (state.graph_bounds == graph_bounds, state.span_bounds == span_bounds);
        for kept in state.tenants {
            let Ok(tenant) = Tenant::new(&kept.tenant) else { continue };
            let mut counts = Counts::new(&self.shape);
            let graph = same.0 && self.shape.settings.service_graphs.is_some() && counts.graph.restore(kept.graph);
            if graph {
                counts.edges.restore(kept.edges);
            }
            let spans = same.1 && self.shape.settings.span_metrics.is_some() && counts.spans.restore(kept.spans);
            if spans {
                counts.targets.restore(kept.targets);
            }
            if !(graph && spans) {
                tracing::info!(tenant = kept.tenant, "the settings of generated metrics have changed: some series begin anew");
            }
            self.tenants.insert(tenant, counts);
        }
        Ok(())
    }
}

//! `/api/dashboards`: dashboards that are provisioned as files, Grafana's JSON, handed out as they are.

use std::sync::Arc;

use serde_json::json;

use crate::Api;
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::serve::Routes;

/// A dashboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dashboard {
    /// What it is asked by: its `uid`, or the name of its file. Letters, digits, `-` and `_` only.
    pub id: String,
    /// Its title.
    pub title: String,
    /// What it says it shows.
    pub description: String,
    /// The directory below the provisioned one; empty for none.
    pub folder: String,
    /// The file.
    pub json: Arc<str>,
}

/// Why a file is no dashboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DashboardError {
    /// Its path.
    pub file: String,
    /// What is wrong with it.
    pub error: String,
}

/// Knows the dashboards.
pub trait Dashboards: Send + Sync {
    /// All of them by title, and the files that are none.
    fn all(&self) -> (Vec<Dashboard>, Vec<DashboardError>);
}

pub(crate) fn routes(routes: Routes) -> Routes {
    routes.route("/api/dashboards", list).route("/api/dashboards/{id}", one)
}

async fn list(api: Arc<Api>, _: Ask) -> Result<Answer, Failure> {
    let (found, errors) = api.dashboards.as_ref().map(|d| d.all()).unwrap_or_default();
    let shown = |d: &Dashboard| json!({"id": d.id, "title": d.title, "description": d.description, "folder": d.folder});
    let body = json!({
        "dashboards": found.iter().map(shown).collect::<Vec<_>>(),
        "errors": errors.iter().map(|e| json!({"file": e.file, "error": e.error})).collect::<Vec<_>>(),
    });
    Ok(Answer::json(body.to_string(), found.len()))
}

async fn one(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let id = ask.path("id");
    let (found, _) = api.dashboards.as_ref().map(|d| d.all()).unwrap_or_default();
    let dashboard = found.into_iter().find(|d| d.id == id);
    let dashboard = dashboard.ok_or_else(|| Failure::NotFound(format!("no dashboard {id:?} is provisioned")))?;
    Ok(Answer::json(dashboard.json.to_string(), 1))
}

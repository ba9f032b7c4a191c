//! What the server is.

use std::sync::Arc;

use serde_json::json;

use super::envelope;
use crate::Api;
use crate::answer::{Answer, Failure};
use crate::ask::Ask;

/// The Prometheus whose API this is: clients choose their features by it.
const COMPATIBLE: &str = "3.5.0";

pub(super) async fn buildinfo(_: Arc<Api>, _: Ask) -> Result<Answer, Failure> {
    let data = json!({
        "version": COMPATIBLE,
        "revision": concat!("braid-", env!("CARGO_PKG_VERSION")),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    });
    Ok(envelope(&data.to_string(), 1, &[], &[]))
}

pub(super) async fn ready(api: Arc<Api>, _: Ask) -> Result<Answer, Failure> {
    match api.is_ready() {
        true => Ok(Answer::text("Prometheus Server is Ready.\n")),
        false => Err(Failure::Unavailable("Service Unavailable".to_owned())),
    }
}

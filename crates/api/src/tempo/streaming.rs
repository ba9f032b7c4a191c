//! `tempopb.StreamingQuerier`, gRPC on the port of the HTTP API. Each method asks what its HTTP path asks. A search or a metrics query
//! that takes long streams what it has found so far; the last answer is the whole one. Others have that one only.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::post;
use collector::grpc;
use serde_json::Value as Json;

use super::protobuf::{self, Message, Value, encode, read};
use super::{metrics, search, tags};
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::{Api, Face};

/// Bytes of a question.
const QUESTION: usize = 1 << 20;

/// The routes of every method.
pub(crate) fn routes(api: &Arc<Api>) -> Router {
    let mut router = Router::new();
    for method in Method::ALL {
        let api = api.clone();
        let serve = move |request: Request| {
            let api = api.clone();
            async move { answer(api, method, request).await }
        };
        router = router.route(method.path(), post(serve));
    }
    router
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Search,
    Tags,
    TagsV2,
    Values,
    ValuesV2,
    QueryRange,
    QueryInstant,
}

impl Method {
    const ALL: [Self; 7] =
        [Self::Search, Self::Tags, Self::TagsV2, Self::Values, Self::ValuesV2, Self::QueryRange, Self::QueryInstant];

    fn path(self) -> &'static str {
        match self {
            Self::Search => "/tempopb.StreamingQuerier/Search",
            Self::Tags => "/tempopb.StreamingQuerier/SearchTags",
            Self::TagsV2 => "/tempopb.StreamingQuerier/SearchTagsV2",
            Self::Values => "/tempopb.StreamingQuerier/SearchTagValues",
            Self::ValuesV2 => "/tempopb.StreamingQuerier/SearchTagValuesV2",
            Self::QueryRange => "/tempopb.StreamingQuerier/MetricsQueryRange",
            Self::QueryInstant => "/tempopb.StreamingQuerier/MetricsQueryInstant",
        }
    }

    fn message(self) -> &'static Message {
        match self {
            Self::Search => &protobuf::SEARCH,
            Self::Tags => &protobuf::TAGS,
            Self::TagsV2 => &protobuf::TAGS_V2,
            Self::Values => &protobuf::VALUES,
            Self::ValuesV2 => &protobuf::VALUES_V2,
            Self::QueryRange => &protobuf::QUERY_RANGE,
            Self::QueryInstant => &protobuf::QUERY_INSTANT,
        }
    }

    /// The parameter of HTTP that a field of the request is, and what turns one into the other.
    fn parameter(self, field: u32, value: Value<'_>) -> Option<(&'static str, String)> {
        let text = |name| Some((name, value.text().to_owned()));
        let number = |name, unit: &str| match value {
            Value::Number(n) if n > 0 => Some((name, format!("{n}{unit}"))),
            _ => None,
        };
        match (self, field) {
            // `Tags`, as logfmt has them.
            (Self::Search, 1) => {
                let Value::Bytes(entry) = value else { return None };
                let entry = read(entry)?;
                let part = |n| entry.iter().find(|(f, _)| *f == n).map_or("", |(_, v)| v.text());
                Some(("tags", format!("{}={} ", part(1), quoted(part(2)))))
            }
            (Self::Search, 2) => number("minDuration", "ms"),
            (Self::Search, 3) => number("maxDuration", "ms"),
            (Self::Search, 4) => number("limit", ""),
            (Self::Search, 5) => number("start", ""),
            (Self::Search, 6) => number("end", ""),
            (Self::Search, 8) => text("q"),
            (Self::Search, 9) => number("spss", ""),
            (Self::Tags | Self::TagsV2, 1) => text("scope"),
            (Self::Tags | Self::TagsV2, 2) => text("q"),
            (Self::Tags | Self::TagsV2, 3) => number("start", ""),
            (Self::Tags | Self::TagsV2, 4) => number("end", ""),
            (Self::Tags | Self::TagsV2, 5) => number("limit", ""),
            (Self::Values | Self::ValuesV2, 1) => text("name"),
            (Self::Values | Self::ValuesV2, 2) => text("q"),
            (Self::Values | Self::ValuesV2, 4) => number("start", ""),
            (Self::Values | Self::ValuesV2, 5) => number("end", ""),
            (Self::Values | Self::ValuesV2, 6) => number("limit", ""),
            (Self::QueryRange | Self::QueryInstant, 1) => text("q"),
            (Self::QueryRange | Self::QueryInstant, 2) => number("start", ""),
            (Self::QueryRange | Self::QueryInstant, 3) => number("end", ""),
            (Self::QueryRange, 4) => number("step", "ns"),
            (Self::QueryRange, 16) => number("exemplars", ""),
            _ => None,
        }
    }

    /// The HTTP question that a message asks.
    fn ask(self, message: &[u8], headers: http::HeaderMap) -> Result<Ask, Failure> {
        let fields = read(message).ok_or_else(|| Failure::BadData("the request is no protobuf message".to_owned()))?;
        let mut params: Vec<(String, String)> = Vec::new();
        for (name, value) in fields.into_iter().filter_map(|(field, value)| self.parameter(field, value)) {
            match params.iter_mut().find(|(n, _)| n == name) {
                // Entries of a map add up; of other fields the last one counts.
                Some((_, old)) if name == "tags" => old.push_str(&value),
                Some((_, old)) => *old = value,
                None => params.push((name.to_owned(), value)),
            }
        }
        Ok(Ask::new(params, headers))
    }
}

/// A value as logfmt has it.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

async fn answer(api: Arc<Api>, method: Method, request: Request) -> Response {
    let began = Instant::now();
    let ask = match asked(method, request).await {
        Ok(ask) => ask,
        Err(failure) => {
            let (code, message) = status(&failure);
            let http = Face::Tempo.fail(failure).status().as_u16();
            api.metrics.record(Face::Tempo, method.path(), http, began.elapsed(), 0, 0);
            return grpc::failure(code, &message);
        }
    };
    let (response, messages) = grpc::stream();
    tokio::spawn(async move {
        let offer = messages.offer();
        let result = tokio::select! {
            result = call(&api, method, ask, offer) => result,
            // Dropping the call tells the query.
            () = messages.left() => Err(Failure::Cancelled),
        };
        let (rows, bytes) = result.as_ref().map_or((0, 0), |(message, rows)| (*rows, message.len()));
        let http = match result {
            Ok((message, _)) => {
                messages.finish(&message).await;
                200
            }
            Err(failure) => {
                api.metrics.failed(Face::Tempo, &failure);
                let (code, message) = status(&failure);
                messages.fail(code, &message);
                Face::Tempo.fail(failure).status().as_u16()
            }
        };
        api.metrics.record(Face::Tempo, method.path(), http, began.elapsed(), rows, bytes);
    });
    response
}

async fn asked(method: Method, request: Request) -> Result<Ask, Failure> {
    let (head, body) = request.into_parts();
    if !grpc::is_grpc(&head.headers) {
        return Err(Failure::BadData("application/grpc was expected".to_owned()));
    }
    let bad = |e: &dyn std::fmt::Display| Failure::BadData(e.to_string());
    let body = to_bytes(body, QUESTION).await.map_err(|e| bad(&e))?;
    let message = grpc::one_message(&head.headers, body).map_err(|e| bad(&e))?;
    method.ask(&message, head.headers)
}

/// The last message of the answer, and how many rows it has; `offer` is given those before it.
async fn call(
    api: &Arc<Api>,
    method: Method,
    ask: Ask,
    offer: impl Fn(&[u8]) + Send + 'static,
) -> Result<(Vec<u8>, usize), Failure> {
    let api = api.clone();
    let heard = move |body: String| {
        if let Ok(json) = serde_json::from_str(&body) {
            offer(&encode(method.message(), &json));
        }
    };
    let Answer { body, rows, partial, .. } = match method {
        Method::Search => search::search_aloud(api, ask, heard).await?,
        Method::Tags => tags::names_v1(api, ask).await?,
        Method::TagsV2 => tags::names_v2(api, ask).await?,
        Method::Values => tags::values_v1(api, ask).await?,
        Method::ValuesV2 => tags::values_v2(api, ask).await?,
        Method::QueryRange => metrics::query_range_aloud(api, ask, Some(Box::new(heard))).await?,
        Method::QueryInstant => metrics::query_aloud(api, ask, Some(Box::new(heard))).await?,
    };
    let mut json: Json = serde_json::from_slice(&body).map_err(|e| Failure::Internal(e.to_string()))?;
    if let Some(why) = partial {
        json["status"] = "PARTIAL".into();
        json["message"] = why.into();
    }
    Ok((encode(method.message(), &json), rows))
}

/// The `google.rpc.Code` of a failure, and what is said of it.
fn status(failure: &Failure) -> (u8, String) {
    match failure {
        Failure::BadData(m) | Failure::Execution(m) | Failure::Limit(_, m) => (3, m.clone()),
        Failure::Forbidden(m) => (7, m.clone()),
        Failure::NotFound(m) => (5, m.clone()),
        Failure::Timeout => (4, "the query timed out".to_owned()),
        Failure::Cancelled => (1, "the query was cancelled".to_owned()),
        Failure::Unavailable(m) | Failure::Crowded(m) => (14, m.clone()),
        Failure::Internal(m) => (13, m.clone()),
    }
}

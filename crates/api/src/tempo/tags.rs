//! Names and values of attributes, for completion.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use model::{Scope, Tenant, TimeRange};
use serde_json::{Value as Json, json};
use store::{Column, CompareOp, Distinct, Field, Literal, Predicate, Reader, Table};
use traceql::{
    Attribute, AttributeScope, Intrinsic, KINDS, Plan, Question, STATUSES, Static, nested_names, nested_values, parse_identifier,
};

use super::{range, shade};
use crate::Api;
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::run::blocking;

/// Most values of one attribute in an answer.
const MAX_VALUES: usize = 10_000;

/// Scopes as Tempo names them.
const SCOPES: [(&str, Scope); 3] =
    [("resource", Scope::Resource), ("span", Scope::Record), ("instrumentation", Scope::Instrumentation)];

/// Intrinsics that completion offers.
const INTRINSICS: [&str; 20] = [
    "duration",
    "event:name",
    "event:timeSinceStart",
    "instrumentation:name",
    "instrumentation:version",
    "kind",
    "name",
    "rootName",
    "rootServiceName",
    "span:duration",
    "span:kind",
    "span:name",
    "span:status",
    "span:statusMessage",
    "status",
    "statusMessage",
    "trace:duration",
    "trace:rootName",
    "trace:rootService",
    "traceDuration",
];

/// What both kinds of questions read from the request.
struct Wanted {
    tenant: Tenant,
    range: TimeRange,
    /// Only of spans that `q` chooses.
    predicate: Predicate,
    limit: usize,
    /// `q` as it was written.
    text: Option<String>,
}

impl Wanted {
    fn read(ask: &Ask) -> Result<Self, Failure> {
        // Editors send what has been typed so far: a query that does not parse filters nothing, as in Tempo.
        let predicate = ask.get("q").and_then(|q| Some(Plan::new(&traceql::parse(q).ok()?)?.predicate()));
        Ok(Self {
            tenant: ask.tenant()?,
            range: range(ask)?,
            predicate: predicate.unwrap_or(Predicate::True),
            limit: ask.count("limit", 0)?,
            text: ask.get("q").map(str::to_owned),
        })
    }

    fn question<'a>(&'a self, reader: &'a dyn Reader, cancelled: &'a AtomicBool) -> Question<'a> {
        // No trace is read for tags.
        let (limit, spans_per_set, memory) = (self.limit, 0, 0);
        Question { reader, tenant: &self.tenant, range: self.range, limit, spans_per_set, memory, cancelled }
    }

    fn distinct(&self, reader: &dyn Reader, also: Predicate, what: &Distinct) -> Result<Vec<String>, Failure> {
        let predicate = self.predicate.clone().and(also);
        let limit = if self.limit == 0 { MAX_VALUES } else { self.limit.min(MAX_VALUES) };
        let found = reader.distinct(&self.tenant, Table::Spans, self.range, &predicate, what, Some(limit))?;
        Ok(found.into_iter().flatten().map(|(_, text)| text).collect())
    }
}

/// The names of each scope that the parameter `scope` asks for.
fn names(
    wanted: &Wanted,
    reader: &dyn Reader,
    cancelled: &AtomicBool,
    scope: Option<&str>,
) -> Result<Vec<(&'static str, Vec<String>)>, Failure> {
    let mut out = Vec::new();
    for (name, scope_of) in SCOPES {
        if scope.is_none_or(|s| s == name || s == "none") {
            out.push((name, wanted.distinct(reader, Predicate::True, &Distinct::Keys(Some(scope_of)))?));
        }
    }
    for nested in [AttributeScope::Event, AttributeScope::Link] {
        let name = nested.as_str();
        if scope.is_none_or(|s| s == name || s == "none") {
            let found = nested_names(&wanted.question(reader, cancelled), &wanted.predicate, nested)?;
            if !found.is_empty() {
                out.push((name, found));
            }
        }
    }
    if scope.is_none_or(|s| s == "intrinsic" || s == "none") {
        out.push(("intrinsic", INTRINSICS.iter().map(|i| (*i).to_owned()).collect()));
    }
    Ok(out)
}

fn scope_of(ask: &Ask) -> Result<Option<String>, Failure> {
    match ask.get("scope") {
        Some(scope) if !["resource", "span", "instrumentation", "intrinsic", "none", "event", "link"].contains(&scope) => {
            Err(Failure::BadData(format!("invalid scope: {scope}")))
        }
        scope => Ok(scope.map(str::to_owned)),
    }
}

pub(super) async fn names_v1(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let (wanted, scope) = (Wanted::read(&ask)?, scope_of(&ask)?);
    let state = api.clone();
    blocking(&api, None, move |cancelled| {
        let reader = shade::snapshot(&*state.source, &[wanted.text.as_deref()]);
        let all = names(&wanted, &*reader, cancelled, scope.as_deref())?;
        let mut all: Vec<String> = all.into_iter().flat_map(|(_, names)| names).collect();
        all.sort();
        all.dedup();
        let rows = all.len();
        Ok(Answer::json(json!({"tagNames": all, "metrics": {}}).to_string(), rows).partial(reader.partial()))
    })
    .await
}

pub(super) async fn names_v2(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let (wanted, scope) = (Wanted::read(&ask)?, scope_of(&ask)?);
    let state = api.clone();
    blocking(&api, None, move |cancelled| {
        let reader = shade::snapshot(&*state.source, &[wanted.text.as_deref()]);
        let scopes = names(&wanted, &*reader, cancelled, scope.as_deref())?;
        let scopes: Vec<Json> = scopes.into_iter().map(|(name, tags)| json!({"name": name, "tags": tags})).collect();
        let rows = scopes.len();
        Ok(Answer::json(json!({"scopes": scopes, "metrics": {}}).to_string(), rows).partial(reader.partial()))
    })
    .await
}

/// An attribute or intrinsic as the path names it; bare names are attributes of any scope to version 1.
fn tag(name: &str, bare_is_attribute: bool) -> Result<Attribute, Failure> {
    match parse_identifier(name) {
        Ok(attribute) => Ok(attribute),
        Err(_) if bare_is_attribute => Ok(Attribute::new(AttributeScope::Open, name)),
        Err(e) => Err(Failure::BadData(format!("invalid tag name {name:?}: {}", e.message))),
    }
}

/// Values and their types.
fn values(
    wanted: &Wanted,
    reader: &dyn Reader,
    cancelled: &AtomicBool,
    tag: &Attribute,
) -> Result<Vec<(&'static str, String)>, Failure> {
    if matches!(tag.scope, AttributeScope::Event | AttributeScope::Link) || tag.intrinsic == Some(Intrinsic::EventName) {
        let limit = if wanted.limit == 0 { MAX_VALUES } else { wanted.limit.min(MAX_VALUES) };
        let found = nested_values(&wanted.question(reader, cancelled), &wanted.predicate, tag, limit)?;
        return Ok(found
            .into_iter()
            .filter_map(|value| match value {
                Static::Text(text) => Some(("string", text.into_owned())),
                Static::Int(i) => Some(("int", i.to_string())),
                Static::Float(f) => Some(("float", f.to_string())),
                Static::Bool(b) => Some(("bool", b.to_string())),
                _ => None,
            })
            .collect());
    }
    let typed = |kind: &'static str, texts: Vec<String>| texts.into_iter().map(move |t| (kind, t)).collect::<Vec<_>>();
    let keywords = |names: &[&str]| typed("keyword", names.iter().map(|n| (*n).to_owned()).collect());
    let field = |f| wanted.distinct(reader, Predicate::True, &Distinct::Values(Column::Field(f)));
    let root = || Predicate::Not(Box::new(Predicate::Exists(Column::Field(Field::ParentSpanId))));
    Ok(match tag.intrinsic {
        Some(Intrinsic::Status) => keywords(&STATUSES),
        Some(Intrinsic::Kind) => keywords(&KINDS),
        Some(Intrinsic::Name) => typed("string", field(Field::Name)?),
        Some(Intrinsic::StatusMessage) => typed("string", field(Field::StatusMessage)?),
        Some(Intrinsic::InstrumentationName) => typed("string", field(Field::ScopeName)?),
        Some(Intrinsic::InstrumentationVersion) => typed("string", field(Field::ScopeVersion)?),
        Some(Intrinsic::RootName) => {
            typed("string", wanted.distinct(reader, root(), &Distinct::Values(Column::Field(Field::Name)))?)
        }
        Some(Intrinsic::RootService) => {
            let service = Column::attribute(Scope::Resource, "service.name");
            typed("string", wanted.distinct(reader, root(), &Distinct::Values(service))?)
        }
        // Durations, ids and numbers of the tree are too many to be offered.
        Some(_) => Vec::new(),
        None => {
            let scopes: &[Scope] = match tag.scope {
                AttributeScope::Open => &[Scope::Record, Scope::Resource, Scope::Instrumentation],
                AttributeScope::Span => &[Scope::Record],
                AttributeScope::Resource => &[Scope::Resource],
                AttributeScope::Instrumentation => &[Scope::Instrumentation],
                AttributeScope::Event | AttributeScope::Link => &[],
            };
            let mut all = Vec::new();
            for scope in scopes {
                all.extend(attribute_values(wanted, reader, &Column::attribute(*scope, &tag.name))?);
            }
            all.sort();
            all.dedup();
            all
        }
    })
}

/// The store prints values as text; which type they have is asked by conditions that only one type satisfies.
fn attribute_values(wanted: &Wanted, reader: &dyn Reader, column: &Column) -> Result<Vec<(&'static str, String)>, Failure> {
    let compare = |op, value| Predicate::Compare { column: column.clone(), op, value };
    let what = Distinct::Values(column.clone());
    let texts = Predicate::Contains { column: column.clone(), needle: String::new() };
    let numbers = compare(CompareOp::Ge, Literal::Double(f64::NEG_INFINITY));
    let booleans = Predicate::Or(vec![compare(CompareOp::Eq, Literal::Bool(true)), compare(CompareOp::Eq, Literal::Bool(false))]);
    let mut out = Vec::new();
    out.extend(wanted.distinct(reader, texts, &what)?.into_iter().map(|v| ("string", v)));
    out.extend(wanted.distinct(reader, numbers, &what)?.into_iter().map(|v| {
        let kind = if v.parse::<i64>().is_ok() { "int" } else { "float" };
        (kind, v)
    }));
    out.extend(wanted.distinct(reader, booleans, &what)?.into_iter().map(|v| ("bool", v)));
    Ok(out)
}

pub(super) async fn values_v1(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let (wanted, tag) = (Wanted::read(&ask)?, tag(ask.path("name"), true)?);
    let state = api.clone();
    blocking(&api, None, move |cancelled| {
        let reader = shade::snapshot(&*state.source, &[wanted.text.as_deref()]);
        let found = values(&wanted, &*reader, cancelled, &tag)?;
        let texts: Vec<String> = found.into_iter().map(|(_, v)| v).collect();
        Ok(Answer::json(json!({"tagValues": texts, "metrics": {}}).to_string(), texts.len()).partial(reader.partial()))
    })
    .await
}

pub(super) async fn values_v2(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let (wanted, tag) = (Wanted::read(&ask)?, tag(ask.path("name"), false)?);
    let state = api.clone();
    blocking(&api, None, move |cancelled| {
        let reader = shade::snapshot(&*state.source, &[wanted.text.as_deref()]);
        let found = values(&wanted, &*reader, cancelled, &tag)?;
        let all: Vec<Json> = found.iter().map(|(kind, v)| json!({"type": kind, "value": v})).collect();
        Ok(Answer::json(json!({"tagValues": all, "metrics": {}}).to_string(), all.len()).partial(reader.partial()))
    })
    .await
}

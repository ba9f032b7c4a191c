//! What series there are: `/api/v1/series`, `labels`, `label/…/values`, `metadata`.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use model::{Labels, Tenant};
use store::{LabelMatcher, Reader};

use super::{bad, close_envelope, cut, envelope, limit, open_envelope, selectors, time};
use crate::answer::{Answer, Failure};
use crate::ask::Ask;
use crate::run::blocking;
use crate::{Api, json};

/// Bytes of a series in the answer, about.
const SERIES_ROOM: usize = 128;

/// Which series, when.
struct Wanted {
    tenant: Tenant,
    selectors: Vec<Vec<LabelMatcher>>,
    first_ms: i64,
    last_ms: i64,
    limit: usize,
}

impl Wanted {
    /// In the order in which Prometheus looks at the parameters. `wrong` says what a bad selector is answered with.
    fn read(ask: &Ask, wrong: impl Fn(String) -> Failure) -> Result<Self, Failure> {
        let limit = limit(ask)?;
        let first_ms = time(ask, "start")?.unwrap_or(i64::MIN);
        let last_ms = time(ask, "end")?.unwrap_or(i64::MAX);
        let selectors = selectors(ask).map_err(wrong)?;
        if last_ms < first_ms {
            return Err(bad("end", "end timestamp must not be before start time"));
        }
        Ok(Self { tenant: ask.tenant()?, selectors, first_ms, last_ms, limit })
    }

    /// The series that any selector accepts, sorted; all, where there is none.
    fn series(&self, reader: &dyn Reader) -> Result<Vec<Arc<Labels>>, Failure> {
        let all = [Vec::new()];
        let selectors = if self.selectors.is_empty() { &all[..] } else { &self.selectors[..] };
        let mut found = Vec::new();
        for matchers in selectors {
            found.extend(reader.series(&self.tenant, matchers, self.first_ms, self.last_ms)?);
        }
        if selectors.len() > 1 {
            found.sort_unstable();
            found.dedup();
        }
        Ok(found)
    }

    /// A list of what `each` makes of the series.
    async fn list(
        self,
        api: &Arc<Api>,
        each: impl for<'l> Fn(&'l Labels, &mut HashSet<&'l str>) + Send + 'static,
    ) -> Result<Answer, Failure> {
        let state = api.clone();
        blocking(api, None, move |_| {
            let reader = state.source.snapshot();
            let series = self.series(&*reader)?;
            let mut names = HashSet::new();
            series.iter().for_each(|labels| each(labels, &mut names));
            let mut names: Vec<&str> = names.into_iter().collect();
            names.sort_unstable();
            let mut warnings = Vec::from_iter(reader.partial());
            cut(&mut names, self.limit, &mut warnings);
            Ok(envelope(&json::strings(&names), names.len(), &warnings, &[]))
        })
        .await
    }
}

pub(super) async fn series(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    if ask.all("match[]").next().is_none() {
        return Err(Failure::BadData("no match[] parameter provided".to_owned()));
    }
    let wanted = Wanted::read(&ask, |why| bad("match[]", why))?;
    let state = api.clone();
    blocking(&api, None, move |_| {
        let reader = state.source.snapshot();
        let mut found = wanted.series(&*reader)?;
        let mut warnings = Vec::from_iter(reader.partial());
        cut(&mut found, wanted.limit, &mut warnings);
        let mut out = open_envelope(found.len().saturating_mul(SERIES_ROOM));
        out.push('[');
        json::list(&mut out, &found, |out, labels| json::labels(out, labels));
        out.push(']');
        Ok(close_envelope(out, found.len(), &warnings, &[]))
    })
    .await
}

pub(super) async fn labels(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    Wanted::read(&ask, Failure::BadData)?.list(&api, |labels, names| names.extend(labels.iter().map(|(n, _)| n))).await
}

pub(super) async fn values(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let name = unescape(ask.path("name"));
    if name.is_empty() {
        return Err(Failure::BadData(format!("invalid label name: {:?}", ask.path("name"))));
    }
    Wanted::read(&ask, Failure::BadData)?.list(&api, move |labels, values| values.extend(labels.get(&name))).await
}

/// A name that is no classic one arrives as `U__` and hexadecimal code points between underscores: `U__a_2e_b` is `a.b`.
fn unescape(name: &str) -> String {
    let Some(escaped) = name.strip_prefix("U__") else { return name.to_owned() };
    let mut out = String::new();
    let mut rest = escaped;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '_' {
            out.push(c);
        } else if let Some(tail) = rest.strip_prefix('_') {
            out.push('_');
            rest = tail;
        } else {
            let code = rest.split_once('_').and_then(|(code, tail)| Some((u32::from_str_radix(code, 16).ok()?, tail)));
            let Some((c, tail)) = code.and_then(|(code, tail)| Some((char::from_u32(code)?, tail))) else {
                return name.to_owned();
            };
            out.push(c);
            rest = tail;
        }
    }
    out
}

pub(super) async fn metadata(api: Arc<Api>, ask: Ask) -> Result<Answer, Failure> {
    let tenant = ask.tenant()?;
    let family = ask.get("metric").map(str::to_owned);
    // A negative limit means none, as in Prometheus.
    let limit = |name: &str| match ask.get(name).unwrap_or("-1").parse::<i64>() {
        Ok(n) => Ok(usize::try_from(n).unwrap_or(usize::MAX)),
        Err(_) => Err(Failure::BadData(format!("{name} must be a number"))),
    };
    let (families, each) = (limit("limit")?, limit("limit_per_metric")?);
    let state = api.clone();
    blocking(&api, None, move |_| {
        let found = state.source.snapshot().metadata(&tenant, family.as_deref());
        let mut by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, kind, help, unit) in found {
            let mut entry = format!("{{\"type\":\"{}\",\"help\":", kind.as_str());
            json::string(&mut entry, &help);
            entry.push_str(",\"unit\":");
            json::string(&mut entry, &unit);
            entry.push('}');
            by_name.entry(name).or_default().push(entry);
        }
        let mut out = String::from("{");
        json::list(&mut out, by_name.iter().take(families), |out, (name, entries)| {
            json::string(out, name);
            out.push_str(":[");
            json::list(out, entries.iter().take(if each == 0 { usize::MAX } else { each }), |out, e| out.push_str(e));
            out.push(']');
        });
        out.push('}');
        Ok(envelope(&out, by_name.len(), &[], &[]))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn names_of_any_characters_come_escaped() {
        for (escaped, name) in
            [("job", "job"), ("U__http_2e_requests", "http.requests"), ("U__a__b", "a_b"), ("U__a_zz_", "U__a_zz_")]
        {
            assert_eq!(unescape(escaped), name);
        }
    }
}

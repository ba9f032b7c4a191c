//! `dns_sd_configs`: targets that DNS names.
//!
//! As in Prometheus, the servers of `/etc/resolv.conf` are asked at every refresh, and the file is read anew for it: a machine that
//! changes its network gets others. Nothing is remembered between two refreshes, however long a record may be kept: the
//! interval of refreshes says how old a target may be.

use hickory_resolver::proto::ProtoErrorKind;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{ResolveError, TokioResolver};
use prometheus::{DnsRecord, TargetGroup};

use super::{Answer, Source};

pub(super) struct Names {
    names: Vec<String>,
    record: DnsRecord,
    port: u16,
}

impl Names {
    pub(super) fn new(names: Vec<String>, record: DnsRecord, port: u16) -> Self {
        Self { names, record, port }
    }

    async fn group(&self, resolver: &TokioResolver, name: &str) -> Result<TargetGroup, String> {
        let record = match self.record {
            DnsRecord::Srv => RecordType::SRV,
            DnsRecord::A => RecordType::A,
            DnsRecord::Aaaa => RecordType::AAAA,
            DnsRecord::Mx => RecordType::MX,
            DnsRecord::Ns => RecordType::NS,
        };
        let group = |targets| TargetGroup { targets, labels: Vec::new(), source: name.to_owned() };
        let search: Vec<String> = resolver.config().search().iter().map(ToString::to_string).collect();
        // The resolver's own search would end with the answer for the last name, also where an earlier one got none.
        let mut failed = None;
        for whole in names(name, &search, resolver.options().ndots) {
            match resolver.lookup(whole.as_str(), record).await {
                Ok(found) => {
                    return Ok(group(found.iter().filter_map(|data| target(name, data, self.port)).collect()));
                }
                Err(e) if is_without_records(&e) => {}
                Err(e) => failed = Some(format!("{whole}: {e}")),
            }
        }
        failed.map_or_else(|| Ok(group(Vec::new())), Err)
    }
}

/// The whole names that a name may stand for, in the order in which they are asked for, as in Prometheus: with many dots first as
/// it is, with few first below the domains of the search list.
fn names(name: &str, search: &[String], ndots: usize) -> Vec<String> {
    if name.ends_with('.') {
        return vec![name.to_owned()];
    }
    let below = search.iter().map(|domain| format!("{name}.{}.", domain.trim_matches('.')));
    let mut all: Vec<String> = below.collect();
    let at = if name.matches('.').count() >= ndots { 0 } else { all.len() };
    all.insert(at, format!("{name}."));
    all
}

impl Source for Names {
    /// All names must have an answer, so that none's targets go because one question was lost.
    async fn groups(&self) -> Answer {
        let mut builder = TokioResolver::builder_tokio().map_err(|e| format!("the system's resolver: {e}"))?;
        builder.options_mut().cache_size = 0;
        let resolver = builder.build();
        let mut groups = Vec::new();
        for name in &self.names {
            groups.push(self.group(&resolver, name).await?);
        }
        Ok(groups)
    }
}

/// Whether the answer is that there are none; a server that fails or refuses has not said so, although the resolver calls it the same.
fn is_without_records(e: &ResolveError) -> bool {
    let Some(ProtoErrorKind::NoRecordsFound { response_code, .. }) = e.proto().map(|e| e.kind()) else { return false };
    matches!(response_code, ResponseCode::NoError | ResponseCode::NXDomain)
}

/// The labels of what a record names.
fn target(name: &str, data: &RData, port: u16) -> Option<Vec<(String, String)>> {
    let host = |name: &hickory_resolver::Name| name.to_utf8().trim_end_matches('.').to_owned();
    let mut meta: Vec<(&str, String)> = Vec::new();
    let address = match data {
        RData::SRV(srv) => {
            meta.push(("__meta_dns_srv_record_target", srv.target().to_utf8()));
            meta.push(("__meta_dns_srv_record_port", srv.port().to_string()));
            format!("{}:{}", host(srv.target()), srv.port())
        }
        RData::A(ip) => format!("{ip}:{port}"),
        RData::AAAA(ip) => format!("[{ip}]:{port}"),
        RData::MX(mx) => {
            meta.push(("__meta_dns_mx_record_target", mx.exchange().to_utf8()));
            format!("{}:{port}", host(mx.exchange()))
        }
        RData::NS(ns) => {
            meta.push(("__meta_dns_ns_record_target", ns.0.to_utf8()));
            format!("{}:{port}", host(&ns.0))
        }
        _ => return None,
    };
    let labels = [("__address__", address), ("__meta_dns_name", name.to_owned())].into_iter().chain(meta);
    Some(labels.map(|(n, v)| (n.to_owned(), v)).collect())
}

#[cfg(test)]
mod tests {
    use hickory_resolver::Name;
    use hickory_resolver::proto::rr::rdata::{A, AAAA, SRV};

    use super::*;

    #[test]
    fn a_name_is_looked_for_below_the_search_list() {
        let search = ["a.b".to_owned(), "c.".to_owned()];
        assert_eq!(names("x.", &search, 1), ["x."]);
        assert_eq!(names("x", &search, 1), ["x.a.b.", "x.c.", "x."]);
        assert_eq!(names("x.y", &search, 1), ["x.y.", "x.y.a.b.", "x.y.c."]);
        assert_eq!(names("x.y", &search, 2), ["x.y.a.b.", "x.y.c.", "x.y."]);
    }

    #[test]
    fn records_become_addresses() {
        let name = |n: &str| Name::from_utf8(n).expect("a name");
        for (data, address, labels) in [
            (RData::SRV(SRV::new(1, 2, 99, name("a.b."))), "a.b:99", 4),
            (RData::A(A::new(10, 0, 0, 1)), "10.0.0.1:7", 2),
            (RData::AAAA(AAAA::new(0, 0, 0, 0, 0, 0, 0, 1)), "[::1]:7", 2),
        ] {
            let found = target("n", &data, 7).expect("a target");
            assert_eq!((found[0].1.as_str(), found.len()), (address, labels));
        }
    }
}

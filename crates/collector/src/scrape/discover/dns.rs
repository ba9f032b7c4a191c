//! `dns_sd_configs`: targets that DNS names.

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::{RData, RecordType};
use prometheus::{DnsRecord, TargetGroup};

use super::{Answer, Source};

pub(super) struct Names {
    names: Vec<String>,
    record: DnsRecord,
    port: u16,
    resolver: TokioResolver,
}

impl Names {
    pub(super) fn new(names: Vec<String>, record: DnsRecord, port: u16) -> Result<Self, String> {
        let resolver = TokioResolver::builder_tokio().map_err(|e| format!("the system's resolver: {e}"))?.build();
        Ok(Self { names, record, port, resolver })
    }

    async fn group(&self, name: &str) -> Result<TargetGroup, String> {
        let record = match self.record {
            DnsRecord::Srv => RecordType::SRV,
            DnsRecord::A => RecordType::A,
            DnsRecord::Aaaa => RecordType::AAAA,
            DnsRecord::Mx => RecordType::MX,
            DnsRecord::Ns => RecordType::NS,
        };
        let group = |targets| TargetGroup { targets, labels: Vec::new(), source: name.to_owned() };
        let found = match self.resolver.lookup(name, record).await {
            Ok(found) => found,
            // A name without such records has no targets.
            Err(e) if e.is_no_records_found() => return Ok(group(Vec::new())),
            Err(e) => return Err(format!("{name}: {e}")),
        };
        Ok(group(found.iter().filter_map(|data| target(name, data, self.port)).collect()))
    }
}

impl Source for Names {
    /// All names must have an answer, so that none's targets go because one question was lost.
    async fn groups(&self) -> Answer {
        let mut groups = Vec::new();
        for name in &self.names {
            groups.push(self.group(name).await?);
        }
        Ok(groups)
    }
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

//! The customary ports of Braid and the lab, moved together by `--port-offset`.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use sense::Service;

/// Where everything listens on this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) backend: u16,
    pub(crate) proxy: u16,
    /// In the order of [`Service::ALL`].
    pub(crate) sense: [u16; 3],
    /// In the order of [`shop::Service::ALL`].
    pub(crate) shop: [u16; 4],
    pub(crate) braid: u16,
    pub(crate) otlp: u16,
    pub(crate) loki: u16,
    pub(crate) tempo: u16,
    pub(crate) prometheus: u16,
    pub(crate) correlation: u16,
    pub(crate) syslog: u16,
}

/// Where Braid takes syslog, before any offset; as in `lab/braid.yaml`.
pub(crate) const SYSLOG: u16 = 5514;

impl Ports {
    /// The customary ports plus `offset`. An offset that leaves the range of ports is an error.
    pub(crate) fn shifted(offset: u16) -> anyhow::Result<Self> {
        let shift = |port: u16| {
            port.checked_add(offset).ok_or_else(|| anyhow::anyhow!("--port-offset {offset} moves port {port} beyond 65535"))
        };
        let [beorn, palantir, arda] = Service::ALL;
        let [transactions, auth, payment, inventory] = shop::Service::ALL.map(shop::Service::port);
        Ok(Self {
            backend: shift(tasks::BACKEND_PORT)?,
            proxy: shift(tasks::PROXY_PORT)?,
            sense: [shift(beorn.port())?, shift(palantir.port())?, shift(arda.port())?],
            shop: [shift(transactions)?, shift(auth)?, shift(payment)?, shift(inventory)?],
            braid: shift(3000)?,
            otlp: shift(4318)?,
            loki: shift(3100)?,
            tempo: shift(3200)?,
            prometheus: shift(9090)?,
            correlation: shift(8080)?,
            syslog: shift(SYSLOG)?,
        })
    }

    /// What answers when a part is ready: name, what it is for people, and the address to ask.
    pub(crate) fn checks(&self, with_braid: bool) -> Vec<Check> {
        let check = |name, port: u16, path: &str| Check { name, port, url: format!("http://127.0.0.1:{port}{path}") };
        let mut lab = vec![check("Backend", self.backend, "/health"), check("Task page", self.proxy, "/health")];
        lab.extend(self.services().map(|(service, port)| check(service.name(), port, "/health")));
        lab.extend(self.shops().map(|(service, port)| check(service.name(), port, "/health")));
        let braid = [
            check("Braid", self.braid, "/ready"),
            check("Prometheus API", self.prometheus, "/-/ready"),
            check("Tempo API", self.tempo, "/ready"),
            check("Loki API", self.loki, "/ready"),
        ];
        if with_braid { braid.into_iter().chain(lab).collect() } else { lab }
    }

    /// The sense services with their ports.
    pub(crate) fn services(&self) -> impl Iterator<Item = (Service, u16)> {
        Service::ALL.into_iter().zip(self.sense)
    }

    /// The shop's services with their ports.
    pub(crate) fn shops(&self) -> impl Iterator<Item = (shop::Service, u16)> {
        shop::Service::ALL.into_iter().zip(self.shop)
    }
}

/// One thing to be ready.
#[derive(Debug, Clone)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    pub(crate) url: String,
}

/// Whether nobody listens on this port of the loopback interface.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_offset_moves_all_ports_or_is_refused() {
        let ports = Ports::shifted(20_000).unwrap();
        assert_eq!((ports.backend, ports.proxy, ports.sense, ports.otlp), (25_000, 28_081, [25_001, 25_002, 25_003], 24_318));
        assert!(Ports::shifted(60_000).is_err());
        assert_eq!(ports.checks(true).len(), 13);
    }
}

//! The way to the backend: its name is resolved again every 30 s and after every failure to connect, so that the backend may
//! move, restart elsewhere or come up after the proxy.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use http::Uri;
use http::uri::Authority;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::Connect;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use super::metrics::Metrics;

const RESOLVE_EVERY: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Shorter than a server's own keep-alive, so that a request rarely meets a connection that is being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// A named upstream server with the addresses that its name stands for at the moment.
#[derive(Debug)]
pub(super) struct Upstream {
    /// `host:port` as configured.
    name: Authority,
    addresses: Mutex<Vec<SocketAddr>>,
    metrics: Arc<Metrics>,
}

impl Upstream {
    /// Does not resolve yet; the first connection or the first round of [`Upstream::keep_resolving`] does.
    pub(super) fn new(name: Authority, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { name, addresses: Mutex::default(), metrics })
    }

    /// The configured `host:port`.
    pub(super) fn name(&self) -> &Authority {
        &self.name
    }

    /// A pooled HTTP/1.1 client whose connections go to this upstream, whatever authority a request names.
    pub(super) fn client(self: &Arc<Self>) -> Client<impl Connect + Clone + Send + Sync + 'static, Body> {
        let upstream = self.clone();
        let connector = tower::service_fn(move |_: Uri| {
            let upstream = upstream.clone();
            // Boxed because the client wants its connections in the making to be movable.
            Box::pin(async move { upstream.connect().await.map(TokioIo::new) })
        });
        Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_TIMEOUT).build(connector)
    }

    /// Resolves every 30 s, for ever. While the name cannot be resolved the last addresses stay in use.
    pub(super) async fn keep_resolving(&self) {
        loop {
            if let Err(error) = self.resolve().await {
                tracing::warn!(upstream = %self.name, error = %error, "Upstream name cannot be resolved");
            }
            tokio::time::sleep(RESOLVE_EVERY).await;
        }
    }

    /// Asks the system's resolver now. Returns whether the addresses differ from before.
    async fn resolve(&self) -> io::Result<bool> {
        let host = self.name.host().trim_start_matches('[').trim_end_matches(']');
        let port = self.name.port_u16().unwrap_or(80);
        let found = lookup_host((host, port)).await.map(Iterator::collect::<Vec<_>>);
        self.metrics.resolved(found.as_ref().is_ok_and(|found| !found.is_empty()));
        let mut found = found?;
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        found.sort_unstable();
        let mut addresses = self.addresses();
        let changed = *addresses != found;
        if changed {
            tracing::info!(upstream = %self.name, addresses = ?found, "Upstream resolved");
            *addresses = found;
        }
        Ok(changed)
    }

    /// A connection to the first address that takes one. If none does, the name is resolved again, and addresses that are
    /// new are tried once; all of it within 5 s.
    async fn connect(&self) -> io::Result<TcpStream> {
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the upstream's name has not been resolved");
        for _ in 0..2 {
            let addresses = self.addresses().clone();
            for address in addresses {
                match timeout_at(deadline, TcpStream::connect(address)).await {
                    Ok(Ok(stream)) => {
                        stream.set_nodelay(true)?;
                        return Ok(stream);
                    }
                    Ok(Err(error)) => last = io::Error::new(error.kind(), format!("{address}: {error}")),
                    Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, format!("{address}: no connection within 5 s")),
                }
                self.metrics.connect_failed();
            }
            match timeout_at(deadline, self.resolve()).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => return Err(last),
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, "no connection within 5 s")),
            }
        }
        Err(last)
    }

    fn addresses(&self) -> std::sync::MutexGuard<'_, Vec<SocketAddr>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_stale_address_is_replaced_by_resolving_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stale = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let upstream = Upstream::new(format!("localhost:{port}").parse().unwrap(), Arc::new(Metrics::new()));
        *upstream.addresses() = vec![stale];
        let stream = upstream.connect().await.unwrap();
        assert_eq!(stream.peer_addr().unwrap().port(), port);
    }

    #[tokio::test]
    async fn a_dead_upstream_is_an_error_that_names_the_address() {
        let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let upstream = Upstream::new(dead.to_string().parse().unwrap(), Arc::new(Metrics::new()));
        let error = upstream.connect().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(error.to_string().contains(&dead.to_string()), "{error}");
    }
}

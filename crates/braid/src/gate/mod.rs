//! In front of every port: who sends a request, and may they? No handler asks again.

mod refusal;
mod session;
mod table;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{HOST, HeaderName, HeaderValue, UPGRADE};
use axum::http::{Request, Response};
use guard::{Guard, Look};

use crate::arriving::Arriving;
use crate::config::Face;
pub(crate) use session::login_path;
use table::Need;

/// Where the tenant stands.
const TENANT: HeaderName = HeaderName::from_static("x-scope-orgid");

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    /// Where it is.
    pub(crate) address: SocketAddr,
    /// Whether the connection has TLS.
    pub(crate) secure: bool,
    /// Whether it showed a certificate that was verified.
    pub(crate) certified: bool,
}

/// What lets requests through.
#[derive(Default)]
pub(crate) struct Gate {
    guard: Option<Arc<Guard>>,
}

impl Gate {
    /// One that asks `guard`; without one it is open.
    pub(crate) fn new(guard: Option<Arc<Guard>>) -> Self {
        Self { guard }
    }

    /// The request, if it may pass, with the tenant that its credential is bound to; else the answer.
    pub(crate) async fn admit(
        &self,
        face: Face,
        peer: Peer,
        mut request: Request<Arriving>,
    ) -> Result<Request<Arriving>, Box<Response<Body>>> {
        let Some(guard) = &self.guard else { return Ok(request) };
        let (method, path) = (request.method(), request.uri().path());
        let looks = table::looks(method);
        let scope = match table::need(method, path) {
            Need::Has(scope) => scope,
            Need::Open => {
                guard.passed();
                return Ok(request);
            }
        };
        // The page itself: it holds nothing, and the login is on it.
        if face == Face::Braid && looks && page::has(path) {
            guard.passed();
            return Ok(request);
        }
        let host = host(&request);
        let look = Look {
            address: peer.address.ip(),
            certified: peer.certified,
            headers: request.headers(),
            host: &host,
            // Cookies do not tell ports apart; the page is on one.
            sessions: face == Face::Braid,
            acts: !looks,
            upgrades: request.headers().contains_key(UPGRADE),
        };
        let admitted = match guard.admit(look, scope).await {
            Ok(admitted) => admitted,
            Err(denial) => return Err(Box::new(refusal::answer(face, path, request.headers(), scope, &denial))),
        };
        if let Some(tenant) = admitted.tenant
            && let Ok(value) = HeaderValue::from_str(tenant.as_str())
        {
            request.headers_mut().insert(TENANT, value);
        }
        Ok(request)
    }

    /// Answers `/api/session…`; `None` for everything else.
    pub(crate) async fn session(
        &self,
        face: Face,
        peer: Peer,
        request: Request<Arriving>,
    ) -> Result<Response<Body>, Request<Arriving>> {
        if face != Face::Braid || !matches!(request.uri().path(), "/api/session" | "/api/session/link") {
            return Err(request);
        }
        Ok(session::answer(self.guard.as_deref(), peer, request).await)
    }
}

/// The host and port that the client believes to talk to.
fn host(request: &Request<Arriving>) -> String {
    let header = || request.headers().get(HOST).and_then(|v| v.to_str().ok());
    request.uri().authority().map(|a| a.as_str()).or_else(header).unwrap_or_default().to_owned()
}

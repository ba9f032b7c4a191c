//! Moments of the running store for `braid backup`: made, read and let go over the admin API.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Method, Response, StatusCode};
use store::backup::{BackupError, Pinned, Snapshot};
use store::{Store, StoreError};

use crate::app::text;

/// Where they are.
pub(crate) const PATH: &str = "/api/admin/snapshot";
/// So many at once: each keeps the files of its moment.
const MOST: usize = 4;
/// One that nobody has read for so long is let go.
const IDLE: Duration = Duration::from_secs(600);
/// Bytes of an answer.
pub(crate) const PIECE: usize = 8 << 20;

/// The moments that are being copied.
pub(crate) struct Snapshots {
    store: Arc<Store>,
    held: std::sync::Mutex<HashMap<String, (Arc<Pinned>, Instant)>>,
}

impl Snapshots {
    /// None yet.
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, held: std::sync::Mutex::default() }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Arc<Pinned>, Instant)>> {
        // A panic while it was held has left a map of moments, which is all that it is.
        let mut held = self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        held.retain(|_, (_, used)| used.elapsed() < IDLE);
        held
    }

    /// Answers a request below [`PATH`]: `POST` makes one, `GET …/<id>/file` reads, `DELETE …/<id>` lets go. Blocks.
    pub(crate) fn answer(&self, method: &Method, path: &str, query: &str) -> Response<Body> {
        let rest = path.strip_prefix(PATH).unwrap_or_default().trim_start_matches('/');
        match (method, rest.split_once('/').unwrap_or((rest, ""))) {
            (&Method::POST, ("", "")) => self.make(),
            (&Method::GET, (id, "file")) => self.read(id, query),
            (&Method::DELETE, (id, "")) if !id.is_empty() => match self.held().remove(id) {
                Some(_) => text(StatusCode::NO_CONTENT, Body::empty()),
                None => gone(id),
            },
            _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
        }
    }

    fn make(&self) -> Response<Body> {
        if self.held().len() >= MOST {
            return text(StatusCode::SERVICE_UNAVAILABLE, format!("{MOST} snapshots are being copied already\n"));
        }
        let pinned = match self.store.pin() {
            Ok(pinned) => Arc::new(pinned),
            Err(e @ StoreError::Busy(_)) => return text(StatusCode::SERVICE_UNAVAILABLE, format!("{e}\n")),
            Err(e) => return text(StatusCode::INTERNAL_SERVER_ERROR, format!("{e}\n")),
        };
        let id = format!("{:x}", std::time::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_nanos()));
        let body = serde_json::json!({"id": id, "manifest": pinned.manifest(), "files": pinned.files()});
        self.held().insert(id, (pinned, Instant::now()));
        text(StatusCode::OK, format!("{body}\n"))
    }

    fn read(&self, id: &str, query: &str) -> Response<Body> {
        let pinned = match self.held().get_mut(id) {
            Some((pinned, used)) => {
                *used = Instant::now();
                Arc::clone(pinned)
            }
            None => return gone(id),
        };
        let (mut path, mut offset, mut len) = (None, None, None);
        for pair in query.split('&') {
            match pair.split_once('=') {
                // Paths of segments have no character that needs an escape but those that clients may escape all the same.
                Some(("path", value)) => path = unescape(value),
                Some(("offset", value)) => offset = value.parse::<u64>().ok(),
                Some(("len", value)) => len = value.parse::<usize>().ok().filter(|n| *n <= PIECE),
                _ => {}
            }
        }
        let (Some(path), Some(offset), Some(len)) = (path, offset, len) else {
            return text(StatusCode::BAD_REQUEST, format!("path, offset and len (at most {PIECE}) are needed\n"));
        };
        match pinned.read(&path, offset, len) {
            Ok(bytes) => {
                let mut response = Response::new(Body::from(bytes));
                let kind = axum::http::HeaderValue::from_static("application/octet-stream");
                response.headers_mut().insert(axum::http::header::CONTENT_TYPE, kind);
                response
            }
            Err(e @ BackupError::Missing(_)) => text(StatusCode::NOT_FOUND, format!("{e}\n")),
            Err(e) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{e}\n")),
        }
    }
}

fn gone(id: &str) -> Response<Body> {
    text(
        StatusCode::NOT_FOUND,
        format!("there is no snapshot {id}; one that is not read for {} minutes goes\n", IDLE.as_secs() / 60),
    )
}

fn unescape(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn escapes() {
        assert_eq!(unescape("segments%2Fa/b%27").as_deref(), Some("segments/a/b'"));
        for bad in ["%", "%2", "%zz", "%ff"] {
            assert_eq!(unescape(bad), None, "{bad}");
        }
    }
}

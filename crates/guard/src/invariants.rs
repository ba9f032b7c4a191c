//! What must hold of any bytes, for property tests and fuzzing.

use http::{HeaderMap, HeaderValue, header};

use crate::{Keyring, SESSION_COOKIE, cookie, presented};

/// `bytes` as an `Authorization` header, a `Cookie` header, and a file of keys: nothing panics, and what is read can be written again.
///
/// # Panics
/// Where that does not hold.
pub fn strange(bytes: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(bytes) {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.clone());
        headers.insert(header::COOKIE, value);
        let _ = presented(&headers);
        let _ = cookie(&headers, SESSION_COOKIE);
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(ring) = Keyring::parse(text)
    {
        let again = Keyring::parse(&ring.text());
        assert!(again.is_ok_and(|again| again == ring), "written otherwise than it was read");
    }
}

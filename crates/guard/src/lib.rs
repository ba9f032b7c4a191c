//! Who may do what, and how what is said stays between two.
//!
//! [`Guard::admit`] answers for one request: who sent it, with which [`Scope`]s, or why it is refused. It is asked once, in front of
//! every port, and knows neither paths nor answers: which scope a path needs and what a refusal looks like is the caller's. [`Tls`]
//! is a port's transport security; [`certs`] makes certificates for a lab.
//!
//! What holds everywhere here: a secret is shown once and kept as an argon2id hash; nothing compares secrets but in constant time
//! (argon2's verifier, or an equal digest under a key that only this process has); no secret reaches a log line, an error or a
//! `Debug`; every table that a stranger can make grow is bounded.

mod cache;
pub mod certs;
mod counters;
mod credential;
mod guard;
pub mod invariants;
mod keyring;
mod limiter;
mod revoke;
mod scope;
mod secret;
mod sessions;
mod stamp;
mod tls;

#[cfg(test)]
mod tests;

pub use credential::{Credential, Malformed, cookie, presented};
pub use guard::{Admitted, Denial, Guard, Look, same_origin};
pub use keyring::{Entry, Keyring, KeyringError, Kind};
pub use revoke::revoke;
pub use scope::{Scope, Scopes};
pub use secret::{ApiKey, hash_password};
pub use sessions::{SESSION_COOKIE, Session};
pub use stamp::Stamp;
pub use tls::{ClientCertificates, Tls, TlsError, TlsFiles};

//! Transport security: the one provider of cryptography that the process uses.

/// Names ring as the process' provider of cryptography; TLS clients are built after it. Calling it again changes nothing.
///
/// Libraries that open TLS connections of their own (HTTP clients, object stores) look it up where `rustls` keeps it: per process.
pub fn provide() {
    // An error says that there is one already, which is this one.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

//! A port's transport security: a certificate, a key, and whose client certificates are good; read anew without a restart.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::Stamp;

/// What cannot be read, and why.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", .path.display())]
pub struct TlsError {
    path: PathBuf,
    why: String,
}

/// Whether clients must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientCertificates {
    /// Whoever shows none is refused.
    #[default]
    Required,
    /// One that is shown must be good.
    Optional,
}

/// Where certificate and key are; PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
    /// The authorities of client certificates, and whether clients must have one.
    pub clients: Option<(PathBuf, ClientCertificates)>,
    /// Client certificates that those authorities have revoked: a PEM file of their lists.
    pub revoked: Option<PathBuf>,
}

impl TlsFiles {
    /// Whether nobody gets in without a certificate.
    #[must_use]
    pub fn requires_certificates(&self) -> bool {
        matches!(self.clients, Some((_, ClientCertificates::Required)))
    }

    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.certificate, &self.key].into_iter().chain(self.clients.iter().map(|(path, _)| path)).chain(&self.revoked)
    }

    fn read(&self, protocols: &[&[u8]]) -> Result<ServerConfig, TlsError> {
        let failed = |path: &PathBuf, why: String| TlsError { path: path.clone(), why };
        let certificates = |path: &PathBuf| -> Result<Vec<CertificateDer<'static>>, TlsError> {
            let chain = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let chain = chain.map_err(|e| failed(path, e.to_string()))?;
            if chain.is_empty() { Err(failed(path, "no certificate in it".to_owned())) } else { Ok(chain) }
        };
        let chain = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|e| failed(&self.key, e.to_string()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = builder.map_err(|e| failed(&self.certificate, e.to_string()))?;
        let builder = match &self.clients {
            None => builder.with_no_client_auth(),
            Some((path, which)) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates(path)? {
                    roots.add(authority).map_err(|e| failed(path, e.to_string()))?;
                }
                let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                if let Some(path) = &self.revoked {
                    let lists =
                        CertificateRevocationListDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
                    let lists = lists.map_err(|e| failed(path, e.to_string()))?;
                    if lists.is_empty() {
                        return Err(failed(path, "no list of revoked certificates in it".to_owned()));
                    }
                    // An authority without a list has revoked nothing.
                    verifier = verifier.with_crls(lists).allow_unknown_revocation_status();
                }
                let verifier = match which {
                    ClientCertificates::Required => verifier,
                    ClientCertificates::Optional => verifier.allow_unauthenticated(),
                };
                builder.with_client_cert_verifier(verifier.build().map_err(|e| failed(path, e.to_string()))?)
            }
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|e| failed(&self.certificate, format!("does not go with the key {}: {e}", self.key.display())))?;
        config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
        Ok(config)
    }
}

/// The security of one port, or of several that share their files.
pub struct Tls {
    files: TlsFiles,
    protocols: Vec<&'static [u8]>,
    config: RwLock<Arc<ServerConfig>>,
    stamp: Mutex<Stamp>,
    failed: AtomicU64,
}

impl Tls {
    /// Reads the files; `protocols` are offered by ALPN (`h2`, `http/1.1`), none for what is not HTTP.
    ///
    /// # Errors
    /// [`TlsError`] with the file.
    pub fn open(files: TlsFiles, protocols: Vec<&'static [u8]>) -> Result<Self, TlsError> {
        let stamp = Mutex::new(Stamp::of(files.paths()));
        let config = RwLock::new(Arc::new(files.read(&protocols)?));
        Ok(Self { files, protocols, config, stamp, failed: AtomicU64::new(0) })
    }

    /// Reads the files anew; connections that are open keep what they have. Where one is wrong, the old ones hold.
    ///
    /// # Errors
    /// [`TlsError`] with the file.
    pub fn reload(&self) -> Result<(), TlsError> {
        *self.stamp.lock() = Stamp::of(self.files.paths());
        let config = Arc::new(self.files.read(&self.protocols)?);
        *self.config.write() = config;
        Ok(())
    }

    /// Reads the files anew if they changed; whether they did. A pair that is being replaced does not go together for a moment:
    /// it is looked at again when its next file has changed.
    ///
    /// # Errors
    /// [`TlsError`] with the file.
    pub fn reload_if_changed(&self) -> Result<bool, TlsError> {
        if Stamp::of(self.files.paths()) == *self.stamp.lock() {
            return Ok(false);
        }
        self.reload().map(|()| true)
    }

    /// What makes a connection secure, as the files say now.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config.read()))
    }

    /// What is offered by ALPN.
    #[must_use]
    pub fn protocols(&self) -> &[&'static [u8]] {
        &self.protocols
    }

    /// The files.
    #[must_use]
    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// A connection did not become secure.
    pub fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// How many did not.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

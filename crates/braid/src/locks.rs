//! Keys and certificates in force: read at the start, and again when their files change or a reload is asked for.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use guard::{Guard, Tls, TlsFiles};
use tokio_util::sync::CancellationToken;

use crate::config::{Auth, ConfigError, Endpoint};

/// How often files are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// What HTTP offers by ALPN.
const HTTP: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// All that is locked.
pub(crate) struct Locks {
    guard: Option<Arc<Guard>>,
    tls: Vec<Arc<Tls>>,
    reloads: [AtomicU64; 2],
}

impl Locks {
    /// Reads what `auth` and the endpoints name.
    ///
    /// # Errors
    /// A file that cannot be read or used.
    pub(crate) fn open(auth: &Auth, endpoints: &[Endpoint], syslog: Option<&TlsFiles>) -> Result<Self, ConfigError> {
        let guard = match auth.is_on() {
            true => {
                let guard = Guard::open(auth.file.clone(), auth.extra.clone(), auth.certified, auth.session);
                Some(Arc::new(guard.map_err(|e| ConfigError::plain(&format!("auth.credentials_file: {e}")))?))
            }
            false => None,
        };
        let mut locks = Self { guard, tls: Vec::new(), reloads: Default::default() };
        let http = endpoints.iter().filter_map(|e| e.tls.as_ref()).map(|files| (files, &HTTP[..]));
        for (files, protocols) in http.chain(syslog.map(|files| (files, &[][..]))) {
            // Ports that share their files share what was read of them.
            if locks.tls_of(files, protocols).is_none() {
                let tls = Tls::open(files.clone(), protocols.to_vec()).map_err(|e| ConfigError::plain(&format!("tls: {e}")))?;
                locks.tls.push(Arc::new(tls));
            }
        }
        Ok(locks)
    }

    /// What asks who sends a request; `None` where nobody does.
    pub(crate) fn guard(&self) -> Option<&Arc<Guard>> {
        self.guard.as_ref()
    }

    /// The security of an HTTP port that has these files.
    pub(crate) fn http(&self, files: Option<&TlsFiles>) -> Option<Arc<Tls>> {
        self.tls_of(files?, &HTTP)
    }

    /// The security of syslog's streams.
    pub(crate) fn syslog(&self, files: Option<&TlsFiles>) -> Option<Arc<Tls>> {
        self.tls_of(files?, &[])
    }

    fn tls_of(&self, files: &TlsFiles, protocols: &[&[u8]]) -> Option<Arc<Tls>> {
        self.tls.iter().find(|t| t.files() == files && t.protocols() == protocols).cloned()
    }

    /// Reads everything anew; blocks. What is wrong stays as it was, the rest is taken.
    ///
    /// # Errors
    /// What is wrong, all of it.
    pub(crate) fn reload(&self) -> Result<(), String> {
        let guard = self.guard.iter().filter_map(|g| g.reload().err()).map(|e| e.to_string());
        let wrong: Vec<String> =
            guard.chain(self.tls.iter().filter_map(|t| self.counted(t.reload().map(|()| true)).err())).collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
    }

    /// Looks at the files now and then, until `stop`.
    pub(crate) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            let locks = Arc::clone(&self);
            let _ = tokio::task::spawn_blocking(move || locks.look()).await;
        }
    }

    fn look(&self) {
        if let Some(guard) = &self.guard {
            match guard.reload_if_changed() {
                Ok(true) => tracing::info!("keys and users read anew: {} of them", guard.entries()),
                Ok(false) => {}
                Err(e) => tracing::error!("keys and users stay as they were: {e}"),
            }
        }
        for tls in &self.tls {
            match self.counted(tls.reload_if_changed()) {
                Ok(true) => tracing::info!("certificate read anew: {}", tls.files().certificate.display()),
                Ok(false) => {}
                Err(e) => tracing::error!("the certificate stays as it was: {e}"),
            }
        }
    }

    fn counted(&self, result: Result<bool, guard::TlsError>) -> Result<bool, String> {
        if !matches!(result, Ok(false)) {
            self.reloads[usize::from(result.is_err())].fetch_add(1, Ordering::Relaxed);
        }
        result.map_err(|e| e.to_string())
    }

    /// Appends counts in Prometheus' text format.
    pub(crate) fn write_text(&self, out: &mut String) {
        if let Some(guard) = &self.guard {
            guard.write_text(out);
        }
        if self.tls.is_empty() {
            return;
        }
        let failed: u64 = self.tls.iter().map(|t| t.failures()).sum();
        let [good, bad] = &self.reloads;
        for (name, help, value) in [
            ("handshake_failures_total", "Connections that did not become secure.", failed),
            ("reloads_total", "Times that a certificate was read anew.", good.load(Ordering::Relaxed)),
            ("reload_failures_total", "Times that one could not be read; the old one holds then.", bad.load(Ordering::Relaxed)),
        ] {
            let _ = writeln!(out, "# HELP braid_tls_{name} {help}\n# TYPE braid_tls_{name} counter\nbraid_tls_{name} {value}");
        }
    }
}

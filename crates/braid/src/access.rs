//! How commands reach a running Braid: credentials, and whose certificates they trust.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Certificate, Identity};

/// Flags of every command that asks a running Braid.
#[derive(Debug, Args)]
pub(crate) struct Access {
    /// A user and a password, as NAME:PASSWORD (BRAID_USER keeps it out of the list of processes)
    #[arg(long, value_name = "NAME:PASSWORD", env = "BRAID_USER", hide_env_values = true, conflicts_with = "token")]
    user: Option<String>,
    /// An API key; better given as BRAID_TOKEN
    #[arg(long, value_name = "KEY", env = "BRAID_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The authority whose certificates are trusted, a PEM file [default: those of the system]
    #[arg(long, value_name = "FILE", env = "BRAID_CA")]
    ca: Option<PathBuf>,
    /// A client's certificate, a PEM file
    #[arg(long, value_name = "FILE", requires = "cert_key")]
    cert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "cert")]
    cert_key: Option<PathBuf>,
}

impl Access {
    /// Whether there is something to show.
    pub(crate) fn has_credential(&self) -> bool {
        self.user.is_some() || self.token.is_some()
    }

    /// A client that trusts what the flags say and, where it is `known`, shows what they name.
    ///
    /// # Errors
    /// Files that cannot be read, credentials that cannot be.
    pub(crate) fn client(&self, known: bool) -> anyhow::Result<reqwest::ClientBuilder> {
        collector::tls::provide();
        let mut builder = reqwest::Client::builder().connect_timeout(Duration::from_secs(5));
        if let Some(path) = &self.ca {
            let bundle = Certificate::from_pem_bundle(&read(path)?).with_context(|| format!("{}", path.display()))?;
            builder = builder.tls_certs_only(bundle);
        }
        if let (true, Some(cert), Some(key)) = (known, &self.cert, &self.cert_key) {
            let both = [read(cert)?, b"\n".to_vec(), read(key)?].concat();
            builder =
                builder.identity(Identity::from_pem(&both).with_context(|| format!("{} and {}", cert.display(), key.display()))?);
        }
        if known && let Some(mut value) = self.authorization()? {
            value.set_sensitive(true);
            builder = builder.default_headers(HeaderMap::from_iter([(AUTHORIZATION, value)]));
        }
        Ok(builder)
    }

    fn authorization(&self) -> anyhow::Result<Option<HeaderValue>> {
        use base64::Engine;
        let text = match (&self.token, &self.user) {
            (Some(token), _) => format!("Bearer {}", token.trim()),
            (None, Some(user)) if user.contains(':') => {
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(user))
            }
            (None, Some(_)) => bail!("--user takes NAME:PASSWORD"),
            (None, None) => return Ok(None),
        };
        Ok(Some(HeaderValue::from_str(&text).context("a credential has characters that no header can have")?))
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("{}", path.display()))
}

//! `auth` and `tls`: who may do what, and how ports are secured.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use guard::{ClientCertificates, Entry, Kind, Scope, Scopes, TlsFiles};

use super::{ConfigError, Endpoint, Overrides, raw, units};

/// How long a session of the page lasts unless told otherwise.
const SESSION: Duration = Duration::from_secs(12 * 3600);

/// One user from the environment, as the correlation engine's first version had it.
const ENABLE: &str = "ENABLE_BASIC_AUTH";
const USER: &str = "BASIC_AUTH_USER";
const PASSWORD: &str = "BASIC_AUTH_PASS";

/// Who may do what.
#[derive(Debug, Clone)]
pub(crate) struct Auth {
    /// The file of keys and users.
    pub(crate) file: Option<PathBuf>,
    /// Users of the environment.
    pub(crate) extra: Vec<Entry>,
    /// What a verified client certificate is good for.
    pub(crate) certified: Scopes,
    /// How long a session of the page lasts.
    pub(crate) session: Duration,
    /// Whether ports that ask for nothing may be reached from other machines.
    pub(crate) allow_unauthenticated: bool,
}

impl Auth {
    /// Whether requests must show who sends them.
    pub(crate) fn is_on(&self) -> bool {
        self.file.is_some() || !self.extra.is_empty() || !self.certified.is_empty()
    }
}

/// What `file` and the environment say.
pub(super) fn settings(name: &str, file: &raw::Auth, overrides: &Overrides) -> Result<Auth, ConfigError> {
    let wrong = |key: &str, why: &str| ConfigError::value(name, &format!("auth.{key}"), why);
    let scope = |text: &String| text.parse::<Scope>().map_err(|e| wrong("certificate_scopes", &e));
    Ok(Auth {
        file: file.credentials_file.as_ref().map(|path| beside(name, path)),
        extra: from_environment(|key| std::env::var(key).ok().filter(|v| !v.is_empty()))
            .map_err(|(key, why)| ConfigError::value("environment", key, why))?
            .into_iter()
            .collect(),
        certified: file.certificate_scopes.iter().map(scope).collect::<Result<_, _>>()?,
        session: match &file.session {
            None => SESSION,
            Some(text) => units::duration(text).map_err(|e| wrong("session", &e))?,
        },
        allow_unauthenticated: overrides.allow_unauthenticated || file.allow_unauthenticated,
    })
}

fn from_environment(get: impl Fn(&str) -> Option<String>) -> Result<Option<Entry>, (&'static str, String)> {
    match get(ENABLE).as_deref().map(str::trim) {
        None | Some("0" | "false" | "no" | "off") => return Ok(None),
        Some("1" | "true" | "yes" | "on") => {}
        Some(other) => return Err((ENABLE, format!("{other:?} is neither true nor false"))),
    }
    let user = get(USER).ok_or((USER, format!("is missing, though {ENABLE} is set")))?;
    let password = get(PASSWORD).ok_or((PASSWORD, format!("is missing, though {ENABLE} is set")))?;
    if user.contains(':') {
        return Err((USER, "has a colon in it".to_owned()));
    }
    let hash = guard::hash_password(&password).map_err(|why| (PASSWORD, why))?;
    let scopes = Scope::ALL.into_iter().collect();
    Ok(Some(Entry { kind: Kind::User, id: user.clone(), name: user, hash, scopes, tenant: None, created: None, expires: None }))
}

/// The files that a `tls` section names.
pub(super) fn tls(name: &str, key: &str, file: Option<&raw::Tls>) -> Result<Option<TlsFiles>, ConfigError> {
    let Some(file) = file else { return Ok(None) };
    let wrong = |part: &str, why: &str| ConfigError::value(name, &format!("{key}.{part}"), why);
    let which = match file.client_auth.as_deref() {
        None | Some("require") => ClientCertificates::Required,
        Some("request") => ClientCertificates::Optional,
        Some(other) => return Err(wrong("client_auth", &format!("{other:?} is neither \"require\" nor \"request\""))),
    };
    if file.client_auth.is_some() && file.client_ca_file.is_none() {
        return Err(wrong("client_auth", "needs client_ca_file, which says whose certificates are good"));
    }
    if file.client_crl_file.is_some() && file.client_ca_file.is_none() {
        return Err(wrong("client_crl_file", "needs client_ca_file, which says whose certificates are good"));
    }
    Ok(Some(TlsFiles {
        certificate: beside(name, &file.cert_file),
        key: beside(name, &file.key_file),
        clients: file.client_ca_file.as_ref().map(|path| (beside(name, path), which)),
        revoked: file.client_crl_file.as_ref().map(|path| beside(name, path)),
    }))
}

/// Relative paths are looked for beside the file that names them.
pub(super) fn beside(name: &str, path: &Path) -> PathBuf {
    Path::new(name).parent().unwrap_or(Path::new("")).join(path)
}

/// Refuses what would let any machine read and write everything, unless that was said in so many words.
pub(super) fn check_reach(
    name: &str,
    auth: &Auth,
    endpoints: &[Endpoint],
    syslog: &[(&str, IpAddr, Option<&TlsFiles>)],
) -> Result<(), ConfigError> {
    let shown = |tls: Option<&TlsFiles>| tls.is_some_and(TlsFiles::requires_certificates);
    let asks = endpoints.iter().any(|e| e.tls.as_ref().is_some_and(|t| t.clients.is_some()));
    if !auth.certified.is_empty() && !asks {
        return Err(ConfigError::value(
            name,
            "auth.certificate_scopes",
            "no port has `tls` with client_ca_file, so nobody could show a certificate",
        ));
    }
    if auth.allow_unauthenticated {
        return Ok(());
    }
    let open = endpoints.iter().find(|e| !e.address.ip().is_loopback() && !auth.is_on() && !shown(e.tls.as_ref()));
    if let Some(Endpoint { face, address, .. }) = open {
        return Err(ConfigError::plain(&format!(
            "{name}: {face} would listen on {address}, where other machines reach it, and ask nobody who they are. Make keys \
             (`braid keys add`) and name their file as auth.credentials_file, or ask for client certificates (tls.client_ca_file), or \
             say that this is meant: --allow-unauthenticated (BRAID_ALLOW_UNAUTHENTICATED=true, auth.allow_unauthenticated: true)"
        )));
    }
    // Syslog knows no credentials but certificates.
    if let Some((kind, address, _)) = syslog.iter().find(|(_, ip, tls)| !ip.is_loopback() && !shown(*tls)) {
        return Err(ConfigError::plain(&format!(
            "{name}: syslog over {kind} would listen on {address}, where other machines reach it, and ask nobody who they are. Ask for \
             client certificates (receivers.syslog.tcp.tls.client_ca_file), or say that this is meant: --allow-unauthenticated \
             (BRAID_ALLOW_UNAUTHENTICATED=true, auth.allow_unauthenticated: true); HTTP ports ask all the same where auth is on"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_may_name_one_user() {
        let with = |pairs: &'static [(&'static str, &'static str)]| {
            from_environment(move |key| pairs.iter().find(|(k, _)| *k == key).map(|(_, v)| (*v).to_owned()))
        };
        assert!(with(&[(USER, "a"), (PASSWORD, "b")]).expect("off").is_none());
        assert!(with(&[(ENABLE, "false")]).expect("off").is_none());
        let entry = with(&[(ENABLE, "true"), (USER, "a"), (PASSWORD, "b")]).expect("good").expect("a user");
        assert_eq!((entry.id.as_str(), entry.scopes.to_string().as_str()), ("a", "ingest, read, admin"));
        assert_eq!(with(&[(ENABLE, "maybe")]).expect_err("neither").0, ENABLE);
        assert_eq!(with(&[(ENABLE, "1"), (USER, "a")]).expect_err("no password").0, PASSWORD);
        assert_eq!(with(&[(ENABLE, "1"), (PASSWORD, "a")]).expect_err("no user").0, USER);
    }
}

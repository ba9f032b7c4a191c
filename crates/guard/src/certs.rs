//! Certificates for a lab: an authority of one's own, and what it signs. Not a public-key infrastructure.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

/// The authority's name. It is the same for all, so that a certificate can be issued with the authority's key alone.
const AUTHORITY: &str = "Braid lab authority";
pub(crate) const CA: (&str, &str) = ("ca.crt", "ca.key");

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// A file.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file that is there already.
    #[error("{} is there already; --force writes a new one", .0.display())]
    Exists(PathBuf),
    /// Names or keys that cannot be.
    #[error("{0}")]
    Invalid(String),
}

impl From<rcgen::Error> for CertsError {
    fn from(error: rcgen::Error) -> Self {
        Self::Invalid(error.to_string())
    }
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// A server's, for its names and addresses.
    Server,
    /// A client's, to show where client certificates are asked for.
    Client,
}

/// Makes an authority in `dir`: `ca.crt` and `ca.key`, good for `days`, and `ca.crl`, its list of revoked certificates.
///
/// # Errors
/// One that is there already (unless `force`), or a disk that does not take it.
pub fn authority(dir: &Path, days: u64, force: bool) -> Result<[PathBuf; 3], CertsError> {
    let mut params = authority_params();
    valid_for(&mut params, days);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let [crt, secret] = write(dir, CA, &certificate.pem(), &key.serialize_pem(), force)?;
    Ok([crt, secret, crate::revoke::begin(dir, &key.serialize_pem())?])
}

/// Makes a certificate of the authority in `dir`, as `<name>.crt` and `<name>.key`; `hosts` are names and addresses.
///
/// # Errors
/// No authority there, names that are none, files that are there already (unless `force`).
pub fn issue(dir: &Path, usage: Use, name: &str, hosts: &[String], days: u64, force: bool) -> Result<[PathBuf; 2], CertsError> {
    check_name(name)?;
    let path = dir.join(CA.1);
    let pem = std::fs::read_to_string(&path).map_err(|source| CertsError::Io { path, source })?;
    let authority = Issuer::new(authority_params(), KeyPair::from_pem(&pem)?);
    let mut params = CertificateParams::default();
    params.subject_alt_names = hosts
        .iter()
        .map(|host| match host.parse() {
            Ok(address) => Ok(SanType::IpAddress(address)),
            Err(_) if !is_name(host) => Err(CertsError::Invalid(format!("{host:?} is neither a name nor an address of a host"))),
            Err(_) => host.as_str().try_into().map(SanType::DnsName).map_err(|e| CertsError::Invalid(format!("{host:?}: {e}"))),
        })
        .collect::<Result<_, _>>()?;
    params.distinguished_name = named(name);
    valid_for(&mut params, days);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![match usage {
        Use::Server => ExtendedKeyUsagePurpose::ServerAuth,
        Use::Client => ExtendedKeyUsagePurpose::ClientAuth,
    }];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &authority)?;
    write(dir, (&format!("{name}.crt"), &format!("{name}.key")), &certificate.pem(), &key.serialize_pem(), force)
}

/// Whether clients can ask for a host of this name; its first part may be a star.
fn is_name(host: &str) -> bool {
    let rest = host.strip_prefix("*.").unwrap_or(host);
    let is_part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    rest.len() <= 253 && rest.split('.').all(is_part)
}

/// Refuses what cannot be the name of files.
pub(crate) fn check_name(name: &str) -> Result<(), CertsError> {
    if name.is_empty()
        || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        || name.starts_with('.')
        || name == "ca"
    {
        return Err(CertsError::Invalid(format!("{name:?} cannot be a name: letters, digits, - _ . and not ca")));
    }
    Ok(())
}

pub(crate) fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(AUTHORITY);
    // It signs leaves only.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// Sets from when to when: from an hour ago, for clocks that are behind, for so many days.
fn valid_for(params: &mut CertificateParams, days: u64) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (now, epoch) = (Duration::from_secs(now.as_secs()), date_time_ymd(1970, 1, 1));
    params.not_before = epoch + now.saturating_sub(Duration::from_secs(3600));
    params.not_after = epoch + (now + Duration::from_secs(86_400 * days.min(36_500)));
}

fn write(dir: &Path, (crt, key): (&str, &str), certificate: &str, secret: &str, force: bool) -> Result<[PathBuf; 2], CertsError> {
    let paths = [dir.join(crt), dir.join(key)];
    if let Some(there) = paths.iter().find(|p| p.exists() && !force) {
        return Err(CertsError::Exists(there.clone()));
    }
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| CertsError::Io { path, source }
    };
    std::fs::create_dir_all(dir).map_err(io(dir))?;
    // Each whole: who reads them while they are written must not see half of one. The key first, so that whoever watches the
    // certificate finds its key.
    for (path, text, private) in [(&paths[1], secret, true), (&paths[0], certificate, false)] {
        let aside = path.with_extension("new");
        write_private(&aside, text.as_bytes(), private).and_then(|()| std::fs::rename(&aside, path)).map_err(io(path))?;
    }
    Ok(paths)
}

/// Writes a file; only its owner may read it where it is private.
pub(crate) fn write_private(path: &Path, bytes: &[u8], private: bool) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    // One left behind by a crash may have other rights.
    let _ = std::fs::remove_file(path);
    let mode = if private { 0o600 } else { 0o644 };
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

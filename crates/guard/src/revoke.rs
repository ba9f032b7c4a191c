//! Client certificates that are good no longer: `ca.revoked` has their serial numbers, `ca.crl` is what the authority signs of it.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber, date_time_ymd};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::certs::{CA, CertsError, authority_params, check_name, write_private};

const LIST: &str = "ca.revoked";
const CRL: &str = "ca.crl";
/// The list says until when there is a newer one; nobody is turned away because there is none.
const NEXT: Duration = Duration::from_secs(3650 * 86_400);

/// Adds the certificate `<name>.crt` in `dir` to the authority's list there, and signs the list: the file for `client_crl_file`.
/// One that is on it already stays on it.
///
/// # Errors
/// No authority or no such certificate there, a list that is damaged, a disk that does not take it.
pub fn revoke(dir: &Path, name: &str) -> Result<PathBuf, CertsError> {
    check_name(name)?;
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| CertsError::Io { path, source }
    };
    let certificate = dir.join(format!("{name}.crt"));
    let pem = std::fs::read(&certificate).map_err(io(&certificate))?;
    let serial = CertificateDer::from_pem_slice(&pem).ok().and_then(|der| serial_of(&der).map(<[u8]>::to_vec));
    let serial = serial.ok_or_else(|| CertsError::Invalid(format!("{}: no certificate in it", certificate.display())))?;
    let key = dir.join(CA.1);
    let key = std::fs::read_to_string(&key).map_err(io(&key))?;

    let (list, crl) = (dir.join(LIST), dir.join(CRL));
    let mut text = match std::fs::read_to_string(&list) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(io(&list)(e)),
    };
    let now = now();
    let mut revoked = text
        .lines()
        .map(|line| line_of(line).ok_or_else(|| CertsError::Invalid(format!("{}: {line:?} is no line of it", list.display()))))
        .collect::<Result<Vec<_>, _>>()?;
    if !revoked.iter().any(|(other, _)| *other == serial) {
        let hex: String = serial.iter().map(|byte| format!("{byte:02x}")).collect();
        text.push_str(&format!("{hex} {} {name}\n", now.as_secs()));
        revoked.push((serial, now));
    }
    let signed = sign(&key, now, revoked)?;
    keep(&list, &text)?;
    keep(&crl, &signed)?;
    Ok(crl)
}

/// The list of a new authority, on which nobody is.
pub(crate) fn begin(dir: &Path, key: &str) -> Result<PathBuf, CertsError> {
    let (list, crl) = (dir.join(LIST), dir.join(CRL));
    match std::fs::remove_file(&list) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => return Err(CertsError::Io { path: list, source }),
        _ => {}
    }
    keep(&crl, &sign(key, now(), Vec::new())?)?;
    Ok(crl)
}

/// Since 1970, whole seconds.
fn now() -> Duration {
    Duration::from_secs(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs())
}

fn sign(key: &str, now: Duration, revoked: Vec<(Vec<u8>, Duration)>) -> Result<String, CertsError> {
    let epoch = date_time_ymd(1970, 1, 1);
    let params = CertificateRevocationListParams {
        this_update: epoch + now,
        next_update: epoch + now + NEXT,
        crl_number: SerialNumber::from(now.as_secs()),
        issuing_distribution_point: None,
        revoked_certs: revoked
            .into_iter()
            .map(|(serial, at)| RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: epoch + at,
                reason_code: None,
                invalidity_date: None,
            })
            .collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    Ok(params.signed_by(&Issuer::new(authority_params(), KeyPair::from_pem(key)?))?.pem()?)
}

/// Writes a file whole: a server that watches it must not see half of one.
fn keep(path: &Path, text: &str) -> Result<(), CertsError> {
    let aside = path.with_extension("new");
    let written = write_private(&aside, text.as_bytes(), false).and_then(|()| std::fs::rename(&aside, path));
    written.map_err(|source| CertsError::Io { path: path.to_owned(), source })
}

/// `<serial in hexadecimal> <seconds since 1970> <name>`.
fn line_of(line: &str) -> Option<(Vec<u8>, Duration)> {
    let mut words = line.split_whitespace();
    let (serial, at) = (words.next()?, words.next()?.parse().ok()?);
    let digits = serial.as_bytes();
    let serial = digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
    let serial = serial.collect::<Option<Vec<u8>>>().filter(|s| !s.is_empty() && digits.len() == 2 * s.len())?;
    Some((serial, Duration::from_secs(at)))
}

/// The serial number of a certificate: `SEQUENCE { SEQUENCE { [0] version?, INTEGER serial, …` (RFC 5280, 4.1).
fn serial_of(der: &[u8]) -> Option<&[u8]> {
    let (0x30, certificate, _) = element(der)? else { return None };
    let (0x30, signed, _) = element(certificate)? else { return None };
    match element(signed)? {
        (0xa0, _, rest) => match element(rest)? {
            (0x02, serial, _) => Some(serial),
            _ => None,
        },
        (0x02, serial, _) => Some(serial),
        _ => None,
    }
}

/// Tag and content of the first element, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        short @ 0..0x80 => (usize::from(short), rest),
        long => {
            let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f)).filter(|(bytes, _)| bytes.len() <= 4)?;
            (bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte)), rest)
        }
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

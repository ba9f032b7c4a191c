//! Secrets: how keys are made, and how keys and passwords are kept and checked.

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// What every key begins with, so that scanners for leaked secrets can find one.
const PREFIX: &str = "braid_";
/// Hex digits that name a key; they are no secret.
const ID: usize = 8;
/// Random bytes of a key.
const BYTES: usize = 32;
/// Bytes of a credential that are looked at: more is refused unread, so that hashing it costs what is planned.
pub(crate) const LONGEST: usize = 1024;

/// A new key: `braid_<id>_<secret>`. The whole is the secret that is presented; it is shown to its owner and forgotten.
pub struct ApiKey {
    /// What it is called in the file.
    pub id: String,
    /// What is presented.
    pub text: String,
}

impl ApiKey {
    /// A key of 256 random bits.
    ///
    /// # Errors
    /// Where the system has no randomness.
    pub fn generate() -> Result<Self, String> {
        let id = random::<{ ID / 2 }>()?.iter().fold(String::new(), |id, byte| format!("{id}{byte:02x}"));
        let text = format!("{PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(random::<BYTES>()?));
        Ok(Self { id, text })
    }

    /// The id in what was presented as a key; `None` where it is no key of Braid's.
    #[must_use]
    pub fn id_of(presented: &str) -> Option<&str> {
        let (id, secret) = presented.strip_prefix(PREFIX)?.split_once('_')?;
        (id.len() == ID && id.bytes().all(|b| b.is_ascii_hexdigit()) && !secret.is_empty()).then_some(id)
    }
}

/// Random bytes of the system's.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| format!("no randomness from the system: {e}"))?;
    Ok(bytes)
}

/// A token that nobody guesses: 256 random bits as text.
pub(crate) fn token() -> Result<String, String> {
    Ok(URL_SAFE_NO_PAD.encode(random::<32>()?))
}

/// OWASP's first choice for argon2id: 19 MiB, two passes, one lane. About 20 ms.
fn argon2() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::default())
}

/// The argon2id hash of a password or key, with a salt of its own, as a PHC string.
///
/// # Errors
/// A secret that is empty or too long; no randomness.
pub fn hash_password(secret: &str) -> Result<String, String> {
    if secret.is_empty() || secret.len() > LONGEST {
        return Err(format!("a secret has 1 to {LONGEST} bytes"));
    }
    let salt = SaltString::encode_b64(&random::<16>()?).map_err(|e| e.to_string())?;
    Ok(argon2().hash_password(secret.as_bytes(), &salt).map_err(|e| e.to_string())?.to_string())
}

/// Whether `hash` can be checked against, and is not so dear that a request could stall the process.
pub(crate) fn check_hash(hash: &str) -> Result<(), String> {
    let parsed = PasswordHash::new(hash).map_err(|e| format!("not an argon2 hash ({e}); `braid keys hash` makes one"))?;
    if !matches!(parsed.algorithm.as_str(), "argon2id" | "argon2i" | "argon2d") || parsed.hash.is_none() {
        return Err(format!("a hash of {}, not of argon2; `braid keys hash` makes one", parsed.algorithm));
    }
    let params = Params::try_from(&parsed).map_err(|e| format!("its parameters: {e}"))?;
    if params.m_cost() > 256 << 10 || params.t_cost() > 10 || params.p_cost() > 4 {
        return Err("its parameters take more than 256 MiB, 10 passes or 4 lanes".to_owned());
    }
    Ok(())
}

/// Whether `secret` is what `hash` was made of. Takes its time, equally long for right and wrong.
pub(crate) fn matches(secret: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|parsed| argon2().verify_password(secret.as_bytes(), &parsed).is_ok())
}

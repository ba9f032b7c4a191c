//! Credentials that were found good a short while ago, so that argon2 is not paid by every request.
//!
//! The key is a digest under a random key of this process: what is in memory tells nobody a secret, and how long a look-up
//! takes tells nothing about one, because a stranger cannot choose the digest.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::Credential;

/// So many are kept; the oldest makes room.
const MOST: usize = 1024;
/// How long one is trusted before argon2 is asked again.
const FRESH: Duration = Duration::from_secs(600);

/// A credential's digest under the process' key.
pub(crate) type Fingerprint = [u8; 32];

/// What a good credential stands for.
pub(crate) struct Cache<T> {
    key: [u8; 32],
    known: HashMap<Fingerprint, (T, Instant)>,
}

impl<T: Clone> Cache<T> {
    /// An empty one, with this random key.
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self { key, known: HashMap::new() }
    }

    /// Of a credential. Lengths are part of it, so that no two credentials share their bytes.
    pub(crate) fn fingerprint(&self, credential: &Credential) -> Fingerprint {
        let (kind, parts) = match credential {
            Credential::Basic { user, password } => (b"basic.", [user.as_str(), password.as_str()]),
            Credential::Bearer(key) => (b"bearer", [key.as_str(), ""]),
        };
        let mut digest = Sha256::new_with_prefix(self.key);
        digest.update(kind);
        for part in parts {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }

    /// What it stands for, if it was found good lately.
    pub(crate) fn get(&self, fingerprint: &Fingerprint, now: Instant) -> Option<T> {
        self.known.get(fingerprint).filter(|(_, since)| now.duration_since(*since) < FRESH).map(|(value, _)| value.clone())
    }

    /// It was found good.
    pub(crate) fn put(&mut self, fingerprint: Fingerprint, value: T, now: Instant) {
        if self.known.len() >= MOST {
            self.known.retain(|_, (_, since)| now.duration_since(*since) < FRESH);
        }
        if self.known.len() >= MOST
            && let Some(oldest) = self.known.iter().min_by_key(|(_, (_, since))| *since).map(|(f, _)| *f)
        {
            self.known.remove(&oldest);
        }
        self.known.insert(fingerprint, (value, now));
    }

    /// Somebody's rights changed.
    pub(crate) fn clear(&mut self) {
        self.known.clear();
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_ages_and_tells_credentials_apart() {
        let mut cache = Cache::new([7; 32]);
        let now = Instant::now();
        let basic = |user: &str, password: &str| Credential::Basic { user: user.into(), password: password.into() };
        let all = [basic("a", "bc"), basic("ab", "c"), Credential::Bearer("abc".into()), Credential::Bearer("a".into())];
        let fingerprints: std::collections::HashSet<_> = all.iter().map(|c| cache.fingerprint(c)).collect();
        assert_eq!(fingerprints.len(), all.len());
        assert_ne!(cache.fingerprint(&all[0]), Cache::<()>::new([8; 32]).fingerprint(&all[0]), "another process, another digest");
        for n in 0..MOST + 10 {
            let fingerprint = cache.fingerprint(&Credential::Bearer(n.to_string()));
            cache.put(fingerprint, n, now + Duration::from_millis(n as u64));
        }
        assert_eq!(cache.len(), MOST);
        let last = cache.fingerprint(&Credential::Bearer((MOST + 9).to_string()));
        assert_eq!(cache.get(&last, now), Some(MOST + 9));
        assert_eq!(cache.get(&cache.fingerprint(&Credential::Bearer("0".into())), now), None, "the oldest made room");
        assert_eq!(cache.get(&last, now + FRESH * 2), None, "argon2 is asked again");
    }
}

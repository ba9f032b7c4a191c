//! Sessions of the page, and links that begin one: tokens that live in memory, of which only digests are kept.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::keyring::Kind;
use crate::secret::token;

/// The cookie's name; under TLS it is set with `Secure` as well.
pub const SESSION_COOKIE: &str = "braid_session";

/// Sessions, and links, at a time; the oldest makes room.
const MOST: usize = 1024;
/// How long a link may wait to be opened.
pub(crate) const LINK: Duration = Duration::from_secs(600);

/// Whose session it is: looked up again at each request, so that a revoked key ends its sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    /// An entry of the file, with a digest of its hash: another password, another owner.
    Entry(Kind, String, [u8; 32]),
    /// Whoever started the process and opened its link.
    Operator,
}

/// A session that has just begun.
pub struct Session {
    /// The cookie's value.
    pub token: String,
    /// What requests that change something must repeat in `X-Braid-CSRF`.
    pub csrf: String,
    /// How long it lasts.
    pub lasts: Duration,
}

#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) owner: Owner,
    pub(crate) csrf: String,
    until: Instant,
}

/// All of them.
pub(crate) struct Sessions {
    lasts: Duration,
    open: HashMap<[u8; 32], Kept>,
    links: HashMap<[u8; 32], Instant>,
}

impl Sessions {
    /// None yet; each will last so long.
    pub(crate) fn new(lasts: Duration) -> Self {
        Self { lasts, open: HashMap::new(), links: HashMap::new() }
    }

    /// Begins one.
    ///
    /// # Errors
    /// No randomness.
    pub(crate) fn begin(&mut self, owner: Owner, now: Instant) -> Result<Session, String> {
        let (secret, csrf) = (token()?, token()?);
        self.open.retain(|_, kept| now < kept.until);
        make_room(&mut self.open, |kept| kept.until);
        self.open.insert(digest(&secret), Kept { owner, csrf: csrf.clone(), until: now + self.lasts });
        Ok(Session { token: secret, csrf, lasts: self.lasts })
    }

    /// The session of a cookie.
    pub(crate) fn get(&self, token: &str, now: Instant) -> Option<Kept> {
        self.open.get(&digest(token)).filter(|kept| now < kept.until).cloned()
    }

    /// Ends one; whether there was one.
    pub(crate) fn end(&mut self, token: &str) -> bool {
        self.open.remove(&digest(token)).is_some()
    }

    /// A token that begins one session, once, soon.
    ///
    /// # Errors
    /// No randomness.
    pub(crate) fn link(&mut self, now: Instant) -> Result<String, String> {
        let secret = token()?;
        self.links.retain(|_, until| now < *until);
        make_room(&mut self.links, |until| *until);
        self.links.insert(digest(&secret), now + LINK);
        Ok(secret)
    }

    /// Whether such a token is good; it is not from now on.
    pub(crate) fn open_link(&mut self, token: &str, now: Instant) -> bool {
        self.links.remove(&digest(token)).is_some_and(|until| now < until)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }
}

impl Kept {
    /// Whether this is the session's word against forged requests.
    pub(crate) fn says(&self, csrf: &str) -> bool {
        self.csrf.as_bytes().ct_eq(csrf.as_bytes()).into()
    }
}

fn make_room<T>(map: &mut HashMap<[u8; 32], T>, until: impl Fn(&T) -> Instant) {
    if map.len() >= MOST
        && let Some(oldest) = map.iter().min_by_key(|(_, value)| until(value)).map(|(key, _)| *key)
    {
        map.remove(&oldest);
    }
}

/// Of a token, or of a hash. A token is random, so its digest needs no key: who looks for one in a table learns nothing by the time it takes.
pub(crate) fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_end_by_time_and_by_hand_and_links_open_once() {
        let mut sessions = Sessions::new(Duration::from_secs(60));
        let now = Instant::now();
        let session = sessions.begin(Owner::Operator, now).expect("random");
        let kept = sessions.get(&session.token, now).expect("open");
        assert!(kept.says(&session.csrf) && !kept.says("") && !kept.says(&session.token));
        assert!(sessions.get(&session.token, now + Duration::from_secs(60)).is_none());
        assert!(sessions.get("", now).is_none());
        assert!(sessions.end(&session.token) && sessions.get(&session.token, now).is_none());
        let link = sessions.link(now).expect("random");
        assert!(sessions.open_link(&link, now) && !sessions.open_link(&link, now));
        let late = sessions.link(now).expect("random");
        assert!(!sessions.open_link(&late, now + LINK));
        for n in 0..MOST as u64 + 9 {
            sessions.begin(Owner::Operator, now + Duration::from_millis(n)).expect("random");
        }
        assert_eq!(sessions.len(), MOST);
    }
}

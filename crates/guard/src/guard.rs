//! The question of each request: who is it, and may they?

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderMap, header};
use jiff::Timestamp;
use model::Tenant;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Semaphore;

use crate::cache::Cache;
use crate::counters::Counters;
use crate::keyring::{Entry, Keyring, KeyringError, Kind};
use crate::limiter::Limiter;
use crate::secret::{hash_password, matches, random};
use crate::sessions::{Kept, Owner, SESSION_COOKIE, Session, Sessions, digest};
use crate::{ApiKey, Credential, Scope, Scopes, Stamp, cookie, presented};

/// Hashes that are computed at once; each takes 19 MiB and about 20 ms.
const AT_ONCE: usize = 2;
/// Requests that wait for their turn to be hashed; more are told to come back.
const WAITING: usize = 256;

/// Why a request is refused. What is said is the same for a wrong name and a wrong secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// Nothing was shown.
    #[error("a credential is needed: a bearer key, or a user and a password")]
    Missing,
    /// What was shown is not good, or no longer.
    #[error("the credential is not valid")]
    Wrong,
    /// It is good, for something else.
    #[error("the credential lacks the scope {0}")]
    Forbidden(Scope),
    /// It is good for another tenant.
    #[error("the credential is bound to another tenant")]
    Tenant,
    /// A request with the page's cookie that the page did not make.
    #[error("the request does not come from Braid's page: X-Braid-CSRF or the origin is not right")]
    Forged,
    /// Too often wrong.
    #[error("too many wrong credentials from this address; try again in {} s", .0.as_secs().max(1))]
    Limited(Duration),
    /// Too many credentials to check at once.
    #[error("too many credentials are being checked")]
    Busy,
}

/// Somebody who may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// What people call it; empty where nothing had to be shown.
    pub name: String,
    /// What it may do.
    pub scopes: Scopes,
    /// The only tenant that it may speak for.
    pub tenant: Option<Tenant>,
    /// What requests of its session that change something must repeat.
    pub csrf: Option<String>,
}

/// What is looked at of a request.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    /// The other end of the connection.
    pub address: IpAddr,
    /// Whether the connection showed a certificate that was verified.
    pub certified: bool,
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// The host and port that the client believes to talk to: the authority of the request's target, else the header `Host`.
    pub host: &'a str,
    /// Whether the page's cookie counts here.
    pub sessions: bool,
    /// Whether the request changes something: then a cookie is not enough.
    pub acts: bool,
    /// Whether it opens a WebSocket, which browsers let any page do: then the origin must be said.
    pub upgrades: bool,
}

/// Everything that it takes to answer.
pub struct Guard {
    file: Option<PathBuf>,
    /// Entries that the environment adds to those of the file.
    extra: Vec<Entry>,
    keyring: RwLock<Arc<Keyring>>,
    stamp: Mutex<Option<Stamp>>,
    /// What a verified certificate is good for.
    certified: Scopes,
    cache: Mutex<Cache<Owner>>,
    limiter: Mutex<Limiter>,
    sessions: Mutex<Sessions>,
    hashing: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Of no secret: names that do not exist are checked against it, so that they take as long.
    nobody: String,
    counters: Counters,
}

impl Guard {
    /// Reads `file`; entries of `extra` come from elsewhere and stay. A verified client certificate covers `certified`.
    ///
    /// # Errors
    /// A file that cannot be read; no randomness.
    pub fn open(file: Option<PathBuf>, extra: Vec<Entry>, certified: Scopes, session: Duration) -> Result<Self, KeyringError> {
        let stamp = file.as_ref().map(|f| Stamp::of([f]));
        let keyring = RwLock::new(Arc::new(read(file.as_ref(), &extra)?));
        let key = random().map_err(KeyringError::new)?;
        let nobody = crate::secret::token().and_then(|secret| hash_password(&secret)).map_err(KeyringError::new)?;
        Ok(Self {
            file,
            extra,
            keyring,
            stamp: Mutex::new(stamp),
            certified,
            cache: Mutex::new(Cache::new(key)),
            limiter: Mutex::default(),
            sessions: Mutex::new(Sessions::new(session)),
            hashing: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: AtomicUsize::new(0),
            nobody,
            counters: Counters::default(),
        })
    }

    /// Reads the file anew. Where it is wrong, the old one holds.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn reload(&self) -> Result<(), KeyringError> {
        let stamp = self.file.as_ref().map(|f| Stamp::of([f]));
        *self.stamp.lock() = stamp;
        let result = read(self.file.as_ref(), &self.extra);
        self.counters.reloads[usize::from(result.is_err())].fetch_add(1, Ordering::Relaxed);
        *self.keyring.write() = Arc::new(result?);
        // What was good need not be any more.
        self.cache.lock().clear();
        Ok(())
    }

    /// Reads the file anew if it changed; whether it did.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn reload_if_changed(&self) -> Result<bool, KeyringError> {
        let now = self.file.as_ref().map(|f| Stamp::of([f]));
        if now == *self.stamp.lock() {
            return Ok(false);
        }
        self.reload().map(|()| true)
    }

    /// Whether the request may do what takes `need`.
    ///
    /// # Errors
    /// [`Denial`], which is counted and, where a secret was wrong, logged without it.
    pub async fn admit(&self, look: Look<'_>, need: Scope) -> Result<Admitted, Denial> {
        let (result, way) = match self.identify(look).await {
            Ok((admitted, way)) if admitted.scopes.cover(need) => match bound(admitted, look.headers) {
                Ok(admitted) => (Ok(admitted), way),
                Err(denial) => (Err(denial), way),
            },
            Ok((_, way)) => (Err(Denial::Forbidden(need)), way),
            Err((denial, way)) => (Err(denial), way),
        };
        self.counters.count(result.as_ref().map_or_else(Denial::word, |_| "ok"), way);
        result
    }

    /// A request to something that is open to all.
    pub fn passed(&self) {
        self.counters.count("open", "none");
    }

    /// Who it is, and what they showed.
    async fn identify(&self, look: Look<'_>) -> Result<(Admitted, &'static str), (Denial, &'static str)> {
        match presented(look.headers) {
            Ok(Some(credential)) => {
                let way = credential.way();
                let owner = self.verify(look.address, &credential).await.map_err(|denial| (denial, way))?;
                let admitted = self.owned(&owner, None).ok_or((Denial::Wrong, way))?;
                return Ok((self.with_certificate(admitted, look), way));
            }
            Ok(None) => {}
            Err(malformed) => {
                tracing::warn!(address = %look.address, "refused: {malformed}");
                return Err((Denial::Wrong, "none"));
            }
        }
        if look.sessions
            && let Some(token) = cookie(look.headers, SESSION_COOKIE)
        {
            let kept = self.sessions.lock().get(token, Instant::now());
            if let Some(kept) = kept
                && let Some(admitted) = self.owned(&kept.owner, Some(&kept))
            {
                return match is_own_page(look, &kept) {
                    true => Ok((self.with_certificate(admitted, look), "session")),
                    false => Err((Denial::Forged, "session")),
                };
            }
        }
        if look.certified && !self.certified.is_empty() {
            let name = "certificate".to_owned();
            return Ok((Admitted { name, scopes: self.certified, tenant: None, csrf: None }, "certificate"));
        }
        Err((Denial::Missing, "none"))
    }

    fn with_certificate(&self, admitted: Admitted, look: Look<'_>) -> Admitted {
        // One that is bound to a tenant stays so in everything that it does.
        match look.certified && admitted.tenant.is_none() {
            true => Admitted { scopes: admitted.scopes.and(self.certified), ..admitted },
            false => admitted,
        }
    }

    /// What an owner may do now.
    fn owned(&self, owner: &Owner, session: Option<&Kept>) -> Option<Admitted> {
        let csrf = session.map(|s| s.csrf.clone());
        match owner {
            Owner::Operator => {
                let scopes = [Scope::Read, Scope::Admin].into_iter().collect();
                Some(Admitted { name: "operator".to_owned(), scopes, tenant: None, csrf })
            }
            Owner::Entry(kind, id, hash) => {
                let keyring = Arc::clone(&self.keyring.read());
                let entry = keyring.find(*kind, id)?;
                if digest(&entry.hash) != *hash || !entry.is_current(Timestamp::now()) {
                    return None;
                }
                Some(Admitted { name: entry.name.clone(), scopes: entry.scopes, tenant: entry.tenant.clone(), csrf })
            }
        }
    }

    /// Whose credential it is.
    async fn verify(&self, address: IpAddr, credential: &Credential) -> Result<Owner, Denial> {
        // A password that was good lately is not looked up for an address that guesses: a guess must not be told apart from it
        // for free. A key cannot be guessed, so whoever shows a good one is not locked out by a neighbour.
        let guessable = matches!(credential, Credential::Basic { .. });
        if guessable && let Some(wait) = self.limiter.lock().wait(address, Instant::now()) {
            return Err(Denial::Limited(wait));
        }
        let fingerprint = self.cache.lock().fingerprint(credential);
        if let Some(owner) = self.cached(&fingerprint) {
            return Ok(owner);
        }
        let _turn = self.turn().await?;
        // Whoever waited may find that another request of the same sender was checked meanwhile.
        if let Some(owner) = self.cached(&fingerprint) {
            return Ok(owner);
        }
        {
            let mut limiter = self.limiter.lock();
            let now = Instant::now();
            if let Some(wait) = limiter.wait(address, now) {
                return Err(Denial::Limited(wait));
            }
            limiter.take(address, now);
        }
        let (kind, id, secret) = match credential {
            Credential::Basic { user, password } => (Kind::User, user.as_str(), password.clone()),
            Credential::Bearer(key) => (Kind::Key, ApiKey::id_of(key).unwrap_or_default(), key.clone()),
        };
        let keyring = Arc::clone(&self.keyring.read());
        let entry = keyring.find(kind, id);
        let hash = entry.map_or_else(|| self.nobody.clone(), |e| e.hash.clone());
        self.counters.verified.fetch_add(1, Ordering::Relaxed);
        let right = tokio::task::spawn_blocking(move || matches(&secret, &hash)).await.unwrap_or(false);
        match entry {
            Some(entry) if right && entry.is_current(Timestamp::now()) => {
                let (owner, now) = (Owner::Entry(kind, entry.id.clone(), digest(&entry.hash)), Instant::now());
                self.limiter.lock().give_back(address, now);
                self.cache.lock().put(fingerprint, owner.clone(), now);
                Ok(owner)
            }
            found => {
                // Only names that exist: a password is easily typed where the name belongs.
                let who = found.map_or("nobody that there is", |e| e.id.as_str());
                let why = if right { "has expired" } else { "is wrong" };
                tracing::warn!(%address, who, "refused: the {} {why}", if guessable { "password" } else { "key" });
                Err(Denial::Wrong)
            }
        }
    }

    /// As if `address` had shown something wrong.
    #[cfg(test)]
    pub(crate) fn guessed(&self, address: IpAddr) {
        self.limiter.lock().take(address, Instant::now());
    }

    fn cached(&self, fingerprint: &crate::cache::Fingerprint) -> Option<Owner> {
        self.cache.lock().get(fingerprint, Instant::now())
    }

    async fn turn(&self) -> Result<tokio::sync::OwnedSemaphorePermit, Denial> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Denial::Busy);
        }
        // Counted down also where the client leaves.
        let _waiting = Waiting(&self.waiting);
        Arc::clone(&self.hashing).acquire_owned().await.map_err(|_| Denial::Busy)
    }

    /// Begins a session of the page for whoever this is.
    ///
    /// # Errors
    /// [`Denial`].
    pub async fn log_in(&self, address: IpAddr, credential: &Credential) -> Result<(Session, Admitted), Denial> {
        let result = match self.verify(address, credential).await {
            Ok(owner) => self.begin(owner),
            Err(denial) => Err(denial),
        };
        self.counters.count(result.as_ref().map_or_else(Denial::word, |_| "ok"), credential.way());
        result
    }

    /// Begins a session with a token of [`Guard::link`].
    ///
    /// # Errors
    /// [`Denial`].
    pub fn open_link(&self, address: IpAddr, token: &str) -> Result<(Session, Admitted), Denial> {
        if !self.sessions.lock().open_link(token, Instant::now()) {
            tracing::warn!(%address, "refused: a login link that is not good, or no longer");
            self.counters.count("wrong", "session");
            return Err(Denial::Wrong);
        }
        self.counters.count("ok", "session");
        self.begin(Owner::Operator)
    }

    fn begin(&self, owner: Owner) -> Result<(Session, Admitted), Denial> {
        let admitted = self.owned(&owner, None).ok_or(Denial::Wrong)?;
        let session = self.sessions.lock().begin(owner, Instant::now()).map_err(|why| {
            tracing::error!("no session: {why}");
            Denial::Busy
        })?;
        self.counters.logins.fetch_add(1, Ordering::Relaxed);
        Ok((session, admitted))
    }

    /// Ends the session of a cookie.
    pub fn log_out(&self, token: &str) {
        self.sessions.lock().end(token);
    }

    /// A token that begins one session of the operator (`read` and `admin`), once, within ten minutes.
    ///
    /// # Errors
    /// No randomness.
    pub fn link(&self) -> Result<String, String> {
        self.sessions.lock().link(Instant::now())
    }

    /// The session of a request's cookie, for the page to know where it stands.
    #[must_use]
    pub fn session(&self, headers: &HeaderMap) -> Option<Admitted> {
        let kept = self.sessions.lock().get(cookie(headers, SESSION_COOKIE)?, Instant::now())?;
        self.owned(&kept.owner, Some(&kept))
    }

    /// How many keys and users there are.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.keyring.read().entries().len()
    }

    /// Appends counts in Prometheus' text format.
    pub fn write_text(&self, out: &mut String) {
        let (cached, sessions) = (self.cache.lock().len(), self.sessions.lock().len());
        self.counters.write_text(cached, sessions, out);
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Denial {
    /// The label of the metric.
    fn word(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Wrong => "wrong",
            Self::Forbidden(_) | Self::Tenant => "forbidden",
            Self::Forged => "forged",
            Self::Limited(_) => "limited",
            Self::Busy => "busy",
        }
    }
}

impl Credential {
    fn way(&self) -> &'static str {
        match self {
            Self::Basic { .. } => "password",
            Self::Bearer(_) => "key",
        }
    }
}

fn read(file: Option<&PathBuf>, extra: &[Entry]) -> Result<Keyring, KeyringError> {
    let mut keyring = file.map(|f| Keyring::load(f)).transpose()?.unwrap_or_default();
    extra.iter().try_for_each(|entry| keyring.add(entry.clone()))?;
    Ok(keyring)
}

/// One that is bound to a tenant may name no other.
fn bound(admitted: Admitted, headers: &HeaderMap) -> Result<Admitted, Denial> {
    let Some(tenant) = &admitted.tenant else { return Ok(admitted) };
    match headers.get_all("x-scope-orgid").iter().all(|named| named.as_bytes() == tenant.as_str().as_bytes() || named.is_empty())
    {
        true => Ok(admitted),
        false => Err(Denial::Tenant),
    }
}

/// Whether the page itself sent a request that has its cookie. Browsers say where a request comes from; what changes something
/// must also repeat the session's word, which another site cannot read.
fn is_own_page(look: Look<'_>, session: &Kept) -> bool {
    let word = || look.headers.get("x-braid-csrf").and_then(|v| v.to_str().ok()).unwrap_or("");
    same_origin(look.headers, look.host)
        && (!look.upgrades || look.headers.contains_key(header::ORIGIN))
        && (!look.acts || session.says(word()))
}

/// Whether a browser that says where a request comes from says: from this very origin. Cookies do not tell ports apart, so another
/// server of the same host counts as a stranger.
#[must_use]
pub fn same_origin(headers: &HeaderMap, host: &str) -> bool {
    let text = |name: &str| headers.get(name).map(|v| v.to_str().unwrap_or("?"));
    let site = text("sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"));
    site && text("origin").is_none_or(|origin| origin.split_once("://").is_some_and(|(_, from)| from.eq_ignore_ascii_case(host)))
}

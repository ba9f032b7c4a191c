//! The file of keys and users: who there is, with the hashes of their secrets.

use std::fmt::Write;
use std::path::Path;

use jiff::Timestamp;
use model::Tenant;
use serde::Deserialize;

use crate::secret::check_hash;
use crate::{Scope, Scopes};

/// What is wrong with the file.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct KeyringError(String);

impl KeyringError {
    pub(crate) fn new(why: String) -> Self {
        Self(why)
    }
}

/// How somebody says who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An API key.
    Key,
    /// A user with a password.
    User,
}

/// A key or a user.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which of both.
    pub kind: Kind,
    /// A key's id, or a user's name: unique among its kind.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The secret's argon2 hash, a PHC string.
    pub hash: String,
    /// What it may do.
    pub scopes: Scopes,
    /// The only tenant that it may speak for.
    pub tenant: Option<Tenant>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When it ends to be good.
    pub expires: Option<Timestamp>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the hash: whoever has it may guess at leisure.
        f.debug_struct("Entry")
            .field("kind", &self.kind)
            .field("id", &self.id)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

impl Entry {
    /// Whether it is still good at `now`.
    #[must_use]
    pub fn is_current(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|end| now < end)
    }
}

/// Everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keyring {
    entries: Vec<Entry>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct File {
    keys: Vec<Raw>,
    users: Vec<Raw>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    id: Option<String>,
    name: Option<String>,
    hash: String,
    scopes: Vec<String>,
    tenant: Option<String>,
    created: Option<String>,
    expires: Option<String>,
}

impl Keyring {
    /// Reads `path`. Warns where others than its owner can read it.
    ///
    /// # Errors
    /// A file that cannot be read, or has something wrong in it, with its name.
    pub fn load(path: &Path) -> Result<Self, KeyringError> {
        let text = std::fs::read_to_string(path).map_err(|e| KeyringError(format!("{}: {e}", path.display())))?;
        use std::os::unix::fs::MetadataExt;
        if std::fs::metadata(path).is_ok_and(|m| m.mode() & 0o077 != 0) {
            tracing::warn!("{}: others than its owner can read or write it; chmod 600 it", path.display());
        }
        Self::parse(&text).map_err(|e| KeyringError(format!("{}: {e}", path.display())))
    }

    /// Reads the text of such a file.
    ///
    /// # Errors
    /// What is wrong in it.
    pub fn parse(text: &str) -> Result<Self, KeyringError> {
        let file: Option<File> = serde_saphyr::from_str(text)
            .map_err(|e| KeyringError(e.without_snippet().to_string().lines().next().unwrap_or_default().to_owned()))?;
        let File { keys, users } = file.unwrap_or_default();
        let mut ring = Self::default();
        for (kind, raw) in keys.into_iter().map(|k| (Kind::Key, k)).chain(users.into_iter().map(|u| (Kind::User, u))) {
            ring.add(entry(kind, raw)?)?;
        }
        Ok(ring)
    }

    /// Adds one.
    ///
    /// # Errors
    /// One that cannot be: no scope, a hash of something else, an id that is taken, the scope admin for one tenant only.
    pub fn add(&mut self, entry: Entry) -> Result<(), KeyringError> {
        let what = if entry.kind == Kind::Key { "key" } else { "user" };
        let wrong = |why: &str| Err(KeyringError(format!("{what} {:?}: {why}", entry.id)));
        if entry.id.is_empty() || entry.id.contains([':', '\n']) || entry.id.chars().any(char::is_control) {
            return wrong("its name is empty, or has a colon or a control character in it");
        }
        if entry.name.chars().any(char::is_control) {
            return wrong("what it is called has a control character in it");
        }
        if self.find(entry.kind, &entry.id).is_some() {
            return wrong("is there already");
        }
        if entry.scopes.is_empty() {
            return wrong("has no scope; ingest, read and admin are scopes");
        }
        if entry.tenant.is_some() && entry.scopes.iter().any(|s| s == Scope::Admin) {
            return wrong("the scope admin reaches every tenant, so it cannot be bound to one");
        }
        if let Err(why) = check_hash(&entry.hash) {
            return wrong(&format!("hash: {why}"));
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Takes one away; whether it was there.
    pub fn remove(&mut self, id: &str) -> bool {
        let before = self.entries.len();
        self.entries.retain(|e| e.id != id);
        self.entries.len() < before
    }

    /// Everybody, keys first.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The one of this id.
    #[must_use]
    pub fn find(&self, kind: Kind, id: &str) -> Option<&Entry> {
        self.entries.iter().find(|e| e.kind == kind && e.id == id)
    }

    /// The file's text. Comments that a person wrote are not kept.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out =
            "# Keys and users of Braid, written by `braid keys`. Secrets stand here as argon2 hashes only.\n".to_owned();
        for (kind, list) in [(Kind::Key, "keys"), (Kind::User, "users")] {
            let entries: Vec<&Entry> = self.entries.iter().filter(|e| e.kind == kind).collect();
            if entries.is_empty() {
                continue;
            }
            let _ = writeln!(out, "{list}:");
            for entry in entries {
                if kind == Kind::Key {
                    let _ = writeln!(out, "- id: {}\n  name: {}", quoted(&entry.id), quoted(&entry.name));
                } else {
                    let _ = writeln!(out, "- name: {}", quoted(&entry.id));
                }
                let _ = writeln!(out, "  hash: {}\n  scopes: [{}]", quoted(&entry.hash), entry.scopes);
                if let Some(tenant) = &entry.tenant {
                    let _ = writeln!(out, "  tenant: {}", quoted(tenant.as_str()));
                }
                for (name, time) in [("created", entry.created), ("expires", entry.expires)] {
                    if let Some(time) = time {
                        let _ = writeln!(out, "  {name}: {}", quoted(&time.to_string()));
                    }
                }
            }
        }
        out
    }

    /// Writes `path` so that a reader sees the old or the new file whole; only its owner may read it.
    ///
    /// # Errors
    /// A disk that does not take it.
    pub fn save(&self, path: &Path) -> Result<(), KeyringError> {
        let failed = |e: std::io::Error| KeyringError(format!("{}: {e}", path.display()));
        let aside = path.with_extension(format!("new-{}", std::process::id()));
        crate::certs::write_private(&aside, self.text().as_bytes(), true).map_err(failed)?;
        let renamed = std::fs::rename(&aside, path).map_err(failed);
        if renamed.is_err() {
            let _ = std::fs::remove_file(&aside);
        }
        // The name is durable when the folder is.
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if let Ok(folder) = std::fs::File::open(folder) {
            let _ = folder.sync_all();
        }
        renamed
    }
}

/// A double-quoted scalar, which JSON's strings are.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn entry(kind: Kind, raw: Raw) -> Result<Entry, KeyringError> {
    let id = match kind {
        Kind::Key => raw.id.clone(),
        Kind::User => raw.name.clone().filter(|_| raw.id.is_none()),
    };
    let Some(id) = id else {
        let needed = if kind == Kind::Key { "a key has an `id`" } else { "a user has a `name`, and no `id`" };
        return Err(KeyringError(needed.to_owned()));
    };
    let wrong = |why: String| KeyringError(format!("{id:?}: {why}"));
    let scopes = raw.scopes.iter().map(|s| s.parse::<Scope>()).collect::<Result<Scopes, _>>().map_err(&wrong)?;
    let tenant = raw.tenant.as_deref().map(Tenant::new).transpose().map_err(|e| wrong(e.to_string()))?;
    let time = |text: &Option<String>| {
        text.as_deref().map(|t| t.parse::<Timestamp>().map_err(|e| wrong(format!("{t:?} is no time: {e}")))).transpose()
    };
    let (created, expires) = (time(&raw.created)?, time(&raw.expires)?);
    Ok(Entry { kind, name: raw.name.unwrap_or_else(|| id.clone()), id, hash: raw.hash, scopes, tenant, created, expires })
}

//! `braid keys`: who may do what. Writes the file that `auth.credentials_file` names; a running Braid reads it within seconds.

use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use guard::{ApiKey, Entry, Keyring, Kind, Scope, hash_password};
use jiff::{Timestamp, ToSpan};
use model::Tenant;

/// Keys and users.
#[derive(Debug, Args)]
pub(crate) struct KeysCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make an API key; it is shown once, the file keeps its argon2 hash
    Add {
        #[command(flatten)]
        file: File,
        /// What people call it
        #[arg(long, value_name = "TEXT")]
        name: String,
        #[command(flatten)]
        rights: Rights,
        /// Days that it is good for [default: until it is revoked]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        days: Option<u32>,
    },
    /// Add a user, or give one another password; asks for it, or reads a line of standard input
    User {
        #[command(flatten)]
        file: File,
        /// The user's name
        name: String,
        #[command(flatten)]
        rights: Rights,
    },
    /// List keys and users
    List(File),
    /// Take a key or a user away
    Revoke {
        #[command(flatten)]
        file: File,
        /// The key's id, or the user's name
        id: String,
    },
    /// Print the argon2 hash of a password that is read from standard input
    Hash,
}

#[derive(Debug, Args)]
struct File {
    /// The file of keys and users
    #[arg(short, long, value_name = "FILE", env = "BRAID_CREDENTIALS", default_value = "braid-keys.yaml")]
    file: PathBuf,
}

#[derive(Debug, Args)]
struct Rights {
    /// ingest, read or admin, which includes both; may be repeated
    #[arg(long = "scope", value_name = "SCOPE", required = true)]
    scopes: Vec<Scope>,
    /// The only tenant that it may speak for [default: any, as X-Scope-OrgID says]
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
}

impl File {
    /// What is in it; nothing where it is not there.
    fn read(&self) -> anyhow::Result<Keyring> {
        match self.file.exists() {
            true => Ok(Keyring::load(&self.file)?),
            false => Ok(Keyring::default()),
        }
    }
}

impl KeysCommand {
    /// Does what was asked for.
    ///
    /// # Errors
    /// A file that cannot be read or written, rights that cannot be.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.what {
            What::Add { file, name, rights, days } => {
                let key = ApiKey::generate().map_err(anyhow::Error::msg)?;
                let mut ring = file.read()?;
                let mut entry = rights.entry(Kind::Key, &key.id, &name, &key.text)?;
                entry.expires = days.map(|n| Timestamp::now().checked_add((i64::from(n) * 24).hours())).transpose()?;
                ring.add(entry)?;
                ring.save(&file.file)?;
                // The key alone on standard output, for scripts; what is about it beside.
                eprintln!("key {} ({name}) in {}; this is shown once:", key.id, file.file.display());
                println!("{}", key.text);
            }
            What::User { file, name, rights } => {
                let password = secret("password: ")?;
                let mut ring = file.read()?;
                let entry = rights.entry(Kind::User, &name, &name, &password)?;
                let there = ring.find(Kind::User, &name).is_some() && ring.remove(&name);
                ring.add(entry)?;
                ring.save(&file.file)?;
                println!("user {name} {} {}", if there { "has another password in" } else { "added to" }, file.file.display());
            }
            What::List(file) => list(&Keyring::load(&file.file)?),
            What::Revoke { file, id } => {
                let mut ring = Keyring::load(&file.file)?;
                if !ring.remove(&id) {
                    bail!("{}: neither a key nor a user {id:?}; `braid keys list` lists them", file.file.display());
                }
                ring.save(&file.file)?;
                println!("{id} revoked");
            }
            What::Hash => println!("{}", hash_password(&secret("password: ")?).map_err(anyhow::Error::msg)?),
        }
        Ok(())
    }
}

impl Rights {
    fn entry(&self, kind: Kind, id: &str, name: &str, secret: &str) -> anyhow::Result<Entry> {
        Ok(Entry {
            kind,
            id: id.to_owned(),
            name: name.to_owned(),
            hash: hash_password(secret).map_err(anyhow::Error::msg)?,
            scopes: self.scopes.iter().copied().collect(),
            tenant: self.tenant.as_deref().map(Tenant::new).transpose()?,
            created: Some(Timestamp::now().round(jiff::Unit::Second)?),
            expires: None,
        })
    }
}

fn list(ring: &Keyring) {
    let now = Timestamp::now();
    println!("{:<5} {:<12} {:<20} {:<12} {:<21} NAME", "KIND", "ID", "SCOPES", "TENANT", "EXPIRES");
    for entry in ring.entries() {
        let kind = if entry.kind == Kind::Key { "key" } else { "user" };
        let tenant = entry.tenant.as_ref().map_or("any", Tenant::as_str);
        let expires = match entry.expires {
            None => "never".to_owned(),
            Some(_) if !entry.is_current(now) => "expired".to_owned(),
            Some(end) => end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        };
        println!("{kind:<5} {:<12} {:<20} {tenant:<12} {expires:<21} {}", entry.id, entry.scopes.to_string(), entry.name);
    }
}

/// A line of standard input; from a terminal it is not shown while it is typed.
fn secret(prompt: &str) -> anyhow::Result<String> {
    let mut line = String::new();
    if std::io::stdin().is_terminal() {
        eprint!("{prompt}");
        std::io::stderr().flush()?;
        // The terminal's own program: one dependency less, and it is there wherever a terminal is.
        let quiet = std::process::Command::new("stty").arg("-echo").status().is_ok_and(|s| s.success());
        let read = std::io::stdin().read_line(&mut line);
        if quiet {
            let _ = std::process::Command::new("stty").arg("echo").status();
            eprintln!();
        }
        read.context("reading the password")?;
    } else {
        std::io::stdin().take(4096).read_to_string(&mut line).context("reading the password")?;
        line.truncate(line.find('\n').unwrap_or(line.len()));
    }
    let secret = line.trim_end_matches(['\r', '\n']).to_owned();
    if secret.is_empty() {
        bail!("no password was given");
    }
    Ok(secret)
}

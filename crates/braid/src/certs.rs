//! `braid certs`: an authority of the lab's own, and certificates of it.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use guard::certs::{self, CertsError, Use};

/// Certificates for a lab.
#[derive(Debug, Args)]
pub(crate) struct CertsCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make an authority: ca.crt, which clients trust, ca.key, which stays here, and ca.crl, its list of revoked certificates
    Ca {
        #[command(flatten)]
        place: Place,
        /// Days that it is good for
        #[arg(long, value_name = "N", default_value_t = 3650, value_parser = clap::value_parser!(u64).range(1..))]
        days: u64,
    },
    /// Make a server's certificate
    Server {
        #[command(flatten)]
        place: Place,
        /// What its files are called
        #[arg(long, value_name = "NAME", default_value = "braid")]
        name: String,
        /// Names and addresses by which clients reach it; may be repeated [default: localhost, 127.0.0.1, ::1]
        #[arg(long = "host", value_name = "HOST")]
        hosts: Vec<String>,
        /// Days that it is good for
        #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..))]
        days: u64,
    },
    /// Make a client's certificate, for ports that ask for one (mTLS)
    Client {
        #[command(flatten)]
        place: Place,
        /// The client's name, and what its files are called
        name: String,
        /// Days that it is good for
        #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..))]
        days: u64,
    },
    /// Revoke a client's certificate: puts it on the authority's list, ca.crl, the file for client_crl_file
    Revoke {
        /// Where the files are
        #[arg(long, value_name = "DIR", default_value = "certs")]
        dir: PathBuf,
        /// The client's name: its certificate is NAME.crt there
        name: String,
    },
}

#[derive(Debug, Args)]
struct Place {
    /// Where the files are
    #[arg(long, value_name = "DIR", default_value = "certs")]
    dir: PathBuf,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
}

impl CertsCommand {
    /// Does what was asked for.
    ///
    /// # Errors
    /// Files that are there already, or cannot be written; names that cannot be.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let made: Vec<PathBuf> = match self.what {
            What::Revoke { dir, name } => {
                let list = guard::revoke(&dir, &name).map_err(without_authority)?;
                println!("{}", list.display());
                return Ok(());
            }
            What::Ca { place, days } => certs::authority(&place.dir, days, place.force)?.to_vec(),
            What::Server { place, name, mut hosts, days } => {
                if hosts.is_empty() {
                    hosts.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
                }
                issue(&place, Use::Server, &name, &hosts, days)?.to_vec()
            }
            What::Client { place, name, days } => issue(&place, Use::Client, &name, std::slice::from_ref(&name), days)?.to_vec(),
        };
        for path in made {
            println!("{}", path.display());
        }
        Ok(())
    }
}

fn issue(place: &Place, usage: Use, name: &str, hosts: &[String], days: u64) -> Result<[PathBuf; 2], anyhow::Error> {
    certs::issue(&place.dir, usage, name, hosts, days, place.force).map_err(without_authority)
}

fn without_authority(error: CertsError) -> anyhow::Error {
    match error {
        CertsError::Io { path, source } if path.ends_with("ca.key") => {
            anyhow::anyhow!("{}: {source}; `braid certs ca` makes an authority", path.display())
        }
        other => other.into(),
    }
}

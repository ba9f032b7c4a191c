//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::backup::{BackupCommand, RestoreCommand};
use crate::certs::CertsCommand;
use crate::config::{Config, Overrides};
use crate::inspect::Inspect;
use crate::keys::KeysCommand;
use crate::locks::Locks;
use crate::serve::Said;
use crate::transfer::{Export, Import};
use crate::verify::VerifyCommand;
use crate::{logging, own, serve};

/// Traces, logs and metrics in one store: takes OTLP, Loki push and Prometheus remote write; answers TraceQL, LogQL and PromQL.
#[derive(Debug, Parser)]
#[command(name = "braid", version, max_term_width = 110)]
pub(crate) struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Run the server
    Serve(Serve),
    /// Copy what is stored to an object store or a folder
    Backup(BackupCommand),
    /// Make a data directory of a backup
    Restore(RestoreCommand),
    /// Look at a data directory: log, manifests, segments, deletions; changes nothing
    Inspect(Inspect),
    /// Write rows to a file
    Export(Export),
    /// Send the rows of a file
    Import(Import),
    /// Make, list and revoke keys and users
    Keys(KeysCommand),
    /// Make an authority and certificates for a lab
    Certs(CertsCommand),
    /// Check a running Braid from outside: a line a check; exits with 1 and says why when one fails
    Verify(VerifyCommand),
    /// Validate a configuration file; exits with 2 and says where when it is wrong
    Check(Check),
}

/// Flags win over environment variables, these over the file, and that over the defaults.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Configuration file (YAML); without one the defaults hold
    #[arg(short, long, value_name = "FILE", env = "BRAID_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Where data is kept [default: braid-data]
    #[arg(long, value_name = "DIR", env = "BRAID_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Memory for heads, caches, requests and queries together [default: 512MiB]
    #[arg(long, value_name = "SIZE", env = "BRAID_MEMORY")]
    pub(crate) memory: Option<String>,
    /// Interface to bind to, or interface and Braid's own port: 0.0.0.0 or 0.0.0.0:3000 [default: 127.0.0.1]
    #[arg(long, value_name = "ADDR", env = "BRAID_LISTEN")]
    pub(crate) listen: Option<String>,
    /// Added to every port
    #[arg(long, value_name = "N", default_value_t = 0, env = "BRAID_PORT_OFFSET")]
    pub(crate) port_offset: u16,
    /// Let the system choose every port; see --print-ready
    #[arg(long, conflicts_with = "port_offset")]
    pub(crate) free_ports: bool,
    /// When ready, print one line of JSON with the process id and every address on standard output
    #[arg(long)]
    pub(crate) print_ready: bool,
    /// Allow deletions and snapshots over Prometheus' admin API and Braid's own
    #[arg(long, env = "BRAID_ENABLE_ADMIN_API", alias = "web.enable-admin-api")]
    pub(crate) enable_admin_api: bool,
    /// Let ports that ask for no credential listen where other machines reach them
    #[arg(long, env = "BRAID_ALLOW_UNAUTHENTICATED")]
    pub(crate) allow_unauthenticated: bool,
    /// With authentication: say a link that logs in once, also where standard error is no terminal
    #[arg(long, env = "BRAID_LOGIN_LINK")]
    pub(crate) login_link: bool,
    /// How to log to standard error; RUST_LOG chooses what (unset: info)
    #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "BRAID_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,
}

#[derive(Debug, Args)]
struct Check {
    /// Configuration file (YAML)
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

/// How to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One readable line an event
    Text,
    /// One JSON object an event
    Json,
}

impl Command {
    /// Does what was asked for; returns the exit code.
    ///
    /// # Errors
    /// Configuration errors, and what keeps the server from starting.
    pub(crate) fn run(self) -> anyhow::Result<u8> {
        match self.what {
            What::Inspect(inspect) => inspect.run(),
            What::Export(export) => export.run(),
            What::Import(import) => import.run(),
            What::Check(check) => {
                let config = Config::load(Some(&check.config), &Overrides::default())?;
                Locks::open(&config.auth, &config.endpoints, config.syslog_tls.as_ref())?;
                println!("{}: ok", check.config.display());
                Ok(0)
            }
            What::Backup(backup) => backup.run().map(|()| 0),
            What::Restore(restore) => restore.run().map(|()| 0),
            What::Keys(keys) => keys.run().map(|()| 0),
            What::Certs(certs) => certs.run().map(|()| 0),
            What::Verify(verify) => verify.run(),
            What::Serve(serve) => {
                crate::allocator::tell();
                let overrides = Overrides {
                    data_dir: serve.data_dir,
                    memory: serve.memory,
                    listen: serve.listen,
                    port_offset: serve.port_offset,
                    free_ports: serve.free_ports,
                    admin_api: serve.enable_admin_api,
                    allow_unauthenticated: serve.allow_unauthenticated,
                };
                let config = Config::load(serve.config.as_deref(), &overrides)?;
                let own = (config.own_logs || config.own_traces).then(|| own::queue(config.own_logs, config.own_traces));
                logging::start(serve.log_format, own.as_ref().map(|(own, _)| own.clone()))?;
                let file = serve.config;
                let said = Said { ready: serve.print_ready, login_link: serve.login_link };
                serve::run(config, move || Config::load(file.as_deref(), &overrides), said, own)?;
                Ok(0)
            }
        }
    }
}

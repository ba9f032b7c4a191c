//! The ingest side: receivers and scraping, in front of the store's log.
//!
//! Every receiver does the same four things, and [`Ingest`] holds what they share: read the body into one buffer within
//! limits and within the share of the memory budget that requests in flight may hold ([`Budget`]); undo the content
//! encoding, checking the size while inflating ([`inflate`]); check the bytes with the walker that will read them again
//! ([`wire::check`]); hand them to the store's [`store::Writer`], which answers when they are durable. A receiver adds the
//! manners of its protocol: paths, content types, answers.
//!
//! Nothing is decoded into trees, nothing is re-encoded: what the log keeps is what the sender sent.

mod body;
mod brake;
mod budget;
mod counters;
pub mod grpc;
mod inflate;
mod ingest;
mod loki;
mod otlp_http;
mod receivers;
mod records;
mod refusal;
mod remote_write;
mod reply;
pub mod scrape;
mod spans;
pub mod syslog;
mod tenants;
pub mod tls;
mod workers;

pub use brake::Brake;
pub use budget::{Budget, Held};
pub use counters::{Counters, Outcome, Via};
pub use inflate::{ContentEncoding, inflate};
pub use ingest::{Ingest, Limits};
pub use otlp_http::{Origins, error as otlp_error};
pub use receivers::{Doors, Receivers};
pub use refusal::Refusal;
pub use tenants::{TenantLimits, Tenants};

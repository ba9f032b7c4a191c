//! Object stores: where they are ([`Location`]), with whose credentials they are asked, how often ([`Bucket`] retries with
//! backoff and jitter), and what that cost ([`Counters`]).
//!
//! S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage, and a folder of this machine, all by
//! `object_store`. The face is blocking: whoever uses it has threads of his own and no runtime. Before the first
//! [`Location::connect`] the process must have named its provider of cryptography.

mod bucket;
mod counters;
mod error;
mod location;
mod profile;

pub use bucket::{Bucket, Object, Patience};
pub use counters::{Counters, Operation};
pub use error::ObjectsError;
pub use location::{Credentials, Location, Settings};

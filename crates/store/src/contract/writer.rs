//! How data comes in.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use model::Tenant;
use tokio::sync::broadcast;
use wire::{Encoding, Plain, Summary};

use super::{Deletion, StoreError, Tombstone};

/// A checked request, as it is kept in the log.
#[derive(Debug, Clone)]
pub struct Request {
    /// Whose.
    pub tenant: Tenant,
    /// How to read the payload.
    pub encoding: Encoding,
    /// The request's body, see [`Encoding`].
    pub payload: Bytes,
}

/// The result of [`Writer::append`]: what of the request was taken and what the table refused (samples that are too old, or
/// other values for known times). `None` where that is not known: the log is still replayed, or the request was seen before.
pub type Appended<'a> = Pin<Box<dyn Future<Output = Result<Option<Summary>, StoreError>> + Send + 'a>>;

/// Takes requests.
pub trait Writer: Send + Sync {
    /// Keeps a request. Resolves when it is durable and, unless the store is still replaying after a crash, visible to
    /// readers. A request whose bytes were seen before (a retry whose acknowledgement was lost) is acknowledged and not
    /// kept twice. Dropping the future does not undo the append.
    ///
    /// # Errors
    /// [`StoreError::Busy`] and [`StoreError::Full`] are retryable; nothing was kept then.
    fn append(&self, request: Request) -> Appended<'_>;

    /// The same, with the body as it was decompressed for the check, so that whoever makes rows of it need not do that again.
    ///
    /// # Errors
    /// As for [`Writer::append`].
    fn append_plain(&self, request: Request, plain: Option<Plain>) -> Appended<'_> {
        drop(plain);
        self.append(request)
    }

    /// Deletes rows. On return the deletion is durable and no later snapshot shows them; their bytes go when segments are
    /// next rewritten and the log is cut, after [`Deletion::delay`]. Blocks: call it off the async threads.
    ///
    /// # Errors
    /// IO; [`StoreError::Busy`] and [`StoreError::Full`] are retryable; nothing was deleted then.
    fn delete(&self, deletion: Deletion) -> Result<Arc<Tombstone>, StoreError>;

    /// Cancels a deletion of lines that still waits: its rows are shown again. `false` where it waits no more, as it never does
    /// in a store that deletes at once. Blocks.
    ///
    /// # Errors
    /// As for [`Writer::delete`].
    fn cancel(&self, _tenant: &Tenant, _id: u64) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Every request from now on, once it is durable. A slow receiver lags and is told how many it missed.
    fn subscribe(&self) -> broadcast::Receiver<Request>;
}

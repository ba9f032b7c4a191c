//! What holds requests back while the process is close to its memory budget.

use std::time::Duration;

use tokio::sync::watch;

use crate::Refusal;

/// How long a request waits for memory, its body unread, before it is refused.
const PATIENCE: Duration = Duration::from_secs(1);

/// On while memory is short; clones share it.
#[derive(Debug, Clone)]
pub struct Brake(watch::Sender<bool>);

impl Default for Brake {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Brake {
    /// Puts it on, or releases it.
    pub fn set(&self, on: bool) {
        self.0.send_if_modified(|now| std::mem::replace(now, on) != on);
    }

    /// Whether it is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is released.
    ///
    /// # Errors
    /// [`Refusal::Memory`] where that takes too long.
    pub(crate) async fn released(&self) -> Result<(), Refusal> {
        let mut now = self.0.subscribe();
        let released = tokio::time::timeout(PATIENCE, now.wait_for(|on| !on)).await;
        released.map_or(Err(Refusal::Memory(PATIENCE)), |_| Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_wait_for_memory_and_are_refused_in_the_end() {
        let brake = Brake::default();
        assert!(brake.released().await.is_ok(), "it is not on");
        brake.set(true);
        let waiting = tokio::spawn({
            let brake = brake.clone();
            async move { brake.released().await }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished());
        brake.set(false);
        assert!(waiting.await.expect("no panic").is_ok());
        brake.set(true);
        let refused = brake.released().await.expect_err("it stays on");
        assert_eq!((refused.reason(), refused.http_status().as_u16(), refused.grpc_code()), ("memory", 503, 14));
        assert_eq!(refused.retry_after(), Some(Duration::from_secs(1)));
    }
}

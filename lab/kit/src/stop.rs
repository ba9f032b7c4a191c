//! When a part stops (SIGTERM, SIGINT, or the end of the pipe that ties it to its supervisor) and how a server does it in time.

use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Requests under way get this long to finish; with the last flush of telemetry it stays under two seconds.
const GRACE: Duration = Duration::from_millis(900);

/// Turns true, once, when the process should stop. Clones see the same moment.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Listens for signals, and with `tethered` for the end of standard input: the supervisor holds the other end of that
    /// pipe, so its death by whatever cause, even `kill -9`, ends the part too.
    pub fn listen(tethered: bool) -> anyhow::Result<Self> {
        let (sender, receiver) = watch::channel(false);
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
        let by_signal = sender.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            by_signal.send_replace(true);
        });
        if tethered {
            // A thread of its own: a blocking read on the runtime would hold up its shutdown.
            std::thread::spawn(move || {
                let mut ignored = [0; 256];
                while matches!(std::io::stdin().lock().read(&mut ignored), Ok(1..)) {}
                sender.send_replace(true);
            });
        }
        Ok(Self(receiver))
    }

    /// A stop that the holder of the sender decides.
    pub fn by_hand() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Resolves when the process should stop; at once if that is so already.
    pub async fn wait(&self) {
        let mut receiver = self.0.clone();
        // The senders live as long as the process; were they gone, stopping would be right too.
        let _ = receiver.wait_for(|stop| *stop).await;
    }

    /// Whether the moment has come.
    pub fn is_set(&self) -> bool {
        *self.0.borrow()
    }
}

/// Binds `address`, serves until `stop`, then lets requests under way finish for at most 900 ms.
pub async fn serve(address: SocketAddr, routes: Router, stop: Stop) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let address = listener.local_addr()?;
    tracing::info!(address = %address, "Listening");
    let service = routes.into_make_service_with_connect_info::<SocketAddr>();
    let signal = stop.clone();
    let server = axum::serve(listener, service).with_graceful_shutdown(async move { signal.wait().await });
    let too_late = async {
        stop.wait().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = async { server.await } => served.context("server"),
        () = too_late => Ok(()),
    }
}

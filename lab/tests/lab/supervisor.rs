//! The supervisor with real children: what dies comes back, and nothing outlives it.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::common::{eventually, try_ask};
use http::Method;
use rustix::process::{Pid, Signal, kill_process};

struct Up {
    child: Child,
    state: tempfile::TempDir,
    offset: u16,
}

impl Up {
    fn start() -> Self {
        let state = tempfile::tempdir().unwrap();
        let offset = free_offset();
        let child = Command::new(env!("CARGO_BIN_EXE_braid-lab"))
            .args(["up", "--no-traffic", "--port-offset", &offset.to_string(), "--state"])
            .arg(state.path())
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, state, offset }
    }

    fn pid(&self, name: &str) -> Option<Pid> {
        let text = std::fs::read_to_string(self.state.path().join("pids").join(name)).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }

    /// Waits until the page gets an answer from the backend.
    async fn works(&self) {
        let url = format!("http://127.0.0.1:{}/api/tasks", 8081 + self.offset);
        let ask = async || try_ask(Method::GET, &url, &[], "").await.filter(|answer| answer.status.is_success());
        eventually("an answer through the proxy", ask).await;
        let url = format!("http://127.0.0.1:{}/api/test", 5001 + self.offset);
        let whole = async || try_ask(Method::GET, &url, &[], "").await.filter(|answer| answer.json()["status"] == "ok");
        eventually("a path through the three sense services", whole).await;
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An offset at which the lab's ports are free now; each test of this file starts to look at another place.
fn free_offset() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 200).unwrap() * 100 + 10_000;
    loop {
        let offset = first + NEXT.fetch_add(7, Ordering::Relaxed);
        let free = |port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
        if [5000, 5001, 5002, 5003, 8000, 8001, 8002, 8003, 8081].iter().all(|port| free(port + offset)) {
            return offset;
        }
    }
}

fn alive(pid: Pid) -> bool {
    Path::new(&format!("/proc/{}/exe", pid.as_raw_nonzero())).exists()
}

async fn gone(pid: Pid) {
    eventually("the end of a child", async || (!alive(pid)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_part_comes_back_and_sigterm_takes_all_along() {
    let mut up = Up::start();
    up.works().await;
    let [backend, proxy, arda] = ["backend", "proxy", "arda"].map(|name| up.pid(name).unwrap());
    kill_process(backend, Signal::KILL).unwrap();
    let next = eventually("a new backend", async || up.pid("backend").filter(|pid| *pid != backend)).await;
    up.works().await;
    assert!(alive(next) && alive(proxy));
    kill_process(Pid::from_child(&up.child), Signal::TERM).unwrap();
    assert!(up.child.wait().unwrap().success());
    gone(next).await;
    gone(proxy).await;
    gone(arda).await;
    assert!(std::fs::read_dir(up.state.path().join("pids")).unwrap().next().is_none(), "pid files are left");
    let log = std::fs::read_to_string(up.state.path().join("logs/backend.log")).unwrap();
    assert!(log.contains("[supervisor] ended (signal: 9 (SIGKILL)); starts again"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn children_end_when_their_supervisor_is_killed() {
    let mut up = Up::start();
    up.works().await;
    let children = ["backend", "proxy", "beorn", "palantir", "arda"].map(|name| up.pid(name).unwrap());
    up.child.kill().unwrap();
    up.child.wait().unwrap();
    for child in children {
        gone(child).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_lab_in_the_same_place_is_refused_and_down_stops_the_first() {
    let mut up = Up::start();
    up.works().await;
    let lab = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_braid-lab")).args(arguments).arg("--state").arg(up.state.path()).output().unwrap()
    };
    let second = lab(&["up", "--port-offset", "45000"]);
    assert!(!second.status.success());
    let reason = String::from_utf8(second.stderr).unwrap();
    assert!(reason.contains("runs on") && reason.contains("already"), "{reason}");
    // `down` waits for a process that this test must reap.
    let state = up.state.path().to_owned();
    let down = std::thread::spawn(move || {
        Command::new(env!("CARGO_BIN_EXE_braid-lab")).args(["down", "--state"]).arg(state).output().unwrap()
    });
    assert!(up.child.wait().unwrap().success());
    let down = down.join().unwrap();
    assert!(String::from_utf8(down.stdout).unwrap().starts_with("Stopped"));
}

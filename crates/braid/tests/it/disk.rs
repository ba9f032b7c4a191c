//! Data directories that cannot be written, on real file systems.

use std::path::Path;

use crate::asking::lines;
use crate::braid::{Braid, can_mount, can_mount_with};
use crate::client::{Reply, post};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const BEGIN: u64 = 1_700_000_000_000_000_000;

/// Sends line `n`, followed by 100 kB that no compression makes smaller.
fn push(braid: &Braid, n: u64) -> Reply {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let noise: String = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        format!("{state:016x}")
    })
    .take(6_250)
    .collect();
    let time = crate::protobuf::now() - 60_000_000_000 + n;
    let body = format!(r#"{{"streams":[{{"stream":{{"app":"disk"}},"values":[["{time}","line {n} {noise}"]]}}]}}"#);
    post(braid.at("loki"), "/loki/api/v1/push", &[JSON], body.as_bytes())
}

/// The numbers of the lines that are there.
fn found(braid: &Braid) -> Vec<u64> {
    let all = lines(braid, "{app=\"disk\"}", BEGIN, crate::protobuf::now());
    let mut numbers: Vec<u64> = all.iter().filter_map(|l| l.split(' ').nth(1)?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

fn config(dir: &Path, min_free: &str) -> String {
    let path = dir.join("braid.yaml");
    std::fs::write(&path, format!("storage: {{min_free: {min_free}}}\n")).expect("written");
    path.display().to_string()
}

#[test]
fn a_full_file_system_refuses_what_comes_and_serves_what_is_there() {
    if !can_mount() {
        eprintln!("left out: no private mounts here");
        return;
    }
    // Above the watermark nothing fails; without one the writes themselves do.
    for min_free in ["6MiB", "0"] {
        let dir = tempfile::tempdir().expect("a directory");
        let config = config(dir.path(), min_free);
        let mounts = "mkdir \"$DIR/data\"\nmount -t tmpfs -o size=16m tmpfs \"$DIR/data\"";
        let braid = Braid::start_with_mounts(dir.path(), mounts, &["--config", &config]);
        let mut kept = Vec::new();
        let refused = (0..400).find_map(|n| {
            let reply = push(&braid, n);
            if reply.status == 204 {
                kept.push(n);
                // The watermark is looked at twice a second.
                std::thread::sleep(std::time::Duration::from_millis(if min_free == "0" { 0 } else { 40 }));
                return None;
            }
            Some(reply)
        });
        let refused = refused.expect("16 MiB do not hold 40 MB").expect(503);
        assert!(refused.header("Retry-After").is_some(), "{refused:?}");
        let reason = refused.text();
        assert!(reason.contains("almost full") || reason.contains("No space left"), "{reason}");
        assert!(kept.len() > 20, "{min_free}: only {} lines were taken", kept.len());
        assert_eq!(found(&braid), kept, "{min_free}: what was acknowledged is there, and nothing else\n{}", braid.log());
        let (status, log) = braid.stop("-TERM");
        assert!(status.success(), "{min_free}: {status}\n{log}");
    }
}

/// Sends lines until they are refused for good, and gives the refusal; `kept` gets the numbers of those that were taken. One that
/// is refused alone is no end: what only the log holds is written where there is room, and the log then goes.
fn fill(braid: &Braid, next: &mut u64, kept: &mut Vec<u64>) -> Reply {
    let mut send = |pause: u64| {
        *next += 1;
        let reply = push(braid, *next);
        if reply.status == 204 {
            kept.push(*next);
        }
        // The watermark is looked at twice a second.
        std::thread::sleep(std::time::Duration::from_millis(pause));
        reply
    };
    for _ in 0..1000 {
        if send(15).status != 204
            && let Some(last) = (0..8).map(|_| send(500)).take_while(|reply| reply.status != 204).nth(7)
        {
            return last;
        }
    }
    panic!("the disk does not hold 100 MB")
}

#[test]
fn space_that_is_freed_is_used_again_and_what_was_acknowledged_outlives_a_kill() {
    // A file system that outlives the process, on an image file.
    let mounts = "mkdir -p \"$DIR/data\"\n[ -e \"$DIR/image\" ] || { truncate -s 28M \"$DIR/image\"; mkfs.ext4 -q -m 0 \"$DIR/image\"; }\n\
                  mount -o loop \"$DIR/image\" \"$DIR/data\"\n[ -e \"$DIR/begun\" ] || head -c 8M /dev/zero > \"$DIR/data/ballast\"\n\
                  touch \"$DIR/begun\"\n";
    if !can_mount_with("truncate -s 8M \"$d/i\"; mkfs.ext4 -q \"$d/i\" && mkdir \"$d/m\" && mount -o loop \"$d/i\" \"$d/m\"") {
        eprintln!("left out: no loop devices here");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    // An exporter whose peer is away keeps the log, until the disk is short. The log's files are as small beside this disk as they
    // are beside others.
    let path = dir.path().join("braid.yaml");
    let yaml = "storage: {min_free: 4MiB, log: {max_size: 16MiB}}\nexporters: {otlphttp: {endpoint: 'http://127.0.0.1:9'}}\n\
                service: {pipelines: {logs: {exporters: [otlphttp]}}}\n";
    std::fs::write(&path, yaml).expect("written");
    let config = path.display().to_string();
    let braid = Braid::start_with_mounts(dir.path(), mounts, &["--config", &config]);
    let mut kept = Vec::new();
    let mut next = 0;
    let refused = fill(&braid, &mut next, &mut kept).expect(503);
    assert!(refused.header("Retry-After").is_some(), "{refused:?}");
    assert_eq!(found(&braid), kept, "{}", braid.log());
    let ready = braid.get("braid", "/ready").expect(503).text();
    assert!(ready.contains("requests are refused") && ready.contains("storage.min_free"), "{ready}");
    // Seen from here the mount is below the process' own root.
    let data = format!("/proc/{}/root{}/data", braid.id(), dir.path().display());
    std::fs::remove_file(format!("{data}/ballast")).expect("the ballast");
    let more = kept.len();
    braid.eventually("ready again", |b| (b.get("braid", "/ready").status == 200).then_some(()));
    braid.eventually("room again", |b| {
        next += 1;
        (push(b, next).status == 204).then(|| kept.push(next))
    });
    fill(&braid, &mut next, &mut kept).expect(503);
    assert!(kept.len() > more + 20, "what was freed is used, not only {} lines of it", kept.len() - more);
    assert_eq!(found(&braid), kept, "{}", braid.log());
    // Killed while it is full, it starts again and has everything.
    braid.kill();
    let braid = Braid::start_with_mounts(dir.path(), mounts, &["--config", &config]);
    braid.eventually("the end of the replay", |b| (b.metric("braid_store_replaying") == 0.0).then_some(()));
    assert_eq!(found(&braid), kept, "{}", braid.log());
    let (status, log) = braid.stop("-TERM");
    assert!(status.success() && !log.contains("panicked"), "{status}\n{log}");
}

#[test]
fn a_read_only_file_system_is_served_and_takes_nothing() {
    if !can_mount() {
        eprintln!("left out: no private mounts here");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let braid = Braid::start(dir.path());
    for n in 0..3 {
        push(&braid, n).expect(204);
    }
    // Some in segments, one in the log only.
    braid.get("braid", "/ready").expect(200);
    post(braid.at("braid"), "/api/admin/settle", &[], b"").expect(204);
    push(&braid, 3).expect(204);
    braid.kill();
    let mounts = "mount --bind \"$DIR/data\" \"$DIR/data\"\nmount -o remount,ro,bind \"$DIR/data\"";
    let braid = Braid::start_with_mounts(dir.path(), mounts, &[]);
    braid.eventually("the end of the replay", |b| (b.metric("braid_store_replaying") == 0.0).then_some(()));
    assert_eq!(found(&braid), [0, 1, 2, 3], "{}", braid.log());
    let refused = push(&braid, 4).expect(503);
    assert!(refused.text().contains("Read-only file system"), "{}", refused.text());
    assert_eq!(found(&braid), [0, 1, 2, 3]);
    let (status, log) = braid.stop("-TERM");
    assert!(status.success(), "{status}\n{log}");
    // Writable again, it goes on.
    let braid = Braid::start(dir.path());
    braid.eventually("the end of the replay", |b| (b.metric("braid_store_replaying") == 0.0).then_some(()));
    push(&braid, 4).expect(204);
    assert_eq!(found(&braid), [0, 1, 2, 3, 4]);
}

//! Every persisted format has a fixture that later versions must still read. `fixtures/v1/` holds a log file and two
//! manifests as version 1 wrote them; `BRAID_WRITE_FIXTURES=1` makes them anew (only when a format is added, never changed).

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;

use braid_store::SegmentMeta;
use braid_store::disk::RealDisk;
use braid_store::log::{Log, LogOptions, Pending};
use braid_store::manifest::{Manifest, Manifests, Quarantined};
use bytes::Bytes;
use model::Tenant;
use wire::Encoding;

fn fixtures() -> PathBuf {
    PathBuf::from("tests/fixtures/v1")
}

/// What the log of the fixture holds: tenant, encoding, received, payload.
fn records() -> Vec<(Tenant, Encoding, i64, Bytes)> {
    let tenants = [Tenant::default(), Tenant::new("team-a").unwrap()];
    // Those that there were when the fixture was written.
    let each = Encoding::ALL.into_iter().filter(|e| *e != Encoding::RemoteWrite2).enumerate();
    each.map(|(i, encoding)| {
        let payload: Vec<u8> = (0..i * 40).map(|b| (b * 7 % 256) as u8).collect();
        (tenants[i % 2].clone(), encoding, 1_767_225_600_000_000_000 + i as i64, Bytes::from(payload))
    })
    .collect()
}

fn segment(id: u64) -> SegmentMeta {
    SegmentMeta {
        id,
        tenant: "team-a".into(),
        signal: "logs".into(),
        hour: 490_896,
        file: format!("segments/team-a/logs/490896/{id:010}.parquet"),
        format: 1,
        first: 1_767_225_600_000_000_000,
        last: 1_767_225_699_000_000_000,
        rows: 1_000,
        bytes: 65_536,
        level: 1,
        first_sequence: 1,
        last_sequence: 9,
        deleted_to: 0,
        apart: false,
    }
}

fn manifest() -> Manifest {
    Manifest {
        number: 2,
        epoch: 3,
        written: 1_767_225_700_000_000_000,
        next_segment: 8,
        covered: [4, 5, 6],
        segments: vec![segment(5), segment(7)],
        quarantined: vec![Quarantined { segment: segment(6), reason: "checksum".into(), found: 1_767_225_650_000_000_000 }],
        tombstones: Vec::new(),
        waiting: Vec::new(),
    }
}

#[test]
fn write_fixtures() {
    if std::env::var("BRAID_WRITE_FIXTURES").is_err() {
        return;
    }
    // What is there is replaced.
    let _ = std::fs::remove_dir_all(fixtures());
    let disk = Arc::new(RealDisk::open(fixtures()).unwrap());
    let log = Log::open(disk.clone(), LogOptions::default(), 0, &mut |_| {}).unwrap();
    for (tenant, encoding, received, payload) in records() {
        let (tell, hear) = mpsc::channel();
        let done = Box::new(move |outcome: Result<_, _>| tell.send(outcome.is_ok()).unwrap());
        log.append(Pending { tenant, encoding, received, payload, done }).unwrap();
        assert!(hear.recv().unwrap());
    }
    let mut manifests = Manifests::open(disk).unwrap();
    manifests.write(Manifest { covered: [1, 1, 1], ..manifest() }).unwrap();
    manifests.write(manifest()).unwrap();
}

/// A copy, because opening tidies up.
fn copy() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["log", "manifest"] {
        std::fs::create_dir(dir.path().join(folder)).unwrap();
        for entry in std::fs::read_dir(fixtures().join(folder)).unwrap() {
            let from = entry.unwrap().path();
            std::fs::copy(&from, dir.path().join(folder).join(from.file_name().unwrap())).unwrap();
        }
    }
    dir
}

#[test]
fn a_log_of_version_1_is_read() {
    let dir = copy();
    let log = Log::open(Arc::new(RealDisk::open(dir.path()).unwrap()), LogOptions::default(), 0, &mut |_| {}).unwrap();
    let mut reader = log.read_from(1);
    let mut found = Vec::new();
    while let Some(r) = reader.next_record().unwrap() {
        assert_eq!(r.sequence, found.len() as u64 + 1);
        found.push((r.tenant, r.encoding, r.received, r.payload));
    }
    assert_eq!(found, records());
}

#[test]
fn manifests_of_version_1_are_read() {
    let dir = copy();
    let manifests = Manifests::open(Arc::new(RealDisk::open(dir.path()).unwrap())).unwrap();
    let text = |m: &Manifest| serde_json::to_string(m).unwrap();
    assert_eq!(manifests.current().map(|m| text(m)), Some(text(&manifest())));
    assert_eq!(manifests.agreed(), [1, 1, 1]);
    assert_eq!(manifests.damaged, 0);
}

"""Backups and restores as commands: of a running server and of a stopped one, incremental, interrupted, damaged, refused."""

import os
import pathlib
import signal
import subprocess
import threading

import pytest

from conftest import Braid
from shaky_proxy import ShakyProxy
from test_object_store import KEYS, numbers, push, settle


def braid(*arguments, **variables):
    """Exit code and both outputs of a command."""
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "hush", **variables}
    done = subprocess.run(
        [os.environ["BRAID"], *map(str, arguments)], capture_output=True, text=True, timeout=120, env=environment
    )
    return done.returncode, done.stdout, done.stderr


def files(folder):
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in pathlib.Path(folder).rglob("*") if p.is_file()}


def test_of_a_running_and_of_a_stopped_server(tmp_path):
    to = f"file://{tmp_path}/backups"
    server = Braid(tmp_path / "data")
    push(server, 0, 300)
    code, out, err = braid("backup", "--to", to, "--server", server.url("braid"), "--verify")
    assert code == 0 and "are as they were written" in out, (out, err)
    before = files(tmp_path / "backups/files")
    assert before
    # Without a word of where the server is it is refused, not disturbed.
    code, _, err = braid("backup", "--to", to, "--data-dir", tmp_path / "data")
    assert code == 3 and "--server" in err, err
    code, _, err = braid("restore", "--from", to, "--data-dir", tmp_path / "data", "--force")
    assert code == 3 and "stop it first" in err, err
    push(server, 300, 100)
    assert server.stop() == 0
    code, out, err = braid("backup", "--to", to, "--data-dir", tmp_path / "data")
    assert code == 0, err
    after = files(tmp_path / "backups/files")
    assert before.items() <= after.items() and len(after) > len(before), "what is there is not copied again"
    assert f"{len(before)} there already" in out, out

    code, _, err = braid("restore", "--from", to, "--data-dir", tmp_path / "data")
    assert code == 3 and "holds data already" in err, err
    code, out, err = braid("restore", "--from", to, "--data-dir", tmp_path / "new")
    assert code == 0, err
    restored = Braid(tmp_path / "new")
    assert numbers(restored) == list(range(400)), restored.log()
    push(restored, 400, 10)
    settle(restored)
    assert numbers(restored) == list(range(410))
    assert restored.stop() == 0
    # The older one, over it.
    code, out, err = braid("restore", "--from", to, "--list")
    ids = [line.split("\t")[0] for line in out.splitlines()]
    assert code == 0 and len(ids) == 2, (out, err)
    code, _, err = braid("restore", "--from", to, "--data-dir", tmp_path / "new", "--backup", ids[0], "--force")
    assert code == 0, err
    restored = Braid(tmp_path / "new")
    assert numbers(restored) == list(range(300))
    assert restored.stop() == 0
    assert (tmp_path / f"new/replaced-{ids[0]}/segments").is_dir()
    code, out, err = braid("backup", "--to", to, "--data-dir", tmp_path / "new", "--keep", 1)
    assert code == 0 and "2 older backups removed" in out, (out, err)
    assert braid("restore", "--from", to, "--verify")[0] == 0


def test_damage_is_named_and_changes_nothing(tmp_path):
    to = f"file://{tmp_path}/backups"
    server = Braid(tmp_path / "data")
    push(server, 0, 50)
    assert server.stop() == 0
    assert braid("backup", "--to", to, "--data-dir", tmp_path / "data")[0] == 0
    (damaged,) = [p for p in (tmp_path / "backups/files").rglob("*@*") if "/logs/" in str(p)]
    whole = damaged.read_bytes()
    for bad in (whole[:100] + bytes([whole[100] ^ 1]) + whole[101:], whole[:-7], None):
        damaged.write_bytes(bad) if bad else damaged.unlink()
        code, _, err = braid("restore", "--from", to, "--verify")
        assert code == 4 and damaged.name in err, err
        code, _, err = braid("restore", "--from", to, "--data-dir", tmp_path / "new")
        assert code == 4 and damaged.name in err, err
        assert not (tmp_path / "new/segments").exists() and not (tmp_path / "new/manifest").exists()
        if bad is not None:
            damaged.write_bytes(whole)
    # The next backup puts back what is missing.
    code, _, err = braid("backup", "--to", to, "--data-dir", tmp_path / "data", "--verify")
    assert code == 0, err
    assert braid("restore", "--from", to, "--data-dir", tmp_path / "new")[0] == 0
    restored = Braid(tmp_path / "new")
    assert numbers(restored) == list(range(50))
    assert restored.stop() == 0


@pytest.mark.parametrize("address", ["nowhere", "s3://", "http://a/b", "file://relative"])
def test_addresses_that_are_none(address):
    code, _, err = braid("backup", "--to", address, "--data-dir", "/nonexistent")
    assert code == 2 and "is no address of an object store" in err, err


def test_what_is_not_there_is_said(tmp_path):
    code, _, err = braid("backup", "--to", f"file://{tmp_path}/b", "--data-dir", tmp_path / "none")
    assert code == 1 and "is no data directory of Braid" in err, err
    code, _, err = braid("restore", "--from", f"file://{tmp_path}/b", "--data-dir", tmp_path / "none")
    assert code == 1 and "there is no backup" in err, err
    code, _, err = braid("backup", "--to", f"file://{tmp_path}/b", "--server", "http://127.0.0.1:9")
    assert code == 1 and "127.0.0.1:9" in err, err


def test_interrupted_over_a_bad_line_it_goes_on_where_it_was(tmp_path):
    moto = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    s3 = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    s3.start()
    host, port = s3.get_host_and_port()
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", **KEYS)
    client.create_bucket(Bucket="backups")
    proxy = ShakyProxy(host, port)
    server = Braid(tmp_path / "data")
    for n in range(8):
        push(server, n * 40, 40)
        # A segment each.
        assert server.stop() == 0
        code, _, err = braid("backup", "--to", f"file://{tmp_path}/warm", "--data-dir", tmp_path / "data")
        assert code == 0, err
        server.start()
    flags = ("--endpoint", proxy.url(), "--region", "us-east-1")
    proxy.faults = {"delay": 1.0}
    command = [os.environ["BRAID"], "backup", "--to", "s3://backups/x", "--server", server.url("braid"), *flags]
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "hush"}
    running = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    threading.Event().wait(6.5)
    running.send_signal(signal.SIGKILL)
    running.wait()
    keys = [o["Key"] for o in client.list_objects_v2(Bucket="backups").get("Contents", [])]
    assert keys and all(k.startswith("x/files/") for k in keys), "some files, and no backup yet"
    code, _, err = braid("restore", "--from", "s3://backups/x", *flags, "--data-dir", tmp_path / "new")
    assert code == 1 and "there is no backup" in err, err
    proxy.faults = {"drop": 0.1, "lose": 0.1, "503": 0.1, "truncate": 0.1}
    code, out, err = braid("backup", "--to", "s3://backups/x", "--server", server.url("braid"), *flags, "--verify")
    assert code == 0, err
    known = int(out.split(" there already")[0].rsplit(" ", 1)[1])
    assert known >= len(keys), (out, keys)
    assert server.stop() == 0
    code, _, err = braid("restore", "--from", "s3://backups/x", *flags, "--data-dir", tmp_path / "new")
    assert code == 0, err
    proxy.down()
    s3.stop()
    restored = Braid(tmp_path / "new")
    assert numbers(restored) == list(range(320)), restored.log()
    assert restored.stop() == 0

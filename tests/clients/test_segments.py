"""What is kept on disk is Parquet that other tools read, and survives the server's death."""

import json
import pathlib
import signal
import time
import urllib.request

import duckdb
import pyarrow.parquet
import pytest

from conftest import Braid, eventually

LINES = 500


def push(braid, lines, service="segments"):
    at = time.time_ns()
    stream = {"stream": {"service_name": service, "level": "info"}, "values": [[str(at + i), l] for i, l in enumerate(lines)]}
    request = urllib.request.Request(
        braid.url("loki", "/loki/api/v1/push"),
        json.dumps({"streams": [stream]}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:
        assert response.status == 204


def line(i):
    return f'{{"status":{200 + i % 4 * 100},"duration_ms":{i}.50,"path":"/orders/{i}","trace_id":"{i:032x}"}}'


def lines_of(braid, service="segments"):
    query = f'{{service_name="{service}"}}'
    answer = braid.json("loki", "/loki/api/v1/query_range", query=query, since="1h", limit=5000)
    return [value[1] for stream in answer["data"]["result"] for value in stream["values"]]


def segments(braid, signal_name):
    return [p for p in pathlib.Path(braid.data_dir).rglob("*.parquet") if signal_name in str(p)]


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A Braid that took lines, was killed, came back, and was stopped: so its lines are in segments."""
    braid = Braid(tmp_path_factory.mktemp("braid") / "data")
    push(braid, [line(i) for i in range(LINES)])
    braid.stop(signal.SIGKILL)
    braid.start()
    yield braid
    if braid.process.poll() is None:
        assert braid.stop() == 0, braid.log()


def test_acknowledged_lines_survive_kill_9(filled):
    eventually(lambda: sorted(lines_of(filled)) == sorted(line(i) for i in range(LINES)))


def test_a_retry_makes_no_double(filled):
    at = str(time.time_ns())
    body = json.dumps({"streams": [{"stream": {"service_name": "retry"}, "values": [[at, "once"]]}]}).encode()
    for _ in range(2):
        request = urllib.request.Request(filled.url("loki", "/loki/api/v1/push"), body, {"Content-Type": "application/json"})
        urllib.request.urlopen(request).close()
    eventually(lambda: lines_of(filled, "retry") == ["once"])


def test_lines_are_still_there_after_a_stop(filled):
    eventually(lambda: len(lines_of(filled)) == LINES)
    assert filled.stop() == 0, filled.log()
    filled.start()
    eventually(lambda: sorted(lines_of(filled)) == sorted(line(i) for i in range(LINES)))


def test_pyarrow_reads_the_segments(filled):
    files = segments(filled, "logs")
    if not files:
        pytest.skip("nothing was flushed to segments yet")
    tables = [pyarrow.parquet.read_table(f) for f in files]
    assert sum(t.num_rows for t in tables) >= LINES


def test_duckdb_asks_the_segments(filled):
    files = [str(f) for f in segments(filled, "logs")]
    if not files:
        pytest.skip("nothing was flushed to segments yet")
    connection = duckdb.connect()
    columns = {row[0]: row[1] for row in connection.execute("DESCRIBE SELECT * FROM read_parquet(?, union_by_name=true)", [files]).fetchall()}
    assert "time" in columns
    count, = connection.execute("SELECT count(*) FROM read_parquet(?, union_by_name=true)", [files]).fetchone()
    assert count >= LINES
    if "body.status:int" in columns:
        status = 'SELECT count(*) FROM read_parquet(?, union_by_name=true) WHERE "body.status:int" >= 500'
        assert connection.execute(status, [files]).fetchone()[0] == LINES // 4
        assert columns["body.duration_ms:dec2"].startswith("DECIMAL")
    else:
        lines = connection.execute("SELECT body FROM read_parquet(?, union_by_name=true)", [files]).fetchall()
        assert {line(i) for i in range(LINES)} <= {row[0] for row in lines}

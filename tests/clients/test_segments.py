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


@pytest.fixture(scope="module")
def settled(filled):
    """The same, with everything in segments, merged."""
    request = urllib.request.Request(filled.url("braid", "/api/admin/settle"), b"", method="POST")
    with urllib.request.urlopen(request, timeout=60) as response:
        assert response.status == 204
    return filled


def test_lines_in_segments_answer_as_before(settled):
    assert sorted(lines_of(settled)) == sorted(line(i) for i in range(LINES))
    query = '{service_name="segments"} |= "status\\":500"'
    answer = settled.json("loki", "/loki/api/v1/query_range", query=query, since="1h", limit=5000)
    found = [value[1] for stream in answer["data"]["result"] for value in stream["values"]]
    assert sorted(found) == sorted(line(i) for i in range(LINES) if i % 4 == 3)
    by_trace = f'{{service_name="segments"}} |= "{7:032x}"'
    answer = settled.json("loki", "/loki/api/v1/query_range", query=by_trace, since="1h")
    assert [v[1] for s in answer["data"]["result"] for v in s["values"]] == [line(7)]


def test_pyarrow_reads_the_segments(settled):
    tables = [pyarrow.parquet.read_table(f) for f in segments(settled, "logs")]
    assert sum(t.num_rows for t in tables) == LINES + 1
    columns = {name: t.schema.field(name).type for t in tables for name in t.schema.names}
    assert str(columns["body.status:int"]) == "int64"
    assert str(columns["body.trace_id:hex16"]) == "fixed_size_binary[16]"
    assert str(columns["time"]) == "timestamp[ns, tz=UTC]"


def test_duckdb_asks_the_segments(settled):
    files = [str(f) for f in segments(settled, "logs")]
    connection = duckdb.connect()
    asked = lambda what: connection.execute(f"{what} FROM read_parquet(?, union_by_name=true)", [files]).fetchall()
    columns = {row[0]: row[1] for row in asked("DESCRIBE SELECT *")}
    assert columns["time"].startswith("TIMESTAMP")
    assert columns["body.duration_ms:dec2"] == "DECIMAL(18,2)"
    assert asked("SELECT count(*)") == [(LINES + 1,)]
    where = 'WHERE "body.status:int" >= 500'
    status = connection.execute(f"SELECT count(*) FROM read_parquet(?, union_by_name=true) {where}", [files]).fetchone()
    assert status == (LINES // 4,)
    assert asked("""SELECT sum("body.duration_ms:dec2")""")[0][0] == sum(i + 0.5 for i in range(LINES))

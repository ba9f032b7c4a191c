"""The dashboards that ship, as Grafana's own client library reads them (`grafana-foundation-sdk`, made from Grafana's schemas): panels and
queries become its types, and nothing of a file is lost on the way there and back."""

import json
import pathlib

import pytest

dashboard = pytest.importorskip("grafana_foundation_sdk.models.dashboard", reason="grafana-foundation-sdk is not installed")
from grafana_foundation_sdk.cog import encoder, plugins
from grafana_foundation_sdk.models import bargauge, gauge, logs, loki, nodegraph, prometheus, stat, table, tempo, timeseries

plugins.register_default_plugins()
DIRECTORY = pathlib.Path(__file__).parents[2] / "ui/public/dashboards"
FILES = sorted(path for path in DIRECTORY.glob("*.json") if path.name != "index.json")
QUERIES = {"prometheus": prometheus.Dataquery, "loki": loki.Dataquery, "tempo": tempo.TempoQuery}
OPTIONS = {"bargauge": bargauge, "gauge": gauge, "logs": logs, "nodeGraph": nodegraph, "stat": stat, "table": table, "timeseries": timeseries}


def back(read):
    return json.loads(json.dumps(read, cls=encoder.JSONEncoder))


def lost(before, after, at=""):
    """What is in `before` and not, or otherwise, in `after`; nulls and empty lists may go."""
    if isinstance(before, dict):
        if not isinstance(after, dict):
            return [at]
        keys = [key for key, value in before.items() if value is not None and value != [] and value != {}]
        return [loss for key in keys for loss in (lost(before[key], after[key], f"{at}.{key}") if key in after else [f"{at}.{key}"])]
    if isinstance(before, list):
        if not isinstance(after, list) or len(after) != len(before):
            return [at]
        return [loss for i, (b, a) in enumerate(zip(before, after)) for loss in lost(b, a, f"{at}[{i}]")]
    return [] if before == after else [f"{at}: {before!r} became {after!r}"]


def panels(file):
    return [panel for panel in file["panels"] if panel["type"] != "row"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_of_a_shipped_dashboard_is_lost_in_grafanas_types(path):
    file = json.loads(path.read_text())
    read = dashboard.Dashboard.from_json(file)
    assert lost(file, back(read)) == []
    of_panels = [panel for panel in read.panels if isinstance(panel, dashboard.Panel)]
    assert len(of_panels) == len(panels(file))
    for raw, panel in zip(panels(file), of_panels):
        assert isinstance(panel.options, OPTIONS[raw["type"]].Options), raw["title"]
        for target, query in zip(raw["targets"], panel.targets, strict=True):
            assert isinstance(query, QUERIES[target["datasource"]["type"]]), raw["title"]


def test_what_grafana_does_not_know_is_noticed():
    file = json.loads((DIRECTORY / "end-to-end-tracing.json").read_text())
    file["panels"][0]["targets"][0]["tableTyp"] = "traces"
    assert lost(file, back(dashboard.Dashboard.from_json(file))) == [".panels[0].targets[0].tableTyp"]

"""The dashboard and the alerts ask for what is there; Grafana's own model and promtool read them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client.parser import text_string_to_metric_families

from affectd.config.sections import WebConfig
from affectd.mqtt.telemetry import Meter
from affectd.recognition.model_file import find_model, read_model
from affectd.web.metrics import Metrics
from documents import blocks, spans
from prometheus import ALERTS, REPOSITORY, dashboard, needs_prometheus, promtool, queries

PAGE = REPOSITORY / "docs" / "monitoring.md"
NAMES = re.compile(r"\b(?:affectd|process)_\w+")
STATE = {
    "version": "0",
    "device": "kitchen",
    "model": "0",
    "labels": ["happy"],
    "listening": True,
    "microphone": {"state": "healthy"},
    "broker": {"connected": True, "refused": [], "outbox": 0},
    "telemetry": {"dropped_seconds": 0.0, "overflows": 0, "outbox_dropped": 0, "events_dropped": {"file": 0}},
    "baseline": {"settled": 0.0},
}


def told() -> dict[str, set[str]]:
    """Return the names of all samples that a device tells, each with the names of its labels."""
    text = Metrics(Meter().durations).render(STATE)
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {sample.name: set(sample.labels) for sample in samples}


def asked() -> list[str]:
    """Return the queries of the dashboard, of the page and of the alerts."""
    return [*queries(), *examples(), *re.findall(r"expr: (?:>-\n)?((?:.+\n)+?) +(?:for|labels):", ALERTS.read_text())]


def alerts() -> list[str]:
    return re.findall(r"alert: (\w+)", ALERTS.read_text())


def test_every_query_asks_for_what_a_device_tells() -> None:
    names = told()
    assert len(asked()) == len(queries()) + len(examples()) + len(alerts())
    for query in asked():
        found = set(NAMES.findall(query))
        assert found <= set(names), query
        labels = set(re.findall(r"(\w+)=~?\"", query)) | {
            label for group in re.findall(r"by \(([\w, ]+)\)", query) for label in group.split(", ")
        }
        # Prometheus itself adds the other two.
        assert labels <= {label for name in found for label in names[name]} | {"instance", "job"}, query


def examples() -> list[str]:
    """Return the queries that the page gives as examples."""
    (block,) = blocks(PAGE, "promql")
    return [line for line in block.splitlines() if not line.startswith("#")]


def test_the_page_describes_every_figure_and_no_other() -> None:
    described = {name for span in spans(PAGE) for name in NAMES.findall(span) if span == name}
    assert described == {re.sub(r"_(bucket|sum|count)$", "", name) for name in told()}


def test_the_page_describes_every_alert_and_no_other() -> None:
    assert set(re.findall(r"^\| `(Affectd\w+)`", PAGE.read_text(), re.MULTILINE)) == set(alerts())


def differences(given: Any, kept: Any, path: str = "") -> list[str]:
    """Return where what was kept lacks what was given; it may have more."""
    if isinstance(given, dict) and isinstance(kept, dict):
        parts = [differences(value, kept.get(key), f"{path}.{key}") for key, value in given.items()]
        return [line for part in parts for line in part]
    if isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        parts = [differences(*pair, f"{path}[{i}]") for i, pair in enumerate(zip(given, kept, strict=True))]
        return [line for part in parts for line in part]
    return [] if given == kept else [f"{path}: {given!r} became {kept!r}"]


def kept_by_grafana(board: dict[str, Any]) -> dict[str, Any]:
    """Return a dashboard as Grafana's model of it has it: what that does not know is missing."""
    plugins.register_default_plugins()
    kept: dict[str, Any] = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(board)))
    return kept


def test_grafana_knows_every_field_of_the_dashboard() -> None:
    board = dashboard()
    assert differences(board, kept_by_grafana(board)) == []
    board["panels"][1]["options"]["textMod"] = "name"
    assert differences(board, kept_by_grafana(board)) == [".panels[1].options.textMod: 'name' became None"]


def test_the_panels_fill_the_width_and_lie_side_by_side() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        mine = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & mine, panel["title"]
        cells |= mine
    assert cells == {(x, y) for x in range(24) for y in range(max(y for _, y in cells) + 1)}
    numbers = [panel["id"] for panel in dashboard()["panels"]]
    assert len(set(numbers)) == len(numbers)


@needs_prometheus
def test_prometheus_understands_the_alerts_and_every_query(tmp_path: Path) -> None:
    done = promtool("check", "rules", ALERTS)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert f"{len(alerts())} rules found" in done.stdout
    rules = [{"record": f"query:{i}", "expr": query} for i, query in enumerate([*queries(), *examples()])]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = promtool("check", "rules", tmp_path / "rules.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_examples_on_the_page_have_the_port_and_the_job() -> None:
    (yaml,), (proxy,) = blocks(PAGE, "yaml"), blocks(PAGE, "nginx")
    ports = set(re.findall(r'\.local:(\d+)"', yaml)) | set(re.findall(r"127.0.0.1:(\d+);", proxy))
    assert ports == {str(WebConfig().port)}
    assert set(re.findall(r"job_name: (\w+)", yaml)) == set(re.findall(r'job="(\w+)"', ALERTS.read_text()))


@needs_prometheus
def test_prometheus_understands_its_settings_on_the_page(tmp_path: Path) -> None:
    (yaml,) = blocks(PAGE, "yaml")
    shutil.copy(ALERTS, tmp_path / "affectd.yml")
    (tmp_path / "token").touch()
    settings = tmp_path / "prometheus.yml"
    settings.write_text(yaml.replace("/etc/prometheus/affectd_token", str(tmp_path / "token")))
    done = promtool("check", "config", settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(alerts())} rules found" in done.stdout


ORDINARY = {
    'up{job="affectd"}': "1x120",
    "affectd_listening": "1x120",
    'affectd_microphone_state{state="healthy"}': "1x120",
    'affectd_microphone_state{state="failed"}': "0x120",
    'affectd_microphone_state{state="muted"}': "0x120",
    "affectd_sound_seconds_total": "0+60x120",
    "affectd_dropped_sound_seconds_total": "0x120",
    "affectd_broker_connected": "1x120",
    "affectd_outbox_events": "3x120",
    "affectd_outbox_dropped_events_total": "0x120",
    'affectd_sink_dropped_events_total{sink="file"}': "0x120",
}
CASES = {
    "all is well": ({}, set()),
    "the board is off": ({'up{job="affectd"}': "1x29 0x90"}, {"AffectdAway"}),
    "no sound comes in": ({"affectd_sound_seconds_total": "0+60x29 1800x90"}, {"AffectdDeaf"}),
    "the microphone is away": (
        {"affectd_listening": "1x29 0x90", "affectd_sound_seconds_total": "0+60x29 1800x90"},
        {"AffectdDeaf"},
    ),
    "muted": (
        {
            "affectd_listening": "1x29 0x90",
            "affectd_sound_seconds_total": "0+60x29 1800x90",
            'affectd_microphone_state{state="healthy"}': "1x29 0x90",
            'affectd_microphone_state{state="muted"}': "0x29 1x90",
        },
        set(),
    ),
    "sound is lost": ({"affectd_dropped_sound_seconds_total": "0+0.3x120"}, {"AffectdDropsSound"}),
    "a little sound is lost": ({"affectd_dropped_sound_seconds_total": "0x100 0.5x20"}, set()),
    "the microphone has failed": (
        {'affectd_microphone_state{state="failed"}': "0x29 1x90"},
        {"AffectdMicrophoneUnfit"},
    ),
    "the broker is away and nothing happens": ({"affectd_broker_connected": "1x29 0x90"}, {"AffectdBrokerAway"}),
    "a short outage": ({"affectd_broker_connected": "1x102 0x17", "affectd_outbox_events": "0x102 0+9x17"}, set()),
    "the outbox grows": ({"affectd_outbox_events": "0+2x120"}, {"AffectdOutboxGrows"}),
    "the outbox is being emptied": ({"affectd_outbox_events": "900-2x120"}, set()),
    "the outbox is full": ({"affectd_outbox_dropped_events_total": "0+1x120"}, {"AffectdLosesEvents"}),
    "the file takes nothing": (
        {'affectd_sink_dropped_events_total{sink="file"}': "0+1x120"},
        {"AffectdLosesEvents"},
    ),
}


@needs_prometheus
def test_the_alerts_are_given_when_they_should(tmp_path: Path) -> None:
    """Two hours, a value each minute; promtool evaluates the rules as Prometheus would."""
    tests = []
    for name, (changed, given) in CASES.items():
        series = {**ORDINARY, **changed}
        # In a list, a vector with one element for each alert that is given, by its name alone.
        expected = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(given)]
        expression = 'max by (alertname) (ALERTS{alertstate="firing"})'
        tests.append(
            {
                "name": name,
                "interval": "1m",
                "input_series": [
                    {"series": with_instance(metric), "values": values} for metric, values in series.items()
                ],
                "promql_expr_test": [{"expr": expression, "eval_time": "110m", "exp_samples": expected}],
            }
        )
    assert {alert for _, given in CASES.values() for alert in given} == set(alerts())
    (tmp_path / "test.yml").write_text(json.dumps({"rule_files": [str(ALERTS)], "tests": tests}))
    done = promtool("test", "rules", tmp_path / "test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def with_instance(metric: str) -> str:
    """Return a series with the labels that Prometheus gives it."""
    labels = {"instance": '"kitchen:8080"', "job": '"affectd"'}
    name, _, rest = metric.partition("{")
    own = dict(re.findall(r'(\w+)=("[^"]*")', rest))
    return f"{name}{{{','.join(f'{label}={value}' for label, value in {**labels, **own}.items())}}}"


def test_the_model_that_ships_has_labels_that_the_dashboard_colors() -> None:
    if not find_model().exists():
        pytest.skip("no model file")
    labels = {*read_model(find_model()).labels, "uncertain"}
    for title in ("Utterances", "Labels in this time"):
        (panel,) = [panel for panel in dashboard()["panels"] if panel["title"] == title]
        assert {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]} == labels

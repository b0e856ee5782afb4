"""A real Prometheus for tests, its tool, and the queries of the dashboard and the alerts."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from broker import PATIENCE_SECONDS, free_port, wait_until

REPOSITORY = Path(__file__).parents[1]
DASHBOARD = REPOSITORY / "scripts" / "monitoring" / "grafana.json"
ALERTS = REPOSITORY / "scripts" / "monitoring" / "alerts.yml"
PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
needs_prometheus = pytest.mark.skipif(
    PROMETHEUS is None or PROMTOOL is None, reason="Prometheus is not installed (apt install prometheus)"
)


def promtool(*arguments: str | Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None
    return subprocess.run([PROMTOOL, *arguments], input=text, capture_output=True, text=True, timeout=60, check=False)


def dashboard() -> dict[str, Any]:
    board: dict[str, Any] = json.loads(DASHBOARD.read_text("utf-8"))
    return board


def queries(range_seconds: int = 300) -> list[str]:
    """Return the queries of the dashboard, its variables replaced as Grafana does it: every device, this time."""
    found = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])]
    values = {"$instance": ".+", "$__rate_interval": f"{range_seconds}s", "$__range": f"{range_seconds}s"}
    replaced = [re.sub(r"\$\w+", lambda match: values[match[0]], query) for query in found]
    assert replaced
    return replaced


class Prometheus:
    """A Prometheus on the loopback interface; its ``with`` block stops it.

    It asks one target, every second unless `scrape` has another ``scrape_interval``.
    """

    def __init__(self, folder: Path, target: str, **scrape: Any) -> None:
        self._folder = folder / "prometheus"
        self._folder.mkdir()
        job = {"job_name": "affectd", "static_configs": [{"targets": [target]}], **scrape}
        # JSON is YAML.
        self._settings = self._folder / "prometheus.yml"
        interval = scrape.get("scrape_interval", "1s")
        settings = {
            "global": {"scrape_interval": interval, "evaluation_interval": interval},
            "rule_files": [str(ALERTS)],
            "scrape_configs": [job],
        }
        self._settings.write_text(json.dumps(settings))
        self._port = free_port()

    def __enter__(self) -> Self:
        assert PROMETHEUS is not None
        self._log = (self._folder / "log").open("wb")
        options = [f"--config.file={self._settings}", f"--storage.tsdb.path={self._folder / 'data'}"]
        self._process = subprocess.Popen(
            [PROMETHEUS, *options, f"--web.listen-address=127.0.0.1:{self._port}"], stdout=self._log, stderr=self._log
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait(PATIENCE_SECONDS)
        self._log.close()

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer of its API; fails if that is an error."""
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as answer:
            told = json.load(answer)
        assert told["status"] == "success", told
        return told["data"]

    def query(self, query: str) -> list[dict[str, Any]]:
        """Return the samples that a query gives now."""
        found: list[dict[str, Any]] = self.ask("query", query=query)["result"]
        return found

    def wait_for(self, query: str, seconds: float = 2 * PATIENCE_SECONDS) -> list[dict[str, Any]]:
        """Return what a query gives as soon as it gives something."""
        found: list[dict[str, Any]] = []

        def is_there() -> bool:
            nonlocal found
            try:
                found = self.query(query)
            except OSError:  # it is not up yet
                time.sleep(0.1)
            return bool(found)

        wait_until(is_there, seconds, f"{query}; {(self._folder / 'log').read_text()[-2000:]}")
        return found

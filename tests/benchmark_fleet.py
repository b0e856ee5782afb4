#!/usr/bin/env python3
"""What it costs to watch a fleet as docs/fleet.md has it: a broker, a store, an exporter and Prometheus.

All run on this machine, and the devices (many_clients.py), too. Each says something twice a minute, two or three events
and as many states, and reports its telemetry every minute. As root it takes as many files as there are connections.

    python tests/benchmark_fleet.py                             # 50, 500 and 5,000 devices, 8 minutes
    python tests/benchmark_fleet.py --devices 50 --seconds 20   # only to see that it works
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from broker import Broker, Subscriber, wait_until
from watched_fleet import Many, Store, broker_settings, telemetry_pipe

# With the four seconds of an utterance, two in a minute.
PAUSE_SECONDS = 26.0
PERIOD_SECONDS = 60.0
CLIENTS: dict[str, Any] = {"program": "many_clients.py", "a_process": 2500}
_SETTLE_SECONDS = 65.0
_PATIENCE_SECONDS = 400.0
_RECEIVED, _SENT = (f"$SYS/broker/messages/{way}" for way in ("received", "sent"))


def cost(pid: int) -> tuple[float, float]:
    """Return the processor seconds of a process so far, and its memory, MB."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), resident / 1e6


def measure(folder: Path, n: int, seconds: float) -> dict[str, Any]:
    """Watch so many devices for so long."""
    with (
        Broker(folder, *broker_settings(folder), log="error") as broker,
        Store(folder, broker.port) as store,
        telemetry_pipe(folder, broker.port, "15s") as (prometheus, exporter),
        Subscriber(broker.observer_port, _RECEIVED, _SENT) as figures,
        Many(folder, broker.port, n, pause_seconds=PAUSE_SECONDS, period_seconds=PERIOD_SECONDS, **CLIENTS) as many,
    ):
        wait_until(lambda: many.log.count("connected to the broker") >= n, _PATIENCE_SECONDS, "all are there")
        time.sleep(_SETTLE_SECONDS)
        pids = {"broker": broker.pid, "store": store.pid, "exporter": exporter, "prometheus": prometheus.pid}
        began, told, made, before = time.monotonic(), len(figures.messages), len(many.ids), costs(pids)
        time.sleep(seconds)
        passed, after, n_made = time.monotonic() - began, costs(pids), len(many.ids) - made
        behind = len(many.ids) - len(store.ids())
        wait_until(lambda: len(figures.messages) >= told + 4, what="the broker says how much it passed on")
        parts = {
            name: {
                "cpu_percent": round(100 * (after[name][0] - before[name][0]) / passed, 1),
                "mb": round(after[name][1]),
            }
            for name in pids
        }
        (reporting,) = prometheus.query("count(affectd_muted)") or [{"value": [0, "0"]}]
        many.finish(_PATIENCE_SECONDS)
        wait_until(lambda: set(many.ids) <= store.ids(), _PATIENCE_SECONDS, "all events are in the store")
        rates = [rate([m for m in figures.messages[told:] if m.topic == topic]) for topic in (_RECEIVED, _SENT)]
        return {
            "devices": n,
            "events_a_second": round(n_made / passed, 1),
            "in_a_second": rates[0],
            "out_a_second": rates[1],
            "not_in_store_yet": behind,
            "reporting": int(reporting["value"][1]),
            "lost": len(set(many.ids) - store.ids()),
            **parts,
        }


def costs(pids: dict[str, int]) -> dict[str, tuple[float, float]]:
    """Return the cost of each process so far."""
    return {name: cost(pid) for name, pid in pids.items()}


def rate(messages: list[Any]) -> float:
    """Return by how much a figure of the broker grew in a second."""
    first, last = messages[0], messages[-1]
    return round((int(last.payload) - int(first.payload)) / max(last.at - first.at, 1e-3), 1)


def row(result: dict[str, Any]) -> str:
    """Return a row of the table."""
    names = ("broker", "store", "exporter", "prometheus")
    parts = [f"{result[name]['cpu_percent']:.1f} %, {result[name]['mb']} MB" for name in names]
    rates = [f"{result[key]:.0f}" for key in ("events_a_second", "in_a_second", "out_a_second")]
    return "| " + " | ".join([f"{result['devices']:,}", *rates, *parts]) + " |"


def main() -> int:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--devices", type=int, nargs="+", default=[50, 500, 5000], help="how many (default: 50 500 5000)"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each is watched (default: 60)")
    parser.add_argument("--json", action="store_true", help="print JSON objects instead of a table")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    results = []
    for n in options.devices:
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure(Path(folder), n, options.seconds))
        print(json.dumps(results[-1]) if options.json else row(results[-1]), flush=True)
    return 0 if not any(result["lost"] for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())

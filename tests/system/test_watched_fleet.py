"""Many simulated devices, watched as docs/fleet.md has it: a real Mosquitto, exporter and Prometheus, and a store."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from broker import Broker, needs_mosquitto, wait_until
from prometheus import needs_prometheus, promtool, queries
from watched_fleet import Many, Store, block, broker_settings, needs_exporter, telemetry_pipe

PATIENCE_SECONDS = 120.0


@needs_mosquitto
@pytest.mark.parametrize(
    ("n", "pause_seconds", "pass_seconds"),
    [pytest.param(20, 0.3, 0.5, id="20"), pytest.param(500, 20.0, 10.0, id="500", marks=pytest.mark.slow)],
)
def test_no_event_is_lost_at_the_store_while_the_broker_is_killed_three_times(
    n: int, pause_seconds: float, pass_seconds: float, tmp_path: Path
) -> None:
    with Broker(tmp_path, *broker_settings(tmp_path), log="notice") as broker, Store(tmp_path, broker.port) as store:
        wait_until(lambda: b"affectd/+/event" in (broker.save(), saved(tmp_path))[1], what="the session of the store")
        with Many(tmp_path, broker.port, n, pause_seconds=pause_seconds, period_seconds=60.0) as many:
            for n_lost in range(3):
                all_there = lambda: many.log.count("connected to the broker") >= (n_lost + 1) * n  # noqa: B023, E731
                wait_until(all_there, PATIENCE_SECONDS, "every device is there (again)")
                lose_for_a_while(broker, many, store, random.uniform(0.0, 1.0) * pass_seconds)  # at any moment
            many.finish()
        wait_until(lambda: set(many.ids) <= store.ids(), PATIENCE_SECONDS, "all of them are in the store")
        assert store.ids() == set(many.ids)
        assert many.log.count("no connection to the broker") >= 3 * n
        told = store.query(block("how each device was heard"))
        assert {device for device, _, _ in told} <= {f"device-{number:05}" for number in range(n)}
        print(f"{n} devices, broker killed 3 times: {len(many.ids)} events made, {len(store.ids())} in the store")


@needs_mosquitto
def test_a_store_that_is_killed_has_every_event_once_it_is_back(tmp_path: Path) -> None:
    with (
        Broker(tmp_path, *broker_settings(tmp_path), log="notice") as broker,
        Store(tmp_path, broker.port) as store,
        Many(tmp_path, broker.port, 10, pause_seconds=0.2, period_seconds=60.0) as many,
    ):
        for _ in range(2):
            lose_for_a_while(store, many, store)
        many.finish()
        wait_until(lambda: set(many.ids) <= store.ids(), PATIENCE_SECONDS, "all of them are in the store")


def lose_for_a_while(lost: Broker | Store, many: Many, store: Store, after_seconds: float = 0.0) -> None:
    """Kill a part once a further event is in the store, and start it again when it has missed one."""
    n_kept = len(store.ids())
    wait_until(lambda: len(store.ids()) > n_kept, PATIENCE_SECONDS, "an event comes")
    time.sleep(after_seconds)
    lost.kill()
    n_made = len(many.ids)
    wait_until(lambda: len(many.ids) > n_made, PATIENCE_SECONDS, "an event while it is away")
    lost.start()


def saved(folder: Path) -> bytes:
    file = folder / "mosquitto.db"
    return file.read_bytes() if file.exists() else b""


@needs_mosquitto
@needs_exporter
@needs_prometheus
def test_the_dashboard_shows_the_telemetry_of_every_device(tmp_path: Path) -> None:
    names = {f"device-{number:05}" for number in range(5)}
    with (
        Broker(tmp_path) as broker,
        telemetry_pipe(tmp_path, broker.port) as (prometheus, _),
        Many(tmp_path, broker.port, 5, pause_seconds=0.5, period_seconds=1.0) as many,
    ):
        told = ("level_dbfs", "outbox_events", "outbox_dropped", "dropped_sound", "overflows", "resident")
        asked = [query for query in queries() if any(name in query for name in told)]
        assert len(asked) == len(told)
        for query in asked:
            wait_until(lambda: devices(prometheus.wait_for(query)) == names, what=query)  # noqa: B023
        (memory, *_) = prometheus.query("process_resident_memory_bytes{instance='device-00000'}")
        assert 2e7 < float(memory["value"][1]) < 1e9
        (count, waiting) = (line for line in block("which devices are there").splitlines() if line[0] != "#")
        assert [row["value"][1] for row in prometheus.query(count)] == ["5"]
        assert devices(prometheus.query(waiting)) <= names
        many.finish()


def devices(samples: list[dict[str, dict[str, str]]]) -> set[str]:
    return {sample["metric"]["instance"] for sample in samples if "device" in sample["metric"]["instance"]}


@needs_prometheus
def test_prometheus_understands_its_settings(tmp_path: Path) -> None:
    (tmp_path / "prometheus.yml").write_text(block("/etc/prometheus/prometheus.yml"))
    (tmp_path / "affectd.yml").write_text("groups: []")
    done = promtool("check", "config", tmp_path / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr

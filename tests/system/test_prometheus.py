"""A real Prometheus asks the real program, which hears a microphone and publishes to a broker."""

from __future__ import annotations

import json
import math
import os
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from broker import PATIENCE_SECONDS, Broker, free_port, needs_mosquitto, wait_until
from prometheus import Prometheus, needs_prometheus, promtool, queries
from room import Program, Room, needs_room
from sounds import gain, syllables, write_wav

TOKEN = "0123456789abcdef"
RANGE_SECONDS = 120

pytestmark = [*needs_room, needs_prometheus, needs_mosquitto]


@pytest.fixture
def room(tmp_path: Path) -> Room:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "token").chmod(0o600)
    return Room(tmp_path)


def started_seconds(pid: int) -> float:
    """Return when a process started, seconds since the epoch, as the folder of the process has it."""
    boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return float(boot.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")


def test_every_query_of_the_dashboard_has_an_answer(tmp_path: Path, room: Room) -> None:
    port, events = free_port(), tmp_path / "events.jsonl"
    settings: dict[str, object] = {
        "WEB_ENABLED": "true",
        "WEB_PORT": port,
        "WEB_TOKEN_FILE": tmp_path / "token",
        "FILE_PATH": events,
    }
    access = {"authorization": {"credentials_file": str(tmp_path / "token")}}
    speech = write_wav(tmp_path / "speech.wav", gain(syllables(2.5), -20))
    with Broker(tmp_path) as broker, Prometheus(tmp_path, f"127.0.0.1:{port}", **access) as prometheus:
        settings |= {"MQTT_ENABLED": "true", "MQTT_HOST": "127.0.0.1", "MQTT_PORT": broker.port}
        room.environment |= {f"AFFECTD_{key}": str(value) for key, value in settings.items()}
        room.environment |= {"STATE_DIRECTORY": str(tmp_path / "state"), "RUNTIME_DIRECTORY": str(tmp_path / "runtime")}
        room.start()
        try:
            with Program(room) as program:
                prometheus.wait_for("affectd_listening == 1 and affectd_level_dbfs > -100")
                prometheus.wait_for('affectd_microphone_state{state="healthy"} == 1')
                prometheus.wait_for("affectd_broker_connected == 1")
                for n in (1, 2):
                    room.play(speech)
                    wait_until(lambda n=n: written(events)["end"] >= n, 60)  # type: ignore[misc]
                wait_until(lambda: counted(prometheus) == written(events), 60)
                for query in queries(RANGE_SECONDS):
                    found = prometheus.wait_for(query)
                    assert all(math.isfinite(float(sample["value"][1])) for sample in found), (query, found)
                (started,) = prometheus.wait_for("process_start_time_seconds")
                assert float(started["value"][1]) == pytest.approx(started_seconds(program.process.pid), abs=1.1)
                prometheus.wait_for(f"deriv(affectd_sound_seconds_total[{RANGE_SECONDS}s]) > 0.5 < 1.5")
                assert_guarded(f"http://127.0.0.1:{port}/metrics")
                broker.kill()
                prometheus.wait_for("affectd_broker_connected == 0")
                prometheus.wait_for('ALERTS{alertname="AffectdBrokerAway",alertstate="pending"}')
        finally:
            room.stop()


def written(path: Path) -> Counter[str]:
    """Return the emotion events in a file, by phase."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    events = [json.loads(line) for line in lines if line.endswith("\n")]
    return Counter(event["phase"] for event in events if event["type"] == "emotion")


def counted(prometheus: Prometheus) -> Counter[str]:
    """Return the emotion events that Prometheus knows of, by phase."""
    samples = prometheus.query("sum by (phase) (affectd_events_total)")
    return Counter({sample["metric"]["phase"]: int(sample["value"][1]) for sample in samples})


def assert_guarded(url: str) -> None:
    """Fail unless the token opens it and nothing else does, and promtool has nothing to object to."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url, timeout=PATIENCE_SECONDS)
    assert refused.value.code == 401
    refused.value.close()
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
        assert answer.headers["Content-Type"] == CONTENT_TYPE_PLAIN_0_0_4
        checked = promtool("check", "metrics", text=answer.read().decode())
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")

"""The app for Home Assistant: its image made by the steps of its Dockerfile in a real Debian, and begun as there.

Around it are what Home Assistant puts around an app: a sound server, a broker with a password, a Supervisor that
knows the broker, and the address that ingress comes from. Needs what roots.py, room.py and broker.py need.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker import MOSQUITTO, needs_mosquitto, password_file, wait_until
from room import Room, needs_room
from roots import REPOSITORY, Device, bootstrap
from test_home_assistant_files import APP, CONFIG_FILE, dockerfile

DEMO = REPOSITORY / "tests/data/demo.wav"
# Of the Supervisor, and of an app.
SUPERVISOR, ADDRESS = "172.30.32.2", "172.30.33.7"
# supervisor/data/asound.tmpl and pulse-client.tmpl
ASOUND = """
pcm.!default {
    type pulse
    hint {
        show on
        description "Default ALSA Output (Home Assistant PulseAudio Sound Server)"
    }
}
ctl.!default { type pulse }
"""
PULSE = "default-server = unix:///run/audio/native\nautospawn = no\n"
# In a network of its own: the addresses, the Supervisor, the broker; then it waits to be told to end.
NETWORK = """
import http.server, json, os, pathlib, subprocess, sys, threading
for command in sys.argv[4:]:
    subprocess.run(["ip", *command.split()], check=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        assert self.headers["Authorization"] == "Bearer the-token"
        about = {"host": "127.0.0.1", "port": 1883, "ssl": False, "username": "addons", "password": "s3cret"}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"result": "ok", "data": about}).encode())
threading.Thread(target=http.server.HTTPServer(("127.0.0.1", 80), Handler).serve_forever, daemon=True).start()
broker = subprocess.Popen([sys.argv[1], "-c", sys.argv[2]])
pathlib.Path(sys.argv[3]).touch()
sys.stdin.read()
broker.kill()
"""

pytestmark = [
    pytest.mark.slow,
    needs_mosquitto,
    *needs_room,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> tuple[Device, dict[str, str], list[str]]:
    """Make the image; return it, its environment, and the command it begins with."""
    folder = tmp_path_factory.mktemp("image")
    for name in ("apps", "settings"):
        (folder / name).mkdir()
    subprocess.run([REPOSITORY / "scripts/home-assistant/install", folder / "apps", folder / "settings"], check=True)
    steps = dockerfile()
    (suite,) = (re.fullmatch(r"debian:(\w+)-slim", given)[1] for kind, given in steps if kind == "FROM")  # type: ignore[index]
    device = Device([bootstrap(suite)], folder / "device", {"/context": folder / "apps/affectd"})
    environment: dict[str, str] = {}
    command: list[str] = []
    for kind, given in steps:
        if kind == "RUN":
            # PIP_CERT is for a proxy of packages that this machine may have.
            device.output("sh", "-euc", given, network=True)
        elif kind == "COPY":
            *sources, target = given.split()
            device.output("mkdir", "-p", target)
            for source in sources:
                path = f"/context/{source}"
                device.output("cp", "-r", f"{path}/." if (folder / "apps/affectd" / source).is_dir() else path, target)
        elif kind == "ENV":
            environment |= dict(word.split("=", 1) for word in shlex.split(given))
        elif kind == "CMD":
            command = json.loads(given)
        else:
            assert kind in ("FROM", "ARG", "LABEL"), kind
    return device, environment, command


class House:
    """What is around the app; `inside` runs a command in its network."""

    def __init__(self, folder: Path) -> None:
        self._there = folder / "there"
        settings = ["user root", "log_dest stderr", "listener 1883 127.0.0.1", "allow_anonymous false"]
        settings.append(f"password_file {password_file(folder, addons='s3cret')}")
        (folder / "mosquitto.conf").write_text("\n".join(settings) + "\n")
        addresses = ["link set lo up", f"addr add {SUPERVISOR}/32 dev lo", f"addr add {ADDRESS}/32 dev lo"]
        program = [sys.executable, "-c", NETWORK, MOSQUITTO, folder / "mosquitto.conf", self._there, *addresses]
        self._process = subprocess.Popen(["unshare", "--net", *map(str, program)], stdin=subprocess.PIPE)
        wait_until(self._there.exists, what="the network is there")

    def inside(self, *words: str) -> list[str]:
        return ["nsenter", f"--net=/proc/{self._process.pid}/ns/net", *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.inside(*words), capture_output=True, text=True, check=False, timeout=60)

    def get(self, path: str, origin: str) -> int:
        """Return the status of an answer on the port of ingress, to a visitor from this address."""
        url = f"http://{ADDRESS}:{CONFIG_FILE['ingress_port']}/{path}"
        done = self.run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--interface", origin, url)
        return int(done.stdout)

    def said(self, topic: str, seconds: int = 30) -> str:
        """Return the next message of a topic."""
        login = ["-h", "127.0.0.1", "-u", "addons", "-P", "s3cret"]
        return self.run("mosquitto_sub", *login, "-C", "1", "-W", str(seconds), "-t", topic).stdout.strip()

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.end()


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    (tmp_path / "room").mkdir()
    room = Room(tmp_path / "room")
    room.start()
    yield room
    room.stop(signal.SIGKILL)


def test_the_app_hears_its_microphone_and_shows_its_page_to_home_assistant_alone(
    tmp_path: Path, image: tuple[Device, dict[str, str], list[str]], house: House, room: Room
) -> None:
    made, environment, command = image
    app = made.on_top(tmp_path / "app")
    (sound,) = (path for path in (room.folder / "run").rglob("native"))
    app.shared |= {"/run/audio": sound.parent}
    for path, text in {
        "etc/asound.conf": ASOUND,
        "etc/pulse/client.conf": PULSE,
        "etc/hosts": "127.0.0.1 localhost supervisor\n",
        "data/options.json": json.dumps(CONFIG_FILE["options"]),
    }.items():
        (app.upper / path).parent.mkdir(exist_ok=True)
        (app.upper / path).write_text(text)
    given = [f"{name}={value}" for name, value in {**environment, "SUPERVISOR_TOKEN": "the-token"}.items()]
    words = house.inside(*app.command("env", *given, *command, network=True))
    log = tmp_path / "log"
    with log.open("wb") as output, subprocess.Popen(words, stdout=output, stderr=output) as process:
        try:
            wait_until(lambda: house.said("affectd/home/status") == "online", 60, "the app logs in at the broker")
            wait_until(lambda: state(house)["microphone"] == "healthy", 60, "the microphone is heard")
            assert json.loads(house.said("homeassistant/device/affectd_home/config"))["cmps"]["listen"]["name"]
            # Only what comes from Home Assistant is let through.
            wait_until(lambda: house.get("healthz", SUPERVISOR) == 200, 60, "the page says that all is well")
            assert house.get("", SUPERVISOR) == 200
            assert {house.get(path, ADDRESS) for path in ("", "healthz", "state")} == {403}
            subscriber = subprocess.Popen(
                house.inside("mosquitto_sub", "-u", "addons", "-P", "s3cret", "-C", "2", "-t", "affectd/home/event"),
                stdout=subprocess.PIPE,
                text=True,
            )
            room.play(DEMO)
            heard, _ = subscriber.communicate(timeout=60)
            assert [json.loads(line)["type"] for line in heard.splitlines()] == ["emotion", "emotion"]
        except BaseException:
            print(log.read_text())
            raise
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, log.read_text()
    assert (app.upper / "data/state/devices/home").is_dir()
    assert "ERROR" not in log.read_text()
    assert (APP / "run.py").read_text() == (made.upper / "app/run.py").read_text()


def state(house: House) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(house.said("affectd/home/state"))
    return found

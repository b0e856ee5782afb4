"""A room for tests: a PulseAudio sink whose monitor is the microphone, and `affectd run` listening in it."""

from __future__ import annotations

import importlib.util
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affectd.recognition.model_file import find_model
from sounds import gain, noise, write_wav

ALSA = Path("/usr/share/alsa/alsa.conf")
REPOSITORY = Path(__file__).parents[1]
BED_DBFS = -62.0  # peak of the noise that is always there, as in any room
BED_SECONDS = 180.0

needs_card = [
    pytest.mark.skipif(importlib.util.find_spec("pyaudio") is None, reason="PyAudio is not installed"),
    pytest.mark.skipif(not ALSA.is_file(), reason=f"no ALSA configuration at {ALSA}"),
    pytest.mark.skipif(not find_model().exists(), reason="no model file"),
]
needs_room = [
    pytest.mark.skipif(importlib.util.find_spec("pyaudio") is None, reason="PyAudio is not installed"),
    pytest.mark.skipif(not shutil.which("pulseaudio") or not shutil.which("paplay"), reason="no PulseAudio"),
    pytest.mark.skipif(
        not list(Path("/usr/lib").glob("*/alsa-lib/libasound_module_pcm_pulse.so")),
        reason="ALSA's pulse plugin is not installed (libasound2-plugins)",
    ),
    pytest.mark.skipif(not find_model().exists(), reason="no model file"),
]


def file_card(folder: Path, samples: np.ndarray) -> dict[str, str]:
    """Return an environment whose microphone is ALSA's file plugin: 16-bit samples over and over, as fast as it can."""
    samples.astype("<i2").tofile(folder / "sound.raw")
    (folder / "asoundrc").write_text(
        f'<{ALSA}>\npcm.!default {{ type file slave.pcm null file /dev/null infile "{folder}/sound.raw" '
        'format raw hint { show on description "a file" } }\n'
    )
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "ALSA_CONFIG_PATH": str(folder / "asoundrc"),
        "JACK_NO_START_SERVER": "1",
    }


class Room:
    """A sound server of its own, with one null sink: what is played into it is what the microphone hears."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "run").mkdir(mode=0o700)
        (folder / "asoundrc").write_text(
            f'<{ALSA}>\npcm.!default {{ type pulse hint {{ show on description "the room" }} }}\n'
        )
        self.environment = {
            **os.environ,
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "PULSE_RUNTIME_PATH": str(folder / "run"),
            "ALSA_CONFIG_PATH": str(folder / "asoundrc"),
            "JACK_NO_START_SERVER": "1",
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "edge"), os.environ.get("PYTHONPATH", "")]),
        }
        write_wav(folder / "bed.wav", gain(noise("pink", BED_SECONDS), BED_DBFS))
        self._server: subprocess.Popen[bytes] | None = None
        self._bed: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server, and the noise of the room with it."""
        modules = ["module-native-protocol-unix", "module-null-sink sink_name=room rate=48000 channels=2"]
        self._server = subprocess.Popen(
            ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", *(f"--load={m}" for m in modules)],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        # Once sound can be played, everything is there; a client waits for nothing by itself.
        while self._run("pactl", "info").returncode:
            assert self._server.poll() is None, "the sound server does not start"
        self.sound()

    def sound(self) -> None:
        """Let there be the noise of a room."""
        self._bed = subprocess.Popen(["paplay", str(self.folder / "bed.wav")], env=self.environment)

    def hush(self) -> None:
        """Leave nothing but digital silence."""
        assert self._bed is not None
        self._bed.kill()
        self._bed.wait()
        self._bed = None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop the server and wait until it is gone."""
        for process in (self._server, self._bed):
            if process is not None:
                process.send_signal(signal.SIGCONT)
                process.send_signal(number)
                process.wait(timeout=30)
        self._server = self._bed = None

    def signal(self, number: signal.Signals) -> None:
        assert self._server is not None
        self._server.send_signal(number)

    def play(self, path: Path) -> None:
        """Play a file and return when it has been heard."""
        self._run("paplay", str(path)).check_returncode()

    @property
    def n_listeners(self) -> int:
        """How many programs have the microphone open, as the sound server knows."""
        return len(self._listeners())

    @property
    def n_openings(self) -> int:
        """How often the microphone has been opened so far; to look opens it once more."""
        with subprocess.Popen(["parec"], env=self.environment, stdout=subprocess.PIPE) as look:
            assert look.stdout is not None
            look.stdout.read(1)  # the server numbers them in order
            numbers = [int(line.split()[0]) for line in self._listeners()]
            look.kill()
        return max(numbers)

    def _listeners(self) -> list[str]:
        done = self._run("pactl", "list", "short", "source-outputs")
        done.check_returncode()
        return done.stdout.decode().splitlines()

    def _run(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(command, env=self.environment, capture_output=True, timeout=120, check=False)


class Program:
    """`affectd run` on the microphone of a room."""

    def __init__(self, room: Room, *options: str) -> None:
        self.log = room.folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "affectd", "run", *options],
                env=room.environment,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._reader.join()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self._events.put(json.loads(line))

    def wait_for(self, wanted: Callable[[dict[str, Any]], bool], seconds: float) -> dict[str, Any]:
        """Return the first such event from now on; fails if it does not come in this time."""
        deadline = threading.Event()
        timer = threading.Timer(seconds, lambda: (deadline.set(), self._events.put({})))
        timer.start()
        try:
            while True:
                event = self._events.get()
                assert not deadline.is_set(), f"nothing within {seconds} s; log: {self.log.read_text()}"
                if wanted(event):
                    return event
        finally:
            timer.cancel()

    def wait_for_state(self, state: str, seconds: float) -> dict[str, Any]:
        return self.wait_for(lambda event: event.get("state") == state, seconds)

    def kill(self) -> None:
        """End it without giving it time for anything."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> list[dict[str, Any]]:
        """End it as systemd does, and return the events that were not waited for."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)
        self._reader.join()
        return list(self._events.queue)

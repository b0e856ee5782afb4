"""A paced sound card through the real PyAudio, PortAudio and ALSA: a PulseAudio sink whose monitor is the microphone.

Stopping the server is pulling the plug.
"""

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
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affectd.classifier import Classifier
from affectd.classify import classify_recording
from affectd.config import Config
from affectd.model_file import default_model_path, read_model
from sounds import SAMPLE_RATE, gain, noise, recording

ALSA = Path("/usr/share/alsa/alsa.conf")
REPOSITORY = Path(__file__).parents[2]
BED_DBFS = -62.0  # peak of the noise that is always there, as in any room
BED_SECONDS = 180.0
PAUSE_SECONDS = 2.0

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("pyaudio") is None, reason="PyAudio is not installed"),
    pytest.mark.skipif(not shutil.which("pulseaudio") or not shutil.which("paplay"), reason="no PulseAudio"),
    pytest.mark.skipif(
        not list(Path("/usr/lib").glob("*/alsa-lib/libasound_module_pcm_pulse.so")),
        reason="ALSA's pulse plugin is not installed (libasound2-plugins)",
    ),
    pytest.mark.skipif(not default_model_path().exists(), reason="no model file"),
]


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
        # Once somebody can play, everything is there; a client waits for nothing by itself.
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
        self.process.kill()
        self.process.wait()
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

    def stop(self) -> list[dict[str, Any]]:
        """End it as systemd does, and return the events that nobody waited for."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)
        self._reader.join()
        return list(self._events.queue)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    room = Room(tmp_path)
    room.start()
    yield room
    room.stop(signal.SIGKILL)


@pytest.fixture
def program(room: Room) -> Iterator[Program]:
    with Program(room) as program:
        yield program


def write_wav(path: Path, samples: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((samples * 32767).round().astype("<i2").tobytes())
    return path


def firm_recordings(speech_data: Path) -> list[np.ndarray]:
    """One recording for each label that the network is sure of, so that no label hangs on where a frame begins."""
    classifier = Classifier(read_model(default_model_path()))
    firm: dict[str, np.ndarray] = {}
    for path in sorted((speech_data / "ravdess/Actor_01").glob("*.flac")):
        samples = recording(path)
        result = classify_recording([samples], classifier, Config())
        if result.probability >= 0.6:
            firm.setdefault(result.label, samples)
    return list(firm.values())


def test_speech_played_into_the_sink_gives_the_labels_of_the_file(
    room: Room, program: Program, speech_data: Path, tmp_path: Path
) -> None:
    pause = np.zeros(round(PAUSE_SECONDS * SAMPLE_RATE), np.float32)
    speech = np.concatenate([part for samples in firm_recordings(speech_data) for part in (pause, samples)] + [pause])
    file = write_wav(tmp_path / "file.wav", speech + gain(noise("pink", BED_SECONDS), BED_DBFS)[: len(speech)])
    from_file = subprocess.run(
        [sys.executable, "-m", "affectd", "run", "--source", str(file)],
        env=room.environment,
        capture_output=True,
        check=True,
        timeout=120,
    )
    program.wait_for_state("healthy", 20)
    room.play(write_wav(tmp_path / "speech.wav", speech))

    def ends(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [event for event in events if event.get("phase") == "end"]

    expected = ends([json.loads(line) for line in from_file.stdout.splitlines()])
    heard = ends(program.stop())
    assert len(expected) >= 4
    assert len({event["label"] for event in expected}) >= 3
    shift = heard[0]["start_seconds"] - expected[0]["start_seconds"]
    for event in expected:
        same = min(heard, key=lambda other: abs(other["start_seconds"] - shift - event["start_seconds"]))
        # The sink is paced: what lies between two utterances is as long as in the file.
        assert same["start_seconds"] - shift == pytest.approx(event["start_seconds"], abs=0.3)
        assert same["label"] == event["label"]
        assert same["probability"] == pytest.approx(event["probability"], abs=0.15)
        assert same["level_dbfs"] == pytest.approx(event["level_dbfs"], abs=1.0)


def test_a_sound_server_that_stops_and_starts_again_is_heard_within_five_seconds_each_time(
    room: Room, program: Program
) -> None:
    program.wait_for_state("healthy", 20)
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
        room.stop(number)
        assert program.wait_for_state("alarmed", 10)["reason"] == "stalled"
        room.start()
        program.wait_for_state("healthy", 5)
    assert program.stop() == []
    assert program.process.returncode == 0
    changes = [line for line in program.log.read_text().splitlines() if line.startswith("affectd: ")]
    assert len(changes) <= 1 + 5 * 3  # alarmed, perhaps recovering, healthy: a line per change and no more


def test_a_sound_server_that_is_away_for_long_is_heard_within_five_seconds(room: Room, program: Program) -> None:
    program.wait_for_state("healthy", 20)
    room.stop()
    program.wait_for_state("escalated", 60)
    room.start()
    program.wait_for_state("healthy", 5)


def test_a_sound_server_that_hangs_is_reported_and_heard_again_when_it_goes_on(room: Room, tmp_path: Path) -> None:
    config = tmp_path / "affectd.toml"
    # A new stream takes this server a second or two to fill.
    config.write_text("[audio]\nstalled_seconds = 3\n")
    with Program(room, "--config", str(config)) as program:
        program.wait_for_state("healthy", 20)
        room.signal(signal.SIGSTOP)
        assert program.wait_for_state("alarmed", 15)["reason"] == "stalled"
        room.signal(signal.SIGCONT)
        program.wait_for_state("healthy", 15)


def test_a_silent_sink_is_a_constant_signal_until_something_sounds(room: Room, tmp_path: Path) -> None:
    config = tmp_path / "affectd.toml"
    config.write_text("[audio]\nconstant_seconds = 2\n")
    room.hush()
    with Program(room, "--config", str(config)) as program:
        assert program.wait_for_state("alarmed", 20)["reason"] == "constant"
        room.sound()
        program.wait_for_state("healthy", 10)


def test_the_room_is_surveyed_with_its_level(room: Room) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "affectd", "devices"], env=room.environment, capture_output=True, check=True, timeout=60
    )
    found = {device["name"]: device for device in map(json.loads, done.stdout.splitlines())}
    assert found["default"]["names"] == []
    assert 16000 in found["default"]["sample_rates"]
    bed = gain(noise("pink", BED_SECONDS), BED_DBFS)
    assert found["default"]["level_dbfs"] == pytest.approx(20 * np.log10(bed.std()), abs=3)

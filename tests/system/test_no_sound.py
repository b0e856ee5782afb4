"""`affectd run` writes no sound anywhere: every byte it gives to the kernel is compared with what it heard."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affectd.recognition.model_file import write_model
from broker import Broker, free_port, needs_mosquitto, wait_until
from room import file_card, needs_card
from sounds import SAMPLE_RATE, as_int16, write_wav
from tiny_model import place_model

CALLS = "write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,sendmmsg,sendfile,splice,copy_file_range,openat"
SECONDS = 3
T = np.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE
SOUND = as_int16(np.random.default_rng(3).uniform(-0.5, 0.5, len(T)) * np.sin(4 * np.pi * T) ** 4)
"""Noise in syllables, so that the gate opens; no hundred samples of it are like any others."""
PIECE, ALIKE = 100, 0.8


def is_traceable() -> bool:
    if not shutil.which("strace"):
        return False
    return subprocess.run(["strace", "-f", "true"], capture_output=True, check=False, timeout=60).returncode == 0


pytestmark = [
    *needs_card,
    pytest.mark.skipif(not is_traceable(), reason="strace is not installed, or may not trace"),
]


class Reference:
    """A sound in which pieces are looked for."""

    def __init__(self, sound: np.ndarray) -> None:
        self._n = 1 << 16
        self._spectrum = np.fft.rfft(sound, self._n)
        sums, squares = (np.cumsum(np.concatenate([[0.0], sound.astype(np.float64) ** power])) for power in (1, 2))
        mean = (sums[PIECE:] - sums[:-PIECE]) / PIECE
        self._spread = np.sqrt(np.maximum(squares[PIECE:] - squares[:-PIECE] - PIECE * mean**2, 1e-12))

    def likeness(self, piece: np.ndarray) -> float:
        """Return the highest correlation of `PIECE` numbers with as many samples in a row, at any gain and offset."""
        with np.errstate(all="ignore"):
            centered = piece.astype(np.float64) - piece.mean(dtype=np.float64)
            norm = np.sqrt(centered @ centered)
        if not np.isfinite(norm) or norm == 0:
            return 0.0
        products = np.fft.irfft(self._spectrum * np.fft.rfft(centered / norm, self._n).conj(), self._n)
        # What is nearly silent is like anything.
        audible = self._spread > 1e-3
        return float(np.max(np.abs(products[: len(self._spread)]) / self._spread, where=audible, initial=0.0))


REFERENCES = [Reference(part) for part in (SOUND, SOUND[::2], SOUND[1::2])]


def holds_sound(data: bytes) -> bool:
    """Whether a hundred samples in a row of `SOUND`, or of every second one, are in these bytes."""
    return any(
        reference.likeness(numbers[first : first + PIECE]) > ALIKE
        for numbers in decoded(data)
        for first in range(0, len(numbers) - PIECE + 1, PIECE)
        for reference in REFERENCES
    )


def decoded(data: bytes) -> Iterator[np.ndarray]:
    """Yield what bytes may mean as samples: integers, floats, numbers in a text, and all that in base64."""
    yield np.array([float(word) for word in re.findall(rb"-?\d+\.?\d*(?:e-?\d+)?", data)])
    for word in re.findall(rb"[A-Za-z0-9+/]{200,}", data):
        yield from decoded(base64.b64decode(word[: len(word) // 4 * 4]))
    # Of samples most bytes are no letters; a text is not looked at in this way, for it takes long.
    values = np.frombuffer(data, np.uint8)
    if np.mean((values < 9) | (values > 126)) < 0.1:
        return
    for kind in ("<i2", ">i2", "<i4", "<f4", "<f8", "i1", "u1"):
        size = np.dtype(kind).itemsize
        for offset in range(size):
            whole = data[offset : offset + (len(data) - offset) // size * size]
            yield np.frombuffer(whole, kind)


HEARD = SOUND[9500:10000]


@pytest.mark.parametrize(
    "data",
    [
        np.round(HEARD * 32768).astype("<i2").tobytes(),
        b"x" + np.round(HEARD * -9000).astype("<i2").tobytes(),
        np.round(HEARD * 32768).astype(">i2").tobytes(),
        HEARD.astype("<f4").tobytes()[3:],
        (HEARD * 100).astype("<f8").tobytes(),
        np.round(HEARD * 127 + 128).astype("u1").tobytes(),
        np.round(HEARD[::2] * 32768).astype("<i2").tobytes(),
        repr(np.round(HEARD, 3).tolist()).encode(),
        base64.b64encode(np.round(HEARD * 32768).astype("<i2").tobytes()),
    ],
    ids=["int16", "other gain", "big-endian", "float32", "float64", "8 bits", "8 kHz", "text", "base64"],
)
def test_sound_in_any_usual_form_would_be_found(data: bytes) -> None:
    assert holds_sound(data)


def test_other_things_are_no_sound() -> None:
    assert not holds_sound(np.random.default_rng(4).bytes(2000))
    assert not holds_sound(
        b"".join(b'{"probability": %.4f, "seconds": %.3f}\n' % (x, i) for i, x in enumerate(T[:300]))
    )


def written_by(
    words: list[str],
    folder: Path,
    environment: dict[str, str],
    given: bytes = b"",
    before: Callable[[], object] = lambda: None,
) -> tuple[dict[str, bytes], str]:
    """Run `affectd`, and give it its input after `before`; return what it wrote, by where it went, and the trace."""
    trace = folder / "trace"
    # Bytes as hexadecimal digits, the names of files beside their numbers, and no piece of what is written left out.
    options = [
        "-f",
        "-qq",
        "-xx",
        "-y",
        "-s",
        "10000000",
        "-e",
        f"trace={CALLS}",
        "-e",
        "signal=none",
        "-o",
        str(trace),
    ]
    with subprocess.Popen(
        ["strace", *options, sys.executable, "-m", "affectd", *words],
        env=environment | {"PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as program:
        try:
            before()
            _, err = program.communicate(given, timeout=300)
        finally:
            program.kill()
    assert program.returncode == 0, err.decode()
    calls = trace.read_text()
    written: dict[str, bytes] = {}
    for call, number, rest in re.findall(r"^\d+ +(\w+)\((\d+<[^>]*>), (.*)$", calls, re.MULTILINE):
        assert call not in ("sendfile", "splice", "copy_file_range"), rest
        name = re.sub(r"(?:\\x[0-9a-f]{2})+", lambda digits: plain(digits[0]).decode(), number)
        for digits in re.findall(r'"((?:\\x[0-9a-f]{2})*)"', rest):
            written[name] = written.get(name, b"") + plain(digits)
    return written, calls


def plain(digits: str) -> bytes:
    """Read what strace writes with ``-xx``."""
    return bytes.fromhex(digits.replace("\\x", ""))


class Viewer:
    """Looks at everything that the page of the device has."""

    def __init__(self) -> None:
        self.port = free_port()
        self.seen = b""
        self._reader = threading.Thread(target=self._read)

    def look(self) -> None:
        """Wait for the page, fetch what there is, and follow its events from here on."""
        wait_until(self._is_there, 120)
        for path in ("", "state", "metrics", "sign"):
            with self._get(path) as answer:
                self.seen += answer.read()
        self._events = self._get("events")
        self.seen += self._events.readline()
        self._reader.start()

    def end(self) -> None:
        """Return when the device has closed the stream."""
        self._reader.join()
        self._events.close()

    def _is_there(self) -> bool:
        try:
            self._get("healthz").close()
        except urllib.error.HTTPError:  # it hears nothing yet
            return True
        except OSError:
            return False
        return True

    def _get(self, path: str) -> Any:
        return urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=120)

    def _read(self) -> None:
        with suppress(OSError):
            while data := self._events.read1(65536):
                self.seen += data


@needs_mosquitto
def test_the_service_writes_no_sound(tmp_path: Path) -> None:
    # With all that it can write to: files of events and of the trace, a broker, telemetry, a baseline, the page.
    viewer = Viewer()
    write_model(tmp_path / "place.tflite", place_model())
    path = write_wav(tmp_path / "talk.wav", SOUND)
    with Broker(tmp_path) as broker:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "STATE_DIRECTORY": str(tmp_path / "state"),
            "RUNTIME_DIRECTORY": str(tmp_path / "run"),
            "AFFECTD_MQTT_ENABLED": "true",
            "AFFECTD_MQTT_HOST": "127.0.0.1",
            "AFFECTD_MQTT_PORT": str(broker.port),
            "AFFECTD_MQTT_LISTEN_COMMAND": "true",
            "AFFECTD_TELEMETRY_PERIOD_SECONDS": "1",
            "AFFECTD_FILE_PATH": str(tmp_path / "events.jsonl"),
            "AFFECTD_MODEL_PATH": str(tmp_path / "place.tflite"),
            "AFFECTD_WEB_ENABLED": "true",
            "AFFECTD_WEB_PORT": str(viewer.port),
        }
        # A pipe, because a file teaches the baseline nothing.
        words = ["run", "--source", "-", "--realtime", "--trace", str(tmp_path / "trace.jsonl")]
        written, calls = written_by(words, tmp_path, environment, path.read_bytes(), viewer.look)
        viewer.end()
    names = "\n".join(written)
    assert all(str(tmp_path / name) in names for name in ("events.jsonl", "trace.jsonl", "state/"))
    assert "socket:" in names
    everything = b"".join(written.values())
    assert b'"phase": "start"' in everything
    assert b"homeassistant" in everything
    assert b"event: trace" in viewer.seen
    assert b"event: trace" in everything
    for data in written.values():
        assert not holds_sound(data)
    # And the recorder is not even there.
    opened = plain("".join(re.findall(r"(?:\\x[0-9a-f]{2})+", calls)))
    assert re.search(rb"affectd/(__pycache__/)?pipeline", opened)
    assert b"affectd/recorder" not in opened


def test_the_recorder_would_be_found(tmp_path: Path) -> None:
    environment = file_card(tmp_path, np.round(SOUND * 32768))
    path = tmp_path / "talk.wav"
    words = ["record", str(path), "--seconds", "1", "--everyone-knows"]
    written, _ = written_by(words, tmp_path, environment)
    places = {re.sub(r"\d+<(.*)>", r"\1", name): data for name, data in written.items()}
    # To /dev/null ALSA's plugin itself writes what it plays.
    assert [name for name, data in places.items() if name != "/dev/null" and holds_sound(data)] == [f"{path}.part"]

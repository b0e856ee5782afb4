"""The baseline of a place kept over restarts: one small file for each model, in the state folder of the device.

It is one JSON object of a few hundred bytes, with a checksum: how much was heard, since when, and the mean of the
speech minus that of the training, in units of the spread, as float16; with a voice that tells what is usually answered
that of the answers, too. No sound and nothing of single utterances is in it.
"""

from __future__ import annotations

import binascii
import json
import logging
import os
import re
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from affectd.arrays import Float64
from affectd.files import checksum, read_file, replace_private
from affectd.recognition.baseline import Learned, head_of
from affectd.recognition.checks import is_number
from affectd.recognition.model_file import ModelFile, model_id

_log = logging.getLogger(__name__)

# Every write wears an SD card out; a process that is killed loses what it learned since the last one.
_PERIOD_SECONDS = 300.0
_MOST_BYTES = 16384
# Beyond the end of time as `datetime` knows it.
_LAST_SECOND = 250_000_000_000
_FLOAT16_MOST = 65504.0
_KEYS = {"device", "model", "head", "seconds", "since", "offset"}


def path_of(folder: Path, model: ModelFile) -> Path:
    """Return where the baseline for a model lies, in the state folder of a device."""
    return folder / f"baseline-{model_id(model)}.json"


def encode(learned: Learned, device: str, model: ModelFile) -> bytes:
    """Return the content of the file."""
    steps = np.clip(learned.offset / _units(model), -_FLOAT16_MOST, _FLOAT16_MOST).astype("<f2")
    body = {
        "device": device,
        "model": model_id(model),
        "head": _id(model),
        "seconds": round(learned.seconds, 3),
        "since": None if learned.since is None else round(learned.since),
        "offset": binascii.b2a_base64(steps.tobytes(), newline=False).decode(),
    }
    if model.voice is not None:
        body["scatter"] = round(learned.scatter, 4)
    return (json.dumps(body | {"crc32": checksum(body)}) + "\n").encode()


def decode(content: bytes, device: str, model: ModelFile) -> Learned:
    """Read the content of the file.

    Raises
    ------
    ValueError
        It is damaged, or of another device or model; the message says which.
    """
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError("it is damaged") from None
    keys = _KEYS if model.voice is None else {*_KEYS, "scatter"}
    if not isinstance(body, dict) or body.pop("crc32", None) != checksum(body) or body.keys() != keys:
        raise ValueError("it is damaged")
    if body["device"] != device:
        raise ValueError("it is of a device with another id")
    if (body["model"], body["head"]) != (model_id(model), _id(model)):
        raise ValueError("it is of another model")
    seconds, since, scatter = body["seconds"], body["since"], body.get("scatter", 0.0)
    is_time = since is None or (isinstance(since, int) and 0 <= since <= _LAST_SECOND)
    steps = _steps(body["offset"])
    units = _units(model)
    is_mean = len(steps) == len(units) and bool(np.isfinite(steps).all())
    is_amount = all(is_number(number) and number >= 0 for number in (seconds, scatter))
    if not (is_amount and is_time and is_mean):
        raise ValueError("its numbers are impossible")
    return Learned(float(seconds), steps * units, since, float(scatter))


def _units(model: ModelFile) -> Float64:
    head = head_of(model)
    n_answers = 0 if model.voice is None else len(model.voice.start) - head.n_embedding
    return np.concatenate([head.spread.astype(np.float64), np.ones(n_answers)])


def _id(model: ModelFile) -> int:
    """Name what the numbers in the file are relative to: the same network may be packed with another head."""
    head = head_of(model)
    return zlib.crc32(head.baseline.tobytes() + head.spread.tobytes())


def _steps(text: object) -> Float64:
    try:
        content = binascii.a2b_base64(text if isinstance(text, str) else "", strict_mode=True)
        return np.frombuffer(content, "<f2").astype(np.float64)
    except ValueError:
        raise ValueError("it is damaged") from None


def read_learned(folder: Path, device: str, model: ModelFile) -> Learned | None:
    """Read what was learned; None if there is nothing, or a file that cannot be used, which is logged."""
    path = path_of(folder, model)
    try:
        return decode(read_file(path, _MOST_BYTES), device, model)
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.warning("the baseline in %s cannot be read, it begins anew: %s", path, error.strerror)
    except (ValueError, TypeError) as error:
        _log.warning(
            "the baseline in %s begins anew: %s", path, error if type(error) is ValueError else "it is damaged"
        )
    return None


def write_learned(folder: Path, model: ModelFile, content: bytes) -> None:
    """Write the file, whole or not at all, and remove those of other models.

    Raises
    ------
    OSError
        It cannot be written.
    """
    path = path_of(folder, model)
    replace_private(path, content)
    with suppress(OSError):  # the file is there all the same
        for other in files_of(folder):
            if other != path:
                other.unlink()


def files_of(folder: Path) -> list[Path]:
    """List all files of baselines in the state folder of a device, which may not exist.

    Raises
    ------
    OSError
        The folder cannot be read.
    """
    # Not with `Path.glob`, which takes a folder that may not be read for an empty one.
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return [folder / name for name in names if re.fullmatch(r"\.?baseline-.*\.json", name, re.DOTALL)]


class Keeper:
    """Writes what was learned in a thread of its own, now and then and at the end: sound never waits for the disk.

    Parameters
    ----------
    folder : Path
        The state folder of the device, claimed.
    period_seconds : float
        The least time between two writes.
    clock : callable
        Monotonic seconds; tests put their own here.
    """

    def __init__(
        self,
        folder: Path,
        model: ModelFile,
        period_seconds: float = _PERIOD_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._model = folder, model
        self._period_seconds, self._clock = period_seconds, clock
        self._changed = threading.Condition()
        self._latest: bytes | None = None
        self._due = -float("inf")
        self._closing = self._is_told = False
        self._thread = threading.Thread(target=self._run, name="baseline", daemon=True)
        self._thread.start()

    def keep(self, content: bytes) -> None:
        """Write this when it is time; what was to be written before is not needed any more."""
        with self._changed:
            self._latest = content
            self._changed.notify()

    def close(self, patience_seconds: float = 1.0) -> None:
        """Write what is left; a disk that hangs for longer is not waited for."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(patience_seconds)
        if self._thread.is_alive():
            _log.warning("the last minutes of the baseline are not saved: %s hangs", self._folder)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._closing and (self._latest is None or self._clock() < self._due):
                    self._changed.wait(None if self._latest is None else max(0.0, self._due - self._clock()))
                content, self._latest, is_last = self._latest, None, self._closing
                self._due = self._clock() + self._period_seconds
            if content is None:  # it is closing
                return
            if not self._write(content) and not is_last:
                with self._changed:  # the disk may have room by then, though all is silent
                    self._latest = self._latest or content

    def _write(self, content: bytes) -> bool:
        try:
            write_learned(self._folder, self._model, content)
        except OSError as error:
            if not self._is_told:
                _log.warning(
                    "the baseline cannot be saved in %s and is lost at a restart: %s", self._folder, error.strerror
                )
            self._is_told = True
            return False
        self._is_told = False
        return True

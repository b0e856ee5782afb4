"""A simulated sound card: replaces PyAudio, so that the service can be measured anywhere, with any sound.

``python -m affectd.bench.card SOUND BEGAN ARGUMENT...`` runs ``affectd ARGUMENT...`` with a microphone that plays the
file SOUND (raw 16-bit mono PCM at 16 kHz) in a loop and in real time. The time of the first sample, in seconds of the
monotonic clock, is written to the file BEGAN.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

paInt16, paContinue, paInputOverflow = 8, 0, 2

SAMPLE_RATE = 16000
_BYTES = 2
_DEVICE = {"index": 0, "name": "memory", "maxInputChannels": 1, "defaultSampleRate": float(SAMPLE_RATE)}

sound = Path()
began = Path()


class PyAudio:
    """The part of PyAudio's class that `affectd.audio` uses, with one device."""

    def get_device_count(self) -> int:
        """Count the devices."""
        return 1

    def get_device_info_by_index(self, index: int) -> dict[str, Any]:
        """Describe a device."""
        return _DEVICE

    def get_default_input_device_info(self) -> dict[str, Any]:
        """Describe the default microphone."""
        return _DEVICE

    def open(self, rate: int, channels: int, frames_per_buffer: int, stream_callback: Any, **_: object) -> _Stream:
        """Begin to record."""
        if (rate, channels) != (SAMPLE_RATE, 1):
            raise ValueError("Invalid sample rate", -9997)
        return _Stream(frames_per_buffer, stream_callback)

    def terminate(self) -> None:
        """End PortAudio."""


class _Stream:
    def __init__(self, n_samples: int, callback: Callable[[bytes, int, object, int], object]) -> None:
        self._n_samples = n_samples
        self._callback = callback
        self._closed = threading.Event()
        threading.Thread(target=self._play, daemon=True).start()

    def is_active(self) -> bool:
        return not self._closed.is_set()

    def close(self) -> None:
        self._closed.set()

    def _play(self) -> None:
        start = time.monotonic()
        began.write_text(repr(start))
        size = self._n_samples * _BYTES
        # Read piece by piece, because a buffer would count as memory of the service.
        file = os.open(sound, os.O_RDONLY)
        most = os.fstat(file).st_size - size
        n = 0
        while True:
            # Deadlines count from the start, so that they do not drift.
            time.sleep(max(0.0, start + (n + 1) * self._n_samples / SAMPLE_RATE - time.monotonic()))
            if self._closed.is_set():
                os.close(file)
                return
            self._callback(os.pread(file, size, n * size % most), self._n_samples, None, 0)
            n += 1


def main() -> None:
    """Run `affectd` with this card."""
    global sound, began
    sound, began = Path(sys.argv[1]), Path(sys.argv[2])
    sys.modules["pyaudio"] = sys.modules[__name__]
    sys.argv[1:] = sys.argv[3:]
    runpy.run_module("affectd", run_name="__main__")


if __name__ == "__main__":
    main()

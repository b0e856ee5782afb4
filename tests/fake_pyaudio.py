"""As much of PyAudio as is used, with devices whose sound the test plays."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np


@dataclass
class FakeDevice:
    """An input device that accepts some formats only; with ``busy`` it accepts none now."""

    name: str = "USB thing: Audio (hw:1,0)"
    n_channels: int = 2
    rate: float = 44100.0
    accepts: Callable[[int, int], bool] = lambda rate, n_channels: True
    busy: bool = False


class FakePyAudio:
    """Stands in for the module and for its class; `play` is what the sound card's thread does."""

    paInt16, paContinue, paInputOverflow = 8, 0, 2

    def __init__(self, *devices: FakeDevice) -> None:
        self.devices = list(devices)
        self.asked: list[tuple[int, int]] = []
        self.history: list[str] = []
        self.block_lengths: list[int] = []
        self.active = True
        self._open: list[tuple[int, Any]] = []

    def PyAudio(self) -> FakePyAudio:
        os.write(1, b"jack server is not running\n")
        os.write(2, b"ALSA lib: Unknown PCM\n")
        self.history.append("started")
        return self

    def get_device_count(self) -> int:
        return 1 + len(self.devices)

    def get_device_info_by_index(self, index: int) -> dict[str, Any]:
        if index == 0:
            return {"index": 0, "name": "loudspeaker", "maxInputChannels": 0, "defaultSampleRate": 48000.0}
        device = self.devices[index - 1]
        return {
            "index": index,
            "name": device.name,
            "maxInputChannels": device.n_channels,
            "defaultSampleRate": device.rate,
        }

    def get_default_input_device_info(self) -> dict[str, Any]:
        if not self.devices:
            raise OSError("No Default Input Device Available")
        return self.get_device_info_by_index(1)

    def is_format_supported(self, rate: int, input_device: int, input_channels: int, input_format: int) -> bool:
        if not self.devices[input_device - 1].accepts(rate, input_channels):
            raise ValueError("Invalid sample rate", -9997)
        return True

    def open(
        self,
        rate: int,
        channels: int,
        input_device_index: int,
        frames_per_buffer: int,
        stream_callback: Any,
        **_: object,
    ) -> SimpleNamespace:
        self.asked.append((rate, channels))
        device = self.devices[input_device_index - 1]
        if device.busy:
            raise OSError(-9985, "Device unavailable")
        if not device.accepts(rate, channels):
            raise OSError(-9997, "Invalid sample rate")
        self.history.append(f"opened {input_device_index}")
        self.block_lengths.append(frames_per_buffer)
        stream = (channels, stream_callback)
        self._open.append(stream)
        self.active = True

        def close() -> None:
            self.history.append("closed")
            self._open.remove(stream)

        return SimpleNamespace(close=close, is_active=lambda: self.active)

    def play(self, samples: np.ndarray, status: int = 0) -> None:
        """Deliver int16 samples of shape (n,), on the first channel, or (n, n_channels) to all who listen."""
        for channels, callback in list(self._open):
            data = np.zeros((len(samples), channels), np.int16)
            data[:, : 1 if samples.ndim == 1 else samples.shape[1]] = samples.reshape(len(samples), -1)
            for start in range(0, len(data), 441):
                block = data[start : start + 441]
                callback(block.tobytes(), len(block), None, status)

    def terminate(self) -> None:
        self.history.append("terminated")

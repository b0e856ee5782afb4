"""Opening a microphone and reading from it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from affectd.arrays import Block
from affectd.audio.cards import card_number, find_card, read_cards
from affectd.audio.portaudio import Microphone, apart, close, default_microphone, microphones, port_audio
from affectd.audio.ring_buffer import SampleRing
from affectd.errors import MicrophoneError
from affectd.stdio import quiet

_log = logging.getLogger(__name__)


ROOT = Path("/")
"""Where ``proc`` and ``sys`` are."""

PIECE_SECONDS = 0.256
"""Length of PortAudio's buffers; in silence waking up costs more than the processing."""

# Samples are lost when the pipeline is busy for longer.
_RING_SECONDS = 10.0
# A board that is too slow would otherwise log with every block.
_LOG_SECONDS = 60.0
# Tried if a card refuses both the requested rate and its own default.
_USUAL_RATES = (48000, 44100)
_DEVICE_UNAVAILABLE = -9985  # paDeviceUnavailable: ALSA said EBUSY


@dataclass
class Losses:
    """Sound lost since the start, and what is wrong with the sound now; one thread writes, any may read."""

    dropped_seconds: float = 0.0
    """Sound that was not read in time."""
    overflows: int = 0
    """Input overflows that PortAudio reported."""
    degraded: dict[str, float] = field(default_factory=dict)
    """`affectd.audio.condition.Condition.figures`; replaced, never changed."""


class Stream:
    """An open microphone.

    Attributes
    ----------
    name : str
        PortAudio's name of the device.
    sample_rate : int
        Hz.
    """

    def __init__(
        self, name: str, sample_rate: int, channel: int | None, ring: SampleRing, stream: Any, losses: Losses | None
    ) -> None:
        self.name = name
        self.sample_rate = sample_rate
        self._channel = channel
        self._ring = ring
        self._stream = stream
        self._losses = losses
        self._piece = round(PIECE_SECONDS * sample_rate)
        self._counted = self._logged = (0, 0)
        self._next_log = time.monotonic()

    def read(self, timeout_seconds: float, n_pieces: int = 1) -> tuple[int, Block]:
        """Wait for `n_pieces` of `PIECE_SECONDS`; a signal handler may raise meanwhile.

        Returns
        -------
        n_lost : int
            Samples lost before these because the caller was late by more than 10 s.
        samples : ndarray of float32, shape (n,)
            One channel or the mean of all, in [-1, 1], no more than `n_pieces`; none after a timeout.

        Raises
        ------
        MicrophoneError
            ``stalled``: PortAudio has ended the stream.
        """
        n_samples = n_pieces * self._piece
        n_lost, samples = self._ring.read(n_samples, timeout_seconds, enough=n_samples)
        if not len(samples) and not self._is_active():
            raise MicrophoneError("stalled", f"{self.name} has ended its stream.")
        if self._losses is not None:
            self._count_losses(self._losses)
        channel = 0 if samples.shape[1] == 1 else self._channel
        chosen = samples.mean(axis=1, dtype=np.float32) if channel is None else samples[:, channel]
        return n_lost, np.divide(chosen, np.float32(1 << 15), dtype=np.float32)

    def _is_active(self) -> bool:
        try:
            return bool(self._stream.is_active())
        except OSError:
            return False

    def _count_losses(self, losses: Losses) -> None:
        lost = self._ring.losses
        if lost != self._counted:
            losses.dropped_seconds += (lost[0] - self._counted[0]) / self.sample_rate
            losses.overflows += lost[1] - self._counted[1]
            self._counted = lost
        if lost != self._logged and time.monotonic() >= self._next_log:
            _log.warning(
                "too slow: %.2f s of sound dropped, %d overflows of the sound card since the start",
                lost[0] / self.sample_rate,
                lost[1],
            )
            self._logged, self._next_log = lost, time.monotonic() + _LOG_SECONDS


def record(stream: Stream, seconds: float, timeout_seconds: float) -> Block:
    """Read about this many seconds from an open microphone.

    Raises
    ------
    MicrophoneError
        ``stalled``: nothing came in time.
    """
    blocks: list[Block] = []
    while sum(map(len, blocks)) < seconds * stream.sample_rate:
        _, samples = stream.read(timeout_seconds)
        if not len(samples):
            raise MicrophoneError("stalled", f"The microphone {stream.name} opens, but delivers nothing.")
        blocks.append(samples)
    return np.concatenate(blocks)


@contextmanager
def open_microphone(
    sample_rate: int, device: str = "", channel: int | str = "mix", losses: Losses | None = None
) -> Iterator[Stream]:
    """Start PortAudio, open a microphone, and end both.

    Tries `sample_rate` and few channels first; many USB microphones refuse that, so what they offer comes next.
    PortAudio is started each time because it looks for devices only at its start.

    `device` is a stable name (`affectd.audio.cards`) or empty for PortAudio's default, `channel` a number from 0 or
    ``mix`` for the mean of all. `losses` counts lost sound, which is then logged too.

    Raises
    ------
    UnavailableError
        If PyAudio is not installed.
    MicrophoneError
        ``missing``, ``busy`` or ``refused``.
    """
    # Checked first, because starting PortAudio takes long on a small board.
    number = find_card(device, read_cards(ROOT)).number if device else None
    with port_audio() as (module, audio):
        microphone = _choose(audio, device, number)
        n = None if channel == "mix" else int(channel)
        with open_stream(module, audio, microphone, sample_rate, n, losses) as stream:
            yield stream


def _choose(audio: Any, device: str, number: int | None) -> Microphone:
    if number is not None:
        for microphone in microphones(audio):
            if card_number(microphone.name) == number:
                return microphone
        # PortAudio lists only devices that it could open.
        raise MicrophoneError("busy", f"The microphone {device} is in use, or its card does not record.")
    return default_microphone(audio)


@contextmanager
def open_stream(
    module: Any,
    audio: Any,
    microphone: Microphone,
    sample_rate: int,
    channel: int | None = None,
    losses: Losses | None = None,
) -> Iterator[Stream]:
    """Open a device of a running PortAudio with the first rate and number of channels that it accepts."""
    counts = channel_counts(microphone, channel)
    reason, message = "refused", f"it has no channel {channel}, only {microphone.n_channels}"
    for rate, n_channels in product(dict.fromkeys((sample_rate, microphone.sample_rate, *_USUAL_RATES)), counts):
        piece = round(PIECE_SECONDS * rate)
        ring = SampleRing(round(_RING_SECONDS * rate), n_channels)
        open_it = partial(
            audio.open,
            format=module.paInt16,
            rate=rate,
            channels=n_channels,
            input=True,
            input_device_index=microphone.index,
            frames_per_buffer=piece,
            stream_callback=_writer(ring, n_channels, module),
        )
        try:
            with quiet():
                stream = apart(open_it)
        except (OSError, ValueError) as error:
            reason = "busy" if _DEVICE_UNAVAILABLE in error.args else "refused"
            message = " ".join(str(argument) for argument in error.args)
            continue
        try:
            yield Stream(microphone.name, rate, channel, ring, stream, losses)
        finally:
            close(stream.close)
        return
    what = "is in use" if reason == "busy" else "refuses every format"
    raise MicrophoneError(reason, f"The microphone {microphone.name} {what}: {message}.")


def channel_counts(microphone: Microphone, channel: int | None = None) -> list[int]:
    """Return the numbers of channels to try so that one is heard, or, by default, the mean of all."""
    n = microphone.n_channels
    # Who is asked for one channel, as a sound server, may give the mean of two: only then the last choice.
    counts = (2, n, 1) if channel == 0 else (1 if channel is None else channel + 1, 2, n)
    return [count for count in dict.fromkeys(counts) if (channel or 0) < count <= n]


def _writer(ring: SampleRing, n_channels: int, module: Any) -> Any:
    overflow, answer = module.paInputOverflow, (None, module.paContinue)

    def write(data: bytes, n_samples: int, times: object, status: int) -> tuple[None, int]:
        # Runs in PortAudio's thread: must not wait, log or raise.
        samples = np.frombuffer(data, np.int16).reshape(-1, n_channels)
        ring.write(samples, overflowed=bool(status & overflow))
        return answer

    return write

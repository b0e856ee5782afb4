"""One opening of a microphone."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from affectd.arrays import Block
from affectd.audio.cards import card_number, find_card, read_cards
from affectd.audio.portaudio import Microphone, default_microphone, microphones, port_audio
from affectd.audio.ring_buffer import SampleRing
from affectd.errors import MicrophoneError
from affectd.stdio import quiet

_log = logging.getLogger(__name__)


ROOT = Path("/")
"""Where ``proc`` and ``sys`` are; tests put their own here."""

PIECE_SECONDS = 0.256
"""PortAudio and the pipeline are woken for so much sound at once: in silence waking costs more than what it is for."""

# The longest time the pipeline may be busy before samples are lost.
_RING_SECONDS = 10.0
# A board that is too slow would else log with every block, for months.
_LOG_SECONDS = 60.0
# What a card is asked for if it refuses both what is wanted and what PortAudio calls its default.
_USUAL_RATES = (48000, 44100)
_DEVICE_UNAVAILABLE = -9985  # paDeviceUnavailable: ALSA said EBUSY


@dataclass
class Losses:
    """Sound that was lost since the start; one thread counts, any may look."""

    dropped_seconds: float = 0.0
    """It was not read in time."""
    overflows: int = 0
    """How often the sound card said that some had been lost before."""


class Stream:
    """A microphone that is open.

    Attributes
    ----------
    name : str
        What PortAudio calls the device.
    sample_rate : int
        Hz, as it delivers.
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

    def read(self, timeout_seconds: float) -> tuple[int, Block]:
        """Wait for sound; a signal handler runs meanwhile and may raise.

        Returns
        -------
        n_lost : int
            Block lost before these because the caller was late by more than 10 s.
        samples : ndarray of float32, shape (n,)
            One channel or the mean of all, in [-1, 1], at most `PIECE_SECONDS`; none if nothing came in time.

        Raises
        ------
        MicrophoneError
            ``stalled``: PortAudio has ended the stream.
        """
        n_lost, samples = self._ring.read(self._piece, timeout_seconds)
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
        except OSError:  # PortAudio's way to say that it does not even know
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


@contextmanager
def open_microphone(
    sample_rate: int, device: str = "", channel: int | str = "mix", losses: Losses | None = None
) -> Iterator[Stream]:
    """Start PortAudio, open a microphone, and end both.

    The device is asked for `sample_rate` and few channels first; many USB microphones refuse, then whatever
    they offer is taken. PortAudio is started each time because it looks for devices only then.

    Parameters
    ----------
    sample_rate : int
        Hz, the rate that would be best.
    device : str
        A stable name (`affectd.audio.cards`), or empty for PortAudio's default.
    channel : int or str
        The channel to listen to, from 0, or ``mix`` for the mean of all.
    losses : Losses, optional
        Where lost sound is counted; then the log tells of it too.

    Raises
    ------
    UnavailableError
        If PyAudio is not installed.
    MicrophoneError
        ``missing``, ``busy`` or ``refused``.
    """
    # Without its card there is no need to start PortAudio, which on a small board takes long.
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
        # PortAudio lists only what it could open just now.
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
    """Open a device of a running PortAudio at the first rate and number of channels that it accepts."""
    needed = 1 if channel is None else channel + 1
    reason, message = "refused", f"it has no channel {channel}, only {microphone.n_channels}"
    for rate in dict.fromkeys((sample_rate, microphone.sample_rate, *_USUAL_RATES)):
        piece = round(PIECE_SECONDS * rate)
        for n_channels in channel_counts(microphone, needed):
            ring = SampleRing(round(_RING_SECONDS * rate), n_channels, piece)
            try:
                with quiet():
                    stream = audio.open(
                        format=module.paInt16,
                        rate=rate,
                        channels=n_channels,
                        input=True,
                        input_device_index=microphone.index,
                        frames_per_buffer=piece,
                        stream_callback=_writer(ring, n_channels, module),
                    )
            except (OSError, ValueError) as error:
                reason = "busy" if _DEVICE_UNAVAILABLE in error.args else "refused"
                message = " ".join(str(argument) for argument in error.args)
                continue
            try:
                yield Stream(microphone.name, rate, channel, ring, stream, losses)
            finally:
                with suppress(OSError):  # of a card that is gone
                    stream.close()
            return
    what = "is in use" if reason == "busy" else "refuses every format"
    raise MicrophoneError(reason, f"The microphone {microphone.name} {what}: {message}.")


def channel_counts(microphone: Microphone, needed: int = 1) -> list[int]:
    """Return the numbers of channels to ask for, of which the first `needed` are wanted."""
    return [n for n in dict.fromkeys((needed, 2, microphone.n_channels)) if needed <= n <= microphone.n_channels]


def _writer(ring: SampleRing, n_channels: int, module: Any) -> Any:
    overflow, answer = module.paInputOverflow, (None, module.paContinue)

    def write(data: bytes, n_samples: int, times: object, status: int) -> tuple[None, int]:
        # PortAudio's own thread: copy, count and leave; nothing here may wait, log or raise.
        samples = np.frombuffer(data, np.int16).reshape(-1, n_channels)
        ring.write(samples, overflowed=bool(status & overflow))
        return answer

    return write

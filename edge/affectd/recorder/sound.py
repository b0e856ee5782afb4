"""The sound of a microphone for the recorder, which ends when the microphone fails."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from affectd.arrays import Block
from affectd.audio.microphone import Stream, open_microphone
from affectd.audio.resampler import Resampler
from affectd.audio.source import first_samples
from affectd.audio.supervisor import silence
from affectd.config.sections import AudioConfig
from affectd.errors import MicrophoneError
from affectd.recorder.countdown import Countdown

_log = logging.getLogger(__name__)

_FULL_SCALE = 32767 / 32768
_READ_SECONDS = 0.5


@dataclass
class Heard:
    """What a microphone tells besides its sound."""

    microphone: str = ""
    """Its name, as of PortAudio."""
    microphone_rate: int = 0
    """Hz."""
    began: float = 0.0
    """When the first sample was recorded, seconds since the epoch."""
    clipped_samples: int = 0
    """Samples at full scale, at the rate of the microphone."""
    lost_seconds: float = 0.0
    """Sound that was not read in time, and is silence in the recording."""


def sound(
    opened: ExitStack, config: AudioConfig, sample_rate: int, seconds: float, heard: Heard, countdown: Countdown
) -> Iterator[Block]:
    """Open the microphone and yield so many seconds of it at `sample_rate`, float32 (n,).

    `opened` closes it, as it closes a generator, because then a sound server that hangs is waited for only briefly.

    Raises
    ------
    UnavailableError, MicrophoneError
        It cannot be opened, or delivers nothing any more.
    """
    streams = _streams(config, sample_rate)
    stream = next(streams)
    opened.callback(streams.close)
    rate = stream.sample_rate
    heard.microphone, heard.microphone_rate = stream.name, rate
    _log.info("recording %g s from %s; Ctrl-C stops and keeps what was recorded", seconds, stream.name)
    resampler = Resampler(rate, sample_rate)

    def blocks() -> Iterator[Block]:
        n_heard = 0
        while True:
            # In turns, because after a while in which the process stood still the first is over at once.
            for _ in range(math.ceil(config.stalled_seconds / _READ_SECONDS)):
                n_lost, samples = stream.read(_READ_SECONDS)
                if len(samples):
                    break
            else:
                raise MicrophoneError("stalled", f"The microphone {stream.name} delivers nothing any more.")
            if not n_heard:
                heard.began = time.time() - (n_lost + len(samples)) / rate
            n_heard += n_lost + len(samples)
            n_clipped = int(np.count_nonzero(np.abs(samples) >= np.float32(_FULL_SCALE)))
            heard.clipped_samples += n_clipped
            countdown.push(samples, n_heard / rate, is_clipped=n_clipped > 0)
            if n_lost:
                heard.lost_seconds += n_lost / rate
                yield from map(resampler.push, silence(n_lost, rate))
            yield resampler.push(samples)

    return first_samples(blocks(), round(seconds * sample_rate))


def _streams(config: AudioConfig, sample_rate: int) -> Generator[Stream, None, None]:
    with open_microphone(sample_rate, config.device, config.channel) as stream:
        yield stream

"""The list of microphones, with the rates they accept and their current level."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from affectd.audio import microphone as capture
from affectd.audio.cards import card_number, distinct_names, read_cards
from affectd.audio.portaudio import Microphone, microphones, port_audio
from affectd.errors import MicrophoneError
from affectd.stdio import quiet

RATES = (8000, 16000, 22050, 32000, 44100, 48000, 96000)
LEVEL_SECONDS = 0.5
_TIMEOUT_SECONDS = 2.0
_FLOOR_DBFS = -120.0


@dataclass(frozen=True, kw_only=True)
class ListedMicrophone:
    """A microphone as `affectd devices` prints it."""

    index: int
    """PortAudio's number, which changes when devices come and go."""
    name: str
    """PortAudio's name."""
    names: tuple[str, ...]
    """Stable names for ``[audio] device``; none if it is not a sound card."""
    n_channels: int
    sample_rate: int
    """Default, Hz."""
    sample_rates: tuple[int, ...]
    """Those of `RATES` that it accepts, Hz."""
    level_dbfs: float | None
    """RMS level of half a second, -120 for digital silence; None if it cannot be opened now."""


def list_microphones() -> list[ListedMicrophone]:
    """Return every device that can record, with its current level.

    Raises
    ------
    UnavailableError
        If PyAudio is not installed.
    """
    found = read_cards(capture.ROOT)
    cards = {card.number: card for card in found}
    listed = []
    with port_audio() as (module, audio):
        for microphone in microphones(audio):
            number = card_number(microphone.name)
            card = None if number is None else cards.get(number)
            listed.append(
                ListedMicrophone(
                    index=microphone.index,
                    name=microphone.name,
                    names=() if card is None else distinct_names(card, found),
                    n_channels=microphone.n_channels,
                    sample_rate=microphone.sample_rate,
                    sample_rates=tuple(rate for rate in RATES if _accepts(module, audio, microphone, rate)),
                    level_dbfs=_level(module, audio, microphone),
                )
            )
    return listed


def _accepts(module: Any, audio: Any, microphone: Microphone, rate: int) -> bool:
    for n_channels in capture.channel_counts(microphone):
        try:
            with quiet():
                audio.is_format_supported(
                    rate, input_device=microphone.index, input_channels=n_channels, input_format=module.paInt16
                )
        except (OSError, ValueError):
            continue
        return True
    return False


def _level(module: Any, audio: Any, microphone: Microphone) -> float | None:
    try:
        with capture.open_stream(module, audio, microphone, microphone.sample_rate) as stream:
            samples = capture.record(stream, LEVEL_SECONDS, _TIMEOUT_SECONDS)
    except MicrophoneError:
        return None
    # The variance and not the mean square, which leaves out a DC offset.
    power = float(samples.var(dtype=np.float64))
    return round(10 * math.log10(power), 1) if power > 10 ** (_FLOOR_DBFS / 10) else _FLOOR_DBFS

"""Which microphones there are, what they accept, and how loud it is there now."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from affectd.arrays import Block
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
class Surveyed:
    """A microphone and what it says of itself."""

    index: int
    """Number within PortAudio; changes when devices come and go."""
    name: str
    """What PortAudio calls it."""
    names: tuple[str, ...]
    """What ``[audio] device`` may call it, for ever; none if it is no hardware of its own."""
    n_channels: int
    sample_rate: int
    """Its default, Hz."""
    sample_rates: tuple[int, ...]
    """Those of `RATES` that it accepts, Hz."""
    level_dbfs: float | None
    """RMS level of about half a second, -120 for digital silence; None if it cannot be heard now."""


def list_microphones() -> list[Surveyed]:
    """Listen to every device that can record; none if there is none.

    Raises
    ------
    UnavailableError
        If PyAudio is not installed.
    """
    found = read_cards(capture.ROOT)
    cards = {card.number: card for card in found}
    surveyed = []
    with port_audio() as (module, audio):
        for microphone in microphones(audio):
            number = card_number(microphone.name)
            card = None if number is None else cards.get(number)
            surveyed.append(
                Surveyed(
                    index=microphone.index,
                    name=microphone.name,
                    names=() if card is None else distinct_names(card, found),
                    n_channels=microphone.n_channels,
                    sample_rate=microphone.sample_rate,
                    sample_rates=tuple(rate for rate in RATES if _accepts(module, audio, microphone, rate)),
                    level_dbfs=_level(module, audio, microphone),
                )
            )
    return surveyed


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
    parts: list[Block] = []
    try:
        with capture.open_stream(module, audio, microphone, microphone.sample_rate) as stream:
            wanted = LEVEL_SECONDS * stream.sample_rate
            while sum(map(len, parts)) < wanted:
                _, samples = stream.read(_TIMEOUT_SECONDS)
                if not len(samples):
                    return None
                parts.append(samples)
    except MicrophoneError:
        return None
    # The variance and not the mean square: a microphone's DC offset is no sound.
    power = float(np.concatenate(parts).var(dtype=np.float64))
    return round(10 * math.log10(power), 1) if power > 10 ** (_FLOOR_DBFS / 10) else _FLOOR_DBFS

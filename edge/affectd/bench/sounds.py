"""The sounds of the benchmark: speech, silence, noise, and words with pauses at known times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from affectd.arrays import Int16
from affectd.audio.source import wav_blocks
from affectd.errors import DataError
from affectd.recognition.model_file import ModelFile

PAUSE_SECONDS = 1.5
CLIP_SECONDS = 2.0
_MOST_SECONDS = 600
# Noise of a sound card in steps of 16 bits, because exact zeros count as a fault.
_SILENCE_STEPS = 3.0
_NOISE_STEPS = 1000.0


def speech_clips(model: ModelFile, paths: Sequence[str]) -> list[Int16]:
    """Return these recordings, or else the golden clip of the model, repeated for two seconds.

    Raises
    ------
    DataError, NoInputError
        One cannot be read, is silent or longer than ten minutes.
    """
    if not paths:
        clip = model.golden["samples"]
        return [np.tile(clip, -(-round(CLIP_SECONDS * model.spec.sample_rate) // len(clip)))]
    return [_clip(path, model.spec.sample_rate) for path in paths]


def _clip(path: str, sample_rate: int) -> Int16:
    blocks: list[Int16] = []
    n_samples = 0
    for block in wav_blocks(path, sample_rate):
        blocks.append((block * 32767).round().astype(np.int16))
        n_samples += len(block)
        if n_samples > _MOST_SECONDS * sample_rate:
            raise DataError(f"{path} is too long for a benchmark, which holds {_MOST_SECONDS} s of each in memory.")
    clip = np.concatenate(blocks)
    if not clip.any():
        raise DataError(f"{path} is silent, so that no word can be heard in it.")
    return clip


def sounds(clips: Sequence[Int16], sample_rate: int, seconds: float) -> dict[str, Int16]:
    """Return speech without pauses, silence with the noise of a card, and steady noise, each this long."""
    n = round(seconds * sample_rate)
    random = np.random.default_rng(0)
    talk = np.concatenate(clips)
    silence = random.normal(0, _SILENCE_STEPS, n).round().astype(np.int16)
    # With noise, because sound that repeats exactly counts as a fault.
    speech = np.tile(talk, -(-n // len(talk)))[:n].astype(np.int32) + silence
    return {
        "speech": speech.clip(-32768, 32767).astype(np.int16),
        "silence": silence,
        "noise": random.normal(0, _NOISE_STEPS, n).round().clip(-32768, 32767).astype(np.int16),
    }


@dataclass(frozen=True)
class Words:
    """Recordings joined with pauses."""

    samples: Int16
    onsets: list[float]
    """Start of each, seconds."""
    ends: list[float]
    """End of each, seconds."""


def words(clips: Sequence[Int16], sample_rate: int, seconds: float) -> Words:
    """Join recordings with pauses of 1.5 s to at least this length."""
    pause = round(PAUSE_SECONDS * sample_rate)
    random = np.random.default_rng(1)
    parts: list[Int16] = []
    onsets: list[float] = []
    ends: list[float] = []
    n = 0
    while n < seconds * sample_rate:
        clip = clips[len(onsets) % len(clips)]
        loud = np.flatnonzero(np.abs(clip.astype(np.int32)) > np.abs(clip.astype(np.int32)).max() // 20)
        onsets.append((n + pause + int(loud[0])) / sample_rate)
        ends.append((n + pause + int(loud[-1]) + 1) / sample_rate)
        parts += [random.normal(0, _SILENCE_STEPS, pause).round().astype(np.int16), clip]
        n += pause + len(clip)
    parts.append(random.normal(0, _SILENCE_STEPS, pause).round().astype(np.int16))
    return Words(np.concatenate(parts), onsets, ends)

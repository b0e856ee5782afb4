"""The sound that is recorded: when a microphone counts as one that delivers nothing any more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from affectd.config.sections import AudioConfig
from affectd.errors import MicrophoneError
from affectd.recorder import sound as recorder_sound
from affectd.recorder.countdown import Countdown
from affectd.recorder.sound import Heard, sound
from sounds import SAMPLE_RATE

PIECE = np.full(SAMPLE_RATE // 10, 0.1, np.float32)
NOTHING = np.zeros(0, np.float32)


def recorded(monkeypatch: pytest.MonkeyPatch, answers: list[np.ndarray]) -> tuple[int, float]:
    """Record a second of a microphone that answers so; return the samples, and the seconds that it had for nothing."""
    left, waited = iter(answers), []

    def read(timeout_seconds: float) -> tuple[int, np.ndarray]:
        samples = next(left, NOTHING)
        waited.append(0.0 if len(samples) else timeout_seconds)
        return 0, samples

    @contextmanager
    def open_microphone(*_: object) -> Iterator[Any]:
        yield SimpleNamespace(name="a microphone", sample_rate=SAMPLE_RATE, read=read)

    monkeypatch.setattr(recorder_sound, "open_microphone", open_microphone)
    n_samples = 0
    with ExitStack() as opened, suppress(MicrophoneError):
        for block in sound(opened, AudioConfig(stalled_seconds=5.0), SAMPLE_RATE, 1.0, Heard(), Countdown(1.0)):
            n_samples += len(block)
    return n_samples, sum(waited)


def test_a_wait_that_is_over_at_once_when_the_process_stood_still_ends_no_recording(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert recorded(monkeypatch, [PIECE, NOTHING, *[PIECE] * 9])[0] == SAMPLE_RATE


def test_a_microphone_that_delivers_nothing_for_its_time_ends_the_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    assert recorded(monkeypatch, [PIECE]) == (len(PIECE), 5.0)

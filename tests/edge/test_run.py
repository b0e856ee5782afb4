"""What `affectd run` puts together."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from affectd import run as service
from affectd.config.sections import AudioConfig, Config
from affectd.events.sinks import JsonLines
from sounds import gain, syllables


@pytest.mark.parametrize("is_watched", [False, True])
def test_sound_may_come_late_while_all_is_quiet_and_the_trace_is_not_watched(
    monkeypatch: pytest.MonkeyPatch, is_watched: bool
) -> None:
    told: list[bool] = []

    def opened(audio: AudioConfig, rate: int, *, quiet: Callable[[], bool], **_: object) -> Iterator[np.ndarray]:
        speech = gain(syllables(2.0), -12).astype(np.float32)
        for block in (np.zeros(3 * rate, np.float32), speech, np.zeros(3 * rate, np.float32)):
            told.append(quiet())
            yield block
        told.append(quiet())

    monkeypatch.setattr(service, "open_source", opened)
    listeners = [JsonLines(io.StringIO())] if is_watched else []
    with open(os.devnull, "w") as out:
        service.serve(Config, JsonLines(out), realtime=False, listeners=listeners)
    assert told == ([False] * 4 if is_watched else [False, True, False, True])

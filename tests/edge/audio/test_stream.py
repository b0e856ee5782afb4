"""Standard input that stays open: what is noticed of it, and that an utterance ends all the same."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import jsonschema
import numpy as np
import pytest

from affectd.audio.microphone import Losses
from affectd.audio.source import open_source
from affectd.audio.stream import attended
from affectd.config.sections import AudioConfig
from affectd.errors import DataError
from affectd.events.event import event_schema
from sounds import as_int16, gain, noise, raw_sound, silence, syllables

RATE = 16000
PATIENCE_SECONDS = 30.0
CONFIG = AudioConfig(stalled_seconds=1.0, constant_seconds=1.0)


def test_a_pipe_that_is_muted_is_read_and_counts_as_silence_and_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    speech = gain(syllables(1), -12)
    with open(reading) as stdin, open(writing, "wb") as recorder:
        monkeypatch.setattr(sys, "stdin", stdin)
        sound = raw_sound(speech)
        muted = False
        reports: list[tuple[str, str]] = []
        blocks = open_source(
            AudioConfig(source="-"), RATE, report=lambda *report: reports.append(report), muted=lambda: muted
        )

        def heard() -> np.ndarray:
            recorder.write(sound)
            recorder.flush()
            got: list[np.ndarray] = []
            while sum(map(len, got)) < len(speech):
                got.append(next(blocks))
            return np.concatenate(got)

        assert np.abs(heard()).max() > 0.1
        assert not reports
        muted = True
        assert not heard().any()
        assert reports == [("muted", "asked")]
        muted = False
        assert np.abs(heard()).max() > 0.1
        assert reports[1:] == [("recovering", "asked"), ("healthy", "heard")]


def test_a_pipe_of_which_nothing_comes_is_muted_and_not_stalled_as_long_as_that_is_asked() -> None:
    now, asked = itertools.count(0.0, 0.25), itertools.count()
    reports: list[tuple[str, str]] = []
    nothing = [np.zeros(0, np.float32)] * 40

    def muted() -> bool:
        return next(asked) < 20

    got = list(attended(nothing, RATE, CONFIG, lambda *report: reports.append(report), lambda: next(now), muted=muted))
    assert reports == [("muted", "asked"), ("alarmed", "stalled")]
    assert sum(map(len, got)) > 3 * RATE  # an open utterance ends all the same


def test_blocks_pass_in_order_and_the_failure_of_the_source_comes_after_them() -> None:
    def source() -> Iterator[np.ndarray]:
        for n in range(100):
            yield np.full(3, n, np.float32)
        raise DataError("odd")

    got = []
    with pytest.raises(DataError, match="odd"):
        got.extend(attended(source(), RATE, CONFIG, lambda state, reason: None))
    assert [block[0] for block in got] == list(range(100))


def test_a_recording_with_silence_and_loops_is_no_fault_at_the_speed_of_a_file() -> None:
    reports: list[tuple[str, str]] = []
    blocks = [np.zeros(RATE, np.float32)] * 20 + [noise("pink", 0.5)] * 40
    got = list(attended(blocks, RATE, CONFIG, lambda *report: reports.append(report)))
    assert (sum(map(len, got)), reports) == (sum(map(len, blocks)), [])


@pytest.mark.parametrize(
    ("sound", "reason"),
    [(np.zeros(1600, np.float32), "constant"), (noise("pink", 0.1)[:1600], "repeated")],
    ids=["silence", "loop"],
)
def test_a_stream_in_real_time_that_is_no_sound_is_told(sound: np.ndarray, reason: str) -> None:
    now = itertools.count(0.0, 0.1)
    reports: list[tuple[str, str]] = []
    list(attended([sound] * 100, RATE, CONFIG, lambda *report: reports.append(report), lambda: next(now)))
    assert ("alarmed", reason) == reports[0]
    assert "healthy" not in dict(reports)


@pytest.mark.parametrize("n", [0, 100], ids=["half a sample", "100 samples"])
def test_a_stream_of_which_hardly_anything_comes_is_silence_and_told_once(n: int) -> None:
    """Each piece comes half a second after the one before."""
    now = itertools.count(0.0, 0.25)
    reports: list[tuple[str, str]] = []
    pieces = [noise("pink", 0.1)[:n]] * 40
    got = list(attended(pieces, RATE, CONFIG, lambda *report: reports.append(report), lambda: next(now)))
    assert reports == [("alarmed", "stalled")]
    assert sum(map(len, got)) > 3 * RATE


def test_standard_input_that_stays_open_and_silent_ends_the_utterance_and_is_told_until_it_goes_on() -> None:
    environment = {**os.environ, "AFFECTD_AUDIO_STALLED_SECONDS": "1"}
    speech = as_int16(gain(syllables(4), -12))
    with subprocess.Popen(
        [sys.executable, "-m", "affectd", "run", "--source", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(PATIENCE_SECONDS, process.kill)
        timer.start()
        sound = np.concatenate([silence(1), speech])
        process.stdin.write(raw_sound(sound))
        process.stdin.flush()
        events = []
        while not {"end", "alarmed"} <= {event.get("phase") or event["state"] for event in events}:
            events.append(json.loads(process.stdout.readline()))
        assert [event["phase"] for event in events if event["type"] == "emotion"][-1] == "end"
        status = next(event for event in events if event["type"] == "status")
        assert (status["state"], status["reason"]) == ("alarmed", "stalled")
        jsonschema.validate(status, event_schema())

        process.stdin.write(raw_sound(gain(noise("pink", 2), -40)))
        process.stdin.flush()
        states = [json.loads(process.stdout.readline())["state"] for _ in range(2)]
        assert states == ["recovering", "healthy"]
        began = time.monotonic()
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0
        assert time.monotonic() - began < 1.0
        timer.cancel()


def test_a_pipe_that_does_not_block_has_not_ended_when_nothing_comes() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)  # as a program of Node.js leaves it
    with subprocess.Popen(
        [sys.executable, "-m", "affectd", "run", "--source", "-"], stdin=reading, stdout=subprocess.PIPE
    ) as process:
        os.close(reading)
        timer = threading.Timer(PATIENCE_SECONDS, process.kill)
        timer.start()
        assert process.stdout is not None
        word = as_int16(np.concatenate([silence(1), gain(syllables(2), -12), silence(1)]))
        for _ in range(2):
            os.write(writing, raw_sound(word)[:60000])
            os.write(writing, raw_sound(word)[60000:])
            while json.loads(process.stdout.readline())["phase"] != "end":
                pass
        os.close(writing)
        assert process.wait(PATIENCE_SECONDS) == 0
        timer.cancel()


def live(samples: np.ndarray, speed: float, block: int = 1600) -> tuple[list[tuple[str, str]], Losses]:
    """Return what is told of a stream that is waited for."""
    now, losses = Clock(), Losses()
    reports: list[tuple[str, str]] = []

    def source() -> Iterator[np.ndarray]:
        for start in range(0, len(samples), block):
            now.taken.acquire()
            now.seconds += block / RATE / speed
            yield as_int16(samples[start : start + block])

    stream = attended(source(), RATE, CONFIG, lambda *report: reports.append(report), now, losses)
    now.taken.release()
    for _ in stream:
        now.taken.release()
    return reports, losses


class Clock:
    """Goes on while the source makes a block, which it does when the one before is done."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.taken = threading.Semaphore(0)

    def __call__(self) -> float:
        return self.seconds


@pytest.mark.parametrize("speed", [0.3, 0.5, 0.8, 1.5, 2.0])
def test_a_stream_at_a_wrong_speed_is_told(speed: float) -> None:
    reports, losses = live(gain(noise("pink", 40 * max(1, speed)), -30), speed)
    assert reports == [("degraded", "rate")]
    assert losses.degraded == {"rate": speed}


def test_a_live_stream_of_a_loop_is_told_and_a_right_one_is_not() -> None:
    reports, losses = live(np.tile(gain(noise("pink", 4.4), -30), 8), 1.0)
    assert reports == [("degraded", "repeated")]
    assert losses.degraded == {"repeated": 4.4}
    assert live(gain(noise("pink", 60), -30), 1.0)[0] == []


def test_a_recording_that_is_piped_fast_has_no_speed_and_its_loops_are_no_fault() -> None:
    assert live(np.tile(gain(noise("pink", 2.0), -30), 100), 20.0)[0] == []

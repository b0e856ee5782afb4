"""Sources: the same samples whatever they come from, and a sentence where none come."""

from __future__ import annotations

import io
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectd.audio.containers import Origin
from affectd.audio.source import open_source, paced, raw_blocks, wav_blocks
from affectd.config.sections import AudioConfig
from affectd.errors import NoInputError
from pipe import Pipe
from sounds import write_wav

STREAM = Origin("Standard input")


def test_a_slow_sender_is_heard_at_once() -> None:
    class Slow(io.RawIOBase):
        pieces = iter([b"\0\1" * 50])

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:
            piece = next(self.pieces, None)
            assert piece, "asked for more before it gave what was there"
            buffer[: len(piece)] = piece
            return len(piece)

    assert len(next(raw_blocks(io.BufferedReader(Slow()), STREAM))) == 50


def test_a_wav_at_the_wanted_rate_is_yielded_unchanged(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, (10_001, 1))
    blocks = list(open_source(AudioConfig(source=str(write_wav(tmp_path / "a.wav", samples / 32767, 16000))), 16000))
    assert all(block.dtype == np.float32 and block.ndim == 1 for block in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks) * 2**15, samples[:, 0])


def test_a_wav_of_another_rate_is_resampled_and_its_channels_averaged(tmp_path: Path) -> None:
    time = np.arange(44100) / 44100
    samples = np.stack([20000 * np.sin(2 * np.pi * 440 * time), np.zeros_like(time)], axis=1).round()
    output = np.concatenate(list(wav_blocks(write_wav(tmp_path / "a.wav", samples / 32767, 44100), 16000)))
    assert len(output) == 16000
    expected = 10000 / 2**15 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    np.testing.assert_allclose(output[200:-200], expected[200:-200], atol=2e-4)


def test_a_bad_file_is_refused_when_it_is_opened_not_when_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match="does not exist"):
        open_source(AudioConfig(source=str(tmp_path / "missing.wav")), 16000)


@given(data=st.binary(min_size=2, max_size=10_000), cuts=st.lists(st.integers(0, 10_000), max_size=6))
def test_raw_samples_do_not_depend_on_how_the_pipe_cut_them(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(data)]
    pipe = io.BufferedReader(Pipe([data[a:b] for a, b in itertools.pairwise(edges)]))
    blocks = list(raw_blocks(pipe, STREAM))
    expected = np.frombuffer(data[: len(data) // 2 * 2], "<i2") / 2**15
    received = np.concatenate([np.zeros(0, np.float32), *blocks])
    assert received.dtype == np.float32
    np.testing.assert_array_equal(received, expected)


def test_what_ends_in_the_middle_of_a_sample_is_heard_to_the_last_whole_one(caplog: pytest.LogCaptureFixture) -> None:
    (block,) = raw_blocks(io.BytesIO(b"\x00\x40\x00"), STREAM)
    assert block.tolist() == [0.5]
    (said,) = caplog.messages
    assert said.startswith("Standard input ends in the middle of a sample, after 3 bytes: it is read to the last whole")
    assert said.endswith("as raw 16-bit little-endian mono PCM")  # perhaps it is something else


@pytest.mark.parametrize("data", [b"", b"\0"])
def test_a_stream_without_a_whole_sample_is_no_input(data: bytes) -> None:
    with pytest.raises(NoInputError, match="before its first sample"):
        list(raw_blocks(io.BytesIO(data), STREAM))


PROGRAM = """
import sys
from affectd.audio.source import open_source
from affectd.config.sections import AudioConfig
from affectd.errors import AffectdError
try:
    n = sum(map(len, open_source(AudioConfig(source="-"), 16000)))
except AffectdError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
print(n)
"""


@pytest.mark.parametrize(
    ("stdin", "exit_code"),
    [(b"", 66), (b"\0", 66), (b"\0" * 6, 0), (b"\0" * 7, 0)],
    ids=["closed at once", "one byte", "six bytes", "seven bytes"],
)
def test_standard_input_of_a_real_program(stdin: bytes, exit_code: int) -> None:
    command = [sys.executable, "-c", PROGRAM]
    result = subprocess.run(command, input=stdin, capture_output=True, env=child(), check=False)
    assert result.returncode == exit_code
    assert result.stdout.decode().strip() == ("" if exit_code else "3")
    assert len(result.stderr.splitlines()) == (1 if exit_code or len(stdin) % 2 else 0)


@pytest.mark.parametrize("redirection", ["<&-", "</"], ids=["none at all", "a directory"])
def test_standard_input_that_cannot_be_read_is_no_input(redirection: str) -> None:
    command = f'"$0" -c "$1" {redirection}'
    result = subprocess.run(
        ["sh", "-c", command, sys.executable, PROGRAM], capture_output=True, env=child(), check=False
    )
    assert b"Traceback" not in result.stderr
    # Some versions of Python refuse a directory as stdin themselves, before our first line.
    if b"Fatal Python error" not in result.stderr and b"can't initialize" not in result.stderr:
        assert result.returncode == 66


def test_standard_input_that_does_not_block_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """As some parents leave it; a pause is not the end."""
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    with open(read_end, "rb") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        blocks = open_source(AudioConfig(source="-"), 16000)
        assert os.get_blocking(read_end)
        os.write(write_end, b"\0" * 6)
        os.close(write_end)
        assert sum(map(len, blocks)) == 3


def child() -> dict[str, str]:
    """Return an environment in which a subprocess finds the same packages as this test."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def test_pacing_never_runs_ahead_never_drifts_and_catches_up() -> None:
    now = [100.0]
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds + 0.003  # as inexact as a real one

    blocks = [np.zeros(n, np.float32) for n in (1600, 1600, 1600, 0, 1600, 800)]
    source = paced(blocks, 16000, clock=lambda: now[0], sleep=sleep)
    times = []
    for index, _ in enumerate(source):
        times.append(now[0] - 100)
        if index == 1:
            now[0] += 0.15  # the consumer was busy for longer than a block
    due = np.cumsum([len(block) for block in blocks]) / 16000
    np.testing.assert_allclose(times, [0.103, 0.203, 0.353, 0.353, 0.403, 0.453], atol=1e-9)
    assert (np.array(times) >= due).all()
    assert len(waits) == 4


def test_a_signal_ends_the_wait_of_a_paced_source() -> None:
    def handler(*_: object) -> None:
        raise InterruptedError

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(InterruptedError):
            next(paced([np.zeros(16000 * 600, np.float32)], 16000))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_realtime_paces_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_wav(tmp_path / "a.wav", np.zeros(1600))
    now, waits = [0.0], list[float]()
    monkeypatch.setitem(paced.__kwdefaults__, "clock", lambda: now[0])
    monkeypatch.setitem(paced.__kwdefaults__, "sleep", waits.append)
    list(open_source(AudioConfig(source=str(path)), 16000))
    assert waits == []
    list(open_source(AudioConfig(source=str(path)), 16000, realtime=True))
    assert waits[0] == 0.1

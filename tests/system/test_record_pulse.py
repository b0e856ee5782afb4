"""`affectd record` in a room: a PulseAudio sink is heard; stopping the server is pulling the plug."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import soundfile

from broker import wait_until
from room import Room, needs_room
from sounds import SAMPLE_RATE, gain, silence, syllables, write_wav

PATIENCE_SECONDS = 120
BRIEF_SECONDS = 10  # on an idle machine 0.7

pytestmark = needs_room


@contextmanager
def recording(room: Room, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Record into talk.wav, and go on once the microphone is open."""
    with subprocess.Popen(
        [sys.executable, "-m", "affectd", "record", "talk.wav", "--everyone-knows", *words],
        env=room.environment,
        cwd=room.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        try:
            assert program.stderr is not None
            while not (line := program.stderr.readline()).startswith("affectd: recording "):
                assert line, "it has ended"
            yield program
        finally:
            program.kill()


def wait_for_samples(room: Room, seconds: float) -> None:
    """Return when so much is in the file that is being written."""
    part = room.folder / "talk.wav.part"
    wait_until(lambda: part.stat().st_size >= 44 + 2 * SAMPLE_RATE * seconds, PATIENCE_SECONDS)


def known(room: Room) -> dict[str, Any]:
    return json.loads((room.folder / "talk.json").read_text())


def test_what_is_said_is_in_the_recording_and_trimming_leaves_little_else(room: Room) -> None:
    word = gain(syllables(2.0), -12)
    path = write_wav(room.folder / "word.wav", np.concatenate([silence(1), word, silence(0.5)]))
    # Until all of it is there, however late a busy machine plays it.
    with recording(room, "--seconds", "600", "--trim", "--label", "happy") as program:
        room.play(path)
        n_bytes = (room.folder / "talk.wav.part").stat().st_size
        wait_for_samples(room, n_bytes / 2 / SAMPLE_RATE + 3.0)
        program.send_signal(signal.SIGTERM)
        assert program.wait(PATIENCE_SECONDS) == 0
    heard, rate = soundfile.read(room.folder / "talk.wav", dtype="float32")
    assert rate == SAMPLE_RATE
    assert 2.0 <= len(heard) / rate <= 4.0
    assert known(room)["seconds"] == pytest.approx(len(heard) / rate, abs=1e-3)
    assert known(room)["trimmed_seconds"] > 3.0
    # Where the word is, it is the word: the sound server resamples twice.
    match = np.correlate(heard, word[:16000], "valid")
    at = int(np.abs(match).argmax())
    part = heard[at : at + 16000]
    assert np.corrcoef(part, word[:16000])[0, 1] > 0.95
    assert np.flatnonzero(np.abs(heard) > 0.05)[0] / rate < 1.0


def test_stopping_it_keeps_what_was_recorded(room: Room) -> None:
    with recording(room, "--seconds", "600") as program:
        wait_for_samples(room, 1.0)
        program.send_signal(signal.SIGTERM)
        out, err = program.communicate(timeout=PATIENCE_SECONDS)
    assert program.returncode == 0
    assert out.startswith("talk.wav: 0:")
    seconds = soundfile.info(room.folder / "talk.wav").duration
    assert 1.0 <= seconds < 60
    assert known(room)["seconds"] == pytest.approx(seconds, abs=1e-3)
    assert f"affectd: talk.wav: {seconds:.1f} s, " in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGSTOP])
def test_a_sound_server_that_goes_away_or_hangs_leaves_what_was_recorded(room: Room, number: signal.Signals) -> None:
    # More than the two seconds for which a sink without a listener may sleep before it delivers the first sound.
    room.environment["AFFECTD_AUDIO_STALLED_SECONDS"] = "6"
    with recording(room, "--seconds", "600") as program:
        wait_for_samples(room, 1.0)
        room.signal(number)
        # Closing the microphone may take as long as the server hangs; neither the file nor the end waits for that.
        wait_until((room.folder / "talk.json").exists, PATIENCE_SECONDS)
        out, err = program.communicate(timeout=BRIEF_SECONDS)
    assert soundfile.info(room.folder / "talk.wav").duration >= 1.0
    assert (program.returncode, out) == (74, "")
    assert err.splitlines()[-1].startswith("affectd: ")
    assert not (room.folder / "talk.wav.part").exists()

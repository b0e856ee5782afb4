"""`affectd record` with a fake microphone: who is asked, what is refused, and what is kept when it ends early."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import signal
import sys
import threading
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectd import cli
from affectd.errors import UsageError
from affectd.recognition.model_file import find_model
from affectd.recorder.command import checked_label
from fake_pyaudio import FakeDevice, FakePyAudio
from sounds import as_int16, gain, silence, syllables

pytestmark = pytest.mark.skipif(not find_model().exists(), reason="no model file")
DOCS = Path(__file__).parents[3] / "docs"
TALK = as_int16(np.concatenate([silence(2), gain(syllables(3), -12), silence(3)]))


class Microphone(FakePyAudio):
    """Plays a sound as soon as it is opened, then calls `after`."""

    def __init__(self, samples: np.ndarray, after: Callable[[], None] = lambda: None, rate: int = 16000) -> None:
        super().__init__(FakeDevice(n_channels=1, rate=rate, accepts=lambda asked, n: asked == rate))
        self._samples, self._after = samples, after
        self.is_closed = threading.Event()

    def open(self, **options: Any) -> Any:
        stream = super().open(**options)
        threading.Thread(target=self._deliver).start()
        return stream

    def terminate(self) -> None:
        super().terminate()
        self.is_closed.set()

    def _deliver(self) -> None:
        steps = np.round(self._samples * 32768).astype(np.int16)
        for first in range(0, len(steps), 4096):
            self.play(steps[first : first + 4096])
        self._after()

    def end(self) -> None:
        """As PortAudio does when the card is gone."""
        self.active = False

    def interrupt(self) -> None:
        """Ctrl-C, again and again until the command has ended."""
        while not self.is_closed.wait(0.05):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch) -> Callable[[Microphone], Microphone]:
    def plug(microphone: Microphone) -> Microphone:
        monkeypatch.setitem(sys.modules, "pyaudio", microphone)
        return microphone

    return plug


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the folder in which the command runs; standard input is no terminal."""
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("AFFECTD_AUDIO_STALLED_SECONDS", "1")
    # The fake microphone plays at once what a real one takes its time for.
    monkeypatch.setattr("affectd.audio.microphone._RING_SECONDS", 60.0)
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        yield folder


@pytest.fixture
def said(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """Return what gives the log and, after it, what else went to standard error."""
    caplog.set_level("INFO")
    return lambda: "".join(f"affectd: {message}\n" for message in caplog.messages) + capfd.readouterr().err


def record(*words: str, knows: bool = True) -> int:
    return cli.main(["record", *words, *(["--everyone-knows"] if knows else [])])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def samples_of(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def about(folder: Path, name: str = "talk.json") -> dict[str, Any]:
    return json.loads((folder / name).read_text())


def test_a_recording_has_every_sample_and_a_file_beside_it(
    plug: Callable[[Microphone], Microphone], folder: Path, said: Callable[[], str]
) -> None:
    plug(Microphone(TALK))
    assert record("talk.wav", "--seconds", "7", "--label", "happy") == 0
    assert names(folder) == ["talk.json", "talk.wav"]
    assert np.array_equal(samples_of(folder / "talk.wav"), np.round(TALK * 32768)[: 7 * 16000])
    known = about(folder)
    assert (known["label"], known["sample_rate"], known["seconds"]) == ("happy", 16000, 7.0)
    assert (known["clipped_samples"], known["lost_seconds"], known["trimmed_seconds"]) == (0, 0.0, 0.0)
    assert 2.5 < known["speech_seconds"] < 4.5
    assert "talk.wav: 7.0 s, " in said()


def test_trimming_leaves_the_words_and_says_when_they_began(
    plug: Callable[[Microphone], Microphone], folder: Path
) -> None:
    plug(Microphone(TALK))
    assert record("all.wav", "--seconds", "7.5") == 0
    plug(Microphone(TALK))
    assert record("talk.wav", "--seconds", "7.5", "--trim") == 0
    whole, part = samples_of(folder / "all.wav"), samples_of(folder / "talk.wav")
    known = about(folder)
    assert 3 < known["seconds"] < 5.5
    assert known["seconds"] + known["trimmed_seconds"] == pytest.approx(7.5)
    first = int(np.flatnonzero(part)[0])
    offset = int(np.flatnonzero(whole)[0]) - first
    assert np.array_equal(part, whole[offset : offset + len(part)])
    assert np.count_nonzero(part) == np.count_nonzero(whole)


def test_there_is_nothing_to_trim_without_speech(
    plug: Callable[[Microphone], Microphone], folder: Path, said: Callable[[], str]
) -> None:
    plug(Microphone(silence(3)))
    assert record("talk.wav", "--seconds", "2", "--trim") == 0
    known = about(folder)
    assert (known["seconds"], known["speech_seconds"], known["level_dbfs"], known["label"]) == (2.0, 0.0, None, None)
    assert "no speech was heard, so nothing was trimmed" in said()


def test_every_field_of_the_file_beside_it_is_explained(plug: Callable[[Microphone], Microphone], folder: Path) -> None:
    plug(Microphone(TALK))
    assert record("talk.wav", "--seconds", "1") == 0
    section = (DOCS / "user-guide.md").read_text().split("\n## Recording\n")[1].split("\n## ")[0]
    (example,) = re.findall(r"```json\n(.*?)```", section, re.DOTALL)
    assert list(json.loads(example)) == list(about(folder))
    rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(about(folder))


@pytest.mark.parametrize("rate", [44100, 48000])
def test_a_card_with_a_rate_of_its_own_gives_as_many_seconds(
    plug: Callable[[Microphone], Microphone], folder: Path, rate: int
) -> None:
    t = np.arange(4 * rate) / rate
    plug(Microphone((0.5 * np.sin(2 * np.pi * 440 * t)).astype(np.float32), rate=rate))
    assert record("talk.wav", "--seconds", "3") == 0
    heard = samples_of(folder / "talk.wav")
    assert len(heard) == 3 * 16000
    expected = 16384 * np.sin(2 * np.pi * 440 * np.arange(len(heard)) / 16000)
    assert np.abs(heard - expected)[200:].max() < 40
    assert (about(folder)["microphone_rate"], about(folder)["sample_rate"]) == (rate, 16000)


def test_clipping_is_counted_and_said(
    plug: Callable[[Microphone], Microphone], folder: Path, said: Callable[[], str]
) -> None:
    loud = np.zeros(20000, np.float32)
    loud[100:103], loud[200:202] = 32767 / 32768, -1.0
    plug(Microphone(loud))
    assert record("talk.wav", "--seconds", "1") == 0
    assert about(folder)["clipped_samples"] == 5
    assert "too loud: 5 samples clipped" in said()


def test_ctrl_c_stops_and_keeps_what_there_is(plug: Callable[[Microphone], Microphone], folder: Path) -> None:
    microphone = Microphone(TALK)
    microphone._after = microphone.interrupt
    plug(microphone)
    assert record("talk.wav", "--seconds", "600") == 0
    assert names(folder) == ["talk.json", "talk.wav"]
    n = len(samples_of(folder / "talk.wav"))
    assert 0 < n <= len(TALK)
    assert about(folder)["seconds"] == pytest.approx(n / 16000, abs=1e-3)
    assert microphone.history[-2:] == ["closed", "terminated"]


def test_stopped_before_the_first_sample_leaves_nothing(
    plug: Callable[[Microphone], Microphone], folder: Path, said: Callable[[], str]
) -> None:
    microphone = Microphone(silence(0))
    microphone._after = microphone.interrupt
    plug(microphone)
    assert record("talk.wav", "--seconds", "600") == 66
    assert names(folder) == []
    assert "Stopped before the first sample: nothing was recorded." in said()


def test_a_microphone_that_vanishes_leaves_what_was_heard(
    plug: Callable[[Microphone], Microphone], folder: Path, said: Callable[[], str]
) -> None:
    microphone = Microphone(TALK)
    microphone._after = microphone.end
    plug(microphone)
    assert record("talk.wav", "--seconds", "20") == 74
    assert np.array_equal(samples_of(folder / "talk.wav"), np.round(TALK * 32768))
    assert about(folder)["seconds"] == 8.0
    assert said().splitlines()[-1].startswith("affectd: USB thing: Audio (hw:1,0) has ended its stream")


def test_a_microphone_that_never_delivers_leaves_nothing(
    plug: Callable[[Microphone], Microphone], folder: Path, said: Callable[[], str]
) -> None:
    plug(Microphone(silence(0)))
    assert record("talk.wav", "--seconds", "20") == 74
    assert names(folder) == []
    assert "delivers nothing any more" in said()


def test_a_disk_that_fills_leaves_what_was_written(
    plug: Callable[[Microphone], Microphone],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: Callable[[], str],
) -> None:
    true = os.pwrite

    def pwrite(file: int, data: bytes, offset: int) -> int:
        if offset > 100_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return true(file, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    plug(Microphone(TALK))
    assert record("talk.wav", "--seconds", "20") == 69
    heard = samples_of(folder / "talk.wav")
    assert 50_000 <= len(heard) < 60_000
    assert np.array_equal(heard, np.round(TALK * 32768)[: len(heard)])
    assert said().splitlines()[-1] == "affectd: talk.wav cannot be written: No space left on device."


def test_a_disk_without_room_is_known_before_anyone_speaks(
    plug: Callable[[Microphone], Microphone],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: Callable[[], str],
) -> None:
    microphone = plug(Microphone(TALK))
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((4096, 4096, 9, 9, 300, 9, 9, 9, 0, 255)))
    assert record("talk.wav", "--seconds", "600") == 69
    assert "may take 19.3 MB, and 1.2 MB are free" in said()
    assert (names(folder), microphone.history) == ([], [])


def test_a_file_system_that_does_not_tell_its_free_space_is_recorded_to(
    plug: Callable[[Microphone], Microphone], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug(Microphone(TALK))
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((1024, 1024, 0, 0, 0, 0, 0, 0, 0, 255)))
    assert record("talk.wav", "--seconds", "2") == 0
    assert len(samples_of(folder / "talk.wav")) == 2 * 16000


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["talk.wav", "--seconds", "601"], "from 1 to 600"),
        (["talk.wav", "--seconds", "0.5"], "from 1 to 600"),
        (["talk.wav", "--seconds", "nan"], "from 1 to 600"),
        (["talk.wav", "--seconds", "inf"], "from 1 to 600"),
        (["talk.wav", "--seconds", "-3"], "from 1 to 600"),
        (["talk.wav", "--seconds", "long"], "invalid float value"),
        (["talk.wav"], "--seconds"),
        (["talk.mp3", "--seconds", "3"], "ends in .wav"),
        (["there.wav", "--seconds", "3"], "there.wav is there already, and a recording never replaces a file"),
        (["known.wav", "--seconds", "3"], "known.json is there already"),
        (["going.wav", "--seconds", "3"], "going.wav.part is there already"),
        (["cut.wav", "--seconds", "3"], "cut.json.part is there already"),
        (["link.wav", "--seconds", "3"], "link.wav is there already"),
        (["nowhere/talk.wav", "--seconds", "3"], "nowhere is not a folder"),
        (["there.wav/talk.wav", "--seconds", "3"], "there.wav is not a folder"),
        (["x" * 300 + "/talk.wav", "--seconds", "3"], "x is not a folder"),
        (["talk.wav", "--seconds", "3", "--label", " "], "1 to 64 characters"),
        (["talk.wav", "--seconds", "3", "--label", "a\x1b[31m"], "1 to 64 characters"),
        (["talk.wav", "--seconds", "3", "--label", "x" * 65], "1 to 64 characters"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_what_cannot_be_is_refused_before_the_microphone_is_opened(
    plug: Callable[[Microphone], Microphone],
    folder: Path,
    said: Callable[[], str],
    words: list[str],
    sentence: str,
) -> None:
    microphone = plug(Microphone(TALK))
    mine = ("there.wav", "known.json", "going.wav.part", "cut.json.part")
    for name in mine:
        (folder / name).write_text("mine")
    (folder / "link.wav").symlink_to("nowhere.wav")
    before = names(folder)
    assert record(*words) == 64
    err = said()
    assert sentence in err
    assert err.count("\n") == 1
    assert "\x1b" not in err
    assert (names(folder), microphone.history) == (before, [])
    assert all((folder / name).read_text() == "mine" for name in mine)


def test_without_a_terminal_someone_must_say_that_everyone_knows(
    plug: Callable[[Microphone], Microphone], folder: Path, said: Callable[[], str]
) -> None:
    microphone = plug(Microphone(TALK))
    assert record("talk.wav", "--seconds", "3", knows=False) == 64
    assert said() == (
        "affectd: Everyone in the room must know before they are recorded. There is no terminal to ask: tell them, and "
        "add --everyone-knows.\n"
    )
    assert (names(folder), microphone.history) == ([], [])


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    """Return what types at the terminal that standard input then is."""
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "r") as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        yield lambda typed: os.write(ours, typed)
    os.close(ours)


@pytest.mark.parametrize(
    ("typed", "code"), [(b"y", 0), (b"YES", 0), (b"n", 64), (b"", 64), (b"yesterday", 64), (b"\xff", 64)]
)
def test_a_terminal_is_asked_and_only_a_yes_records(
    plug: Callable[[Microphone], Microphone],
    terminal: Callable[[bytes], None],
    folder: Path,
    said: Callable[[], str],
    typed: bytes,
    code: int,
) -> None:
    microphone = plug(Microphone(TALK))
    terminal(typed + b"\n")
    assert record("talk.wav", "--seconds", "3", knows=False) == code
    err = said()
    assert "Does everyone in the room know, and agree? [y/N]" in err
    assert (names(folder) != [], microphone.history != []) == (code == 0, code == 0)
    assert ("Nothing was recorded: everyone in the room must know first." in err) == (code != 0)


def test_the_end_of_the_input_is_no_yes(
    plug: Callable[[Microphone], Microphone], terminal: Callable[[bytes], None], folder: Path
) -> None:
    plug(Microphone(TALK))
    terminal(b"\x04")
    assert record("talk.wav", "--seconds", "3", knows=False) == 64
    assert names(folder) == []


def test_a_label_of_ones_own_is_kept_and_said(
    plug: Callable[[Microphone], Microphone], folder: Path, said: Callable[[], str]
) -> None:
    plug(Microphone(TALK))
    assert record("talk.wav", "--seconds", "1", "--label", " half  asleep ") == 0
    assert about(folder)["label"] == "half asleep"
    assert "half asleep is none of the labels of the model: neutral, calm, " in said()


@given(st.text())
def test_a_label_is_one_printable_line_or_refused(text: str) -> None:
    try:
        label = checked_label(text)
    except UsageError:
        return
    assert label.isprintable()
    assert label == checked_label(label) == label.strip()
    assert 1 <= len(label) <= 64


def test_without_a_terminal_there_are_plain_lines(
    plug: Callable[[Microphone], Microphone], said: Callable[[], str]
) -> None:
    plug(Microphone(np.concatenate([TALK] * 4)))
    assert record("talk.wav", "--seconds", "25") == 0
    lines = said().splitlines()
    assert (
        lines[0] == "affectd: recording 25 s from USB thing: Audio (hw:1,0); Ctrl-C stops and keeps what was recorded"
    )
    assert [line.split(",")[0] for line in lines if "left" in line] == ["affectd: 15 s left", "affectd: 5 s left"]
    assert all(line.isprintable() for line in lines)


def test_on_a_terminal_one_line_counts_down_and_is_cleared(
    plug: Callable[[Microphone], Microphone], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = io.BytesIO()
    monkeypatch.setattr("affectd.recorder.countdown.os.isatty", lambda number: True)
    monkeypatch.setattr("affectd.recorder.countdown.write_when_ready", lambda number, data, timeout: shown.write(data))
    plug(Microphone(np.concatenate([TALK, np.ones(1600, np.float32), TALK])))
    assert record("talk.wav", "--seconds", "15") == 0
    lines = [line.rstrip() for line in shown.getvalue().decode().split("\r")]
    assert lines[1] == "0:15 left  [--------------------]  silence"
    assert any("#" in line and "dBFS" in line for line in lines)
    assert sum("TOO LOUD" in line for line in lines) in (1, 2)
    left = [int(line.split(":")[1][:2]) for line in lines if "left" in line]
    assert left == sorted(left, reverse=True)
    assert (left[-1], lines[-2:]) == (0, ["", ""])
    assert max(map(len, lines)) < 80

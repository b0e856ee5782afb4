"""Opening a microphone: formats, channels, stable names, and what is said when it cannot be."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from affectd.audio import portaudio
from affectd.audio.devices import list_microphones
from affectd.audio.microphone import PIECE_SECONDS, Losses, open_microphone
from affectd.audio.source import open_source
from affectd.config.sections import AudioConfig
from affectd.errors import AudioError, MicrophoneError, UnavailableError
from fake_pyaudio import FakeDevice, FakePyAudio


def use(monkeypatch: pytest.MonkeyPatch, fake: FakePyAudio) -> FakePyAudio:
    monkeypatch.setitem(sys.modules, "pyaudio", fake)
    return fake


def tone(rate: int, seconds: float = 1.0) -> np.ndarray:
    return (20000 * np.sin(2 * np.pi * 440 * np.arange(round(rate * seconds)) / rate)).astype(np.int16)


@pytest.fixture
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return what sets the content of /proc/asound/cards."""
    (tmp_path / "proc/asound").mkdir(parents=True)
    monkeypatch.setattr("affectd.audio.microphone.ROOT", tmp_path)

    def write(lines: str) -> None:
        (tmp_path / "proc/asound/cards").write_text(lines)

    return write


@pytest.mark.parametrize(
    ("accepts", "n_channels", "default", "asked"),
    [
        (lambda rate, n: True, 2, 44100.0, [(16000, 1)]),
        (lambda rate, n: rate == 44100, 2, 44100.0, [(16000, 1), (16000, 2), (44100, 1)]),
        (lambda rate, n: rate == 48000, 1, 44100.0, [(16000, 1), (44100, 1), (48000, 1)]),
        (lambda rate, n: (rate, n) == (44100, 4), 4, 44100.0, None),
    ],
    ids=["what we want", "its rate only", "another rate than its default", "its rate and four channels only"],
)
def test_a_microphone_is_taken_as_it_is_and_resampled(
    monkeypatch: pytest.MonkeyPatch,
    accepts: Callable[[int, int], bool],
    n_channels: int,
    default: float,
    asked: list[tuple[int, int]] | None,
) -> None:
    fake = use(monkeypatch, FakePyAudio(FakeDevice(n_channels=n_channels, rate=default, accepts=accepts)))
    source = open_source(AudioConfig(), 16000)
    fake.play(tone(fake.asked[-1][0]))
    samples = np.zeros(0, np.float32)
    while len(samples) < 15000:
        samples = np.concatenate([samples, next(source)])
    if asked is not None:
        assert fake.asked == asked
    expected = np.sin(2 * np.pi * 440 * np.arange(15000) / 16000) * 20000 / 2**15 / fake.asked[-1][1]
    np.testing.assert_allclose(samples[200:15000], expected[200:], atol=2e-4)
    source.close()  # type: ignore[attr-defined]
    assert fake.history == ["started", "opened 1", "closed", "terminated"]


@pytest.mark.parametrize(("channel", "asked", "value"), [("mix", 1, None), (0, 2, 100), (2, 3, 300)])
def test_the_channel_asked_for_is_heard(
    monkeypatch: pytest.MonkeyPatch, channel: int | str, asked: int, value: int | None
) -> None:
    fake = use(monkeypatch, FakePyAudio(FakeDevice(n_channels=4)))
    with open_microphone(16000, channel=channel) as stream:
        assert fake.asked == [(16000, asked)]
        if value is not None:
            fake.play(np.tile(np.array([100, 200, 300][:asked], np.int16), (160, 1)))
            assert set((stream.read(1)[1] * 2**15).tolist()) == {value}


def test_the_mix_is_the_mean_of_the_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = use(monkeypatch, FakePyAudio(FakeDevice(n_channels=2, accepts=lambda rate, n: n == 2)))
    with open_microphone(16000) as stream:
        fake.play(np.tile(np.array([32000, 31000], np.int16), (160, 1)))
        assert set((stream.read(1)[1] * 2**15).tolist()) == {31500}


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_card_and_pipeline_are_woken_for_pieces_of_one_duration_and_get_what_is_there_when_time_is_up(
    monkeypatch: pytest.MonkeyPatch, rate: int
) -> None:
    fake = use(monkeypatch, FakePyAudio(FakeDevice(n_channels=1, accepts=lambda asked, n: asked == rate)))
    piece = round(PIECE_SECONDS * rate)
    assert 3 <= 1 / PIECE_SECONDS <= 10, "wakings a second"
    with open_microphone(16000) as stream:
        assert fake.block_lengths == [piece]
        fake.play(np.ones(piece - 1, np.int16))
        began = time.monotonic()
        assert len(stream.read(0.2)[1]) == piece - 1
        assert time.monotonic() - began >= 0.2
        fake.play(np.ones(piece, np.int16))
        began = time.monotonic()
        assert len(stream.read(10)[1]) == piece
        assert time.monotonic() - began < 5
        fake.play(np.ones(piece, np.int16))
        began = time.monotonic()
        assert len(stream.read(0.2, n_pieces=2)[1]) == piece
        assert time.monotonic() - began >= 0.2
        fake.play(np.ones(3 * piece, np.int16))
        assert len(stream.read(10, n_pieces=2)[1]) == 2 * piece
        assert len(stream.read(10)[1]) == piece
        assert time.monotonic() - began < 5


class _Signalled(BaseException):
    """As the handler of `affectd.service.signals` raises it."""


@pytest.fixture
def hanging() -> Iterator[threading.Event]:
    """A call that hangs until the end of the test."""
    event = threading.Event()
    yield event
    event.set()
    portaudio.apart(lambda: None)  # until that call has ended


def test_a_signal_does_not_wait_for_a_sound_server_that_hangs_while_the_microphone_is_closed(
    monkeypatch: pytest.MonkeyPatch, hanging: threading.Event
) -> None:
    fake = use(monkeypatch, FakePyAudio(FakeDevice()))
    opened = open_microphone(16000)
    monkeypatch.setattr(opened.__enter__()._stream, "close", hanging.wait)
    began = time.monotonic()
    try:
        raise _Signalled
    except _Signalled as error:
        opened.__exit__(_Signalled, error, None)
    assert time.monotonic() - began < 1.0, "the whole program ends within a second"
    assert fake.history == ["started", "opened 1"], "what holds the stream is not disturbed"


@pytest.mark.parametrize("call", ["PyAudio", "open"])
def test_a_signal_ends_the_opening_of_a_microphone_in_a_sound_server_that_hangs(
    monkeypatch: pytest.MonkeyPatch, hanging: threading.Event, call: str
) -> None:
    fake = use(monkeypatch, FakePyAudio(FakeDevice()))

    def hang(**_: object) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        hanging.wait()

    def handle(number: int, frame: object) -> None:
        raise _Signalled

    monkeypatch.setattr(fake, call, hang)
    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with pytest.raises(_Signalled), open_microphone(16000):
            pass
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_channel_that_the_device_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FakePyAudio(FakeDevice(n_channels=2)))
    with (
        pytest.raises(MicrophoneError, match="has no channel 2, only 2") as caught,
        open_microphone(16000, channel=2),
    ):
        pass
    assert caught.value.reason == "refused"


def test_a_stable_name_finds_its_card_wherever_it_is_now(
    monkeypatch: pytest.MonkeyPatch, cards: Callable[[str], None]
) -> None:
    devices = [FakeDevice("default"), FakeDevice("HDA: (hw:0,0)"), FakeDevice("USB: Audio (hw:1,0)")]
    fake = use(monkeypatch, FakePyAudio(*devices))
    for lines, index in (
        (" 0 [PCH            ]: HDA\n 1 [Mic            ]: USB\n", 3),
        (" 0 [Mic            ]: USB\n 1 [PCH            ]: HDA\n", 2),
    ):
        cards(lines)
        with open_microphone(16000, "card:Mic"):
            assert fake.history[-1] == f"opened {index}"


def test_a_named_microphone_is_missing_busy_or_refused(
    monkeypatch: pytest.MonkeyPatch, cards: Callable[[str], None]
) -> None:
    def reason(*devices: FakeDevice) -> str:
        use(monkeypatch, FakePyAudio(*devices))
        with pytest.raises(MicrophoneError) as caught, open_microphone(16000, "card:Mic"):
            pass
        return caught.value.reason

    assert reason(FakeDevice("default")) == "missing"
    cards(" 1 [Mic            ]: USB\n")
    # PortAudio leaves a card out that another program holds, or lists it and cannot open it.
    assert reason(FakeDevice("default")) == "busy"
    assert reason(FakeDevice(busy=True)) == "busy"
    assert reason(FakeDevice(accepts=lambda rate, n: False)) == "refused"


def test_a_microphone_that_refuses_everything_is_an_audio_error(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = use(monkeypatch, FakePyAudio(FakeDevice(accepts=lambda rate, n: False)))
    with pytest.raises(AudioError, match=r"USB thing.*refuses every format.*Invalid sample rate"):
        open_source(AudioConfig(), 16000)
    assert fake.history == ["started", "terminated"]


def test_a_late_reader_is_told_how_much_was_dropped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fake = use(monkeypatch, FakePyAudio(FakeDevice(n_channels=1)))
    losses = Losses()
    with open_microphone(16000, losses=losses) as stream:
        fake.play(tone(16000, 11), status=fake.paInputOverflow)
        n_lost, samples = stream.read(1)
        assert (n_lost, len(samples)) == (16000, round(16000 * PIECE_SECONDS))
        assert stream.read(1)[0] == 0
    assert losses == Losses(1.0, math.ceil(11 * 16000 / 441))
    (line,) = [record.message for record in caplog.records]
    assert "1.00 s of sound dropped" in line
    assert f"{math.ceil(11 * 16000 / 441)} overflows" in line


def test_a_stream_that_ended_is_told_from_one_that_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = use(monkeypatch, FakePyAudio(FakeDevice()))
    with open_microphone(16000) as stream:
        assert len(stream.read(0.01)[1]) == 0
        fake.play(tone(16000, 0.1))
        fake.active = False
        assert len(stream.read(0.01)[1]) == 1600  # what was heard before is not lost
        with pytest.raises(MicrophoneError, match="has ended its stream") as caught:
            stream.read(0.01)
        assert caught.value.reason == "stalled"


def test_microphones_are_surveyed_with_names_rates_and_level(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], cards: Callable[[str], None]
) -> None:
    cards(
        " 1 [Mic            ]: USB\n 2 [Busy           ]: USB\n 3 [Mute           ]: USB\n 4 [Dead           ]: USB\n"
    )
    usb = lambda rate, n: rate in (44100, 48000) and n == 2  # noqa: E731
    devices = [FakeDevice(accepts=usb), FakeDevice("B: (hw:2,0)", busy=True), FakeDevice("M: (hw:3,0)")]
    fake = use(monkeypatch, FakePyAudio(*devices, FakeDevice("D: (hw:4,0)"), FakeDevice("default")))
    monkeypatch.setattr("affectd.audio.devices._TIMEOUT_SECONDS", 0.0)
    sounds = {1: tone(44100), 3: np.full(44100, -300, np.int16), 5: np.zeros(44100, np.int16)}
    opening = fake.open

    def open_and_play(**arguments: object) -> object:
        stream = opening(**arguments)  # type: ignore[arg-type]
        fake.play(sounds.get(int(str(arguments["input_device_index"])), np.zeros(0, np.int16)))
        return stream

    fake.open = open_and_play  # type: ignore[assignment, method-assign]
    found = list_microphones()
    assert [microphone.names for microphone in found] == [
        ("card:Mic",),
        ("card:Busy",),
        ("card:Mute",),
        ("card:Dead",),
        (),
    ]
    assert found[0].sample_rates == (44100, 48000)
    assert found[0].level_dbfs == pytest.approx(20 * math.log10(20000 / 2**15 / 2 / math.sqrt(2)), abs=0.1)
    assert [microphone.level_dbfs for microphone in found[1:]] == [None, -120.0, None, -120.0]
    assert found[4].name == "default"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("call", [list_microphones, lambda: open_source(AudioConfig(), 16000)])
def test_without_pyaudio_the_microphone_is_unavailable_and_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, call: Callable[[], object]
) -> None:
    monkeypatch.setitem(sys.modules, "pyaudio", None)
    with pytest.raises(UnavailableError, match=r"needs PyAudio.*portaudio19-dev.*pip install"):
        call()


def test_without_pyaudio_it_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyaudio", None)
    with pytest.raises(UnavailableError):
        next(open_source(AudioConfig(), 16000, patient=True))

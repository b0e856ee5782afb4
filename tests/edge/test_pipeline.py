"""The pipeline: the same events however the sound is cut, none without speech, nothing that grows."""

from __future__ import annotations

import gc
import itertools
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from affectd.config.sections import Config, ModelConfig, SmoothingConfig
from affectd.features.context import Context
from affectd.features.mfcc import Mfcc
from affectd.features.spec import FeatureSpec
from affectd.pipeline import run
from affectd.recognition.classifier import Classifier
from affectd.recognition.vad import Gate, band_level, preroll_frames
from fake_network import FakeNetwork
from kept import Repeatable
from sounds import CONVERSATION, as_int16, gain, long_stream, noise, silence, syllables
from tiny_model import tiny_model

SPEC = FeatureSpec()
FRAME_RATE = SPEC.sample_rate / SPEC.hop_length
STRIDE = ModelConfig().stride_frames


def blocks(samples: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (samples[start : start + size] for start in range(0, len(samples), size))


def listen(samples: np.ndarray, network: object, size: int = 1600, config: Config | None = None) -> Repeatable:
    kept = Repeatable()
    run(blocks(samples, size), network, kept, config or Config())
    return kept


def phases(events: Repeatable) -> list[tuple[str, str]]:
    return [(event["phase"], event["label"]) for event in events]


@settings(deadline=None, max_examples=30)
@given(size=st.integers(1, 48_000))
@example(size=1)
@example(size=4095)
@example(size=4096)
@example(size=4097)
@example(size=48_000)
def test_events_are_the_same_bit_for_bit_whatever_the_block_size(size: int) -> None:
    whole, cut = FakeNetwork("cccccaaaa"), FakeNetwork("cccccaaaa")
    expected = listen(CONVERSATION, whole, len(CONVERSATION))
    assert expected
    assert listen(CONVERSATION, cut, size) == expected
    assert len(cut.calls) == len(whole.calls)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(cut.calls, whole.calls, strict=True))


@settings(deadline=None, max_examples=10)
@given(sizes=st.lists(st.integers(0, 9000), min_size=1, max_size=12).filter(any))
def test_events_of_a_real_network_are_the_same_in_blocks_of_mixed_sizes(sizes: list[int]) -> None:
    classifier = Classifier(tiny_model())
    expected = listen(CONVERSATION, classifier)
    edges = itertools.accumulate(itertools.cycle(sizes))
    cuts = list(itertools.takewhile(lambda edge: edge < len(CONVERSATION), edges))
    kept = Repeatable()
    run(np.split(CONVERSATION, cuts), classifier, kept, Config())
    assert kept == expected
    assert expected


@pytest.mark.parametrize("kind", ["silence", "white", "pink", "brown", "hum", "dc"])
def test_without_speech_the_network_never_runs_and_nothing_is_said(kind: str) -> None:
    sound = silence(3) if kind == "silence" else gain(noise(kind, 6), -10)
    network = FakeNetwork()
    assert listen(np.concatenate([silence(2), sound, silence(2)]), network) == []
    assert network.calls == []


def test_without_speech_not_even_a_spectrum_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    bands = Mfcc.bands

    def counting(mfcc: Mfcc, frames: np.ndarray) -> np.ndarray:
        counted.append(len(frames))
        return bands(mfcc, frames)

    monkeypatch.setattr(Mfcc, "bands", counting)
    listen(gain(noise("white", 6), -30), FakeNetwork())
    assert counted == []
    word = np.concatenate([silence(30), gain(syllables(3), -20), silence(30)])
    network = FakeNetwork()
    listen(word, network)
    preroll = preroll_frames(Config().gate, FRAME_RATE)
    # Each frame once: the pre-roll at the opening, then one stride for each classification.
    assert counted == [preroll, *[STRIDE] * len(network.calls)]


@settings(deadline=None, max_examples=20)
@given(n_samples=st.integers(1, 200).map(lambda frames: frames * SPEC.hop_length))
def test_the_network_sees_the_same_bits_whenever_the_stream_began(n_samples: int) -> None:
    # Of the first utterance, for silence precedes it: its pre-roll holds nothing that the beginning could cut.
    sound = np.concatenate([silence(2), CONVERSATION])
    at_once, later = FakeNetwork(), FakeNetwork()
    listen(sound, at_once)
    listen(np.concatenate([np.zeros(n_samples, np.float32), sound]), later)
    assert at_once.calls
    assert [call.tobytes() for call in later.calls] == [call.tobytes() for call in at_once.calls]


def test_an_utterance_begins_changes_and_ends() -> None:
    samples = np.concatenate([silence(1), gain(syllables(6), -20), silence(2)])
    events = listen(samples, FakeNetwork("ccccccccaaaaaaaaaaaaaaaaaaaaaaaa"))
    assert phases(events) == [("start", "calm"), ("change", "angry"), ("end", "angry")]
    assert len({event["start_seconds"] for event in events}) == 1
    assert 0.5 < events[0]["start_seconds"] < 1.0, "the pre-roll reaches back to before the first syllable"
    ends = [event["end_seconds"] for event in events]
    assert ends == sorted(ends)
    assert 7.0 < ends[-1] < 7.8
    assert events[-1]["level_dbfs"] == pytest.approx(-33, abs=6)
    assert 0.5 < events[-1]["speech_ratio"] <= 1


def test_every_utterance_is_judged_for_itself() -> None:
    word = gain(syllables(2), -20)
    samples = np.concatenate([silence(1), word, silence(2), word, silence(2)])
    events = listen(samples, FakeNetwork("c" * 9 + "a" * 99))
    assert phases(events) == [("start", "calm"), ("end", "calm"), ("start", "angry"), ("end", "angry")]
    assert events[1]["end_seconds"] <= events[2]["start_seconds"]


def test_an_utterance_with_too_few_classifications_is_not_mentioned() -> None:
    network = FakeNetwork()
    config = Config(smoothing=SmoothingConfig(minimum_count=4))
    word = np.concatenate([silence(1), gain(syllables(0.3), -20), silence(2)])
    assert listen(word, network, config=config) == []
    assert 0 < len(network.calls) < 4


def test_a_sound_that_is_over_before_its_first_event_is_not_mentioned() -> None:
    network = FakeNetwork()
    assert listen(np.concatenate([silence(1), gain(syllables(0.3), -20), silence(2)]), network) == []
    assert len(network.calls) == SmoothingConfig().minimum_count, "the hangover of the gate lasts as long"
    said = listen(np.concatenate([silence(1), gain(syllables(0.8), -20), silence(2)]), FakeNetwork())
    assert phases(said) == [("start", "calm"), ("end", "calm")]


def test_the_first_event_comes_within_nine_tenths_of_a_second() -> None:
    start, *_ = listen(np.concatenate([silence(1), gain(syllables(3), -20), silence(2)]), FakeNetwork())
    # The sound card adds half a window and half of its block of 256 ms.
    assert start["end_seconds"] - 1.0 + 0.032 + 0.128 < 0.9


@settings(deadline=None, max_examples=20)
@given(size=st.integers(1, 9000), named=st.integers(0, 8))
def test_an_utterance_ends_with_the_label_it_was_given_in_blocks_of_any_size(size: int, named: int) -> None:
    # Calm for a while, then nothing in particular: on the whole no label reaches the threshold.
    script = "u" * 2 + "c" * named + "u" * 99
    samples = as_int16(np.concatenate([silence(1), gain(syllables(9), -20), silence(1)]))
    said = phases(listen(samples, FakeNetwork(script), size))
    on_the_way = {label for phase, label in said if phase != "end"} - {"uncertain"}
    assert said[-1] == ("end", "calm" if on_the_way else "uncertain")
    assert on_the_way == ({"calm"} if named >= 4 else on_the_way)


def test_an_utterance_still_open_at_the_end_of_the_stream_is_closed() -> None:
    events = listen(np.concatenate([silence(1), gain(syllables(2.1), -20)]), FakeNetwork())
    assert phases(events) == [("start", "calm"), ("end", "calm")]
    last_frame = int(3.1 * 16000) // SPEC.hop_length
    assert events[-1]["end_seconds"] == pytest.approx(last_frame / FRAME_RATE, abs=1e-3), "the center of the last frame"


def test_the_pre_roll_does_not_reach_into_the_utterance_before() -> None:
    word = gain(syllables(2), -20)
    # The gate closes half a second after the first word; the pre-roll of the second would reach further back.
    events = listen(np.concatenate([silence(1), word, silence(0.55), word, silence(1)]), FakeNetwork())
    assert [event["phase"] for event in events] == ["start", "end", "start", "end"]
    first, second = events[1]["end_seconds"], events[2]["start_seconds"]
    assert second == pytest.approx(first + 1 / FRAME_RATE, abs=2e-3)


@pytest.mark.parametrize("n_frames", [30, 400])
def test_the_network_sees_the_utterance_with_its_pre_roll_and_the_latest_frames(n_frames: int) -> None:
    network = FakeNetwork(n_frames=n_frames)
    listen(CONVERSATION, network)
    # The same from whole arrays: no framer, no stride, no ring.
    mfcc, config = Mfcc(SPEC), Config()
    frames = mfcc.frames(CONVERSATION)
    bands = mfcc.bands(frames)
    opened = Gate(config.gate, FRAME_RATE).push(band_level(frames, SPEC.sample_rate))
    edges = np.flatnonzero(np.diff(opened, prepend=False, append=False)).reshape(-1, 2)
    assert len(edges) >= 3
    expected = []
    before = 0
    for opens, closes in edges:
        first = max(opens - preroll_frames(config.gate, FRAME_RATE), before)
        for stop in range(opens + STRIDE, closes + 1, STRIDE):
            context = Context(n_frames, SPEC.n_bands, mfcc.floor)
            context.push(bands[first:stop])
            expected.append(mfcc.cepstra(context.view()))
        before = closes
    assert len(network.calls) == len(expected)
    np.testing.assert_allclose(network.calls, expected, atol=1e-3)


@settings(deadline=None, max_examples=20)
@given(n_frames=st.integers(1, 200))
@example(n_frames=8)
def test_labels_do_not_depend_on_when_the_stream_began(n_frames: int) -> None:
    classifier = Classifier(tiny_model())
    seconds = n_frames / FRAME_RATE

    def moved(event: dict) -> dict:
        return {
            **event,
            **{key: pytest.approx(event[key] + seconds, abs=2e-3) for key in ("start_seconds", "end_seconds")},
        }

    later = listen(np.concatenate([silence(seconds), CONVERSATION]), classifier)
    assert later == [moved(event) for event in listen(CONVERSATION, classifier)]
    assert later


def test_the_stride_alone_decides_how_often_the_network_runs() -> None:
    counts = []
    for stride_frames in (8, 16, 32):
        network = FakeNetwork()
        listen(CONVERSATION, network, config=Config(model=ModelConfig(stride_frames=stride_frames)))
        counts.append(len(network.calls))
    assert counts[0] == pytest.approx(2 * counts[1], abs=3)
    assert counts[1] == pytest.approx(2 * counts[2], abs=3)


def test_the_configured_threshold_beats_the_one_of_the_model() -> None:
    samples = np.concatenate([silence(1), gain(syllables(2), -20), silence(2)])
    events = listen(samples, FakeNetwork(), config=Config(smoothing=SmoothingConfig(uncertain=0.9)))
    assert phases(events) == [("start", "uncertain"), ("end", "uncertain")]


def test_a_stream_without_samples_gives_nothing() -> None:
    kept = Repeatable()
    run([], FakeNetwork(), kept, Config())
    run([silence(0)] * 3, FakeNetwork(), kept, Config())
    assert kept == []


def test_memory_does_not_grow_with_the_stream() -> None:
    minute = np.concatenate([gain(syllables(20), -20), silence(3), gain(noise("white", 7), -40)])
    used = []

    def stream() -> Iterator[np.ndarray]:
        for _ in range(14):
            gc.collect()
            used.append(tracemalloc.get_traced_memory()[0])
            yield from blocks(minute, 4096)

    class Forgetful:
        def write(self, event: dict) -> None:
            pass

    network = Classifier(tiny_model())
    tracemalloc.start()
    try:
        run(stream(), network, Forgetful(), Config())
    finally:
        tracemalloc.stop()
    assert used[-1] - used[7] < 20_000, "bytes, while three minutes of sound are 12 million"


def test_a_long_stream_gives_events_in_order_and_only_where_there_is_speech(speech_data: Path) -> None:
    stream = long_stream(speech_data, 600.0)
    events = listen(stream.samples, FakeNetwork("ccccaaaahhhh" * 200))
    speech = [(first, last) for kind, first, last in stream.spans if kind == "speech"]

    previous: dict = {"phase": "end", "start_seconds": 0.0, "end_seconds": 0.0}
    for event in events:
        if event["phase"] == "start":
            assert previous["phase"] == "end"
            assert event["start_seconds"] >= previous["end_seconds"]
        else:
            assert previous["phase"] in ("start", "change")
            assert event["start_seconds"] == previous["start_seconds"]
            assert event["end_seconds"] >= previous["end_seconds"]
        previous = event
    assert previous["phase"] == "end"

    heard = [(event["start_seconds"], event["end_seconds"]) for event in events if event["phase"] == "end"]
    for first, last in heard:
        assert any(first < stop and last > start for start, stop in speech), f"no speech at {first} s"
    found = sum(any(first < stop and last > start for first, last in heard) for start, stop in speech)
    assert found >= 0.95 * len([1 for start, stop in speech if stop - start > 2])


def test_new_thresholds_end_the_open_utterance_and_hold_from_then_on() -> None:
    """Never-ending speech: a threshold that waited for a pause would wait for ever."""
    speech = as_int16(np.concatenate([silence(1), gain(syllables(8), -12), silence(1)]))
    asked = itertools.count()
    uncertain = Config(smoothing=SmoothingConfig(uncertain=1.0))
    kept = Repeatable()
    run(
        blocks(speech, 1600),
        FakeNetwork("a" * 100),
        kept,
        Config(),
        reloaded=lambda: uncertain if next(asked) == 16 else None,
    )
    [before, after] = [event for event in kept if event["phase"] == "end"]
    assert (before["label"] != "uncertain", after["label"]) == (True, "uncertain")
    # Nothing is heard twice, and the time of the stream goes on.
    assert before["end_seconds"] < after["start_seconds"] < 6 < after["end_seconds"]
    without = listen(speech, FakeNetwork("a" * 100))
    assert [event["phase"] for event in without].count("end") == 1

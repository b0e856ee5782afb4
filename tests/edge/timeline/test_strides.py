"""The trace of a recording covers it, says of each stride what lies around it, and keeps to the rule of the device."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affectd.audio.source import wav_blocks
from affectd.config.sections import Config, GateConfig, ModelConfig, SmoothingConfig
from affectd.events.trace import trace_schema
from affectd.features.framing import frame_strides
from affectd.features.mfcc import Mfcc
from affectd.features.spec import FeatureSpec
from affectd.pipeline import run
from affectd.recognition.baseline import Heard, at_new_place
from affectd.recognition.classifier import Classifier
from affectd.recognition.model_file import find_model, read_model
from affectd.recognition.offline import Counted
from affectd.recognition.recording import classify_recording
from affectd.recognition.smoothing import Smoother
from affectd.recognition.vad import band_level, find_speech, preroll_frames
from affectd.timeline.strides import changes, trace
from affectd.timeline.summary import segments
from fake_network import LABELS, FakeNetwork
from sounds import CONVERSATION, as_int16, gain, noise, silence, syllables
from tiny_model import tiny_model

SPEC = FeatureSpec()
HOP_SECONDS = SPEC.hop_length / SPEC.sample_rate
CONFIG = Config()
STRIDE_SECONDS = CONFIG.model.stride_frames * HOP_SECONDS
CLASSIFIER = Classifier(read_model(find_model()))
DEMO = Path(__file__).parents[2] / "data" / "demo.wav"
SENTENCE = np.concatenate([*wav_blocks(DEMO, SPEC.sample_rate)])[: round(3.8 * SPEC.sample_rate)]
SPEECH = as_int16(np.concatenate([silence(1), gain(syllables(8), -20), silence(1.5)]))


def traced(samples: np.ndarray, network: FakeNetwork, config: Config = CONFIG, size: int = 4096) -> list[dict]:
    blocks = (samples[start : start + size] for start in range(0, len(samples), size))
    return list(trace(Counted(blocks), network, config))  # type: ignore[arg-type]


def guesses() -> Smoother:
    return changes(FakeNetwork(), CONFIG, threshold=0.0)  # type: ignore[arg-type]


def opened(lines: list[dict]) -> list[dict]:
    return [line for line in lines if line["gate_open"]]


def frames_of(line: dict) -> tuple[int, int]:
    """A line lies between the middles of two frames' centers; the last one ends with the sound."""
    first, stop = (math.ceil(line[name] / HOP_SECONDS + 0.4) for name in ("start_seconds", "end_seconds"))
    return first if line["start_seconds"] else 0, stop


def everything_at_once(samples: np.ndarray, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """The bands of all frames, and whether the gate is open at each, with the whole recording in memory."""
    strides = frame_strides([samples], SPEC, lambda: config.model.stride_frames * SPEC.hop_length)
    frames = list(strides)
    level = np.concatenate([band_level(some, SPEC.sample_rate) for some in frames])
    speech = find_speech(level, config.gate, SPEC.frame_rate)
    bands = np.concatenate([Mfcc(SPEC).bands(some) for some in frames])
    return bands, np.zeros(len(level), np.bool_) if speech is None else speech.opened


def pauses(is_open: np.ndarray) -> list[int]:
    return [len(list(same)) for flag, same in itertools.groupby(is_open.tolist()) if not flag]


PARTS = st.lists(
    st.tuples(st.sampled_from(["word", "pause", "noise"]), st.floats(0.05, 2.5), st.floats(-50, 0)),
    min_size=1,
    max_size=4,
)


def recording(parts: list[tuple[str, float, float]]) -> np.ndarray:
    sounds: dict[str, Callable[[float], np.ndarray]] = {
        "word": syllables,
        "pause": silence,
        "noise": lambda seconds: noise("pink", seconds),
    }
    return as_int16(np.concatenate([gain(sounds[kind](seconds), db) for kind, seconds, db in parts]))


@settings(max_examples=25)
@given(parts=PARTS, hangover=st.sampled_from([0.0, 0.5, 3.0]), stride=st.sampled_from([5, 16, 100]))
def test_lines_are_disjoint_cover_the_recording_and_are_open_exactly_where_the_gate_is(
    parts: list[tuple[str, float, float]], hangover: float, stride: int
) -> None:
    config = Config(gate=GateConfig(hangover_seconds=hangover), model=ModelConfig(stride_frames=stride))
    samples = recording(parts)
    lines = traced(samples, FakeNetwork(), config)
    edges = [0.0, *(line["end_seconds"] for line in lines)]
    assert [line["start_seconds"] for line in lines] == edges[:-1]
    assert edges == sorted(set(edges))
    assert edges[-1] == pytest.approx(len(samples) / SPEC.sample_rate, abs=HOP_SECONDS)
    assert edges[-1] <= round(len(samples) / SPEC.sample_rate, 3)
    _, is_open = everything_at_once(samples, config)
    said = np.concatenate(
        [np.full(stop - first, line["gate_open"]) for line in lines for first, stop in [frames_of(line)]]
    )
    np.testing.assert_array_equal(said, is_open)
    assert all(stop - first <= stride for first, stop in map(frames_of, lines))


@settings(max_examples=12)
@given(parts=PARTS)
def test_the_segments_last_as_long_as_the_speech(parts: list[tuple[str, float, float]]) -> None:
    samples = recording(parts)
    joined = list(segments(traced(samples, FakeNetwork("acha")), guesses()))
    for before, after in itertools.pairwise(joined):
        assert before.end_seconds <= after.start_seconds
    speech_seconds = classify_recording([samples], FakeNetwork(), CONFIG).speech_seconds  # type: ignore[arg-type]
    total = sum(segment.end_seconds - segment.start_seconds for segment in joined)
    assert total == pytest.approx(speech_seconds, abs=STRIDE_SECONDS / 2)


@settings(max_examples=15)
@given(size=st.integers(1, 60_000))
def test_the_lines_are_the_same_whatever_the_block_size(size: int) -> None:
    classifier = Classifier(tiny_model())
    assert traced(CONVERSATION, classifier, size=size) == traced(CONVERSATION, classifier, size=len(CONVERSATION))


def test_each_context_lies_around_its_stride_as_far_as_the_utterance_reaches() -> None:
    n_frames = 120
    # The pauses are shorter than the pre-roll, which must not reach into the utterance before.
    pause, word = silence(0.7), gain(syllables(0.5), -20)
    samples = as_int16(np.concatenate([SPEECH, word, pause, word, pause, gain(syllables(3), -20), silence(2)]))
    config = Config(gate=GateConfig(hangover_seconds=0.1, preroll_seconds=2.0))
    network = FakeNetwork(n_frames=n_frames)
    lines = opened(traced(samples, network, config))
    bands, is_open = everything_at_once(samples, config)
    assert any(1 < length < preroll_frames(config.gate, SPEC.frame_rate) for length in pauses(is_open))
    mfcc, closed_at = Mfcc(SPEC), 0
    assert len(network.calls) == len(lines) > 20
    for line, call in zip(lines, network.calls, strict=True):
        first, stop = frames_of(line)
        opening = first - int(is_open[:first][::-1].argmin())
        closing = stop + int(np.append(~is_open[stop:], True).argmax())
        closed_at = max((k for k in range(1, opening) if is_open[k - 1] and not is_open[k]), default=0)
        begin = max(closed_at, opening - preroll_frames(config.gate, SPEC.frame_rate))
        middle = (first + stop) // 2
        start = max(begin, min(middle - n_frames // 2, closing - n_frames))
        heard = bands[start : min(start + n_frames, closing)]
        context = np.concatenate([np.full((n_frames - len(heard), bands.shape[1]), mfcc.floor, np.float32), heard])
        np.testing.assert_array_equal(call, mfcc.cepstra(context))


def test_a_change_is_found_where_it_is_and_not_a_second_later() -> None:
    lines = opened(traced(SPEECH, FakeNetwork("c" * 12 + "a" * 40)))
    assert [line["label"] for line in lines] == ["calm"] * 12 + ["angry"] * (len(lines) - 12)
    assert lines[12]["probabilities"]["angry"] == pytest.approx(0.8)
    assert 0.4 < lines[12]["smoothed"]["angry"] < 0.6, "of the second around it, half is calm"


def test_probabilities_are_averaged_over_the_second_around_each_stride() -> None:
    lines = opened(traced(SPEECH, FakeNetwork("caachhaccaahhcacacahhcacahcahhcca")))
    bounds = [frames_of(line) for line in lines]
    for line, (first, stop) in zip(lines, bounds, strict=True):
        span = range((first + stop) // 2 - 31, (first + stop) // 2 + 31)
        weights = [len(range(max(span.start, a), min(span.stop, b))) for a, b in bounds]
        for label in LABELS:
            expected = np.average([other["probabilities"][label] for other in lines], weights=weights)
            assert line["smoothed"][label] == pytest.approx(expected, abs=1e-3)


def test_what_no_label_is_probable_enough_for_is_uncertain_as_on_the_device() -> None:
    config = Config(smoothing=SmoothingConfig(uncertain=0.85))
    lines = opened(traced(SPEECH, FakeNetwork("c"), config))
    assert {(line["label"], line["reason"], line["probability"]) for line in lines} == {
        ("uncertain", "below_threshold", 0.8)
    }
    (segment,) = segments(lines, guesses())
    assert (segment.label, segment.best_guess, segment.probability) == ("uncertain", "calm", 0.8)


def test_what_the_device_gives_no_event_for_has_no_label() -> None:
    events: list[dict] = []
    run([CONVERSATION], FakeNetwork(), SimpleNamespace(write=events.append), CONFIG)  # type: ignore[arg-type]
    named = [event for event in events if event["phase"] == "end"]
    utterances = [
        list(lines)
        for is_open, lines in itertools.groupby(traced(CONVERSATION, FakeNetwork()), lambda line: line["gate_open"])
        if is_open
    ]
    assert len(utterances) == len(named) + 1, "the short word in the middle"
    for utterance in utterances:
        start, end = utterance[0]["start_seconds"], utterance[-1]["end_seconds"]
        has_event = any(event["start_seconds"] < end and event["end_seconds"] > start for event in named)
        assert {line["label"] for line in utterance} == {"calm" if has_event else None}


def test_a_click_has_no_label_but_a_best_guess() -> None:
    config = Config(gate=GateConfig(hangover_seconds=0.0))
    lines = opened(
        traced(as_int16(np.concatenate([silence(2), gain(syllables(0.3), -10), silence(2)])), FakeNetwork(), config)
    )
    assert lines
    assert {(line["label"], line["smoothed"], line["reason"]) for line in lines} == {(None, None, "too_short")}
    (segment,) = segments(lines, guesses())
    assert (segment.label, segment.best_guess, segment.reason) == ("uncertain", "calm", "too_short")


def test_the_best_guess_changes_within_doubt_by_the_rule_of_the_device() -> None:
    config = Config(smoothing=SmoothingConfig(uncertain=1.0))
    lines = traced(SPEECH, FakeNetwork("c" * 12 + "h" + "c" * 6 + "a" * 40), config)
    joined = list(segments(lines, guesses()))
    assert [(segment.label, segment.best_guess) for segment in joined] == [
        ("uncertain", "calm"),
        ("uncertain", "angry"),
    ]
    assert joined[0].end_seconds == joined[1].start_seconds


def test_the_best_guess_of_an_utterance_does_not_wait_for_what_the_one_before_was() -> None:
    config = Config(smoothing=SmoothingConfig(uncertain=1.0, average_seconds=0.0))
    n = len(opened(traced(SPEECH, FakeNetwork(), config)))
    network = FakeNetwork("c" * (n - 2) + "hh" + "a" * n)
    joined = list(segments(traced(np.concatenate([SPEECH, SPEECH]), network, config), guesses()))
    assert [segment.best_guess for segment in joined] == ["calm", "happy", "angry"]


def test_the_lines_have_the_schema_of_the_trace_and_the_time_of_the_sound() -> None:
    validator = jsonschema.Draft202012Validator(trace_schema())
    lines = list(trace(Counted([CONVERSATION]), Classifier(tiny_model()), CONFIG, began=1e9))
    for line in lines:
        validator.validate(line)
    assert [lines[0]["time"][:19], lines[-1]["time"][:19]] == ["2001-09-09T01:46:40", "2001-09-09T01:46:48"]
    assert {line["reason"] for line in lines} >= {"gate_shut"}


def learned(samples: np.ndarray, size: int) -> tuple[list[dict], np.ndarray]:
    """The trace by a network that gets to know the place, and the baseline that it has at the end."""
    network, ended = at_new_place(CLASSIFIER)
    blocks = (samples[start : start + size] for start in range(0, len(samples), size))
    lines = list(trace(Counted(blocks), network, CONFIG, ended=ended))
    return lines, network.baseline.value  # type: ignore[attr-defined]


def test_what_an_utterance_teaches_is_known_from_the_next_one_on_in_blocks_of_any_size() -> None:
    same = np.concatenate([SENTENCE] * 20)  # one voice
    lines, baseline = learned(same, len(same))
    cold = list(trace(Counted([same]), CLASSIFIER, CONFIG))
    n = next(i for i, line in enumerate(lines) if i and line["gate_open"] < lines[i - 1]["gate_open"])
    assert lines[: n + 1] == cold[: n + 1]
    assert [opened(lines)[i]["sure"] for i in (0, -1)] == [0.7, pytest.approx(1, abs=0.1)]
    assert {line["sure"] for line in opened(cold)} == {0.7}
    for size in (100, 7001):
        again, equal = learned(same, size)
        assert again == lines
        np.testing.assert_array_equal(equal, baseline)


@settings(max_examples=25)
@given(parts=PARTS, stride=st.sampled_from([5, 16, 100]))
def test_each_utterance_ends_once_with_its_speech_before_the_next_is_classified(
    parts: list[tuple[str, float, float]], stride: int
) -> None:
    config = Config(model=ModelConfig(stride_frames=stride))
    samples, network = recording(parts), FakeNetwork()
    calls_at_end: list[tuple[int, Heard]] = []

    def ended(utterance: Heard) -> None:
        calls_at_end.append((len(network.calls), utterance))

    lines = list(trace(Counted([samples]), network, config, ended=ended))  # type: ignore[arg-type]
    _, is_open = everything_at_once(samples, config)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_open, [False]])))
    lengths = edges[1::2] - edges[::2]
    heard = [utterance for _, utterance in calls_at_end]
    assert [round(utterance.end_seconds / HOP_SECONDS) for utterance in heard] == edges[1::2].tolist()
    assert [u.speech_frames / u.speech_ratio for u in heard] == pytest.approx(lengths.tolist())
    assert all(0 < u.speech_frames <= length for u, length in zip(heard, lengths, strict=True))
    closes = [i + 1 for i, line in enumerate(lines) if line["gate_open"] and not any_open_after(lines, i)]
    assert [n for n, _ in calls_at_end] == [len(opened(lines[:i])) for i in closes]


def any_open_after(lines: list[dict], i: int) -> bool:
    """Whether the utterance of line i goes on in the next one."""
    return i + 1 < len(lines) and lines[i + 1]["gate_open"]


class Forgetful(FakeNetwork):
    def __call__(self, cepstra: np.ndarray) -> np.ndarray:
        return np.full(3, 1 / 3, np.float32)


def memory_for(pattern: list[np.ndarray], n: int) -> int:
    """The most that is allocated in the second half of a recording of n times the same parts, in bytes."""
    pieces = [piece for part in pattern for piece in np.array_split(part, len(part) // 2000)]

    def sound() -> Iterator[np.ndarray]:
        for k in range(n):
            if k == n // 2:
                tracemalloc.reset_peak()  # what is made at the start and dropped again is more
            yield from pieces

    tracemalloc.start()
    try:
        for _ in segments(trace(Counted(sound()), Forgetful(), CONFIG), guesses()):  # type: ignore[arg-type]
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "pattern",
    [[silence(10)], [gain(syllables(10), -20)], [gain(syllables(1), -20), silence(9)]],
    ids=["silence", "speech without a pause", "words"],
)
def test_a_recording_six_times_as_long_takes_the_same_memory(pattern: list[np.ndarray]) -> None:
    memory_for(pattern, 2)
    least = memory_for(pattern, 4)
    # What another thread of the process allocates meanwhile is counted, too, but not every time.
    assert any(memory_for(pattern, 24) < least + 50_000 for _ in range(3))

"""One recording, one answer: the speech of it, cut and averaged, checked against doing so by hand."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from affectd.config.sections import Config, GateConfig, ModelConfig
from affectd.features.context import Context
from affectd.features.framing import frame_strides
from affectd.features.mfcc import Mfcc
from affectd.features.spec import FeatureSpec
from affectd.recognition.affect import affect
from affectd.recognition.classifier import Classifier
from affectd.recognition.recording import (
    FRAMES_BEFORE_END,
    VOCAL_TRACTS,
    Recording,
    classify_recording,
    classify_speech,
    context_spans,
)
from affectd.recognition.vad import RangeLimiter, Speech, band_level, find_speech
from fake_network import FakeNetwork
from sounds import as_int16, gain, noise, silence, syllables
from tiny_model import tiny_model

SPEC = FeatureSpec()
FRAME_RATE = SPEC.sample_rate / SPEC.hop_length
CONFIG = Config()
CLIP = as_int16(np.concatenate([silence(1), gain(syllables(1.8), -20), silence(1.2)]))


def voice(bands: np.ndarray, length: float) -> np.ndarray:
    """Read every row at other places: what a vocal tract of that length would have made of it."""
    places = np.arange(bands.shape[1])
    return np.stack([np.interp(places * length, places, row) for row in bands]).astype(np.float32)


@pytest.mark.parametrize("samples", [silence(2), gain(noise("white", 3), -20), silence(0)])
def test_a_recording_without_speech_has_no_label(samples: np.ndarray) -> None:
    result = classify_recording([samples], Classifier(tiny_model()), CONFIG)
    assert (result.label, result.probability, result.probabilities) == (None, None, {})
    assert (result.seconds, result.speech_seconds) == (len(samples) / 16000, 0.0)


def test_speech_shorter_than_a_context_is_padded_in_front_as_the_device_pads() -> None:
    network = FakeNetwork(n_frames=300)
    result = classify_recording([CLIP], network, CONFIG)
    mfcc = Mfcc(SPEC)
    frames = mfcc.frames(CLIP)
    speech = find_speech(band_level(frames, 16000), CONFIG.gate, FRAME_RATE)
    assert speech is not None
    ends = range(speech.end - FRAMES_BEFORE_END, speech.stop + 1)
    assert len(ends) == FRAMES_BEFORE_END + 32, "half a second of hangover is 31 frames"
    assert len(network.calls) == len(ends)
    for number, (end, call) in enumerate(zip(ends, network.calls, strict=True)):
        context = Context(300, SPEC.n_bands, mfcc.floor)
        context.push(voice(mfcc.bands(frames[speech.start : end]), VOCAL_TRACTS[number % len(VOCAL_TRACTS)]))
        np.testing.assert_allclose(call, mfcc.cepstra(context.view()), atol=1e-3)
    assert result.seconds == 4.0
    assert result.speech_seconds == pytest.approx(speech.opened.sum() / 62.5)


def test_a_recording_that_ends_with_speech_is_heard_to_its_end() -> None:
    network = FakeNetwork(n_frames=300)
    samples = CLIP[: int(2.7 * 16000)]
    classify_recording([samples], network, CONFIG)
    assert len(network.calls) == FRAMES_BEFORE_END + 1
    bands = Mfcc(SPEC).bands(Mfcc(SPEC).frames(samples))
    bands = voice(bands, VOCAL_TRACTS[FRAMES_BEFORE_END % len(VOCAL_TRACTS)])
    np.testing.assert_allclose(network.calls[-1][-1], Mfcc(SPEC).cepstra(bands)[-1], atol=1e-3)


def test_of_a_short_word_no_more_than_half_is_left_out() -> None:
    opened = np.ones(14, np.bool_)
    spans = context_spans(Speech(opened, 0, 10, 14), 188, 16)
    assert spans == [(0, end) for end in range(5, 15)]


def test_the_answer_is_the_mean_over_all_contexts_and_its_label_the_best() -> None:
    network = FakeNetwork("caaaaaaaaaaa", n_frames=60)
    result = classify_recording([CLIP], network, CONFIG)
    n = len(network.calls)
    assert n > 3
    assert result.probabilities == pytest.approx(
        {"angry": (0.8 * (n - 1) + 0.1) / n, "calm": (0.8 + 0.1 * (n - 1)) / n, "happy": 0.1}, abs=1e-4
    )
    assert result.label == "angry"
    assert result.probability == result.probabilities["angry"]


def test_the_label_is_the_most_probable_one_even_where_rounding_makes_a_tie() -> None:
    class Torn(FakeNetwork):
        def __call__(self, cepstra: np.ndarray) -> np.ndarray:
            return np.array([0.40001, 0.40003, 0.19996], np.float32)

    result = classify_recording([CLIP], Torn(), CONFIG)
    assert result.probabilities["angry"] == result.probabilities["calm"]
    assert result.label == "calm"


@settings(deadline=None, max_examples=20)
@given(size=st.integers(1, 48_000))
def test_the_answer_is_the_same_whatever_the_block_size(size: int) -> None:
    classifier = Classifier(tiny_model())
    blocks = (CLIP[start : start + size] for start in range(0, len(CLIP), size))
    assert classify_recording(blocks, classifier, CONFIG) == classify_recording([CLIP], classifier, CONFIG)


def test_the_gain_of_the_microphone_does_not_matter() -> None:
    classifier = Classifier(tiny_model())
    loud, soft = (classify_recording([gain(CLIP, g)], classifier, CONFIG) for g in (0, -25))
    assert loud.label == soft.label
    assert loud.probabilities == pytest.approx(soft.probabilities, abs=0.02)


def test_long_pauses_within_a_recording_do_not_count() -> None:
    network = FakeNetwork(n_frames=50)
    word = gain(syllables(1.5), -20)
    classify_recording([np.concatenate([word, silence(60), word])], network, CONFIG)
    assert len(network.calls) < 20 + 32 + FRAMES_BEFORE_END, "a minute of silence alone has 234 strides"


@given(
    flags=st.lists(st.booleans(), min_size=1, max_size=120),
    hangover=st.integers(0, 40),
    n_frames=st.integers(1, 40),
    stride=st.integers(1, 20),
)
def test_contexts_lie_within_the_span_and_mostly_in_speech(
    flags: list[bool], hangover: int, n_frames: int, stride: int
) -> None:
    opened = np.array([True, *flags, True] + [True] * hangover)
    end, stop = len(flags) + 2, len(opened)
    spans = context_spans(Speech(opened, 0, end, stop), n_frames, stride)
    assert spans
    for first, last in spans:
        assert 0 <= first < last <= stop
        assert last - first == n_frames or (first == 0 and last >= max(end / 2, end - FRAMES_BEFORE_END))
    mostly_open = [opened[first:last].mean() >= 0.5 for first, last in spans]
    assert all(mostly_open) or len(spans) == 1


def test_the_silence_of_a_studio_does_not_count_as_speech_whatever_the_gain() -> None:
    voice = np.concatenate([silence(1), syllables(2), silence(1)])
    breath = 0.1 * np.concatenate([silence(3), syllables(1)])  # 20 dB below: part of what is said
    faint = 0.001 * np.concatenate([silence(3), syllables(1)])  # 60 dB below
    for g in (0, -15):
        spans = [
            find_speech(band_level(Mfcc(SPEC).frames(as_int16(gain(x, g))), 16000), CONFIG.gate, FRAME_RATE)
            for x in (voice, voice + faint, voice + breath)
        ]
        assert all(spans)
        voice_alone, with_faint, with_breath = (speech.stop for speech in spans if speech)
        assert with_faint == voice_alone < with_breath - 20


def test_a_shout_later_on_does_not_make_silence_of_quiet_speech() -> None:
    whisper, shout = gain(syllables(2), -38), syllables(1)
    after = [np.concatenate([whisper, silence(seconds), shout]) for seconds in (1, 6)]
    alone, soon, late = (
        find_speech(band_level(Mfcc(SPEC).frames(as_int16(x)), 16000), CONFIG.gate, FRAME_RATE)
        for x in (whisper, *after)
    )
    assert alone
    assert soon
    assert late
    assert late.start == alone.start < soon.start


def classify_at_once(samples: np.ndarray, network: FakeNetwork, config: Config) -> Recording:
    """With everything in memory at the same time."""
    mfcc = Mfcc(SPEC)
    strides = [*frame_strides([samples], SPEC, lambda: config.model.stride_frames * SPEC.hop_length)]
    level = np.concatenate([band_level(frames, 16000) for frames in strides])
    bands = np.concatenate([mfcc.bands(frames) for frames in strides])
    speech = find_speech(level, config.gate, FRAME_RATE)
    seconds = round(len(samples) / 16000, 3)
    if speech is None:
        return Recording(None, None, {}, seconds, 0.0)
    mean = classify_speech(speech, bands, network, config.model.stride_frames)
    probabilities = dict(zip(network.model.labels, mean.round(4).tolist(), strict=True))
    label = network.model.labels[int(mean.argmax())]
    opened = round(int(speech.opened.sum()) / FRAME_RATE, 3)
    return Recording(label, probabilities[label], probabilities, seconds, opened, **affect(probabilities))


PARTS = st.tuples(st.sampled_from(["word", "pause", "noise"]), st.floats(0.02, 9.0), st.floats(-60, 0))


@settings(deadline=None, max_examples=60)
@given(
    parts=st.lists(PARTS, max_size=7),
    hangover=st.sampled_from([0.0, 0.5, 10.0]),
    preroll=st.sampled_from([0.0, 0.6, 5.0]),
    n_frames=st.sampled_from([8, 150, 700]),
    stride=st.sampled_from([1, 16, 200]),
)
@example(  # the next context would begin after the end of speech
    parts=[("word", 1.0, 0.0), ("word", 1.0, 0.0), ("word", 6.0, -25.0), ("pause", 4.0, 0.0)],
    hangover=0.0,
    preroll=0.0,
    n_frames=8,
    stride=200,
)
def test_a_recording_gives_to_the_bit_what_it_gives_if_all_of_it_is_kept(
    parts: list[tuple[str, float, float]], hangover: float, preroll: float, n_frames: int, stride: int
) -> None:
    sounds = {"word": syllables, "pause": silence, "noise": lambda seconds: noise("pink", seconds)}
    samples = as_int16(np.concatenate([silence(0), *(gain(sounds[kind](seconds), db) for kind, seconds, db in parts)]))
    config = Config(
        gate=GateConfig(hangover_seconds=hangover, preroll_seconds=preroll), model=ModelConfig(stride_frames=stride)
    )
    networks = [FakeNetwork("acha" * 50, n_frames=n_frames) for _ in range(2)]
    blocks = np.array_split(samples, 1 + len(samples) // 3000)
    assert classify_recording(blocks, networks[0], config) == classify_at_once(samples, networks[1], config)
    assert len(networks[0].calls) == len(networks[1].calls)
    for streamed, at_once in zip(networks[0].calls, networks[1].calls, strict=True):
        np.testing.assert_array_equal(streamed, at_once)


@given(
    level=st.lists(st.floats(-120, 0, width=32), max_size=60).map(lambda level: np.repeat(np.float32(level), 23)),
    cut=st.integers(0, 1400),
)
def test_speech_is_found_where_the_loudest_sound_nearby_is_compared_with_all_levels(
    level: np.ndarray, cut: int
) -> None:
    limiter = RangeLimiter(FRAME_RATE)
    level = level[: len(level) - cut % 7]
    limited = np.concatenate([limiter.push(level[:cut]), limiter.push(level[cut:]), limiter.flush()])
    held = min(5, len(level))
    for i in range(0, len(level), 11):
        steady = [level[j : j + held].min() for j in range(max(0, i - 312), min(i + 312, len(level) - held) + 1)]
        assert limited[i] == max(level[i], max(steady, default=np.float32(-np.inf)) - np.float32(30))
    assert len(limited) == len(level)


def memory_for(pattern: list[np.ndarray], n: int) -> int:
    """The most that is allocated at a time while a recording of n times the same parts is classified, in bytes."""
    network = Forgetful()
    tracemalloc.start()
    try:
        classify_recording(itertools.chain.from_iterable(itertools.repeat(pattern, n)), network, CONFIG)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class Forgetful(FakeNetwork):
    def __call__(self, cepstra: np.ndarray) -> np.ndarray:
        return np.full(3, 1 / 3, np.float32)


@pytest.mark.parametrize(
    "pattern",
    [[silence(10)], [gain(syllables(10), -20)], [gain(syllables(1), -20), silence(9)], [gain(noise("pink", 10), -20)]],
    ids=["silence", "speech without a pause", "words", "noise"],
)
def test_a_recording_ten_times_as_long_takes_the_same_memory(pattern: list[np.ndarray]) -> None:
    memory_for(pattern, 3)
    assert memory_for(pattern, 120) < memory_for(pattern, 12) + 50_000

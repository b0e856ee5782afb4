"""A stream cut into frames block by block against the whole clip."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affectd.features.framing import Framer, RecentFrames, overlapping
from affectd.features.mfcc import Mfcc
from affectd.features.spec import FeatureSpec

NOISE = np.random.default_rng(3).standard_normal(48000).astype(np.float32) * np.float32(0.1)


def streamed(spec: FeatureSpec, samples: np.ndarray, sizes: list[int]) -> np.ndarray:
    """Return the frames of `samples` pushed in blocks of `sizes`, then the rest, then flushed."""
    framer = Framer(spec)
    blocks = np.split(samples, np.minimum(np.cumsum(sizes, dtype=int), samples.size))
    return np.concatenate([*[framer.push(block) for block in blocks], framer.flush()])


@st.composite
def specifications(draw: st.DrawFn) -> FeatureSpec:
    window_length = draw(st.integers(1, 64))
    padding = draw(st.sampled_from(["center", "none", "end"]))
    return FeatureSpec(
        window_length=window_length,
        n_fft=window_length + draw(st.integers(0, 32)),
        hop_length=draw(st.integers(1, 80)),
        center=padding == "center",
        pad_end=padding == "end",
        preemphasis=draw(st.sampled_from([0.0, 0.97])),
        n_mels=2,
        n_mfcc=2,
    )


@settings(deadline=None)
@given(spec=specifications(), n_samples=st.integers(0, 400), sizes=st.lists(st.integers(0, 150), max_size=12))
def test_blocks_of_any_size_give_exactly_the_frames_of_the_whole(
    spec: FeatureSpec, n_samples: int, sizes: list[int]
) -> None:
    whole = Mfcc(spec).frames(NOISE[:n_samples])
    assert len(whole) == spec.count_frames(n_samples)
    np.testing.assert_array_equal(streamed(spec, NOISE[:n_samples], sizes), whole)


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(1, 48000), max_size=40))
def test_cepstra_of_blocks_of_any_size_agree_with_the_whole_clip(sizes: list[int]) -> None:
    spec = FeatureSpec()
    mfcc, framer = Mfcc(spec), Framer(spec)
    blocks = np.split(NOISE, np.minimum(np.cumsum(sizes, dtype=int), NOISE.size))
    rows = [mfcc.bands(framer.push(block)) for block in blocks]
    cepstra = mfcc.cepstra(np.concatenate([*rows, mfcc.bands(framer.flush())]))
    np.testing.assert_allclose(cepstra, mfcc(NOISE), rtol=0, atol=1e-3)


def test_a_frame_comes_with_the_sample_that_completes_it() -> None:
    framer = Framer(FeatureSpec())
    # 512 zeros precede the signal, so 512 samples complete the first frame and 256 more each next one.
    counts = [len(framer.push(NOISE[:n])) for n in (511, 1, 255, 1, 512)]
    assert counts == [0, 1, 0, 1, 2]


def test_frames_stay_as_they_are_when_more_is_pushed() -> None:
    framer = Framer(FeatureSpec())
    frames = framer.push(NOISE[:4096])
    before = frames.copy()
    framer.push(NOISE[4096:])
    np.testing.assert_array_equal(frames, before)
    with pytest.raises(ValueError, match="read-only"):
        frames[0, 0] = 0


@pytest.mark.parametrize("ending", ["reset", "flush"])
def test_nothing_of_a_stream_is_left_after_its_end(ending: str) -> None:
    spec = FeatureSpec(preemphasis=0.97)
    framer = Framer(spec)
    framer.push(NOISE[:3000])
    getattr(framer, ending)()
    again = np.concatenate((framer.push(NOISE[5000:9000]), framer.flush()))
    np.testing.assert_array_equal(again, Mfcc(spec).frames(NOISE[5000:9000]))


@given(
    n=st.integers(1, 60),
    length=st.integers(1, 20),
    hop=st.integers(1, 9),
    first=st.integers(0, 9),
    count=st.integers(0, 9),
)
def test_overlapping_rows_are_those_of_numpy_and_never_reach_beyond_the_end(
    n: int, length: int, hop: int, first: int, count: int
) -> None:
    values = np.arange(n, dtype=np.float32)
    if count and first + (count - 1) * hop + length > n:
        with pytest.raises((TypeError, ValueError)):
            overlapping(values, length, hop, count, first)
        return
    rows = overlapping(values, length, hop, count, first)
    assert rows.shape == (count, length)
    assert not rows.flags.writeable or not count
    for i, row in enumerate(rows):
        np.testing.assert_array_equal(row, values[first + i * hop :][:length])


@given(operations=st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=30))
def test_recent_frames_are_the_last_ones_since_they_were_taken(operations: list[tuple[bool, int]]) -> None:
    kept, recent, value = 6, RecentFrames(6, 2), 0
    expected: list[int] = []
    for takes, n in operations:
        if takes:
            frames = recent.take(n)
            assert frames.shape[1] == 2
            assert frames[:, 0].tolist()[-kept:] == expected[max(0, len(expected) - n) :][-kept:]
            expected = []
        else:
            recent.push(np.arange(value, value + n, dtype=np.float32)[:, np.newaxis] * np.ones(2, np.float32))
            expected += range(value, value + n)
            value += n


def test_recent_frames_do_not_pile_up() -> None:
    recent = RecentFrames(6, 2)
    for _ in range(100):
        recent.push(np.zeros((4, 2), np.float32))
    assert len(recent.take(1000)) < 6 + 4

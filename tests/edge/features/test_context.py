"""The context: the last rows of an utterance, in order, against a plain list of rows."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from affectd.features.context import CepstralContext, Context
from affectd.features.mfcc import Mfcc
from affectd.features.spec import FeatureSpec

N_FRAMES, N_BANDS, FILL = 5, 2, -100.0

SPECS = [
    FeatureSpec(),
    FeatureSpec(energy=True),
    FeatureSpec(reference="one", top_db=None),
    FeatureSpec(n_mfcc=4, deltas="second", delta_width=3, mel="power", rms="linear", pitch="hertz", energy=True),
    FeatureSpec(n_mfcc=0, mel="log", rms="decibel", zero_crossings="rate", chroma="power", reference="one"),
]

Operation = st.one_of(st.integers(0, 14), st.none())
"""An int pushes that many rows; None begins an utterance."""


def expected(rows: list[float]) -> np.ndarray:
    padded = [FILL] * N_FRAMES + rows
    return np.repeat(np.array(padded[-N_FRAMES:], np.float32)[:, np.newaxis], N_BANDS, axis=1)


@settings(deadline=None)
@given(operations=st.lists(Operation, max_size=30))
def test_view_is_the_last_rows_of_the_utterance_behind_the_fill(operations: list) -> None:
    context = Context(N_FRAMES, N_BANDS, FILL)
    rows: list[float] = []
    value = 0.0
    for operation in operations:
        if operation is None:
            context.reset()
            rows = []
        else:
            new = [value + i for i in range(operation)]
            value += operation
            rows += new
            context.push(np.repeat(np.array(new, np.float32)[:, np.newaxis], N_BANDS, axis=1))
        view = context.view()
        assert view.shape == (N_FRAMES, N_BANDS)
        assert view.dtype == np.float32
        np.testing.assert_array_equal(view, expected(rows))


def test_view_is_a_window_on_the_buffer_and_no_copy() -> None:
    context = Context(N_FRAMES, N_BANDS, FILL)
    assert np.shares_memory(context.view(), context.view())


class CountingMfcc(Mfcc):
    """Counts the rows whose cepstra it computes."""

    n_rows = 0

    def cepstra(self, bands: np.ndarray, loudest: np.float32 | None = None) -> np.ndarray:
        self.n_rows += len(bands)
        return super().cepstra(bands, loudest)


@settings(deadline=None)
@given(
    operations=st.lists(st.one_of(st.none(), st.tuples(st.integers(0, 14), st.floats(-90, 0))), max_size=30),
    spec=st.sampled_from(SPECS),
)
def test_cepstra_of_a_stream_are_those_of_its_context(operations: list, spec: FeatureSpec) -> None:
    mfcc, random = Mfcc(spec), np.random.default_rng(0)
    whole, stream = Context(N_FRAMES, spec.n_bands, mfcc.fill), CepstralContext(N_FRAMES, mfcc)
    for operation in operations:
        if operation is None:
            whole.reset()
            stream.reset()
        else:
            n, decibel = operation
            bands = (decibel - random.uniform(0, 80, (n, spec.n_bands))).astype(np.float32)
            whole.push(bands)
            stream.push(bands)
        if random.random() < 0.7:
            np.testing.assert_allclose(stream.view(), mfcc.cepstra(whole.view()), atol=1e-3)


def test_only_new_rows_are_computed_unless_the_loudest_band_has_changed() -> None:
    mfcc = CountingMfcc(FeatureSpec())
    stream = CepstralContext(N_FRAMES, mfcc)

    def computed(n: int, decibel: float) -> int:
        stream.push(np.full((n, 128), decibel, np.float32))
        before = mfcc.n_rows
        stream.view()
        return mfcc.n_rows - before

    assert computed(2, -20.0) == N_FRAMES
    assert computed(2, -30.0) == 2
    assert computed(1, -10.0) == N_FRAMES, "louder than ever"
    assert computed(4, -30.0) == 4
    assert computed(1, -30.0) == N_FRAMES, "the loudest one has left"

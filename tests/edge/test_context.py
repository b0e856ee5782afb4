"""The context: the last rows of an utterance, in order, against a plain list of rows."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from affectd.context import Context

N_FRAMES, N_BANDS, FILL = 5, 2, -100.0

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

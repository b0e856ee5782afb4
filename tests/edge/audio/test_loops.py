"""When a loop is sought; that loops are found, and nothing else, is tested with the condition of the sound."""

from __future__ import annotations

import numpy as np

from affectd.audio.loops import _SEARCH_SECONDS, Loops

RATE = 8000


def test_where_a_piece_tells_nothing_the_next_second_is_searched() -> None:
    generator = np.random.default_rng(0)
    loops = Loops(RATE)

    def push(*, is_flat: bool = False) -> bool | None:
        second = generator.integers(-900, 900, RATE).astype(np.int16)
        if is_flat:
            second[:200] = 1000
        return loops.push(second, 100, RATE - 1)

    assert [push() for _ in range(_SEARCH_SECONDS)] == [None] * (_SEARCH_SECONDS - 1) + [False]
    assert [push() for _ in range(_SEARCH_SECONDS - 1)] == [None] * (_SEARCH_SECONDS - 1)
    assert push(is_flat=True) is None
    assert push() is False

"""A sound card that hangs may deliver its last buffer again and again: sound that varies, and nobody is heard.

What a microphone hears never comes twice, for its own noise does not; not even silence, a hum or a beep.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Block = NDArray[np.float32]

HISTORY_SECONDS = 1.0
"""Buffers of sound cards are shorter than this."""

SAMPLE_SECONDS = 0.05
"""So much of the sound is looked for in what came before it."""


class Repetition:
    """Notices sound that consists of one piece of at most `HISTORY_SECONDS`, over and over.

    It looks once a second, for there is no hurry, and costs nothing in between.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget what was heard."""
        self._blocks: list[Block] = []
        self._gathered_seconds = 0.0
        self.seconds = 0.0
        """For how long the same has been coming, in whole seconds or so."""

    def push(self, samples: Block, seconds: float) -> None:
        """Take the next samples, float32 of shape (n,), which last so many seconds."""
        self._blocks.append(samples)
        self._gathered_seconds += seconds
        if self._gathered_seconds < HISTORY_SECONDS:
            return
        heard = np.concatenate(self._blocks)
        n = round(len(heard) * SAMPLE_SECONDS / self._gathered_seconds)
        self.seconds = self.seconds + self._gathered_seconds if came_before(heard, n) else 0.0
        self._blocks = []
        self._gathered_seconds = 0.0


def came_before(heard: Block, n: int) -> bool:
    """Say whether the last `n` samples occur earlier in the same samples; no if they are all the same."""
    piece = heard[len(heard) - n :]
    if n < 2 or (piece == piece[0]).all():
        return False
    # Of its loudest sample there are the fewest: it leaves few places, and each further one hardly any.
    loudest = int(np.abs(piece).argmax())
    starts = np.flatnonzero(heard[loudest : loudest + len(heard) - n] == piece[loudest])
    for i in range(n):
        if not len(starts):
            return False
        starts = starts[heard[starts + i] == piece[i]]
    return len(starts) > 0

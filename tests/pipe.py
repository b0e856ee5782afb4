"""Sound that arrives in pieces."""

from __future__ import annotations

import io
from typing import Any


class Pipe(io.RawIOBase):
    """A stream that delivers pieces of its own choice and counts how often it was asked."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = [piece for piece in pieces if piece]
        self.n_reads = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.n_reads += 1
        if not self._pieces:
            return 0
        piece = self._pieces.pop(0)
        n = min(len(piece), len(buffer))
        buffer[:n] = piece[:n]
        if piece[n:]:
            self._pieces.insert(0, piece[n:])
        return n

"""The frames the network sees."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Context:
    """The last ``n_frames`` rows of a stream, always in order and in one piece.

    Parameters
    ----------
    n_frames : int
        Rows of the view.
    n_bands : int
        Columns.
    fill : float
        What the view shows for rows before the utterance; `Mfcc.floor`, as if silence came before.
    """

    def __init__(self, n_frames: int, n_bands: int, fill: float) -> None:
        self._n_frames = n_frames
        self._fill = fill
        # Twice as long as the view: rows are moved to the front only every n_frames rows.
        self._rows = np.full((2 * n_frames, n_bands), fill, np.float32)
        self._end = n_frames

    def reset(self) -> None:
        """Begin an utterance: forget every row."""
        self._rows[: self._n_frames] = self._fill
        self._end = self._n_frames

    def push(self, rows: NDArray[np.float32]) -> None:
        """Append ``(n, n_bands)`` float32 rows, any n; the oldest fall out."""
        rows = rows[-self._n_frames :]
        if self._end + len(rows) > len(self._rows):
            self._move_to_front()
        self._rows[self._end : self._end + len(rows)] = rows
        self._end += len(rows)

    def view(self) -> NDArray[np.float32]:
        """Return ``(n_frames, n_bands)`` float32, oldest first; valid until the next `push` or `reset`."""
        return self._rows[self._end - self._n_frames : self._end]

    def _move_to_front(self) -> None:
        self._rows[: self._n_frames] = self.view().copy()
        self._end = self._n_frames

"""The frames the network sees."""

from __future__ import annotations

import numpy as np

from affectd.arrays import Float32
from affectd.features.mfcc import Mfcc


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

    def push(self, rows: Float32) -> None:
        """Append ``(n, n_bands)`` float32 rows, any n; the oldest fall out."""
        rows = rows[-self._n_frames :]
        if self._end + len(rows) > len(self._rows):
            self._move_to_front()
        self._rows[self._end : self._end + len(rows)] = rows
        self._end += len(rows)

    def view(self) -> Float32:
        """Return ``(n_frames, n_bands)`` float32, oldest first; valid until the next `push` or `reset`."""
        return self._rows[self._end - self._n_frames : self._end]

    def _move_to_front(self) -> None:
        self._rows[: self._n_frames] = self.view().copy()
        self._end = self._n_frames


class CepstralContext:
    """The cepstra of a `Context`: rows in it already are computed again only when its loudest band has changed.

    Parameters
    ----------
    n_frames : int
        Rows of the view.
    mfcc : Mfcc
        Turns bands into cepstra.
    """

    def __init__(self, n_frames: int, mfcc: Mfcc) -> None:
        self._n_frames = n_frames
        self._mfcc = mfcc
        self._bands = Context(n_frames, mfcc.spec.n_bands, mfcc.floor)
        self._cepstra = Context(n_frames, mfcc.spec.n_mfcc, 0.0)
        self.reset()

    def reset(self) -> None:
        """Begin an utterance: forget every row."""
        self._bands.reset()
        self._loudest: np.float32 | None = None
        self._n_new = self._n_frames

    def push(self, bands: Float32) -> None:
        """Append ``(n, n_bands)`` float32 rows from `Mfcc.bands`, any n; the oldest fall out."""
        self._bands.push(bands)
        self._n_new = min(self._n_frames, self._n_new + len(bands))

    def view(self) -> Float32:
        """Return ``(n_frames, n_mfcc)`` float32, oldest first; valid until the next `push` or `reset`."""
        bands = self._bands.view()
        loudest = self._mfcc.loudest(bands)
        if loudest != self._loudest:
            self._loudest, self._n_new = loudest, self._n_frames
        self._cepstra.push(self._mfcc.cepstra(bands[self._n_frames - self._n_new :], loudest))
        self._n_new = 0
        return self._cepstra.view()

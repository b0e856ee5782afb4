"""The input of the network: the last frames of a stream."""

from __future__ import annotations

import numpy as np

from affectd.arrays import Float32
from affectd.features.mfcc import Mfcc


class Context:
    """The last ``n_frames`` rows of a stream, in order and contiguous.

    Parameters
    ----------
    n_frames : int
        Rows of the view.
    n_bands : int
        Columns.
    fill : float or ndarray, shape (n_bands,), float32
        Value of the rows before the utterance; `Mfcc.fill` stands for silence.

    Examples
    --------
    >>> context = Context(n_frames=3, n_bands=1, fill=0.0)
    >>> context.push(np.array([[1], [2]], np.float32))
    >>> context.view().ravel().tolist()
    [0.0, 1.0, 2.0]
    """

    def __init__(self, n_frames: int, n_bands: int, fill: float | Float32) -> None:
        self._n_frames = n_frames
        self._fill = fill
        # Twice as long as the view, so that rows are moved to the front only every n_frames rows.
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
    """The cepstra of a `Context`; older rows are computed again only when its loudest band has changed.

    Parameters
    ----------
    n_frames : int
        Rows of the view.
    mfcc : Mfcc
        Turns bands into cepstra.

    Examples
    --------
    >>> from affectd.features.spec import FeatureSpec
    >>> mfcc = Mfcc(FeatureSpec())
    >>> context = CepstralContext(100, mfcc)
    >>> context.push(mfcc.bands(mfcc.frames(np.ones(16000, np.float32))))
    >>> context.view().shape
    (100, 40)
    """

    def __init__(self, n_frames: int, mfcc: Mfcc) -> None:
        self._n_frames = n_frames
        self._mfcc = mfcc
        self._bands = Context(n_frames, mfcc.spec.n_bands, mfcc.fill)
        self._cepstra = Context(n_frames, mfcc.spec.n_columns, 0.0)
        self._computed_again = n_frames if mfcc.is_whole else 0
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
        """Return ``(n_frames, n_columns)`` float32, oldest first; valid until the next `push` or `reset`."""
        bands = self._bands.view()
        loudest = self._mfcc.loudest(bands)
        if loudest != self._loudest:
            self._loudest, self._n_new = loudest, self._n_frames
        self._cepstra.push(self._mfcc.cepstra(bands[self._n_frames - self._n_new :], loudest))
        self._n_new = self._computed_again
        return self._cepstra.view()

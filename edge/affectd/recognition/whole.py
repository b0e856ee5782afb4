"""The input of a network whose model file has a `Hearing`: a recording as a whole, as in a notebook.

Live, and in a timeline, there is no whole recording: the last frames of the utterance take its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from affectd.arrays import Float32
from affectd.errors import DataError
from affectd.features.context import CepstralContext
from affectd.features.framing import overlapping
from affectd.features.mfcc import Mfcc
from affectd.recognition.hearing import MOST_SECONDS, Hearing, InputLayout
from affectd.recognition.model_file import ModelFile

# Those of librosa.effects.trim.
_TRIM_LENGTH, _TRIM_HOP = 2048, 512
_LEAST_RMS = 1e-5
_LEAST_DEVIATION = 1e-8


class Whole:
    """The sound of one recording, kept to be heard as a whole.

    Parameters
    ----------
    model
        With a `Hearing`.
    mfcc
        Of its specification.
    path
        The name of the recording, for the message.
    """

    def __init__(self, model: ModelFile, mfcc: Mfcc, path: str) -> None:
        self._model, self._mfcc, self._path = model, mfcc, path
        self._most = round(MOST_SECONDS * mfcc.spec.sample_rate)
        self._parts: list[Float32] = []

    def through(self, blocks: Iterable[Float32]) -> Iterator[Float32]:
        """Yield blocks (n,) of any n, and keep of them what is heard.

        Raises
        ------
        DataError
            More would have to be kept than `MOST_SECONDS`.
        """
        first, wanted = _cut_out(hearing_of(self._model), self._mfcc.spec.sample_rate)
        n = kept = 0
        for block in blocks:
            part = block[max(0, first - n) : None if wanted is None else max(0, first + wanted - n)]
            n, kept = n + len(block), kept + len(part)
            if kept > self._most:
                raise DataError(
                    f"{self._path}: longer than {MOST_SECONDS:g} s, and the network of this model file hears a"
                    " recording as a whole: cut it into pieces, or use affectd timeline"
                )
            self._parts.append(part.copy())
            yield block

    def columns(self) -> Float32 | None:
        """Return what the network is given, as `hear`; None if nothing can be heard."""
        model = self._model
        samples = np.concatenate([np.empty(0, np.float32), *self._parts])
        return hear(samples, self._mfcc, hearing_of(model), model.n_frames, row_of_mean(model))


def hearing_of(model: ModelFile) -> Hearing:
    """Return the `Hearing` of a model that has one."""
    assert model.hearing is not None
    return model.hearing


def row_of_mean(model: ModelFile) -> Float32:
    """Return a frame ``(n_columns,)`` that the normalization turns into zeros, for ``fill="mean"``.

    Columns that the network is not given are 0.
    """
    return spread_out(model.mean, model.layout, model.spec.n_columns)


def spread_out(mean: Float32, layout: InputLayout | None, n_columns: int) -> Float32:
    """Return what `row_of_mean` does, where there is no model file yet: from its mean and layout."""
    if layout is None:
        return mean
    row = np.zeros(n_columns, np.float32)
    if layout.statistics == "none":
        row[slice(None) if layout.columns is None else [*layout.columns]] = mean
    return row


def hear(samples: Float32, mfcc: Mfcc, hearing: Hearing, n_frames: int, mean: Float32) -> Float32 | None:
    """Return what a network is given of a recording, before `InputLayout` and normalization.

    Parameters
    ----------
    samples
        Mono in [-1, 1], (n,) float32, from `Hearing.start_seconds` on and no longer than `Hearing.seconds`.
    mfcc
        Computes the columns.
    mean
        A row ``(n_columns,)`` that ``fill="mean"`` adds; see `spread_out`.

    Returns
    -------
    ndarray, shape (n_frames, n_columns), float32
        With ``fill="none"`` all frames; None if there are none, or fewer than derivatives are taken over.
    """
    if hearing.trim_db is not None:
        samples = trimmed(samples, hearing.trim_db)
    if not len(samples):
        return None
    if hearing.n_samples is not None:
        samples = _brought_to(samples, hearing.n_samples, hearing, np.float32(0))
    bands = mfcc.bands(mfcc.frames(samples))
    return _fitted(mfcc.cepstra(bands), hearing, n_frames, mean) if len(bands) >= _least(mfcc) else None


def hear_bands(bands: Float32, model: ModelFile, mfcc: Mfcc) -> Float32:
    """Return what `hear` would of a recording with these bands ``(n, n_bands)``, n at least 1, nothing of it trimmed.

    Where `Hearing.n_samples` would add samples, bands of silence are added.
    """
    hearing, n_least = hearing_of(model), _least(mfcc)
    if hearing.n_samples is not None:
        n_least = max(n_least, min(model.n_frames, mfcc.spec.count_frames(hearing.n_samples)))
    if len(bands) < n_least:
        bands = _brought_to(bands, n_least, hearing, mfcc.fill)
    return _fitted(mfcc.cepstra(bands), hearing, model.n_frames, row_of_mean(model))


class UtteranceContext(CepstralContext):
    """The last frames of an utterance, at most ``n_frames``, heard as if they were a recording: see `hear_bands`."""

    def __init__(self, model: ModelFile, mfcc: Mfcc) -> None:
        self._model, self._n = model, 0
        super().__init__(model.n_frames, mfcc)

    def reset(self) -> None:
        """Begin an utterance: forget every row."""
        super().reset()
        self._n = 0

    def push(self, bands: Float32) -> None:
        """Append ``(n, n_bands)`` float32 rows from `Mfcc.bands`, any n; the oldest fall out."""
        super().push(bands)
        self._n = min(self._n_frames, self._n + len(bands))

    def view(self) -> Float32:
        """Return ``(n_frames, n_columns)`` float32; with ``fill="none"`` as many rows as there are."""
        return hear_bands(self._bands.view()[self._n_frames - self._n :], self._model, self._mfcc)


def trimmed(samples: Float32, top_db: float) -> Float32:
    """Drop from both ends of samples (n,) what is `top_db` below the loudest frame, as ``librosa.effects.trim``.

    Examples
    --------
    >>> tone = np.sin(np.arange(4096, dtype=np.float32))
    >>> len(trimmed(np.concatenate([np.zeros(9000, np.float32), tone, np.zeros(9000, np.float32)]), top_db=30))
    6144
    """
    if not len(samples):
        return samples
    around = np.zeros(_TRIM_LENGTH // 2, np.float32)
    padded = np.concatenate([around, samples, around])
    power = np.empty(1 + len(samples) // _TRIM_HOP)
    for first in range(0, len(power), 256):  # in pieces, for the squares of all frames are four times the samples
        count = min(256, len(power) - first)
        frames = overlapping(padded, _TRIM_LENGTH, _TRIM_HOP, count, first * _TRIM_HOP)
        power[first : first + count] = np.einsum("ij,ij->i", frames, frames) / _TRIM_LENGTH
    decibel = 10 * np.log10(np.maximum(power, _LEAST_RMS**2))
    loud = np.flatnonzero(decibel - decibel.max() > -top_db)
    return samples[loud[0] * _TRIM_HOP : (loud[-1] + 1) * _TRIM_HOP]


def _cut_out(hearing: Hearing, sample_rate: int) -> tuple[int, int | None]:
    """Return the first sample that is heard and how many of those after it; None: all."""
    wanted = None if hearing.seconds is None else int(hearing.seconds * sample_rate)
    if hearing.n_samples is not None and hearing.trim_db is None and hearing.cut_at == "end":
        wanted = hearing.n_samples if wanted is None else min(wanted, hearing.n_samples)
    return int(hearing.start_seconds * sample_rate), wanted


def _least(mfcc: Mfcc) -> int:
    return 1 if mfcc.spec.deltas == "none" else mfcc.spec.delta_width


def _fitted(columns: Float32, hearing: Hearing, n_frames: int, mean: Float32) -> Float32:
    """Centre columns (n, n_columns), and bring them to n_frames rows."""
    if hearing.centring != "none":
        exact = columns - columns.mean(0, dtype=np.float64)
        if hearing.centring == "mean_and_deviation":
            exact /= columns.std(0, dtype=np.float64) + _LEAST_DEVIATION
        columns = exact.astype(np.float32)
    if hearing.fill == "none":
        return columns
    if hearing.fill == "repeat" and len(columns) < n_frames:
        before, after = _parted(n_frames - len(columns), hearing.pad_at)
        return columns[np.arange(-before, len(columns) + after) % len(columns)]
    return _brought_to(columns, n_frames, hearing, mean if hearing.fill == "mean" else np.float32(0))


def _brought_to(rows: Float32, n: int, hearing: Hearing, fill: float | np.float32 | Float32) -> Float32:
    """Cut rows (or samples) down to n, or add some of `fill`."""
    if len(rows) >= n:
        first = _parted(len(rows) - n, hearing.cut_at)[0]
        return rows[first : first + n]
    before = _parted(n - len(rows), hearing.pad_at)[0]
    result = np.empty((n, *rows.shape[1:]), np.float32)
    result[:before] = result[before + len(rows) :] = fill
    result[before : before + len(rows)] = rows
    return result


def _parted(n: int, at: str) -> tuple[int, int]:
    """Return how many of n are before and after."""
    before = {"end": 0, "start": n, "both": n // 2}[at]
    return before, n - before

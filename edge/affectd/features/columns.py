"""Further columns beside the MFCCs; loaded only where a specification has some."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from affectd.arrays import Array, Float32, Float64
from affectd.features.mfcc import Mfcc
from affectd.features.spec import FeatureSpec

# Below it a sample counts as zero, as in librosa.
_ZERO = 1e-10
_LEAST_RMS = 1e-6  # -120 dBFS


class Columns(Mfcc):
    """Computes the columns that a `FeatureSpec` describes; `Mfcc` makes one where there is more than MFCCs.

    Examples
    --------
    >>> features = Mfcc(FeatureSpec(n_mfcc=13, deltas="first", rms="decibel"))
    >>> type(features).__name__, features.spec.columns
    ('Columns', {'mfcc': 13, 'delta': 13, 'rms': 1})
    >>> features(np.ones(16000, np.float32)).shape
    (63, 27)
    """

    is_whole = True

    def __init__(self, spec: FeatureSpec) -> None:
        super().__init__(spec)
        self._per_frame = _per_frame(spec)
        self._parts: list[Float64] = []
        if spec.mel != "none":
            # Then the matrix that makes cepstra of bands also hands the bands on, exactly.
            self._dct = np.concatenate([self._dct, np.eye(spec.n_mels)], axis=1)
        self.fill = np.concatenate(
            [
                np.full(self._n_logs, self.floor, np.float32),
                self.bands(np.zeros((1, spec.window_length), np.float32))[0, self._n_logs :],
            ]
        )

    def bands(self, frames: Float32) -> Float32:
        """Compute the rows of `Mfcc.bands`, and behind them `FeatureSpec.frame_columns`; the RMS is in dBFS here."""
        self._parts = [np.empty((0, self.spec.n_bands - self._n_logs))]
        logs = super().bands(frames)
        if not self._per_frame:
            return logs
        return np.concatenate([logs, np.concatenate(self._parts)], axis=1, dtype=np.float32)

    def _energies(self, frames: Float32) -> Array:
        energies = super()._energies(frames)
        if self._per_frame:
            # Here the power of these frames is at hand.
            columns = [compute(frames, self._power[: len(frames)]) for compute in self._per_frame]
            self._parts.append(np.concatenate(columns, axis=1, dtype=np.float64))
        return energies

    def cepstra(self, bands: Float32, loudest: np.float32 | None = None) -> Float32:
        """Compute all columns of one context, in the order of `FeatureSpec.columns`, from all of its rows.

        Raises
        ------
        ValueError
            There are derivatives, and fewer rows than one is taken over.
        """
        spec = self.spec
        if not len(bands):
            return np.empty((0, spec.n_columns), dtype=np.float32)
        if loudest is None:
            loudest = self.loudest(bands)
        both = super().cepstra(bands[:, : self._n_logs], loudest)
        cepstra, mel = both[:, : spec.n_mfcc], both[:, spec.n_mfcc :]
        columns = [cepstra]
        if spec.deltas != "none":
            from affectd.features.deltas import delta

            orders = (1,) if spec.deltas == "first" else (1, 2)
            columns += [delta(cepstra, spec.delta_width, order) for order in orders]
        columns.append(np.exp(mel / np.float32(self._unit)) if spec.mel == "power" else mel)
        further = bands[:, self._n_logs :].copy()
        if spec.rms != "none":
            column = list(spec.frame_columns).index("rms")  # each before it is one column
            further[:, column] = self._rms(further[:, column])
        return np.concatenate([*columns, further], axis=1)

    def _rms(self, decibel: Float32) -> Float32:
        spec = self.spec
        if spec.reference == "max":
            decibel = decibel - decibel.max()
            if spec.top_db is not None:
                decibel = np.maximum(decibel, np.float32(-spec.top_db))
        return np.exp(decibel * np.float32(math.log(10) / 20)) if spec.rms == "linear" else decibel


def _per_frame(spec: FeatureSpec) -> list[Callable[[Float32, Array], Float64]]:
    """Return what computes each of `FeatureSpec.frame_columns`: of frames and their power ``(n, count)`` float64."""
    computed: list[Callable[[Float32, Array], Float64]] = []
    if spec.pitch != "none":
        from affectd.features.pitch import Yin

        computed.append(Yin(spec))
    if spec.rms != "none":
        computed.append(_rms_dbfs)
    if spec.zero_crossings != "none":
        computed.append(_zero_crossings)
    if spec.chroma != "none":
        from affectd.features.chroma import Chroma

        computed.append(Chroma(spec))
    return computed


def _rms_dbfs(frames: Float32, _: Array) -> Float64:
    rms: Float64 = np.sqrt(np.square(frames, dtype=np.float64).mean(axis=1, keepdims=True))
    return 20 * np.log10(np.maximum(rms, _LEAST_RMS))


def _zero_crossings(frames: Float32, _: Array) -> Float64:
    negative = frames < -_ZERO
    changes = np.count_nonzero(negative[:, 1:] != negative[:, :-1], axis=1)
    return np.asarray(changes[:, np.newaxis] / frames.shape[1])

"""Functionals: numbers of a whole context, of how a voice speaks rather than of what it says, from its cepstra alone.

Relative to those of the same voice at rest they tell strangers' emotions better than as they are, which is what the
baseline of a place is for (`affectd.recognition.baseline`).

=========== ======= ==================================================================================================
columns     numbers of the frames of speech
=========== ======= ==================================================================================================
0 to 15     16      mean of each of the first 16 cepstra
16 to 31    16      their standard deviation
32 to 47    16      their mean absolute step from one frame to the next
48 to 60    13      of the pitch, octaves above 100 Hz: quantiles 0.05, 0.25, 0.5, 0.75 and 0.95, mean, deviation,
                    mean absolute step, slope (octaves a second), range; then the voiced share, and mean and
                    deviation of how clear the pitch is
61          1       voiced stretches a second
=========== ======= ==================================================================================================
"""

from __future__ import annotations

import numpy as np

from affectd.arrays import Float32, Float64
from affectd.features.mel import cosines, mel_centers
from affectd.features.spec import FeatureSpec

N_CEPSTRA = 16
N_FUNCTIONALS = 3 * N_CEPSTRA + 13 + 1
# Quieter frames than this below the loudest are pauses.
_RANGE_DB = 15.0
# 64 cepstra of 128 bands hold the harmonics of a pitch from about 95 Hz on; a lower one is heard an octave higher, or
# not at all.
_LOWEST_HZ, _HIGHEST_HZ, _N_PITCHES = 70.0, 500.0, 72
# Higher harmonics are closer than the bands.
_COMB_HZ = 1600.0
# How much of the fine structure of a spectrum the best comb must explain for a frame to be voiced.
_CLEAR = 0.5
# A step of more octaves is the comb's, not the voice's.
_JUMP = 0.4
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# Cepstra that hold the envelope of the spectrum, which is not pitch.
_N_ENVELOPE = 12


def n_pitch_bands(spec: FeatureSpec) -> int:
    """Return how many mel bands every pitch is looked for in: with fewer than two there is nothing to compare."""
    center = mel_centers(spec)
    return int(np.count_nonzero((center >= 0.5 * _HIGHEST_HZ) & (center < _COMB_HZ)))


class Functionals:
    """Computes the functionals of contexts.

    Parameters
    ----------
    spec
        Of the cepstra: unlifted MFCCs in decibels, 16 of them or more.

    Notes
    -----
    The pitch of a frame is that of the comb, a cosine over the low mel bands whose period is the pitch, that correlates
    best with them. As bands and combs are both linear in the cepstra, that is one matrix product.

    References
    ----------
    F. Eyben et al., "The Geneva Minimalistic Acoustic Parameter Set (GeMAPS) for Voice Research and Affective
    Computing", 2016, for what such numbers tell of emotion.
    P. Martin, "Comparison of pitch detection by cepstrum and spectral comb analysis", 1982, for the comb.

    Examples
    --------
    >>> spec = FeatureSpec(n_mfcc=64)
    >>> Functionals(spec)(np.zeros((188, 64), np.float32)).shape
    (62,)
    """

    def __init__(self, spec: FeatureSpec) -> None:
        self.spec = spec
        basis = cosines(spec)  # (n_mels, n_mfcc)
        fine = basis - basis[:, :_N_ENVELOPE] @ (basis[:, :_N_ENVELOPE].T @ basis)
        center = mel_centers(spec)[:, None]
        center = center[center[:, 0] < _COMB_HZ]
        pitches = _LOWEST_HZ * (_HIGHEST_HZ / _LOWEST_HZ) ** (np.arange(_N_PITCHES) / (_N_PITCHES - 1))
        self._octaves = np.log2(pitches / 100.0)
        # Below half of the pitch there is no harmonic, only the room.
        under = center >= 0.5 * pitches
        combs = np.cos(2 * np.pi * center / pitches) * under
        combs -= under * (combs.sum(0) / under.sum(0))
        combs /= np.sqrt((combs * combs).sum(0))
        # Every second band tells the power of a frame well enough.
        self._nepers = (basis[::2].T * (np.log(10.0) / 10.0)).astype(np.float32)  # (n_mfcc, n_mels / 2)
        self._combs = (fine[: len(center)].T @ combs).astype(np.float32)  # (n_mfcc, n_pitches)

    def __call__(self, cepstra: Float32) -> Float32:
        """Return the functionals ``(62,)`` of a context ``(n_frames, n_mfcc)``, float32.

        All are NaN where the cepstra are of no sound: their power is beyond float32.
        """
        return self.heard(cepstra)[0]

    def heard(self, cepstra: Float32) -> tuple[Float32, float]:
        """Compute the functionals of a context of cepstra ``(n_frames, n_mfcc)``.

        Returns
        -------
        functionals : (N_FUNCTIONALS,) float32
            Of the frames of speech; NaN if there are none.
        share : float
            Of the frames that are speech, 0 to 1.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            power = np.exp(cepstra @ self._nepers).sum(1)  # of each frame; a power of 10 takes ten times as long
        spoken = cepstra[power > power.max() * np.float32(10.0 ** (-_RANGE_DB / 10.0))]
        if not len(spoken):
            return np.full(N_FUNCTIONALS, np.nan, np.float32), 0.0
        first = spoken[:, :N_CEPSTRA].astype(np.float64)
        result = np.zeros(N_FUNCTIONALS)
        # Sums by hand, for on so few numbers what NumPy does around its own takes most of the time.
        result[:N_CEPSTRA] = mean = first.sum(0) / len(first)
        away = first - mean
        result[N_CEPSTRA : 2 * N_CEPSTRA] = np.sqrt(np.einsum("ij,ij->j", away, away) / len(first))
        if len(first) > 1:
            result[2 * N_CEPSTRA : 3 * N_CEPSTRA] = np.abs(first[1:] - first[:-1]).sum(0) / (len(first) - 1)
        result[3 * N_CEPSTRA :] = self._of_pitch(spoken)
        return result.astype(np.float32), len(spoken) / len(cepstra)

    def _of_pitch(self, spoken: Float32) -> list[float]:
        fits = spoken @ self._combs
        fine = spoken[:, _N_ENVELOPE:]
        clear = fits.max(1) / np.sqrt((fine * fine).sum(1) + 1e-6)
        voiced = clear > _CLEAR
        begins = int(np.count_nonzero(voiced[1:] & ~voiced[:-1])) + int(voiced[0])
        at = np.flatnonzero(voiced)
        others = [len(at) / len(spoken), *_moments(clear), begins * self.spec.frame_rate / len(spoken)]
        octaves = self._octaves[fits.argmax(1)[voiced]]
        if not len(octaves):
            return [0.0] * 10 + others
        # As np.quantile, whose code alone takes a megabyte.
        quantiles = np.interp(
            np.multiply(_QUANTILES, len(octaves) - 1), np.arange(len(octaves)), sorted(octaves.tolist())
        )
        steps = np.abs(octaves[1:] - octaves[:-1])[at[1:] - at[:-1] == 1]
        steps = steps[steps < _JUMP]
        away = (at - at.sum() / len(at)) / self.spec.frame_rate
        slope = float(away @ octaves) / float(away @ away + 0.1)
        return [
            *quantiles.tolist(),
            *_moments(octaves),
            float(steps.sum()) / max(1, len(steps)),
            slope,
            float(quantiles[-1] - quantiles[0]),
            *others,
        ]


def _moments(x: Float32 | Float64) -> tuple[float, float]:
    """Return mean and deviation."""
    mean = float(x.sum()) / len(x)
    away = x - mean
    return mean, float(np.sqrt(away @ away / len(x)))

"""Log-mel spectrograms, as CREMA-D comes: loading them, and the level that they had."""

from __future__ import annotations

import functools
import lzma
from pathlib import Path

import numpy as np
import numpy.typing as npt

from affectd.arrays import Array, Float32
from affectd.errors import DataError, NoInputError
from affectd.features.mel import mel_centers
from affectd.features.spec import FeatureSpec
from affectd.recognition.vad import LEVEL_FLOOR_DBFS
from affectd_train.data.clips import Clip

LOGMEL_BANDS = 128
_DECIBEL_PER_STEP = 80 / 63  # 64 steps span 80 dB

_FRAME = ("sample_rate", "window_length", "hop_length", "n_fft", "window", "periodic", "center", "preemphasis")
_OF_BANDS = (*_FRAME, "n_mels", "fmin", "fmax", "htk", "mel_norm", "floor_bins", "energy", "reference")
"""Fields of a specification that a log-mel clip has as they are by default."""

LOGMEL_PEAK_DBFS = -20.0
"""The level that the loudest band of a log-mel clip is taken to have had; the file kept only what is relative to it."""


def logmel_level(bands: Float32, spec: FeatureSpec) -> Float32:
    """Estimate, from log-mel bands alone, what `affectd.recognition.vad.band_level` measures on samples.

    Parameters
    ----------
    bands
        ``(n_frames, n_mels)`` decibel below the clip's maximum.

    Returns
    -------
    ``(n_frames,)`` float32 dBFS.
    """
    center = mel_centers(spec)
    # A Slaney-normalized band holds power per hertz, so its power is that times its width; the comb of the gate
    # passes sin^2(pi f / 4000) of it.
    weight = np.sin(np.pi * center / 4000.0) ** 2 * np.gradient(center)
    power = np.power(10.0, bands / 10.0) @ (weight / weight.max())
    level = LOGMEL_PEAK_DBFS + 10.0 * np.log10(np.maximum(power, 1e-12))
    floored: Float32 = np.maximum(level, LEVEL_FLOOR_DBFS).astype(np.float32)
    return floored


def check_logmel(clip: Clip, spec: FeatureSpec) -> None:
    """Check that what a specification asks for can be had from log-mel bands alone.

    Raises
    ------
    DataError
        If it asks for columns that are made from sound, or for other bands; the message names the corpus and the field.
    """
    usual = FeatureSpec()
    other = [key for key in _OF_BANDS if getattr(spec, key) != getattr(usual, key)]
    if wanted := ", ".join([*spec.frame_columns, *other]):
        raise DataError(
            f"{clip.corpus} is there as mel bands alone ({clip.path}), and {wanted} can be had from sound only:"
            " leave it out with --corpora, or get its recordings"
        )


def load_logmel(clip: Clip) -> Float32:
    """Load the log-mel spectrogram of a clip of CREMA-D.

    The first call decompresses the whole file (about 150 MB), which then stays in memory.

    Returns
    -------
    (n_frames, 128) float32
        Decibel below the clip's own maximum, from -80 to 0; power spectrogram of 1024 samples every 256 at
        16 kHz, 128 Slaney mel bands from 0 to 8000 Hz.

    Raises
    ------
    ValueError
        If the clip is audio.
    DataError
        If the file is damaged or ends before the clip does.
    """
    if clip.first_frame is None or clip.n_frames is None:
        raise ValueError(f"{clip.path} is audio; use load_audio")
    steps = _logmel_steps(clip.path)
    end = clip.first_frame + clip.n_frames
    if end > steps.shape[1]:
        raise DataError(f"{clip.path}: ends after {steps.shape[1]} frames, a clip of {clip.speaker} at {end}")
    decibel: Float32 = steps[:, clip.first_frame : end].T.astype(np.float32)
    decibel *= np.float32(_DECIBEL_PER_STEP)
    decibel -= 80
    return decibel


@functools.lru_cache(maxsize=1)
def _logmel_steps(path: Path) -> npt.NDArray[np.uint8]:
    """Return the whole file, (128, n) uint8 from 0 to 63."""
    try:
        with lzma.open(path) as file:
            # read_array instead of load: it reads in pieces, so the file is never in memory twice.
            steps: Array = np.lib.format.read_array(file, allow_pickle=False)
    except FileNotFoundError:
        raise NoInputError(f"{path}: no such file") from None
    except (OSError, EOFError, ValueError, lzma.LZMAError) as error:
        raise DataError(f"{path}: damaged ({error})") from error
    if steps.dtype != np.uint8 or steps.ndim != 2 or steps.shape[0] != LOGMEL_BANDS:
        raise DataError(f"{path}: holds {steps.dtype} {steps.shape}, expected uint8 (128, n)")
    return steps

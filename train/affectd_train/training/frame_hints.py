"""What the teacher makes of every frame of a clip: far denser targets than one label, or one embedding, for all of it.

Principal components of one of the encoder's layers, at the times of the front end's frames. The components are found
on everyday speech, so that they are the same whatever is trained and tested on, and owe nothing to those tested.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from affectd.arrays import Float16, Float32
from affectd.errors import DataError
from affectd.features.spec import FeatureSpec
from affectd_train.augmentation.waveform import Augmenter
from affectd_train.data.clips import Clip
from affectd_train.data.recordings import read_each
from affectd_train.files import write_arrays
from affectd_train.folders import named_contents
from affectd_train.parallel import in_parallel
from affectd_train.stored import arrays, cached, check
from affectd_train.training.bands import speech_of
from affectd_train.training.teacher import (
    SAMPLE_RATE,
    Basis,
    Session,
    encoder_session,
    invert,
    loudest_at_half,
    session_of_process,
)
from affectd_train.training.variants import Source, digest, sources, speech_settings

LAYER = "/layers.3/Add_1_output_0"
"""The layer whose mean alone recognizes unseen speakers best."""

N_FRAME_HINTS = 64
"""Principal components of it that the small network learns to guess."""

MARGIN = SAMPLE_RATE // 10
"""Samples before and behind the speech that the encoder hears too."""

FIRST_CENTER, STEP = 447, 384
"""The encoder's three convolutions see 895 samples every 384."""


def frame_hints(
    clips: Sequence[Clip],
    spec: FeatureSpec,
    encoder: Path,
    everyday: Sequence[Path],
    cache: Path,
    augmenter: Augmenter | None = None,
    copy: int = 0,
) -> list[Float16]:
    """Hear clips of one corpus on all cores, or read what an earlier call heard.

    `encoder` is ``encoder_model.onnx`` of Moonshine base, `everyday` recordings of speech that the components are
    found on. With an augmenter, the voices of copies are heard; see `affectd_train.training.bands.load_bands`.

    Returns
    -------
    Of each clip ``(n_frames, N_FRAME_HINTS)``, each of variance 1 in everyday speech, one row for every row of
    `affectd_train.training.bands.speech_bands`; no row for a clip that cannot be decoded.

    Raises
    ------
    UnavailableError
        If onnx or onnxruntime is not installed.
    """
    basis = _components(encoder, everyday, cache)
    settings = encoder.read_bytes() + basis.axes.tobytes() + speech_settings(spec)
    name = digest(settings, clips, augmenter, copy)
    file = cache / f"frames-{clips[0].corpus}-{name}.npz"

    def read(file: Path) -> list[Float16]:
        rows, edges = arrays(file, "rows", "edges")
        check(rows.shape == (edges[-1], N_FRAME_HINTS) and len(edges) == len(clips) + 1, "rows of another shape")
        return [rows[first:last] for first, last in itertools.pairwise(edges)]

    def make(file: Path) -> None:
        title = f"frames of {clips[0].corpus}, copy {copy}"
        heard = list(in_parallel(partial(_project, encoder, basis), sources(clips, spec, augmenter, copy), title))
        write_arrays(file, rows=np.concatenate(heard), edges=np.cumsum([0, *map(len, heard)]))

    return cached(file, read, make)


def _components(encoder: Path, recordings: Sequence[Path], cache: Path) -> Basis:
    digest = hashlib.sha256(encoder.read_bytes())
    digest.update(json.dumps(named_contents(recordings)).encode())
    n = N_FRAME_HINTS

    def read(file: Path) -> Basis:
        mean, std, axes, spread = arrays(file, "mean", "std", "axes", "spread")
        check(axes.shape == (len(mean), len(spread)) and mean.shape == std.shape, "components of another shape")
        return Basis(mean, std, axes, spread)

    def make(file: Path) -> None:
        session = encoder_session(encoder)
        heard = read_each(recordings, SAMPLE_RATE, "frames of everyday speech")
        basis = Basis.of(np.concatenate([_hear(session, samples) for _, samples in heard]))
        write_arrays(file, mean=basis.mean, std=basis.std, axes=basis.axes[:, :n], spread=basis.spread[:n])

    return cached(cache / f"frames-basis-{digest.hexdigest()[:16]}.npz", read, make)


def _hear(session: Session, samples: Float32) -> Float32:
    """Return ``(n_steps, 416)`` of the layer."""
    (steps,) = session.run([LAYER], {"input_values": loudest_at_half(samples)[None]})  # (1, n_steps, 416)
    result: Float32 = steps[0]
    return result


def _project(encoder: Path, basis: Basis, source: Source) -> Float16:
    """Hear one clip and interpolate to the times of its frames: ``(n_frames, N_FRAME_HINTS)``."""
    try:
        samples, bands, (first, last) = speech_of(source)
        if samples is None:
            samples = invert(bands)
    except DataError:  # reading its bands says why
        return np.zeros((0, N_FRAME_HINTS), np.float16)
    hop = source.spec.hop_length
    start = max(0, first * hop - MARGIN)
    steps = _hear(session_of_process(encoder), samples[start : last * hop + MARGIN])
    hints = basis(steps) / basis.spread
    position = np.clip((np.arange(first, last) * hop - start - FIRST_CENTER) / STEP, 0, len(hints) - 1)
    below = np.minimum(position.astype(np.intp), max(len(hints) - 2, 0))
    weight = (position - below).astype(np.float32)[:, None]
    above = np.minimum(below + 1, len(hints) - 1)
    at_frames: Float16 = (hints[below] * (1 - weight) + hints[above] * weight).astype(np.float16)
    return at_frames

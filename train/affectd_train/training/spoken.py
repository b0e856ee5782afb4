"""What clips say to the voice of a device: the functionals of their contexts, cached on disk.

Gate, contexts and functionals are the device's own.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from affectd.arrays import Float32, Float64
from affectd.config.sections import GateConfig
from affectd.errors import DataError
from affectd.features.functionals import N_FUNCTIONALS, Functionals
from affectd.features.mfcc import Mfcc
from affectd.features.spec import FeatureSpec
from affectd.recognition.model_file import ModelFile
from affectd.recognition.offline import context_columns
from affectd.recognition.vad import find_speech
from affectd_train.data.clips import Clip
from affectd_train.data.logmel import check_logmel
from affectd_train.files import write_arrays
from affectd_train.stored import arrays, cached, check
from affectd_train.training.bands import heard_of
from affectd_train.training.variants import Source, computed, digest, sources, without_bad

FEWEST_CLIPS = 8
"""Of a speaker whose usual voice they can tell."""

_FIRST, _STEP, _MOST = 40, 20, 40
"""Frames until the first context ends, and from each to the next; about how many of a long clip are heard at most."""


@dataclass(frozen=True)
class Spoken:
    """What clips say: the functionals of all contexts of each, ``(n_contexts, N_FUNCTIONALS)``, and how long it is."""

    clips: tuple[Clip, ...]
    contexts: tuple[Float32, ...]
    seconds: Float64

    def means(self) -> Float64:
        """Return the mean of each clip, ``(n_clips, N_FUNCTIONALS)``."""
        return np.stack([rows.mean(0, dtype=np.float64) for rows in self.contexts])

    def last(self) -> Float64:
        """Return the functionals of the last context of each clip, ``(n_clips, N_FUNCTIONALS)``."""
        return np.stack([rows[-1] for rows in self.contexts]).astype(np.float64)


def load_spoken(clips: Sequence[Clip], model: ModelFile, cache: Path) -> Spoken:
    """Compute what clips say on all cores, or read it from an earlier call's cache; without those with no speech."""
    parts = [_load([clip for clip in clips if clip.corpus == name], model, cache) for name in _corpora(clips)]
    return Spoken(
        tuple(clip for part in parts for clip in part.clips),
        tuple(rows for part in parts for rows in part.contexts),
        np.concatenate([np.empty(0), *(part.seconds for part in parts)]),
    )


def _corpora(clips: Sequence[Clip]) -> list[str]:
    return sorted({clip.corpus for clip in clips})


def _load(clips: Sequence[Clip], model: ModelFile, cache: Path) -> Spoken:
    if clips[0].is_logmel:
        check_logmel(clips[0], model.spec)
    ordered = sorted(clips)  # whatever the order: the cache is one
    file = cache / f"voice-{clips[0].corpus}-{digest(_settings(model), ordered, None, 0)}.npz"

    def read(file: Path) -> Spoken:
        rows, ends, seconds, good, reasons = arrays(file, "rows", "ends", "seconds", "good", "reasons")
        check(rows.shape == (ends[-1], N_FUNCTIONALS) and len(ends) == len(good) == len(seconds), "of another shape")
        return Spoken(without_bad(ordered, good, reasons), tuple(np.split(rows, ends[:-1])), seconds)

    return cached(file, read, partial(_make, sources(ordered, model.spec, None, 0), model))


def _make(originals: Sequence[Source], model: ModelFile, file: Path) -> None:
    clip = originals[0].clip
    spoken, good, reasons = computed(partial(functionals_of, model), originals, f"functionals of {clip.corpus}")
    if not spoken:
        raise DataError(f"{clip.path.parent}: no speech is heard in any recording of {clip.corpus}")
    rows, ends = np.concatenate([rows for rows, _ in spoken]), np.cumsum([len(rows) for rows, _ in spoken])
    seconds = [seconds for _, seconds in spoken]
    write_arrays(file, rows=rows, ends=ends, seconds=seconds, good=good, reasons=np.array(reasons, str))


def functionals_of(model: ModelFile, source: Source) -> tuple[Float32, float] | str:
    """Compute the functionals of the contexts of a clip, and how many seconds it speaks; or say why there are none."""
    spec = model.spec
    try:
        _, bands, level = heard_of(source)
    except DataError as error:
        return str(error).removeprefix(f"{source.clip.path}: ")
    speech = find_speech(level, GateConfig(), spec.frame_rate)
    if speech is None:
        return "no speech is heard in it"
    ends = [*range(speech.start + _FIRST, speech.end, _STEP), speech.end]
    ends = ends[:: len(ends) // _MOST + 1]
    mfcc, functionals = _front_end(spec)
    contexts = [bands[max(speech.start, end - model.n_frames) : end] for end in ends]
    rows = np.stack([functionals(context_columns(context, model, mfcc)) for context in contexts])
    return rows, (speech.end - speech.start) / spec.frame_rate


@functools.cache
def _front_end(spec: FeatureSpec) -> tuple[Mfcc, Functionals]:
    return Mfcc(spec), Functionals(spec)


def _settings(model: ModelFile) -> bytes:
    """Describe all that decides what clips say; of the functionals, by an example of them."""
    example = np.random.default_rng(0).normal(0, 20, (model.n_frames, model.spec.n_mfcc)).astype(np.float32)
    # Rounded, for the last bits of a matrix product depend on the processor.
    of_example = (_front_end(model.spec)[1](example).astype(np.float64).round(2) + 0.0).tolist()
    gate = dataclasses.asdict(GateConfig())
    return json.dumps([model.spec.to_dict(), model.n_frames, gate, _FIRST, _STEP, _MOST, of_example]).encode()


def heard_settings(model: ModelFile) -> str:
    """Return a digest of all that decides what clips say."""
    return hashlib.sha256(_settings(model)).hexdigest()[:12]

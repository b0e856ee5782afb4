"""Recordings as they are, and copies of them in other voices: all that another process has to know to make one."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from affectd.arrays import Float32
from affectd.config.sections import GateConfig
from affectd.features.spec import FeatureSpec
from affectd.folders import Skipped
from affectd.recognition.vad import TRIM_RANGE_DB
from affectd_train.augmentation.waveform import Augmenter
from affectd_train.data.clips import Clip
from affectd_train.data.recordings import load_audio
from affectd_train.folders import fingerprint, say_skipped
from affectd_train.parallel import in_parallel
from affectd_train.training.recipe import PER_CORPUS, Recipe

R = TypeVar("R")


@dataclass(frozen=True)
class Source:
    """One clip, or with an augmenter the copy of it that the seed decides."""

    clip: Clip
    spec: FeatureSpec
    augmenter: Augmenter | None = None
    seed: int = 0

    def sound(self) -> tuple[Float32, Float32]:
        """Return the voice alone and what a microphone hears of it, each ``(n_samples,)`` float32.

        Raises
        ------
        DataError
            If the clip cannot be decoded.
        """
        rate = self.spec.sample_rate
        samples = load_audio(self.clip, rate)
        if self.augmenter is None:
            return samples, samples
        generator = np.random.default_rng(self.seed)
        voice = self.augmenter.voice(samples, rate, generator)
        return voice, self.augmenter.surround(voice, rate, generator)


def sources(clips: Sequence[Clip], spec: FeatureSpec, augmenter: Augmenter | None, copy: int) -> list[Source]:
    """List the sources of clips; each ``copy`` draws anew, whichever other clips there are."""
    seeds = [zlib.crc32(f"{_named(clip)} {copy}".encode(errors="surrogateescape")) for clip in clips]
    return [Source(clip, spec, augmenter, seed) for clip, seed in zip(clips, seeds, strict=True)]


def computed(
    function: Callable[[Source], R | str], listed: Sequence[Source], title: str
) -> tuple[list[R], list[int], list[str]]:
    """Compute something of each source on all cores.

    Parameters
    ----------
    function
        Returns it or, in words, why there is none.

    Returns
    -------
    What there is, the places in the list of what it is of, and why there is none of the others.
    """
    # The file of log-mel clips is decompressed once per process, which takes longer than the rest.
    results = [*in_parallel(function, listed, title, alone=listed[0].clip.is_logmel)]
    good = [i for i, result in enumerate(results) if not isinstance(result, str)]
    reasons = [result for result in results if isinstance(result, str)]
    return [result for result in results if not isinstance(result, str)], good, reasons


def without_bad(clips: Sequence[Clip], good: NDArray[np.int64], reasons: Iterable[str]) -> tuple[Clip, ...]:
    """Return the clips of which something was `computed`, and say why the others are left out."""
    bad = sorted({*range(len(clips))}.difference(good.tolist()))
    say_skipped(clips[0].corpus, [Skipped(clips[i].path, str(why)) for i, why in zip(bad, reasons, strict=True)])
    return tuple(clips[i] for i in good)


def _named(clip: Clip) -> str:
    part = f" {clip.start_seconds}" if clip.is_part else ""
    return f"{clip.speaker} {clip.path.name}{part}"


def digest(settings: bytes, clips: Sequence[Clip], augmenter: Augmenter | None, copy: int) -> str:
    """Name what is computed from `sources` with some settings, for a cache."""
    digest = hashlib.sha256(settings)
    if augmenter is not None:
        digest.update(json.dumps([augmenter.settings(), copy]).encode())
    for clip in clips:
        row: list[object] = [clip.path.name, fingerprint(clip.path), clip.first_frame, clip.n_frames, clip.speaker]
        if clip.is_part:
            row += [clip.start_seconds, clip.end_seconds]
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()[:16]


_OF_CEPSTRA = {"n_mfcc", "top_db", "deltas", "delta_width", "mel"}


def speech_settings(spec: FeatureSpec) -> bytes:
    """Describe all that decides which frames of a source are speech, and their bands."""
    # What cepstra are made of the bands changes nothing about these.
    front_end = {key: value for key, value in spec.to_dict().items() if key not in _OF_CEPSTRA}
    return json.dumps([front_end, asdict(GateConfig()), TRIM_RANGE_DB]).encode()


class Version(NamedTuple):
    """Clips of one corpus as they are, or with an augmenter the copy of that number of each."""

    clips: list[Clip]
    augmenter: Augmenter | None
    copy: int


def versions(name: str, clips: Sequence[Clip], recipe: Recipe, augmenter: Augmenter) -> list[Version]:
    """List what to load of a corpus: the clips as they are, and their copies unless they are there as bands alone.

    Voices are what is short: a corpus of few recordings has more copies of each.
    """
    mine = sorted(clip for clip in clips if clip.corpus == name)  # whatever the order: the cache is one
    copies = 0 if mine[0].is_logmel else min(recipe.augmented_copies, max(1, PER_CORPUS // len(mine)))
    return [Version(mine, None, 0), *(Version(mine, augmenter, copy) for copy in range(1, copies + 1))]

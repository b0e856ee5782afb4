"""Log-mel bands of the speech in every clip, cached on disk.

The front end and the gate are the device's own (`affectd.features.mfcc`, `affectd.recognition.vad`),
so what the network is trained on is what it will be shown.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from affectd.arrays import Float16, Float32
from affectd.config.sections import GateConfig
from affectd.errors import DataError
from affectd.features.mfcc import Mfcc
from affectd.features.spec import FeatureSpec
from affectd.recognition.vad import band_level, trim
from affectd_train.augmentation.waveform import Augmenter
from affectd_train.data.clips import Clip
from affectd_train.data.logmel import check_logmel, load_logmel, logmel_level
from affectd_train.data.noise import noise_recordings
from affectd_train.data.recordings import read_each
from affectd_train.files import write_arrays
from affectd_train.stored import arrays, cached, check
from affectd_train.training.variants import Source, computed, digest, sources, speech_settings, without_bad


def speech_bands(source: Source) -> Float16 | str:
    """Compute the log-mel bands of the speech in a clip, silence at its ends trimmed by the device's gate.

    Returns
    -------
    ``(n_frames, n_bands)`` float16, the mel bands in decibel, below the clip's maximum if that is the reference; or,
    for a clip that cannot be decoded or is shorter than a frame, why.
    A clip in which the gate never opens is kept whole.
    """
    try:
        _, bands, (first, last) = speech_of(source)
    except DataError as error:
        return str(error).removeprefix(f"{source.clip.path}: ")
    spec, speech = source.spec, bands[first:last]
    if not len(speech):
        return "shorter than one frame of the front end"
    logs = speech[:, : spec.n_mels + spec.energy]
    if spec.reference == "max":  # else the level counts, on the device too
        logs = np.maximum(logs - logs[:, : spec.n_mels].max(), -120.0)
    further = speech[:, spec.n_mels + spec.energy :]
    rows: Float16 = np.concatenate([logs, further], axis=1, dtype=np.float16, casting="same_kind")
    return rows


def speech_of(source: Source) -> tuple[Float32 | None, Float32, tuple[int, int]]:
    """Find the speech in a clip.

    Returns
    -------
    The samples of the voice alone, or None where there are only log-mel bands; the bands of what a microphone hears,
    ``(n_frames, n_bands)`` dB; and the span of the frames in which the device's gate is open, which is all of them for
    a clip in which it never opens.

    Raises
    ------
    DataError
        If the clip cannot be decoded.
    """
    voice, bands, level = heard_of(source)
    return voice, bands, trim(level, GateConfig(), source.spec.frame_rate) or (0, len(bands))


def heard_of(source: Source) -> tuple[Float32 | None, Float32, Float32]:
    """Return the samples and bands of a clip as `speech_of`, and for the gate the levels of its frames, dBFS.

    Raises
    ------
    DataError
        If the clip cannot be decoded.
    """
    spec, clip = source.spec, source.clip
    if clip.is_logmel:
        bands = load_logmel(clip)
        return None, bands, logmel_level(bands, spec)
    voice, samples = source.sound()
    mfcc = Mfcc(spec)
    frames = mfcc.frames(samples)
    return voice, mfcc.bands(frames), band_level(frames, spec.sample_rate)


@dataclass(frozen=True)
class BandStore:
    """The bands of many clips, one after the other, float16 to halve the memory.

    Entry ``i`` is ``rows[starts[i] : ends[i]]`` of ``(total_frames, n_bands)``, of the copy ``copies[i]`` of
    ``clips[i]``; copy 0 is the clip itself.
    """

    clips: tuple[Clip, ...]
    rows: Float16
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    copies: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: int) -> Float32:
        return self.rows[self.starts[i] : self.ends[i]].astype(np.float32)

    def entries(self) -> list[tuple[Clip, int]]:
        """Return the clip and the number of the copy of every entry."""
        return list(zip(self.clips, self.copies, strict=True))

    def without(self, speakers: Set[str]) -> BandStore:
        """Leave out everything these speakers said; the rows are shared, not copied."""
        return self._of([i for i, clip in enumerate(self.clips) if clip.speaker not in speakers])

    def originals(self, speakers: Set[str]) -> BandStore:
        """Keep what these speakers said, without copies in other voices; the rows are shared, not copied."""
        entries = enumerate(self.entries())
        return self._of([i for i, (clip, copy) in entries if clip.speaker in speakers and not copy])

    def _of(self, kept: list[int]) -> BandStore:
        clips, copies = tuple(self.clips[i] for i in kept), tuple(self.copies[i] for i in kept)
        return BandStore(clips, self.rows, self.starts[kept], self.ends[kept], copies)

    @classmethod
    def join(cls, stores: Sequence[BandStore]) -> BandStore:
        """Put stores behind one another."""
        clips = tuple(clip for store in stores for clip in store.clips)
        copies = tuple(copy for store in stores for copy in store.copies)
        first_rows = np.cumsum([0] + [len(store.rows) for store in stores])
        starts = np.concatenate([store.starts + first for store, first in zip(stores, first_rows[:-1], strict=True)])
        ends = np.concatenate([store.ends + first for store, first in zip(stores, first_rows[:-1], strict=True)])
        return cls(clips, np.concatenate([store.rows for store in stores]), starts, ends, copies)


def load_bands(
    clips: Sequence[Clip], spec: FeatureSpec, cache: Path, augmenter: Augmenter | None = None, copy: int = 0
) -> BandStore:
    """Compute the bands of clips on all cores, or read them from an earlier call's cache.

    The name of the file in `cache` is a digest of everything the bands depend on. With an augmenter they are of an
    augmented copy; each `copy` draws anew. Log-mel clips stay as they are.

    Raises
    ------
    DataError
        If not one of the clips can be decoded, or they have mel bands alone where sound is needed.
    """
    if clips[0].is_logmel:
        check_logmel(clips[0], spec)
    file = cache / f"{clips[0].corpus}-{copy}-{digest(speech_settings(spec), clips, augmenter, copy)}.npz"

    def read(file: Path) -> BandStore:
        rows, edges, good, reasons = arrays(file, "rows", "edges", "good", "reasons")
        check(rows.shape == (edges[-1], spec.n_bands) and rows.dtype == np.float16, "rows of another shape")
        check(bool(len(edges) == len(good) + 1 and (np.diff(edges, prepend=0) >= 0).all()), "edges of other clips")
        return BandStore(without_bad(clips, good, reasons), rows, edges[:-1], edges[1:], (copy,) * len(good))

    return cached(file, read, partial(_make_bands, sources(clips, spec, augmenter, copy), copy))


def _make_bands(variants: Sequence[Source], copy: int, file: Path) -> None:
    clip = variants[0].clip
    rows, good, reasons = computed(speech_bands, variants, f"bands of {clip.corpus}, copy {copy}")
    if not rows:
        raise DataError(f"{clip.path.parent}: no recording of {clip.corpus} can be decoded ({reasons[0]})")
    edges = np.cumsum([0, *map(len, rows)])
    write_arrays(file, rows=np.concatenate(rows), edges=edges, good=good, reasons=np.array(reasons, str))


def load_noise(folder: Path, spec: FeatureSpec) -> list[Float32]:
    """Compute the log-mel bands, ``(n_frames, n_bands)`` float32 dB, of every noise recording under a folder."""
    mfcc = Mfcc(spec)
    recordings = read_each(noise_recordings(folder), spec.sample_rate, "noise")
    return [bands for _, samples in recordings if len(bands := mfcc.bands(mfcc.frames(samples)))]


def load_everyday(recordings: Sequence[Path], spec: FeatureSpec) -> list[Float32]:
    """Compute the log-mel bands, ``(n_frames, n_bands)`` float32 dB, of the speech in recordings that have some."""
    mfcc = Mfcc(spec)
    clips = []
    for _, samples in read_each(recordings, spec.sample_rate, "everyday speech"):
        frames = mfcc.frames(samples)
        span = trim(band_level(frames, spec.sample_rate), GateConfig(), spec.frame_rate)
        if span is not None:
            clips.append(mfcc.bands(frames[slice(*span)]))
    return clips

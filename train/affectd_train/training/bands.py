"""From clips to batches: log-mel bands of the speech in every clip, cached on disk, and contexts drawn from them.

The front end and the gate are the device's own (`affectd.features`, `affectd.vad`),
so what the network is trained on is what it will be shown.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import zlib
from collections.abc import Iterable, Sequence, Set
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from affectd.config import GateConfig
from affectd.context import Context
from affectd.errors import DataError
from affectd.features import FeatureSpec, Mfcc
from affectd.vad import LEVEL_FLOOR_DBFS, band_level, trim
from affectd_train.augment import Augmenter
from affectd_train.corpora import Clip
from affectd_train.network import FRAMES_PER_STEP
from affectd_train.recordings import load_logmel, read_audio
from affectd_train.sources import Source, digest, sources, speech_settings
from affectd_train.specaugment import add_noise, band_limit, crop, mask, roll_off, stretch, tilt, warp
from affectd_train.teacher import Lesson

Float32 = NDArray[np.float32]

LOGMEL_PEAK_DBFS = -20.0
"""The level that the loudest band of a log-mel clip is taken to have had; the file kept only what is relative to it."""


def speech_bands(source: Source) -> Float32 | str:
    """Compute the log-mel bands of the speech in a clip, silence at its ends trimmed by the device's gate.

    Returns
    -------
    ``(n_frames, n_bands)`` float16, decibel below the clip's maximum; or, for a clip that cannot be decoded, why.
    A clip in which the gate never opens is kept whole.
    """
    try:
        _, bands, (first, last) = speech_of(source)
    except DataError as error:
        return str(error)
    speech = bands[first:last]
    relative: Float32 = np.maximum(speech - speech.max(), -120.0).astype(np.float16)
    return relative


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
    spec, clip = source.spec, source.clip
    voice = None
    if clip.is_logmel:
        bands = load_logmel(clip)
        level = logmel_level(bands, spec)
    else:
        voice, samples = source.sound()
        mfcc = Mfcc(spec)
        frames = mfcc.frames(samples)
        bands = mfcc.bands(frames)
        level = band_level(frames, spec.sample_rate)
    return voice, bands, trim(level, GateConfig(), spec.sample_rate / spec.hop_length) or (0, len(bands))


def logmel_level(bands: Float32, spec: FeatureSpec) -> Float32:
    """Estimate, from log-mel bands alone, what `affectd.vad.band_level` measures on samples.

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


def mel_centers(spec: FeatureSpec) -> NDArray[np.float64]:
    """Center frequency in hertz of every Slaney mel band of a spec, ``(n_mels,)``."""

    # Slaney's scale: linear below 1 kHz, 200/3 Hz a mel; above, 27 mels to a factor of 6.4.
    def mel(hz: float) -> float:
        return hz * 3 / 200 if hz < 1000 else 15 + 27 * np.log(hz / 1000) / np.log(6.4)

    fmax = spec.fmax or spec.sample_rate / 2
    mels = np.linspace(mel(spec.fmin), mel(fmax), spec.n_mels + 2)[1:-1]
    hertz: NDArray[np.float64] = np.where(mels < 15, mels * 200 / 3, 1000 * np.power(6.4, (mels - 15) / 27))
    return hertz


@dataclass(frozen=True)
class BandStore:
    """The bands of many clips, one after the other, float16 to halve the memory.

    Attributes
    ----------
    clips
        What each entry is.
    rows
        ``(total_frames, n_bands)`` float16.
    starts, ends
        ``(len(clips),)`` int64; entry ``i`` is ``rows[starts[i] : ends[i]]``.
    copies
        Which copy of the clip each entry is of; 0 for the clip itself.
    """

    clips: tuple[Clip, ...]
    rows: NDArray[np.float16]
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
        kept = [i for i, clip in enumerate(self.clips) if clip.speaker not in speakers]
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

    Parameters
    ----------
    cache
        A folder for the results; the file's name is a digest of everything they depend on.
    augmenter, copy
        With an augmenter, the bands are of an augmented copy; each ``copy`` draws anew. Log-mel clips stay as they are.

    Raises
    ------
    DataError
        If not one of the clips can be decoded.
    """
    file = cache / f"{clips[0].corpus}-{copy}-{digest(speech_settings(spec), clips, augmenter, copy)}.npz"
    if not file.exists():
        title = f"bands of {clips[0].corpus}, copy {copy}"
        results = list(_in_parallel(sources(clips, spec, augmenter, copy), title))
        for result in results:
            if isinstance(result, str):
                say(f"skipped: {result}")
        good = [i for i, result in enumerate(results) if not isinstance(result, str)]
        if not good:
            raise DataError(f"{clips[0].path.parent}: no recording of {clips[0].corpus} can be decoded")
        rows = [results[i] for i in good]
        cache.mkdir(parents=True, exist_ok=True)
        beside = file.with_suffix(".partial.npz")
        edges = np.cumsum([0, *map(len, rows)])
        np.savez(beside, rows=np.concatenate(rows), edges=edges, good=good)
        beside.replace(file)
    with np.load(file) as stored:
        edges, good = stored["edges"], stored["good"]
        return BandStore(tuple(clips[i] for i in good), stored["rows"], edges[:-1], edges[1:], (copy,) * len(good))


def _in_parallel(sources: Sequence[Source], title: str) -> Iterable[Float32 | str]:
    if sources[0].clip.is_logmel:
        # The file is decompressed once per process, which takes longer than the rest: stay in this one.
        yield from map(speech_bands, tqdm(sources, title))
        return
    # Not fork: the parent may already run TensorFlow's threads.
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        yield from tqdm(pool.map(speech_bands, sources, chunksize=16), title, total=len(sources))


def say(line: str) -> None:
    """Write a line to standard error without breaking a progress bar."""
    tqdm.write(line, file=sys.stderr)


def load_noise(folder: Path, spec: FeatureSpec) -> list[Float32]:
    """Compute the log-mel bands, ``(n_frames, n_bands)`` float32 dB, of every noise recording under a folder."""
    mfcc = Mfcc(spec)
    recordings = [f for f in _recordings(folder) if f.parent.name != "impulse_responses"]
    return [mfcc.bands(mfcc.frames(read_audio(f, spec.sample_rate))) for f in tqdm(recordings, "bands of noise")]


def load_everyday(folder: Path, spec: FeatureSpec) -> list[Float32]:
    """Compute the log-mel bands of everyday speech, trimmed; see `everyday_recordings`."""
    mfcc = Mfcc(spec)
    clips = []
    for file in tqdm(everyday_recordings(folder), "bands of everyday speech"):
        frames = mfcc.frames(read_audio(file, spec.sample_rate))
        span = trim(band_level(frames, spec.sample_rate), GateConfig(), spec.sample_rate / spec.hop_length)
        if span is not None:
            clips.append(mfcc.bands(frames[slice(*span)]))
    return clips


def everyday_recordings(folder: Path) -> list[Path]:
    """List the half of the recordings under a folder that `trained_on` allows."""
    return [path for path in _recordings(folder) if trained_on(path)]


def trained_on(recording: Path) -> bool:
    """Tell whether a recording of everyday speech is for training; the other half is for tests.

    The names say nothing about the speakers, so some of them may be on both sides.
    """
    return zlib.crc32(recording.name.encode()) % 2 == 0


def _recordings(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in {".opus", ".wav", ".flac", ".ogg"})


class Batches:
    """Draws training batches; batch number ``step`` is the same whenever it is drawn, so training can resume.

    Parameters
    ----------
    store
        All clips to draw from.
    shares
        corpus -> share of every batch. Within a corpus each label is equally likely.
    labels
        The classes, in the order of the network's outputs.
    noise
        Noise bands, mixed into a third of the clips and shown alone as `noise_share` of every batch, with all
        labels equally likely: the network should not be sure what a fan feels.
    everyday
        Bands of speech that nobody acted, `everyday_share` of every batch, with all labels equally likely.
    mean, std
        ``(n_mfcc,)`` float32 of `normalization`.
    taught, teacher_share
        What a teacher makes of every clip of the store, and which share of the targets its answers are.
    frames
        `affectd_train.frame_hints.frame_hints` of every clip of the store; or nothing.
    tilt_db
        How far the microphones that clips are made to come from differ; see `affectd_train.specaugment.tilt`.
    """

    noise_share = 0.08
    everyday_share = 0.1

    def __init__(
        self,
        store: BandStore,
        shares: dict[str, float],
        labels: Sequence[str],
        noise: Sequence[Float32],
        everyday: Sequence[Float32],
        spec: FeatureSpec,
        n_frames: int,
        normalization: tuple[Float32, Float32],
        batch_size: int,
        label_smoothing: float,
        seed: int,
        taught: Lesson | None = None,
        teacher_share: float = 0.5,
        frames: Sequence[NDArray[np.float16]] = (),
        tilt_db: float = 2.0,
    ) -> None:
        self.store, self.noise, self.everyday = store, noise, everyday
        self.mfcc, self.n_frames = Mfcc(spec), n_frames
        self.centers = mel_centers(spec)
        white = np.random.default_rng(seed).normal(0.0, 0.1, 2 * n_frames * spec.hop_length)
        self.hiss = self.mfcc.bands(self.mfcc.frames(white.astype(np.float32)))
        self.mean, self.std = normalization
        self.labels = labels
        self.taught, self.teacher_share, self.frames = taught, teacher_share, frames
        self.tilt_db = tilt_db
        self.batch_size, self.label_smoothing, self.seed = batch_size, label_smoothing, seed
        self.by_label: dict[str, dict[int, list[int]]] = {corpus: {} for corpus in shares}
        for i, clip in enumerate(store.clips):
            if clip.corpus in shares:
                self.by_label[clip.corpus].setdefault(labels.index(clip.emotion), []).append(i)
        self.corpora = [corpus for corpus in shares if self.by_label[corpus]]
        weights = np.array([shares[corpus] for corpus in self.corpora])
        self.weights = weights / weights.sum()

    def draw(self, step: int) -> tuple[Float32, Float32]:
        """Draw batch number ``step``: cepstra ``(batch, n_frames, n_mfcc)`` and targets ``(batch, n_labels)``."""
        contexts, target = self.contexts(step)
        return self.cepstra(contexts), target

    def plain(self, n: int) -> Float32:
        """Choose clips as a batch does and leave them as they are: cepstra ``(n, n_frames, n_mfcc)``."""
        rng = np.random.default_rng(self.seed)
        return self.cepstra(np.stack([self._context(self.store[self._choose(rng)[1]]) for _ in range(n)]))

    def _choose(self, rng: np.random.Generator) -> tuple[int, int]:
        corpus = self.corpora[rng.choice(len(self.corpora), p=self.weights)]
        by_label = self.by_label[corpus]
        label = list(by_label)[rng.integers(len(by_label))]
        return label, by_label[label][rng.integers(len(by_label[label]))]

    def contexts(self, step: int) -> tuple[Float32, Float32]:
        """Draw batch number ``step`` before its cepstra: bands ``(batch, n_frames, n_bands)``, and the targets."""
        rng = np.random.default_rng([self.seed, step])
        pairs = [self._draw_one(rng) for _ in range(self.batch_size)]
        return np.stack([x for x, _ in pairs]), np.stack([y for _, y in pairs])

    def cepstra(self, contexts: Float32) -> Float32:
        """Turn contexts of bands into normalized cepstra, as the device does."""
        return (np.stack([self.mfcc.cepstra(bands) for bands in contexts]) - self.mean) / self.std

    def _draw_one(self, rng: np.random.Generator) -> tuple[Float32, Float32]:
        kind = rng.random()
        if self.noise and kind < self.noise_share:
            # On the device noise comes in bursts too, with silence before them.
            n_frames = self.n_frames if rng.random() < 0.5 else int(rng.integers(self.n_frames // 8, self.n_frames))
            return self._context(tilt(self._noise(rng, n_frames), 2.0, rng)), self._nobody_knows()
        if self.everyday and kind > 1 - self.everyday_share:
            bands, _ = self._augment(self.everyday[int(rng.integers(len(self.everyday)))], rng)
            return self._context(bands), self._nobody_knows()
        label, clip = self._choose(rng)
        frames = self.frames[clip] if self.frames else None
        bands, heard = self._augment(self.store[clip], rng, frames)
        # Over all labels: a corpus that has no "surprised" has nobody who is, and its happy voices should not sound so.
        smooth = np.float32(self.label_smoothing / len(self.labels))
        target = smooth + (1 - self.label_smoothing) * np.eye(len(self.labels), dtype=np.float32)[label]
        if self.taught is None:
            return self._context(bands), self._target(target)
        target = (1 - self.teacher_share) * target + self.teacher_share * self.taught.probabilities[clip]
        return self._context(bands), self._target(target, self.taught.hints[clip], heard)

    def _nobody_knows(self) -> Float32:
        # To call speech that nobody acted neutral would teach that every new microphone sounds neutral, for a new
        # microphone is what tells it from the corpora.
        n_labels = len(self.labels)
        return self._target(np.full(n_labels, 1 / n_labels, np.float32))

    def _target(self, probabilities: Float32, hints: Float32 | None = None, heard: Float32 | None = None) -> Float32:
        """Put together what `affectd_train.network.loss` takes apart."""
        if self.taught is None:
            return np.asarray(probabilities, np.float32)
        known = hints is not None
        row = hints if hints is not None else np.zeros(self.taught.hints.shape[1], np.float32)
        steps = self._steps(heard).ravel() if self.frames else ()
        return np.concatenate([probabilities, row, [known], steps], dtype=np.float32)

    def _steps(self, heard: Float32 | None) -> Float32:
        """Average the frames' hints over each of the network's last steps, with a last column of 1 if all are known."""
        n_hints = self.frames[0].shape[1]
        rows = np.zeros((self.n_frames, n_hints + 1), np.float32)
        if heard is not None and len(heard):
            rows[-len(heard) :] = np.pad(heard, ((0, 0), (0, 1)), constant_values=1.0)
        steps: Float32 = rows.reshape(-1, FRAMES_PER_STEP, n_hints + 1).mean(1)
        steps[:, -1] = steps[:, -1] == 1
        return steps

    def _augment(
        self, bands: Float32, rng: np.random.Generator, frames: NDArray[np.float16] | None = None
    ) -> tuple[Float32, Float32 | None]:
        """Vary bands, and what belongs to their frames with them."""
        n_bands = bands.shape[1]
        if frames is not None:
            bands = np.concatenate([bands, frames], axis=1)
        bands = stretch(bands, rng.uniform(0.9, 1.12))
        # The device also classifies the beginning of an utterance, before the context is full.
        shortest = min(len(bands), 80)
        n_frames = len(bands) if rng.random() < 0.7 else int(rng.integers(shortest, len(bands) + 1))
        bands = crop(bands, min(n_frames, self.n_frames), rng)
        bands, heard = bands[:, :n_bands], (bands[:, n_bands:] if frames is not None else None)
        bands = warp(bands, rng.uniform(0.94, 1.06))
        bands = tilt(bands, self.tilt_db, rng)
        if rng.random() < 0.3:
            n_mels = bands.shape[1]
            bands = roll_off(bands, int(rng.integers(n_mels * 7 // 8, n_mels)), rng.uniform(0.0, 60.0))
        if rng.random() < 0.1:
            # Of a telephone or of a loudspeaker in a door: 200 to 400 Hz, 3 to 4.5 kHz.
            low, high = np.searchsorted(self.centers, [rng.uniform(200, 400), rng.uniform(3000, 4500)])
            bands = band_limit(bands, int(low), int(high), rng.uniform(2.0, 8.0))
        if self.noise and rng.random() < 0.3:
            bands = add_noise(bands, self._noise(rng, len(bands)), rng.uniform(5.0, 40.0))
        if rng.random() < 0.3:
            # A microphone's own noise, or what rounding a quiet recording to 16 bits leaves.
            bands = add_noise(bands, crop(self.hiss, len(bands), rng), rng.uniform(20.0, 50.0))
        return (mask(bands, 16, 16, rng) if rng.random() < 0.5 else bands), heard

    def _noise(self, rng: np.random.Generator, n_frames: int) -> Float32:
        recording = self.noise[int(rng.integers(len(self.noise)))]
        cut = crop(recording, n_frames, rng)
        return np.resize(cut, (n_frames, recording.shape[1]))

    def _context(self, bands: Float32) -> Float32:
        return padded(bands, self.mfcc, self.n_frames)


def padded(bands: Float32, mfcc: Mfcc, n_frames: int) -> Float32:
    """Make one context, ``(n_frames, n_bands)``, of the last frames of at most that many, as the device pads them."""
    context = Context(n_frames, bands.shape[1], mfcc.floor)
    context.push(bands)
    return context.view()


def padded_cepstra(bands: Float32, mfcc: Mfcc, n_frames: int) -> Float32:
    """Compute the cepstra of one context, ``(n_frames, n_mfcc)``, from the last frames of at most that many."""
    return mfcc.cepstra(padded(bands, mfcc, n_frames))


def normalization(store: BandStore, spec: FeatureSpec, n_frames: int, seed: int) -> tuple[Float32, Float32]:
    """Mean and standard deviation per coefficient, each ``(n_mfcc,)`` float32, over 500 contexts."""
    mfcc = Mfcc(spec)
    chosen = np.random.default_rng(seed).choice(len(store), min(500, len(store)), replace=False)
    cepstra = np.concatenate([padded_cepstra(store[int(i)], mfcc, n_frames) for i in chosen])
    return cepstra.mean(0, dtype=np.float64).astype(np.float32), (cepstra.std(0, dtype=np.float64) + 1e-3).astype(
        np.float32
    )

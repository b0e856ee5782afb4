"""Batches: contexts drawn from the bands of clips, varied, and made cepstra."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from affectd.arrays import Float16, Float32
from affectd.features.mel import mel_centers
from affectd.features.mfcc import Mfcc
from affectd.features.spec import FeatureSpec
from affectd.recognition.offline import padded
from affectd_train.augmentation.spectrogram import add_noise, band_limit, crop, mask, roll_off, stretch, tilt, warp
from affectd_train.training.bands import BandStore
from affectd_train.training.network import FRAMES_PER_STEP
from affectd_train.training.teacher import SoftTargets

# How far a floor of noise is below the mean of a clip, which is about 25 dB below its maximum. The range of the device
# ends 50 dB below the maximum: a much weaker floor would not be heard.
FLOOR_DB = (20.0, 40.0)
NOISE_SHARE = 0.08  # of every batch is noise alone
EVERYDAY_SHARE = 0.1  # of every batch is everyday speech
HELD_OUT_CLIPS = 256  # are looked at for the log


@dataclass(kw_only=True, eq=False)
class Batches:
    """Draws training batches; batch number ``step`` is the same whenever it is drawn, so training can resume.

    A clip of noise, or of speech that is not acted, has all labels with equal probability: the network should not be
    sure what a fan feels. Noise is also mixed into a third of the other clips.
    """

    store: BandStore  # all clips to draw from
    shares: Mapping[str, float]  # corpus -> share of every batch; within a corpus each label is equally likely
    labels: Sequence[str]  # in the order of the network's outputs
    noise: Sequence[Float32]  # bands, each (n_frames, n_bands) dB
    everyday: Sequence[Float32]  # bands of speech that is not acted
    spec: FeatureSpec
    n_frames: int  # of one context
    normalization: tuple[Float32, Float32]  # mean and deviation, (n_columns,) each
    batch_size: int
    label_smoothing: float
    seed: int
    taught: SoftTargets | None = None  # what a teacher makes of every clip of the store
    teacher_share: float = 0.5  # of the target probabilities
    frames: Sequence[Float16] = ()  # the hints of `frame_hints` of every clip of the store; or nothing
    tilt_db: float = 2.0  # how far the microphones that clips are made to come from differ; see `tilt`
    has_noise_floor: bool = False  # every clip, of whatever corpus, then has some noise where it may have been silent

    def __post_init__(self) -> None:
        self.mfcc, self.centers = Mfcc(self.spec), mel_centers(self.spec)
        white = np.random.default_rng(self.seed).normal(0.0, 0.1, 2 * self.n_frames * self.spec.hop_length)
        self.hiss = self.mfcc.bands(self.mfcc.frames(white.astype(np.float32)))[:, : self.spec.n_mels]
        by_label: dict[str, dict[int, list[int]]] = {corpus: {} for corpus in self.shares}  # to entries of the store
        for i, clip in enumerate(self.store.clips):
            if clip.corpus in self.shares:
                by_label[clip.corpus].setdefault(self.labels.index(clip.emotion), []).append(i)
        self.by_label = {corpus: entries for corpus, entries in by_label.items() if entries}
        weights = np.array([self.shares[corpus] for corpus in self.by_label])
        self.weights = weights / weights.sum()

    def draw(self, step: int) -> tuple[Float32, Float32]:
        """Draw batch number ``step``: cepstra ``(batch, n_frames, n_columns)``, and targets as `_target` makes them."""
        contexts, target = self.contexts(step)
        return self.cepstra(contexts), target

    def plain(self, n: int) -> Float32:
        """Choose clips as a batch does and leave them as they are: cepstra ``(n, n_frames, n_columns)``."""
        rng = np.random.default_rng(self.seed)
        return self.cepstra(np.stack([self._context(self.store[self._choose(rng)[1]]) for _ in range(n)]))

    def _choose(self, rng: np.random.Generator) -> tuple[int, int]:
        by_label = list(self.by_label.values())[rng.choice(len(self.weights), p=self.weights)]
        label = list(by_label)[rng.integers(len(by_label))]
        return label, by_label[label][rng.integers(len(by_label[label]))]

    def contexts(self, step: int) -> tuple[Float32, Float32]:
        """Draw batch number ``step`` before its cepstra: bands ``(batch, n_frames, n_bands)``, and the targets."""
        rng = np.random.default_rng([self.seed, step])
        pairs = [self._draw_one(rng) for _ in range(self.batch_size)]
        return np.stack([x for x, _ in pairs]), np.stack([y for _, y in pairs])

    def cepstra(self, contexts: Float32) -> Float32:
        """Turn contexts of bands into normalized cepstra, as the device does."""
        mean, std = self.normalization
        return (np.stack([self.mfcc.cepstra(bands) for bands in contexts]) - mean) / std

    def _draw_one(self, rng: np.random.Generator) -> tuple[Float32, Float32]:
        kind = rng.random()
        if self.noise and kind < NOISE_SHARE:
            # On the device noise comes in bursts too, with silence before them.
            n_frames = self.n_frames if rng.random() < 0.5 else int(rng.integers(self.n_frames // 8, self.n_frames))
            noise = self._noise(rng, n_frames)
            noise[:, : self.spec.n_mels] = tilt(noise[:, : self.spec.n_mels], 2.0, rng)
            return self._context(noise), self._unlabeled()
        if self.everyday and kind > 1 - EVERYDAY_SHARE:
            bands, _ = self._augment(self.everyday[int(rng.integers(len(self.everyday)))], rng)
            return self._context(bands), self._unlabeled()
        label, clip = self._choose(rng)
        frames = self.frames[clip] if self.frames else None
        bands, heard = self._augment(self.store[clip], rng, frames)
        # Over all labels: a corpus without "surprised" has no surprised voice, and its happy ones should not sound so.
        smooth = np.float32(self.label_smoothing / len(self.labels))
        target = smooth + (1 - self.label_smoothing) * np.eye(len(self.labels), dtype=np.float32)[label]
        if self.taught is None:
            return self._context(bands), self._target(target)
        target = (1 - self.teacher_share) * target + self.teacher_share * self.taught.probabilities[clip]
        return self._context(bands), self._target(target, self.taught.hints[clip], heard)

    def _unlabeled(self) -> Float32:
        # To call everyday speech neutral would teach that every new microphone sounds neutral, for a new microphone is
        # what tells it from the corpora.
        n_labels = len(self.labels)
        return self._target(np.full(n_labels, 1 / n_labels, np.float32))

    def _target(self, probabilities: Float32, hints: Float32 | None = None, heard: Float32 | None = None) -> Float32:
        """Put together what `affectd_train.training.network.loss` takes apart."""
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
        self, bands: Float32, rng: np.random.Generator, frames: Float16 | None = None
    ) -> tuple[Float32, Float32 | None]:
        """Vary bands, and what belongs to their frames with them.

        Of further columns only pace and cut vary: what noise or a microphone makes of them is not known from the bands.
        """
        n_bands, n_mels = bands.shape[1], self.spec.n_mels
        if frames is not None:
            bands = np.concatenate([bands, frames], axis=1)
        bands = stretch(bands, rng.uniform(0.9, 1.12))
        # The device also classifies the beginning of an utterance, before the context is full.
        shortest = min(len(bands), 80)
        n_frames = len(bands) if rng.random() < 0.7 else int(rng.integers(shortest, len(bands) + 1))
        bands = crop(bands, min(n_frames, self.n_frames), rng)
        heard = bands[:, n_bands:] if frames is not None else None
        bands, further = bands[:, :n_mels], bands[:, n_mels:n_bands]
        if self.has_noise_floor:
            floor = tilt(crop(self.hiss, len(bands), rng), 2.0, rng)
            bands = add_noise(bands, floor, rng.uniform(*FLOOR_DB))
        bands = warp(bands, rng.uniform(0.94, 1.06))
        bands = tilt(bands, self.tilt_db, rng)
        if rng.random() < 0.3:
            bands = roll_off(bands, int(rng.integers(n_mels * 7 // 8, n_mels)), rng.uniform(0.0, 60.0))
        if rng.random() < 0.1:
            # Of a telephone or of a loudspeaker in a door: 200 to 400 Hz, 3 to 4.5 kHz.
            low, high = np.searchsorted(self.centers, [rng.uniform(200, 400), rng.uniform(3000, 4500)])
            bands = band_limit(bands, int(low), int(high), rng.uniform(2.0, 8.0))
        if self.noise and rng.random() < 0.3:
            bands = add_noise(bands, self._noise(rng, len(bands))[:, :n_mels], rng.uniform(5.0, 40.0))
        if rng.random() < 0.3:
            # A microphone's own noise, or what rounding a quiet recording to 16 bits leaves.
            bands = add_noise(bands, crop(self.hiss, len(bands), rng), rng.uniform(20.0, 50.0))
        bands = mask(bands, rng) if rng.random() < 0.5 else bands
        return (np.concatenate([bands, further], axis=1) if n_bands > n_mels else bands), heard

    def _noise(self, rng: np.random.Generator, n_frames: int) -> Float32:
        recording = self.noise[int(rng.integers(len(self.noise)))]
        cut = crop(recording, n_frames, rng)
        return np.resize(cut, (n_frames, recording.shape[1]))

    def _context(self, bands: Float32) -> Float32:
        return padded(bands, self.mfcc, self.n_frames)


def normalization(store: BandStore, spec: FeatureSpec, n_frames: int, seed: int) -> tuple[Float32, Float32]:
    """Mean and standard deviation per column, each ``(n_columns,)`` float32, over 500 contexts."""
    mfcc = Mfcc(spec)
    chosen = np.random.default_rng(seed).choice(len(store), min(500, len(store)), replace=False)
    cepstra = np.concatenate([mfcc.cepstra(padded(store[int(i)], mfcc, n_frames)) for i in chosen])
    mean, std = cepstra.mean(0, dtype=np.float64), cepstra.std(0, dtype=np.float64) + 1e-3
    return mean.astype(np.float32), std.astype(np.float32)


def prefetch(batches: Batches, first: int, steps: int) -> Iterator[tuple[Float32, Float32]]:
    """Draw batches ahead in a thread: NumPy releases the lock for most of it."""
    with ThreadPoolExecutor(1) as pool:
        ahead = deque(pool.submit(batches.draw, step) for step in range(first, min(first + 4, steps)))
        for step in range(first + 4, steps + 4):
            batch = ahead.popleft().result()
            if step < steps:
                ahead.append(pool.submit(batches.draw, step))
            yield batch


def held_out_contexts(stores: Sequence[BandStore], batches: Batches) -> tuple[Float32, Float32] | None:
    """Make a context of each of at most `HELD_OUT_CLIPS` clips that are not trained on, and say what is right for it.

    Returns
    -------
    Cepstra ``(n, n_frames, n_columns)`` and a 1 for the label, ``(n, n_labels)``, of clips that are chosen at random
    but always the same; None where there is no clip.
    """
    entries = [(store, i) for store in stores for i in range(len(store))]
    if not entries:
        return None
    chosen = np.random.default_rng(batches.seed).permutation(len(entries))[:HELD_OUT_CLIPS]
    contexts = [padded(entries[n][0][entries[n][1]], batches.mfcc, batches.n_frames) for n in chosen]
    labels = [batches.labels.index(entries[n][0].clips[entries[n][1]].emotion) for n in chosen]
    return batches.cepstra(np.stack(contexts)), np.eye(len(batches.labels), dtype=np.float32)[labels]

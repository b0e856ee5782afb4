"""Corpora as far as names and tables go: tones with syllables instead of voices, one pitch an emotion."""

from __future__ import annotations

import csv
import lzma
from pathlib import Path

import numpy as np
import soundfile

from affectd.features.mfcc import Mfcc
from affectd.features.spec import FeatureSpec


def voice(hz: float, seconds: float = 1.2, seed: int = 0) -> np.ndarray:
    """Three syllables a second at a pitch, over a little noise."""
    t = np.arange(int(seconds * 16000)) / 16000
    sound = 0.3 * np.sin(2 * np.pi * 3 * t) ** 2 * np.sin(2 * np.pi * hz * t)
    return (sound + np.random.default_rng(seed).normal(0, 1e-3, len(t))).astype(np.float32)


def write(path: Path, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, 16000)


def canceled(path: Path) -> None:
    """Write a recording that cannot be used, which its header does not tell: its channels cancel each other out."""
    samples = voice(200)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.stack([samples, -samples], axis=1), 16000)


def ravdess(root: Path, actors: tuple[int, ...] = (1, 2, 3)) -> None:
    for actor in actors:
        for emotion in range(1, 9):
            for take in (1, 2):
                name = f"03-01-{emotion:02d}-01-01-{take:02d}-{actor:02d}.wav"
                write(root / "ravdess" / f"Actor_{actor:02d}" / name, voice(150 * 1.3**emotion, seed=actor + take))


def emodb(root: Path, speakers: tuple[str, ...] = ("03", "08", "09")) -> None:
    for number, speaker in enumerate(speakers):
        for emotion, letter in enumerate("WEAFTN"):
            write(root / "emodb" / "wav" / f"{speaker}a01{letter}a.wav", voice(200 * 1.3**emotion, seed=number))


def cremad(root: Path, n_actors: int = 6) -> None:
    """As the log-mel file: 64 steps of 80/63 dB below each clip's maximum."""
    mfcc = Mfcc(FeatureSpec())
    columns, rows, first = [], [], 0
    for actor in range(1001, 1001 + n_actors):
        for emotion, code in enumerate(("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")):
            bands = mfcc.bands(mfcc.frames(voice(200 * 1.3**emotion, seed=actor)))
            steps = np.round((np.maximum(bands - bands.max(), -80) + 80) * 63 / 80).astype(np.uint8)
            name = f"{actor}_IEO_{code}_XX"
            rows.append([name, actor, "IEO", code, "XX", first, len(steps)])
            columns.append(steps.T)
            first += len(steps)
    folder = root / "cremad"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "clips.csv").open("w", newline="") as table:
        csv.writer(table).writerows(
            [["name", "actor", "sentence", "emotion", "level", "first_frame", "n_frames"], *rows]
        )
    with lzma.open(folder / "logmel.npy.xz", "wb", preset=0) as file:
        np.save(file, np.concatenate(columns, axis=1))


def nemo(root: Path, speakers: tuple[str, ...] = ("IC0", "KS0")) -> None:
    for number, speaker in enumerate(speakers):
        for emotion, code in enumerate(("anger", "fear", "happiness", "neutral", "sadness", "surprised")):
            for sentence in (1, 2):
                name = f"{speaker}_{code}_{sentence}.wav"
                write(root / "nemo" / "samples" / name, voice(180 * 1.3**emotion, seed=number + sentence))


TABLED = {
    "ased": ("neutral", "happy", "sad", "angry", "fearful"),
    "emotale": ("neutral", "happy", "sad", "angry", "other:boredom"),
    "emospeech": ("calm", "happy", "angry", "fearful"),
    "turev": ("calm", "happy", "sad", "angry"),
    "kor_emotiontts": ("neutral", "happy", "sad", "angry"),
}
"""Corpora that come with a ``labels.csv``, and the emotions in it."""


def tabled(root: Path, corpus: str, speakers: tuple[str, ...] = ("01", "02"), takes: int = 2) -> None:
    rows = []
    for number, speaker in enumerate(speakers):
        for pitch, emotion in enumerate(TABLED[corpus]):
            for take in range(takes):
                name = f"{speaker}-{pitch}-{take}.wav"
                write(root / corpus / name, voice(170 * 1.3**pitch, seed=number + take))
                rows.append([name, speaker, ("female", "male")[number % 2], "xx", emotion])
    with (root / corpus / "labels.csv").open("w", newline="") as table:
        csv.writer(table).writerows([["file", "speaker", "gender", "language", "emotion"], *rows])
    (root / corpus / "ABOUT.md").write_text("not a recording")


def everyday(root: Path, sources: tuple[str, ...], n_recordings: int = 3) -> None:
    for number, source in enumerate(sources):
        for take in range(n_recordings):
            write(root / source / f"{take}.wav", voice(210 * 1.2**number, seed=take))


def tess(root: Path, words: tuple[str, ...] = ("back", "bar", "base")) -> None:
    for number, who in enumerate(("OAF", "YAF")):
        for pitch, (folder, code) in enumerate(
            (("angry", "angry"), ("Fear", "fear"), ("happy", "happy"), ("neutral", "neutral"), ("Sad", "sad"))
        ):
            for word in words:
                name = f"{who}_{word}_{code}.wav"
                write(root / "tess" / f"{who}_{folder}" / name, voice(160 * 1.3**pitch, seed=number + len(word)))


def own(root: Path, speakers: tuple[str, ...] = ("anna", "bo", "cy"), takes: int = 3) -> None:
    rows = []
    for number, speaker in enumerate(speakers):
        for pitch, label in enumerate(("calm", "angry", "sad")):
            for take in range(takes):
                name = f"{speaker}-{label}-{take}.wav"
                write(root / name, voice(180 * 1.4**pitch, seed=10 * number + take))
                rows.append([name, speaker, label])
    with (root / "labels.csv").open("w", newline="") as table:
        csv.writer(table).writerows([["file", "speaker", "emotion"], *rows])

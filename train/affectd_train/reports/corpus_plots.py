"""Pictures of a corpus: counts, durations and levels, and what single recordings look like, from waveform to MFCC."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectd.errors import DataError
from affectd.features.mfcc import Mfcc
from affectd.features.spec import FeatureSpec
from affectd_train.data.clips import Clip
from affectd_train.data.corpora import find_corpora, read_corpus
from affectd_train.data.labels import CORPORA, in_order
from affectd_train.data.logmel import load_logmel
from affectd_train.data.recordings import load_audio
from affectd_train.evaluation.predictions import is_damaged
from affectd_train.folders import say_skipped
from affectd_train.reports.corpus_sound import measure, sound
from affectd_train.reports.plots import figure, save

_VOICES = 4


def explore(folder: Path, out: Path, corpus: str | None = None) -> list[Path]:
    """Draw four pictures for every corpus in a folder.

    ``CORPUS-counts.png``: how many recordings; ``CORPUS-sound.png``: how long and how loud; ``CORPUS-examples.png``:
    one of each emotion, from waveform to MFCC; ``CORPUS-voices.png``: several of each emotion, by different speakers.

    Parameters
    ----------
    folder
        The folder of one corpus, or one that holds the folders of several.
    corpus
        Which corpus the folder is, where its name does not say.

    Raises
    ------
    NoInputError
        If the folder is not there.
    DataError
        If no corpus is in it, or no recording of one can be decoded.
    """
    folder = Path(folder)
    name = corpus or re.sub("[^a-z0-9]", "", folder.absolute().name.lower())
    roots = {name: folder} if name in CORPORA else find_corpora(folder)
    if not roots:
        raise DataError(
            f"{folder}: no folder in it is called {', '.join(CORPORA)}; --corpus says which one it is; of recordings of"
            " your own, affectd-train inspect says what is in them"
        )
    drawn = []
    for name, root in roots.items():
        found = read_corpus(name, root)
        say_skipped(name, found.skipped)
        if not (measured := measure(found.clips)):
            raise DataError(f"{root}: no recording of {name} can be decoded")
        drawn.append(save(counts(found.clips, len(found.skipped)), out / f"{name}-counts.png"))
        drawn.append(save(sound(measured), out / f"{name}-sound.png"))
        drawn.append(save(examples(found.clips), out / f"{name}-examples.png"))
        drawn.append(save(voices(found.clips), out / f"{name}-voices.png"))
    return drawn


def counts(clips: Sequence[Clip], n_skipped: int) -> Any:
    """Draw how many clips each emotion and each speaker has, by gender."""
    picture = figure(11, 4.5)
    by_emotion, by_speaker = picture.subplots(1, 2)
    labels = in_order(clip.emotion for clip in clips)
    speakers = sorted({clip.speaker for clip in clips})
    for axes, keys, key_of_clip in (
        (by_emotion, labels, [clip.emotion for clip in clips]),
        (by_speaker, speakers, [clip.speaker for clip in clips]),
    ):
        below = np.zeros(len(keys))
        for gender in ("female", "male", ""):
            tally = Counter(k for k, clip in zip(key_of_clip, clips, strict=True) if clip.gender == gender)
            n = np.array([tally[key] for key in keys])
            if n.any():
                axes.bar([key.split("-")[-1] for key in keys], n, bottom=below, label=gender or "unknown")
            below += n
        axes.tick_params(axis="x", labelrotation=90 if len(keys) > 12 else 45, labelsize=8 if len(keys) < 40 else 5)
        axes.set_ylabel("clips")
    by_emotion.legend(loc="lower right")
    by_emotion.set_title(f"{clips[0].corpus}: {len(clips)} clips, {n_skipped} files skipped")
    by_speaker.set_title(f"{len(speakers)} speakers")
    return picture


def examples(clips: Sequence[Clip]) -> Any:
    """Draw one recording per emotion, of one speaker where one has them all: a row each, from waveform to MFCC.

    A corpus of log-mel spectrograms has neither waveform nor spectrogram to draw.
    """
    spec = FeatureSpec()
    mfcc = Mfcc(spec)
    chosen = one_of_each(_decodable(clips, one_of_each))
    columns = [] if chosen[0].is_logmel else ["waveform", "spectrogram, dB"]
    columns += ["mel bands, dB", "MFCC 1 and up"]
    picture = figure(3 * len(columns), 1.5 * len(chosen) + 0.5)
    grid = picture.subplots(len(chosen), len(columns), squeeze=False)
    for clip, row in zip(chosen, grid, strict=True):
        *of_sound, bands_axes, mfcc_axes = row
        if clip.is_logmel:
            bands = load_logmel(clip)
        else:
            samples = load_audio(clip, spec.sample_rate)
            frames = mfcc.frames(samples)
            bands = mfcc.bands(frames)
            waveform, spectrogram = of_sound
            waveform.plot(np.arange(len(samples)) / spec.sample_rate, samples, linewidth=0.3)
            power = np.abs(np.fft.rfft(frames * np.hanning(spec.window_length), spec.n_fft)) ** 2
            _image(spectrogram, _below_maximum(10 * np.log10(power + 1e-12)), spec, spec.sample_rate / 2000)
        _image(bands_axes, _below_maximum(bands), spec, bands.shape[1])
        # The zeroth is the level; beside it the others would all be one color.
        _image(mfcc_axes, mfcc.cepstra(bands)[:, 1:], spec, spec.n_mfcc)
        row[0].set_ylabel(clip.emotion)
    for axes, title in zip(grid[0], columns, strict=True):
        axes.set_title(title, fontsize=9)
    for axes in grid[-1]:
        axes.set_xlabel("s")
    for axes in grid.flat:
        axes.tick_params(labelsize=6)
    return picture


def voices(clips: Sequence[Clip]) -> Any:
    """Draw the mel bands of several recordings per emotion, a row each: by as many speakers as there are."""
    spec = FeatureSpec()
    mfcc = Mfcc(spec)
    chosen = several_of_each(_decodable(clips, lambda kept: chain(*several_of_each(kept).values())))
    picture = figure(3 * _VOICES, 1.5 * len(chosen) + 0.5)
    grid = picture.subplots(len(chosen), _VOICES, squeeze=False)
    for (label, mine), row in zip(chosen.items(), grid, strict=True):
        row[0].set_ylabel(label)
        for axes in row[len(mine) :]:
            axes.set_visible(False)
        for clip, axes in zip(mine, row, strict=False):
            bands = load_logmel(clip) if clip.is_logmel else mfcc.bands(mfcc.frames(load_audio(clip, spec.sample_rate)))
            _image(axes, _below_maximum(bands), spec, bands.shape[1])
            axes.set_title(" ".join(filter(None, (clip.speaker.split("-", 1)[-1], clip.gender))), fontsize=8)
            axes.tick_params(labelsize=6)
    picture.supxlabel("s", fontsize=8)
    return picture


def _decodable(clips: Sequence[Clip], choose: Callable[[Sequence[Clip]], Iterable[Clip]]) -> list[Clip]:
    """Leave out what cannot be decoded, of what is chosen: not all of a corpus is decoded for a few pictures.

    Raises
    ------
    DataError
        If nothing is left.
    """
    kept = list(clips)
    while kept and (bad := [clip for clip in choose(kept) if is_damaged(clip)]):
        kept = [clip for clip in kept if clip not in bad]
    if not kept:
        raise DataError(f"{clips[0].path.parent}: no recording of {clips[0].corpus} can be decoded")
    return kept


def several_of_each(clips: Sequence[Clip]) -> dict[str, list[Clip]]:
    """Choose recordings of every emotion, by women and men in turn, a second one by a speaker only if there are few."""
    speakers = sorted({(clip.gender, clip.speaker) for clip in clips})
    genders = {gender: [name for other, name in speakers if other == gender] for gender, _ in speakers}
    in_turn = sorted((names.index(name), gender, name) for gender, names in genders.items() for name in names)
    rank = {name: number for number, (*_, name) in enumerate(in_turn)}
    chosen: dict[str, list[tuple[int, int, Clip]]] = {}
    takes: Counter[tuple[str, str]] = Counter()
    for clip in sorted(clips):
        key = (clip.emotion, clip.speaker)
        chosen.setdefault(clip.emotion, []).append((takes[key], rank[clip.speaker], clip))
        takes[key] += 1
    return {label: [clip for *_, clip in sorted(chosen[label])[:_VOICES]] for label in in_order(chosen)}


def one_of_each(clips: Sequence[Clip]) -> list[Clip]:
    """Choose a clip of every emotion, in the order of the labels, all of the speaker who has the most emotions."""
    emotions_of: dict[str, set[str]] = {}
    for clip in clips:
        emotions_of.setdefault(clip.speaker, set()).add(clip.emotion)
    speaker = max(sorted(emotions_of), key=lambda name: len(emotions_of[name]))
    chosen: dict[str, Clip] = {}
    for clip in sorted(clips, key=lambda clip: (clip.speaker != speaker, clip)):
        chosen.setdefault(clip.emotion, clip)
    return [chosen[label] for label in in_order(chosen)]


def _image(axes: Any, rows: NDArray[Any], spec: FeatureSpec, top: float) -> None:
    seconds = len(rows) * spec.hop_length / spec.sample_rate
    # A few outliers, such as the first coefficients at an onset, would leave one color for all the others.
    low, high = np.percentile(rows, [1, 99])
    axes.imshow(rows.T, origin="lower", aspect="auto", extent=(0, seconds, 0, top), cmap="magma", vmin=low, vmax=high)


def _below_maximum(decibel: NDArray[Any]) -> NDArray[Any]:
    """Limit decibels to the loudest 80, below the maximum."""
    limited: NDArray[Any] = np.maximum(decibel - decibel.max(), -80.0)
    return limited

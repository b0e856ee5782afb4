"""What a folder of recordings holds, before anything is trained on it: counted, heard once, and put into words."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from affectd.errors import DataError, NoInputError
from affectd.folders import Skipped, skipped_lines
from affectd.stdio import printable, width_of
from affectd.words.layout import Column, Layout, facts
from affectd_train.data.alike import LONGEST_SECONDS, Heard, alike, hear
from affectd_train.data.clips import Clip, Corpus
from affectd_train.data.corpora import find_corpora, read_corpus
from affectd_train.data.labels import in_order
from affectd_train.data.own import OTHERWISE, SAME, is_own, read_own, what_is_lacking
from affectd_train.data.recordings import Header, mix, read_blocks, read_header

MOST_HEARD = 2000
"""Clips of a corpus that are decoded; of more clips as many, evenly spread."""

CLIPPED_SAMPLES, FULL_SCALE, SILENCE = 10, 0.999, 1e-3

Findings = dict[str, Any]
"""What is known of one corpus, fit for JSON; see `findings`."""


def inspect(data: Path, labels: Path | None = None) -> list[Findings]:
    """Look at one's own recordings, or at every corpus in a folder; see `read_own` for what is raised."""
    if is_own(data, labels):
        return [findings(read_own(data, labels))]
    return [findings(read_corpus(name, root)) for name, root in find_corpora(data).items()]


def findings(corpus: Corpus) -> Findings:
    """Count what a corpus holds, and hear at most `MOST_HEARD` of its clips.

    ``speakers`` are counts of clips, ``labels`` those of clips and known speakers; ``duplicates`` and ``skipped`` are
    what is left out, with the reason; ``alike`` is what sounds like another recording. ``clipped`` clips have
    `CLIPPED_SAMPLES` at full scale, ``silent`` ones nothing above -60 dBFS in the mean of their channels; ``damaged``
    ones turned out not to be readable to their end, or to have channels that cancel each other out, and are also in
    ``skipped``.
    ``notes`` are sentences about what is in the way of training.
    """
    audio = [clip for clip in corpus.clips if not clip.is_logmel]
    headers = {clip.path: corpus.headers.get(clip.path) or read_header(clip.path) for clip in audio}
    lengths = sorted(min(clip.end_seconds, headers[clip.path].seconds) - clip.start_seconds for clip in audio)
    copies = [skipped for skipped in corpus.skipped if skipped.reason.startswith(SAME)]
    n_heard = min(len(audio), MOST_HEARD)
    heard = [audio[i * len(audio) // n_heard] for i in range(n_heard)]
    sounds, damage, copies_heard = _sounds(heard, headers)
    skipped = [*damage, *(one for one in corpus.skipped if not one.reason.startswith(SAME))]
    return {
        "name": corpus.name,
        "folder": str(corpus.root),
        "clips": len(corpus.clips),
        "minutes": round(sum(lengths) / 60, 2),
        "shortest_seconds": round(lengths[0], 3) if lengths else None,
        "median_seconds": round(lengths[len(lengths) // 2], 3) if lengths else None,
        "longest_seconds": round(lengths[-1], 3) if lengths else None,
        "speakers": dict(sorted(Counter(clip.speaker for clip in corpus.clips if clip.speaker).items())),
        "unknown_speakers": sum(not clip.speaker for clip in corpus.clips),
        "labels": _by_label(corpus.clips),
        "rates_hz": {str(rate): n for rate, n in sorted(Counter(headers[c.path].sample_rate for c in audio).items())},
        "heard": n_heard,
        **sounds,
        "duplicates": _rows(copies),
        "alike": _rows(copies_heard),
        "skipped": _rows(skipped),
        "notes": [
            *what_is_lacking(corpus.clips),
            *_about_speakers(corpus.clips),
            *_about_copies(copies),
            *_about_alike(copies_heard, n_heard),
        ],
    }


def _by_label(clips: Sequence[Clip]) -> dict[str, dict[str, int]]:
    n_clips = Counter(clip.emotion for clip in clips)
    speakers = Counter(emotion for emotion, speaker in {(clip.emotion, clip.speaker) for clip in clips} if speaker)
    return {label: {"clips": n_clips[label], "speakers": speakers[label]} for label in in_order(n_clips)}


def _sounds(
    clips: Sequence[Clip], headers: Mapping[Path, Header]
) -> tuple[dict[str, list[str]], list[Skipped], list[Skipped]]:
    """Decode clips.

    Returns
    -------
    The names of those that are ``clipped``, ``silent`` or ``damaged``; the damage; and what sounds like another.
    """
    found: dict[str, list[str]] = {"clipped": [], "silent": [], "damaged": []}
    damage: list[Skipped] = []
    heard: list[Heard] = []
    for clip in tqdm(clips, "listening", leave=False):
        n_full, loudest, rate, n_samples, first = 0, -1.0, headers[clip.path].sample_rate, 0, []
        try:
            blocks, besides = itertools.tee(read_blocks(clip.path, clip.start_seconds, clip.end_seconds))
            for block, mixed in zip(blocks, mix(clip.path, besides), strict=True):
                n_full += int((np.abs(block).max(axis=1) >= FULL_SCALE).sum())
                loudest = max(loudest, float(np.abs(mixed).max()))  # as training hears it
                if n_samples < LONGEST_SECONDS * rate:  # a recording of hours is not held in memory
                    first.append(mixed)
                n_samples += len(mixed)
            heard.append(hear(clip.name or str(clip.path), first, n_samples / rate, rate))
        except (DataError, NoInputError) as error:
            found["damaged"].append(str(clip.path))
            damage.append(Skipped(clip.path, str(error).removeprefix(f"{clip.path}: ")))
        if n_full >= CLIPPED_SAMPLES:
            found["clipped"].append(str(clip.path))
        if 0 <= loudest < SILENCE:
            found["silent"].append(str(clip.path))
    path_of = {clip.name or str(clip.path): clip.path for clip in clips}
    return found, damage, [Skipped(path_of[name], f"sounds like {other}") for name, other in alike(heard).items()]


def _rows(skipped: Sequence[Skipped]) -> list[dict[str, str]]:
    return [{"path": str(path), "reason": reason} for path, reason in skipped]


def _about_speakers(clips: Sequence[Clip]) -> Iterator[str]:
    speakers = {clip.speaker for clip in clips}
    if "" in speakers:
        yield (
            "who speaks is not known of all clips: how right a network is about strangers cannot be tested"
            " (a table of labels can name them in a column speaker)"
        )
    elif len(speakers) == 1:
        yield "there is one speaker: how right a network is about strangers cannot be tested"


def _about_copies(copies: Sequence[Skipped]) -> Iterator[str]:
    if n := sum(OTHERWISE in skipped.reason for skipped in copies):
        yield f"recordings that are there under two labels or speakers: {n}; the first name was taken"


def _about_alike(copies: Sequence[Skipped], n_heard: int) -> Iterator[str]:
    if copies:
        path, reason = copies[0]
        yield (
            f"recordings that sound like another, though their files differ: {len(copies)} of {n_heard:,} heard, such"
            f" as {path.name}, which {reason}; keep one of each, or the same sound may train and be tested"
        )


def words(found: Findings, room: int | None) -> Iterator[str]:
    """Say for people what `findings` found, in lines that are as wide as the room."""
    yield from facts(_facts(found), room)
    labels = found["labels"]
    table = Layout(
        [
            Column("LABEL", max([5, *map(width_of, labels)]), is_elastic=True),
            Column("CLIPS", 7, is_right=True),
            Column("SPEAKERS", 8, is_right=True),
        ],
        room,
    )
    yield table.titles()
    for label, n in labels.items():
        yield table.line([label, f"{n['clips']:,}", f"{n['speakers']:,}" if n["speakers"] else "not known"])
    left_out = [Skipped(Path(row["path"]), row["reason"]) for row in (*found["duplicates"], *found["skipped"])]
    yield from map(printable, skipped_lines(found["name"], left_out))
    for note in found["notes"]:
        yield from facts([("note", note)], room)


def _facts(found: Findings) -> Iterator[tuple[str, str]]:
    yield "folder", found["folder"]
    length = "of bands without sound"
    if found["median_seconds"] is not None:
        of = " to ".join(f"{found[f'{which}_seconds']:.1f}" for which in ("shortest", "longest"))
        length = f"{found['minutes']:,} minutes, of {of} s, half of them up to {found['median_seconds']:.1f} s"
    yield "clips", f"{found['clips']:,}, {length}"
    speakers = found["speakers"]
    known = f"{len(speakers)}, of {min(speakers.values())} to {max(speakers.values())} clips" if speakers else ""
    unknown = f"not known of {found['unknown_speakers']:,} clips" if found["unknown_speakers"] else ""
    yield "speakers", "; ".join(filter(None, (known, unknown)))
    yield "rates", ", ".join(f"{rate} Hz ({n:,})" for rate, n in found["rates_hz"].items()) or "not known"
    yield "copies", _such_as(list(found["duplicates"]))
    for kind in ("clipped", "silent", "damaged"):
        yield kind, f"{_such_as([{'path': path} for path in found[kind]])} of {found['heard']:,} heard"


def _such_as(rows: list[dict[str, str]]) -> str:
    return f"{len(rows):,} (such as {Path(rows[0]['path']).name})" if rows else "none"

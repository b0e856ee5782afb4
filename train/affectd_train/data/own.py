"""Recordings of one's own: listed in tables of labels, made by ``affectd record --label``, or in folders of emotions.

A folder is one's own if a table of labels (`TABLES`) lies directly in it, or if it holds none of our corpora. Who
speaks is known from a table alone.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from affectd.errors import DataError, NoInputError, UsageError
from affectd.folders import Skipped, walk
from affectd.personal.recordings import lost_label, written_label
from affectd_train.data.clips import Clip, Corpus
from affectd_train.data.corpora import existing_folder, find_corpora
from affectd_train.data.everyday_speech import SOURCES
from affectd_train.data.label_tables import TABLE, Form, read_tables
from affectd_train.data.labels import CORPORA, in_order
from affectd_train.data.recordings import Header, find_damage, read_header
from affectd_train.data.words import Words, read_words
from affectd_train.files import say
from affectd_train.folders import AUDIO_SUFFIXES, find_folders, fingerprint, named_contents, no_audio, say_skipped

OWN = "own"
"""Stands for a corpus in the clips of one's own recordings."""

TABLES = (TABLE, "labels.jsonl")
SAME, OTHERWISE = "the same recording as", ", where it is"
UNLABELED = "in a folder whose recordings train without labels, as all in noise and in speech: rename it"
SHORTEST_SECONDS, LONGEST_SECONDS = 0.1, 600.0
FEWEST_CLIPS = 5
"""Clips that a label needs for a network to be trained on it."""

_PATIENCE_SECONDS = 1.0
"""Until it is said how far reading is: of thousands of recordings, or on a slow disk."""


def is_own(data: Path, labels: Path | None = None) -> bool:
    """Tell whether a folder holds recordings of one's own rather than our corpora: also where labels are asked for.

    Raises
    ------
    NoInputError
        If it is not a folder.
    """
    has_corpora = bool(find_corpora(data))
    return labels is not None or not has_corpora or any(map(os.path.lexists, (data / name for name in TABLES)))


def read_own(data: Path, labels: Path | None = None) -> Corpus:
    """List the clips of one's own recordings, of which only headers are read, and everything that is left out, sorted.

    What is shorter than `SHORTEST_SECONDS` or longer than `LONGEST_SECONDS`, damaged, or the copy of another recording
    is left out. ``noise`` and everyday speech, which training uses without labels, are no clips, and left out only
    where a table or the name of a folder gives them one.

    Parameters
    ----------
    labels
        A file of labels and words for them, see `read_words`.

    Raises
    ------
    NoInputError
        If it is not a folder, or there is no recording with a label in it.
    DataError
        If a table is wrong, or cannot be read.
    """
    words = read_words(labels)
    files, unread = walk(existing_folder(data))
    besides = set(find_folders(data, ("noise", *SOURCES)).values())
    unlabeled = {path for path in files if not besides.isdisjoint(path.parents)}
    files = [path for path in files if path not in unlabeled]
    unread = [skipped for skipped in unread if besides.isdisjoint(skipped.path.parents)]
    if table := next((skipped for skipped in unread if skipped.path.name.lower() in TABLES), None):
        raise DataError(f"{table.path}: {table.reason}")  # without it labels might be others, and speakers not known
    # What has a label would train in all folds, also in those that test on it.
    headers: dict[Path, Header | str] = dict.fromkeys(unlabeled, UNLABELED)
    n_recordings = sum(not no_audio(path) for path in files)
    with tqdm(desc="headers", total=n_recordings, unit="file", leave=False, delay=_PATIENCE_SECONDS) as bar:
        damage = partial(_damage, headers, bar)
        if tables := [path for path in files if path.name.lower() in TABLES]:
            form = Form(OWN, words.label, "the labels", damage, ("file", "emotion"))
            clips, skipped = read_tables(tables, files, unread, form)
        else:
            files += [path for path in unlabeled if any(map(words.find, path.relative_to(data).parts[:-1]))]
            clips, skipped = _read_folders(data, files, words, damage)
            skipped += unread
    clips, copies = _without_copies(clips, unlabeled, data)
    skipped += copies
    if not clips:
        if tables:
            where = " or ".join(str(table) for table in tables)
            why = f"; {skipped[0].path}: {skipped[0].reason}" if skipped else ""
            raise NoInputError(f"{where}: no row is of a recording that can be used{why}")
        why = f" ({len(skipped)} files skipped; {skipped[0].path}: {skipped[0].reason})" if skipped else ""
        ways = f"{' or '.join(TABLES)}, folders named by emotion, recordings of affectd record --label"
        expected = f"{ways}, or corpora (none of {', '.join(CORPORA)})"
        raise NoInputError(f"{data}: no recording with a label in it, expected {expected}{why}")
    sound = {path: header for path, header in headers.items() if not isinstance(header, str)}
    named = [replace(clip, name=clip.named_in(data)) for clip in sorted(clips)]
    return Corpus(OWN, data, named, sorted(skipped), sound)


def read_own_clips(data: Path, labels: Path | None = None) -> list[Clip]:
    """List the clips to train on as `read_own` does, and say what was left out.

    Raises
    ------
    UsageError
        If it is a folder of corpora, not all of which may be trained on.
    DataError
        If a network cannot be trained on them: of one label alone, or too few of a label.
    """
    if not is_own(data, labels):
        raise UsageError(f"{data} holds corpora; recordings of your own they are with a {TABLE} in it, or --labels")
    corpus = read_own(data, labels)
    say(f"{data}: {len(corpus.clips)} clips, {len(corpus.skipped)} files skipped")
    say_skipped(data, corpus.skipped)
    if lacking := next(what_is_lacking(corpus.clips), None):
        raise DataError(f"{data}: {lacking}")
    return corpus.clips


def what_is_lacking(clips: Sequence[Clip]) -> Iterator[str]:
    """Say why clips are too few to train on: a sentence for each reason, none where they will do."""
    n_clips = Counter(clip.emotion for clip in clips)
    if len(n_clips) < 2:
        yield f"all clips are {next(iter(n_clips), 'missing')}: training needs two labels or more"
    for label, n in sorted(n_clips.items()):
        if n < FEWEST_CLIPS:
            yield f"{label} has {n} clip{'s' * (n > 1)}: training needs {FEWEST_CLIPS} or more of every label"


def description(clips: Sequence[Clip]) -> dict[str, object]:
    """Describe recordings and their labels: either may be mended after something was trained on them."""
    if not clips:
        return {}
    clips = sorted(clips)
    table = [
        [clip.name or clip.path.name, clip.emotion, clip.speaker, clip.start_seconds, str(clip.end_seconds)]
        for clip in clips
    ]
    contents = named_contents(sorted({clip.path for clip in clips}))
    return {
        "labels": in_order(clip.emotion for clip in clips),
        "table of labels": _digest(table),
        "content of recordings": _digest(contents),
    }


def _digest(rows: list[list[object]] | list[list[str]]) -> str:
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def _read_folders(
    data: Path, files: Sequence[Path], words: Words, damage: partial[str | None]
) -> tuple[list[Clip], list[Skipped]]:
    """Read clips whose label is what ``affectd record --label`` wrote, or the name of a folder that they are in."""
    sounds = {path.with_suffix("") for path in files if path.suffix.lower() in AUDIO_SUFFIXES}
    beside = {path for path in files if path.suffix == ".json" and path.with_suffix("") in sounds}
    clips: list[Clip] = []
    skipped: list[Skipped] = []
    for path in files:
        folders = path.relative_to(data).parts[:-1]
        has_label = path.with_suffix(".json") in beside
        said = written_label(path) if has_label else ""
        labels = {label for word in ([said] if said else folders) if (label := words.find(word))}
        if path in beside:
            continue
        if path.suffix.lower() not in AUDIO_SUFFIXES:
            reason: str | None = no_audio(path)
        elif has_label and (lost := lost_label(path)):
            reason = lost
        elif said and not labels:
            reason = f"the label {said!r} of its recording is no word for {words.source}"
        elif not folders and not labels:
            reason = "in no folder named by emotion"
        elif not labels:
            reason = f"the folder {folders[-1]!r} is no word for {words.source}"
        elif len(labels) > 1:
            reason = f"in folders of two labels, {' and '.join(sorted(labels))}"
        else:
            reason = damage(path, 0.0, math.inf)
        if reason:
            skipped.append(Skipped(path, reason))
        else:
            clips.append(Clip(OWN, path, "", "", labels.pop(), ""))
    return clips, skipped


def _damage(headers: dict[Path, Header | str], bar: tqdm[NoReturn], path: Path, start: float, end: float) -> str | None:
    """Return why a part of a recording cannot be used, or None; the header of each file is read once."""
    if path not in headers:
        headers[path] = _sound_header(path)
        bar.update()
    header = headers[path]
    if isinstance(header, str):
        return header
    if end < math.inf and end > header.seconds + 0.05:  # tables are rounded
        return f"{header.seconds:.2f} s long, but a row goes on to {end:g} s"
    seconds = round(min(end, header.seconds) - start, 6)  # 0.3 - 0.2 is less than 0.1
    if seconds < SHORTEST_SECONDS:
        return f"{max(0.0, 1000 * seconds):.0f} ms long, less than {1000 * SHORTEST_SECONDS:.0f}"
    if seconds > LONGEST_SECONDS:
        return f"{seconds / 60:.0f} minutes long, more than {LONGEST_SECONDS / 60:.0f}: start and end name its parts"
    return None


def _sound_header(path: Path) -> Header | str:
    try:
        header = read_header(path)
    except (DataError, NoInputError) as error:
        return str(error).removeprefix(f"{path}: ")
    return (find_damage(path) if header.is_float else None) or header


def _without_copies(clips: Sequence[Clip], unlabeled: Collection[Path], data: Path) -> tuple[list[Clip], list[Skipped]]:
    """Leave out recordings whose file has the same content as one before it in the order of their names.

    Those without a label come first, for they train in all folds.
    """
    alike: defaultdict[object, list[Clip]] = defaultdict(list)
    for clip in [*(Clip(OWN, path, "", "", "", "") for path in sorted(unlabeled)), *sorted(clips)]:
        alike[_known(_size, clip.path)].append(clip)
    # Clips of one length have one size, and reading all of them takes long: a piece first, and then the rest of few.
    for key in (_piece, fingerprint):
        groups = [group for group in alike.values() if len({clip.path for clip in group}) > 1]
        alike = defaultdict(list)
        for number, group in enumerate(groups):
            for clip in group:
                alike[number, _known(key, clip.path)].append(clip)
    copies: dict[Clip, Skipped] = {}
    for first, *others in alike.values():
        for clip in others:
            if clip.path != first.path and clip.emotion:
                other = (first.emotion or "without a label") if first.emotion != clip.emotion else ""
                if not other and first.speaker != clip.speaker and first.speaker and clip.speaker:
                    other = f"of {first.speaker.removeprefix(f'{OWN}-')}"
                where = other and f"{OTHERWISE} {other}"
                copies[clip] = Skipped(clip.path, f"{SAME} {first.path.relative_to(data)}{where}")
    return [clip for clip in clips if clip not in copies], list(copies.values())


def _known(key: Callable[[Path], object], path: Path) -> object:
    """Return what is known of the content of a file; one that is gone meanwhile, or damaged, is like no other."""
    try:
        return key(path)
    except OSError:
        return path


def _size(path: Path) -> int:
    return path.stat().st_size


def _piece(path: Path) -> bytes:
    """Read 4 kB from the middle of a file, where sound is rather than a header or silence."""
    with path.open("rb") as file:
        file.seek(_size(path) // 2)
        return file.read(4096)

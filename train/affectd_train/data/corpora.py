"""Corpora of emotional speech: which recordings there are, who speaks, and which label each carries.

`read_corpus` lists a corpus without decoding it, `load_audio` and `load_logmel` load a clip (`recordings`, `logmel`).
Sources and file names of each corpus are in `file_names`, its emotion codes in `labels`, its terms in `terms`; corpora
that come with a table of labels are read by `label_tables`.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from affectd.errors import DataError, NoInputError
from affectd.folders import Skipped, walk
from affectd_train.data.clips import Clip, Corpus
from affectd_train.data.file_names import LAYOUTS, Misnamed
from affectd_train.data.label_tables import NEEDED, TABLE, read_table
from affectd_train.data.labels import CORPORA, LABEL_OF_CODE, LEFT_OUT
from affectd_train.data.recordings import find_damage
from affectd_train.files import say
from affectd_train.folders import AUDIO_SUFFIXES, find_folders, no_audio, say_packed, say_skipped

_SUFFIXES = AUDIO_SUFFIXES | {".mp4"}  # videos are named in the same way, and their name gives the better reason


def find_corpora(data_root: Path | str) -> dict[str, Path]:
    """Find the folders in `data_root` that are named like a corpus, in any case and with or without dashes.

    Raises
    ------
    NoInputError
        If `data_root` is not a folder.
    DataError
        If two folders claim to be the same corpus.
    """
    found = find_folders(existing_folder(data_root), CORPORA)
    return {name: found[name] for name in CORPORA if name in found}


def read_corpus(name: str, root: Path | str) -> Corpus:
    """List the clips of a corpus in its official layout or by its `label_tables.TABLE`, at any depth and through links.

    Only headers are read. A file that is damaged (no readable header, no samples, values that are not
    finite), misnamed, a copy of another one, or without a label here is listed in `Corpus.skipped` with the
    reason.

    Raises
    ------
    ValueError
        If the corpus is unknown.
    NoInputError
        If `root` is not a folder.
    DataError
        If no file under it matches the layout, the message shows the expected one; if its table of labels is wrong.
    """
    if name not in CORPORA:
        raise ValueError(f"unknown corpus {name!r}: known are {', '.join(CORPORA)}")
    folder = existing_folder(root)
    clips, skipped = _read_names(name, folder) if name in LAYOUTS else read_table(name, folder)
    if not clips:
        layout = LAYOUTS[name][1] if name in LAYOUTS else f"{TABLE} with the columns {', '.join(NEEDED)}"
        why = f" ({len(skipped)} files skipped; {skipped[0].path}: {skipped[0].reason})" if skipped else ""
        raise DataError(f"{folder}: no recording of {name} in it, expected {layout}{why}")
    return Corpus(name, folder, _told_apart(sorted(clips), folder), sorted(skipped))


def _told_apart(clips: Sequence[Clip], folder: Path) -> list[Clip]:
    """Name recordings by their paths where those of a speaker, or parts of one, are called as others are."""
    n_called = Counter(clip.path.stem for clip in clips if not clip.is_logmel)
    return [replace(clip, name=clip.named_in(folder)) if n_called[clip.path.stem] > 1 else clip for clip in clips]


def _read_names(name: str, folder: Path) -> tuple[list[Clip], list[Skipped]]:
    """Read the clips of a corpus whose file names say all about them, and everything that is left out."""
    clips: list[Clip] = []
    files, skipped = walk(folder)
    seen: dict[tuple[str, str], Path] = {}
    tables = (path for path in files if name == "cremad" and path.name == "clips.csv")
    table = next((path for path in tables if path.with_name("logmel.npy.xz") in files), folder / "clips.csv")
    logmel = table.with_name("logmel.npy.xz")
    has_logmel = table in files and logmel in files
    for path in files:
        if has_logmel and path in (table, logmel):
            continue
        try:
            clip = _clip(name, path, path)
            # The speaker belongs to the key, for SAVEE's names repeat from folder to folder; its flat layout
            # puts the speaker in front of the same name, and one file of TESS and one of CREMA-D are spelled otherwise.
            key = (clip.speaker, re.sub("^(dc|je|jk|kl|oaf?)_|(?<=_x)x$", "", path.stem.lower()))
            if key in seen:
                raise Misnamed(f"the same recording as {seen[key].relative_to(folder)}")
            if damage := find_damage(path):
                raise Misnamed(damage)
        except Misnamed as reason:
            skipped.append(Skipped(path, str(reason)))
        else:
            seen[key] = path
            clips.append(clip)
    if has_logmel and clips:
        skipped.append(Skipped(logmel, "the audio itself is here too and is used instead"))
    elif has_logmel:
        _read_logmel_table(table, logmel, clips, skipped)
    return clips, skipped


def read_clips(data: Path, corpora: Sequence[str]) -> list[Clip]:
    """List the clips of these corpora that are under ``data``, and say what was skipped and why.

    Raises
    ------
    NoInputError
        If none of the corpora is there.
    """
    found = find_corpora(data)
    clips: list[Clip] = []
    for name in corpora:
        if name not in found:
            say(f"{name}: not in {data}, going on without it")
            say_packed(data)
            continue
        corpus = read_corpus(name, found[name])
        clips += corpus.clips
        say(f"{name}: {len(corpus.clips)} clips, {len(corpus.skipped)} files skipped")
        say_skipped(name, corpus.skipped)
    if not clips:
        raise NoInputError(f"{data}: none of {', '.join(corpora)} in it")
    return clips


def existing_folder(path: Path | str) -> Path:
    """Return the path of a folder; raise NoInputError where there is none."""
    folder = Path(path)
    if not folder.is_dir():
        raise NoInputError(f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}")
    return folder


def _clip(corpus: str, named: Path, path: Path) -> Clip:
    """Return the clip that the name `named` describes; raise `Misnamed` when it describes none."""
    if named.suffix.lower() not in _SUFFIXES:
        raise Misnamed(no_audio(named))
    speaker, gender, code, text = LAYOUTS[corpus][0](named)
    if code in LEFT_OUT.get(corpus, {}):
        raise Misnamed(LEFT_OUT[corpus][code])
    if code not in LABEL_OF_CODE[corpus]:
        raise Misnamed(f"no emotion {code!r} in {corpus}")
    return Clip(corpus, path, f"{corpus}-{speaker}", gender, LABEL_OF_CODE[corpus][code], text)


def _read_logmel_table(table: Path, logmel: Path, clips: list[Clip], skipped: list[Skipped]) -> None:
    """Append the rows of CREMA-D's `clips.csv`; actor, sentence, emotion and level are read from the name."""
    names = set()
    with table.open(newline="", encoding="utf-8-sig", errors="replace") as lines:
        for row in _rows(table, lines):
            name = row.get("name") or f"line {len(clips) + len(skipped) + 2}"
            try:
                clip = _clip("cremad", Path(f"{name}.wav"), logmel)
                first, count = (row.get(field) or "" for field in ("first_frame", "n_frames"))
                if not (first.isdecimal() and count.isdecimal() and int(count) > 0):
                    raise Misnamed(f"first_frame {first!r} and n_frames {count!r} are no span of frames")
                if name in names:
                    raise Misnamed("the same recording as a row before it")
                names.add(name)
            except Misnamed as reason:
                skipped.append(Skipped(table.with_name(f"clips.csv:{name}"), str(reason)))
            else:
                fields = (clip.corpus, clip.path, clip.speaker, clip.gender, clip.emotion, clip.text)
                clips.append(Clip(*fields, first_frame=int(first), n_frames=int(count)))


def _rows(table: Path, lines: TextIO) -> Iterator[dict[str, str]]:
    try:
        yield from csv.DictReader(lines)
    except csv.Error as error:
        raise DataError(f"{table}: not a table ({error})") from error

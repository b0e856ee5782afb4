"""Labeled recordings in a folder, as ``affectd record --label`` makes them: what the device finds there."""

from __future__ import annotations

import errno
import json
import os
import unicodedata
from pathlib import Path
from typing import TypeGuard

from affectd.errors import NoInputError
from affectd.files import read_file
from affectd.folders import WAV_SUFFIXES, Skipped, walk
from affectd.personal.personalize import Labeled
from affectd.recognition.checks import is_line

_MOST_BYTES = 65536
_MOST_LETTERS = 64


def find_recordings(folder: Path, known: tuple[str, ...]) -> tuple[list[Labeled], list[Skipped]]:
    """List the WAV files in a folder that have a label, by name, and what is left out.

    The label stands in the file that ``affectd record --label`` wrote beside the recording, else it is the name of the
    folder in `folder` that the recording lies in. `known` are the labels of the model, whose case does not matter.

    Raises
    ------
    NoInputError
        It is no folder.
    """
    if not os.path.isdir(folder):  # unlike `Path.is_dir`, false for a name that cannot be
        raise NoInputError(f"{folder} is not a folder of recordings.")
    found, skipped = walk(folder)
    labeled = []
    for path in found:
        if path.suffix.lower() not in WAV_SUFFIXES:
            if path.suffix.lower() != ".json":
                skipped.append(Skipped(path, "not a WAV file"))
        elif lost := lost_label(path):
            skipped.append(Skipped(path, lost))
        elif label := written_label(path) or (path.parent.name if path.parent != folder else ""):
            labeled.append(Labeled(path, _as_known(label, known)))
        else:
            skipped.append(Skipped(path, "without a label: neither beside it, nor as the name of its folder"))
    return labeled, skipped


def written_label(path: Path) -> str:
    """Return the label in the file beside a recording, or nothing."""
    try:
        label = _label_beside(path)
    except (OSError, ValueError, RecursionError):
        return ""
    return label if _is_label(label) else ""


def lost_label(path: Path) -> str | None:
    """Return why it is unknown which label a recording was given; None if that can be read, or it was given none.

    Such a recording may be of any label, whatever folder it lies in.
    """
    beside = path.with_suffix(".json")
    try:
        label = _label_beside(path)
    except OSError as error:
        is_foreign = error.errno in (errno.ENOENT, errno.EISDIR, errno.EFBIG)  # as a transcript is
        return None if is_foreign else f"{beside.name} beside it, which may say its label, cannot be read"
    except (ValueError, RecursionError):
        return f"{beside.name} beside it, which may say its label, is damaged"
    if label in (None, "") or _is_label(label):
        return None
    return f"the label in {beside.name} beside it is no line of text, of {_MOST_LETTERS} letters at most"


def _label_beside(path: Path) -> object:
    about = json.loads(read_file(path.with_suffix(".json"), _MOST_BYTES))
    return about.get("label") if isinstance(about, dict) else None


def _is_label(label: object) -> TypeGuard[str]:
    return isinstance(label, str) and is_line(label) and len(label) <= _MOST_LETTERS


def _as_known(label: str, known: tuple[str, ...]) -> str:
    plain = unicodedata.normalize("NFC", " ".join(label.split()))
    return next((name for name in known if name.casefold() == plain.casefold()), plain)

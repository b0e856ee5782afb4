"""What ``affectd-train import`` is asked for, from the words of its command line."""

from __future__ import annotations

import argparse
import ast
import json
from pathlib import Path

from affectd.errors import ModelFileError, NoInputError, UsageError
from affectd.features.spec import FeatureSpec
from affectd.recognition.hearing import Hearing, read_part
from affectd.recognition.model_file import read_model
from affectd_train.foreign.importing import Wanted
from affectd_train.foreign.librosa_call import spec_of_call
from affectd_train.release import check_ours
from affectd_train.stored import reading

_NONE = "none"
_WHOLE, _SPEECH = "whole", "speech"
_ONE_OF_EACH = "two or more names with commas between them, in the order of the network's outputs"


def asked(options: argparse.Namespace) -> Wanted:
    """Read the options; what they say is wrong is said before TensorFlow starts.

    Raises
    ------
    UsageError
        If one of them cannot be, or another file is in the place of the result.
    NoInputError, DataError
        If a file that they name cannot be read.
    """
    name = options.network.name
    if not options.replace:
        check_ours(options.out, lambda: _imported_from(options.out) == name, f"a network imported from {name}")
    return Wanted(
        network=options.network,
        spec=spec_of_call(options.librosa) if options.spec is None else _spec(options.spec),
        labels=_labels(options.labels),
        normalization=None if str(options.normalization) == _NONE else options.normalization,
        hearing=_hearing(options.hearing),
        clips=options.clips,
        out=options.out,
        n_frames=options.frames,
        time=options.time,
        terms=options.terms,
    )


def _imported_from(path: Path) -> object:
    imported = read_model(path).card.get("imported")
    return imported.get("from") if isinstance(imported, dict) else None


def _labels(text: str) -> tuple[str, ...]:
    labels = tuple(label.strip() for label in text.split(","))
    if len(labels) < 2 or "" in labels:
        raise UsageError(f"--labels {text!r}: expected {_ONE_OF_EACH}")
    if twice := [label for label in labels if labels.count(label) > 1]:
        raise UsageError(f"--labels: {twice[0]!r} is there twice")
    return labels


def _spec(path: Path) -> FeatureSpec:
    if not path.is_file():
        raise NoInputError(f"--spec {path}: no such file")
    with reading(path, "affectd model prints the front end of a model file as features"):
        content = json.loads(path.read_bytes())  # of any encoding that Unicode has
        return FeatureSpec.from_dict(content.get("features", content))


def _hearing(text: str) -> Hearing | None:
    """Turn ``whole``, ``speech`` or ``KEY=VALUE,...`` into how the network hears; None is as affectd's own."""
    if text in (_WHOLE, _SPEECH):
        return Hearing() if text == _WHOLE else None
    found = {}
    for word in text.split(","):
        key, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"--hearing {text!r}: expected {_WHOLE}, {_SPEECH} or KEY=VALUE, such as trim_db=30")
        try:
            found[key.strip()] = ast.literal_eval(value.strip())
        except (SyntaxError, ValueError):
            found[key.strip()] = value.strip()
    try:
        return read_part(Hearing, "hearing", found)
    except ModelFileError as error:
        raise UsageError(f"--{error}") from error

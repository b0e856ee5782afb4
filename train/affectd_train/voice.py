"""``affectd-train voice``: a model file in, the same network with a voice out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from affectd.errors import DataError, UsageError
from affectd.recognition.classifier import Classifier
from affectd.recognition.golden import self_test
from affectd.recognition.model_file import ModelFile, read_model, write_model
from affectd.stdio import printable
from affectd_train.data.corpora import read_clips
from affectd_train.data.terms import check_may_train
from affectd_train.files import made_folder
from affectd_train.release import check_ours
from affectd_train.reports.model_card import with_voice_terms
from affectd_train.training.voice import CORPORA, why_not, with_voice


def add_voice(file: Path, data: Path, asked: Sequence[str], out: Path, cache: Path, replace: bool) -> str:
    """Write the network of a model file with a voice that is fitted on corpora; return what to say.

    Parameters
    ----------
    asked
        Corpora; none for those that the network was trained on, as far as they tell of voices.
    out
        A file with the same network is replaced, and no other unless asked with `replace`.

    Raises
    ------
    UsageError
        A corpus may not train or tells nothing of voices, none is known, or another file is there.
    DataError
        The network can have no voice, or there are too few speakers.
    NoInputError
        None of the corpora is there.
    """
    model = read_model(file)
    if reason := why_not(model):
        raise DataError(f"{file}: {reason}")
    corpora = _corpora(model, file, asked)
    if not replace:
        check_ours(out, lambda: read_model(out).tflite == model.tflite, f"the network of {file}")
    # Of a file that has a voice the terms of that one end with it.
    alone = model.card.get("training", {}).get("voice", {}).get("without", {})
    model = dataclasses.replace(model, card=model.card | alone)
    made = with_voice(model, read_clips(data, corpora), data, cache)
    note = made.card["training"]["voice"]
    made = dataclasses.replace(made, card=with_voice_terms(made.card, note["clips"]))
    self_test(made, Classifier(made))
    with made_folder(out.parent):
        write_model(out, made)
    told = f"a voice of {note['speakers']} speakers ({', '.join(note['clips'])})"
    return f"{printable(str(out))}: {out.stat().st_size} bytes, {told}"


def _corpora(model: ModelFile, file: Path, asked: Sequence[str]) -> list[str]:
    check_may_train(asked)
    if none := sorted(set(asked) - set(CORPORA)):
        raise UsageError(f"--corpora: {none[0]} does not tell of voices; {', '.join(CORPORA)} do")
    trained = model.card.get("training", {}).get("clips", {})
    corpora = [corpus for corpus in CORPORA if corpus in (asked or trained)]
    if not corpora:
        raise UsageError(f"{file} does not say what its network was trained on: name the corpora with --corpora")
    return corpora

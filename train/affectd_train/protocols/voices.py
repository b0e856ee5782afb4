"""Voices of the folds of a protocol, and what networks answer with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from affectd.recognition.model_file import ModelFile, read_model, write_model
from affectd_train.data.clips import Clip
from affectd_train.data.splits import Split
from affectd_train.evaluation.predictions import Prediction
from affectd_train.evaluation.settled import KINDS, settled
from affectd_train.evaluation.unheard import OfCorpus, settled_at
from affectd_train.files import say
from affectd_train.stored import cached, check
from affectd_train.training.voice import CORPORA, are_enough, is_as_now, why_not, with_voice


def add_settled(
    corpora: Mapping[str, OfCorpus],
    development: Mapping[str, OfCorpus],
    splits: Mapping[str, Split],
    clips: Sequence[Clip],
    out: Path,
) -> None:
    """Add ``settled`` to the figures of corpora, each by a voice that was fitted on what its network was trained on.

    Without enough speakers to train on, it is left out, which is said.

    Parameters
    ----------
    corpora
        The figures of the corpus that each split tests.
    development
        Those of corpora that the networks of all splits test; of these too, where each has a voice.
    clips
        All there are.
    out
        The folder of the folds. A file with a voice is left in each.
    """
    files = {name: voice_of(out / f"fold-{name}", split, out / "cache") for name, split in splits.items()}
    for name, file in files.items():
        if file is not None:
            corpora[name]["settled"] = settled_at(settled(file, splits[name].test, file.parent), corpora[name])
    if len(made := [file for file in files.values() if file is not None]) < len(files):
        return
    for name, figures in development.items():
        mine = [clip for clip in clips if clip.corpus == name]
        answers: dict[str, list[Prediction]] = {kind: [] for kind in KINDS}
        for file in made:
            for kind, predictions in settled(file, mine, file.parent).items():
                answers[kind] += predictions
        figures["settled"] = settled_at(answers, figures)


def voice_of(run: Path, split: Split, cache: Path) -> Path | None:
    """Return the network of a run with a voice that is fitted on the same corpora, made now if it is not there.

    None if they have too few speakers, or the network is of a kind that can have none.
    """
    mine = [clip for clip in split.train if clip.corpus in CORPORA]
    if not are_enough(mine):
        say(f"{split.name}: without a voice, for which there are too few speakers")
        return None
    model = read_model(run / "affectd.tflite")
    if reason := why_not(model):
        say(f"{split.name}: without a voice: {reason}")
        return None
    path = run / "voice.tflite"

    def read(file: Path) -> ModelFile:
        made = read_model(file)
        check(made.tflite == model.tflite and is_as_now(made), "of another network, or with other settings")
        return made

    cached(path, read, lambda file: write_model(file, with_voice(model, mine, cache)))
    return path

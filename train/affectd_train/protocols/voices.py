"""Voices of the folds of a protocol, and what networks answer with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from affectd.errors import DataError
from affectd.recognition.model_file import ModelFile, read_model, write_model
from affectd.recognition.voice import without_voice
from affectd_train.data.clips import Clip
from affectd_train.data.splits import Split
from affectd_train.evaluation.predictions import Prediction, answered, predict_packed, read_predictions
from affectd_train.evaluation.settled import KINDS, settled
from affectd_train.evaluation.unheard import OfCorpus, settled_at
from affectd_train.files import say
from affectd_train.training.voice import CORPORA, heard_voices, is_as_now, with_voice


def add_settled(
    corpora: Mapping[str, OfCorpus],
    development: Mapping[str, OfCorpus],
    splits: Mapping[str, Split],
    clips: Sequence[Clip],
    out: Path,
) -> None:
    """Add ``settled`` to the figures of corpora, each by the voice that was fitted on what its network was trained on.

    Where a network has none, it is left out, which is said.

    Parameters
    ----------
    corpora
        The figures of the corpus that each split tests.
    development
        Those of corpora that the networks of all splits test; of these too, where each has a voice.
    clips
        All there are.
    out
        The folder of the folds.
    """
    files = {name: out / f"fold-{name}" / "affectd.tflite" for name in splits}
    for name, file in list(files.items()):
        model = read_model(file)
        if model.voice is None:
            say(f"{splits[name].name}: without a voice: {_why_none(model, splits[name], out / 'cache')}")
            del files[name]
            continue
        mine = answered(splits[name].test, read_predictions(file.with_name("predictions.jsonl")))
        corpora[name]["settled"] = settled_at(settled(file, mine, file.parent), corpora[name])
    if len(files) < len(splits):
        return
    for name, figures in development.items():
        mine = [clip for clip in clips if clip.corpus == name]
        answers: dict[str, list[Prediction]] = {kind: [] for kind in KINDS}
        for file in files.values():
            heard = answered(mine, predict_packed(file, mine, file.parent))
            for kind, predictions in settled(file, heard, file.parent).items():
                answers[kind] += predictions
        figures["settled"] = settled_at(answers, figures)


def give_voice(path: Path, split: Split, data: Path, cache: Path) -> None:
    """Give the model file of a fold a voice that is fitted on the same corpora as its network, if it can have one."""
    model = read_model(path)
    if not _why_none(model, split, cache):
        write_model(path, with_voice(model, _telling(split), data, cache))


def stranger_share(paths: Iterable[Path]) -> float:
    """Return what the voices of folds leave of the logits where none is known; 1 if one of the files has no voice."""
    voices = [read_model(path).voice for path in paths]
    return max((1.0 if voice is None else voice.spec.stranger_share for voice in voices), default=1.0)


def is_voice_as_now(path: Path, split: Split, cache: Path) -> bool:
    """Tell whether the model file of a fold is there, with the voice that `give_voice` would give it."""
    if not path.is_file():
        return False
    model = read_model(path)
    return is_as_now(model) or bool(_why_none(without_voice(model), split, cache))


def _telling(split: Split) -> list[Clip]:
    return [clip for clip in split.train if clip.corpus in CORPORA]


def _why_none(model: ModelFile, split: Split, cache: Path) -> str:
    """Say why the network has no voice; "" if it can have one."""
    try:
        heard_voices(model, _telling(split), cache)
    except DataError as error:
        return str(error)
    return ""

"""A model file for one person or place: from labeled recordings to the new file, or to why there is none."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from affectd.arrays import Array, Float32, Float64
from affectd.config.sections import Config
from affectd.errors import AffectdError, DataError, ModelFileError, UsageError
from affectd.folders import Skipped
from affectd.personal.fitting import N_FOLDS, Chosen, Layer, choose, far_of, learn, mean_probabilities
from affectd.personal.hearing import FIXED, embeddings_of, with_float_head, with_functionals, with_golden
from affectd.recognition.checks import is_line
from affectd.recognition.classifier import Classifier
from affectd.recognition.golden import self_test
from affectd.recognition.head import Head
from affectd.recognition.model_checks import MOST_LETTERS
from affectd.recognition.model_file import ModelFile, model_id, read_model, write_model
from affectd.stdio import printable, shortened

if TYPE_CHECKING:
    from affectd.recognition.voice import Voice

FEWEST_CLIPS = 5
"""Recordings that every label needs."""
MOST_LABELS = 16
KEY = "personal"
"""What the card of such a file has, and that of no other."""

_MARGIN = 2.0  # standard errors
_LEAST_PROBABILITY = 1e-3  # one clip that was answered to with certainty, and wrongly, is not to decide alone


class Labeled(NamedTuple):
    """A recording, and how its speaker sounds in it."""

    path: Path
    label: str


class Personal(NamedTuple):
    """What was fitted; `figures` is what the card says of it."""

    model: ModelFile
    figures: dict[str, Any]

    def lines(self, out: Path) -> tuple[str, str]:
        """Return what is to be said of the file `out`."""
        counts = ", ".join(f"{label} {n}" for label, n in self.figures["clips"].items())
        found = self.figures["cross_validation"]
        return (
            f"{printable(str(out))}: {out.stat().st_size / 1000:.0f} kB,"
            f" fitted on {found['clips']} recordings ({counts})",
            f"right in cross-validation: {_right(found)}",
        )


def check_place(out: Path, model_path: Path) -> None:
    """Check that the new file may be written.

    Raises
    ------
    UsageError
        Its folder is not there, or a file is that no `personalize` made, or that is the model itself.
    """
    if not os.path.isdir(out.parent):  # unlike `Path.is_dir`, false for a name that cannot be
        raise UsageError(f"{out.parent} is not a folder; make it first, or choose another")
    if not os.path.lexists(out):
        return
    try:
        is_ours = out.is_file() and not out.samefile(model_path) and KEY in read_model(out).card
    except (ModelFileError, OSError):
        is_ours = False
    if not is_ours:
        raise UsageError(f"{out} is there and was not made from this model by personalize: choose another name")


def personalize(
    base: ModelFile,
    recordings: Sequence[Labeled],
    sound_of: Callable[[int], Iterable[Float32]],
    config: Config,
    skip: Callable[[Skipped], None],
) -> Personal:
    """Fit the head of a model again on recordings; the network stays as it is.

    The new model has the labels of the recordings alone, in the order of the old one, new ones last.

    Parameters
    ----------
    recordings
        In an order that depends on nothing else: it decides which are judged together.
    sound_of
        Returns the samples of the recording of this number, ``(n,)`` float32 of any n at the rate of the model.
    config
        ``[gate]`` and ``[model] stride_frames`` are used, as by ``affectd classify``.
    skip
        Is told of each recording that is left out: damaged, without speech, or heard before.

    Raises
    ------
    DataError
        There are too few recordings or labels, or it does not help.
    ModelFileError
        The last layer of the network is none that can be fitted.
    """
    labels = labels_of(base, [recording.label for recording in recordings])
    network = with_float_head(base)
    # What a voice knows of emotions counts more than what the embedding does; it is fitted, too.
    model = network if base.voice is None else with_functionals(network, base)
    classifier = Classifier(model)
    heard, truth = _hear(classifier, recordings, sound_of, config, skip)
    labels_of(base, truth)
    numbers = np.array([labels.index(label) for label in truth])
    old = old_weights(model, labels)
    chosen = choose(heard, numbers, old)
    judged = judge(answers_before(network, base.voice, labels, heard), labels, numbers, chosen)
    layer = learn(heard, numbers, old, chosen.strength)
    figures = {
        "model": model_id(base),
        "clips": dict(zip(labels, np.bincount(numbers).tolist(), strict=True)),
        "contexts": sum(map(len, heard)),
        "strength": chosen.strength,
        "cross_validation": judged,
    }
    far = far_of(heard, numbers) if model.sees_functionals else None
    return Personal(changed(model, labels, layer, far, {KEY: figures}), figures)


def write(out: Path, personal: Personal) -> None:
    """Write the new file, whole or not at all, after its self-test.

    Raises
    ------
    OSError
        It cannot be written.
    """
    self_test(personal.model, Classifier(personal.model))
    write_model(out, personal.model)


def labels_of(base: ModelFile, found: Iterable[str]) -> tuple[str, ...]:
    """Return the labels of recordings in the order of the model, new ones last.

    Raises
    ------
    DataError
        They are too few or too many, one has too few recordings, or is no name for a label.
    """
    counts = Counter(found)
    labels = tuple(label for label in base.labels if label in counts) + tuple(sorted(counts.keys() - {*base.labels}))
    if len(labels) < 2:
        raise DataError(
            f"{f'All recordings are {labels[0]}' if labels else 'There is no recording with a label'}: two labels or"
            f" more are needed, and {FEWEST_CLIPS} recordings or more of each."
        )
    if len(labels) > MOST_LABELS:
        raise DataError(f"{len(labels)} labels, such as {labels[-1]}: at most {MOST_LABELS}.")
    for label in labels:
        if not is_line(label) or len(label) > MOST_LETTERS:  # such as the name of a folder
            raise DataError(
                f"{shortened(label, 40)} cannot be a label: 1 to {MOST_LETTERS} characters that can be printed."
            )
        if counts[label] < FEWEST_CLIPS:
            plural = "" if counts[label] == 1 else "s"
            raise DataError(
                f"{label} has {counts[label]} recording{plural} with speech: {FEWEST_CLIPS} or more of each label are"
                " needed."
            )
        if label.casefold() == "uncertain":
            raise DataError("uncertain is what affectd says instead of a label: choose another word.")
    return labels


def _hear(
    classifier: Classifier,
    recordings: Sequence[Labeled],
    sound_of: Callable[[int], Iterable[Float32]],
    config: Config,
    skip: Callable[[Skipped], None],
) -> tuple[list[Float32], list[str]]:
    heard: dict[bytes, tuple[Float32, Labeled]] = {}
    for number, recording in enumerate(recordings):
        try:
            embeddings = embeddings_of(sound_of(number), classifier, config)
        except AffectdError as error:
            skip(Skipped(recording.path, str(error).removeprefix(f"{recording.path}: ")))
            continue
        if not len(embeddings):
            skip(Skipped(recording.path, "no speech is heard in it"))
        elif (key := embeddings.tobytes()) in heard:
            first = heard[key][1]
            label = "" if first.label == recording.label else f", where it is {first.label}"
            skip(Skipped(recording.path, f"the same recording as {first.path.parent.name}/{first.path.name}{label}"))
        else:
            heard[key] = embeddings, recording
    return [embeddings for embeddings, _ in heard.values()], [recording.label for _, recording in heard.values()]


def old_weights(model: ModelFile, labels: Sequence[str]) -> Float64:
    """Return the weights of the head for these labels at temperature 1, zero for new ones."""
    assert model.head is not None
    columns = [
        model.head.weights[:, model.labels.index(label)].astype(np.float64) / model.temperature
        if label in model.labels
        else np.zeros(model.head.n_embedding)
        for label in labels
    ]
    return np.stack(columns, 1)


def judge(before: Before, labels: Sequence[str], truth: Array, chosen: Chosen) -> dict[str, Any]:
    """Compare what cross-validation answered with what the old model answers and with chance, and return the figures.

    Raises
    ------
    DataError
        It does not help: not more are right, or what they are is not clearly more probable than before, or than if
        each label were as probable as any other. The last is what tells labels at random, of words that are new to the
        model above all: what it knew of these is nothing.
    """
    given = {
        "right": chosen.answers.argmax(1) == truth,
        "right_before": np.array(before.best) == np.array(labels)[truth],
        "right_before_of_these_labels": before.of_these.argmax(1) == truth,
    }
    right = {name: int(np.count_nonzero(hits)) for name, hits in given.items()}
    rows = np.arange(len(truth))
    surer, sure = (np.log(np.maximum(p[rows, truth], _LEAST_PROBABILITY)) for p in (chosen.answers, before.of_these))
    gain, error = _mean_and_error(surer - sure)
    over_chance, error_over_chance = _mean_and_error(surer + np.log(len(labels)))
    judged = {
        "folds": N_FOLDS,
        "clips": len(truth),
        **right,
        **{f"unweighted{name.removeprefix('right')}": _unweighted(hits, truth) for name, hits in given.items()},
        "gain": round(gain, 4),
        "gain_error": round(error, 4),
        "gain_over_chance": round(over_chance, 4),
        "gain_over_chance_error": round(error_over_chance, 4),
    }
    most_before = max(right["right_before"], right["right_before_of_these_labels"])
    is_clear = gain > _MARGIN * error and over_chance > _MARGIN * error_over_chance
    if right["right"] > most_before and is_clear:
        return judged
    raise DataError(
        f"Nothing was written: it would not clearly help. Right in cross-validation: {_right(judged)}. More recordings"
        " of each label may help."
    )


def _mean_and_error(values: Float64) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def _right(found: Mapping[str, Any]) -> str:
    return (
        f"{found['right']} of {found['clips']}; with the model as it is {found['right_before']}, asked for these labels"
        f" alone {found['right_before_of_these_labels']}"
    )


def _unweighted(hits: Array, truth: Array) -> float:
    return round(float(np.mean([hits[truth == label].mean() for label in np.unique(truth)])), 4)


class Before(NamedTuple):
    """What a model answered before, to each clip."""

    best: list[str]
    """Its label."""
    of_these: Float64
    """The probabilities ``(n, n_labels)`` of the labels of the clips alone."""


def answers_before(network: ModelFile, voice: Voice | None, labels: Sequence[str], heard: Sequence[Float32]) -> Before:
    """Return what ``affectd classify`` answers by a model: its network, a `with_float_head`, and its voice.

    With a voice, `heard` has the functionals after the embedding.
    """
    head = network.head
    assert head is not None
    known = [label for label in labels if label in network.labels]
    columns, places = [network.labels.index(label) for label in known], [labels.index(label) for label in known]
    best, of_these = [], np.zeros((len(heard), len(labels)))
    for row, contexts in zip(of_these, heard, strict=True):
        centered = contexts[:, : head.n_embedding].astype(np.float64) - head.baseline
        logits = head.doubted(centered @ head.weights + head.bias, contexts).astype(np.float64)
        if voice is not None:
            functionals = contexts[:, head.n_embedding :]
            logits = np.stack([voice.cold(*both) for both in zip(logits, functionals, strict=True)]).astype(np.float64)
        logits /= network.temperature
        best.append(network.labels[int(mean_probabilities(logits).argmax())])
        if known:
            row[places] = mean_probabilities(logits[:, columns])
    return Before(best, of_these)


def changed(
    model: ModelFile, labels: tuple[str, ...], layer: Layer, far: float | None, about: Mapping[str, Any]
) -> ModelFile:
    """Return the model with another head, and what the card says about it instead of what was measured of the old one.

    Functionals farther than `far` are doubted; None for a head that sees none.
    """
    assert model.head is not None
    head = Head(
        weights=layer.weights.astype(np.float32),
        bias=layer.bias.astype(np.float32),
        baseline=layer.mean.astype(np.float32),
        # Distances stay those of the training where it is known.
        spread=layer.spread.astype(np.float32) if model.head.spec == FIXED else model.head.spread,
        spec=model.head.spec,
        far_functionals=far,
    )
    kept = {key: value for key, value in model.card.items() if key not in ("evaluation", "measured")}
    draft = dataclasses.replace(
        model,
        labels=labels,
        temperature=1.0,
        head=head,
        card={**kept, **about},
        golden=model.golden | {"logits": np.zeros(len(labels), np.float32)},
    )
    return with_golden(draft)

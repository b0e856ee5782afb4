"""How right a network is about a corpus that it heard nothing of: the figures, and those of a given model file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
from sklearn.metrics import roc_auc_score

from affectd.arrays import Array, Float64
from affectd.config.sections import Config
from affectd.errors import DataError
from affectd.recognition.affect import affect
from affectd.recognition.baseline import Placed
from affectd.recognition.classifier import Classifier
from affectd.recognition.model_file import ModelFile, model_id, read_model
from affectd_train.data.clips import Clip
from affectd_train.data.labels import CORPORA, LABELS, in_order, labels_of
from affectd_train.data.recordings import common_seconds
from affectd_train.data.terms import DEVELOPMENT
from affectd_train.evaluation.calibration import SURE_ABROAD, device_settings, soften
from affectd_train.evaluation.event_rates import EventRates, event_rates, speech_for_tests
from affectd_train.evaluation.metrics import percentiles, speaker_bootstrap, times_drawn, unweighted_accuracy
from affectd_train.evaluation.predictions import Prediction, answered, best_label, in_words_of_corpus, predict_packed
from affectd_train.evaluation.settled import settled
from affectd_train.files import write_json

N_RESAMPLES = 2000
AROUSED, CALM = ("angry", "happy", "fearful", "surprised"), ("neutral", "calm", "sad")
"""Labels of high and of low arousal; ``disgust`` is neither."""
PLEASANT, UNPLEASANT = ("happy",), ("angry", "fearful", "sad", "disgust")
"""Labels of high and of low valence; the others are neither."""

_NOTES = {
    "ravdess": "an eighth is calm, which is in no other corpus",
    "tess": "pleasant surprise counts as surprised",
    "emodb": "without boredom",
    "ased": "most sentences belong to one emotion",
    "emotale": "without boredom",
    "emospeech": "weak labels",
    "turev": "weak labels, single words",
} | dict.fromkeys(DEVELOPMENT, "for development")

Interval = tuple[float, float]


class Figures(TypedDict):
    """What a user gets at the default settings of the device; intervals are 95 % bootstrap over speakers.

    ``unweighted`` is the accuracy when any label may be answered, see `in_words_of_corpus`; ``arousal`` and ``valence``
    are areas from `affect_auc`. ``named`` is the share of recordings whose best label, as ``affectd classify`` gives
    it, is not below the probability of ``uncertain``, and ``precision`` the share of these whose label is right. None
    where there is nothing to compare.
    """

    unweighted: float
    unweighted_interval: Interval
    arousal: float | None
    arousal_interval: Interval | None
    valence: float | None
    valence_interval: Interval | None
    named: float
    named_interval: Interval
    precision: float | None
    precision_interval: Interval | None


class OfCorpus(TypedDict):
    """A corpus that was not trained on; ``cold`` are the figures of a device that has heard nothing of it before.

    ``settled``, of a file with a voice, has those of devices that have, by `affectd_train.evaluation.settled.KINDS`.
    """

    note: str
    clips: int
    speakers: int
    labels: list[str]
    temperature: NotRequired[float]
    threshold: float
    cold: Figures
    settled: NotRequired[dict[str, Figures]]


class OfFile(TypedDict):
    """What ``unheard.json`` holds; ``everyday`` has the events of every source of `speech_for_tests`.

    ``everyday_settled``, of a file with a voice, has those of one device that hears all recordings of a source, one
    after another, and learns.
    """

    protocol: str
    model: str
    corpora: dict[str, OfCorpus]
    everyday: dict[str, EventRates]
    everyday_settled: NotRequired[dict[str, EventRates]]


def of_corpus(predictions: Sequence[Prediction], threshold: float) -> OfCorpus:
    """Compute the figures of one corpus from what the int8 network answered, at the temperature of the device.

    Below the probability ``threshold`` the device says ``uncertain``.
    """
    (corpus,) = {p["corpus"] for p in predictions}
    has = labels_of(corpus)
    twins = (("calm", "neutral"), ("neutral", "calm"))
    notes = [f"{one} counts as {other}" for one, other in twins if one not in has]
    notes += [_NOTES[corpus]] if corpus in _NOTES else []
    return {
        "note": "; ".join(notes),
        "clips": len(predictions),
        "speakers": len({p["speaker"] for p in predictions}),
        "labels": in_order(p["truth"] for p in predictions),
        "threshold": round(threshold, 4),
        "cold": figures(predictions, threshold),
    }


def note_lengths(corpora: Mapping[str, OfCorpus], clips: Sequence[Clip]) -> None:
    """Add to the note of each corpus whose recordings, among ``clips``, were all cut to one length what that is."""
    for name, found in corpora.items():
        if (seconds := common_seconds([clip for clip in clips if clip.corpus == name])) is not None:
            found["note"] = "; ".join(filter(None, (found["note"], f"recordings cut to {seconds:.1f} s")))


def figures(predictions: Sequence[Prediction], threshold: float) -> Figures:
    """Compute `Figures` of answers with any label."""
    truth = np.array([p["truth"] for p in predictions])
    given = np.array([best_label(p["int8"]) for p in in_words_of_corpus(predictions)])
    names, speaker = np.unique([p["speaker"] for p in predictions], return_inverse=True)
    named = np.array([max(p["int8"].values(), default=-1.0) >= threshold for p in predictions])
    right = named & (given == truth)
    times = times_drawn(len(names), N_RESAMPLES)

    def of_speakers(values: Array) -> Float64:  # in every resample
        return times @ np.bincount(speaker, values, len(names))

    with np.errstate(invalid="ignore"):
        precisions = of_speakers(right) / of_speakers(named)
    arousal, arousal_interval = affect_auc(predictions, "arousal", AROUSED, CALM, speaker, times)
    valence, valence_interval = affect_auc(predictions, "valence", PLEASANT, UNPLEASANT, speaker, times)
    return {
        "unweighted": unweighted_accuracy(truth, given),
        "unweighted_interval": speaker_bootstrap(truth, given, names[speaker], N_RESAMPLES),
        "arousal": arousal,
        "arousal_interval": arousal_interval,
        "valence": valence,
        "valence_interval": valence_interval,
        "named": float(named.mean()),
        "named_interval": percentiles(of_speakers(named) / of_speakers(np.ones(len(named)))),
        "precision": float(right.sum() / named.sum()) if named.any() else None,
        "precision_interval": percentiles(precisions) if named.any() else None,
    }


def affect_auc(
    predictions: Sequence[Prediction],
    scale: str,
    high: Sequence[str],
    low: Sequence[str],
    speaker: Array,
    times: Float64,
) -> tuple[float | None, Interval | None]:
    """Area under the curve of ``arousal`` or ``valence``: how often the device ranks a pair of voices right.

    Parameters
    ----------
    scale
        What they are ranked by, of `affectd.recognition.affect`.
    high, low
        True labels of the one and of the other voice of a pair; clips of other labels are left out, as are those in
        which the gate heard no speech.
    speaker
        ``(len(predictions),)``, the number of the speaker of each.
    times
        From `times_drawn`.

    Returns
    -------
    The area and its 95 % bootstrap interval over speakers; None where all clips are high, or none.
    """
    kept = [i for i, p in enumerate(predictions) if p["int8"] and p["truth"] in (*high, *low)]
    is_high = np.array([predictions[i]["truth"] in high for i in kept], bool)
    if not is_high.any() or is_high.all():
        return None, None
    value = np.array([affect(predictions[i]["int8"])[scale] for i in kept], np.float64)
    who, n_speakers = speaker[kept], times.shape[1]
    # Pairs ranked right, per speaker of the high and of the low clip: a resample is then a sum over pairs of them.
    lows, who_low = value[~is_high], who[~is_high]
    pairs = np.zeros((n_speakers, n_speakers))
    for number in range(n_speakers):
        highs = np.sort(value[is_high & (who == number)])
        below = (np.searchsorted(highs, lows, "left") + np.searchsorted(highs, lows, "right")) / 2
        pairs[number] = np.bincount(who_low, len(highs) - below, n_speakers)
    n_high, n_low = (times @ np.bincount(who[side], minlength=n_speakers) for side in (is_high, ~is_high))
    with np.errstate(invalid="ignore"):
        areas = ((times @ pairs) * times).sum(1) / (n_high * n_low)
    return float(roc_auc_score(is_high, value)), percentiles(areas)


def at_settings_of_others(predictions: Sequence[Prediction], stranger_share: float) -> dict[str, OfCorpus]:
    """Compute the figures of every corpus, with the temperature and threshold fitted on the predictions of all others.

    Predictions are at temperature 1, each by a network that was not trained on its corpus. The networks that predicted
    the other corpora were trained on this one; through two numbers, little of that can reach its figures. For
    `stranger_share` see `affectd_train.evaluation.calibration.device_settings`.
    """
    corpora = dict.fromkeys(p["corpus"] for p in predictions)
    return {
        corpus: at_settings_from(
            [p for p in predictions if p["corpus"] != corpus],
            [p for p in predictions if p["corpus"] == corpus],
            stranger_share,
        )
        for corpus in corpora
    }


def at_settings_from(
    others: Sequence[Prediction], predictions: Sequence[Prediction], stranger_share: float
) -> OfCorpus:
    """Compute the figures of a corpus, with temperature and threshold fitted on `others`; all are at temperature 1."""
    # Where the networks heard no speech there is nothing to choose by, and all is uncertain.
    has_speech = any(p["int8"] for p in others)
    temperature, threshold = device_settings(others, stranger_share, SURE_ABROAD) if has_speech else (1.0, 1.0)
    softened = [p | {"int8": soften(p["int8"], temperature)} for p in predictions]
    return of_corpus(softened, threshold) | {"temperature": round(temperature, 4)}


def settled_at(answers: Mapping[str, Sequence[Prediction]], settings: OfCorpus) -> dict[str, Figures]:
    """Compute the figures of a corpus after simulated days, with the temperature and threshold of its `settings`.

    `answers` are those of `affectd_train.evaluation.settled.settled`, at temperature 1.
    """
    temperature, threshold = settings["temperature"], settings["threshold"]
    return {
        kind: figures([p | {"int8": soften(p["int8"], temperature)} for p in predictions], threshold)
        for kind, predictions in answers.items()
    }


def means(corpora: Mapping[str, OfCorpus]) -> dict[str, float]:
    """Average the figures of corpora, each corpus counting the same; a figure that one of them lacks is left out."""
    return means_of([corpus["cold"] for corpus in corpora.values()])


def means_of(rows: Sequence[Figures]) -> dict[str, float]:
    """Average figures, as `means` does."""
    columns: dict[str, list[float | None]] = {
        "unweighted": [row["unweighted"] for row in rows],
        "arousal": [row["arousal"] for row in rows],
        "valence": [row["valence"] for row in rows],
        "named": [row["named"] for row in rows],
        "precision": [row["precision"] for row in rows],
    }
    found = {name: [value for value in values if value is not None] for name, values in columns.items()}
    return {name: float(np.mean(values)) for name, values in found.items() if len(values) == len(rows)}


def unheard_by(model: ModelFile, file: Path | str = "the model file") -> list[str]:
    """List the corpora that neither a network nor its voice was trained on, by the card in its file.

    `file` is its name, for a message.

    Raises
    ------
    DataError
        If the card does not say what the network was trained on.
    """
    training = model.card.get("training", {})
    if not isinstance(training.get("clips"), dict):
        raise DataError(f"{file}: its card does not say what it was trained on")
    heard = {*training["clips"]}.union(*((training.get(part) or {}).get("clips", {}) for part in ("start", "voice")))
    return [corpus for corpus in CORPORA if corpus not in heard]


def unheard(model_path: Path, clips: Sequence[Clip], data: Path, out: Path) -> OfFile:
    """Test a model file on corpora, and on everyday speech under ``data``, that it was not trained on.

    Temperature and threshold are its own. What it answers to a corpus is kept in ``out``, so that a call that was
    stopped goes on with the next one; the figures are written to ``out/unheard.json``.

    Raises
    ------
    DataError
        If it has none of the labels of corpora.
    """
    network = Classifier(read_model(model_path))
    if not {*LABELS}.intersection(network.model.labels):
        raise DataError(f"{model_path} has none of the labels of corpora, but {', '.join(network.model.labels)}")
    threshold = network.model.thresholds["uncertain"]
    corpora = {}
    for corpus in dict.fromkeys(clip.corpus for clip in clips):
        mine = [clip for clip in clips if clip.corpus == corpus]
        cold = predict_packed(model_path, mine, out)
        corpora[corpus] = of_corpus(cold, threshold)
        if network.model.voice is not None:
            answers = settled(model_path, answered(mine, cold), out)
            corpora[corpus]["settled"] = {kind: figures(answers[kind], threshold) for kind in answers}
    note_lengths(corpora, clips)
    protocol = f"{model_path.name} as it is, on corpora it heard nothing of, any label, int8"
    speech = speech_for_tests(data, network)
    found: OfFile = {
        "protocol": protocol,
        "model": model_id(network.model),
        "corpora": corpora,
        "everyday": {source: event_rates(sounds, network, Config()) for source, sounds in speech.items()},
    }
    if network.model.voice is not None:
        found["everyday_settled"] = {
            source: event_rates(sounds, Placed(network), Config()) for source, sounds in speech.items()
        }
    write_json(out / "unheard.json", found)
    return found

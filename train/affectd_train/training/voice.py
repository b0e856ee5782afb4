"""The voice of a model file: what tells emotions by what differs from how the same voice usually sounds.

Every clip is heard after simulated days (`affectd_train.data.days`) of its speaker, by which a baseline learns as on
the device, and two layers are fitted to the functionals minus these baselines; of few corpora, of which they would
learn too much, one logistic regression. Voices differ in the directions in which speakers' means vary most for what
varies within one speaker.

Source of the directions: R. A. Fisher's discriminant, as in N. Dehak et al., "Front-End Factor Analysis for Speaker
Verification", 2011, section III.B.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg import eigh
from sklearn.linear_model import LogisticRegression

from affectd.arrays import Array, Float32, Float64
from affectd.errors import DataError, ModelFileError
from affectd.features.functionals import N_FUNCTIONALS
from affectd.personal.hearing import FIXED, with_golden
from affectd.recognition.baseline import Baseline
from affectd.recognition.checks import require
from affectd.recognition.head import Head
from affectd.recognition.model_checks import GOLDEN_KEYS
from affectd.recognition.model_file import ModelFile, format_of
from affectd.recognition.voice import Voice, VoiceSpec, front_end_checks
from affectd_train.data.clips import Clip
from affectd_train.data.days import LENGTHS, PLAIN, days, lived
from affectd_train.files import say
from affectd_train.training import speech_like, stranger
from affectd_train.training.layers import Fit, fit_layers
from affectd_train.training.spoken import FEWEST_CLIPS, Spoken, heard_settings, load_spoken

CORPORA = ("ravdess", "tess", "cremad", "savee", "emodb", "nemo", "ased", "emotale", "turev")
"""Those whose labels tell how the same voice sounds with each: `emospeech` has weak ones, and none that is plain."""
SPEC = VoiceSpec(network_share=0.5, same_scatter=1.5, other_scatter=2.4, far_voice=5.0, stranger_share=0.7)
BASELINE = dataclasses.replace(FIXED, prior_seconds=6.0, least_seconds=0.3, near_distance=1.6, far_distance=8.0)
N_DIRECTIONS = 8
FIRST_COUNTS = 6.0
"""How often what differs along the first direction counts: how much utterances differ along all alike tells how lively
people are rather than how many, and along the first alone lively people are one voice. Chosen on corpora that were left
out, and on readers."""
FIT = Fit(share=1.2, prior=0.25, epochs=20)
FEWEST_CORPORA = 4
"""For layers: fewer tell more of themselves than of other voices. Of two, layers for strangers name everyday speech
five times as often, and are right about no more of it."""
FEWEST_SPEAKERS = 3
"""Of one corpus, each with `FEWEST_CLIPS`: fewer do not tell in what voices differ."""

_SHARES = {"turev": 0.25}  # single words, with weak labels
_STRENGTH = 0.02  # what scikit-learn calls C
_N_PARTS = 3
_PLAIN_SHARE = 0.7  # of what a voice is taken to say, where it is told from others
_RIDGE = 0.05  # of the variance of each functional, where few speakers tell little of it
_NEVER = -20.0  # far below every logit
# Logits of the mean of an ordinary day (`affectd_train.data.days`) of voices that a network of this recipe never heard,
# with `stranger`, by tests/usual_answers.py. Of those that it was trained on it is far surer.
_USUAL = {
    "neutral": 0.7,
    "calm": -1.0,
    "happy": 0.05,
    "sad": 0.3,
    "angry": -0.05,
    "fearful": -0.3,
    "disgust": -0.95,
    "surprised": -1.55,
}
_LEAST_SPREAD = 1e-3
_POWER = 0.25  # of the speakers of a corpus, for its weight in layers: what they say should hold in all alike
_NOISE = 0.3  # of what layers are given, in units of the spread: a day tells the usual voice no better


def why_not(model: ModelFile) -> str:
    """Say why a model file cannot have a voice; "" if it can."""
    if (found := format_of(model)) not in (1, 4):
        return f"a voice goes with a network of format 1, this is format {found}"
    try:
        require(front_end_checks(model.spec))
    except ModelFileError as error:
        return str(error)
    return ""


def are_enough(clips: Sequence[Clip]) -> bool:
    """Tell whether there are `FEWEST_SPEAKERS` of a corpus with `FEWEST_CLIPS` each, and two labels."""
    speakers = {speaker for _, speaker in _well_known(clips)}
    corpora = [clip.corpus for clip in {clip.speaker: clip for clip in clips if clip.speaker in speakers}.values()]
    is_enough = any(corpora.count(corpus) >= FEWEST_SPEAKERS for corpus in corpora)
    return is_enough and len({clip.emotion for clip in clips}) > 1


def is_as_now(model: ModelFile) -> bool:
    """Tell whether a voice is there that was fitted with the settings of today."""
    note, voice = model.card.get("training", {}).get("voice", {}), model.voice
    if voice is None:
        return False
    corpora = note.get("clips", {})
    is_same = voice.spec == SPEC and voice.head.spec == BASELINE
    is_whole = len(voice.layers()) == 2 * has_layers(corpora) and (voice.speech is not None) == ("noise" in note)
    return is_same and is_whole and note.get("settings") == settings(model, corpora)


def has_layers(corpora: Collection[str]) -> bool:
    """Tell whether there are corpora enough for layers."""
    return len(corpora) >= FEWEST_CORPORA


def heard_voices(model: ModelFile, clips: Sequence[Clip], cache: Path) -> Spoken:
    """Return what clips with the labels of a model tell of voices, those that say anything.

    Raises
    ------
    DataError
        The model can have no voice, or there are too few speakers.
    """
    if reason := why_not(model):
        raise DataError(reason)
    mine = [clip for clip in clips if clip.emotion in model.labels]
    if not are_enough(mine) or not are_enough((spoken := load_spoken(mine, model, cache)).clips):
        raise DataError(
            f"too few speakers for a voice: {FEWEST_SPEAKERS} of one corpus are needed, with {FEWEST_CLIPS} recordings"
            " each, and two labels"
        )
    return spoken


def with_voice(model: ModelFile, clips: Sequence[Clip], data: Path, cache: Path) -> ModelFile:
    """Return a model with a voice that is fitted on clips with its labels; one that it has is replaced.

    The card gets ``voice`` below ``training``: the clips of each corpus, and the settings. Where there is noise under
    ``data`` it tells speech from noise, too.

    Raises
    ------
    DataError
        The model can have none, or there are too few speakers.
    """
    spoken = heard_voices(model, clips, cache)
    corpora = [clip.corpus for clip in spoken.clips]
    counts = {corpus: corpora.count(corpus) for corpus in sorted(set(corpora))}
    speakers = {clip.speaker for clip in spoken.clips}
    note: dict[str, Any] = {"clips": counts, "speakers": len(speakers), "settings": settings(model, counts)}
    voice = fit_voice(spoken, model.labels)
    if sounds := speech_like.load_sounds(model, spoken.clips, data, cache):
        voice = dataclasses.replace(voice, speech=speech_like.fit_speech(sounds, model, voice.head))
        note["noise"] = len(sounds.noise)
    else:
        say(f"noise: not in {data}, so the voice does not tell speech from noise")
    blank = {"functionals": np.zeros(N_FUNCTIONALS, np.float32), "logits": np.zeros(len(model.labels), np.float32)}
    golden = {key: model.golden[key] for key in GOLDEN_KEYS} | blank
    card = model.card | {"training": model.card.get("training", {}) | {"voice": note}}
    return with_golden(dataclasses.replace(model, voice=voice, golden=golden, card=card))


def settings(model: ModelFile, corpora: Collection[str]) -> dict[str, Any]:
    """Return what a voice is fitted with to these corpora, for the card; of what is heard of clips a digest."""
    numbers: dict[str, Any] = {"seed": 0, "strength": _STRENGTH, "seconds": [*LENGTHS], "days": _N_PARTS}
    numbers |= {"directions": N_DIRECTIONS, "first_counts": FIRST_COUNTS, "plain_share": _PLAIN_SHARE}
    numbers |= {"ridge": _RIDGE, "shares": _SHARES}
    numbers |= {"heard": heard_settings(model), "speech": speech_like.settings()}
    if has_layers(corpora):
        layers = {"power": _POWER, "noise": _NOISE, "relative": FIT.settings(), "stranger": stranger.FIT.settings()}
        return numbers | layers | {"usual": _USUAL}
    return numbers


def fit_voice(spoken: Spoken, labels: Sequence[str]) -> Voice:
    """Fit a voice for a network with these labels, by seeded days."""
    means, weights = spoken.means(), weights_of(spoken.clips)
    start = np.average(means, axis=0, weights=weights)
    spread = np.sqrt(np.average((means - start) ** 2, axis=0, weights=weights)) + _LEAST_SPREAD
    blank = Head(
        weights=np.zeros((N_FUNCTIONALS, len(labels)), np.float32),
        bias=np.full(len(labels), _NEVER, np.float32),
        baseline=start.astype(np.float32),
        spread=spread.astype(np.float32),
        spec=BASELINE,
    )
    emotions = np.array([clip.emotion for clip in spoken.clips])
    rows = _relative(spoken, means, blank)
    voice = Voice(head=blank, directions=directions(spoken.clips, means), spec=SPEC)
    if not has_layers({clip.corpus for clip in spoken.clips}):
        _fit_head(blank, np.concatenate(rows), np.tile(emotions, len(LENGTHS)), np.tile(weights, len(LENGTHS)), labels)
        return voice
    blank.bias[[labels.index(label) for label in np.unique(emotions)]] = 0.0  # all is said by the layers
    after, weights = np.stack(rows), weights_of(spoken.clips, _POWER)

    def draw(generator: np.random.Generator) -> Float64:
        drawn = after[generator.integers(len(after), size=len(emotions)), np.arange(len(emotions))]
        noisy: Float64 = drawn + generator.normal(0, _NOISE, drawn.shape)
        return noisy

    return dataclasses.replace(
        voice,
        relative=fit_layers(draw, emotions, weights, labels, FIT),
        stranger=stranger.fit_stranger(spoken, weights, blank, labels),
        usual=usual(labels),
    )


def usual(labels: Sequence[str]) -> Float32 | None:
    """Return the logits ``(n_labels,)`` of an ordinary day; None where a label is of one's own."""
    return np.array([_USUAL[label] for label in labels], np.float32) if _USUAL.keys() >= {*labels} else None


def _fit_head(head: Head, rows: Float64, emotions: Array, weights: Float64, labels: Sequence[str]) -> None:
    """Fit a logistic regression on rows ``(n, N_FUNCTIONALS)``, and put it into a head."""
    fitted = LogisticRegression(C=_STRENGTH, max_iter=300)
    fitted.fit(rows, emotions, sample_weight=weights / len(LENGTHS))
    coefficients, bias = fitted.coef_, fitted.intercept_
    if len(bias) == 1:  # of two labels scikit-learn tells the difference alone
        coefficients, bias = np.concatenate([-coefficients, coefficients]) / 2, np.concatenate([-bias, bias]) / 2
    columns = [labels.index(label) for label in fitted.classes_]
    head.weights[:, columns] = coefficients.T / head.spread[:, None]
    head.bias[columns] = bias


def _relative(spoken: Spoken, means: Float64, head: Head) -> list[Float64]:
    """Return the last context of each clip minus the baselines of its days, in units of the spread, for each length."""
    generator = np.random.default_rng(0)
    last = spoken.last()
    found = [np.empty_like(last) for _ in LENGTHS]
    # Here a clip is what is said at a time, however short.
    learning = dataclasses.replace(head, spec=dataclasses.replace(head.spec, least_seconds=0.0))
    speakers, emotions = [clip.speaker for clip in spoken.clips], [clip.emotion for clip in spoken.clips]
    for day in days(speakers, emotions, _N_PARTS, generator):
        baseline = Baseline(learning)
        for length in lived(day, baseline, means, spoken.seconds, LENGTHS, generator):
            rows = found[LENGTHS.index(length)]
            rows[day.asked] = (last[day.asked] - baseline.value) / head.spread
    return found


def weights_of(clips: Sequence[Clip], power: float = 0.5) -> Float64:
    """Weigh clips ``(n,)``, 1 on the average: corpora by a power of their speakers, the labels of each the same."""
    weights = np.zeros(len(clips))
    corpora, labels = np.array([clip.corpus for clip in clips]), np.array([clip.emotion for clip in clips])
    for corpus in np.unique(corpora):
        mine = corpora == corpus
        share = len({clip.speaker for clip in clips if clip.corpus == corpus}) ** power * _SHARES.get(corpus, 1.0)
        names = np.unique(labels[mine])
        for label in names:
            these = mine & (labels == label)
            weights[these] = share / len(names) / these.sum()
    balanced: Float64 = weights * (len(clips) / weights.sum())
    return balanced


def directions(clips: Sequence[Clip], means: Float64) -> Float32:
    """Find the directions ``(N_FUNCTIONALS, n)`` in which voices differ.

    Within a voice the variance along each is 1, along the first, in which they differ most, `FIRST_COUNTS`.
    """
    within, between, n_between = np.zeros((N_FUNCTIONALS,) * 2), np.zeros((N_FUNCTIONALS,) * 2), 0
    is_plain = np.array([clip.emotion in PLAIN for clip in clips])
    names = np.array([clip.speaker for clip in clips])
    usual: dict[str, list[Float64]] = {}
    known = _well_known(clips)
    for corpus, speaker in known:
        mine = np.flatnonzero(names == speaker)
        plain = is_plain[mine]
        weights = np.where(plain, _PLAIN_SHARE / max(1, plain.sum()), (1 - _PLAIN_SHARE) / max(1, (~plain).sum()))
        weights /= weights.sum()
        mean = weights @ means[mine]
        away = means[mine] - mean
        within += (away * weights[:, None]).T @ away / len(known)
        usual.setdefault(corpus, []).append(mean)
    for speakers in usual.values():
        if len(speakers) >= FEWEST_SPEAKERS:
            away = np.stack(speakers) - np.mean(speakers, axis=0)
            between += away.T @ away
            n_between += len(speakers) - 1
    ridge = np.diag(_RIDGE * means.var(0) + _LEAST_SPREAD**2)
    # The last are those of the largest ratio.
    vectors: Float64 = eigh(between, within + ridge)[1][:, : -1 - min(N_DIRECTIONS, n_between) : -1]
    variances = ((vectors.T @ within) * vectors.T).sum(1)
    found: Float32 = (vectors / np.sqrt(np.maximum(variances, _LEAST_SPREAD**2))).astype(np.float32)
    found[:, 0] *= np.float32(np.sqrt(FIRST_COUNTS))
    return found


def _well_known(clips: Sequence[Clip]) -> list[tuple[str, str]]:
    """List corpus and name of the speakers with `FEWEST_CLIPS`."""
    who = [(clip.corpus, clip.speaker) for clip in clips]
    names, counts = np.unique(np.array(who).reshape(-1, 2), axis=0, return_counts=True)
    return [
        (str(corpus), str(speaker)) for (corpus, speaker), n in zip(names, counts, strict=True) if n >= FEWEST_CLIPS
    ]

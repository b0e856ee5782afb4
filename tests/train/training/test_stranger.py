"""Layers fitted to synthetic speakers: what is said of strangers holds for voices that training never heard."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from affectd.features.functionals import N_FUNCTIONALS
from affectd.personal.hearing import FIXED
from affectd.recognition.head import Head
from affectd.recognition.layers import Layers
from affectd_train.data.clips import Clip
from affectd_train.data.corpora import read_clips
from affectd_train.training import layers as training_layers
from affectd_train.training import stranger, voice
from affectd_train.training.spoken import Spoken
from affectd_train.training.stranger import fit_stranger
from affectd_train.training.voice import is_as_now, weights_of, with_voice
from tiny_corpora import tabled
from tiny_model import tiny_model

EMOTIONS = ("angry", "neutral", "sad")
LABELS = ("calm", "sad", "angry", "neutral")  # another order, and one that no clip has
HEAD = Head(
    weights=np.zeros((N_FUNCTIONALS, len(LABELS)), np.float32),
    bias=np.zeros(len(LABELS), np.float32),
    baseline=np.full(N_FUNCTIONALS, 3, np.float32),
    spread=np.full(N_FUNCTIONALS, 2, np.float32),
    spec=FIXED,
)


def crowd(n_speakers: int = 40, seed: int = 0, emotions: Sequence[str] = EMOTIONS) -> Spoken:
    """Speakers with usual voices of their own in ten numbers; emotions move ten others, each its own way."""
    random = np.random.default_rng(seed)
    ways = np.random.default_rng(99).normal(0, 1, (len(emotions), N_FUNCTIONALS))
    ways[:, :-10] = 0
    clips, contexts = [], []
    for speaker in range(n_speakers):
        usual = np.zeros(N_FUNCTIONALS)
        usual[:10] = random.normal(0, 2, 10)
        for number in range(4 * len(emotions)):
            which = number % len(emotions)
            row = 3 + 2 * (usual + ways[which] + random.normal(0, 0.4, N_FUNCTIONALS))
            clips.append(Clip("nemo", Path(f"{number}.wav"), f"nemo-{seed}-{speaker}", "", emotions[which], ""))
            contexts.append(np.stack([np.zeros(N_FUNCTIONALS), row]).astype(np.float32))  # the last is what counts
    return Spoken(tuple(clips), tuple(contexts), np.full(len(clips), 2.0))


def said_of(layers: Layers, spoken: Spoken) -> np.ndarray:
    away = [(rows[-1] - HEAD.baseline) / HEAD.spread for rows in spoken.contexts]
    return np.stack([layers.logits(one) for one in away])


def fitted(spoken: Spoken, labels: Sequence[str] = LABELS) -> Layers:
    return fit_stranger(spoken, weights_of(spoken.clips, 0.25), HEAD, labels)


@pytest.mark.parametrize("emotions", [EMOTIONS, EMOTIONS[:2]], ids=["three", "two"])
def test_strangers_emotions_are_told_in_the_order_of_the_labels(emotions: Sequence[str]) -> None:
    layers, strangers = fitted(crowd(emotions=emotions)), crowd(seed=5, emotions=emotions)
    said = said_of(layers, strangers)
    known = [LABELS.index(emotion) for emotion in emotions]
    given = np.array(known)[said[:, known].argmax(1)]
    truth = np.array([LABELS.index(clip.emotion) for clip in strangers.clips])
    assert (given == truth).mean() > 0.9
    unknown = [i for i in range(len(LABELS)) if i not in known]
    np.testing.assert_array_equal(said[:, unknown], 0.0)  # neither raised nor lowered
    np.testing.assert_allclose(said.sum(1), 0.0, atol=0.05)
    assert {array.dtype for array in layers.arrays("").values()} == {np.dtype(np.float16)}
    assert not [what for what, right, *_ in layers.checks(len(LABELS), "") if not right]


def test_it_is_seeded() -> None:
    one, other = fitted(crowd(8)), fitted(crowd(8))
    for name, array in one.arrays("").items():
        np.testing.assert_array_equal(array, other.arrays("")[name])


def test_half_of_how_frequent_a_label_is_is_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    spoken, nothing = crowd(8), np.zeros(N_FUNCTIONALS)
    rare = np.where([clip.emotion == "sad" for clip in spoken.clips], 0.05, 1.0)
    half = fit_stranger(spoken, rare, HEAD, LABELS).logits(nothing)
    monkeypatch.setattr(stranger, "FIT", dataclasses.replace(stranger.FIT, prior=0.0))
    none = fit_stranger(spoken, rare, HEAD, LABELS).logits(nothing)
    given = np.array([0.0 if label == "calm" else np.log(0.05 if label == "sad" else 1.0) for label in LABELS])
    wanted = -0.5 * stranger.FIT.share * (given - given.sum() / len(EMOTIONS)) * (np.array(LABELS) != "calm")
    np.testing.assert_allclose(half - none, wanted, atol=2e-3)  # in float16


def test_each_clip_is_moved_to_other_voices(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []
    whole = training_layers.bounded
    monkeypatch.setattr(training_layers, "bounded", lambda rows: (seen.append(rows), whole(rows))[1])
    spoken = crowd(20)
    fitted(spoken)
    last = (np.stack([rows[-1] for rows in spoken.contexts]) - HEAD.baseline) / HEAD.spread
    moved = np.stack(seen[: stranger.FIT.epochs]) - last
    # A voice is left, what was said stays: the numbers that emotions move differ little from speaker to speaker.
    assert np.abs(moved[..., :10]).mean() > 0.5 > 5 * np.abs(moved[..., 10:]).mean()
    assert np.abs(moved).max(2).min(0).max() > 0  # each of them, again and again
    assert (np.abs(np.diff(moved, axis=0)).max(2) > 0).mean() > 0.9


def test_a_clip_of_a_speaker_of_few_is_not_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []
    whole = training_layers.bounded
    monkeypatch.setattr(training_layers, "bounded", lambda rows: (seen.append(rows), whole(rows))[1])
    spoken = crowd(12)
    lone = Clip("nemo", Path("lone.wav"), "lone", "", EMOTIONS[0], "")
    fitted(Spoken((lone, *spoken.clips[1:]), spoken.contexts, spoken.seconds))
    assert len(seen) > 1
    for rows in seen:
        np.testing.assert_allclose(rows[0], (spoken.contexts[0][-1] - HEAD.baseline) / HEAD.spread, atol=1e-6)


def test_few_clips_of_a_speaker_tell_nothing_of_the_voice() -> None:
    few = crowd(12)
    lone = tuple(
        Clip(clip.corpus, clip.path, f"{clip.speaker}-{i}", "", clip.emotion, "") for i, clip in enumerate(few.clips)
    )
    own, usual, _ = stranger._usual(lone, np.zeros((len(lone), N_FUNCTIONALS)))
    assert (own == -1).all()
    assert not len(usual)
    fitted(Spoken(lone, few.contexts, few.seconds))


def test_a_file_of_another_fit_is_not_as_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("ased", "emotale", "emospeech", "turev")
    for name in names:
        tabled(tmp_path, name, speakers=("01", "02", "03"), takes=4)
    clips, model = read_clips(tmp_path, names), tiny_model(card={"training": {}})
    made = with_voice(model, clips, tmp_path, tmp_path / "cache")
    assert made.voice is not None
    assert len(made.voice.layers()) == 2
    assert is_as_now(made)
    noted = made.card["training"]["voice"]["settings"]
    assert (noted["stranger"]["share"], noted["relative"]["share"]) == (stranger.FIT.share, voice.FIT.share)
    # Three corpora are too few for layers.
    few = with_voice(model, [clip for clip in clips if clip.corpus != "turev"], tmp_path, tmp_path / "cache")
    assert few.voice is not None
    assert not few.voice.layers()
    assert is_as_now(few)
    for one in ("relative", "stranger"):
        assert not is_as_now(dataclasses.replace(made, voice=dataclasses.replace(made.voice, **{one: None})))
    for fits in (voice, stranger):
        with monkeypatch.context() as patch:
            patch.setattr(fits, "FIT", dataclasses.replace(fits.FIT, share=0.5))
            assert not is_as_now(made)
            assert is_as_now(few)

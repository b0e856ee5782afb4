"""Voices fitted to synthetic speakers: what a day teaches is used, what a label or a corpus weighs is even."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affectd.errors import DataError
from affectd.features.functionals import N_FUNCTIONALS, Functionals
from affectd.features.mfcc import Mfcc
from affectd.recognition.baseline import Baseline
from affectd.recognition.classifier import Classifier
from affectd.recognition.golden import self_test
from affectd.recognition.layers import Layers
from affectd.recognition.offline import context_columns
from affectd.recognition.voice import Voice
from affectd_train.data.clips import Clip
from affectd_train.data.corpora import read_clips
from affectd_train.data.days import PLAIN_SHARE, days, lived
from affectd_train.training import voice as voices
from affectd_train.training.layers import Draw
from affectd_train.training.spoken import Spoken, load_spoken
from affectd_train.training.voice import (
    BASELINE,
    FIRST_COUNTS,
    N_DIRECTIONS,
    SPEC,
    are_enough,
    directions,
    fit_voice,
    is_as_now,
    usual,
    weights_of,
    why_not,
    with_voice,
)
from tiny_corpora import ravdess, tabled, write
from tiny_model import LABELS, functionals_model, place_model, tiny_model, voice_model

EMOTIONS = ("neutral", "angry")


def clip(number: int, speaker: str, emotion: str, corpus: str = "nemo") -> Clip:
    return Clip(corpus, Path(f"{number}.wav"), speaker, "", emotion, "")


def people(
    n_speakers: int = 10, n_clips: int = 24, seed: int = 0, corpus: str = "nemo", emotions: Sequence[str] = EMOTIONS
) -> Spoken:
    """Speakers who differ widely in the first ten numbers, and of whom each shifts them a little by emotion."""
    random = np.random.default_rng(seed)
    clips, contexts = [], []
    for speaker in range(n_speakers):
        usual = np.zeros(N_FUNCTIONALS)
        usual[:10] = random.normal(0, 4, 10)
        for number in range(n_clips):
            emotion = emotions[number % len(emotions)]
            row = usual + random.normal(0, 0.3, N_FUNCTIONALS)
            row[:10] += 1.5 * (emotion == "angry")
            clips.append(clip(number, f"{corpus}-{seed}-{speaker}", emotion, corpus))
            contexts.append((row + random.normal(0, 0.05, (3, N_FUNCTIONALS))).astype(np.float32))
    return Spoken(tuple(clips), tuple(contexts), random.uniform(1.5, 3, len(clips)))


def right_after(spoken: Spoken, voice: Voice, length: int, labels: Sequence[str] = EMOTIONS) -> float:
    """The share of strangers' clips that the voice is right about after so many seconds of the same one."""
    right = []
    emotions = [one.emotion for one in spoken.clips]
    random = np.random.default_rng(1)
    for day in days([one.speaker for one in spoken.clips], emotions, 4, random):
        baseline = Baseline(voice.head)
        for _ in lived(day, baseline, spoken.means(), spoken.seconds, [length], random):
            for i in day.asked:
                heard = spoken.contexts[i][-1]
                answer = voice.said(heard, baseline.value, 1.0, voice.of_stranger(heard))
                right.append(labels[int(answer.argmax())] == emotions[i])
    return float(np.mean(right))


def test_what_a_day_teaches_tells_strangers_emotions() -> None:
    voice = fit_voice(people(), EMOTIONS)
    strangers = people(seed=5)
    assert right_after(strangers, voice, 0) < 0.85  # they differ by more than their emotions do
    assert right_after(strangers, voice, 200) > 0.95
    assert (voice.head.spec, voice.spec) == (BASELINE, SPEC)
    again = fit_voice(people(), EMOTIONS)
    np.testing.assert_array_equal(again.head.weights, voice.head.weights)  # the days are seeded


def of_corpora(*names: str) -> Spoken:
    """As `people`, of each corpus two more than of the one before."""
    parts = [people(4 + 2 * number, seed=number, corpus=name) for number, name in enumerate(names)]
    clips = tuple(clip for part in parts for clip in part.clips)
    contexts = tuple(rows for part in parts for rows in part.contexts)
    return Spoken(clips, contexts, np.concatenate([part.seconds for part in parts]))


def test_of_four_corpora_layers_say_it_all_and_of_three_the_head() -> None:
    labels = ("calm", *EMOTIONS)
    layered = fit_voice(of_corpora("nemo", "ased", "cremad", "emotale"), labels)
    assert not layered.head.weights.any()
    np.testing.assert_array_equal(layered.head.bias < -10, [label == "calm" for label in labels])  # which none has
    strangers = people(seed=9)
    assert right_after(strangers, layered, 200, labels) > 0.95
    np.testing.assert_array_equal(layered.usual, usual(labels))
    headed = fit_voice(of_corpora("nemo", "ased", "cremad"), labels)
    assert not headed.layers()
    assert headed.usual is None
    assert headed.head.weights.any()
    assert right_after(strangers, headed, 200, labels) > 0.95
    again = fit_voice(of_corpora("nemo", "ased", "cremad", "emotale"), labels)
    for name, array in layered.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array)


def test_what_is_usual_is_known_of_the_eight_labels_in_any_order_and_of_no_other() -> None:
    found = usual(("sad", "neutral"))
    assert found is not None
    assert found.dtype == np.float32
    assert found[1] > found[0] > 0  # an ordinary day is neutral
    assert usual(("sad", "neutral", "bored")) is None


def test_layers_learn_from_every_day_with_noise_and_little_from_how_large_a_corpus_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[np.ndarray] = []
    whole = voices.fit_layers
    spoken = of_corpora("nemo", "ased", "cremad", "emotale")

    def fit(draw: Draw, emotions: np.ndarray, weights: np.ndarray, *others: Any) -> Layers:
        np.testing.assert_array_equal(weights, weights_of(spoken.clips, 0.25))
        seen.extend(draw(np.random.default_rng(seed)) for seed in range(40))
        return whole(draw, emotions, weights, *others)

    monkeypatch.setattr(voices, "fit_layers", fit)
    voice = fit_voice(spoken, EMOTIONS)
    days_of = voices._relative(spoken, spoken.means(), voice.head)
    drawn = np.stack(seen)  # (40, n_clips, N_FUNCTIONALS)
    away = [np.abs(drawn - one).mean(2) for one in days_of]  # from each day, (40, n_clips)
    expected = 0.3 * np.sqrt(2 / np.pi)
    np.testing.assert_allclose(np.min(away, 0).mean(), expected, rtol=0.1)
    nearest = np.argmin(away, 0)
    assert [np.mean(nearest == day) > 0.2 for day in range(3)] == [True] * 3


def test_a_label_that_no_corpus_has_never_wins_and_the_order_is_that_of_the_model() -> None:
    labels = ("calm", "angry", "neutral", "sad")
    voice, two = fit_voice(people(), labels), fit_voice(people(), EMOTIONS)
    np.testing.assert_array_equal(voice.head.weights[:, [2, 1]], two.head.weights)
    assert not voice.head.weights[:, [0, 3]].any()
    assert right_after(people(seed=5), voice, 200, labels) == right_after(people(seed=5), two, 200)
    three = fit_voice(people(emotions=("neutral", "angry", "sad")), labels)
    assert three.head.weights[:, 1:].any(0).all()
    assert not three.head.weights[:, 0].any()


def test_directions_are_those_in_which_voices_differ() -> None:
    spoken = people(n_speakers=12)
    found = directions(spoken.clips, spoken.means())
    assert found.shape == (N_FUNCTIONALS, N_DIRECTIONS)
    strangers = people(n_speakers=40, n_clips=12, seed=5).means().reshape(40, 12, -1) @ found
    within = ((strangers - strangers.mean(1, keepdims=True)) ** 2).mean((0, 1))
    within[0] /= FIRST_COUNTS
    np.testing.assert_array_less(within, 3)
    np.testing.assert_array_less(0.3, within)
    np.testing.assert_array_less(4, strangers.mean(1).var(0))
    assert directions(people(n_speakers=3).clips, people(n_speakers=3).means()).shape[1] == 2


def test_corpora_weigh_by_the_root_of_their_speakers_and_labels_the_same() -> None:
    clips = [clip(i, f"a-{i % 9}", "neutral" if i < 60 else "angry") for i in range(90)]
    clips += [clip(i, f"b-{i % 4}", "sad", "ased") for i in range(7)]
    clips += [clip(i, f"c-{i % 4}", "sad", "turev") for i in range(50)]
    weights, corpora = weights_of(clips), np.array([one.corpus for one in clips])
    sums = {corpus: weights[corpora == corpus].sum() for corpus in ("nemo", "ased", "turev")}
    assert weights.mean() == pytest.approx(1)
    assert sums["nemo"] / sums["ased"] == pytest.approx(3 / 2)
    assert sums["ased"] / sums["turev"] == pytest.approx(4)
    assert weights[:60].sum() == pytest.approx(weights[60:90].sum())


def test_every_clip_is_asked_about_once_and_never_heard_before() -> None:
    random = np.random.default_rng(0)
    voices, labels = ["a"] * 30 + ["b"] * 7 + ["c"], ["calm"] * 5 + ["neutral"] * 10 + ["sad"] * 23
    found = [*days(voices, labels, 4, random)]
    assert len(found) == 4 + 4 + 1
    asked = np.concatenate([day.asked for day in found])
    assert sorted(asked.tolist()) == [*range(38)]
    for day in found:
        mine = {voices[i] for i in day.asked}
        assert {voices[i] for i in (*day.plain, *day.others)} <= mine
        assert len(mine) == 1
        assert not set(day.asked.tolist()) & {*day.plain.tolist(), *day.others.tolist()}
        assert all(labels[i] in ("calm", "neutral") for i in day.plain)
    drawn = [found[0].draw(random) for _ in range(2000)]
    assert np.mean([labels[i] != "sad" for i in drawn]) == pytest.approx(PLAIN_SHARE, abs=0.03)
    assert len({*drawn}) == len(found[0].plain) + len(found[0].others)
    assert {labels[found[4].draw(random)] for _ in range(20)} == {"sad"}  # nothing plain is there


def test_who_speaks_once_is_asked_about_by_a_device_that_knows_nothing() -> None:
    voice = fit_voice(people(), EMOTIONS)
    random = np.random.default_rng(0)
    (day,) = days(["a"], ["sad"], 4, random)
    baseline = Baseline(voice.head)
    assert [*lived(day, baseline, np.zeros((1, N_FUNCTIONALS)), np.ones(1), [20, 60], random)] == [20, 60]
    assert baseline.settled == 0


def test_a_day_is_as_long_as_it_says() -> None:
    random = np.random.default_rng(0)
    head = fit_voice(people(), EMOTIONS).head
    near = np.tile(head.baseline.astype(np.float64), (9, 1))
    (day, *_) = days(["a"] * 9, ["calm"] * 9, 4, random)
    baseline = Baseline(head)
    seconds = np.full(9, 2.5)
    heard = [baseline.learned.seconds for _ in lived(day, baseline, near, seconds, [20, 60], random)]
    assert heard == [20, 60]


def test_what_clips_say_is_the_devices_and_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ravdess(tmp_path, actors=(1,))
    write(tmp_path / "ravdess/Actor_01/03-01-01-01-02-01-01.wav", np.zeros(16000, np.float32))
    clips, model = read_clips(tmp_path, ["ravdess"]), tiny_model()
    spoken = load_spoken(clips[::-1], model, tmp_path / "cache")
    assert len(spoken.clips) == len(clips) - 1 == len(spoken.seconds)
    assert "no speech is heard in it" in capfd.readouterr().err
    assert ((spoken.seconds > 0.3) & (spoken.seconds <= 1.2)).all()
    from affectd.config.sections import GateConfig
    from affectd.recognition.vad import find_speech
    from affectd_train.training.bands import heard_of
    from affectd_train.training.variants import Source

    _, bands, level = heard_of(Source(spoken.clips[3], model.spec))
    speech = find_speech(level, GateConfig(), model.spec.frame_rate)
    assert speech is not None
    last = context_columns(bands[max(speech.start, speech.end - model.n_frames) : speech.end], model, Mfcc(model.spec))
    np.testing.assert_array_equal(spoken.contexts[3][-1], Functionals(model.spec)(last))

    monkeypatch.setattr("affectd_train.training.spoken.functionals_of", None)  # nothing is heard again
    again = load_spoken(clips, model, tmp_path / "cache")
    assert again.clips == spoken.clips
    np.testing.assert_array_equal(np.concatenate(again.contexts), np.concatenate(spoken.contexts))


def test_a_model_gets_a_voice_or_it_is_said_why_not(tmp_path: Path) -> None:
    tabled(tmp_path, "ased", speakers=("01", "02", "03"), takes=4)
    clips, card = read_clips(tmp_path, ["ased"]), {"training": {"clips": {"ased": 60}}}
    made = with_voice(tiny_model(card=card), clips, tmp_path, tmp_path / "cache")
    assert made.tflite == tiny_model().tflite
    assert made.voice is not None
    self_test(made, Classifier(made))
    note = made.card["training"]["voice"]
    assert (note["clips"], note["speakers"]) == ({"ased": 3 * 2 * 4}, 3)  # angry and happy, of what the model knows
    assert made.card["training"]["clips"] == {"ased": 60}
    assert is_as_now(made)
    assert not is_as_now(tiny_model())
    assert not is_as_now(voice_model())
    assert not made.voice.head.weights[:, LABELS.index("calm")].any()
    again = with_voice(made, clips, tmp_path, tmp_path / "cache")  # one that is there is replaced
    np.testing.assert_array_equal(again.voice.head.weights, made.voice.head.weights)  # type: ignore[union-attr]
    assert again.card == made.card
    with pytest.raises(DataError, match="too few speakers for a voice: 3 of one corpus are needed"):
        with_voice(tiny_model(), [one for one in clips if not one.speaker.endswith("03")], tmp_path, tmp_path / "cache")
    for model, number in ((place_model(), 2), (functionals_model(), 5)):
        with pytest.raises(DataError, match=f"format 1, this is format {number}"):
            with_voice(model, clips, tmp_path, tmp_path / "cache")
    assert why_not(tiny_model()) == why_not(voice_model()) == ""


def test_a_voice_is_as_now_on_every_processor() -> None:
    code = "from affectd_train.training.spoken import heard_settings; from tiny_model import tiny_model; "
    code += "print(heard_settings(tiny_model()))"
    # Matrix products of OpenBLAS for an old processor differ in their last bits from those for a new one.
    environments = (os.environ, os.environ | {"OPENBLAS_CORETYPE": "Prescott"})
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        for environment in environments
    }
    assert len(found) == 1


def test_enough_are_three_speakers_of_one_corpus_with_two_labels() -> None:
    clips = list(people(n_speakers=3, n_clips=8).clips)
    assert are_enough(clips)
    assert not are_enough(clips[:-1])
    assert not are_enough([replace(one, emotion="sad") for one in clips])
    assert not are_enough([replace(one, corpus="ased") if i < 8 else one for i, one in enumerate(clips)])
    assert not are_enough([])

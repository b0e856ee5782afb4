"""Figures of unheard corpora, against hand-worked cases, scikit-learn and simulation; a model file tested by itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from affectd.errors import DataError
from affectd.recognition.affect import affect
from affectd.recognition.model_file import model_id, write_model
from affectd_train.cli import main
from affectd_train.data.labels import LABELS
from affectd_train.evaluation.metrics import speaker_bootstrap, times_drawn
from affectd_train.evaluation.predictions import best_label, in_words_of_corpus
from affectd_train.evaluation.unheard import (
    AROUSED,
    CALM,
    PLEASANT,
    UNPLEASANT,
    affect_auc,
    at_settings_from,
    at_settings_of_others,
    figures,
    means,
    of_corpus,
    unheard_by,
)
from tiny_corpora import emodb, everyday, tabled
from tiny_model import tiny_model


def case(truth: str, heard: dict[str, float], corpus: str = "nemo", speaker: str = "a") -> Any:
    return {"path": "x", "corpus": corpus, "speaker": speaker, "gender": "", "truth": truth, "int8": heard}


def drawn(n: int, corpus: str, seed: int = 0, skill: float = 1.0) -> list[Any]:
    """Answers of a network of some skill about many speakers."""
    rng = np.random.default_rng(seed)
    cases = []
    for i in range(n):
        logits = rng.normal(size=len(LABELS))
        truth = ("neutral", "happy", "sad", "angry")[int(rng.integers(4))]
        logits[LABELS.index(truth)] += skill
        p = np.exp(logits) / np.exp(logits).sum()
        cases.append(case(truth, dict(zip(LABELS, p.round(4).tolist(), strict=True)), corpus, f"{corpus}-{i % 7}"))
    return cases


@pytest.mark.parametrize(
    ("corpus", "heard", "label"),
    [
        ("nemo", {"neutral": 0.2, "calm": 0.5, "sad": 0.3}, "neutral"),
        ("nemo", {"neutral": 0.3, "calm": 0.3, "sad": 0.4}, "sad"),  # what a user reads is the best of all labels
        ("nemo", {"neutral": 0.5, "calm": 0.1, "sad": 0.4}, "neutral"),
        ("turev", {"neutral": 0.5, "calm": 0.2, "sad": 0.3}, "calm"),
        ("ravdess", {"neutral": 0.2, "calm": 0.5, "sad": 0.3}, "calm"),
        ("nemo", {"calm": 0.6, "sad": 0.4}, "neutral"),  # a network that knows no neutral
        ("nemo", {}, ""),
    ],
)
def test_calm_counts_as_neutral_where_a_corpus_has_no_calm(corpus: str, heard: dict[str, float], label: str) -> None:
    before = case("sad", heard, corpus)
    (after,) = in_words_of_corpus([before])
    assert best_label(after["int8"]) == label
    assert sorted(p for p in after["int8"].values() if p) == sorted(heard.values())
    assert before["int8"] == heard
    assert in_words_of_corpus([after]) == [after]


def test_figures_of_a_case_worked_by_hand() -> None:
    cases = [
        case("angry", {"angry": 0.8, "sad": 0.2}),
        case("angry", {"angry": 0.4, "sad": 0.6}),
        case("sad", {"angry": 0.3, "sad": 0.7}),
        case("neutral", {"angry": 0.1, "calm": 0.9}, speaker="b"),
        case("sad", {}, speaker="b"),  # the gate heard no speech: wrong, and not named
    ]
    found = of_corpus(cases, 0.7)
    assert found["note"] == "calm counts as neutral"
    assert (found["clips"], found["speakers"], found["labels"]) == (5, 2, ["neutral", "sad", "angry"])
    cold = found["cold"]
    assert cold["unweighted"] == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    assert cold["named"] == pytest.approx(3 / 5)
    assert cold["precision"] == 1.0
    assert cold["arousal"] == 1.0  # 0.418 and 0.074 against -0.012 and -0.355
    assert cold["valence"] is None  # none of them is happy
    assert cold["named_interval"] == (pytest.approx(0.5), pytest.approx(2 / 3))
    assert figures(cases, 0.95)["precision"] is None


def test_what_is_at_the_threshold_is_named_as_on_the_device() -> None:
    found = figures([case("sad", {"sad": 0.7, "angry": 0.3}), case("angry", {"sad": 0.71, "angry": 0.29})], 0.7)
    assert (found["named"], found["precision"]) == (1.0, 0.5)


@pytest.mark.parametrize(("scale", "high", "low"), [("arousal", AROUSED, CALM), ("valence", PLEASANT, UNPLEASANT)])
def test_voices_are_ranked_by_what_the_device_says(scale: str, high: tuple[str, ...], low: tuple[str, ...]) -> None:
    assert not set(high) & set(low)
    assert {*AROUSED, *CALM} == set(LABELS) - {"disgust"}
    cases = drawn(300, "nemo")
    cases += [case("surprised" if scale == "valence" else "disgust", {"disgust": 1.0})] * 5 + [case("sad", {})]
    speakers, number = np.unique([c["speaker"] for c in cases], return_inverse=True)
    times = times_drawn(len(speakers), 500)
    area, interval = affect_auc(cases, scale, high, low, number, times)
    kept = [i for i, c in enumerate(cases) if c["int8"] and c["truth"] in high + low]
    truth = np.array([cases[i]["truth"] in high for i in kept])
    said = np.array([affect(cases[i]["int8"])[scale] for i in kept], float)
    assert area == roc_auc_score(truth, said)
    slowly = [roc_auc_score(truth, said, sample_weight=weights[number[kept]]) for weights in times]
    assert interval == pytest.approx(tuple(np.percentile(slowly, [2.5, 97.5])))
    alone = [case(high[0], {high[0]: 1.0})]
    assert affect_auc(alone, scale, high, low, np.array([0]), np.ones((3, 1))) == (None, None)


def test_the_intervals_cover_what_other_speakers_would_have_given() -> None:
    rng = np.random.default_rng(3)
    inside = 0
    for trial in range(60):
        cases = []
        for speaker in range(12):
            right = rng.beta(4, 2)  # how often the network is right about this speaker; 2/3 on average
            hits = rng.random(30) < right
            cases += [case("sad", {"sad" if hit else "angry": 1.0}, speaker=f"{trial}-{speaker}") for hit in hits]
        low, high = figures(cases, 0.5)["precision_interval"] or (0, 0)
        inside += low <= 2 / 3 <= high
    assert inside >= 48


def test_the_bootstrap_draws_whole_speakers() -> None:
    times = times_drawn(5, 200)
    assert times.shape == (200, 5)
    assert (times.sum(1) == 5).all()
    rng = np.random.default_rng(0)
    first = np.bincount(rng.integers(0, 5, 5), minlength=5)
    np.testing.assert_array_equal(times[0], first)
    truth, given = np.array(["sad"] * 4), np.array(["sad", "sad", "calm", "calm"])
    assert speaker_bootstrap(truth, given, np.array(["a", "a", "b", "b"]), 100) == (0.0, 1.0)


def test_temperature_and_threshold_of_a_corpus_are_those_of_the_others() -> None:
    sure = [c | {"int8": {k: min(0.95, 2 * p) for k, p in c["int8"].items()}} for c in drawn(200, "nemo", 1)]
    others, more = drawn(200, "emodb", 2, skill=2.0), drawn(200, "ased", 3)
    found = at_settings_of_others([*sure, *others, *more], 1.0)
    assert list(found) == ["nemo", "emodb", "ased"]
    assert found["nemo"] == at_settings_from([*others, *more], sure, 1.0)
    assert found["nemo"]["temperature"] != found["emodb"]["temperature"]
    blind = at_settings_from([*others, *more], [c | {"truth": "happy"} for c in sure], 1.0)
    for key in ("temperature", "threshold"):  # what is reported has no part in its own settings
        assert blind[key] == found["nemo"][key]  # type: ignore[literal-required]
    # What strangers are doubted by is no part of what fits them: it comes on top.
    doubted = at_settings_from([*others, *more], sure, 0.5)
    assert doubted["temperature"] == pytest.approx(2 * found["nemo"]["temperature"], abs=2e-4)
    assert doubted["threshold"] == found["nemo"]["threshold"]
    assert doubted["cold"]["named"] < found["nemo"]["cold"]["named"]
    assert doubted["cold"]["unweighted"] == found["nemo"]["cold"]["unweighted"]
    mean = means(found)
    assert mean["unweighted"] == pytest.approx(np.mean([row["cold"]["unweighted"] for row in found.values()]))
    assert set(mean) == {"unweighted", "arousal", "valence", "named", "precision"}
    assert "arousal" not in means(found | {"x": blind})  # of one corpus there is none, so that no mean is


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A model file that was trained on EmoDB, and data beside it."""
    emodb(tmp_path, speakers=("03",))
    tabled(tmp_path, "ased")
    tabled(tmp_path, "kor_emotiontts", speakers=("01",))
    everyday(tmp_path, ("everyday_lt",))
    model = tiny_model(card={"training": {"clips": {"emodb": 6}}})
    write_model(tmp_path / "packed.tflite", model)
    return tmp_path


def test_a_model_file_is_tested_on_what_it_never_met(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["unheard", str(packed / "packed.tflite"), "--data", str(packed), "--out", str(packed / "out")]
    assert main(words) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found == json.loads((packed / "out/unheard.json").read_text())
    assert list(found["corpora"]) == ["ased", "kor_emotiontts"]
    assert found["corpora"]["ased"]["clips"] == 5 * 2 * 2
    assert found["corpora"]["ased"]["threshold"] == 0.45
    assert found["corpora"]["kor_emotiontts"]["note"].endswith("for development; recordings cut to 1.2 s")
    assert list(found["everyday"]) == ["everyday_lt"]
    assert found["everyday"]["everyday_lt"]["hours"] == pytest.approx(3 * 1.2 / 3600, abs=1e-3)
    assert found["model"] == model_id(tiny_model())
    answers = {path: path.stat().st_mtime_ns for path in (packed / "out").glob("*.jsonl")}
    assert len(answers) == 2
    assert main(words) == 0
    assert capsys.readouterr().out == printed.out
    assert {path: path.stat().st_mtime_ns for path in answers} == answers

    # Answers of another file, or about other recordings, are not taken for these.
    write_model(packed / "packed.tflite", replace(tiny_model(temperature=3.0), card={"training": {"clips": {}}}))
    assert main([*words, "--corpora", "ased"]) == 0
    assert len(list((packed / "out").glob("ased-*.jsonl"))) == 2
    (packed / "ased/01-0-0.wav").unlink()
    assert main([*words, "--corpora", "ased"]) == 0
    assert json.loads((packed / "out/unheard.json").read_text())["corpora"]["ased"]["clips"] == 19


def test_a_corpus_that_was_trained_on_is_refused(packed: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["unheard", str(packed / "packed.tflite"), "--data", str(packed), "--out", str(packed / "out")]
    assert main([*words, "--corpora", "ased,emodb"]) == 64
    assert capfd.readouterr().err == f"affectd-train: --corpora: {packed / 'packed.tflite'} was trained on emodb\n"
    assert main([*words, "--corpora", "asde"]) == 64
    assert "'asde' is not one of" in capfd.readouterr().err
    assert main(["unheard", str(packed / "gone.tflite"), "--data", str(packed)]) == 78
    assert "gone.tflite" in capfd.readouterr().err
    assert not (packed / "out").exists()


def test_a_card_that_does_not_say_what_trained_is_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match="does not say what it was trained on"):
        unheard_by(tiny_model())
    bare = tmp_path / "bare.tflite"
    write_model(bare, tiny_model())
    assert main(["unheard", str(bare), "--data", str(tmp_path)]) == 65
    assert f"{bare}: its card does not say what it was trained on" in capfd.readouterr().err
    for page in ("--out", "--html"):
        assert main(["report", str(bare), page, str(tmp_path / "page")]) == 65
        assert f"affectd-train: {bare}: the card of the model has no evaluation" in capfd.readouterr().err

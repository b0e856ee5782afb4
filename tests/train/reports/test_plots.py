"""Pictures show the figures they are drawn from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from affectd.errors import DataError, NoInputError, UnavailableError
from affectd_train.cli import main
from affectd_train.data.corpora import read_corpus
from affectd_train.evaluation.denoise import FRONT_ENDS
from affectd_train.reports import plots as pictures
from affectd_train.reports.corpus_plots import counts, examples, explore, one_of_each, several_of_each, voices
from affectd_train.reports.corpus_sound import measure, sound
from affectd_train.training.log import COLUMNS
from tiny_corpora import canceled, cremad, emodb, ravdess, write

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def matplotlib() -> None:
    pytest.importorskip("matplotlib", reason="matplotlib draws the pictures")


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    network = {"unweighted": 0.75, "confusion": [[3, 1], [1, 3]]}
    calibration = {
        "network": "int8",
        "ece": 0.04,
        "reliability": [{"probability": 0.45, "right": 0.5, "n": 4}],
        "coverage": [{"coverage": c, "weighted": 1 - c / 2, "unweighted": 1 - c / 2} for c in (0.5, 1.0)],
    }
    figures = {"labels": ["happy", "sad"], "int8": network, "float": network, "calibration": calibration}
    run = tmp_path / "run"
    (run / "fold-1").mkdir(parents=True)
    (run / "metrics.json").write_text(json.dumps(figures))
    (run / "fold-1/float-loss.jsonl").write_text('{"step": 200, "loss": 1.5}\n{"step": 400, "loss": 1.2}\n')
    front_ends = {front_end: {"unweighted": 0.6} for front_end in FRONT_ENDS}
    rows = [("clean", "clean"), ("noise car", "20 dB"), ("noise car", "10 dB"), ("gain", "-20 dB")]
    conditions = [{"group": group, "name": name, **front_ends} for group, name in rows]
    (run / "robustness.json").write_text(json.dumps({"recordings": 8, "conditions": conditions}))
    return run


def test_an_evaluation_is_drawn_from_its_files(matplotlib: None, evaluation: Path, tmp_path: Path) -> None:
    drawn = pictures.pictures(evaluation, tmp_path / "models")
    assert [path.stem for path in drawn] == ["confusion", "reliability", "coverage", "learning", "robustness"]
    for path in drawn:
        content = path.read_bytes()
        assert content.startswith(PNG)
        assert len(content) < 60_000  # they are kept beside the model card
    first = drawn[0].read_bytes()
    pictures.pictures(evaluation, tmp_path / "models")
    assert drawn[0].read_bytes() == first


def test_a_label_is_text_whatever_is_in_it(matplotlib: None, evaluation: Path, tmp_path: Path) -> None:
    figures = json.loads((evaluation / "metrics.json").read_text()) | {"labels": ["$\\foo$", "%s_{x}"]}
    (evaluation / "metrics.json").write_text(json.dumps(figures))  # which matplotlib takes for formulas
    assert len(pictures.pictures(evaluation, tmp_path)) == 5
    with pictures.colors("black", "white", is_dark=False):
        pictures.as_svg(pictures.confusion(figures))


def test_only_what_was_measured_is_drawn(matplotlib: None, evaluation: Path, tmp_path: Path) -> None:
    (evaluation / "robustness.json").unlink()
    (evaluation / "fold-1/float-loss.jsonl").unlink()
    assert len(pictures.pictures(evaluation, tmp_path)) == 3


def test_each_fold_has_a_line_and_all_pretraining_one_color(matplotlib: None, tmp_path: Path) -> None:
    logs = [tmp_path / name for name in ("cache/a-loss.jsonl", "cache/b-loss.jsonl", "fold-1/c-loss.jsonl")]
    for log in logs:
        log.parent.mkdir(exist_ok=True)
        log.write_text('{"step": 200, "loss": 1.5}\n{"step": 400, "loss": 1.2}\n')
    logs.append(tmp_path / "fold-2/c-loss.jsonl")
    logs[-1].parent.mkdir()
    logs[-1].touch()  # shorter than the first line
    (axes,) = pictures.learning(logs).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["pretraining", "fold-1", "fold-2"]
    assert [line.get_color() for line in axes.lines[:2]] == ["gray", "gray"]
    assert list(axes.lines[2].get_ydata()) == [1.5, 1.2]


def test_a_run_is_drawn_with_loss_and_accuracy_of_training_and_validation(matplotlib: None, tmp_path: Path) -> None:
    rows = "200,2,1.5,0.4,1.6,0.3,0.01,9\n400,1,1.2,0.5,1.4,0.35,0.01,18\n"
    (tmp_path / "whole-log.csv").write_text(f"{','.join(COLUMNS)}\n{rows}")
    (tmp_path / "pretraining-log.csv").write_text(f"{','.join(COLUMNS)}\n200,2,1.9,0.2,,,0.01,9\n")
    loss, accuracy = pictures.learning([tmp_path / f"{name}-log.csv" for name in ("pretraining", "whole")]).axes
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["pretraining", "fine-tuning"]
    drawn = {(line.get_color(), line.get_linestyle()): list(line.get_ydata()) for line in loss.lines}
    assert drawn["gray", "-"] == [1.9]
    assert drawn["C0", "-"] == [1.5, 1.2]
    assert drawn["C0", "--"] == [1.6, 1.4]
    assert [list(line.get_ydata()) for line in accuracy.lines][1:] == [[], [0.4, 0.5], [0.3, 0.35]]
    assert main(["curves", str(tmp_path)]) == 0
    assert (tmp_path / "learning.png").read_bytes().startswith(PNG)


def test_a_run_without_a_log_is_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["curves", str(tmp_path)]) == 66
    assert f"{tmp_path}: no log of a training in it; affectd-train fit writes" in capfd.readouterr().err


def test_of_an_evaluation_a_fold_is_named_that_has_a_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "fold-2").mkdir()
    (tmp_path / "fold-2" / "whole-log.csv").touch()
    assert main(["curves", str(tmp_path)]) == 66
    assert f"each fold has its own, such as {tmp_path / 'fold-2'}" in capfd.readouterr().err


def test_what_became_of_a_trial_has_a_sign_of_its_own(matplotlib: None) -> None:
    ends = ("finished", "stopped early", "diverged")
    picture = pictures.trials({end: ([100, 200], [0.3, 0.4], end) for end in ends}, best="none of them")
    signs = {line.get_label(): line.get_marker() for line in picture.axes[0].lines}
    assert signs.keys() == set(ends)
    assert len(set(signs.values())) == len(ends)


def test_confusion_shows_shares_of_rows(matplotlib: None) -> None:
    network = {"unweighted": 0.5, "confusion": [[8, 2], [0, 1]]}
    picture = pictures.confusion({"labels": ["happy", "sad"], "int8": network, "float": network})
    assert [text.get_text() for text in picture.axes[1].texts] == ["80%", "20%", "0%", "100%"]


def test_an_evaluation_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match="affectd-train evaluate writes it"):
        pictures.pictures(tmp_path, tmp_path)


def test_without_matplotlib_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(UnavailableError, match="matplotlib is not installed"):
        pictures.figure(1, 1)


def test_every_corpus_of_a_folder_is_explored(matplotlib: None, tmp_path: Path) -> None:
    emodb(tmp_path)
    cremad(tmp_path, n_actors=1)
    drawn = explore(tmp_path, tmp_path / "out")
    pictures_of = ("counts", "sound", "examples", "voices")
    assert [path.name for path in drawn] == [
        f"{c}-{picture}.png" for c in ("cremad", "emodb") for picture in pictures_of
    ]
    assert all(path.read_bytes().startswith(PNG) for path in drawn)


def test_a_recording_that_is_damaged_within_is_left_out_of_all_pictures(matplotlib: None, tmp_path: Path) -> None:
    emodb(tmp_path)
    canceled(tmp_path / "emodb/wav/03a01Na.wav")
    assert len(explore(tmp_path, tmp_path / "out")) == 4
    for path in (tmp_path / "emodb/wav").iterdir():
        canceled(path)
    with pytest.raises(DataError, match="no recording of emodb can be decoded"):
        explore(tmp_path, tmp_path / "out")


def test_a_folder_of_any_name_is_explored_when_told_what_it_is(matplotlib: None, tmp_path: Path) -> None:
    ravdess(tmp_path, actors=(1,))
    (tmp_path / "ravdess").rename(tmp_path / "Audio_Speech")
    with pytest.raises(DataError, match="--corpus"):
        explore(tmp_path / "Audio_Speech", tmp_path / "out")
    assert len(explore(tmp_path / "Audio_Speech", tmp_path / "out", "ravdess")) == 4


def test_counts_are_those_of_the_corpus(matplotlib: None, tmp_path: Path) -> None:
    ravdess(tmp_path, actors=(1, 2))
    clips = read_corpus("ravdess", tmp_path / "ravdess").clips
    by_emotion, by_speaker = counts(clips, 3).axes
    assert sum(bar.get_height() for bar in by_emotion.patches) == len(clips)
    assert sorted(bar.get_height() for bar in by_speaker.patches if bar.get_height()) == [16, 16]
    assert "3 files skipped" in by_emotion.get_title()


def test_durations_and_levels_are_those_of_the_recordings(matplotlib: None, tmp_path: Path) -> None:
    for speaker, emotions in {"01": {1: (1.0, 0.1), 3: (2.0, 0.5)}, "02": {3: (4.0, 0.25), 5: (3.0, 0.0)}}.items():
        for code, (seconds, amplitude) in emotions.items():
            path = tmp_path / "ravdess" / f"Actor_{speaker}" / f"03-01-{code:02d}-01-01-01-{speaker}.wav"
            square = np.where(np.arange(round(16000 * seconds)) % 8 < 4, amplitude, -amplitude) + 0.125
            write(path, square.astype(np.float32))
    measured = measure(read_corpus("ravdess", tmp_path / "ravdess").clips)
    picture = sound(measured)
    assert "4 recordings, 0.00 h, half of them shorter than 2.5 s" in picture.axes[0].get_title()
    medians = {}
    for axes in picture.axes:
        names = [tick.get_text() for tick in axes.get_xticklabels()]
        # Of each box the line inside is the one whose two ends are at one height between its corners.
        lines = [line for line in axes.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 2]
        flat = {
            round(float(np.mean(line.get_xdata()))): line.get_ydata()[0] for line in lines if line.get_color() == "C1"
        }
        medians[axes.get_ylabel(), *names] = [round(float(flat[n + 1]), 2) for n in range(len(names))]
    assert medians == {
        ("duration, s", "neutral", "happy", "angry"): [1.0, 3.0, 3.0],
        ("level, dBFS", "neutral", "happy"): [-20.0, -9.03],
        ("duration, s", "01", "02"): [1.5, 3.5],
        ("level, dBFS", "01", "02"): [-13.01, -12.04],
    }


def test_spectrograms_have_durations_alone(matplotlib: None, tmp_path: Path) -> None:
    cremad(tmp_path, n_actors=2)
    clips = read_corpus("cremad", tmp_path / "cremad").clips
    assert {m.seconds for m in measure(clips)} == {clips[0].n_frames * 256 / 16000}
    assert [axes.get_ylabel() for axes in sound(measure(clips)).axes] == ["duration, s"] * 2


def test_several_voices_of_each_emotion_are_of_different_speakers_first(matplotlib: None, tmp_path: Path) -> None:
    ravdess(tmp_path, actors=(1, 2, 3, 4, 5, 6))
    clips = read_corpus("ravdess", tmp_path / "ravdess").clips
    chosen = several_of_each(clips)
    assert len(chosen) == 8
    for label, mine in chosen.items():
        assert {clip.emotion for clip in mine} == {label}
        assert len({clip.speaker for clip in mine}) == 4
        assert [clip.gender for clip in mine] == ["female", "male"] * 2
    few = several_of_each([clip for clip in clips if clip.speaker == "ravdess-01"])
    assert {len(mine) for mine in few.values()} == {2}
    picture = voices(clips)
    titles = [axes.get_title() for axes in picture.axes]
    assert titles == ["02 female", "01 male", "04 female", "03 male"] * 8
    loudest = [int(np.argmax(axes.images[0].get_array().mean(axis=1))) for axes in picture.axes[::4]]
    assert loudest == sorted(loudest)  # the pitches rise with the code of the emotion


def test_examples_show_one_recording_of_each_emotion_by_one_speaker(matplotlib: None, tmp_path: Path) -> None:
    ravdess(tmp_path, actors=(1, 2))
    clips = read_corpus("ravdess", tmp_path / "ravdess").clips
    chosen = one_of_each(clips)
    assert len(chosen) == 8
    assert len({clip.speaker for clip in chosen}) == 1
    picture = examples(clips)
    assert len(picture.axes) == 8 * 4
    # Each tone is loudest in its own band: the pitches rise with the code of the emotion.
    loudest = [int(np.argmax(picture.axes[4 * row + 2].images[0].get_array().mean(axis=1))) for row in range(8)]
    assert loudest == sorted(loudest)

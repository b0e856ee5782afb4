"""What a device answers after a day of a voice: the same as the real one after it heard the same."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affectd.arrays import Float64
from affectd.config.sections import Config
from affectd.errors import DataError
from affectd.recognition.baseline import Baseline, Placed
from affectd.recognition.classifier import Classifier
from affectd.recognition.model_file import ModelFile, find_model, read_model, write_model
from affectd.recognition.place import together
from affectd_train.cli import main
from affectd_train.data.clips import Clip
from affectd_train.data.corpora import read_clips
from affectd_train.data.days import Day, lived
from affectd_train.data.recordings import load_audio
from affectd_train.evaluation.event_rates import event_rates
from affectd_train.evaluation.on_device import hear
from affectd_train.evaluation.settled import KINDS, MANY, Recorder, answer, heard_of, settled
from affectd_train.training.voice import with_voice
from tiny_corpora import canceled, cremad, everyday, tabled, voice, write
from tiny_model import tiny_model, voice_model


def trusting(model: ModelFile) -> ModelFile:
    """The model with a voice that learns from whatever it hears, and takes all for one voice."""
    assert model.voice is not None
    head = model.voice.head
    numbers = dataclasses.replace(head.spec, far_distance=1e6, near_distance=1e6, least_seconds=0.0)
    spec = dataclasses.replace(model.voice.spec, same_scatter=1e4, other_scatter=1e5, far_voice=1e5)
    voice = dataclasses.replace(model.voice, head=dataclasses.replace(head, spec=numbers), spec=spec)
    return dataclasses.replace(model, voice=voice)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    """The packaged network with a voice of a few synthetic speakers, which is believed of any."""
    folder = tmp_path_factory.mktemp("voices")
    tabled(folder, "ased", speakers=("01", "02", "03"))
    return trusting(with_voice(read_model(find_model()), read_clips(folder, ["ased"]), folder, folder))


@pytest.fixture(scope="module")
def clips(speech_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    """Three real recordings of one voice, and one as log-mel bands."""
    paths = sorted((speech_data / "nemo").rglob("IC0_*_3.*"))[:3]
    bands = tmp_path_factory.mktemp("bands")
    cremad(bands, n_actors=1)
    real = [Clip("nemo", path, "nemo-a", "female", "sad", "") for path in paths]
    return [*real, read_clips(bands, ["cremad"])[0]]


def test_what_was_heard_once_is_answered_again_as_the_device_does(model: ModelFile, clips: list[Clip]) -> None:
    assert len(clips) == 4
    classifier = Classifier(model)
    recorder = Recorder(classifier)
    heard = [heard_of(recorder, clip) for clip in clips]
    real, again = Placed(classifier), Placed(classifier)
    answers = []
    for clip, one in zip(clips, heard, strict=True):
        answers.append(hear(clip, real))
        assert answer(again, one) == answers[-1]
        real.reset()
        sound = 0.0 if clip.is_logmel else len(load_audio(clip, 16000)) / 16000
        assert clip.is_logmel or 0 < one.frames / model.spec.frame_rate < sound
        for placed in (real, again):
            placed.baseline.learn(one.mean(model.voice), speech_seconds=8.0, speech_ratio=1.0, at_hours=0.0)
    assert answers[0] == hear(clips[0], classifier)  # cold, the network alone
    assert answers[1] != hear(clips[1], classifier)
    assert again.baseline.settled > 0.7


def test_what_is_learned_of_a_clip_is_what_the_device_learns(model: ModelFile, clips: list[Clip]) -> None:
    sounds = {str(clip.path): load_audio(clip, 16000) for clip in clips[:3]}
    classifier = Classifier(model)
    placed = together(sounds, lambda path: [sounds[path]], classifier, Config())
    recorder = Recorder(classifier)
    baseline = Baseline(placed.baseline.head, voice=model.voice)
    for clip in clips[:3]:
        one = heard_of(recorder, clip)
        seconds = one.frames / model.spec.frame_rate
        baseline.learn(one.mean(model.voice), speech_seconds=seconds, speech_ratio=1.0, at_hours=0.0)
    np.testing.assert_array_equal(baseline.value, placed.baseline.value)
    assert baseline.trust == placed.baseline.trust
    assert baseline.settled > 0.1


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A file whose voice was fitted on ASED, and data beside it."""
    tabled(tmp_path, "ased", speakers=("01", "02", "03"), takes=4)
    tabled(tmp_path, "emotale", speakers=("01", "02"), takes=3)
    write(tmp_path / "emotale/01-0-0.wav", np.zeros(16000, np.float32))
    card = {"training": {"clips": {"emodb": 6}}}
    made = with_voice(tiny_model(card=card), read_clips(tmp_path, ["ased"]), tmp_path, tmp_path / "cache")
    write_model(tmp_path / "voice.tflite", trusting(made))
    return tmp_path


def test_every_clip_is_answered_after_each_day(packed: Path) -> None:
    clips = read_clips(packed, ["emotale"])
    found = settled(packed / "voice.tflite", clips, packed / "out")
    assert tuple(found) == KINDS == ("20", "60", "200", MANY)
    cold = [hear(clip, Classifier(read_model(packed / "voice.tflite"))) for clip in clips]
    for kind, predictions in found.items():
        assert [p["path"].split("/")[1] for p in predictions] == [clip.path.stem for clip in clips]
        assert [p["int8"] == {} for p in predictions] == [answer == {} for answer in cold], kind
        assert sum(p["int8"] == {} for p in predictions) == 1
    assert found["60"] != found["200"]
    assert any(p["int8"] != before for p, before in zip(found["60"], cold, strict=True))
    (kept,) = (packed / "out").glob("emotale-*-heard.npz")
    time = kept.stat().st_mtime_ns
    assert settled(packed / "voice.tflite", clips, packed / "out") == found  # the days are seeded
    assert kept.stat().st_mtime_ns == time
    kept.write_bytes(b"damaged")
    assert settled(packed / "voice.tflite", clips, packed / "out") == found
    write(clips[-1].path, np.zeros(16000, np.float32))  # a recording that was replaced is heard anew
    now = settled(packed / "voice.tflite", clips, packed / "out")
    assert [predictions[-1]["int8"] for predictions in now.values()] == [{}] * len(KINDS)


def test_days_are_of_one_speaker_and_then_of_all(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[set[str], list[int]]] = []

    def watched(day: Day, baseline: Baseline, means: Float64, seconds: Float64, lengths: list[int], random: Any) -> Any:
        heard.append(({spoken[i].speaker for i in (*day.plain, *day.others)}, [*lengths]))
        return lived(day, baseline, means, seconds, lengths, random)

    clips = read_clips(packed, ["emotale"])
    spoken = clips[1:]  # in the first there is silence
    monkeypatch.setattr("affectd_train.evaluation.settled.lived", watched)
    settled(packed / "voice.tflite", clips, packed / "out")
    one, all_of_them = heard[:8], heard[8:]
    assert [len(speakers) for speakers, _ in one] == [1] * 8
    assert {tuple(lengths) for _, lengths in one} == {(20, 60, 200)}
    assert [(len(speakers), lengths) for speakers, lengths in all_of_them] == [(2, [200])] * 4


def test_a_file_without_a_voice_knows_none(tmp_path: Path) -> None:
    write_model(tmp_path / "plain.tflite", tiny_model())
    with pytest.raises(DataError, match=r"plain\.tflite has no voice; affectd-train voice gives it one"):
        settled(tmp_path / "plain.tflite", [], tmp_path)


def test_unheard_shows_what_a_voice_changes(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tabled(packed, "kor_emotiontts", speakers=("01",))
    canceled(packed / "kor_emotiontts/01-0-0.wav")
    everyday(packed, ("everyday_lt",))
    canceled(packed / "everyday_mycroft/a.wav")
    words = ["unheard", str(packed / "voice.tflite"), "--data", str(packed), "--out", str(packed / "out")]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["corpora"]) == ["emotale", "kor_emotiontts"]  # not what the voice was fitted on
    assert found["corpora"]["kor_emotiontts"]["clips"] == 7  # without the one that cannot be decoded
    for corpus in found["corpora"].values():
        assert tuple(corpus["settled"]) == KINDS
        assert all(row.keys() == corpus["cold"].keys() for row in corpus["settled"].values())
    assert found["everyday_settled"].keys() == found["everyday"].keys() == {"everyday_lt"}
    assert found["everyday_settled"]["everyday_lt"]["hours"] == found["everyday"]["everyday_lt"]["hours"]
    assert main([*words, "--corpora", "ased"]) == 64


def test_one_device_hears_everyday_speech_and_learns() -> None:
    network = Classifier(voice_model(baseline={"least_seconds": 0.0, "least_speech_ratio": 0.0}))
    sounds = {str(i): voice(200 + 30 * i, seconds=4, seed=i) for i in range(3)}
    placed = Placed(network)
    rates = event_rates(sounds, placed, Config())
    assert rates["hours"] == pytest.approx(12 / 3600, abs=1e-3)
    known = placed.baseline.learned.seconds
    assert known > 3
    event_rates({"0": sounds["0"]}, placed, Config())
    assert placed.baseline.learned.seconds > known
    assert event_rates(sounds, network, Config()) == event_rates(sounds, network, Config())

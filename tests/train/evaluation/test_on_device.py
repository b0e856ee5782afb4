"""What training hears is what the device hears, whether it starts from sound or from log-mel bands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from affectd.config.sections import Config
from affectd.features.spec import FeatureSpec
from affectd.recognition.classifier import Classifier
from affectd.recognition.hearing import Hearing
from affectd.recognition.model_file import write_model
from affectd.recognition.recording import classify_recording
from affectd_train.data.clips import Clip
from affectd_train.data.corpora import read_corpus
from affectd_train.evaluation.on_device import hear, hear_bands, level_and_bands
from affectd_train.evaluation.predictions import predict_packed
from sounds import silence, syllables
from tiny_corpora import cremad, emodb, voice, write
from tiny_model import tiny_model


@pytest.mark.parametrize("seconds", [0.7, 2.0, 5.3])
def test_the_same_probabilities_as_the_device(seconds: float) -> None:
    network = Classifier(tiny_model())
    samples = np.concatenate([silence(0.5), 0.2 * syllables(seconds), silence(0.9)]).astype(np.float32)
    level, bands = level_and_bands(samples, FeatureSpec())
    assert hear_bands(level, bands, network) == classify_recording([samples], network, Config()).probabilities


def test_a_network_that_hears_a_recording_as_a_whole_hears_all_bands() -> None:
    network = Classifier(tiny_model(hearing=Hearing(pad_at="start", cut_at="both")))
    samples = np.concatenate([silence(0.5), 0.2 * syllables(2.0), silence(0.9)]).astype(np.float32)
    found = hear_bands(*level_and_bands(samples, FeatureSpec()), network)
    expected = classify_recording([samples], network, Config()).probabilities
    np.testing.assert_allclose(list(found.values()), list(expected.values()), atol=0.05)
    assert found.keys() == expected.keys()


def test_nothing_is_said_of_silence() -> None:
    level, bands = level_and_bands(silence(2.0), FeatureSpec())
    assert hear_bands(level, bands, Classifier(tiny_model())) == {}


def test_a_log_mel_clip_is_heard_as_its_sound(tmp_path: Path) -> None:
    cremad(tmp_path, n_actors=1)
    network = Classifier(tiny_model())
    clips = read_corpus("cremad", tmp_path / "cremad").clips
    for emotion, clip in enumerate(sorted(clips, key=lambda clip: clip.first_frame or 0)):
        assert clip.is_logmel
        path = tmp_path / f"{emotion}.wav"
        write(path, voice(200 * 1.3**emotion, seed=1001))
        sound = Clip("cremad", path, clip.speaker, clip.gender, clip.emotion, clip.text)
        heard, expected = hear(clip, network), hear(sound, network)
        assert list(heard) == list(expected)
        # 80 dB in 64 steps leave an error of 0.6 dB in each band.
        np.testing.assert_allclose(list(heard.values()), list(expected.values()), atol=0.05)


def test_answers_to_recordings_that_were_replaced_or_labeled_anew_are_not_read_back(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    emodb(tmp_path, ("03",))
    write_model(tmp_path / "tiny.tflite", tiny_model())
    network = Classifier(tiny_model())
    clips = read_corpus("emodb", tmp_path / "emodb").clips

    def predicted(clips: list[Clip]) -> list[tuple[str, dict[str, float]]]:
        return [(p["truth"], p["int8"]) for p in predict_packed(tmp_path / "tiny.tflite", clips, tmp_path / "kept")]

    before = predicted(clips)
    assert predicted(clips) == before == [(clip.emotion, hear(clip, network)) for clip in clips]
    assert "made again" not in capfd.readouterr().err
    write(clips[0].path, voice(900, seed=5))
    after = predicted(clips)
    assert after[0] == (clips[0].emotion, hear(clips[0], network)) != before[0]
    assert after[1:] == before[1:]
    corrected = [replace(clips[0], emotion="calm"), *clips[1:]]
    assert predicted(corrected) == [("calm", after[0][1]), *after[1:]]
    assert capfd.readouterr().err.count("of other recordings); it is made again") == 2


def test_what_turns_out_to_be_damaged_is_left_out_until_it_is_mended(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "tiny.tflite", tiny_model())
    clips = [Clip("own", tmp_path / name, "own-anna", "", "sad", "", name=name) for name in ("a.flac", "b.flac")]
    for seed, clip in enumerate(clips):
        write(clip.path, voice(200, seconds=2.0, seed=seed))
    whole = clips[0].path.read_bytes()
    clips[0].path.write_bytes(whole[: len(whole) // 2])  # its header says nothing of it

    def heard() -> list[str]:
        return [p["path"] for p in predict_packed(tmp_path / "tiny.tflite", clips, tmp_path / "kept")]

    assert heard() == heard() == ["own/b.flac"]
    said = capfd.readouterr().err
    assert "own, by tiny.tflite: skipped a.flac: cannot be read as audio" in said
    assert "made again" not in said
    clips[0].path.write_bytes(whole)
    assert heard() == ["own/a.flac", "own/b.flac"]

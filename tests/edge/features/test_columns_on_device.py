"""A network that hears every kind of column, through the programs that run it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from affectd.config.sections import Config
from affectd.errors import ModelFileError
from affectd.features.context import Context
from affectd.features.mfcc import Mfcc
from affectd.features.spec import FeatureSpec
from affectd.pipeline import run
from affectd.recognition.classifier import Classifier
from affectd.recognition.golden import golden_vectors
from affectd.recognition.model_file import ModelFile, read_model, write_model
from fake_network import FakeNetwork
from sounds import as_int16, gain, silence, syllables, write_wav
from tiny_model import LABELS, N_FRAMES, draft_model, pcm

SPEECH = as_int16(np.concatenate([silence(1), gain(syllables(3), -12), silence(1.5)]))
PATIENCE_SECONDS = 120
# 4 coefficients with two derivatives, 13 bands, pitch, RMS, zero crossings, 12 classes: the network has 40 inputs.
SPEC = FeatureSpec(
    n_mfcc=4,
    n_mels=13,
    deltas="second",
    delta_width=5,
    mel="log",
    pitch="semitones",
    rms="decibel",
    zero_crossings="rate",
    chroma="magnitude",
)


def model_of(spec: FeatureSpec) -> ModelFile:
    samples = pcm()
    heard = Mfcc(spec)(samples.astype(np.float32) / np.float32(32768))
    mean, std = heard.mean(0), heard.std(0) + np.float32(1e-3)
    draft = draft_model(spec=spec, mean=mean, std=std)
    return dataclasses.replace(draft, golden=golden_vectors(samples, Classifier(draft)))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("columns") / "columns.tflite"
    write_model(path, model_of(SPEC))
    return path


def affectd(*words: object) -> str:
    command = [sys.executable, "-m", "affectd", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_model_says_its_columns_and_passes_its_self_test(model: Path) -> None:
    described = json.loads(affectd("model", "--self-test", "--model", model))
    assert described["columns"] == SPEC.columns
    assert described["input"] == [1, N_FRAMES, 40]
    assert described["features"]["pitch"] == "semitones"
    assert described["self_test"]["cepstra_difference"] < 1e-2
    text = affectd("model", "--format", "text", "--model", model)
    assert (
        "4 MFCCs, 4 deltas, 4 delta-deltas, 13 mel bands, pitch, RMS, rate of zero crossings and 12 pitch classes"
        in " ".join(text.split())
    )


def test_run_and_classify_hear_it(model: Path, tmp_path: Path) -> None:
    speech = write_wav(tmp_path / "speech.wav", SPEECH)
    events = [json.loads(line) for line in affectd("run", "--source", speech, "--model", model).splitlines()]
    assert [events[0]["phase"], events[-1]["phase"]] == ["start", "end"]
    (answer,) = map(json.loads, affectd("classify", speech, "--model", model).splitlines())
    assert set(answer["probabilities"]) == set(LABELS)
    assert answer["speech_seconds"] > 2


def test_live_and_whole_are_the_same_numbers() -> None:
    network = FakeNetwork(n_frames=60)
    network.model.spec = SPEC
    sound = SPEECH.astype(np.float32)

    def contexts(block: int) -> list[np.ndarray]:
        network.calls.clear()
        run((sound[i : i + block] for i in range(0, len(sound), block)), network, Nothing(), Config())
        return list(network.calls)

    whole = contexts(len(sound))
    assert len(whole) > 5
    for block in (160, 999, 4096):
        for ours, theirs in zip(contexts(block), whole, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    # The last context, once more from the recording at once.
    features = Mfcc(SPEC)
    rows = features.bands(features.frames(sound))
    ends = []
    for end in range(60, len(rows) + 1):
        context = Context(60, SPEC.n_bands, features.fill)
        context.push(rows[:end])
        ends.append(float(np.abs(features.cepstra(context.view()) - whole[-1]).max()))
    assert min(ends) < 1e-3


class Nothing:
    def write(self, event: object) -> None:
        pass

    def close(self) -> None:
        pass


def test_a_context_too_short_for_its_derivatives_is_refused() -> None:
    with pytest.raises(ModelFileError, match=r"n_frames: expected at least features.delta_width, 9, found 8"):
        draft_model(spec=dataclasses.replace(SPEC, delta_width=9))


def test_a_written_file_is_read_as_it_was(model: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "again.tflite", read_model(model))
    assert (tmp_path / "again.tflite").read_bytes() == model.read_bytes()

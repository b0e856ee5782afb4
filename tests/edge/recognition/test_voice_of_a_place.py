"""The program gets to know the voice of a place: what is kept and shown of it, and what a personal file leaves out."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affectd.audio.source import wav_blocks
from affectd.config.sections import Config
from affectd.personal.hearing import with_float_head
from affectd.recognition.baseline import Baseline
from affectd.recognition.baseline_file import decode, path_of
from affectd.recognition.classifier import Classifier
from affectd.recognition.golden import self_test
from affectd.recognition.model_file import find_model, model_id, read_model, write_model
from affectd.recognition.place import Place, together
from affectd.recognition.recording import classify_recording
from place_program import kitchen, program
from sounds import gain, raw_sound, silence, syllables, write_wav
from tiny_model import tiny_model, voice_model

RATES = (2.5, 4.0, 5.5)


SPEECH = raw_sound(
    np.concatenate([np.concatenate([silence(1), gain(syllables(3, rate), -12), silence(1)]) for rate in RATES])
)
# All speech is of one voice to it: what synthetic syllables differ by is not what voices do.
MODEL = voice_model(
    {"same_scatter": 1e5, "other_scatter": 1e6, "far_voice": 1e6}, {"prior_seconds": 4.0, "utterance_seconds": 1.0}
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "voice.tflite"
    write_model(path, MODEL)
    return path


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return kitchen(tmp_path, monkeypatch)


def affectd(*arguments: object, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    done = program(*arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done


def run(model: Path | None) -> list[dict[str, float]]:
    options = [] if model is None else ["--model", model]
    done = affectd("run", "--source", "-", *options, stdin=SPEECH)
    return [json.loads(line)["probabilities"] for line in done.stdout.splitlines()]


def shown(model: Path, *options: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(affectd("baseline", "--json", "--model", model, *options).stdout)
    return found


def test_a_voice_is_learned_kept_and_forgotten(model: Path, state: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.tflite"
    write_model(plain, tiny_model())
    expected = run(plain)
    cold = run(model)
    # It learns at the end of an utterance, so that the first is that of the network.
    assert cold[0] == expected[0]
    assert cold[-1] != expected[-1]
    first = json.loads(path_of(state, MODEL).read_text())
    assert first["scatter"] > 0
    found = shown(model)
    scatter = (4 * 550_000 + first["seconds"] * first["scatter"]) / (4 + first["seconds"])
    assert found["one_voice"] == pytest.approx(min(1, (1e6 - scatter) / 9e5), abs=1e-3) != 0.5
    assert found["settled"] == pytest.approx(first["seconds"] / (4 + first["seconds"]), abs=1e-3)
    assert (
        affectd("baseline", "--model", model)
        .stdout.decode()
        .endswith(f"; one voice: {100 * found['one_voice']:.0f} %\n")
    )
    assert run(model)[0] != cold[0]
    assert json.loads(path_of(state, MODEL).read_text())["seconds"] > first["seconds"]
    assert shown(model, "--reset")["settled"] == 0
    assert run(model) == cold


def test_what_a_head_without_a_voice_would_keep_is_begun_anew(model: Path, state: Path) -> None:
    run(model)
    path = path_of(state, MODEL)
    body = json.loads(path.read_text())
    del body["scatter"]
    path.write_text(json.dumps(body))
    done = affectd("run", "--source", "-", "--model", model, stdin=SPEECH)
    assert f"the baseline in {path} begins anew: it is damaged" in done.stderr.decode()
    assert json.loads(path.read_text())["scatter"] > 0


def test_a_voice_is_enrolled_from_a_pipe(model: Path, state: Path) -> None:
    options = ("baseline", "--json", "--enroll", "--source", "-", "--model", model)
    done = affectd(*options, stdin=SPEECH)
    assert json.loads(done.stdout)["seconds"] > 0
    assert decode(path_of(state, MODEL).read_bytes(), "kitchen", MODEL).scatter > 0


def test_recordings_of_one_voice_are_classified_together(model: Path, state: Path, tmp_path: Path) -> None:
    paths = []
    for rate in RATES:
        sound = np.concatenate([silence(1), gain(syllables(2, rate), -15), silence(1)])
        paths.append(write_wav(tmp_path / f"{rate}.wav", sound))
    plain = tmp_path / "plain.tflite"
    write_model(plain, tiny_model())

    def of(*options: object) -> list[Any]:
        return [json.loads(line)["probabilities"] for line in affectd("classify", *paths, *options).stdout.splitlines()]

    alone, known = of("--model", model), of("--together", "--model", model)
    assert alone == of("--model", plain)
    assert all(a != b for a, b in zip(alone, known, strict=True))
    placed = together(map(str, paths), lambda path: wav_blocks(Path(path), 16000), Classifier(MODEL), Config())
    expected = []
    for path in paths:
        placed.reset()  # each is an utterance of its own
        expected.append(classify_recording(wav_blocks(path, 16000), placed, Config()).probabilities)
    assert known == expected
    assert not state.exists()


def test_telemetry_says_how_far_the_voice_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(Classifier(MODEL), "kitchen", None)
    monkeypatch.setattr(Baseline, "settled", 0.5)
    monkeypatch.setattr(Baseline, "trust", 0.5)
    assert place.settled() == 0.25


def test_a_personal_file_leaves_the_voice_out(tmp_path: Path) -> None:
    base = read_model(find_model())
    voice = dataclasses.replace(
        MODEL.voice,
        head=dataclasses.replace(
            MODEL.voice.head,
            weights=np.zeros((62, len(base.labels)), np.float32),
            bias=np.zeros(len(base.labels), np.float32),
        ),
    )
    blank = {"functionals": np.zeros(62, np.float32), "logits": np.zeros(len(base.labels), np.float32)}
    model = dataclasses.replace(base, voice=voice, golden={**base.golden, **blank})
    assert model_id(model) != model_id(base)
    personal, expected = with_float_head(model), with_float_head(base)
    assert personal.voice is None
    assert model_id(personal) == model_id(expected)
    assert self_test(personal, Classifier(personal))["logits_difference"] == 0

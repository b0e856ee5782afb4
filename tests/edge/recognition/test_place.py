"""The program gets to know its place: what it keeps, what it leaves alone, and the command that shows it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from affectd.audio.source import wav_blocks
from affectd.config.sections import Config
from affectd.config.state import claimed_folders
from affectd.personal.hearing import FIXED
from affectd.recognition.baseline import Placed
from affectd.recognition.baseline_file import path_of
from affectd.recognition.classifier import Classifier
from affectd.recognition.model_file import ModelFile, find_model, model_id, read_model, write_model
from affectd.recognition.recording import classify_recording
from affectd.recognition.voice import without_voice
from broker import wait_until
from place_program import PATIENCE_SECONDS, kitchen
from place_program import program as affectd
from sounds import as_int16, gain, noise, raw_sound, silence, syllables, write_wav
from tiny_model import place_model

SPEECH = as_int16(np.concatenate([silence(1), gain(syllables(3), -12), silence(1.5)]))
NO_SPEECH = as_int16(gain(noise("white", 4), -30))
MODEL = place_model({"far_distance": 1e6, "prior_seconds": 4.0})


@pytest.fixture(scope="module", params=["without a head", "for one voice"])
def plain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file that learns nothing: it has no head, or one that `affectd personalize` fitted."""
    path = tmp_path_factory.mktemp("model") / "plain.tflite"
    without_head = without_voice(read_model(find_model()))
    write_model(path, without_head if request.param == "without a head" else place_model(asdict(FIXED)))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "place.tflite"
    write_model(path, MODEL)
    return path


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return kitchen(tmp_path, monkeypatch)


def kept(state: Path, model: ModelFile = MODEL) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path_of(state, model).read_text())
    return found


def shown(model: Path, *options: str) -> dict[str, Any]:
    done = affectd("baseline", "--json", "--model", model, *options)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_live_sound_teaches_it_and_a_restart_goes_on_from_there(model: Path, state: Path) -> None:
    seconds = []
    for _ in range(3):
        done = affectd("run", "--source", "-", "--model", model, stdin=raw_sound(SPEECH))
        assert done.returncode == 0, done.stderr
        assert b'"end"' in done.stdout
        seconds.append(kept(state)["seconds"])
    assert 0 < seconds[0] < seconds[1] < seconds[2]
    assert [path.name for path in state.glob("*baseline*")] == [path_of(state, MODEL).name]


def test_the_answers_are_others_when_the_place_is_known(model: Path, state: Path) -> None:
    def labels() -> list[dict[str, float]]:
        done = affectd("run", "--source", "-", "--model", model, stdin=raw_sound(SPEECH))
        return [json.loads(line)["probabilities"] for line in done.stdout.splitlines()]

    cold, known = labels(), labels()
    assert cold != known
    assert affectd("baseline", "--reset", "--model", model).returncode == 0
    assert labels() == cold


def test_a_file_starts_cold_and_leaves_the_place_alone(model: Path, state: Path, tmp_path: Path) -> None:
    speech = write_wav(tmp_path / "speech.wav", SPEECH)

    def answers() -> list[dict[str, float]]:
        done = affectd("run", "--source", speech, "--model", model)
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["probabilities"] for line in done.stdout.splitlines()]

    first = answers()
    assert not state.exists()
    affectd("run", "--source", "-", "--model", model, stdin=raw_sound(SPEECH))
    before = path_of(state, MODEL).read_bytes()
    assert answers() == first != []
    with speech.open("rb") as file:  # nor does a file on standard input
        command = [sys.executable, "-m", "affectd", "run", "--source", "-", "--model", str(model)]
        subprocess.run(command, stdin=file, capture_output=True, timeout=PATIENCE_SECONDS, check=True)
    assert path_of(state, MODEL).read_bytes() == before


def test_with_mqtt_it_is_kept_beside_the_outbox(
    model: Path, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("ENABLED", "true"), ("HOST", "127.0.0.1"), ("PORT", "1")):
        monkeypatch.setenv(f"AFFECTD_MQTT_{name}", value)
    assert affectd("run", "--source", write_wav(tmp_path / "speech.wav", SPEECH), "--model", model).returncode == 0
    assert (state / "lock").exists()
    assert not path_of(state, MODEL).exists()
    assert affectd("run", "--source", "-", "--model", model, stdin=raw_sound(SPEECH)).returncode == 0
    assert kept(state)["seconds"] > 0


def test_with_a_model_that_learns_nothing_nothing_is_kept(state: Path, plain: Path) -> None:
    assert affectd("run", "--source", "-", "--model", plain, stdin=raw_sound(SPEECH)).returncode == 0
    assert not state.exists()


@pytest.mark.parametrize("options", [[], ["--json"], ["--reset"], ["--enroll", "--source", "-"]])
def test_with_a_model_that_learns_nothing_the_command_says_so(state: Path, plain: Path, options: list[str]) -> None:
    done = affectd("baseline", "--model", plain, *options, stdin=raw_sound(SPEECH))
    assert done.returncode == 64
    assert done.stdout == b""
    assert done.stderr.decode().count("\n") == 1
    assert "has no baseline" in done.stderr.decode()
    assert not state.exists()


@pytest.mark.parametrize("options", [[], ["--reset"]])
def test_a_source_is_not_passed_over_without_a_word(
    model: Path, state: Path, tmp_path: Path, options: list[str]
) -> None:
    done = affectd("baseline", "--source", tmp_path / "speech.wav", "--model", model, *options)
    assert (done.returncode, done.stdout) == (64, b"")
    assert done.stderr == b"affectd: --source is what --enroll learns from: add --enroll, or leave it out.\n"


def test_a_kill_costs_the_last_minutes_at_most(model: Path, state: Path) -> None:
    command = [sys.executable, "-m", "affectd", "run", "--source", "-", "--model", str(model)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdin is not None
        running.stdin.write(raw_sound(SPEECH) + bytes(64000))
        running.stdin.flush()
        wait_until(lambda: path_of(state, MODEL).exists(), PATIENCE_SECONDS)
        running.send_signal(signal.SIGKILL)
        running.stdin.close()
    assert kept(state)["seconds"] > 0
    done = affectd("run", "--source", "-", "--model", model, stdin=raw_sound(SPEECH))
    assert done.returncode == 0
    assert b"anew" not in done.stderr


def test_a_second_one_keeps_nothing_and_says_so_and_a_reset_is_refused_meanwhile(model: Path, state: Path) -> None:
    affectd("run", "--source", "-", "--model", model, stdin=raw_sound(SPEECH))
    before = path_of(state, MODEL).read_bytes()
    with claimed_folders("kitchen"):
        for arguments, code in (
            (["run", "--source", "-"], 0),
            (["baseline", "--reset"], 69),
            (["baseline", "--enroll", "--source", "-"], 69),
        ):
            done = affectd(*arguments, "--model", model, stdin=raw_sound(SPEECH))
            assert done.returncode == code
            assert b"Another affectd with the id kitchen is running" in done.stderr
            assert (b'"end"' in done.stdout) == (code == 0)
        assert shown(model)["seconds"] > 0  # to look at it is no change
    assert path_of(state, MODEL).read_bytes() == before


def test_a_damaged_file_is_named_and_begun_anew(model: Path, state: Path) -> None:
    state.mkdir(parents=True)
    path_of(state, MODEL).write_text("{}")
    done = affectd("run", "--source", "-", "--model", model, stdin=raw_sound(SPEECH))
    assert done.returncode == 0
    assert f"the baseline in {path_of(state, MODEL)} begins anew: it is damaged" in done.stderr.decode()
    assert kept(state)["seconds"] > 0


def test_a_disk_that_cannot_be_written_is_said_and_costs_no_event(model: Path, state: Path, tmp_path: Path) -> None:
    state.parent.mkdir(parents=True)
    state.symlink_to("/proc/self")  # nothing can be made there
    done = affectd("run", "--source", "-", "--model", model, stdin=raw_sound(SPEECH))
    assert done.returncode == 0
    assert b'"end"' in done.stdout
    assert done.stderr.decode().count("the baseline cannot be saved") == 1


def test_the_command_shows_what_was_learned_and_forgets_it(model: Path, state: Path) -> None:
    empty = shown(model)
    assert empty == {
        "device": "kitchen",
        "folder": str(state),
        "model": model_id(MODEL),
        "seconds": 0.0,
        "settled": 0.0,
        "since": None,
        "distance": 0.0,
    }
    text = affectd("baseline", "--model", model).stdout.decode()
    assert text == f"kitchen: nothing was learned of this place yet, says {state}\n"
    assert not state.exists()
    affectd("run", "--source", "-", "--model", model, stdin=raw_sound(SPEECH))
    found, body = shown(model), kept(state)
    assert found["seconds"] == pytest.approx(body["seconds"], abs=0.051)
    assert found["settled"] == pytest.approx(body["seconds"] / (4 + body["seconds"]), abs=1e-3)
    assert found["distance"] > 0
    assert (found["since"] is None) == (body["since"] is None)
    text = affectd("baseline", "--model", model).stdout.decode()
    assert text.startswith(f"kitchen: {100 * found['settled']:.0f} % settled, from {found['seconds']:.0f} s of speech")
    assert shown(model, "--reset") == empty
    assert not list(state.glob("*baseline*"))


NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="root reads everything: needs root to become another user")


def as_another_user(model: Path, state: Path, *options: str) -> str:
    """Run the command as a user who owns nothing here, with all folders above the state open; what it must refuse."""
    for folder in (*model.parents[:-2], *state.parents[2:-2]):
        folder.chmod(0o755)
    # Imported before, because the interpreter itself may be where only root may look.
    code = "import locale, os, sys; from affectd import cli; from affectd.config import loading\n"
    code += "from affectd.recognition import classifier, place\n"
    code += "os.setgroups([]); os.setgid(65534); os.setuid(65534); sys.exit(cli.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "baseline", *options, "--model", str(model)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert (done.returncode, done.stdout) == (69, ""), done.stderr
    return done.stderr


@NEEDS_ROOT
@pytest.mark.parametrize("closed", ["state", "state/devices", "state/devices/kitchen"])
def test_who_may_not_read_it_is_told_so_instead_of_that_there_is_nothing(
    model: Path, state: Path, tmp_path: Path, closed: str
) -> None:
    state.mkdir(parents=True)
    path_of(state, MODEL).write_text("{}")
    (tmp_path / closed).chmod(0o700)
    for options in ([], ["--reset"], ["--reset", "--json"]):
        said = as_another_user(model, state, *options)
        assert said == f"affectd: What was learned of this place cannot be read: {state}: Permission denied.\n"
    assert path_of(state, MODEL).exists()


@NEEDS_ROOT
def test_a_file_that_may_not_be_read_or_removed_in_an_open_folder_is_named(model: Path, state: Path) -> None:
    state.mkdir(parents=True)
    path = path_of(state, MODEL)
    path.write_text("{}")
    path.chmod(0o600)
    assert f"cannot be read: {path}: Permission denied." in as_another_user(model, state)
    assert f"{path} cannot be removed: Permission denied" in as_another_user(model, state, "--reset")


def test_enrolling_learns_from_a_file_or_a_pipe(model: Path, state: Path, tmp_path: Path) -> None:
    speech = write_wav(tmp_path / "speech.wav", SPEECH)
    first = shown(model, "--enroll", "--source", str(speech))
    assert first["seconds"] > 0
    assert kept(state)["seconds"] == pytest.approx(first["seconds"], abs=0.051)
    done = affectd("baseline", "--json", "--enroll", "--source", "-", "--model", model, stdin=raw_sound(SPEECH))
    assert json.loads(done.stdout)["seconds"] > first["seconds"]


def test_of_live_sound_it_learns_from_a_minute(model: Path, state: Path) -> None:
    def enrolled(sound: np.ndarray) -> float:
        affectd("baseline", "--reset", "--model", model)
        done = affectd("baseline", "--json", "--enroll", "--source", "-", "--model", model, stdin=raw_sound(sound))
        assert done.returncode == 0, done.stderr
        return float(json.loads(done.stdout)["seconds"])

    minute = np.tile(SPEECH, 20)[: 60 * 16000]
    assert enrolled(minute) == enrolled(np.concatenate([minute, SPEECH, SPEECH]))


def test_enrolling_from_what_is_missing_or_interrupted_changes_nothing(
    model: Path, state: Path, tmp_path: Path
) -> None:
    affectd("run", "--source", "-", "--model", model, stdin=raw_sound(SPEECH))
    before = path_of(state, MODEL).read_bytes()
    done = affectd("baseline", "--enroll", "--source", tmp_path / "none.wav", "--model", model)
    assert done.returncode == 66
    assert done.stderr.decode().count("\n") == 1
    command = [sys.executable, "-m", "affectd", "baseline", "--enroll", "--source", "-", "--model", str(model)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdin is not None
        assert running.stderr is not None
        running.stdin.write(raw_sound(SPEECH))
        running.stdin.flush()
        assert b"speak as usual" in running.stderr.readline()
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=PATIENCE_SECONDS)
        assert running.returncode == 130
        assert b"Traceback" not in errors
    assert path_of(state, MODEL).read_bytes() == before


def test_enrolling_without_speech_changes_nothing_and_says_so(model: Path, state: Path, tmp_path: Path) -> None:
    affectd("run", "--source", "-", "--model", model, stdin=raw_sound(SPEECH))
    before = path_of(state, MODEL).read_bytes()
    done = affectd("baseline", "--enroll", "--source", write_wav(tmp_path / "noise.wav", NO_SPEECH), "--model", model)
    assert done.returncode == 65
    assert "no speech" in done.stderr.decode()
    assert path_of(state, MODEL).read_bytes() == before


def classified(*arguments: object) -> list[dict[str, Any]]:
    done = affectd("classify", *arguments)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_recordings_of_one_place_are_classified_by_what_all_of_them_say(
    model: Path, state: Path, tmp_path: Path
) -> None:
    paths = [
        write_wav(tmp_path / f"{rate}.wav", np.concatenate([silence(1), gain(syllables(2, rate), -15), silence(1)]))
        for rate in (2.5, 4.0, 5.5)
    ]
    missing = tmp_path / "none.wav"
    alone = classified(*paths, "--model", model)
    known = classified(*paths[:1], missing, *paths[1:], "--together", "--model", model)
    classifier = Classifier(MODEL)
    placed = Placed(classifier)
    for path in paths:
        found = classify_recording(wav_blocks(path, 16000), placed, Config())
        frames = round(found.speech_seconds * MODEL.spec.frame_rate)
        placed.ended(SimpleNamespace(end_seconds=0.0, speech_frames=frames, speech_ratio=1.0))
    value = placed.baseline.value.copy()
    assert placed.baseline.settled > 0.2
    expected = [classify_recording(wav_blocks(path, 16000), placed, Config()).probabilities for path in paths]
    assert [line["probabilities"] for line in known] == expected
    assert [line["probabilities"] for line in alone] != expected
    np.testing.assert_array_equal(placed.baseline.value, value)
    assert not state.exists()


def test_recordings_together_need_a_model_that_learns(tmp_path: Path, plain: Path) -> None:
    done = affectd("classify", write_wav(tmp_path / "speech.wav", SPEECH), "--together", "--model", plain)
    assert done.returncode == 64
    assert done.stdout == b""
    assert "has no baseline" in done.stderr.decode()

"""The whole road of recordings of one's own as programs, with labels of one's own: from evaluate to the device."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import jsonschema
import pytest

import tiny_corpora
from affectd.events.event import event_schema
from affectd.recognition.model_file import read_model
from affectd_train.cli import main
from affectd_train.reports.model_card import markdown
from broker import Broker, Subscriber, needs_mosquitto

LABELS = ["müde", "very calm", "stressed", "happy", *(f"mood {n}" for n in range(12))]
UNTRAINED = ["--set", "pretrain_steps=0", "--set", "finetune_steps=0", "--set", "augmented_copies=0"]
DEMO = str(Path(__file__).parents[1] / "data" / "demo.wav")


def record(data: Path, labels: list[str]) -> None:
    """Two people with three short clips of each label, in a table; the umlauts of one are two letters."""
    rows = ["File;Speaker;Emotion"]
    for number, label in enumerate(labels):
        for seed, who in ((0, "anna"), (3, "Bo Ek")):
            for take in range(3):
                name = f"{who} {number} {take}.wav"
                tiny_corpora.write(data / name, tiny_corpora.voice(150 * 1.1**number, 0.6, seed=seed + take))
                written = label if take else unicodedata.normalize("NFD", label).upper()
                rows.append(f"{name};{who};{written}")
    (data / "labels.csv").write_text("\n".join(rows), "utf-8")


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory, small_network: None) -> Path:
    """A folder in which every step was taken, by networks that nothing was taught."""
    folder = tmp_path_factory.mktemp("own")
    record(folder / "data", LABELS)
    (folder / "labels.txt").write_text("\n".join(LABELS), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        training = ["--data", "data", "--labels", "labels.txt", *UNTRAINED]
        assert main(["evaluate", "--protocol", "own", *training]) == 0
        assert main(["fit", *training, "--out", "runs/mine", "--cache", "runs/own/cache"]) == 0
        assert main(["quantize", "runs/mine"]) == 0
        assert main(["pack", "runs/mine", "--out", "new/mine.tflite"]) == 0
        assert main(["report", "new/mine.tflite", "--out", "new/mine.md", "--html", "new/mine.html"]) == 0
    return folder


def device(road: Path, *words: str, **settings: object) -> subprocess.CompletedProcess[str]:
    values = {"MODEL_PATH": road / "new/mine.tflite", **settings}
    environment = os.environ | {f"AFFECTD_{key}": str(value) for key, value in values.items()}
    environment |= {"STATE_DIRECTORY": str(road / "state"), "RUNTIME_DIRECTORY": str(road / "run")}
    command = [sys.executable, "-m", "affectd", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done


def test_no_speaker_is_tested_by_a_network_that_heard_it(road: Path) -> None:
    figures = json.loads((road / "runs/own/metrics.json").read_text())
    assert figures["labels"] == ["happy", *sorted(set(LABELS) - {"happy"})]
    assert (figures["clips"], figures["speakers"], list(figures["folds"])) == (96, 2, ["1", "2"])
    assert figures["by_file"] is False
    assert "speakers disjoint" in figures["protocol"]
    for fold in ("1", "2"):
        run = road / f"runs/own/fold-{fold}"
        tested = {json.loads(line)["speaker"] for line in (run / "predictions.jsonl").read_text().splitlines()}
        assert {*json.loads((run / "fit.json").read_text())["speakers"]} | tested == {"own-anna", "own-Bo Ek"}
        assert len(tested) == 1


def test_the_file_is_calibrated_and_its_card_is_about_own_recordings(road: Path) -> None:
    model = read_model(road / "new/mine.tflite")
    assert 0 < model.thresholds["uncertain"] <= 0.95
    assert model.card["evaluation"]["name"] == "own"
    assert "unfitted" not in model.card
    page = (road / "new/mine.md").read_text("utf-8")
    assert page == markdown(model) + "\n"
    assert "| own recordings | 96 | those that the people who speak in them agreed to |" in page
    assert "evaluate --data DATA --protocol own --folds 2" in page
    assert "All training speech is acted" not in page
    assert "müde" in (road / "new/mine.html").read_text("utf-8")


def test_a_damaged_or_changed_set_of_recordings_is_not_taken_for_the_same(
    road: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(road, tmp_path / "road")
    monkeypatch.chdir(tmp_path / "road")
    table = Path("data/labels.csv")
    rows = table.read_text("utf-8").splitlines()
    rows[1] = rows[1].rpartition(";")[0] + ";happy"
    table.write_text("\n".join(rows), "utf-8")
    training = ["--data", "data", "--labels", "labels.txt", *UNTRAINED]
    assert main(["evaluate", "--protocol", "own", *training]) == 64
    assert "runs/own/fold-1 holds a run with table of labels" in capfd.readouterr().err


def test_a_run_is_packed_without_an_evaluation_and_with_none_of_other_labels(
    road: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where there is no folder runs
    run = str(road / "runs/mine")
    assert main(["pack", run, "--out", "bare.tflite"]) == 0
    said = capfd.readouterr()
    assert "neither of them fitted" in said.out
    assert "without an evaluation" in said.err
    model = read_model(Path("bare.tflite"))
    assert (model.temperature, model.thresholds["uncertain"]) == (1.0, 0.531)  # half way from 1/16 to 1
    assert main(["report", "bare.tflite", "--out", "bare.md"]) == 65
    assert "has no evaluation" in capfd.readouterr().err

    shutil.copytree(road / "runs/own", "runs/own")
    note = Path("runs/own/fold-1/fit.json")
    fitted = json.loads(note.read_text())
    note.write_text(json.dumps(fitted | {"labels": ["sleepy", *fitted["labels"][1:]]}))
    assert main(["pack", run, "--out", "other.tflite"]) == 0
    assert "runs/own is not taken for its evaluation" in capfd.readouterr().err
    assert read_model(Path("other.tflite")).temperature == 1.0
    assert main(["pack", run, "--evaluation", "runs/own", "--out", "third.tflite"]) == 65
    assert "the label sleepy, which" in capfd.readouterr().err
    assert not Path("third.tflite").exists()


def test_an_evaluation_of_other_recordings_is_not_taken_by_itself(
    road: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = str(road / "runs/mine")
    shutil.copytree(road / "runs/own", "runs/own")
    assert main(["pack", run, "--out", "mine.tflite"]) == 0
    assert "other recordings" not in capfd.readouterr().err
    note = Path("runs/own/fold-2/asked.json")
    asked = json.loads(note.read_text())
    note.write_text(json.dumps(asked | {"content of recordings": "of another project"}))
    assert main(["pack", run, "--out", "other.tflite"]) == 0
    assert "fold-2 is of other recordings than" in capfd.readouterr().err
    assert read_model(Path("other.tflite")).temperature == 1.0 != read_model(Path("mine.tflite")).temperature
    assert main(["pack", run, "--evaluation", "runs/own", "--out", "third.tflite"]) == 0  # asked for by name
    assert "the figures on the card are of those" in capfd.readouterr().err


def test_figures_in_noise_are_those_of_the_same_recordings(
    road: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(road)
    words = ["--data", "data", "--labels", "labels.txt", "--evaluation", "runs/own"]
    assert main(["robustness", *words, "--every", "12"]) == 0
    assert json.loads(capfd.readouterr().out)["recordings"] == 8
    shipped = str(Path(__file__).parents[2] / "models/affectd.tflite")
    assert main(["behavior", *words, "--model", shipped]) == 65
    assert "has other labels than the networks of runs/own" in capfd.readouterr().err


def test_the_device_says_what_the_file_knows(road: Path) -> None:
    labels = list(read_model(road / "new/mine.tflite").labels)
    assert sorted(labels) == sorted(LABELS)
    recording = str(road / "data/anna 0 0.wav")
    (found,) = map(json.loads, device(road, "classify", recording).stdout.splitlines())
    assert list(found["probabilities"]) == labels
    assert found["label"] in labels
    assert (found["valence"], found["arousal"]) == (None, None)
    assert "müde" in device(road, "timeline", DEMO, "--format", "svg").stdout
    for line in device(road, "run", "--source", DEMO).stdout.splitlines():
        jsonschema.Draft202012Validator(event_schema()).validate(json.loads(line))


@needs_mosquitto
def test_home_assistant_offers_the_labels(road: Path, tmp_path: Path) -> None:
    labels = list(read_model(road / "new/mine.tflite").labels)
    settings = {"MQTT_ENABLED": "true", "MQTT_HOST": "127.0.0.1", "DEVICE_ID": "kiosk-3"}
    with Broker(tmp_path) as broker, Subscriber(broker.port, "#") as subscriber:
        said = device(road, "run", "--source", DEMO, **settings, MQTT_PORT=broker.port).stdout.splitlines()
        subscriber.wait_for("affectd/kiosk-3/status", "stopped")
        (introduced, *_) = subscriber.payloads("homeassistant/device/affectd_kiosk-3/config")
        state = json.loads(subscriber.payloads("affectd/kiosk-3/state")[-1])
        assert subscriber.payloads("affectd/kiosk-3/event") == said
    assert json.loads(introduced)["cmps"]["emotion"]["options"] == [*labels, "uncertain"]
    assert state["label"] in (*labels, "uncertain", "none", None)
    assert (state["valence"], state["arousal"]) == (None, None)

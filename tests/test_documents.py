"""The documents say what the programs do: figures, commands and exit codes are read out of both and compared."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import jsonschema
import pytest

import accuracy_documents
import archive_documents
import cost_documents
import picture_documents
from affectd import cli
from affectd.errors import AffectdError
from affectd.events.event import event_schema
from affectd.events.sinks import JsonLines
from affectd.recognition.model_file import model_id, read_model
from affectd_train import cli as train_cli
from affectd_train.arguments import PROTOCOLS
from affectd_train.data.terms import DEVELOPMENT, OPEN_TERMS
from affectd_train.evaluation.unheard import unheard_by
from affectd_train.protocols.speaker_independent import UNHEARD
from affectd_train.reports.card_sections import pictures_beside
from affectd_train.reports.model_card import accuracy_table, markdown

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
README = (REPOSITORY / "README.md").read_text()
ACCURACY, GUIDE, MICROPHONE, TRAINING = (
    (DOCS / f"{name}.md").read_text() for name in ("accuracy", "user-guide", "microphone", "training")
)
MODEL = REPOSITORY / "models" / "affectd.tflite"
COMMERCIAL = REPOSITORY / "models" / "affectd-commercial.tflite"
PAGES = {
    model: page
    for model, page in (
        (MODEL, REPOSITORY / "models" / "README.md"),
        (COMMERCIAL, REPOSITORY / "models" / "commercial" / "README.md"),
    )
    if model.exists() or page.exists()
}
"""model file -> its card as a page"""


def commands(parser: argparse.ArgumentParser) -> list[str]:
    (choices,) = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return list(choices)


@pytest.mark.parametrize("model", PAGES, ids=lambda path: path.stem)
def test_the_model_card_is_the_one_inside_the_model_file(model: Path) -> None:
    page = PAGES[model]
    assert page.read_text() == markdown(read_model(model), pictures_beside(page.parent)) + "\n"


@pytest.mark.parametrize("model", PAGES, ids=lambda path: path.stem)
def test_a_model_file_is_small_and_the_readme_names_it(model: Path) -> None:
    assert model.stat().st_size <= 250_000
    assert model.name in README


def test_the_picture_shows_the_events_of_the_demo_and_loads_nothing() -> None:
    drawn = picture_documents.PICTURE.read_text()
    result = picture_documents.heard()
    command = [sys.executable, "-m", "affectd", "run", "--source", str(picture_documents.DEMO)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["label"] for event in result.events] == [event["label"] for event in told]
    assert [event["probability"] for event in result.events] == pytest.approx([event["probability"] for event in told])
    events = [f"{event['phase']} {event['end_seconds']:.2f} {event['label']}" for event in result.events]
    assert re.findall(r'data-event="([^"]+)"', drawn) == events, "python tests/picture_documents.py"
    again = picture_documents.picture(result)
    assert re.sub(r"[\d.]+", "", drawn.split("base64,")[0]) == re.sub(r"[\d.]+", "", again.split("base64,")[0])
    assert len(drawn) <= 60_000
    assert not re.search(r"(href|src)=.(?!data:)|url\(|@import", drawn)
    ElementTree.fromstring(drawn)


def test_pictures_beside_the_model_cards_are_small() -> None:
    sizes = {path: path.stat().st_size for path in REPOSITORY.glob("models/**/*.png")}
    assert all(size <= 60_000 for size in sizes.values()), sizes
    assert sum(sizes.values()) <= 250_000


def test_the_model_for_any_use_was_trained_on_corpora_of_open_terms() -> None:
    if COMMERCIAL not in PAGES:
        pytest.skip("models/affectd-commercial.tflite is not there")
    trained = read_model(COMMERCIAL).card["training"]
    assert set(trained["clips"]) == set(OPEN_TERMS)
    assert {speaker.split("-")[0] for speaker in trained["speakers"]} == set(OPEN_TERMS)
    right = read_model(COMMERCIAL).card["evaluation"]["int8"]["by_corpus"]
    assert f"{right['cremad']:.3f} on strangers in CREMA-D, {right['emodb']:.3f} in EmoDB" in ACCURACY


def test_the_accuracy_in_the_documents_is_that_of_the_model_card() -> None:
    assert accuracy_table(read_model(MODEL)) in ACCURACY
    card = read_model(MODEL).card
    best = card["evaluation"]["fold_mean"]["int8"]
    again = [one["fold_mean"]["int8"] for one in card["measured"]["repeats"].values()]
    assert f"| RAVDESS, 8 emotions | **{best:.3f}**; trained again {again[0]:.3f}, {again[1]:.3f} |" in README


def test_figures_of_corpora_that_were_never_heard_come_first_and_are_of_the_file() -> None:
    found, model = json.loads(accuracy_documents.UNHEARD.read_text()), read_model(MODEL)
    assert found["model"] == model_id(model)
    assert json.loads(accuracy_documents.UNHEARD_COMMERCIAL.read_text())["model"] == model_id(read_model(COMMERCIAL))
    assert {*found["corpora"]} == {*unheard_by(model)} - {"savee"} == {*DEVELOPMENT}
    settled = model.card["measured"]["settled"]
    assert {*settled["corpora"]} == {*UNHEARD}
    right = [corpus["settled"]["60"]["unweighted"] for corpus in settled["corpora"].values()]
    assert settled["mean_settled"]["60"]["unweighted"] == pytest.approx(sum(right) / 7, abs=1e-3)
    first = accuracy_documents.summary().splitlines()[2]
    assert f"a minute of a voice **{sum(right) / 7:.2f}**" in first


WRITTEN = [accuracy_documents, archive_documents, cost_documents]
"""Modules that write parts of pages from figures."""


@pytest.mark.parametrize("figures", WRITTEN, ids=lambda module: module.__name__)
def test_figures_in_the_documents_are_the_committed_ones(figures: ModuleType) -> None:
    assert {part for parts in figures.PAGES.values() for part in parts} == set(figures.PARTS)
    for page, parts in figures.PAGES.items():
        text = page.read_text()
        assert [name for _, name, _ in figures.PART.findall(text)] == parts
        assert figures.written(text) == text, f"python tests/{figures.__name__}.py"


def test_the_readme_has_accuracy_and_cost_in_four_rows_each() -> None:
    for part in (accuracy_documents.summary(), cost_documents.summary()):
        assert part in README
        assert len(part.splitlines()) == 2 + 4


def test_the_memory_for_the_microphone_is_that_of_the_page() -> None:
    few, many = cost_documents.PORTAUDIO_MB.split(" to ")
    assert f"was {few} MB more on a desktop, and {many} MB where" in (REPOSITORY / "docs" / "cost.md").read_text()


def test_a_bar_that_is_missed_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("benchmark", "benchmark_peers"):
        figures = cost_documents.figures(name)
        if name == "benchmark":
            figures["service"]["speech"]["cpu_percent"], figures["service"]["silence"]["cpu_percent"] = 0.6, 0.26
        (tmp_path / f"{name}.json").write_text(json.dumps(figures))
    monkeypatch.setattr(cost_documents, "SCRIPTS", tmp_path)
    speech, silence = cost_documents.bars().splitlines()[2:4]
    assert speech.endswith("| 0.60 | at most 0.6 | yes |")
    assert silence.endswith("| 0.26 | at most 0.25 | **no** |")


def test_an_archive_that_misses_its_bars_says_so_and_the_driver_limits_a_cluster() -> None:
    found = json.loads(archive_documents.COST.read_text())
    seconds_of = {kind: [run["seconds"] for run in found["runs"] if run["kind"] == kind] for kind in ("ray 1", "ray 2")}
    is_slow = sum(seconds_of["ray 1"]) < 2 * 0.85 * sum(seconds_of["ray 2"])
    is_large = max(run["worker_mb"] for run in found["runs"] if run["kind"].startswith("ray")) > 250
    assert archive_documents.as_text(found).count("**missed**") == is_slow + is_large
    plan = archive_documents.Plan(archive_documents.Figures(found), 180)
    n, took = plan.most_nodes(), archive_documents.RECORDINGS * plan.driver
    assert plan.took(int(n / 2))[1] > 0.95
    assert plan.took(int(n * 100))[0] == pytest.approx(took, rel=0.2)
    for seconds, mb, n_missed in ((1.0, 249, 0), (1000.0, 251, 2)):
        for run in found["runs"]:
            if run["kind"] == "ray 2":
                run |= {"seconds": seconds, "worker_mb": mb}
        assert archive_documents.as_text(found).count("**missed**") == n_missed


def test_every_command_is_in_the_documents() -> None:
    for command in commands(cli._parser(io.StringIO())):
        assert f"affectd {command}" in GUIDE, command
    for command in commands(train_cli._parser()):
        assert f"affectd-train {command}" in TRAINING, command


def test_every_protocol_is_in_the_documents() -> None:
    table = TRAINING.partition("\n## Protocols\n\n")[2].partition("\n\n")[0]
    for protocol in PROTOCOLS:
        assert f"`{protocol}`" in table, protocol


def test_every_exit_code_is_in_the_user_guide() -> None:
    codes = {error.exit_code for error in (AffectdError, *AffectdError.__subclasses__())} | {0}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", GUIDE, re.MULTILINE)} == codes


@pytest.mark.parametrize(
    ("page", "kind"),
    [(README, "emotion"), (GUIDE, "emotion"), (MICROPHONE, "status")],
    ids=["readme", "guide", "status"],
)
def test_the_events_in_the_documents_have_the_fields_of_the_schema(page: str, kind: str) -> None:
    (event,) = (json.loads(block) for block in re.findall(r"```json\n(\{\"schema.*?)```", page, re.DOTALL))
    assert event["type"] == kind
    schema = event_schema()
    jsonschema.validate(event, schema)
    assert set(event) == {*schema["required"], *(schema if kind == "emotion" else schema["else"])["then"]["required"]}


def test_the_answer_to_a_recording_in_the_user_guide_is_the_one_of_the_demo() -> None:
    (example,) = re.findall(r"```json\n(\{\"path.*?)```", GUIDE, re.DOTALL)
    out = io.StringIO()
    options = cli._parser(out).parse_args(["classify", str(REPOSITORY / "tests" / "data" / "demo.wav")])
    assert options.command(options, JsonLines(out)) == 0
    given, printed = json.loads(example), json.loads(out.getvalue())
    assert list(given) == list(printed)
    assert [given["label"], list(given["probabilities"])] == [printed["label"], list(printed["probabilities"])]
    assert given["probabilities"] == pytest.approx(printed["probabilities"], abs=0.01)


@pytest.mark.parametrize("page", [README, GUIDE], ids=["readme", "guide"])
def test_what_people_see_in_a_document_is_what_they_see_of_the_demo(page: str) -> None:
    ((verb, text),) = re.findall(r"```console\n\$ \S*affectd (run --source|classify) .*\n((?:.*\n)*?)```", page)
    command = [sys.executable, "-m", "affectd", *verb.split(), "demo.wav", "--format", "text"]
    folder, environment = REPOSITORY / "tests" / "data", {**os.environ, "COLUMNS": "80"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder, env=environment)
    lines, printed = text.splitlines(), done.stdout.splitlines()
    assert lines[0].split() == printed[0].split()
    first = 2 if verb.startswith("run") else 1  # after the time, or the name of the recording
    labels = [line.split()[first : first + 3] for line in printed[1:]]
    assert [line.split()[first : first + 3] for line in lines[1:]] == labels, "phase or label, and best guess"
    assert len({len(line) for line in lines}) == 1, "aligned"


def test_the_timeline_in_the_user_guide_is_the_one_of_the_demo() -> None:
    (example,) = re.findall(r"```console\n\$ affectd timeline .*\n((?:.*\n)*?)```", GUIDE)
    command = [sys.executable, "-m", "affectd", "timeline", "demo.wav"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY / "tests" / "data")
    given, printed = ([line.split()[:4] for line in text.splitlines()[1:]] for text in (example, done.stdout))
    assert given == printed


def test_every_field_of_an_event_is_explained() -> None:
    section = GUIDE.split("\n## Events\n")[1].split("\n## ")[0]
    named = {
        name for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    schema = event_schema()
    assert named == {*schema["required"], *schema["then"]["required"]} - {"type"}


def test_every_state_of_the_microphone_and_every_reason_is_explained() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", MICROPHONE, re.MULTILINE))
    properties = event_schema()["properties"]
    assert {*properties["state"]["enum"], *properties["reason"]["enum"]} == rows - {"state", "reason"}


def test_the_model_files_name_no_folder_of_a_build_machine() -> None:
    for model in PAGES:
        assert not re.search(rb"/(work|root|home|tmp)/", model.read_bytes())

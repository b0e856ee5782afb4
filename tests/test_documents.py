"""The documents say what the programs do: figures, commands and exit codes are read out of both and compared."""

from __future__ import annotations

import argparse
import io
import json
import re
from pathlib import Path

import jsonschema
import pytest

import cost_documents
from affectd import cli
from affectd.errors import AffectdError
from affectd.events.event import event_schema
from affectd.recognition.model_file import read_model
from affectd_train import cli as train_cli
from affectd_train.data.terms import OPEN_TERMS
from affectd_train.reports.card_sections import pictures_beside
from affectd_train.reports.model_card import accuracy_table, markdown

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()
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
    assert f"{right['cremad']:.3f} on strangers in CREMA-D, {right['emodb']:.3f} in EmoDB" in README


def test_the_accuracy_in_the_readme_is_that_of_the_model_card() -> None:
    assert accuracy_table(read_model(MODEL)) in README


def test_the_cost_in_the_readme_is_that_of_the_committed_figures() -> None:
    assert [name for _, name, _ in cost_documents.PART.findall(README)] == [*cost_documents.PARTS]
    assert cost_documents.written(README) == README, "python tests/cost_documents.py"


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


def test_every_command_is_in_the_readme() -> None:
    for command in commands(cli._parser(io.StringIO())):
        assert f"affectd {command}" in README, command
    for command in commands(train_cli._parser()):
        assert f"affectd-train {command}" in README, command


def test_every_protocol_is_in_the_readme() -> None:
    for protocol in train_cli.PROTOCOLS:
        assert f"`{protocol}`" in README or f"--protocol {protocol}" in README, protocol


def test_every_exit_code_is_in_the_readme() -> None:
    codes = {error.exit_code for error in AffectdError.__subclasses__()} | {0}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)} == codes


def test_the_events_in_the_readme_have_the_fields_of_the_schema() -> None:
    events = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", README, re.DOTALL)]
    assert [event["type"] for event in events] == ["emotion", "status"]
    schema = event_schema()
    for event, kind in zip(events, ("then", "else"), strict=True):
        jsonschema.validate(event, schema)
        assert set(event) == {*schema["required"], *schema[kind]["required"]}


def test_the_documents_name_no_folder_of_a_build_machine() -> None:
    for path in [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("models/**/*.md")]:
        assert not re.search(r"/(work|root|home|tmp)/", path.read_text()), path
    for model in PAGES:
        assert not re.search(rb"/(work|root|home|tmp)/", model.read_bytes())

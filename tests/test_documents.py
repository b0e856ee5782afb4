"""The documents say what the programs do: figures, commands and exit codes are read out of both and compared."""

from __future__ import annotations

import argparse
import io
import json
import re
from pathlib import Path

import jsonschema

from affectd import cli
from affectd.errors import AffectdError
from affectd.events import event_schema
from affectd.model_file import read_model
from affectd_train import cli as train_cli
from affectd_train.report import accuracy_table, markdown

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()
MODEL = REPOSITORY / "models" / "affectd.tflite"


def commands(parser: argparse.ArgumentParser) -> list[str]:
    (choices,) = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return list(choices)


def test_the_model_card_is_the_one_inside_the_model_file() -> None:
    assert (REPOSITORY / "models" / "README.md").read_text() == markdown(read_model(MODEL)) + "\n"


def test_the_accuracy_in_the_readme_is_that_of_the_model_card() -> None:
    assert accuracy_table(read_model(MODEL)) in README


def test_every_command_is_in_the_readme() -> None:
    for command in commands(cli._parser(io.StringIO())):
        assert f"affectd {command}" in README, command
    for command in commands(train_cli._parser()):
        assert f"affectd-train {command}" in README, command


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
    for path in [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("models/*.md")]:
        assert not re.search(r"/(work|root|home|tmp)/", path.read_text()), path
    assert not re.search(rb"/(work|root|home|tmp)/", MODEL.read_bytes())

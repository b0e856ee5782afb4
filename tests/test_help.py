"""The help of every command: what it is for, examples that run, exit codes, every number of the recipe."""

from __future__ import annotations

import argparse
import importlib.util
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from affectd import cli, errors
from affectd.errors import UsageError
from affectd.program.help import PAGES, Page
from affectd.recognition.model_file import write_model
from affectd_train import cli as train_cli
from affectd_train import help as train_help
from affectd_train.training.recipe import Recipe, documented_numbers, with_settings
from broker import Broker
from documents import REPOSITORY, parts
from tiny_model import place_model

PARSERS = {"affectd": lambda: cli._parser(io.StringIO()), "affectd-train": train_cli._parser}
ALL = PAGES | train_help.PAGES
NEEDS = re.compile(r"affectd (run$|watch$|watch --url|record)")
"""Examples that need a microphone, or another device."""
OF_OTHER_TESTS = ("affectd bench", "affectd forget", "affectd baseline", "affectd personalize")


def commands() -> dict[str, argparse.ArgumentParser]:
    """Every program and command, as it is typed."""
    found = {}
    for name, make in PARSERS.items():
        parser = make()
        found[name] = parser
        (actions,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
        found |= {f"{name} {command}": sub for command, sub in actions.choices.items()}
    return found


def examples(pages: dict[str, Page]) -> list[tuple[str, str]]:
    return [(name, example.command) for name, page in pages.items() for example in page.examples]


def test_every_command_says_what_it_is_for_with_examples_and_exit_codes() -> None:
    assert set(ALL) == set(commands())
    for name, page in ALL.items():
        assert page.about.endswith("."), name
        assert page.examples, name
        assert all(example.command.find(name.split()[0]) >= 0 for example in page.examples), name
        if " " in name:
            assert any(f"{name} " in f"{example.command} " for example in page.examples), name
        assert {64, 70} <= {code for code, _ in page.codes}, name


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_help_fits_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for name, parser in commands().items():
        text = parser.format_help()
        page = ALL[name]
        # What is to be typed is not cut, and neither are names that are longer than a line.
        kept = [f"  {example.command}" for example in page.examples]
        long = [line for line in text.splitlines() if len(line) > max(columns, 80) and line not in kept]
        assert not long, (name, long)
        assert page.about.split()[-1] in text
        for code, words in page.codes:
            assert f"  {code:3}  {words}" in text


def test_help_says_what_each_exit_code_means() -> None:
    text = commands()["affectd"].format_help()
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.AffectdError)]
    for kind in kinds:
        assert f"  {kind.exit_code:3}  " in text, kind


@pytest.mark.parametrize(("name", "example"), examples(ALL), ids=lambda value: value)
def test_every_example_is_understood(name: str, example: str) -> None:
    for program, *arguments in parts(example):
        assert callable(PARSERS[program]().parse_args(arguments).command)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a user has it: recordings, and the programs on the path."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "talks").mkdir()
    demo = REPOSITORY / "tests" / "data" / "demo.wav"
    shutil.copy(demo, folder / "talks" / "monday.wav")
    with wave.open(str(demo)) as whole, wave.open(str(folder / "talk.wav"), "wb") as first:
        first.setparams(whole.getparams())
        first.writeframes(whole.readframes(4 * whole.getframerate()))  # some play it in real time
    (folder / "models").mkdir()
    shutil.copy(REPOSITORY / "models" / "affectd.tflite", folder / "models")
    write_model(folder / "place.tflite", place_model())
    (folder / "bin").mkdir()
    for program, module in (("affectd", "affectd"), ("affectd-train", "affectd_train")):
        path = folder / "bin" / program
        path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m {module} "$@"\n')
        path.chmod(0o755)
    return folder


def run(folder: Path, example: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AFFECTD_")}
    environment |= {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "STATE_DIRECTORY": str(folder / "state")}
    options = {"capture_output": True, "text": True, "check": False, "timeout": 300}
    return subprocess.run(example, shell=True, cwd=folder, env=environment | variables, **options)


QUICK = [
    (name, example) for name, example in examples(PAGES) if not NEEDS.match(example) and name not in OF_OTHER_TESTS
]


@pytest.mark.parametrize(("name", "example"), QUICK, ids=lambda value: value)
def test_every_quick_example_runs(folder: Path, name: str, example: str) -> None:
    done = run(folder, example)
    allowed = {0, 69} if "doctor" in example or "devices" in example else {0}  # as this machine is
    assert done.returncode in allowed, done.stderr
    assert "Traceback" not in done.stderr
    if ">" in example:
        assert (folder / example.split()[-1]).read_text().count("\n") > 1


def test_the_examples_of_a_place_run_in_their_order(folder: Path) -> None:
    model = {"AFFECTD_MODEL_PATH": str(folder / "place.tflite"), "AFFECTD_DEVICE_ID": "kitchen"}
    for example in PAGES["affectd baseline"].examples:
        done = run(folder, example.command, **model)
        assert (done.returncode, done.stderr) == (0, ""), example
        assert done.stdout.startswith("kitchen: ")


@pytest.mark.skipif(importlib.util.find_spec("paho") is None, reason="paho-mqtt is not installed")
@pytest.mark.skipif(not shutil.which("mosquitto"), reason="mosquitto is not installed")
def test_the_example_of_a_device_that_is_forgotten_runs(folder: Path, tmp_path: Path) -> None:
    with Broker(tmp_path) as broker:
        settings = {"MQTT_ENABLED": "true", "MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(broker.port)}
        for example in PAGES["affectd forget"].examples:
            done = run(folder, example.command, **{f"AFFECTD_{key}": value for key, value in settings.items()})
            assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_examples_of_a_benchmark_run_in_their_order(folder: Path) -> None:
    for example in PAGES["affectd bench"].examples:
        assert run(folder, example.command).returncode == 0, example


def test_the_examples_of_a_card_run(folder: Path) -> None:
    for example in train_help.PAGES["affectd-train report"].examples:
        done = run(folder, example.command)
        assert done.returncode == 0, done.stderr
    assert (folder / "card.md").read_text().startswith("# Model card")
    assert "<html" in (folder / "card.html").read_text()


def test_every_number_that_set_changes_is_listed_with_its_default_and_range() -> None:
    for name in ("affectd-train fit", "affectd-train evaluate"):
        text = commands()[name].format_help()
        listed = re.findall(r"^  (\w+)=(\S+)  \((int|float), (.*?) (?:to (.*?)|or more)\)$", text, re.MULTILINE)
        known = {key for key, value in vars(Recipe()).items() if isinstance(value, int | float)}
        assert {key for key, *_ in listed} == known
        for key, default, kind, lowest, highest in listed:
            assert getattr(with_settings(Recipe(), [f"{key}={default}"]), key) == getattr(Recipe(), key)
            assert type(getattr(Recipe(), key)).__name__ == kind
            with_settings(Recipe(), [f"{key}={lowest}"])
            with pytest.raises(UsageError, match=f"must be {lowest} or more"):
                with_settings(Recipe(), [f"{key}={int(lowest) - 1}"])
            if highest:
                with_settings(Recipe(), [f"{key}={highest}"])
                with pytest.raises(UsageError, match=f"must be {highest} or less"):
                    with_settings(Recipe(), [f"{key}={int(highest) + 1}"])
    for name in ("affectd-train", "affectd-train report"):
        assert "--set KEY=VALUE" not in commands()[name].format_help()


def test_every_number_of_the_recipe_has_a_sentence() -> None:
    for number in documented_numbers():
        assert number.words.endswith("."), number.key
        assert "\n" not in number.words
        assert not number.words.startswith(" ")

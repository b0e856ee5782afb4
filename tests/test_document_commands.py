"""Every command in the Markdown pages is one that the programs understand; what is quick is run."""

from __future__ import annotations

import argparse
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from affectd import cli
from affectd.errors import UsageError
from affectd_train import cli as train_cli
from documents import PAGES, REPOSITORY, commands, identifier, parts, spans

OTHERS = {
    "systemd-ask-password",
    *("apt", "arecord", "cd", "cp", "ffmpeg", "for", "journalctl", "mosquitto_passwd", "mosquitto_pub"),
    *("install", "npm", "curl", "ssh", "openssl", "printf", "sha256sum", "systemctl", "systemd-analyze", "tar"),
    *("do", "done", "less", "mkdir", "mosquitto_sub", "nano", "python3"),
}
"""Programs of the system that the pages use."""
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
ARM_64 = {"platform_machine": "aarch64", "python_version": "3.11"}
EXAMPLES = ("affectd classify *.wav", "affectd run --source talk.wav", "affectd model --self-test")
RUN = re.compile(r"(\w+=\S+ )*affectd (run --source talk|classify|model|config|--)|cp scripts/")
"""What takes a second or less and needs neither a microphone nor a broker."""


def check_of(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
    # A trailing "..." stands for more of the same.
    options = parser.parse_args([word for word in arguments if word != "..."])
    assert callable(options.command)


def check(words: list[str]) -> None:
    """Fail unless this simple command is one that a reader can type."""
    program, *arguments = words
    name = program.removeprefix(".venv/bin/").removeprefix(".venv-dev/bin/")
    if name == "affectd":
        check_of(cli._parser(io.StringIO()), arguments)
    elif name == "affectd-train":
        check_of(train_cli._parser(), arguments)
    elif name == "pip":
        check_pip(arguments)
    elif name == "python" and arguments[0] != "-m":
        assert (REPOSITORY / arguments[0]).is_file()
    elif name.startswith("scripts/"):
        check_script(name, arguments)
    elif name == "sh":
        check_script(arguments[0].partition("affectd/")[2], arguments[1:])
    elif name in ("cp", "systemd-analyze", ".", "man"):
        for path in arguments:
            ours = path.removeprefix(".venv/")
            assert not ours.startswith(("scripts/", "share/")) or (REPOSITORY / ours).is_file(), path
    else:
        assert name in OTHERS, words


def check_pip(arguments: list[str]) -> None:
    """Extras and requirements are those of the project."""
    assert arguments[0] in ("install", "download", "wheel")
    extras = PROJECT["optional-dependencies"]
    if arguments[0] == "download":
        # All that `install-edge` asks for: without a network nothing else can be had.
        needed = map(Requirement, [*PROJECT["dependencies"], *extras["interpreter"], *extras["mqtt"]])
        asked = {Requirement(word).name for word in arguments if re.fullmatch(r"[\w-]+[<>=].*", word)}
        assert asked == {one.name for one in needed if not one.marker or one.marker.evaluate(ARM_64)}
    requirements = [*PROJECT["dependencies"], *(line for lines in extras.values() for line in lines)]
    for word in arguments[1:]:
        if match := re.fullmatch(r"\.\[(.*)\]", word):
            assert set(match[1].split(",")) <= set(extras)
        elif re.fullmatch(r"[\w-]+[<>=].*", word):
            assert any(line.split(";")[0] == word for line in requirements), word


def check_script(name: str, arguments: list[str]) -> None:
    """The script is there, may be run, and knows the options."""
    path = REPOSITORY / name
    assert os.access(path, os.X_OK) or path.suffix == ".py", name
    if name == "scripts/run":
        check_of(cli._parser(io.StringIO()), ["run", *arguments])
        return
    known = path.read_text()
    if name == "scripts/test":
        known += (REPOSITORY / "tests" / "conftest.py").read_text()
    for word in arguments:
        if word.startswith("--"):
            assert word.split("=")[0] in known, (name, word)
        elif "/" in word:
            assert (REPOSITORY / word).exists(), (name, word)


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_every_command_in_a_block_is_understood(page: Path) -> None:
    for command in commands(page):
        for words in parts(command):
            check(words)


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_every_command_in_a_sentence_exists_and_has_these_options(page: Path) -> None:
    parsers = {"affectd": cli._parser(io.StringIO()), "affectd-train": train_cli._parser()}
    for span in spans(page):
        words = span.removeprefix("sudo ").removeprefix(".venv/bin/").split()
        if words[0] in parsers and len(words) > 1:
            (choices,) = (
                action.choices
                for action in parsers[words[0]]._actions
                if isinstance(action, argparse._SubParsersAction)
            )
            assert words[1] in choices, span
            known = choices[words[1]]._option_string_actions
            assert {word for word in words[2:] if word.startswith("--")} <= set(known), span
        elif words[0].startswith("scripts/") and len(words) > 1:
            assert (REPOSITORY / words[0]).is_file(), span


@pytest.mark.parametrize(
    "wrong",
    [
        "affectd listen",
        "affectd run --sauce talk.wav",
        "afectd run",
        "affectd-train fit --data DATA --epochs 3",
        "scripts/instal-edge",
        "scripts/install-edge --wheels wheels",
        'pip install ".[all]"',
        "pip download 'numpy>=1.0'",
        "cp scripts/affectd.ini my.toml",
    ],
)
def test_a_wrong_command_is_noticed(wrong: str) -> None:
    with pytest.raises((AssertionError, SystemExit, UsageError)):
        check(parts(wrong)[0])


def test_the_quick_commands_run(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    shutil.copy(REPOSITORY / "scripts" / "affectd.toml", tmp_path / "scripts")
    (tmp_path / "tests" / "data").mkdir(parents=True)
    for copy in ("talk.wav", "tests/data/demo.wav"):
        shutil.copy(REPOSITORY / "tests" / "data" / "demo.wav", tmp_path / copy)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "affectd").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m affectd "$@"\n')
    (programs / "affectd").chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    quick = [command for page in PAGES for command in commands(page) if RUN.match(command)]
    # `affectd run --config my.toml` listens to a microphone, which a test has not.
    quick = [command for command in quick if "affectd run --config" not in command]
    # What another page makes, with the commands before it: tests/test_own_network.py.
    quick = [command for command in quick if "--model mine.tflite" not in command]
    assert set(EXAMPLES) <= set(quick)
    for command in quick:
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, (command, done.stderr)

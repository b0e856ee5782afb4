"""The manual pages and the completions: they say what the parsers do, and `man` and shells take them."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import command_documents
from command_documents import PLACES, PROGRAMS, SHARE, commands
from terminals import at_terminal

MANUALS = sorted((SHARE / "man" / "man1").glob("*.1"))
# A date would be another in every build.
DATE = re.compile(r'.*WARNING: missing date, using "": TH\n')


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not shutil.which(program), reason=f"{program} is not installed")


def output(*command: str | Path) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_they_are_what_the_parsers_say() -> None:
    written = dict(command_documents.files())
    assert {path for path in SHARE.rglob("*") if path.is_file()} == set(written)
    for path, text in written.items():
        assert path.read_text() == text, f"{path}: run python tests/command_documents.py"


@pytest.mark.parametrize("page", MANUALS, ids=lambda page: page.name)
@needs("mandoc")
def test_a_page_is_clean(page: Path) -> None:
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "style", page], capture_output=True, text=True, check=False)
    assert DATE.sub("", done.stdout) == ""


@pytest.mark.parametrize("page", MANUALS, ids=lambda page: page.name)
@needs("man")
@needs("groff")
def test_man_shows_a_page_without_a_warning(page: Path) -> None:
    command = ["man", "--warnings", "-E", "UTF-8", "-l", page]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    shown = re.sub(r".\x08", "", done.stdout)
    for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "EXAMPLES", "EXIT STATUS", "SEE ALSO"):
        assert f"\n{section}\n" in f"\n{shown}", section


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_page_has_every_option_and_every_word_to_choose(program: str) -> None:
    text = (SHARE / "man" / "man1" / f"{program}.1").read_text().replace(r"\-", "-")
    for name, sub in commands(PROGRAMS[program][0]()).items():
        _, _, rest = text.partition(f"\n.SS {name}\n")
        described = rest.partition("\n.SS ")[0]
        for action in sub._actions:
            if isinstance(action, argparse._HelpAction):
                continue
            for option in action.option_strings:
                assert option in described, (name, option)
            for choice in action.choices or ():
                assert str(choice) in described, (name, choice)


COMPLETIONS = [
    ("affectd", "cl", {"classify"}),
    ("affectd", "classify --to", {"--together"}),
    ("affectd", "run --format ", {"text", "json", "csv"}),
    ("affectd", "run --source ta", {"talk.wav"}),
    ("affectd", "classify ta", {"talk.wav"}),
    ("affectd-train", "qu", {"quantize"}),
    ("affectd-train", "evaluate --protocol emo", {"emodb-loso"}),
]
# Without what is expected, whose order differs from one process to the next.
TYPED = [f"{program} {typed}" for program, typed, _ in COMPLETIONS]

BASH = """
source "$1"
COMP_LINE=$2; COMP_POINT=${#COMP_LINE}
read -ra COMP_WORDS <<<"$COMP_LINE"
[[ $COMP_LINE == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
function=$(complete -p "${COMP_WORDS[0]}" | sed 's/.*-F \\([^ ]*\\).*/\\1/')
compopt() { :; }  # there is no completion under way whose options could be set
"$function" "${COMP_WORDS[0]}" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("completed")
    (folder / "talk.wav").touch()
    return folder


def of(program: str, shell: str) -> str:
    return str(SHARE / PLACES[shell].format(program))


@pytest.mark.parametrize(("program", "typed", "expected"), COMPLETIONS, ids=TYPED)
def test_bash_completes(folder: Path, program: str, typed: str, expected: set[str]) -> None:
    command = ["bash", "--norc", "-c", BASH, "bash", of(program, "bash"), f"{program} {typed}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert {word.strip() for word in done.stdout.split()} == expected


@pytest.mark.parametrize(("program", "typed", "expected"), COMPLETIONS, ids=TYPED)
@needs("fish")
def test_fish_completes(folder: Path, program: str, typed: str, expected: set[str]) -> None:
    code = f"source {of(program, 'fish')}; complete -C '{program} {typed}'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", code], capture_output=True, text=True, cwd=folder, check=False, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert {line.split("\t")[0] for line in done.stdout.splitlines()} == expected


@pytest.mark.parametrize(("program", "typed", "expected"), COMPLETIONS, ids=TYPED)
@needs("zsh")
def test_zsh_completes(folder: Path, program: str, typed: str, expected: set[str]) -> None:
    # A terminal of its own, in which a Tab is typed and the line that is there then is printed.
    where = Path(of(program, "zsh")).parent
    code = f"""
        zmodload zsh/zpty
        zpty shell zsh -f -i
        zpty -w shell 'PS1= PS2= RPS1=; fpath=({where} $fpath); autoload -Uz compinit; compinit -D -u; bindkey -e'
        zpty -w shell 'show() {{ print -r -- "<<$BUFFER>>"; exit }}; zle -N show; bindkey "^X^X" show'
        zpty -w shell 'LISTMAX=1000; setopt no_beep; print rea""dy'
        zpty -r shell line '*ready*'
        zpty -n -w shell $'{program} {typed}\\t\\x18\\x18'
        while zpty -r shell line; do print -rn -- $line; done
    """
    code_, shown, _ = at_terminal(["zsh", "-f", "-c", code], columns=200, cwd=folder)
    assert code_ == 0, shown
    (word,) = expected if len(expected) == 1 else ("",)
    if word:
        completed = " ".join([program, *typed.split()[:-1], word])
        assert f"<<{completed}" in shown
    else:
        assert all(word in shown for word in expected)

"""Write the manual pages and the completions for shells into ``share/``, from the parsers and the words of the help.

Run it after a change of a command: ``python tests/command_documents.py``. The wheel carries ``share/``, so that shells
and ``man`` find what is in it; neither the device nor the desktop needs shtab.
"""

from __future__ import annotations

import argparse
import io
import re
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

import shtab

from affectd import __version__, cli
from affectd.program.help import PAGES, Page
from affectd_train import cli as train_cli
from affectd_train import help as train_help
from affectd_train.training.recipe import documented_numbers

SHARE = Path(__file__).parents[1] / "share"
PLACES = {
    "bash": "bash-completion/completions/{}",
    "fish": "fish/vendor_completions.d/{}.fish",
    "zsh": "zsh/site-functions/_{}",
}
"""Shell -> where it looks for the completions of a program."""
PROGRAMS = {
    "affectd": (lambda: cli._parser(io.StringIO()), PAGES, "speech emotion recognition: sound in, emotion events out"),
    "affectd-train": (train_cli._parser, train_help.PAGES, "make model files for affectd from recordings"),
}
BESIDES = {
    "affectd": {
        "FILES": [
            ("/etc/affectd/affectd.toml", "The settings, unless --config names another file."),
            ("$STATE_DIRECTORY, else ~/.local/state/affectd", "What is kept: events that wait, what was learned."),
        ],
        "ENVIRONMENT": [
            ("AFFECTD_SECTION_KEY", "A setting, such as AFFECTD_GATE_MARGIN_DB; it wins over the file of settings."),
        ],
    },
    "affectd-train": {
        "NUMBERS FOR --set": [
            (f"{key}={default:g}", f"{words} ({kind})") for key, kind, default, _, _, words in documented_numbers()
        ],
    },
}
ARE_PATHS = ("FILE", "PATH", "WAV", "DIR")


def files() -> Iterator[tuple[Path, str]]:
    """Yield each file of ``share/`` with what is to be in it."""
    for program, (make, pages, name) in PROGRAMS.items():
        yield SHARE / "man" / "man1" / f"{program}.1", manual(program, make(), pages, name)
        for shell, place in PLACES.items():
            yield SHARE / place.format(program), completion(make(), shell)


def completion(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the completion of a program for a shell."""
    for command in (parser, *commands(parser).values()):
        for action in command._actions:
            named = re.split(r"\W", str(action.metavar))
            if action.type is Path or set(named) & set(ARE_PATHS):
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    return shtab.complete(parser, shell).rstrip() + "\n"


def commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the commands of a program by their names."""
    (found,) = (action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(found)


def manual(program: str, parser: argparse.ArgumentParser, pages: dict[str, Page], name: str) -> str:
    """Return the manual page of a program, in the man(7) language."""
    about = pages[program]
    other = "affectd" if program != "affectd" else "affectd-train"
    lines = [
        r".\" Written by tests/command_documents.py.",
        f'.TH {program.upper()} 1 "" "affectd {__version__}" "User Commands"',
        ".SH NAME",
        f"{program} \\- {plain(name)}",
        ".SH SYNOPSIS",
        *synopsis(program, parser),
        ".SH DESCRIPTION",
        plain(about.about),
        *section(".SH", "OPTIONS", options(parser)),
        ".SH COMMANDS",
    ]
    for command, sub in commands(parser).items():
        page = pages[f"{program} {command}"]
        lines += [f".SS {command}", *synopsis(f"{program} {command}", sub), ".PP", plain(page.about)]
        lines += [*options(sub, help_too=False), ".PP", "Examples:", *examples(page)]
    for title, items in BESIDES[program].items():
        lines += section(".SH", title, described(items))
    lines += section(".SH", "EXAMPLES", examples(about))
    codes = ((0, "done"), *about.codes)
    ends = [(str(code), f"{words[:1].upper()}{words[1:]}.") for code, words in codes]
    lines += section(".SH", "EXIT STATUS", described(ends))
    lines += [".SH SEE ALSO", f".BR {other} (1)"]
    return "\n".join(lines) + "\n"


def section(kind: str, title: str, lines: Iterable[str]) -> list[str]:
    """Return a section with its heading, or nothing."""
    found = list(lines)
    return [f"{kind} {escaped(title)}", *found] if found else []


def synopsis(command: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield how a command is called."""
    yield f".B {escaped(command)}"
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        said = " ".join(part for part in (bold(max(action.option_strings, key=len, default="")), value(action)) if part)
        yield said if action.required or (not action.option_strings and action.nargs != "?") else f"[{said}]"


def options(parser: argparse.ArgumentParser, *, help_too: bool = True) -> Iterator[str]:
    """Yield the options of a command, each with what it does; --help, which every command has, only once."""
    formatter = parser._get_formatter()
    for action in parser._actions:
        is_help = isinstance(action, argparse._HelpAction)
        if isinstance(action, argparse._SubParsersAction) or (is_help and not help_too):
            continue
        names = ", ".join(map(bold, action.option_strings))
        yield ".TP"
        yield " ".join(part for part in (names, value(action)) if part)
        yield plain(formatter._expand_help(action))


def value(action: argparse.Action) -> str:
    """Return what is typed for an option or an argument: its name in italics, or one of its words."""
    if action.nargs == 0:
        return ""
    if action.choices is not None and action.metavar is None:
        return "|".join(map(bold, action.choices))
    name = rf"\fI{escaped(str(action.metavar or (action.dest.upper() if action.option_strings else action.dest)))}\fR"
    return f"{name} ..." if action.nargs in ("+", argparse.PARSER) else name


def examples(page: Page) -> Iterator[str]:
    """Yield the examples of a command."""
    for example in page.examples:
        yield from (".TP", bold(example.command), plain(f"{example.words[0].upper()}{example.words[1:]}."))


def described(items: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield names, each with what it is."""
    for name, words in items:
        yield from (".TP", bold(name), plain(words))


def bold(text: str) -> str:
    """Return text as it is to be typed."""
    return rf"\fB{escaped(text)}\fR" if text else ""


def plain(text: str) -> str:
    """Return text in short lines that the formatter takes for nothing but text."""
    return "\n".join(map(escaped, textwrap.wrap(text, 75, break_on_hyphens=False, break_long_words=False)))


def escaped(line: str) -> str:
    """Return a line that the formatter takes for nothing but text."""
    safe = line.replace("\\", r"\e").replace("-", r"\-").replace("~", r"\(ti").replace("^", r"\(ha")
    return rf"\&{safe}" if safe[:1] in (".", "'") else safe


if __name__ == "__main__":
    for path, text in files():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

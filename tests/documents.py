"""The Markdown pages of the repository, taken apart for tests."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PAGES = sorted(
    [
        *REPOSITORY.glob("*.md"),
        *(p for folder in ("docs", "edge", "models") for p in REPOSITORY.glob(f"{folder}/**/*.md")),
    ]
)
_FENCE = re.compile(r"^( *)```(\S*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def identifier(page: Path) -> str:
    """Name a page in the report of a test."""
    return str(page.relative_to(REPOSITORY))


def blocks(page: Path, language: str) -> list[str]:
    """Return the blocks of code in this language."""
    return [text for _, name, text in _FENCE.findall(page.read_text()) if name == language]


def prose(page: Path) -> str:
    """Return a page without its blocks of code."""
    return _FENCE.sub("", page.read_text())


def spans(page: Path) -> list[str]:
    """Return the pieces of code between single backticks."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(page))]


def links(page: Path) -> list[str]:
    """Return the targets of links and pictures, in Markdown and in HTML."""
    text = re.sub(r"`[^`]*`", "", prose(page))
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"(?:href|src|srcset)=\"([^\"]+)\"", text)


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings, as GitHub and mkdocs make them."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands(page: Path) -> list[str]:
    """Return the commands in blocks of shell, each as one line without its comment."""
    lines = "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    stripped = (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines)
    return [" ".join(line.split()) for line in stripped if line]


def parts(command: str) -> list[list[str]]:
    """Return each simple command of a line as words, without redirections, variables set before it, and sudo."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|;&<>")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    words = iter(lexer)
    for word in words:
        if set(word) <= set("|;&"):
            found.append([])
        elif set(word) <= set("<>"):
            next(words)
        elif found[-1] or not (re.fullmatch(r"\w+=.*", word) or word == "sudo"):
            found[-1].append(word)
    return [part for part in found if part]

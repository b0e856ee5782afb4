"""Write what the documents say about the settings: the sample file and the table of the reference.

Run it after a change of ``edge/affectd/config/sections.py``: ``python tests/config_documents.py``.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from affectd.config import sections as config
from affectd.config.fields import allowed, toml

REPOSITORY = Path(__file__).parents[1]
SAMPLE = REPOSITORY / "scripts" / "affectd.toml"
PAGE = REPOSITORY / "docs" / "configuration.md"
TABLE = re.compile(r"(?<=<!-- settings -->\n\n).*?(?=\n<!-- end of settings -->\n)", re.DOTALL)

HEAD = """\
# Settings of affectd, each with its default. Remove the # before a key to set it; text needs quotes, numbers do not.
# `affectd config` shows which settings are in force and where each came from.
#
# An environment variable AFFECTD_SECTION_KEY, such as AFFECTD_GATE_MARGIN_DB, wins over this file, and the command
# line over both. The sections gate and smoothing are read again on SIGHUP, all others when affectd starts.
"""


def documented() -> Iterator[tuple[str, str, list[tuple[Field[Any], str]]]]:
    """Yield each section with the sentence about it and its keys, each key with the sentence below it."""
    source = ast.parse(Path(config.__file__).read_text())
    classes = {node.name: node for node in source.body if isinstance(node, ast.ClassDef)}
    for name, section in config.SECTIONS.items():
        node = classes[section.__name__]
        sentences: dict[str, str] = {}
        for statement, below in zip(node.body, node.body[1:], strict=False):
            if isinstance(statement, ast.AnnAssign) and isinstance(below, ast.Expr):
                assert isinstance(statement.target, ast.Name)
                assert isinstance(below.value, ast.Constant)
                sentences[statement.target.id] = " ".join(str(below.value.value).split())
        yield name, (ast.get_docstring(node) or "").splitlines()[0], [(k, sentences[k.name]) for k in fields(section)]


def sample() -> str:
    """Write the sample file."""
    lines = [HEAD]
    for name, about, keys in documented():
        lines.append(f"\n[{name}]\n# {plain(about)}\n")
        for key, sentence in keys:
            comment = " ".join([plain(sentence), range_of(key)]).strip()
            wrapped = textwrap.wrap(comment, 118, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
            default = "" if key.default is None else f" {toml(key.default)}"
            lines.append("\n" + "\n".join(wrapped) + f"\n#{key.name} ={default}\n")
    return "".join(lines)


def table() -> str:
    """Write the table of the reference."""
    rows = ["| key | default | allowed | what it is |\n|---|---|---|---|\n"]
    for name, _, keys in documented():
        for key, sentence in keys:
            default = "none" if key.default is None else f"`{toml(key.default)}`"
            rows.append(f"| `[{name}]` `{key.name}` | {default} | {allowed(key)} | {plain(sentence)} |\n")
    return "".join(rows)


def range_of(key: Field[Any]) -> str:
    """Say what is allowed, as a sentence; nothing where any text is."""
    words = allowed(key)
    return "" if words == "text" else f"{words[0].upper()}{words[1:]}."


def plain(sentence: str) -> str:
    """Docstrings are reStructuredText; Markdown and TOML write code between single backticks."""
    return sentence.replace("``", "`")


if __name__ == "__main__":
    SAMPLE.write_text(sample())
    PAGE.write_text(TABLE.sub(lambda _: table(), PAGE.read_text()))

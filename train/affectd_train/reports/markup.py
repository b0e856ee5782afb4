"""The Markdown of the model card as HTML: headings, paragraphs, tables, lists and blocks of code, and no more."""

from __future__ import annotations

import html
import re

_SPAN = re.compile(r"`([^`]+)`|\*\*(.+?)\*\*")
_BAR = re.compile(r"(?<!\\)\|")


def as_html(text: str) -> str:
    r"""Render Markdown as the model card has it, one element a block.

    The first cell of a row is its heading.

    Examples
    --------
    >>> as_html("## Sad & calm\n\n- **25%** of `sad`")
    '<h2>Sad &amp; calm</h2>\n<ul><li><strong>25%</strong> of <code>sad</code></li></ul>'
    """
    return "\n".join(map(_block, text.strip().split("\n\n")))


def _block(block: str) -> str:
    lines = block.split("\n")
    if block.startswith("```"):
        return f'<pre tabindex="0"><code>{html.escape(chr(10).join(lines[1:-1]), quote=False)}</code></pre>'
    if block.startswith("#"):
        level, title = len(block) - len(block.lstrip("#")), block.lstrip("#").strip()
        return f"<h{level}>{_text(title)}</h{level}>"
    if block.startswith("| "):
        return _table(lines)
    if block.startswith("- "):
        return f"<ul>{''.join(f'<li>{_text(line[2:])}</li>' for line in lines)}</ul>"
    return f"<p>{_text(block)}</p>"


def _table(lines: list[str]) -> str:
    head, _, *rows = ([cell.replace("\\|", "|").strip() for cell in _BAR.split(line[1:-1])] for line in lines)
    titles = "".join(f'<th scope="col">{_text(cell)}</th>' if cell else "<td></td>" for cell in head)
    body = "".join(
        f'<tr><th scope="row">{_text(first)}</th>{"".join(f"<td>{_text(cell)}</td>" for cell in others)}</tr>'
        for first, *others in rows
    )
    table = f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"
    # Reached by the keyboard, because it may be wider than the screen.
    return f'<div class="wide" tabindex="0" role="group" aria-label="table">{table}</div>'


def _text(text: str) -> str:
    """Render code and strong words; all else is escaped."""
    parts, end = [], 0
    for match in _SPAN.finditer(text):
        parts.append(html.escape(text[end : match.start()], quote=False))
        code, strong = match.groups()
        parts.append(f"<code>{html.escape(code, quote=False)}</code>" if code else f"<strong>{_text(strong)}</strong>")
        end = match.end()
    return "".join([*parts, html.escape(text[end:], quote=False)])

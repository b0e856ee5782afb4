"""The parser of both command lines."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NoReturn

from affectd.errors import UsageError
from affectd.stdio import terminal_columns


class _Formatter(argparse.HelpFormatter):
    """As wide as the terminal. For that argparse would import `shutil` at every start, which takes 0.4 MB."""

    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog, width=(terminal_columns(1) or 80) - 2, **options)

    def _split_lines(self, text: str, width: int) -> list[str]:
        import textwrap

        # Names such as ravdess-emobox are to be typed.
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Fill paragraphs; those with indented lines stay as they are."""
        parts = text.split("\n\n")
        return "\n\n".join(p if re.search("^  ", p, re.M) else "\n".join(self._split_lines(p, width)) for p in parts)


class Parser(argparse.ArgumentParser):
    """Raises `UsageError` where argparse would print and exit.

    Parameters
    ----------
    show : callable
        Gets help, without its last newline.
    pages : callable, optional
        Gets the name of a command as it is typed, and returns what help says above and below its options.
    **options
        Those of `argparse.ArgumentParser`.
    """

    def __init__(
        self,
        show: Callable[[str], object] = print,
        pages: Callable[[str], tuple[str | None, str | None]] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(formatter_class=_Formatter, **options)
        self.register("type", Path, lambda text: Path(named(text)))
        self._show, self._pages = show, pages

    def add_subparsers(self, **options: Any) -> argparse._SubParsersAction[Parser]:  # type: ignore[override]
        """Add commands that show their help in the same way."""
        options["parser_class"] = lambda **given: Parser(self._show, self._pages, **given)
        return super().add_subparsers(**options)

    def format_help(self) -> str:
        """Return the help; only now its words are looked up."""
        if self._pages is not None:
            self.description, self.epilog = self._pages(self.prog)
        return super().format_help()

    def parse_known_args(self, *given: Any, **options: Any) -> Any:
        """Refuse what is left over here, where it is known which command it was given to."""
        found, rest = super().parse_known_args(*given, **options)
        if rest:
            meant = _meant(rest[0].split("=")[0], self._option_string_actions) if rest[0].startswith("-") else ""
            self.error(f"unrecognized arguments: {' '.join(rest)}{meant}")
        return found, rest

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            error.message += _meant(str(value), list(action.choices or ()))
            raise

    def error(self, message: str) -> NoReturn:
        """Raise it."""
        raise UsageError(f"{message} (try {self.prog} --help)")

    def _print_message(self, message: str, file: object = None) -> None:
        self._show(message.rstrip("\n"))


def named(text: str) -> str:
    """Return the name of a file or folder; an empty one, as of a variable that is not set, is the current folder's."""
    if not text:
        raise argparse.ArgumentTypeError("the name is empty; the current folder is .")
    return text


def _meant(word: str, known: Collection[str]) -> str:
    """Return the question whether the one that looks most like it was meant; nothing if none does."""
    import difflib

    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""

"""The parser of both command lines."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any, NoReturn

from affectd.errors import UsageError


class _Formatter(argparse.HelpFormatter):
    """As wide as the terminal. For that argparse would import `shutil` at every start, which takes 0.4 MB."""

    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog, width=_columns() - 2, **options)


class Parser(argparse.ArgumentParser):
    """Raises `UsageError` where argparse would print and exit; `show` gets help, without its last newline."""

    def __init__(self, show: Callable[[str], object] = print, **options: Any) -> None:
        super().__init__(formatter_class=_Formatter, **options)
        self._show = show

    def add_subparsers(self, **options: Any) -> argparse._SubParsersAction[Parser]:  # type: ignore[override]
        """Add commands that show their help in the same way."""
        options["parser_class"] = lambda **given: Parser(self._show, **given)
        return super().add_subparsers(**options)

    def error(self, message: str) -> NoReturn:
        """Raise it."""
        raise UsageError(f"{message} (try {self.prog} --help)")

    def _print_message(self, message: str, file: object = None) -> None:
        self._show(message.rstrip("\n"))


def _columns() -> int:
    """Return the width of the terminal, found as `shutil.get_terminal_size` does."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80

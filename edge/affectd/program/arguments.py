"""The parser of both command lines."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from affectd.errors import UsageError


class Parser(argparse.ArgumentParser):
    """Raises `UsageError` where argparse would print and exit; `show` gets help, without its last newline."""

    def __init__(self, show: Callable[[str], object] = print, **options: Any) -> None:
        super().__init__(**options)
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

"""Where events go."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Protocol, TextIO

from affectd.errors import UnavailableError


class Sink(Protocol):
    """Anything that takes events one by one."""

    def write(self, event: Mapping[str, object]) -> None:
        """Take one event."""


class JsonLines:
    """Writes one JSON object per line and flushes it, so that a reader has it at once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, event: Mapping[str, object]) -> None:
        """Write one event, or anything else that is JSON, on one line; it fails as `write_text` does."""
        self.write_text(json.dumps(event, ensure_ascii=False, allow_nan=False))

    def write_text(self, text: str) -> None:
        """Write a result for people instead.

        Raises
        ------
        BrokenPipeError
            The reader has gone; `affectd.cli` ends quietly then.
        UnavailableError
            Nothing can be written, for instance because the disk is full.
        """
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise UnavailableError(f"Standard output cannot be written: {error.strerror}.") from error

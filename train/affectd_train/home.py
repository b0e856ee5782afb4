"""A home for libraries that keep files there, where the user has none or may not write to it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def home() -> Iterator[None]:
    """Give numba, matplotlib and Keras an empty folder for the time of a command, if there is no other.

    numba cannot be imported without one.
    """
    if os.access(os.path.expanduser("~"), os.W_OK):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="affectd-train-") as folder:
        before = os.environ.get("HOME")
        os.environ["HOME"] = folder
        try:
            yield
        finally:
            os.environ.pop("HOME") if before is None else os.environ.update(HOME=before)

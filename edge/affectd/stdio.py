"""Standard output carries results, standard error the log; what libraries print goes to neither."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import TextIO

from affectd.errors import UnavailableError


@contextmanager
def quiet() -> Iterator[None]:
    """Discard what is printed in the ``with`` block, even from C; exceptions pass.

    ALSA and JACK (fifty lines while PortAudio probes), TFLite and tflite-runtime print messages that look like
    failures; JACK's go to stdout, which carries the events.
    """
    saved = [os.dup(1), os.dup(2)]
    try:
        # Python's streams too: a program that embeds affectd may have replaced them.
        with open(os.devnull, "w") as nothing, redirect_stdout(nothing), redirect_stderr(nothing):
            os.dup2(nothing.fileno(), 1)
            os.dup2(nothing.fileno(), 2)
            yield
    finally:
        for number, copy in enumerate(saved, start=1):
            os.dup2(copy, number)
            os.close(copy)


@contextmanager
def claimed_stdout() -> Iterator[TextIO]:
    """Give standard output as a stream; what libraries print to it in the ``with`` block goes to stderr."""
    try:
        kept = os.dup(1)
    except OSError as error:
        raise UnavailableError("Standard output is closed.") from error
    os.dup2(2, 1)
    # A file name that is not UTF-8 holds surrogates, whose Python escape is also valid JSON.
    out = os.fdopen(os.dup(kept), "w", encoding="utf-8", errors="backslashreplace", newline="\n")
    try:
        yield out
    finally:
        with suppress(OSError):  # the write that failed has been reported
            out.close()
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def log_to_stderr() -> None:
    """Send the log to standard error, or to /dev/null where that is closed."""
    if sys.stderr is None:  # else the next file opened would get number 2, and the log would go there
        nothing = os.open(os.devnull, os.O_WRONLY)
        if nothing != 2:
            os.dup2(nothing, 2)
            os.close(nothing)
    # A duplicate: `quiet` redirects number 2 for all threads.
    log = os.fdopen(os.dup(2), "w", errors="backslashreplace", closefd=False)
    logging.basicConfig(level=logging.INFO, format="affectd: %(message)s", stream=log)

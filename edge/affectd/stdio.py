"""Standard output for results, standard error for the log, and neither for what libraries print."""

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
    """Send what is printed meanwhile, even from C, to /dev/null; what fails is raised all the same.

    While PortAudio looks for devices, ALSA and JACK print some fifty lines about sound cards that this machine
    does not have; TFLite announces its delegate at every start; tflite-runtime beside NumPy 2 gets a page of
    advice. It means nothing and looks like a failure, and JACK's goes to stdout, which belongs to the events.
    """
    saved = [os.dup(1), os.dup(2)]
    try:
        # Python's own streams too: a program that embeds affectd may have replaced them.
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
    """Keep standard output for results: what libraries print to it, even from C, goes to stderr meanwhile."""
    try:
        kept = os.dup(1)
    except OSError as error:
        raise UnavailableError("Standard output is closed.") from error
    os.dup2(2, 1)
    # A file name that is no UTF-8 holds surrogates, whose Python escape is their JSON escape too.
    out = os.fdopen(os.dup(kept), "w", encoding="utf-8", errors="backslashreplace", newline="\n")
    try:
        yield out
    finally:
        with suppress(OSError):  # what could not be written before has been complained about
            out.close()
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def log_to_stderr() -> None:
    """Send the log to standard error; where that is closed, nowhere."""
    if sys.stderr is None:  # closed: the next file opened would get its number, and complaints would end there
        nothing = os.open(os.devnull, os.O_WRONLY)
        if nothing != 2:
            os.dup2(nothing, 2)
            os.close(nothing)
    # A descriptor of its own: while PortAudio chatters, number 2 leads nowhere (`quiet`), for all threads.
    log = os.fdopen(os.dup(2), "w", errors="backslashreplace", closefd=False)
    logging.basicConfig(level=logging.INFO, format="affectd: %(message)s", stream=log)

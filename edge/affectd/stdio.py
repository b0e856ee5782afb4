"""Libraries that talk while they are starting."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout


@contextmanager
def quiet() -> Iterator[None]:
    """Send what is printed meanwhile, even from C, to /dev/null; what fails is raised all the same.

    While PortAudio looks for devices, ALSA and JACK print some fifty lines about sound cards that this machine
    does not have; TFLite announces its delegate at every start; tflite-runtime beside NumPy 2 gets a page of
    advice. It means nothing and looks like a failure, and JACK's goes to stdout, which belongs to the events.
    """
    saved = [os.dup(1), os.dup(2)]
    try:
        # Python's own streams too: whoever embeds affectd may have replaced them.
        with open(os.devnull, "w") as nothing, redirect_stdout(nothing), redirect_stderr(nothing):
            os.dup2(nothing.fileno(), 1)
            os.dup2(nothing.fileno(), 2)
            yield
    finally:
        for number, copy in enumerate(saved, start=1):
            os.dup2(copy, number)
            os.close(copy)

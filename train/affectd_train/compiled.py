"""What Numba compiles for librosa, compiled by one process of a machine alone."""

from __future__ import annotations

import importlib
import os
import tempfile
from pathlib import Path

from affectd_train.stored import locked

MODULES = ("librosa.core.audio", "librosa.core.pitch", "librosa.util.utils")
"""Those of which something is compiled when they are imported; librosa imports them when they are first used."""


def compile_librosa() -> None:
    """Call it before several processes use librosa at once, and in those that may be the first on their machine.

    Numba keeps what it compiles in a cache, which processes must not fill at the same time: they crash
    (https://github.com/numba/numba/issues/10128). Once it is filled, this imports modules and no more.
    """
    with locked(Path(tempfile.gettempdir()) / f"affectd-numba-{os.getuid()}"):
        for name in MODULES:
            importlib.import_module(name)

"""Nothing but the recorder writes sound: who writes at all is listed here, and what `affectd run` writes is looked at."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grimp
import numpy as np
import pytest

import affectd
from affectd.recognition.model_file import find_model
from fake_broker import FakeBroker
from room import file_card, needs_card, write_wav
from sounds import SAMPLE_RATE, as_int16, silence, syllables

PACKAGE = Path(affectd.__file__).parent

# Whoever is added here says what is written; none of it may hold sound.
WRITERS = {
    "config/state.py": "the lock of the state folder",
    "events/sinks.py": "events",
    "files.py": "opens private files for others on this list",
    "mqtt/mute.py": "whether the microphone is closed",
    "outbox/journal.py": "events that wait for the broker",
    "program/traceback_file.py": "tracebacks",
    "recognition/kept.py": "the baseline",
    "recognition/model_file.py": "model files, of the desktop",
    "bench/card.py": "when a benchmark began",
    "bench/service.py": "the sound that a benchmark makes itself, for its simulated sound card",
    "recorder/wav_file.py": "recordings, and what is known of them",
}
WITH_NUMBERS = {"recognition/kept.py", "recognition/model_file.py", "bench/service.py", "recorder/wav_file.py"}
"""Those that could write samples, because they import arrays."""

FLAGS = {"O_WRONLY", "O_RDWR", "O_CREAT", "O_APPEND", "O_TRUNC"}
WRITING = {
    *("open_private", "write_bytes", "tofile", "save", "savez", "savez_compressed", "savetxt", "memmap", "mkstemp"),
    *("NamedTemporaryFile", "TemporaryFile", "pwrite", "pwritev", "sendfile", "copyfile", "copy2"),
}
MODULES = {"wave", "aifc", "sunau", "shelve", "mmap", "pickle", "tempfile"}


def reasons(tree: ast.AST) -> Iterator[str]:
    """Yield what in a module may write to a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in FLAGS:
            yield node.attr
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from MODULES.intersection(names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, bytes) and b"WAVE" in node.value:
            yield "WAVE"
        elif isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in WRITING:
                yield name
            modes = [a.value for a in (*node.args, *(k.value for k in node.keywords)) if isinstance(a, ast.Constant)]
            if name in ("open", "fdopen") and any(re.fullmatch("[rbt]*[wax+][wax+bt]*", str(m)) for m in modes):
                yield name

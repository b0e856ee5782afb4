"""Nothing but the recorder writes sound: which modules write files at all, and what they are, is listed here."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import grimp
import pytest

import affectd

PACKAGE = Path(affectd.__file__).parent
WRITERS = {
    "bench/card.py": "when a benchmark began",
    "bench/service.py": "the sound that a benchmark makes itself, for its simulated sound card",
    "bench/stages.py": "nothing, to /dev/null",
    "config/state.py": "the lock of the state folder",
    "delivery/download.py": "a model file, as it is downloaded",
    "delivery/installed.py": "model files that a fleet was sent, and what is known of them",
    "events/sinks.py": "events",
    "files.py": "what others in this list write to private files",
    "mqtt/mute.py": "whether the microphone is closed",
    "outbox/journal.py": "events that wait for the broker",
    "program/guard.py": "nothing, to /dev/null",
    "program/traceback_file.py": "tracebacks",
    "recognition/baseline_file.py": "the baseline",
    "recognition/model_file.py": "model files",
    "stdio.py": "results and the log",
    "recorder/wav_file.py": "recordings, and what is known of them",
}
"""Every module that opens a file for writing, and what it writes: the recorder alone may write what was heard."""
WITH_ARRAYS = {
    "bench/service.py",
    "bench/stages.py",
    "recognition/baseline_file.py",
    "recognition/model_file.py",
    "recorder/wav_file.py",
}
"""Those of them that have arrays at all."""
READERS = {"audio/containers.py", "audio/wav.py"}
"""Modules that know how a WAV file begins, because they read it."""

FLAGS = {"O_WRONLY", "O_RDWR", "O_CREAT", "O_APPEND", "O_TRUNC"}
CALLS = {
    *(
        "open_private",
        "replace_private",
        "write_bytes",
        "write_text",
        "tofile",
        "save",
        "savez",
        "savez_compressed",
        "savetxt",
        "memmap",
    ),
    *("mkstemp", "NamedTemporaryFile", "TemporaryFile", "pwrite", "pwritev", "sendfile", "copyfile", "copy2"),
}
MODULES = {"wave", "aifc", "sunau", "shelve", "mmap", "tempfile"}


def opens_for_writing(module: ast.AST) -> bool:
    return any(map(writes, ast.walk(module))) or bool(MODULES & imported(module))


def writes(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr in FLAGS
    if not isinstance(node, ast.Call):
        return False
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    owner = getattr(getattr(node.func, "value", None), "id", "")
    if name == "write_text" and owner in ("out", "self"):  # to standard output
        return False
    values = (*node.args, *(keyword.value for keyword in node.keywords))
    modes = [str(value.value) for value in values if isinstance(value, ast.Constant)]
    is_open = name in ("open", "fdopen") and any(re.fullmatch("[rbt]*[wax+][bt+]*", mode) for mode in modes)
    return is_open or name in CALLS


def imported(module: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def modules() -> dict[str, ast.AST]:
    return {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}


def test_every_module_that_writes_a_file_is_known() -> None:
    found = modules()
    assert {name for name, module in found.items() if opens_for_writing(module)} == set(WRITERS)
    arrays = {"numpy", "affectd.arrays"}
    assert {name for name in WRITERS if arrays & imported(found[name])} == WITH_ARRAYS


def test_the_recorder_alone_makes_wav_files() -> None:
    knowing = {
        name
        for name, module in modules().items()
        for node in ast.walk(module)
        if isinstance(node, ast.Constant) and isinstance(node.value, bytes) and b"WAVE" in node.value
    }
    assert knowing == {*READERS, "recorder/wav_file.py"}
    assert not READERS & set(WRITERS)


def test_the_command_line_alone_knows_the_recorder() -> None:
    graph = grimp.build_graph("affectd")
    graph.squash_module("affectd.recorder")
    assert graph.find_modules_that_directly_import("affectd.recorder") == {"affectd.cli"}


@pytest.mark.parametrize(
    "line",
    [
        "open(path, 'wb')",
        "path.open(mode='a')",
        "os.open(path, os.O_RDWR)",
        "samples.tofile(path)",
        "np.save(path, samples)",
        "path.write_bytes(data)",
        "import wave",
        "from tempfile import mkdtemp",
    ],
)
def test_a_module_that_writes_is_noticed(line: str) -> None:
    assert opens_for_writing(ast.parse(line))


@pytest.mark.parametrize("line", ["open(path)", "path.open('rb')", "out.write_text(text)", "os.open(p, os.O_RDONLY)"])
def test_a_module_that_reads_is_none(line: str) -> None:
    assert not opens_for_writing(ast.parse(line))

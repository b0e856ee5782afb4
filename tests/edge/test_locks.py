"""The locks that keep the device light: what `affectd` may not import, it does not even find."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import affectd

REPOSITORY = Path(__file__).parents[2]
FORBIDDEN = ("affectd_train", "tensorflow", "keras", "scipy", "soundfile", "librosa", "python_speech_features")

POISONED = """
import importlib, pkgutil, sys
for name in {forbidden!r}:
    sys.modules[name] = None  # any import of it now raises ImportError
import affectd
names = [m.name for m in pkgutil.walk_packages(affectd.__path__, "affectd.") if m.name != "affectd.__main__"]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


def test_every_module_of_the_device_imports_with_the_desktop_poisoned() -> None:
    code = POISONED.format(forbidden=FORBIDDEN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    modules = list(Path(affectd.__file__).parent.rglob("*.py"))
    assert int(done.stdout) == len(modules) - 2  # the package itself and __main__ are not counted


def test_asking_for_help_imports_neither_numpy_nor_an_interpreter() -> None:
    code = (
        "import sys; from affectd.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('numpy', 'ai_edge_litert', 'tflite_runtime', 'pyaudio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_ruff_bans_the_desktop_in_edge() -> None:
    lint = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert {"affectd_train", "tensorflow", "scipy"} <= set(lint["flake8-tidy-imports"]["banned-api"])
    source = "import scipy\n"
    path = REPOSITORY / "edge" / "affectd" / "unwritten.py"
    ruff = [sys.executable, "-m", "ruff", "check", "--stdin-filename", str(path), "-"]
    done = subprocess.run(ruff, input=source, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 1
    assert "TID251" in done.stdout


def test_the_base_install_is_numpy_alone() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert {requirement.split(">")[0] for requirement in project["dependencies"]} == {"numpy"}

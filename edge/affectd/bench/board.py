"""Description of the board: system, libraries and their size, temperature and clock."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from affectd.board import hottest_celsius
from affectd.doctor.board import run_program, throttling
from affectd.recognition.classifier import Classifier

# Distribution to import name.
_INSTALLED = {
    "affectd": "affectd",
    "paho-mqtt": "paho",
    "PyAudio": "pyaudio",
    "numpy": "numpy",
    "ai-edge-litert": "ai_edge_litert",
    "tflite-runtime": "tflite_runtime",
}
_ROOT = Path("/")
_CLOCK = Path("/sys/devices/system/cpu/cpu0/cpufreq")


def board() -> dict[str, Any]:
    """Describe the machine."""
    return {
        "machine": _text(Path("/proc/device-tree/model")) or _processor() or platform.machine(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME") if Path("/etc/os-release").exists() else None,
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def libraries(classifier: Classifier) -> dict[str, Any]:
    """Describe interpreter, NumPy and BLAS, and the number of threads."""
    built: dict[str, Any] = np.show_config(mode="dicts")  # type: ignore[assignment]
    blas = built.get("Build Dependencies", {}).get("blas", {})
    return {
        "interpreter": f"{classifier.runtime_name} {classifier.runtime_version}",
        "numpy": np.__version__,
        "blas": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
        "simd": built.get("SIMD Extensions", {}).get("found", []),
        "threads": int(os.environ.get("OPENBLAS_NUM_THREADS", "0")),
    }


def footprint() -> dict[str, float]:
    """Return the installed size of each part, MB, compiled Python included."""
    sizes = {}
    for name, module in _INSTALLED.items():
        size = _installed_bytes(name, module)
        if size is not None:
            sizes[name] = round(size / 1e6, 2)
    return sizes


def _installed_bytes(name: str, module: str) -> int | None:
    try:
        files = distribution(name).files or []
    except PackageNotFoundError:
        return None
    paths = {Path(str(file.locate())) for file in files}
    # An editable installation, or one by Debian, has no list of files, but the package.
    found = find_spec(module)
    if found is not None and found.origin is not None:
        origin = Path(found.origin)
        paths |= {origin} if origin.name != "__init__.py" else set(origin.parent.rglob("*"))
    total = 0
    for path in paths:
        with suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def condition() -> dict[str, Any]:
    """Return temperature, clock and load now; None for what is unknown."""
    clock = _text(_CLOCK / "scaling_cur_freq")
    return {
        "temperature_celsius": hottest_celsius(_ROOT),
        "clock_mhz": round(int(clock) / 1000) if clock else None,
        "governor": _text(_CLOCK / "scaling_governor") or None,
        "throttling": throttling(_ROOT, run_program).found,
        "load": round(os.getloadavg()[0], 2),
    }


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip("\0\n ")
    except OSError:
        return ""


def _processor() -> str:
    for line in _text(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return ""

"""The text format of Prometheus: one function for each kind of metric.

Source: Prometheus documentation, "Exposition formats", text format 0.0.4.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Samples = float | Iterable[tuple[Mapping[str, str], float]]
"""A number, or numbers with their labels."""


def counter(name: str, about: str, samples: Samples) -> str:
    """Return what never goes back within a process; `about` is a sentence without line feeds and backslashes."""
    return _head(name, "counter", about) + _lines(name, samples)


def gauge(name: str, about: str, samples: Samples) -> str:
    """Return what goes up and down; `about` as above."""
    return _head(name, "gauge", about) + _lines(name, samples)


def histogram(name: str, about: str, n_up_to: Mapping[float, int], total: float) -> str:
    """Return how many were at most so large, with infinity as the last bound, and the sum of all; `about` as above."""
    buckets = [({"le": _text(bound)}, n) for bound, n in n_up_to.items()]
    lines = (
        _lines(f"{name}_bucket", buckets) + _lines(f"{name}_sum", total) + _lines(f"{name}_count", n_up_to[math.inf])
    )
    return _head(name, "histogram", about) + lines


def _head(name: str, kind: str, about: str) -> str:
    return f"# HELP {name} {about}\n# TYPE {name} {kind}\n"


def _lines(name: str, samples: Samples) -> str:
    if isinstance(samples, (float, int)):
        return f"{name} {_text(samples)}\n"
    return "".join(f"{name}{{{_pairs(labels)}}} {_text(value)}\n" for labels, value in samples)


def _pairs(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _text(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    # Not True, and a whole number without a point.
    return str(int(value)) if value == int(value) else repr(float(value))

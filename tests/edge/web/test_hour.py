"""The last hour against a plain list of all traces."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affectd.web.hour import HOUR_SECONDS, Hour

Trace = dict[str, Any]
LABELS = [None, "happy", "sad", "uncertain"]
STRIDE = st.tuples(
    st.sampled_from([0.016, 0.256, 0.24, 700.0]),
    st.booleans(),
    st.sampled_from(LABELS),
    st.floats(0, 1),
    st.floats(-1, 1),
)


def traces(strides: list[tuple[float, bool, str | None, float, float]], has_arousal: bool = True) -> list[Trace]:
    made, now = [], 0.0
    for seconds, is_open, label, probability, arousal in strides:
        start, now = now, round(now + seconds, 3)
        about = {"label": label, "probability": None if label is None else probability}
        about["arousal"] = arousal if has_arousal and label is not None else None
        made.append({"start_seconds": start, "end_seconds": now, "gate_open": is_open, **about})
    return made


def mean(parts: list[Trace], name: str) -> float | None:
    known = [(p[name], p["end_seconds"] - p["start_seconds"]) for p in parts if p[name] is not None]
    return math.fsum(x * t for x, t in known) / math.fsum(t for _, t in known) if known else None


def expected(lines: list[Trace]) -> list[Trace]:
    """Join equal neighbors, by hand."""
    runs: list[list[Trace]] = []
    for line in lines:
        if not line["gate_open"]:
            continue
        before = runs[-1][-1] if runs else None
        if before and before["end_seconds"] == line["start_seconds"] and before["label"] == line["label"]:
            runs[-1].append(line)
        else:
            runs.append([line])
    now = lines[-1]["end_seconds"] if lines else 0.0
    return [
        {
            "start_seconds": run[0]["start_seconds"],
            "end_seconds": run[-1]["end_seconds"],
            "label": run[0]["label"],
            "probability": mean(run, "probability"),
            "arousal": mean(run, "arousal"),
        }
        for run in runs
        if run[-1]["end_seconds"] > now - HOUR_SECONDS
    ]


@given(st.lists(STRIDE, max_size=60), st.booleans())
@settings(max_examples=200)
def test_it_is_what_a_list_of_all_traces_gives(strides: list[Any], has_arousal: bool) -> None:
    lines = traces(strides, has_arousal)
    hour = Hour()
    for line in lines:
        hour.push(line)
    found, wanted = hour.segments(), expected(lines)
    assert [(s["start_seconds"], s["end_seconds"], s["label"]) for s in found] == [
        (s["start_seconds"], s["end_seconds"], s["label"]) for s in wanted
    ]
    for one, other in zip(found, wanted, strict=True):
        for name in ("probability", "arousal"):
            assert one[name] == (None if other[name] is None else pytest.approx(other[name], abs=6e-4))
    for one, other in pairwise(found):
        assert one["end_seconds"] <= other["start_seconds"]
    opened = math.fsum(t["end_seconds"] - t["start_seconds"] for t in lines if t["gate_open"])
    covered = math.fsum(s["end_seconds"] - s["start_seconds"] for s in found)
    if lines and lines[-1]["end_seconds"] < HOUR_SECONDS:
        assert covered == pytest.approx(opened, abs=1e-3), "exactly the open gate"


def test_a_day_of_changing_labels_stays_small() -> None:
    hour = Hour()
    n_strides = 24 * 3600 * 4 // 8
    most = 0
    for number in range(n_strides):
        start = number * 2.0
        about = {"label": LABELS[number % 4], "probability": 0.5, "arousal": 0.0}
        hour.push({"start_seconds": start, "end_seconds": start + 2.0, "gate_open": True, **about})
        most = max(most, len(hour._values))
    segments = hour.segments()
    assert len(segments) == HOUR_SECONDS / 2
    assert segments[0]["end_seconds"] > n_strides * 2.0 - HOUR_SECONDS
    assert most * 8 < 100_000, "bytes"

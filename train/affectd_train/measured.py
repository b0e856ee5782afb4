"""What was measured besides accuracy, in short: for the card inside the model file, and from there for its page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from affectd_train.denoise import FRONT_ENDS
from affectd_train.tables import table

PICTURES = ("learning", "confusion", "reliability", "coverage", "robustness")
"""What ``affectd-train pictures`` draws, in the order of the page."""


def measured(evaluation: Path) -> dict[str, Any]:
    """Shorten what ``evaluate``, ``robustness`` and ``behavior`` wrote; a file that is not there has no entry.

    Returns
    -------
    ``calibration``: ``ece`` and, of the coverage curve, every fifth point; ``robustness``: ``recordings``, ``bars`` and
    rows of group, name, unweighted accuracy, share of unchanged labels, and accuracy with the other front ends;
    ``behavior``: events an hour and transitions at the default settings.
    """
    short: dict[str, Any] = {}
    figures = _read(evaluation / "metrics.json")
    if calibration := figures.get("calibration"):
        points = calibration["coverage"][3::4]
        short["calibration"] = {
            "ece": round(calibration["ece"], 4),
            "coverage": [[p["coverage"], round(p["unweighted"], 3), round(p["weighted"], 3)] for p in points],
        }
    if robustness := _read(evaluation / "robustness.json"):
        shipped, *others = FRONT_ENDS
        short["robustness"] = {
            "recordings": robustness["recordings"],
            "bars": {key: round(value, 4) for key, value in robustness["bars"].items()},
            "rows": [
                [row["group"], row["name"], round(row[shipped]["unweighted"], 3), round(row[shipped]["same_label"], 3)]
                + [round(row[name]["unweighted"], 3) for name in others]
                for row in robustness["conditions"]
            ],
        }
    if behavior := _read(evaluation / "behavior.json"):
        keys = ("hours", "named_per_hour", "events_per_hour")
        everyday = {n: v for n, v in behavior["everyday"].items() if isinstance(v, dict)}
        short["behavior"] = {
            "everyday": {name: {key: rates[key] for key in keys} for name, rates in everyday.items()},
            "transitions": behavior["transitions"]["as shipped"],
        }
    return short


def pictures_beside(folder: Path) -> list[str]:
    """List the pictures that ``affectd-train pictures`` drew into a folder, in the order of the page."""
    return [f"{name}.png" for name in PICTURES if (folder / f"{name}.png").is_file()]


def sections(short: dict[str, Any]) -> list[str]:
    """Render what `measured` returned as sections of the page."""
    parts: list[str] = []
    if calibration := short.get("calibration"):
        parts += [
            "## Knowing what it does not know",
            f"Expected calibration error on strangers, int8, each speaker at the temperature fitted on all the others: "
            f"{calibration['ece']:.3f}. When the least certain answers are called `uncertain`:",
            table(
                ["share of recordings answered", "unweighted accuracy", "accuracy"],
                [[f"{c:.0%}", f"{u:.3f}", f"{w:.3f}"] for c, u, w in calibration["coverage"]],
            ),
        ]
    if robustness := short.get("robustness"):
        parts += [
            "## When the sound is not clean",
            f"Unweighted accuracy on {robustness['recordings']} recordings of strangers, int8. The noises, except for "
            "the pink one, are of the recordings that were also mixed into training; ratios are of whole recordings. "
            "Denoising and level normalization are not in the device; their columns say what they would change.",
            table(
                ["sound", "", "accuracy", "labels as in clean sound", *FRONT_ENDS[1:]],
                [
                    [g, n, f"{u:.3f}", f"{s:.1%}", *(f"{o:.3f}" for o in rest)]
                    for g, n, u, s, *rest in robustness["rows"]
                ],
            ),
            "\n".join(f"- {name}: {value:.1%}." for name, value in robustness["bars"].items()),
        ]
    if behavior := short.get("behavior"):
        transitions = behavior["transitions"]
        delay = transitions["median_delay_seconds"]
        parts += [
            "## All day, and when a voice changes",
            "Events of the running device at its default settings; named ones say something else than `neutral` or "
            "`uncertain`:",
            table(
                ["sound", "hours", "named events an hour", "all events an hour"],
                [
                    [name, f"{r['hours']:.2f}", f"{r['named_per_hour']:.0f}", f"{r['events_per_hour']:.0f}"]
                    for name, r in behavior["everyday"].items()
                ],
            ),
            f"Recordings of one stranger joined without a pause, {transitions['transitions']} transitions: "
            f"F1 within 1 s {transitions['f1']:.2f} (precision {transitions['precision']:.2f}, "
            f"recall {transitions['recall']:.2f}); "
            f"{transitions['noticed']:.0%} are followed by a change before the next one"
            + (f", after a median of {delay:.1f} s" if delay is not None else "")
            + f", and {transitions['right']:.0%} of those name the new emotion.",
        ]
    return parts


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return content

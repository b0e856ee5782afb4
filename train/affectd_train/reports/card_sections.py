"""What was measured besides accuracy, in short: for the card inside the model file, and from there for its page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from affectd_train.evaluation.denoise import FRONT_ENDS
from affectd_train.files import needed
from affectd_train.training.recipe import options_of

PICTURES = ("learning", "confusion", "reliability", "coverage", "robustness")
"""What ``affectd-train pictures`` draws, in the order of the page."""

CLIPPED = ("clipped", "same_label_clipped", "same_label_unclipped")
"""What `affectd_train.evaluation.robustness.robustness` says about recordings that clip at a gain."""


SEED_KEYS = ("published", "weighted", "unweighted")

STRANGER_COLUMNS = (
    "protocol",
    "recordings (speakers)",
    "int8, unweighted",
    "int8, accuracy",
    "float, unweighted",
    "int8, any label",
    "groups, int8, unweighted",
    "published",
)


def measured(evaluation: Path, also: Sequence[Path] = ()) -> dict[str, Any]:
    """Shorten what ``evaluate``, ``robustness`` and ``behavior`` wrote; a file that is not there has no entry.

    Parameters
    ----------
    evaluation
        The one the card is about.
    also
        Further ones, of which the figures alone are wanted.

    Returns
    -------
    ``calibration``: ``ece`` and, of the coverage curve, every fifth point; ``robustness``: ``every``, ``recordings``,
    ``bars`` and rows of group, name, unweighted accuracy, share of unchanged labels, and accuracy with the other front
    ends, and ``gain``, rows of name, share of unchanged labels, clipped recordings, and the share of them and of all
    others;
    ``behavior``: events an hour and transitions at the default settings; ``also``, the names of the other folders with
    the options of the recipe, and their ``strangers`` and ``seeds``, see `other_protocols`.

    Raises
    ------
    NoInputError
        If one of ``also`` is not a finished evaluation.
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
            "every": robustness["every"],
            "recordings": robustness["recordings"],
            "bars": {key: round(value, 4) for key, value in robustness["bars"].items()},
            "rows": [
                [row["group"], row["name"], round(row[shipped]["unweighted"], 3), round(row[shipped]["same_label"], 3)]
                + [round(row[name]["unweighted"], 3) for name in others]
                for row in robustness["conditions"]
            ],
            "gain": [
                [row["name"], row[shipped]["same_label"], *(row[key] for key in CLIPPED)]
                for row in robustness["conditions"]
                if "clipped" in row
            ],
        }
    if behavior := _read(evaluation / "behavior.json"):
        keys = ("hours", "named_per_hour", "events_per_hour")
        everyday = {n: v for n, v in behavior["everyday"].items() if isinstance(v, dict)}
        short["behavior"] = {
            "everyday": {name: {key: rates[key] for key in keys} for name, rates in everyday.items()},
            "transitions": behavior["transitions"]["as shipped"],
        }
    short |= other_protocols(also)
    return {key: rounded(value) for key, value in short.items()}


def other_protocols(evaluations: Sequence[Path]) -> dict[str, Any]:
    """Shorten evaluations to rows for the card.

    Returns
    -------
    ``strangers``: of protocols with speakers disjoint ``protocol``, ``published`` if known, ``clips``, ``speakers``,
    ``int8`` and ``float``, each unweighted accuracy, its interval and weighted accuracy, ``any``, the unweighted
    accuracy of the int8 network when it may answer with any label, and ``groups``, that of each group of speakers when
    it may not; ``seeds``: of random splits ``protocol`` and ``systems``, rows of name and
    `SEED_KEYS`. A key without any evaluation is left out.

    Raises
    ------
    NoInputError
        If one has no ``metrics.json``.
    """
    strangers: list[dict[str, Any]] = []
    seeds: list[dict[str, Any]] = []
    for evaluation in evaluations:
        figures = json.loads(needed(evaluation / "metrics.json", "evaluate").read_text())
        if "table" in figures:
            systems = [[name, *map(row.get, SEED_KEYS)] for name, row in figures["table"].items()]
            seeds.append({"protocol": figures["protocol"], "systems": systems})
        else:
            strangers += map(_stranger, figures.get("experiments", {"": figures}).values())
    names = {evaluation.name: _options(evaluation) for evaluation in evaluations}
    rows = (("also", names), ("strangers", strangers), ("seeds", seeds))
    return {key: row for key, row in rows if row}


def _options(evaluation: Path) -> str:
    runs = sorted(evaluation.glob("*/fit.json"))
    return options_of(json.loads(runs[0].read_text())["recipe"]) if runs else ""


def _stranger(figures: dict[str, Any]) -> dict[str, Any]:
    row = {key: figures[key] for key in ("protocol", "published", "clips", "speakers") if figures.get(key) is not None}
    for network in ("int8", "float"):
        row[network] = [figures[network][key] for key in ("unweighted", "unweighted_interval", "weighted")]
    row["any"] = figures["any_label"]["int8"]
    return row | {"groups": figures["int8"]["by_gender"] | figures["int8"].get("by_age", {})}


def rounded(figures: Any) -> Any:
    """Round every float in nested lists and dicts to what the page shows: a card travels in every model file."""
    if isinstance(figures, dict):
        return {key: rounded(value) for key, value in figures.items()}
    if isinstance(figures, list | tuple):
        return [rounded(value) for value in figures]
    if isinstance(figures, float):
        short = round(figures, 3)
        return int(short) if short.is_integer() else short
    return figures


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
        if gain := robustness.get("gain"):
            parts += [
                "The gain is applied before rounding to 16 bits. What clips is another sound, and counted apart:",
                table(
                    ["gain", "labels as in clean sound", "recordings that clip", "of these", "of all others"],
                    [
                        [n, f"{s:.1%}", str(k), *("–" if o is None else f"{o:.1%}" for o in rest)]
                        for n, s, k, *rest in gain
                    ],
                ),
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
    if strangers := short.get("strangers"):
        parts += [
            "## Other protocols, strangers",
            "Speakers disjoint, networks trained without those they were tested on by the commands at the end of this "
            "page, whose options may be others than those of the file itself. Published figures are "
            "of other networks, and comparable only as far as their protocol is. Where a whole corpus was left out, "
            "its microphones, its actors and what they were asked for are new as well: expect no more of yours. "
            'Networks answer with the labels of the corpus alone, but for the column "any label".',
            table(STRANGER_COLUMNS, [_stranger_row(row) for row in strangers]),
        ]
    if seeds := short.get("seeds"):
        parts += [
            "## Random splits, the same speakers on both sides",
            "These say nothing about strangers. They stand here because student projects publish such figures; their "
            "networks and features are rebuilt as recipes and tested on the same split as ours.",
            table(
                ["protocol", "system", "published", "accuracy", "unweighted"],
                [
                    [row["protocol"], system, published or "–", f"{weighted:.3f}", f"{unweighted:.3f}"]
                    for row in seeds
                    for system, published, weighted, unweighted in row["systems"]
                ],
            ),
        ]
    return parts


def _stranger_row(row: dict[str, Any]) -> list[str]:
    (int8, (low, high), weighted), (as_float, _, _) = row["int8"], row["float"]
    return [
        row["protocol"],
        f"{row['clips']} ({row['speakers']})",
        f"{int8:.3f} ({low:.3f} to {high:.3f})",
        f"{weighted:.3f}",
        f"{as_float:.3f}",
        f"{row['any']:.3f}",
        ", ".join(f"{group} {right:.3f}" for group, right in row["groups"].items()),
        row.get("published", "–"),
    ]


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return content


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Render a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

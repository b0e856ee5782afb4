"""What was measured besides accuracy: shortened for the card inside the model file, rendered from there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, cast

from affectd_train.data.terms import TERMS
from affectd_train.evaluation.denoise import FRONT_ENDS
from affectd_train.evaluation.rates import rate_text
from affectd_train.reports.records import Behavior, Calibration, Measured, Repeat, Robustness, Seeds, Strangers
from affectd_train.reports.settled_figures import settled_part
from affectd_train.stored import again, read_json, reading
from affectd_train.training.recipe import options_of

PICTURES = ("learning", "confusion", "reliability", "coverage", "robustness")
"""What ``affectd-train pictures`` draws, in the order of the page."""

RATES = ("hours", "named_per_hour", "events_per_hour")


def measured(evaluation: Path | None, also: Sequence[Path] = ()) -> Measured:
    """Shorten what ``evaluate``, ``robustness`` and ``behavior`` wrote; a file that is not there has no entry.

    Of further evaluations, `also`, only the figures are kept. Those that differ from `evaluation` in the seed alone
    are ``repeats`` of it.

    Raises
    ------
    NoInputError
        If one of ``also`` has no ``metrics.json``.
    """
    seeds = (
        {}
        if evaluation is None
        else {path: seed for path in also if (seed := _other_seed(path, evaluation)) is not None}
    )
    short = _other_protocols([path for path in also if path not in seeds])
    if evaluation is None:
        return cast(Measured, rounded(short))
    if seeds:
        short["repeats"] = {path.name: _repeat(path, seed) for path, seed in sorted(seeds.items(), key=itemgetter(1))}
    figures, file = _read(evaluation / "metrics.json", "evaluate")
    with reading(file, again("evaluate")):
        if calibration := figures.get("calibration"):
            points = [(p["coverage"], p["unweighted"], p["weighted"]) for p in calibration["coverage"][3::4]]
            short["calibration"] = {"ece": calibration["ece"], "coverage": points}
            if bins := reliability_bins(calibration):
                short["calibration"]["reliability"] = bins
            if figures.get("by_file"):
                short["calibration"]["by_file"] = True
    figures, file = _read(evaluation / "robustness.json", "robustness")
    with reading(file, again("robustness")):
        if figures:
            short["robustness"] = _robustness(figures)
    figures, file = _read(evaluation / "behavior.json", "behavior")
    with reading(file, again("behavior")):
        if figures:
            everyday = {name: rates for name, rates in figures["everyday"].items() if isinstance(rates, dict)}
            rates_of = {name: {key: rates[key] for key in RATES} for name, rates in everyday.items()}
            short["behavior"] = {"everyday": rates_of, "transitions": figures["transitions"]["as shipped"]}
    return cast(Measured, rounded(short))


def reliability_bins(calibration: Mapping[str, Any]) -> list[tuple[float, float, int]]:
    """Return mean probability, share of right answers, and number of recordings of each bin."""
    return [(b["probability"], b["right"], b["n"]) for b in calibration["reliability"]]


def _robustness(figures: Any) -> Robustness:
    (shipped, *others), conditions = FRONT_ENDS, figures["conditions"]
    heard = [(c["group"], c["name"], c[shipped]["unweighted"], c[shipped]["same_label"]) for c in conditions]
    clipped = ("clipped", "same_label_clipped", "same_label_unclipped")
    return {
        "every": figures["every"],
        "recordings": figures["recordings"],
        "corpora": [str(corpus) for corpus in figures.get("corpora", [])],
        "bars": figures["bars"],
        "rows": [(*row, *(c[k]["unweighted"] for k in others)) for row, c in zip(heard, conditions, strict=True)],
        "gain": [(c["name"], c[shipped]["same_label"], *map(c.get, clipped)) for c in conditions if "clipped" in c],
    }


def _other_protocols(evaluations: Sequence[Path]) -> Measured:
    strangers: list[Strangers] = []
    seeds: list[Seeds] = []
    settled: dict[str, Any] = {}
    for evaluation in evaluations:
        figures = read_json(evaluation / "metrics.json", "evaluate")
        with reading(evaluation / "metrics.json", again("evaluate")):
            if "table" in figures:
                keys = ("published", "weighted", "unweighted")
                systems = [(name, *map(row.get, keys)) for name, row in figures["table"].items()]
                seeds.append({"protocol": figures["protocol"], "systems": systems})
            else:
                strangers += map(_strangers, figures.get("experiments", {"": figures}).values())
            settled = settled or settled_part(figures)
    names = {evaluation.name: _options(evaluation) for evaluation in evaluations}
    rows = (("also", names), ("strangers", strangers), ("seeds", seeds), ("settled", settled))
    return cast(Measured, {key: row for key, row in rows if row})


def _other_seed(one: Path, evaluation: Path) -> int | None:
    """Return the seed of an evaluation that differs from another in it alone."""
    recipe, usual = _recipe(one), _recipe(evaluation)
    if "seed" not in recipe or recipe == usual or recipe != {**usual, "seed": recipe["seed"]}:
        return None
    names = [read_json(path / "metrics.json", "evaluate").get("name") for path in (one, evaluation)]
    seed: int = recipe["seed"]
    return seed if names[0] == names[1] else None


def _repeat(evaluation: Path, seed: int) -> Repeat:
    figures = read_json(evaluation / "metrics.json", "evaluate")
    with reading(evaluation / "metrics.json", again("evaluate")):
        return {"seed": seed, "options": _options(evaluation), "fold_mean": figures["fold_mean"]}


def _options(evaluation: Path) -> str:
    recipe = _recipe(evaluation)
    return options_of(recipe) if recipe else ""


def _recipe(evaluation: Path) -> dict[str, Any]:
    """Return the recipe of the networks of an evaluation, or nothing where there are none."""
    runs = sorted(evaluation.glob("*/fit.json"))
    if not runs:
        return {}
    fitted = read_json(runs[0], "evaluate")
    with reading(runs[0], again("evaluate")):
        recipe: dict[str, Any] = fitted["recipe"]
        return recipe


def _strangers(figures: Any) -> Strangers:
    row = {key: figures[key] for key in ("protocol", "published", "clips", "speakers") if figures.get(key) is not None}
    for network in ("int8", "float"):
        row[network] = tuple(figures[network][key] for key in ("unweighted", "unweighted_interval", "weighted"))
    groups = figures["int8"]["by_gender"] | figures["int8"].get("by_age", {})
    return cast(Strangers, row | {"any": figures["any_label"]["int8"], "groups": groups})


def rounded(figures: Any) -> Any:
    """Round every float in nested lists and dicts to the three decimals that the page shows, 1.0 to 1."""
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


def sections(short: Measured) -> list[str]:
    """Render the sections of the page that show what `measured` returned."""
    parts: list[str] = []
    if calibration := short.get("calibration"):
        parts += _calibration_section(calibration)
    if robustness := short.get("robustness"):
        parts += _robustness_section(robustness)
    if behavior := short.get("behavior"):
        parts += _behavior_section(behavior)
    if strangers := short.get("strangers"):
        parts += _strangers_section(strangers)
    if seeds := short.get("seeds"):
        parts += _seeds_section(seeds)
    return parts


def _calibration_section(calibration: Calibration) -> list[str]:
    columns = {"share of recordings answered": ".0%", "unweighted accuracy": ".3f", "accuracy": ".3f"}
    of = "strangers, int8, each speaker at the temperature fitted on all the others"
    if calibration.get("by_file"):
        of = "recordings of people who may have been heard before, int8, each part at the temperature of all the others"
    return [
        "## Calibration",
        f"Expected calibration error on {of}: "
        f"{calibration['ece']:.3f}. When the least certain answers are called `uncertain`:",
        table(columns, calibration["coverage"]),
    ]


def where_degraded(robustness: Robustness) -> str:
    """Name the corpora whose recordings were degraded: where others are mel bands alone, not all that were tested."""
    names = [TERMS[corpus][0] for corpus in robustness.get("corpora", []) if corpus in TERMS]
    return f" in {', '.join(names)}" if names else ""


def _robustness_section(robustness: Robustness) -> list[str]:
    columns = {"sound": "", "": "", "accuracy": ".3f", "labels as in clean sound": ".1%"}
    parts = [
        "## Noise, rooms, gain and codecs",
        f"Unweighted accuracy on {robustness['recordings']} recordings of strangers{where_degraded(robustness)}, int8. "
        "The noises, except for the pink one, are of the recordings that were also mixed into training; ratios are of "
        "whole recordings. Denoising and level normalization are not in the device; their columns say what they would "
        "change.",
        table(columns | dict.fromkeys(FRONT_ENDS[1:], ".3f"), robustness["rows"]),
        "\n".join(f"- {name}: {value:.1%}." for name, value in robustness["bars"].items()),
    ]
    if gain := robustness.get("gain"):
        columns = {"gain": "", "labels as in clean sound": ".1%", "recordings that clip": ""}
        parts += [
            "The gain is applied before rounding to 16 bits; recordings that clip are counted apart:",
            table(columns | {"of these": ".1%", "of all others": ".1%"}, gain),
        ]
    return parts


def _behavior_section(behavior: Behavior) -> list[str]:
    columns = {"sound": "", "hours": ".2f", "named events an hour": "", "all events an hour": ".0f"}
    followed, everyday = behavior["transitions"], behavior["everyday"]
    hours, named, events = RATES
    trained, noise = "the other half of `speech`" if "speech" in everyday else "nothing", "noise" in everyday
    rows = [
        (name, rates[hours], rate_text(rates[named], rates[hours]), rates[events]) for name, rates in everyday.items()
    ]
    delay = followed["median_delay_seconds"]
    return [
        "## Events an hour, and transitions between emotions",
        "Events of the running device at the default settings of the version that measured them, which may be others "
        "now; named ones have a label other than `neutral` or `uncertain`, with the 95 % interval as if each came by "
        f"itself. Of the speech {trained} was trained on" + ", the noises were mixed into training" * noise + ":",
        table(columns, rows),
        f"Recordings of one stranger joined without a pause, {followed['transitions']} transitions: "
        f"F1 within 1 s {followed['f1']:.2f} (precision {followed['precision']:.2f}, recall {followed['recall']:.2f}); "
        f"{followed['noticed']:.0%} are followed by a change before the next one"
        + (f", after a median of {delay:.1f} s" if delay is not None else "")
        + f", and {followed['right']:.0%} of those name the new emotion.",
    ]


def _strangers_section(strangers: Sequence[Strangers]) -> list[str]:
    columns = {"protocol": "", "recordings (speakers)": "", "int8, unweighted": "", "int8, accuracy": ".3f"}
    columns |= {"float, unweighted": ".3f", "int8, any label": ".3f", "groups, int8, unweighted": "", "published": ""}
    rows = []
    for row in strangers:
        right, bounds, weighted = row["int8"]
        accuracies = (interval(right, bounds), weighted, row["float"][0], row["any"])
        groups = ", ".join(f"{group} {share:.3f}" for group, share in row["groups"].items())
        recordings = f"{row['clips']} ({row['speakers']})"
        rows.append((row["protocol"], recordings, *accuracies, groups, row.get("published")))
    return [
        "## Other protocols, strangers",
        "Speakers disjoint, networks trained without those they were tested on by the commands at the end of this "
        "page, whose options may be others than those of the file itself. Published figures are "
        "of other networks, trained on the tested corpus alone, while ours heard further ones, and comparable only as "
        "far as their protocol is. Where a whole corpus was left out, "
        "its microphones, its actors and what they were asked for are new as well: expect no more of yours. "
        "Recordings of several corpora are taken together: large ones count more than small ones, and `calm` does "
        "not count as `neutral`. The mean of the corpora, each counting the same, is that of corpora it never heard, "
        "above. "
        'Networks answer with the labels of the corpus alone, but for the column "any label".',
        table(columns, rows),
    ]


def _seeds_section(seeds: Sequence[Seeds]) -> list[str]:
    columns = {"protocol": "", "system": "", "published": "", "accuracy": ".3f", "unweighted": ".3f"}
    return [
        "## Random splits, the same speakers on both sides",
        "These say nothing about strangers. They stand here because student projects publish such figures; their "
        "networks and features are rebuilt as recipes and tested on the same split as ours.",
        table(columns, [(row["protocol"], *system) for row in seeds for system in row["systems"]]),
    ]


def _read(path: Path, command: str) -> tuple[Any, Path]:
    """Read what a command wrote, an empty object where it did not, and return it beside its path."""
    return (read_json(path, command) if path.exists() else {}), path


def interval(value: float, bounds: tuple[float, float]) -> str:
    """Write a value and the interval around it, such as ``0.820 (0.700 to 0.900)``."""
    return f"{value:.3f} ({bounds[0]:.3f} to {bounds[1]:.3f})"


def table(columns: Mapping[str, str], rows: Iterable[Iterable[object]]) -> str:
    """Render a Markdown table of columns, each a title and a format specification; None is shown as a dash.

    Example
    -------
    >>> print(table({"label": "", "share": ".0%"}, [("sad", 0.25), ("calm", None)]))
    | label | share |
    | --- | --- |
    | sad | 25% |
    | calm | – |
    """
    cells = [
        ["–" if value is None else format(value, spec) for value, spec in zip(row, columns.values(), strict=True)]
        for row in rows
    ]
    bar = "\\|"  # within a cell, as of a label, it would end the cell
    lines = [columns, ["---"] * len(columns), *cells]
    return "\n".join(f"| {' | '.join(cell.replace('|', bar) for cell in line)} |" for line in lines)

"""Pictures of an evaluation's figures, drawn from the files that it wrote; matplotlib is imported by the first one."""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from affectd.errors import NoInputError, UnavailableError
from affectd_train.evaluation.denoise import FRONT_ENDS
from affectd_train.files import needed

DOTS_PER_INCH = 80
N_COLORS = 64


def figure(width: float, height: float) -> Any:
    """Make an empty matplotlib figure, in inches, that needs no display.

    Raises
    ------
    UnavailableError
        If matplotlib is not installed.
    """
    try:
        return importlib.import_module("matplotlib.figure").Figure((width, height), layout="constrained")
    except ModuleNotFoundError:
        raise UnavailableError('matplotlib is not installed: pip install "affectd[train]"') from None


def save(picture: Any, path: Path) -> Path:
    """Write a figure as PNG of 64 colors, a third of the size; the same figures give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = io.BytesIO()
    picture.savefig(drawn, dpi=DOTS_PER_INCH)
    image = importlib.import_module("PIL.Image").open(drawn).convert("RGB")
    image.quantize(N_COLORS, dither=0).save(path, "PNG", optimize=True)
    return path


def pictures(evaluation: Path, out: Path) -> list[Path]:
    """Draw the figures that an evaluation has.

    Returns
    -------
    The files: ``confusion``, ``reliability``, ``coverage``, ``learning`` and, after ``affectd-train robustness``,
    ``robustness``, each ``.png``.

    Raises
    ------
    NoInputError
        If the evaluation has no ``metrics.json``.
    """
    figures = json.loads(needed(evaluation / "metrics.json", "evaluate").read_text())
    if "int8" not in figures:
        raise NoInputError(f"{evaluation}: pictures are of evaluations on strangers, this is {figures['protocol']}")
    drawn = [save(confusion(figures), out / "confusion.png")]
    if "calibration" in figures:
        drawn.append(save(reliability(figures["calibration"]), out / "reliability.png"))
        drawn.append(save(coverage(figures["calibration"]), out / "coverage.png"))
    logs = [*sorted((evaluation / "cache").glob("*-loss.jsonl")), *sorted(evaluation.glob("fold-*/*-loss.jsonl"))]
    if logs:
        drawn.append(save(learning(logs), out / "learning.png"))
    if (file := evaluation / "robustness.json").exists():
        drawn.append(save(robustness_curves(json.loads(file.read_text())), out / "robustness.png"))
    return drawn


def confusion(figures: dict[str, Any]) -> Any:
    """Draw both confusion matrices, as shares of each row."""
    picture = figure(11, 5)
    labels = figures["labels"]
    for axes, network in zip(picture.subplots(1, 2), ("float", "int8"), strict=True):
        shares = [[n / max(1, sum(row)) for n in row] for row in figures[network]["confusion"]]
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for i, row in enumerate(shares):
            for j, share in enumerate(row):
                axes.text(
                    j, i, f"{share:.0%}", ha="center", va="center", color="white" if share > 0.5 else "black", size=8
                )
        axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
        axes.set_yticks(range(len(labels)), labels)
        axes.set_xlabel("heard")
        axes.set_ylabel("acted")
        axes.set_title(f"{network}: unweighted accuracy {figures[network]['unweighted']:.3f}")
    return picture


def reliability(calibration: dict[str, Any]) -> Any:
    """Draw how often answers of each probability are right; honest ones lie on the diagonal."""
    picture = figure(5, 4.5)
    axes = picture.subplots()
    bins = calibration["reliability"]
    axes.plot([0, 1], [0, 1], color="gray", linestyle=":")
    axes.bar([b["probability"] for b in bins], [b["right"] for b in bins], width=0.06, alpha=0.6)
    for b in bins:
        axes.text(b["probability"], b["right"] + 0.01, str(b["n"]), ha="center", size=7)
    axes.set(xlim=(0, 1), ylim=(0, 1.05), xlabel="probability of the label", ylabel="share of right answers")
    axes.set_title(f"Expected calibration error {calibration['ece']:.3f}, {calibration['network']}")
    return picture


def coverage(calibration: dict[str, Any]) -> Any:
    """Draw how right the answers are when the less certain ones are called uncertain."""
    picture = figure(5, 4.5)
    axes = picture.subplots()
    curve = calibration["coverage"]
    for key in ("unweighted", "weighted"):
        axes.plot([point["coverage"] for point in curve], [point[key] for point in curve], label=f"{key} accuracy")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="share of recordings that get a label", ylabel="accuracy of those")
    axes.grid(alpha=0.3)
    axes.legend()
    axes.set_title("Coverage and accuracy")
    return picture


def learning(logs: Sequence[Path]) -> Any:
    """Draw the training loss of every phase that was logged."""
    picture = figure(6, 4.5)
    axes = picture.subplots()
    for log in logs:
        lines = [json.loads(line) for line in log.read_text().splitlines() if line]
        # Folds that hold out people of the pretraining corpora pretrain anew: all of these are one kind of line.
        pretraining = not log.parent.name.startswith("fold-")
        name = "pretraining" if pretraining else log.parent.name
        known = {line.get_label() for line in axes.lines}
        axes.plot(
            [line["step"] for line in lines],
            [line["loss"] for line in lines],
            color="gray" if pretraining else None,
            label=None if name in known else name,
            linewidth=1,
        )
    axes.set(xlabel="step", ylabel="loss of one batch, nats")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    axes.set_title("Learning curves")
    return picture


def robustness_curves(figures: dict[str, Any]) -> Any:
    """Draw accuracy over the signal-to-noise ratio, and under everything that has no such ratio."""
    picture = figure(12, 5)
    left, right = picture.subplots(1, 2)
    rows = figures["conditions"]
    clean = rows[0][FRONT_ENDS[0]]["unweighted"]
    groups = list(dict.fromkeys(row["group"] for row in rows if row["group"].startswith("noise")))
    for color, group in enumerate(groups):
        mine = [row for row in rows if row["group"] == group]
        ratios = [int(row["name"].removesuffix(" dB")) for row in mine]
        for front_end, style in zip(FRONT_ENDS[:2], ("-", ":"), strict=True):
            label = group.removeprefix("noise ") if style == "-" else None
            accuracy = [row[front_end]["unweighted"] for row in mine]
            left.plot(ratios, accuracy, style, color=f"C{color}", label=label)
    left.axhline(clean, color="gray", linewidth=1)
    left.axhline(0.85 * clean, color="gray", linewidth=1, linestyle="--")
    left.invert_xaxis()
    left.set(xlabel="signal-to-noise ratio, dB (dotted: denoised)", ylabel="unweighted accuracy", ylim=(0, None))
    left.legend(fontsize=8)
    left.set_title("Noise; gray: clean, and 85 % of it")
    others = [row for row in rows if not row["group"].startswith("noise")]
    right.barh([f"{r['group']}: {r['name']}" for r in others], [r[FRONT_ENDS[0]]["unweighted"] for r in others])
    right.axvline(clean, color="gray", linewidth=1)
    right.invert_yaxis()
    right.set(xlabel="unweighted accuracy", xlim=(0, None))
    right.tick_params(axis="y", labelsize=8)
    right.set_title(f"{figures['recordings']} recordings of strangers")
    return picture

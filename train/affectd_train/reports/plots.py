"""Pictures of an evaluation's figures, drawn from the files that it wrote; matplotlib is imported by the first one."""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from affectd.errors import NoInputError, UnavailableError
from affectd_train.evaluation.denoise import FRONT_ENDS
from affectd_train.files import written_whole
from affectd_train.stored import again, read_json, reading
from affectd_train.training.log import Row, read_log

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
        importlib.import_module("matplotlib").rcParams["text.parse_math"] = False  # labels may have signs of dollars
        return importlib.import_module("matplotlib.figure").Figure((width, height), layout="constrained")
    except ModuleNotFoundError:
        raise UnavailableError('matplotlib is not installed: pip install "affectd[train]"') from None


def save(picture: Any, path: Path) -> Path:
    """Write a figure as PNG, see `as_png`."""
    with written_whole(path) as beside:
        beside.write_bytes(as_png(picture))
    return path


def as_png(picture: Any) -> bytes:
    """Return a figure as PNG of 64 colors, a third of the size; the same figures give the same bytes."""
    drawn, small = io.BytesIO(), io.BytesIO()
    picture.savefig(drawn, dpi=DOTS_PER_INCH)
    image = importlib.import_module("PIL.Image").open(drawn).convert("RGB")
    image.quantize(N_COLORS, dither=0).save(small, "PNG", optimize=True)
    return small.getvalue()


def as_svg(picture: Any) -> bytes:
    """Return a figure as SVG, its words as text; the same figures give the same bytes."""
    drawn = io.BytesIO()
    with importlib.import_module("matplotlib").rc_context({"svg.fonttype": "none", "svg.hashsalt": "affectd"}):
        picture.savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue()


def colors(foreground: str, background: str, *, is_dark: bool) -> AbstractContextManager[Any]:
    """Draw what is drawn in the ``with`` block in the colors of a page."""
    figure(1, 1)  # for the sentence about matplotlib
    lines = ("text", "axes.label", "xtick", "ytick")
    names = [f"{line}color" if line.startswith("axes") else f"{line}.color" for line in lines]
    own = dict.fromkeys([*names, "axes.edgecolor"], foreground)
    own |= dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), background)
    style: AbstractContextManager[Any] = importlib.import_module("matplotlib.style").context(
        ["dark_background" if is_dark else "default", own]
    )
    return style


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
    file = evaluation / "metrics.json"
    figures = read_json(file, "evaluate")
    with reading(file, again("evaluate")):
        if "int8" not in figures:
            raise NoInputError(f"{evaluation}: pictures are of evaluations on strangers, this is {figures['protocol']}")
        drawn = {"confusion": confusion(figures)}
        if calibration := figures.get("calibration"):
            drawn |= {"reliability": reliability(calibration), "coverage": coverage(calibration)}
    places = ("cache/*-loss.jsonl", "cache/*-log.csv", "fold-*/*-loss.jsonl", "fold-*/whole-log.csv")
    if logs := [path for place in places for path in sorted(evaluation.glob(place))]:
        drawn["learning"] = learning(logs)
    if (file := evaluation / "robustness.json").exists():
        with reading(file, again("robustness")):
            drawn["robustness"] = robustness_curves(json.loads(file.read_text()))
    return [save(picture, out / f"{name}.png") for name, picture in drawn.items()]


def confusion(figures: Mapping[str, Any]) -> Any:
    """Draw both confusion matrices, as shares of each row."""
    picture = figure(11, 5)
    labels = figures["labels"]
    for axes, network in zip(picture.subplots(1, 2), ("float", "int8"), strict=True):
        shares = [[n / max(1, sum(row)) for n in row] for row in figures[network]["confusion"]]
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for i, row in enumerate(shares):
            for j, share in enumerate(row):
                color = "white" if share > 0.5 else "black"
                axes.text(j, i, f"{share:.0%}", ha="center", va="center", color=color, size=8)
        axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
        axes.set_yticks(range(len(labels)), labels)
        title = f"{network}: unweighted accuracy {figures[network]['unweighted']:.3f}"
        axes.set(xlabel="heard", ylabel="label" if figures.get("name") == "own" else "acted", title=title)
    return picture


def _single(title: str, xlabel: str, ylabel: str, width: float = 5, **limits: Any) -> tuple[Any, Any]:
    picture = figure(width, 4.5)
    axes = picture.subplots()
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel, **limits)
    return picture, axes


def reliability(calibration: Mapping[str, Any]) -> Any:
    """Draw how often answers of each probability are right; honest ones lie on the diagonal."""
    bins = calibration["reliability"]
    title = f"Expected calibration error {calibration['ece']:.3f}, {calibration['network']}"
    xlabel, ylabel = "probability of the label", "share of right answers"
    picture, axes = _single(title, xlabel, ylabel, xlim=(0, 1), ylim=(0, 1.05))
    axes.plot([0, 1], [0, 1], color="gray", linestyle=":")
    axes.bar([b["probability"] for b in bins], [b["right"] for b in bins], width=0.06, alpha=0.6)
    for b in bins:
        axes.text(b["probability"], b["right"] + 0.01, str(b["n"]), ha="center", size=7)
    return picture


def coverage(calibration: Mapping[str, Any]) -> Any:
    """Draw how right the answers are when the less certain ones are called uncertain."""
    curve = calibration["coverage"]
    xlabel, ylabel = "share of recordings that get a label", "accuracy of those"
    picture, axes = _single("Coverage and accuracy", xlabel, ylabel, xlim=(0, 1), ylim=(0, 1))
    for key in ("unweighted", "weighted"):
        axes.plot([point["coverage"] for point in curve], [point[key] for point in curve], label=f"{key} accuracy")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    return picture


def answer_curves(corpora: Mapping[str, Sequence[Mapping[str, Any]]]) -> Any:
    """Draw precision and share of the first label over the delay of the first event, a curve for each corpus."""
    picture = figure(11, 4.5)
    for axes, key in zip(picture.subplots(1, 2), ("precision", "named"), strict=True):
        for corpus, rows in corpora.items():
            # An utterance may have had no event or no label at all at some setting.
            kept = [row for row in rows if row["delay_seconds"] is not None and row["first"][key] is not None]
            delays = [row["delay_seconds"] for row in kept]
            axes.plot(delays, [row["first"][key] for row in kept], marker=".", label=corpus)
        axes.set(xlabel="median delay of the first event, s", ylabel=f"first label: {key}", ylim=(0, 1))
        axes.grid(alpha=0.3)
    picture.axes[0].legend(loc="lower right", fontsize=8)
    return picture


def learning(logs: Sequence[Path]) -> Any:
    """Draw the loss of every phase that was logged, and how many labels were right; dashed: of held-out speakers."""
    curves = []
    for log in logs:
        with reading(log, "remove it"):
            curves.append((log, read_log(log)))
    has_accuracy = any(row.get("accuracy") is not None for _, rows in curves for row in rows)
    if has_accuracy:
        picture = figure(11, 4.5)
        panels = dict(zip(("loss", "accuracy"), picture.subplots(1, 2), strict=True))
        panels["loss"].set(title="Cross-entropy of labels, nats", xlabel="step")
        panels["accuracy"].set(title="Share of right labels", xlabel="step", ylim=(0, 1))
    else:
        picture, axes = _single("Learning curves", "step", "loss of one batch, nats", width=6)
        panels = {"loss": axes}
    for key, axes in panels.items():
        for log, rows in curves:
            _learning_curves(axes, _phase(log), rows, key)
        axes.grid(alpha=0.3)
        # Not the best place of all curves: on a slow machine looking for it takes seconds, of which Matplotlib warns.
        axes.legend(loc="upper right" if key == "loss" else "lower right", fontsize=7)
    if has_accuracy:
        panels["loss"].set_ylabel("solid: training; dashed: held-out speakers")
    return picture


def _phase(log: Path) -> str:
    # A fold that holds out speakers of the pretraining corpora pretrains again: all pretraining has one legend.
    is_fold = log.parent.name.startswith("fold-")
    if log.name.startswith("pretrain") or not (is_fold or log.name.startswith("whole")):
        return "pretraining"
    return log.parent.name if is_fold else "fine-tuning"


def _learning_curves(axes: Any, name: str, rows: Sequence[Row], key: str) -> None:
    labels = [line.get_label() for line in axes.lines]
    n_others = sum(not label.startswith("_") and label != "pretraining" for label in labels)
    color = "gray" if name == "pretraining" else f"C{n_others}"
    for column, style in ((key, "-"), (f"validation_{key}", "--")):
        kept = [row for row in rows if row.get(column) is not None]
        steps, values = [row["step"] for row in kept], [row[column] for row in kept]
        label = name if style == "-" and name not in labels else None
        axes.plot(steps, values, style, color=color, label=label, linewidth=1)


def draw_learning(run: Path, out: Path | None) -> Path:
    """Draw the learning curves of one run into ``learning.png`` in its folder, or another file.

    Raises
    ------
    NoInputError
        If the run has no log.
    """
    logs = [path for name in ("pretraining-log.csv", "whole-log.csv") if (path := run / name).exists()]
    if not logs:
        fold = min(run.glob("fold-*/whole-log.csv"), default=None)
        where = f"each fold has its own, such as {fold.parent}" if fold else "affectd-train fit writes whole-log.csv"
        raise NoInputError(f"{run}: no log of a training in it; {where}")
    return save(learning(logs), out or run / "learning.png")


def draw_sweep(curves: Mapping[str, tuple[Sequence[float], Sequence[float], str]], best: str | None, out: Path) -> Path:
    """Save the picture of `trials`."""
    return save(trials(curves, best), out)


def trials(curves: Mapping[str, tuple[Sequence[float], Sequence[float], str]], best: str | None) -> Any:
    """Draw how right each trial of a sweep was about the speakers held back, the best one in color.

    Parameters
    ----------
    curves
        Name -> steps, shares of right labels, and what became of the trial.
    """
    picture, axes = _single("Trials of a sweep", "step", "share of right labels, held-out speakers", 8, ylim=(0, 1))
    known: set[str] = set()
    for name, (steps, shares, state) in sorted(curves.items(), key=lambda item: item[0] == best):
        if not steps:
            continue
        style = {"color": "C0", "linewidth": 2.5} if name == best else {"color": "gray", "linewidth": 1}
        label = f"{name}, the best" if name == best else state
        end = {"stopped early": "x", "diverged": "^"}.get(state, "o")
        axes.plot(steps, shares, **style, marker=end, markevery=[-1], label=None if label in known else label)
        known.add(label)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)
    return picture


def robustness_curves(figures: Mapping[str, Any]) -> Any:
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
    left.set_title("Noise; gray: clean, and 85 % of it")
    left.legend(loc="lower left", fontsize=8)
    others = [row for row in rows if not row["group"].startswith("noise")]
    right.barh([f"{r['group']}: {r['name']}" for r in others], [r[FRONT_ENDS[0]]["unweighted"] for r in others])
    right.axvline(clean, color="gray", linewidth=1)
    right.invert_yaxis()
    right.set(xlabel="unweighted accuracy", xlim=(0, None), title=f"{figures['recordings']} recordings of strangers")
    right.tick_params(axis="y", labelsize=8)
    return picture

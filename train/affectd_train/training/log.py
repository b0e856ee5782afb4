"""What is written down while a network is trained: a CSV file that can be drawn, and that goes on where training does.

Imports no Keras, so that a picture is drawn without it.
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from pathlib import Path

import numpy as np

from affectd.arrays import Float32
from affectd.errors import DataError
from affectd_train.files import written_whole
from affectd_train.stored import check, sound

COLUMNS = ("step", "objective", "loss", "accuracy", "validation_loss", "validation_accuracy", "rate", "seconds")
"""Of a log. ``objective``: mean of what was minimized since the row before, with all that a teacher adds. ``loss`` and
``accuracy``: cross-entropy in nats and share of right labels, of the last `BATCHES` batches as they were trained on;
``validation_``: of clips of held-out speakers as they are, empty where there are none. ``rate``: learning rate.
``seconds``: time in training."""

BATCHES = 4
"""Batches of training that ``loss`` and ``accuracy`` are of: one alone is mostly chance."""

Row = dict[str, float | None]
Contexts = tuple[Float32, Float32]
"""Cepstra ``(n, n_frames, n_columns)`` and the probabilities that are right for them, ``(n, n_labels or more)``."""

Listener = Callable[[Path, Sequence[Row]], None]
"""Is told the log and all of its rows; where it raises, training ends."""


class DivergedError(DataError):
    """The loss of training is no number, so that these settings lead nowhere."""


_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def telling(listener: Listener) -> Iterator[None]:
    """Let a function know of every row that training adds to a log in this block, once it is written."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


class TrainingLog:
    """The log of one phase of training.

    It only looks: the network computes without dropout and keeps its weights to the last bit.

    Parameters
    ----------
    path
        The CSV file, which is written whole with every row.
    first
        Steps that are done. Rows of later ones are of a call that was killed before its checkpoint, and dropped.
    n_labels
        Leading outputs of the network that are logits; the others are guesses of what a teacher knows.
    validation
        Contexts that are not trained on.
    """

    def __init__(self, path: Path, first: int, n_labels: int, validation: Contexts | None = None) -> None:
        self.path, self.n_labels, self.validation = path, n_labels, validation
        if not first:  # what is there is of another training
            path.unlink(missing_ok=True)
        rows = read_log(path) if first and path.exists() and sound(path, read_log) else []
        self.rows: list[Row] = [row for row in rows if (row["step"] or 0) <= first]
        self.before = (self.rows[-1]["seconds"] or 0.0) if self.rows else 0.0
        self.began = time.monotonic()
        self.costs: list[float] = []
        self.latest: deque[Contexts] = deque(maxlen=BATCHES)

    def seen(self, batch: Contexts, cost: float) -> None:
        """Note a batch that was trained on, and what it cost."""
        self.latest.append(batch)
        self.costs.append(cost)

    def add(self, step: int, forward: Callable[[Float32], Float32], rate: float) -> None:
        """Write a row; ``forward`` computes the outputs of contexts, ``(n, n_labels or more)``."""
        loss, accuracy = cross_entropy([(forward(x), y) for x, y in self.latest], self.n_labels)
        size = len(self.latest[0][0])
        x, y = self.validation or (np.empty(0, np.float32), np.empty(0, np.float32))
        # All of one size, for which the network is compiled once.
        starts = range(0, len(x), size)
        parts = [(forward(np.resize(x[i : i + size], (size, *x.shape[1:]))), y[i : i + size]) for i in starts]
        parts = [(outputs[: len(truth)], truth) for outputs, truth in parts]
        validation_loss, validation_accuracy = cross_entropy(parts, self.n_labels)
        seconds = round(self.before + time.monotonic() - self.began, 1)
        values = (step, float(np.mean(self.costs)), loss, accuracy, validation_loss, validation_accuracy, rate, seconds)
        self.rows.append(dict(zip(COLUMNS, values, strict=True)))
        self.costs.clear()
        self.latest.clear()  # a call that goes on from here knows no earlier ones either
        self._write()
        if listener := _listener.get():
            listener(self.path, self.rows)

    def _write(self) -> None:
        text = io.StringIO(newline="")
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(COLUMNS)
        lines.writerows(["" if v is None else f"{v:.6g}" for v in row.values()] for row in self.rows)
        with written_whole(self.path) as beside:
            beside.write_text(text.getvalue(), "utf-8")


def cross_entropy(parts: list[Contexts], n_labels: int) -> tuple[float | None, float | None]:
    """Return the mean cross-entropy in nats and the share of right labels, or None where nothing has a label.

    Parameters
    ----------
    parts
        Outputs and targets, both ``(n, n_labels or more)``. A target of equal probabilities is of no label.

    Examples
    --------
    >>> target = np.array([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5]], np.float32)
    >>> cross_entropy([(np.zeros((3, 2), np.float32), target)], 2)
    (0.6931471805599453, 0.5)
    """
    if not parts:
        return None, None
    logits, targets = (np.concatenate(side).astype(np.float64)[:, :n_labels] for side in zip(*parts, strict=True))
    labeled = targets.max(1) > targets.min(1)
    if not labeled.any():
        return None, None
    logits, truth = logits[labeled], targets[labeled].argmax(1)
    highest = logits.max(1)
    total = highest + np.log(np.exp(logits - highest[:, None]).sum(1))
    losses = total - logits[np.arange(len(truth)), truth]
    return float(losses.mean()), float((logits.argmax(1) == truth).mean())


def read_log(path: Path) -> list[Row]:
    """Read a log, or one of an earlier version: a ``.jsonl`` file with ``step`` and ``loss`` of one batch.

    Raises
    ------
    ValueError
        If it is none; other exceptions too.
    """
    text = path.read_text("utf-8")
    if path.suffix == ".jsonl":
        return [{key: float(json.loads(line)[key]) for key in ("step", "loss")} for line in text.splitlines() if line]
    header, *lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    check(tuple(header) == COLUMNS, "other columns than a log has")
    rows = [{key: float(v) if v else None for key, v in zip(COLUMNS, line, strict=True)} for line in lines]
    check(all(row[key] is not None for row in rows for key in ("step", "rate", "seconds")), "a row with gaps")
    check(all((a["step"] or 0) < (b["step"] or 0) for a, b in pairwise(rows)), "steps that do not rise")
    return rows

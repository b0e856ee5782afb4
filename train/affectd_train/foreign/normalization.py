"""Mean and standard deviation of every column, as others store them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from affectd.arrays import Array, Float32
from affectd.errors import DataError, NoInputError
from affectd.recognition.checks import LEAST, MOST

_MEANS, _STDS, _VARIANCES = ("mean", "mean_", "mu"), ("std", "std_", "scale_", "scale", "sigma"), ("var", "var_")
_FORMS = "an .npz or a JSON object with mean and std (or mean_ and scale_), or a CSV of two rows or columns, mean first"
_PICKLE = (
    "np.savez('normalization.npz', mean=scaler.mean_, std=scaler.scale_) in the notebook writes one that can be read"
)


def read_normalization(path: Path, n_columns: int) -> tuple[Float32, Float32]:
    """Read the mean and the standard deviation of every column, each ``(n_columns,)``.

    One number stands for all columns. A variance alone (``var_``) is understood too.

    Raises
    ------
    NoInputError
        If there is no such file.
    DataError
        If it has not two numbers for each column.
    """
    if not path.is_file():
        raise NoInputError(f"--normalization {path}: no such file; none stands for none")
    try:
        mean, std = _read(path)
    except DataError:
        raise
    except Exception as error:  # NumPy, json and zipfile raise many kinds for damaged content
        raise DataError(f"--normalization {path}: cannot be read, expected {_FORMS}") from error
    return _column(path, "mean", mean, n_columns), _column(path, "standard deviation", std, n_columns)


def _read(path: Path) -> tuple[Any, Any]:
    content = path.read_bytes()
    if content.startswith(b"\x80"):
        raise DataError(f"--normalization {path}: a pickle, which may run any code when it is read; {_PICKLE}")
    if content.startswith(b"PK"):
        with np.load(path, allow_pickle=False) as stored:
            return _named(path, dict(stored))
    if content.lstrip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n").startswith(b"{"):  # behind the mark of any Unicode
        return _named(path, json.loads(content))
    names, lines = _head_and_numbers(content.decode("utf-8-sig"))
    table = np.loadtxt(lines, delimiter=",", ndmin=2)
    if table.shape[0] != 2:
        table = table.T
    if table.shape[0] != 2:
        raise DataError(f"--normalization {path}: {table.shape[1]} rows of {table.shape[0]} numbers, expected {_FORMS}")
    if {*names} & {*_MEANS, *_STDS, *_VARIANCES}:
        return _named(path, dict(zip(names, table, strict=False)))
    return table[0], table[1]


def _head_and_numbers(text: str) -> tuple[list[str], list[str]]:
    """Return the names in the head of a table, if it has one, and its other lines."""
    lines = [line.replace(";", ",") for line in text.splitlines() if line.strip()]
    if not (lines and any(letter in lines[0].lower() for letter in "mstv")):
        return [], lines
    return [name.strip(' "').lower() for name in lines[0].split(",")], lines[1:]


def _named(path: Path, stored: Mapping[str, Any]) -> tuple[Any, Any]:
    def first(names: tuple[str, ...]) -> Any:
        return next((stored[name] for name in names if name in stored), None)

    mean, std, variance = first(_MEANS), first(_STDS), first(_VARIANCES)
    if std is None and variance is not None:
        std = np.sqrt(np.asarray(variance, np.float64))
    if mean is None or std is None:
        raise DataError(f"--normalization {path}: has {', '.join(stored) or 'nothing'}, expected {_FORMS}")
    return mean, std


def _column(path: Path, what: str, found: Any, n_columns: int) -> Float32:
    numbers: Array = np.asarray(found, np.float64).ravel()
    if len(numbers) == 1:
        numbers = np.full(n_columns, numbers[0])
    if len(numbers) != n_columns:
        raise DataError(
            f"--normalization {path}: {len(numbers)} numbers for the {what}, expected {n_columns}, one for each column"
        )
    if not (np.abs(numbers) <= MOST).all() or (what != "mean" and not (numbers >= LEAST).all()):
        raise DataError(f"--normalization {path}: the {what} has numbers that are not finite, or none above 0")
    return numbers.astype(np.float32)

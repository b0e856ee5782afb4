"""How a network that was trained elsewhere is given its input: the part of a model file that format 3 adds.

`InputLayout` is the object ``layout`` of ``spec.json``: how the columns of a context become the tensor of the network.
`Hearing` is the object ``hearing``: what is done to a recording before its columns are computed, and to their number.
Either may be null there. `affectd.recognition.whole` does what they say; both are imported only for such a file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar, get_args, get_type_hints

import numpy as np

from affectd.arrays import Array, Float32
from affectd.errors import ModelFileError
from affectd.recognition.checks import Checks, describe, is_count, is_number

MOST_SECONDS = 600.0
"""A longer recording is not heard as a whole: at 16 kHz the samples of this one take 38 MB."""

_RANKS = (2, 3, 4)
_STATISTICS = ("none", "mean", "mean_and_deviation")
_MOST_TRIM_DB = 200.0

Shaped = TypeVar("Shaped", bound=Array)


@dataclass(frozen=True, kw_only=True)
class InputLayout:
    """How the columns of a context become the input of the network, in this order: chosen, pooled, transposed, shaped.

    A file without one has a network with the input ``(1, n_frames, n_columns)``.

    Parameters
    ----------
    shape : tuple of int
        Of the network's input, of rank 2 to 4, the first number being 1: ``(1, n_frames, k)``, the same with ones in
        it such as ``(1, n_frames, k, 1)``, or ``(1, n_frames * k)``; with `transposed` k comes before n_frames, with
        `statistics` there is no n_frames. k is how many `columns` there are, twice that with deviations.
    columns : tuple of int, optional
        Which columns of the `FeatureSpec` the network has, in its order, from 0; None: all, in theirs.
    statistics : str
        ``"mean"`` over the frames instead of the frames, or ``"mean_and_deviation"``: all means, then NumPy's ``std``.
    transposed : bool
        Whether time is the last axis and not the first, as in what librosa gives.

    Examples
    --------
    >>> layout = InputLayout(shape=(1, 2, 3, 1), transposed=True)
    >>> layout.arranged(np.arange(6).reshape(3, 2))[:, :, 0].tolist()
    [[0, 2, 4], [1, 3, 5]]
    """

    shape: tuple[int, ...]
    columns: tuple[int, ...] | None = None
    statistics: Literal["none", "mean", "mean_and_deviation"] = "none"
    transposed: bool = False

    def n_values(self, n_columns: int) -> int:
        """Return the length of the mean and of the deviation of the normalization.

        That is the chosen columns of one frame or, with `statistics`, all that the network is given.
        """
        k = n_columns if self.columns is None else len(self.columns)
        return 2 * k if self.statistics == "mean_and_deviation" else k

    def pooled(self, columns: Float32) -> Float32:
        """Return what is normalized: the chosen columns ``(n, k)`` of ``(n, n_columns)``, or statistics, (1, k)."""
        if self.columns is not None:
            columns = columns[:, self.columns]
        if self.statistics == "none":
            return columns
        statistics = [columns.mean(0, dtype=np.float64)]
        if self.statistics == "mean_and_deviation":
            statistics.append(columns.std(0, dtype=np.float64))
        return np.concatenate(statistics).astype(np.float32)[np.newaxis]

    def arranged(self, values: Shaped) -> Shaped:
        """Return what was `pooled` as ``shape[1:]``, normalized and quantized or not."""
        turned: Any = values.T if self.transposed else values
        arranged: Shaped = turned.reshape(self.shape[1:])
        return arranged

    def checks(self, n_frames: int, n_columns: int) -> Checks:
        """Yield what `affectd.recognition.checks.require` takes."""
        chosen = self.columns
        yield "layout.columns", chosen is None or isinstance(chosen, tuple), "a list of columns, or null", chosen
        if chosen is not None:
            valid = all(type(column) is int and 0 <= column < n_columns for column in chosen)
            yield "layout.columns", valid and chosen != (), f"columns from 0 to {n_columns - 1}", chosen
            yield "layout.columns", len({*chosen}) == len(chosen), "each column once", chosen
        known = isinstance(self.statistics, str) and self.statistics in _STATISTICS
        yield "layout.statistics", known, f"one of {', '.join(_STATISTICS)}", self.statistics
        yield "layout.transposed", type(self.transposed) is bool, "true or false", self.transposed
        shape = self.shape
        valid = isinstance(shape, tuple) and all(is_count(length) for length in shape)
        yield "layout.shape", valid, "a list of whole numbers above 0", shape
        yield "layout.shape", len(shape) in _RANKS and shape[0] == 1, "1 and one to three lengths", shape
        k = self.n_values(n_columns)
        matrix = (n_frames, k) if self.statistics == "none" else (1, k)
        matrix = matrix[::-1] if self.transposed else matrix
        lengths = [length for length in shape if length != 1]
        fits = math.prod(shape) == math.prod(matrix) and lengths in ([n for n in matrix if n != 1], lengths[:1])
        yield "layout.shape", fits, f"{(1, *matrix)}, with ones anywhere or as one row", shape


@dataclass(frozen=True, kw_only=True)
class Hearing:
    """How the network hears a recording: as a whole, without the voice gate and in one voice, as in a notebook.

    In this order it is cut out, trimmed, and brought to a length in samples; the columns of the `FeatureSpec` are
    computed over all that is left, centred, and brought to ``n_frames``. A file without this hears as affectd's own
    network does: contexts of what the gate lets through, padded in front with silence, in five voices.

    Parameters
    ----------
    start_seconds, seconds : float, float or None
        Where the recording is cut out; as ``librosa.load(offset=start_seconds, duration=seconds)``. None: to its end.
    trim_db : float, optional
        Sound this far below the loudest is dropped at both ends, as ``librosa.effects.trim(y, top_db=trim_db)`` does.
    n_samples : int, optional
        The recording is cut to so many samples, or zeros are added.
    centring : str
        What is done to each column over all frames: ``"mean"`` subtracts its mean, ``"mean_and_deviation"`` also
        divides by its deviation (plus 1e-8).
    fill : str
        What is added to too few frames: rows of ``"zeros"``, as ``np.pad`` adds to columns; of the ``"mean"`` of the
        normalization, which are zeros after it; or the frames again, ``"repeat"``, as ``np.pad(mode="wrap")`` does.
        ``"none"``: all frames are taken, many or few, which needs `InputLayout.statistics`.
    pad_at, cut_at : str
        Where samples and frames are added, and where they are cut off: at the ``"end"``, the ``"start"`` or at
        ``"both"``, half of them each; of an odd number the end has one more.

    Examples
    --------
    >>> Hearing(n_samples=48000).fill, Hearing(fill="mean", pad_at="start").cut_at
    ('zeros', 'end')
    """

    start_seconds: float = 0.0
    seconds: float | None = None
    trim_db: float | None = None
    n_samples: int | None = None
    centring: Literal["none", "mean", "mean_and_deviation"] = "none"
    fill: Literal["none", "zeros", "mean", "repeat"] = "zeros"
    pad_at: Literal["end", "start", "both"] = "end"
    cut_at: Literal["end", "start", "both"] = "end"

    def checks(self, layout: InputLayout | None, sample_rate: int) -> Checks:
        """Yield what `affectd.recognition.checks.require` takes."""
        start, seconds, trim_db, n = self.start_seconds, self.seconds, self.trim_db, self.n_samples
        limit = f"{MOST_SECONDS:g}"
        yield "hearing.start_seconds", is_number(start) and 0 <= start <= MOST_SECONDS, f"0 to {limit}", start
        valid = seconds is None or (is_number(seconds) and 0 < seconds <= MOST_SECONDS)
        yield "hearing.seconds", valid, f"a number above 0, up to {limit}, or null", seconds
        valid = trim_db is None or (is_number(trim_db) and 0 < trim_db <= _MOST_TRIM_DB)
        yield "hearing.trim_db", valid, f"a number above 0, up to {_MOST_TRIM_DB:g}, or null", trim_db
        valid = n is None or (is_count(n) and n <= MOST_SECONDS * sample_rate)
        yield "hearing.n_samples", valid, f"a whole number above 0, up to {limit} seconds, or null", n
        hints = get_type_hints(Hearing)
        for name in ("centring", "fill", "pad_at", "cut_at"):
            value, known = getattr(self, name), get_args(hints[name])
            yield f"hearing.{name}", isinstance(value, str) and value in known, f"one of {', '.join(known)}", value
        pools = layout is not None and layout.statistics != "none"
        yield "hearing.fill", pools or self.fill != "none", "zeros, mean or repeat without layout.statistics", "none"
        yield "hearing.fill", not pools or self.fill != "mean", "another one than mean with layout.statistics", "mean"


Part = TypeVar("Part", InputLayout, Hearing)


def read_part(kind: type[Part], field: str, found: object) -> Part | None:
    """Read the object ``layout`` or ``hearing`` of ``spec.json``; what it leaves out is at its default.

    Its values are checked by `ModelFile`, or by `affectd.recognition.checks.require` of its ``checks``.

    Raises
    ------
    ModelFileError
        It is no object, or a key is not known or missing.

    Examples
    --------
    >>> read_part(InputLayout, "layout", {"shape": [1, 40], "statistics": "mean"}).shape
    (1, 40)
    >>> read_part(Hearing, "hearing", {"trim": 30})
    Traceback (most recent call last):
    affectd.errors.ModelFileError: hearing.trim: is not known; there are start_seconds, seconds, trim_db, n_samples, \
centring, fill, pad_at, cut_at
    """
    if found is None:
        return None
    if not isinstance(found, dict):
        raise ModelFileError(f"{field}: expected an object or null, found {describe(found)}")
    names = [part.name for part in fields(kind)]
    for name in found:
        if name not in names:
            raise ModelFileError(f"{field}.{str(name)[:60]}: is not known; there are {', '.join(names)}")
    if kind is InputLayout and "shape" not in found:
        raise ModelFileError(f"{field}.shape: is missing")
    values: dict[str, Any] = {name: tuple(x) if isinstance(x, list) else x for name, x in found.items()}
    return kind(**values)


def read_parts(spec: dict[str, Any]) -> dict[str, InputLayout | Hearing | None]:
    """Read both objects of a ``spec.json``.

    Raises
    ------
    ModelFileError
        As `read_part`, or neither is there.
    """
    parts = {
        "layout": read_part(InputLayout, "layout", spec["layout"]),
        "hearing": read_part(Hearing, "hearing", spec["hearing"]),
    }
    if not any(parts.values()):
        raise ModelFileError("format: expected 1 or 2 for a file without layout and hearing, found 3")
    return parts

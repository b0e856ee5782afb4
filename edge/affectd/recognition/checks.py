"""What a value out of a file is before it is believed."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import MISSING, fields
from typing import TypeVar

import numpy as np
from numpy.typing import DTypeLike

from affectd.arrays import Array
from affectd.errors import ModelFileError

MOST = 1e9
"""Far beyond every real value, and products of these are still finite in float32."""
LEAST = 1e-9
_MOST_MESSAGE = 300

Value = TypeVar("Value")

Checks = Iterator[tuple[str, bool, str, object]]
"""Yields (field, is valid, expected, found); each check may rely on those before it."""


def require(checks: Checks) -> None:
    """Raise ModelFileError at the first check that fails; the message names the field."""
    for field, valid, expected, found in checks:
        if not valid:
            raise ModelFileError(f"{field}: expected {expected}, found {describe(found)}")


def is_number(value: object) -> bool:
    """Return whether it is a number up to `MOST`, and no NaN."""
    # The comparison is false for NaN, and exact for integers too large for a float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MOST


def within(field: str, part: object, ranges: Mapping[str, tuple[float, float]]) -> Checks:
    """Check that attributes of a part are numbers in these ranges."""
    for name, (low, high) in ranges.items():
        value = getattr(part, name)
        is_valid = is_number(value) and low <= value <= high
        yield f"{field}.{name}", is_valid, f"a number from {low:g} to {high:g}", value


def read_numbers(kind: type[Value], field: str, found: object) -> Value:
    """Make a dataclass of the object `field` of ``spec.json``; its values are not checked here.

    Raises
    ------
    ModelFileError
        It is no object, or its keys are not the fields of the dataclass; one with a default may be missing.
    """
    names = [key.name for key in fields(kind)]  # type: ignore[arg-type]
    needed = {key.name for key in fields(kind) if key.default is MISSING}  # type: ignore[arg-type]
    if not isinstance(found, dict) or not needed <= set(found) <= set(names):
        raise ModelFileError(f"{field}: expected an object with {', '.join(names)}, found {describe(found)}")
    return kind(**found)


def finite(field: str, array: Array) -> Checks:
    """Check that the numbers of an array are finite, and at most `MOST`."""
    largest = float(np.abs(array).max(initial=0.0))  # NaN where there is one
    yield field, largest <= MOST, f"finite numbers up to {MOST:g}", largest


def is_count(value: object) -> bool:
    """Return whether it is a whole number above 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def is_line(value: object) -> bool:
    """Return whether it is printable text without spaces around it."""
    return isinstance(value, str) and value != "" and value.strip() == value and value.isprintable()


def is_array(value: object, dtype: DTypeLike, *shape: int) -> bool:
    """Return whether it is an array of this type and shape."""
    return isinstance(value, np.ndarray) and value.dtype == dtype and value.shape == shape


def is_json(value: object, depth: int) -> bool:
    """Return whether all numbers in it are finite, and it has at most `depth` levels."""
    if isinstance(value, dict | list):
        values = value.values() if isinstance(value, dict) else value
        return depth > 0 and all(is_json(inner, depth - 1) for inner in values)
    return not isinstance(value, float) or math.isfinite(value)


def describe(value: object) -> str:
    """Return a short description for a message."""
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else reprlib.repr(value)


def parse(field: str, read: Callable[[], Value]) -> Value:
    """Call `read`; whatever it raises becomes a ModelFileError that names the field."""
    try:
        return read()
    # struct, zlib, json and NumPy raise many kinds of exceptions for damaged input, such as RecursionError.
    except Exception as error:
        reason = " ".join(str(error).split())[:_MOST_MESSAGE] or type(error).__name__
        raise ModelFileError(f"{field}: cannot be read: {reason}") from error


def check_keys(field: str, expected: Collection[str], found: Collection[str]) -> None:
    """Raise ModelFileError unless these are all the keys."""
    missing = [key for key in expected if key not in found]
    surplus = [key for key in found if key not in expected]
    if missing or len(found) != len(expected):
        names = ", ".join(expected)
        raise ModelFileError(f"{field}: expected {names}; missing {missing}, not known {describe(surplus)}")

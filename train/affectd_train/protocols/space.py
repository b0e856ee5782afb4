"""The file of a sweep: which settings of the recipe to try on which recordings; each trial drawn from its seed.

Imports no Keras, so that what cannot be tried is refused at once.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from affectd.config.fields import shown, toml
from affectd.errors import ConfigError, UsageError
from affectd_train.training import recipe_spec
from affectd_train.training.recipe import Recipe, documented_numbers
from affectd_train.training.recipe_file import meant, read_toml

MOST_TRIALS = 1000

Settings = tuple[str, ...]
"""Of one trial: each ``KEY=VALUE``, as ``--set`` takes it."""


class Range(NamedTuple):
    """Numbers from `low` to `high`, drawn evenly, or evenly in their logarithms."""

    low: float
    high: float
    is_log: bool
    is_whole: bool

    def draw(self, generator: random.Random) -> str:
        """Draw a number of four digits."""
        low, high = (math.log(end) if self.is_log else end for end in (self.low, self.high))
        value = generator.uniform(low, high)
        value = math.exp(value) if self.is_log else value
        value = min(max(float(f"{value:.4g}"), self.low), self.high)
        return str(round(value) if self.is_whole else value)


@dataclass(frozen=True, kw_only=True)
class Space:
    """What a file of a sweep says."""

    path: Path
    values: Mapping[str, list[str] | Range]  # key of the recipe -> what to try
    trials: int | None = None
    seed: int = 0
    grace: int | None = None  # batches before a trial may be stopped
    reduction: int = 3  # of so many trials one goes on
    hold_out: tuple[str, ...] = ()  # speakers who neither train nor choose
    options: Mapping[str, Any]  # of fit, by their names in `argparse`

    def drawn(self) -> list[Settings]:
        """Draw the settings of every trial, no two alike: all combinations, unless a number of trials is given.

        More trials of the same space begin with the same ones. Where there are fewer combinations, they are fewer.
        """
        lists = [values for values in self.values.values() if isinstance(values, list)]
        if self.trials is None:
            if len(lists) < len(self.values):
                raise ConfigError(f"{self.path}: trials is missing: how many, where a setting has a range?")
            if (n := math.prod(map(len, lists))) > MOST_TRIALS:
                raise ConfigError(f"{self.path}: trials is missing: there are {n} combinations of the values")
            return [self._settings(values) for values in itertools.product(*lists)]
        generator = random.Random(self.seed)
        found: dict[Settings, None] = {}
        for _ in range(100 * self.trials):
            found[self._settings([_draw(values, generator) for values in self.values.values()])] = None
            if len(found) == self.trials:
                break
        return list(found)

    def _settings(self, values: Any) -> Settings:
        return tuple(f"{key}={value}" for key, value in zip(self.values, values, strict=True))

    def recipes(self, recipe_of: Callable[[argparse.Namespace], Recipe]) -> dict[Settings, Recipe]:
        """Make the recipe of every trial.

        Raises
        ------
        ConfigError
            If the recipe has no such setting, or a value is impossible, also one that no trial has drawn.
        """

        def recipe(settings: Settings) -> Recipe:
            return recipe_of(argparse.Namespace(**self.options, set=settings))

        try:
            for key, values in self.values.items():
                ends = values if isinstance(values, list) else [_number(values, end) for end in values[:2]]
                if not key.startswith("spec."):  # whose values may fit one another alone
                    for value in ends:
                        recipe((f"{key}={value}",))
            return {settings: recipe(settings) for settings in self.drawn()}
        except UsageError as error:
            raise ConfigError(f"{self.path}: [set] {str(error).removeprefix('--set ')}") from None


def _draw(values: list[str] | Range, generator: random.Random) -> str:
    return generator.choice(values) if isinstance(values, list) else values.draw(generator)


def _number(values: Range, end: Any) -> str:
    return str(int(end) if values.is_whole and end == int(end) else end)


def read_space(path: Path) -> Space:
    """Read a file of a sweep.

    Raises
    ------
    NoInputError
        If it cannot be opened.
    ConfigError
        If it is not TOML, or a key is unknown or of another type; the message names the key.
    """
    table = read_toml(path, "docs/sweeps.md shows one")
    try:
        return Space(path=path, **_checked(table))
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


_NUMBERS = {"trials": 1, "seed": 0, "grace": 1, "reduction": 2}
"""key -> lowest value."""

_PATHS = ("data", "labels", "recipe", "start", "teacher")
_LISTS = ("corpora", "hold_out")


def _checked(table: Mapping[str, Any]) -> dict[str, Any]:
    known = [*_PATHS, *_LISTS, *_NUMBERS, "set"]
    for key, value in table.items():
        if key not in known:
            raise ValueError(f"a sweep has no key {key}{meant(key, known)}")
        if key in _PATHS and not (isinstance(value, str) and value):
            raise ValueError(f"{key} = {shown(value)}: must be a path in quotation marks")
        if key in _LISTS and not (isinstance(value, list) and all(isinstance(name, str) for name in value)):
            raise ValueError(f'{key} = {shown(value)}: must be a list of names, such as ["a", "b"]')
        if key in _NUMBERS and not (type(value) is int and _NUMBERS[key] <= value < 2**31):
            raise ValueError(f"{key} = {shown(value)}: must be a whole number, {_NUMBERS[key]} or more")
    if "data" not in table:
        raise ValueError("data is missing: the folder of the recordings")
    if not isinstance(table.get("set", {}), dict) or not table.get("set"):
        raise ValueError("[set] is missing: which values of which settings to try")
    if table.get("trials", 0) > MOST_TRIALS:
        raise ValueError(f"trials = {table['trials']}: must be {MOST_TRIALS} or less")
    options: dict[str, Any] = {key: Path(table[key]) if key in table else None for key in _PATHS}
    options["corpora"] = ",".join(table.get("corpora", [])) or None
    numbers = {key: table[key] for key in _NUMBERS if key in table}
    values = dict(_value(key, value) for key, value in _flat(table["set"]).items())
    return {"options": options, "values": values, "hold_out": tuple(table.get("hold_out", ())), **numbers}


def _flat(table: Mapping[str, Any]) -> dict[str, Any]:
    spec = table.get("spec", {})
    if not isinstance(spec, dict):
        raise ValueError(f"[set] spec = {shown(spec)}: must be a table, [set.spec]")
    return {key: value for key, value in table.items() if key != "spec"} | {f"spec.{k}": v for k, v in spec.items()}


def _value(key: str, value: Any) -> tuple[str, list[str] | Range]:
    """Read what is to be tried of a setting: a value, a list of them, or a range."""
    if isinstance(value, dict):
        return key, _range(key, value)
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(one, bool | int | float | str) for one in values):
        words = "must be a value, a list of them, or a range such as {low = 1, high = 10, log = true}"
        raise ValueError(f"[set] {key} = {shown(value)}: {words}")
    texts = [str(toml(one)).strip('"') for one in values]
    if len(set(texts)) < len(texts):
        raise ValueError(f"[set] {key} = {shown(value)}: a value is there twice")
    return key, texts


def _range(key: str, table: Mapping[str, Any]) -> Range:
    for word in table:
        if word not in ("low", "high", "log"):
            raise ValueError(f"[set] {key}: a range has no key {word}{meant(word, ('low', 'high', 'log'))}")
    low, high, is_log = (table.get(word, missing) for word, missing in (("low", None), ("high", None), ("log", False)))
    for end in (low, high):
        # An integer of TOML may be larger than any float.
        if not isinstance(end, int | float) or isinstance(end, bool) or not abs(end) <= sys.float_info.max:
            raise ValueError(f"[set] {key}: a range needs low and high, which are numbers")
    if not isinstance(is_log, bool):
        raise ValueError(f"[set] {key}: log = {shown(is_log)}: must be true or false")
    if not low < high:
        raise ValueError(f"[set] {key}: low = {shown(low)} must be less than high = {shown(high)}")
    if is_log and low <= 0:
        raise ValueError(f"[set] {key}: low = {shown(low)} must be more than 0 where log is true")
    kinds = {number.key: number.kind for number in documented_numbers()}
    kinds |= {f"spec.{field}": kind for field, kind in recipe_spec.spec_kinds().items()}
    return Range(low, high, is_log, kinds.get(key) == "int")

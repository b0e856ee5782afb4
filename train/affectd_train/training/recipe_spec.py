"""The front end in a recipe: printed with its sentences, changed by a table or by ``--set``, each value checked."""

from __future__ import annotations

import dataclasses
import inspect
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from affectd.config.fields import nearest, shown, toml
from affectd.features.spec import FeatureSpec

if TYPE_CHECKING:
    from affectd_train.training.recipe import Recipe

NONE = "none"
"""What stands for None, of which TOML has no word."""


def spec_sentences() -> dict[str, str]:
    """Return what the docstring of `FeatureSpec` says of each field.

    Examples
    --------
    >>> spec_sentences()["n_mels"]
    'Number of mel filters.'
    """
    text = (inspect.getdoc(FeatureSpec) or "").split("\nAttributes\n", 1)[1].split("\nNotes\n", 1)[0]
    found = re.findall(r"^(\w[\w, ]*)\n((?:    .+\n)+)", text, re.MULTILINE)
    plain = {names: " ".join(words.replace("`", "").replace("None", f'"{NONE}"').split()) for names, words in found}
    return {name: words for names, words in plain.items() for name in names.split(", ")}


def spec_kinds() -> dict[str, str]:
    """Say of each field what it may be.

    Examples
    --------
    >>> spec_kinds()["deltas"], spec_kinds()["top_db"]
    ('"none", "first" or "second"', 'float or "none"')
    """
    return {field: _kind(hint) for field, hint in _hints().items()}


def spec_value(value: Any) -> str:
    """Write the value of a field as TOML."""
    return toml(NONE if value is None else value)


def as_settings(spec: Mapping[str, Any], usual: FeatureSpec) -> list[str]:
    """List what `changed_spec` has to be told, as ``KEY=VALUE``, to make a specification of the usual one.

    Examples
    --------
    >>> as_settings(FeatureSpec(n_mfcc=13, top_db=None).to_dict(), FeatureSpec())
    ['top_db=none', 'n_mfcc=13']
    """
    mine, theirs = dataclasses.asdict(FeatureSpec.from_dict(dict(spec))), dataclasses.asdict(usual)
    changed = {key: value for key, value in mine.items() if value != theirs[key]}
    return [f"{key}={NONE if value is None else str(toml(value)).strip(chr(34))}" for key, value in changed.items()]


def changed_spec(spec: FeatureSpec, changes: Mapping[str, Any]) -> FeatureSpec:
    """Change fields of a specification, of TOML's types.

    Raises
    ------
    ValueError
        If a field is unknown, or a value of another type or impossible; the message names the field.
    """
    hints = _hints()
    values = {}
    for key, value in changes.items():
        if key not in hints:
            near = nearest(key, list(hints))
            raise ValueError(f"the recipe has no key spec.{key}{f'; did you mean spec.{near}?' if near else ''}")
        values[key] = _read(key, value, hints[key])
    try:
        return dataclasses.replace(spec, **values)
    except ValueError as error:
        raise ValueError(f"spec.{error}") from None


def from_text(text: str) -> Any:
    """Read the value of ``--set``: a number, true or false, or a word.

    Examples
    --------
    >>> from_text("40"), from_text("first"), from_text("true")
    (40, 'first', True)
    """
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def misfit(recipe: Recipe) -> str:
    """Say what training, or the model file, cannot do with a front end that is possible by itself; "" for nothing."""
    return next((f"{key} = {shown(value)}: {rule}" for key, value, fits, rule in _rules(recipe) if not fits), "")


def _rules(recipe: Recipe) -> Iterator[tuple[str, Any, bool, str]]:
    spec = recipe.spec
    yield "spec.log", spec.log, spec.log == "decibel", 'must be "decibel", in which training adds noise to bands'
    rate = f"must give 1 to 1000 frames per second, not {spec.frame_rate:g}"
    yield "spec.hop_length", spec.hop_length, 1 <= spec.frame_rate <= 1000, rate
    overlaps = spec.window_length <= 64 * spec.hop_length
    yield "spec.hop_length", spec.hop_length, overlaps, f"must be 1/64 of window_length = {spec.window_length} or more"
    for key in ("n_frames", "pretrain_frames"):
        frames, least = getattr(recipe, key), 1 if spec.deltas == NONE else spec.delta_width
        yield key, frames, frames >= least, f"must be spec.delta_width = {least} or more"


def _hints() -> dict[str, Any]:
    return get_type_hints(FeatureSpec)


def _choices(hint: Any) -> list[Any]:
    """List the values of a field that has a few; nothing for numbers."""
    parts = (hint, *get_args(hint))  # a literal, or one or None
    literal = [value for part in parts if get_origin(part) is Literal for value in get_args(part)]
    return [*literal, NONE] if literal and type(None) in parts else literal


def _kind(hint: Any) -> str:
    if choices := _choices(hint):
        return _listed(choices)
    if hint is bool:
        return "true or false"
    return "int" if hint is int else f'float or "{NONE}"' if type(None) in get_args(hint) else "float"


def _listed(choices: Collection[Any]) -> str:
    *first, last = map(toml, choices)
    return f"{', '.join(first)} or {last}" if first else last


def _read(key: str, value: Any, hint: Any) -> Any:
    choices = _choices(hint)
    if choices and not any(type(value) is type(choice) and value == choice for choice in choices):
        near = nearest(value, [c for c in choices if isinstance(c, str)]) if isinstance(value, str) else None
        hint_ = f"; did you mean {near}?" if near else ""
        raise ValueError(f"spec.{key} = {shown(value)}: must be {_listed(choices)}{hint_}")
    return None if value == NONE and type(None) in get_args(hint) else value

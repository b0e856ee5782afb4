"""A recipe as TOML: printed with its sentences, read back with every key checked.

Imports no Keras, so that a recipe is printed, and refused, at once.
"""

from __future__ import annotations

import dataclasses
import textwrap
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from affectd.config.fields import nearest, shown, toml
from affectd.errors import ConfigError, NoInputError, UsageError
from affectd.recognition.model_file import read_model
from affectd_train.data.labels import CORPORA
from affectd_train.data.table_rows import encoding_of
from affectd_train.data.terms import check_may_train
from affectd_train.stored import reading
from affectd_train.training import recipe_spec
from affectd_train.training.recipe import (
    Recipe,
    documented_numbers,
    out_of_range,
    sentences,
    with_corpora,
    with_settings,
    with_start,
)

_INTRODUCTION = """\
What affectd-train trains by: fit and evaluate read it with --recipe FILE. A key that is left out is as in the recipe
that fit and evaluate have without a file."""


def asked_recipe(
    *,
    file: Path | None,
    settings: Iterable[str],
    corpora: Iterable[str],
    teacher: Path | None,
    start: Path | None = None,
) -> Recipe:
    """Make the recipe of a command: what the command line says, over the file, over the default.

    Raises
    ------
    ConfigError, NoInputError
        If the file is no recipe, or its front end none to train with; if it, or the teacher, is not there.
    UsageError
        If the command line asks for what is no recipe, or goes with no weights of `start`, or for a corpus that never
        trains.
    """
    base = with_start(Recipe(), start, read_model(start)) if start else Recipe()
    recipe = read_recipe(file, base) if file else base
    recipe = with_settings(recipe, settings)
    if start and (other := _otherwise(recipe, base)):
        raise UsageError(f"--start {start} does not go with {other}: its weights are those of another network")
    if names := tuple(corpora):
        check_may_train(names)
        recipe = with_corpora(recipe, names)
    if teacher:
        recipe = dataclasses.replace(recipe, teacher=str(teacher))
    if wrong := recipe_spec.misfit(recipe):
        raise ConfigError(f"{file}: {wrong}" if file else wrong)
    if recipe.teacher and not Path(recipe.teacher).is_file():
        raise NoInputError(f"{recipe.teacher}: no such file; docs/training.md says where to get the teacher")
    return recipe


def _otherwise(recipe: Recipe, start: Recipe) -> str:
    """Return what a recipe has otherwise than the model file that it starts from, whose weights go with it."""
    changed = [f"spec.{setting}" for setting in recipe_spec.as_settings(recipe.spec.to_dict(), start.spec)]
    if recipe.n_embedding != start.n_embedding:
        changed.append(f"n_embedding={recipe.n_embedding}")
    return changed[0] if changed else ""


def recipe_toml(recipe: Recipe) -> str:
    r"""Write a recipe as TOML, each key below its sentence.

    Examples
    --------
    >>> print(recipe_toml(Recipe()).split("\n\n")[1])
    # Frames that the network sees, 16 ms each: 3.0 s of sound. (int, 1 to 4096)
    n_frames = 188
    """
    words = sentences() | {number.key: f"{number.words} ({number.bounds()})" for number in documented_numbers()}
    keys = [key for key in words if key not in ("shares", "spec")]
    parts = [f"{_comment(words[key])}\n{key} = {_value(getattr(recipe, key))}" for key in keys]
    shares = [f"{name} = {toml(share)}" for name, share in recipe.shares.items()]
    parts += ["\n".join([_comment(words["shares"]), "[shares]", *shares]), *_spec_toml(recipe)]
    return "\n\n".join([_comment(_INTRODUCTION), *parts])


def _spec_toml(recipe: Recipe) -> Iterator[str]:
    yield f"{_comment(sentences()['spec'])}\n[spec]"
    words, kinds = recipe_spec.spec_sentences(), recipe_spec.spec_kinds()
    for key, value in dataclasses.asdict(recipe.spec).items():
        yield f"{_comment(f'{words[key]} ({kinds[key]})')}\n{key} = {recipe_spec.spec_value(value)}"


def _comment(words: str) -> str:
    return "\n".join(textwrap.wrap(words, 100, initial_indent="# ", subsequent_indent="# "))


def _value(value: Any) -> str:
    return f"[{', '.join(map(toml, value))}]" if isinstance(value, tuple) else toml(value)


def read_toml(path: Path, remedy: str) -> dict[str, Any]:
    """Read a file of TOML; see `read_recipe` for what is raised, and `reading` for the remedy."""
    with reading(path, remedy):
        content = path.read_bytes()
    try:
        return tomllib.loads(content.decode(encoding_of(content)))
    except UnicodeDecodeError as error:
        line = 1 + content.count(b"\n", 0, error.start)
        raise ConfigError(f"{path}: line {line} is not UTF-8; save it as UTF-8") from error
    except (ValueError, RecursionError) as error:  # also for numbers of thousands of digits
        raise ConfigError(f"{path}: not TOML: {error or 'nested too deeply'}") from error


def read_recipe(path: Path, base: Recipe) -> Recipe:
    """Read a file of `recipe_toml`; what is not in it is as in `base`.

    Raises
    ------
    NoInputError
        If it cannot be opened.
    ConfigError
        If it is not TOML, or a key is unknown, of another type or out of its range; the message names the key.
    """
    table = read_toml(path, "affectd-train recipe prints one")
    try:
        changes = dict(_checked(table, base))
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    shares = base.shares | changes.pop("shares", {})
    corpora = changes.pop("corpora", base.corpora)
    return with_corpora(dataclasses.replace(base, shares=shares, **changes), corpora)


def _checked(table: Mapping[str, Any], base: Recipe) -> Iterator[tuple[str, Any]]:
    """Yield every key with its value as `Recipe` has it; ValueError says what is wrong with one."""
    others: dict[str, Callable[[str, Any], Any]] = {
        "corpora": _corpora,
        "target": _corpus,
        "shares": _shares,
        "teacher": _text,
        "spec": lambda key, value: recipe_spec.changed_spec(base.spec, _table(key, value)),
    }
    kinds = {number.key: number.kind for number in documented_numbers()}
    for key, value in table.items():
        if key in kinds:
            yield key, _number(key, value, kinds[key])
        elif key in others:
            yield key, others[key](key, value)
        else:
            raise ValueError(f"the recipe has no key {key}{meant(key, [*kinds, *others])}")


def meant(word: str, known: Iterable[str]) -> str:
    """Return the end of a sentence about an unknown word: which of the known ones was meant, if one is near."""
    near = nearest(word, list(known))
    return f"; did you mean {near}?" if near else ""


def _number(key: str, value: Any, kind: str) -> float:
    numbers = (int,) if kind == "int" else (int, float)
    if not isinstance(value, numbers) or isinstance(value, bool):
        raise ValueError(f"{key} = {shown(value)}: must be {'a whole number' if kind == 'int' else 'a number'}")
    if wrong := out_of_range(key, value):
        raise ValueError(f"{key} = {shown(value)}: {wrong}")
    return value if kind == "int" else float(value)


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{key} = {shown(value)}: must be a text in quotation marks")
    return value


def _corpus(key: str, value: Any) -> str:
    name = _text(key, value)
    if name not in CORPORA:
        raise ValueError(f"{key}: no corpus is called {shown(name)}{meant(name, CORPORA)}")
    return name


def _corpora(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError(f'{key} = {shown(value)}: must be a list of corpora, such as ["cremad", "emodb"]')
    names = tuple(_corpus(key, name) for name in value)
    check_may_train(names)
    if len(set(names)) < len(names):
        raise ValueError(f"{key} = {shown(value)}: a corpus is named twice")
    return names


def _table(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{key} = {shown(value)}: must be a table, [{key}]")
    return value


def _shares(key: str, value: Any) -> dict[str, float]:
    shares = {}
    for name, share in _table(key, value).items():
        shares[_corpus(key, name)] = _number(f"{key}.{name}", share, "float")
        if not share:
            raise ValueError(f"{key}.{name} = {shown(share)}: must be more than 0; leave the corpus out of corpora")
    return shares

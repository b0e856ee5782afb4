"""One setting: its declaration with default and range, its check, and its parsing from text.

The annotation of the field is its type: ``str``, ``bool``, ``int`` or ``float``, with ``| None`` if it may be absent.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection
from dataclasses import Field, field, fields
from typing import Any

from affectd.errors import ConfigError

_SHOWN_LENGTH = 60
_MOST_TEXT_BYTES = 1024
_MOST_PATH_BYTES = 4095  # of Linux, PATH_MAX


def setting(
    default: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    pattern: str = ".*",
    words: str = "text",
    is_path: bool = False,
    secret: str = "",
) -> Any:
    """Declare one key of a section: its default and its range.

    Numbers lie from `low` to `high`; text matches `pattern` as a whole, which `words` describe, to follow "must be".
    A wrong value is not shown if `secret` says what to say instead, because it may hold a password.
    """
    about = {"low": low, "high": high, "pattern": pattern, "words": words, "is_path": is_path, "secret": secret}
    return field(default=default, metadata=about)


class Section:
    """Base of the sections, which checks every value.

    Raises
    ------
    ConfigError
        A value has the wrong type or is out of range.
    """

    name = ""

    def __post_init__(self) -> None:
        for key in fields(self):  # type: ignore[arg-type]
            checked(key, getattr(self, key.name), f"[{self.name}] {key.name}")


def checked(key: Field[Any], value: object, where: str) -> object:
    """Return the value, as a float if the key is one.

    Raises
    ------
    ConfigError
        `key` cannot have this value; the message begins with `where`.
    """
    kinds = _kinds(key)
    low, high = key.metadata["low"], key.metadata["high"]
    if value is None:
        fits = "None" in kinds
    elif isinstance(value, str):
        fits = "str" in kinds and re.fullmatch(key.metadata["pattern"], value, re.DOTALL) is not None
    elif isinstance(value, bool):
        fits = "bool" in kinds
    else:
        is_number = isinstance(value, int | float) and {type(value).__name__, "float"} & set(kinds)
        fits = bool(is_number) and low <= value <= high
    if not fits:
        found = key.metadata["secret"] or f", not {shown(value)}"
        raise ConfigError(f"{where} must be {allowed(key)}{found}")
    if isinstance(value, str):
        _check_text(key, value, where)
    return float(value) if "float" in kinds and isinstance(value, int) else value


def _check_text(key: Field[Any], text: str, where: str) -> None:
    is_path = key.metadata["is_path"]
    most = _MOST_PATH_BYTES if is_path else _MOST_TEXT_BYTES
    n_bytes = len(text.encode(errors="surrogatepass"))
    if n_bytes > most:
        raise ConfigError(f"{where} must be text of at most {most} bytes, not of {n_bytes}")
    # In a path, Python keeps bytes that are not UTF-8 as surrogates.
    if "\0" in text or not (is_path or is_utf8(text)):
        raise ConfigError(f"{where} must be UTF-8 text without NUL bytes")


def is_utf8(text: str) -> bool:
    """Return whether text has no surrogates, which Python makes of bytes in a path that are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def allowed(key: Field[Any]) -> str:
    """Describe the values of a key, to follow "must be"."""
    kinds = _kinds(key)
    if "str" in kinds:
        return str(key.metadata["words"])
    if "bool" in kinds:
        return "true or false"
    low, high = key.metadata["low"], key.metadata["high"]
    return f"{'a whole number' if 'int' in kinds else 'a number'} from {low:g} to {high:g}"


def from_text(key: Field[Any], text: str) -> object:
    """Parse the text of an environment variable; return the text itself if it is invalid."""
    kinds = _kinds(key)
    if "bool" in kinds:
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(text.lower(), text)
    try:
        if "int" in kinds:
            return int(text)
        return float(text) if "float" in kinds else text
    except ValueError:
        return text


def nearest(word: str, known: Collection[str], similarity: float = 0.5) -> str | None:
    """Return the known word most similar to `word`, if there is one; `similarity` is 1 for the same word."""
    import difflib  # only for errors: importing takes longer than reading the settings

    near = difflib.get_close_matches(word, known, n=1, cutoff=similarity)
    return near[0] if near else None


def toml(value: object) -> str:
    """Format a value as TOML, on one line of printable characters."""
    if isinstance(value, str):
        quoted = json.dumps(value, ensure_ascii=False)
        return "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in quoted)
    return str(value).lower() if isinstance(value, bool) else str(value)


def shown(value: object) -> str:
    """Format a value for an error message: one line of limited length."""
    try:
        text = toml(value)
    except ValueError:  # Python does not print integers of more than 4300 digits
        return "a number of thousands of digits"
    return text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}..."


def _kinds(key: Field[Any]) -> list[str]:
    return [kind.strip() for kind in str(key.type).split("|")]

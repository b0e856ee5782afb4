"""Reads the settings from four layers; a later one overrides an earlier one.

1. the defaults in `affectd.config.sections`,
2. the file, ``/etc/affectd/affectd.toml`` unless another one is named,
3. the environment, ``AFFECTD_SECTION_KEY``; empty is not set,
4. the command line.

Each layer is checked: an error in the file is found even if the environment overrides the value.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import Field, fields
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from affectd.config.fields import checked, from_text, is_utf8, nearest, shown, toml
from affectd.config.sections import SECTIONS, Config
from affectd.errors import ConfigError, UnavailableError, unreadable
from affectd.files import read_file

SYSTEM_FILE = Path("/etc/affectd/affectd.toml")
"""Read if it exists and no other file is named."""

_PREFIX = "AFFECTD_"
_OLD_ID = "affectd"
_MOST_BYTES = 65536  # many times all settings with their comments; tomllib takes minutes for large nonsense
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # how it begins
_MOST_DOTS = 200  # in a line; likewise for a key of thousands of parts
# Variables of this project's tests.
_NOT_SETTINGS = ("AFFECTD_DATA", "AFFECTD_ROOTS")
# What Kubernetes sets in every container for a service whose name begins with "affectd".
_SERVICE_NAME = re.compile(r"AFFECTD_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
_SERVICE_VALUE = re.compile(r"(tcp|udp|sctp)://")
_NEAR = 0.75
_FILES_OF_MQTT = ("password_file", "ca_file", "cert_file", "key_file")


_log = logging.getLogger(__name__)


class Sourced(NamedTuple):
    """The value of a setting and its origin."""

    value: Any
    origin: str
    """``default``, ``file PATH``, ``environment NAME`` or ``command line``."""


Key = tuple[str, str]
"""The names of a section and of a key in it."""

Settings = dict[str, dict[str, Sourced]]
"""Every setting, by section and key."""


def load_config(path: str | Path | None = None, options: Mapping[Key, object] | None = None) -> Config:
    """Read all settings, anew at each call.

    `path` is read in place of ``/etc/affectd/affectd.toml``; `options` are values from the command line.

    Raises
    ------
    ConfigError
        The file cannot be read or is not TOML, or file or environment have an unknown key or an invalid value.
    UnavailableError
        The file cannot be read now, because the disk or the machine fails.

    Examples
    --------
    >>> config = load_config(options={("audio", "source"): "clip.wav"})
    >>> config.audio.source, config.gate.hangover_seconds
    ('clip.wav', 0.5)
    """
    values = load_settings(path, options)
    return Config(**{name: SECTIONS[name](**{k: s.value for k, s in keys.items()}) for name, keys in values.items()})


def load_settings(path: str | Path | None = None, options: Mapping[Key, object] | None = None) -> Settings:
    """Read all settings with their origins; parameters and exceptions as `load_config`."""
    settings = {
        name: {key.name: Sourced(getattr(section(), key.name), "default") for key in fields(section)}
        for name, section in SECTIONS.items()
    }
    for layer in (_from_file(path), _from_environment(os.environ), _from_options(options or {})):
        for (section, key), sourced in layer:
            settings[section][key] = sourced
    name = settings["device"]["id"]
    if name.origin == "default" and _is_old(path):
        settings["device"]["id"] = name._replace(value=_OLD_ID)
    if settings["file"]["path"].value:
        _check_event_file(settings, SYSTEM_FILE if path is None else path)
    return settings


def _check_event_file(settings: Settings, path: str | Path) -> None:
    from affectd.config.event_file import check_event_file

    others = [("the settings", str(path))]
    of_mqtt = (("mqtt", name) for name in _FILES_OF_MQTT)
    for section, key in (("audio", "source"), ("model", "path"), ("web", "token_file"), *of_mqtt):
        if (value := settings[section][key].value) and value not in ("mic", "-"):
            others.append((f"[{section}] {key}", value))
    file = settings["file"]
    check_event_file(file["path"].value, file["keep"].value, others)


def _is_old(path: str | Path | None) -> bool:
    """Return whether the file was installed when every device without an id was ``affectd``, as a comment in it says.

    Its topics and its entities in Home Assistant stay what they are.
    """
    try:
        content = Path(SYSTEM_FILE if path is None else path).read_text("utf-8-sig")
    except (OSError, ValueError):
        return False
    return re.search(rf'^#\s*id = "{_OLD_ID}"$', content, re.MULTILINE) is not None


def as_toml(settings: Settings) -> str:
    """Format settings as a file with the same values, with their origins as comments.

    A comment is also a path that is not UTF-8, which no file in TOML can hold.
    """
    lines = {(name, key): _line(key, s.value) for name, keys in settings.items() for key, s in keys.items()}
    width = max(map(len, lines.values()))
    sections = [
        "\n".join([f"[{name}]", *(f"{lines[name, key]:{width}}  # {toml(s.origin)[1:-1]}" for key, s in keys.items())])
        for name, keys in settings.items()
    ]
    return "\n\n".join(sections)


def _line(key: str, value: object) -> str:
    if value is None:
        return f"# {key} ="
    return f"{'' if is_utf8(str(value)) else '# not UTF-8: '}{key} = {toml(value)}"


_Layer = Iterator[tuple[Key, Sourced]]


def _from_file(path: str | Path | None) -> _Layer:
    file = SYSTEM_FILE if path is None else path
    for name, table in _tables(file, required=path is not None).items():
        keys = _section_of_file(name, table, file)
        for key, value in table.items():
            if key not in keys:
                raise ConfigError(f"{file}: unknown key {_word(key)} in [{name}]{_key_hint(key, name)}")
            value = checked(keys[key], value, f"{file}: [{name}] {key}")
            yield (name, key), Sourced(value, f"file {file}")


def _tables(file: str | Path, *, required: bool) -> dict[str, Any]:
    try:
        content = read_file(file, _MOST_BYTES)
    except OSError as error:
        wrong = f"cannot read the configuration {file}: "
        if isinstance(error, FileNotFoundError):
            # Settings may lie on a card that is not mounted yet; the defaults are not what its owner wants.
            if link := next((path for path in (Path(file), *Path(file).parents) if _leads_nowhere(path)), None):
                raise UnavailableError(f"{wrong}{link} is a link to {os.readlink(link)}, which is not there") from error
            if not required:
                return {}
        raise unreadable(error, ConfigError)(f"{wrong}{error.strerror}") from error
    # Of comments, too: what is one, and not a part of a key in quotes, is known only when it was read.
    if any(line.count(b".") > _MOST_DOTS for line in content.splitlines()):
        raise ConfigError(f"cannot read the configuration {file}: a line has more than {_MOST_DOTS} dots")
    import tomllib  # only if there is a file: importing takes as long as everything else here

    wrong = f"the configuration {file} is not valid TOML"
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise ConfigError(f"{wrong}: nested too deeply") from None
    except ValueError as error:  # not UTF-8, not TOML, or a number that Python does not read
        if not content.strip(b"\0"):
            raise ConfigError(f"{wrong}: it holds nothing but zeros, as after a power cut") from error
        if content[:2] in _UTF_16 or b"\0" in content[:2]:
            raise ConfigError(f"{wrong}: it is UTF-16, which Notepad calls Unicode; save it as UTF-8") from error
        if isinstance(error, UnicodeDecodeError):
            line = 1 + content.count(b"\n", 0, error.start)
            raise ConfigError(f"{wrong}: line {line} is not UTF-8; save it as UTF-8") from error
        hint = "a [section] stands on a line of its own, and text is in quotes"
        raise ConfigError(f"{wrong}: {error}; {hint}") from error


def _leads_nowhere(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _section_of_file(name: str, table: object, file: str | Path) -> dict[str, Field[Any]]:
    if name in SECTIONS and isinstance(table, dict):
        return {key.name: key for key in fields(SECTIONS[name])}
    if name in SECTIONS:
        raise ConfigError(f"{file}: {name} must be a section: write [{name}] and its keys below")
    if isinstance(table, dict):
        raise ConfigError(f"{file}: unknown section [{_word(name)}]{_hint(name, SECTIONS, '[{}]')}")
    homes = _homes()
    near = nearest(name.lower(), homes)
    hint = f"; did you mean {near} below [{homes[near]}]?" if near else ""
    raise ConfigError(f"{file}: {_word(name)} stands before any section{hint}")


def _from_environment(environment: Mapping[str, str]) -> _Layer:
    known = _variables()
    for sentence in ignored_variables(environment):
        _warn_once(sentence)
    for variable, text in environment.items():
        if not _may_be_setting(variable, text):
            continue
        if variable not in known:
            if _is_near(variable, known):
                raise ConfigError(f"unknown environment variable {_word(variable)}{_variable_hint(variable, known)}")
            continue
        name, key = known[variable]
        value = checked(key, from_text(key, text), f"environment variable {variable}")
        yield (name, key.name), Sourced(value, f"environment {variable}")


def ignored_variables(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return a sentence for each variable that looks like a setting of affectd and is none."""
    known = _variables()
    return [
        f"ignored the unknown environment variable {_word(variable)}{_variable_hint(variable, known)}"
        for variable, text in environment.items()
        if _may_be_setting(variable, text) and variable not in known and not _is_near(variable, known)
    ]


def _variables() -> dict[str, tuple[str, Field[Any]]]:
    """Return section and key of each environment variable."""
    return {
        f"{_PREFIX}{name}_{key.name}".upper(): (name, key)
        for name, section in SECTIONS.items()
        for key in fields(section)
    }


def _may_be_setting(variable: str, text: str) -> bool:
    if not variable.startswith(_PREFIX) or variable in _NOT_SETTINGS or not text:
        return False
    is_address = variable.endswith("_PORT") and _SERVICE_VALUE.match(text)
    return not (_SERVICE_NAME.fullmatch(variable) or is_address)


def _is_near(variable: str, known: Collection[str]) -> bool:
    """Return whether an unknown name is a key without its section, or one with a typing error."""
    word = variable.upper().removeprefix(_PREFIX)
    names = [name.removeprefix(_PREFIX) for name in known]
    return any(name.endswith(f"_{word}") for name in names) or nearest(word, names, _NEAR) is not None


@cache
def _warn_once(sentence: str) -> None:
    _log.warning("%s", sentence)


def _from_options(options: Mapping[Key, object]) -> _Layer:
    for (name, key), value in options.items():
        found = next(field for field in fields(SECTIONS[name]) if field.name == key)
        yield (name, key), Sourced(checked(found, value, f"[{name}] {key}"), "command line")


def _key_hint(word: str, section: str) -> str:
    home = _homes().get(word)
    if home is not None:
        return f"; it belongs below [{home}]"
    return _hint(word, [key.name for key in fields(SECTIONS[section])], "{}")


def _variable_hint(variable: str, known: Collection[str]) -> str:
    # Without the prefix, which makes any two names similar.
    word, names = variable.upper().removeprefix(_PREFIX), [name.removeprefix(_PREFIX) for name in known]
    # A key without its section may be one of several sections.
    near = [name for name in names if name.partition("_")[2] == word] or list(filter(None, [nearest(word, names)]))
    if near:
        return f"; did you mean {' or '.join(_PREFIX + name for name in near)}?"
    return f"; a setting is {_PREFIX}SECTION_KEY, such as {next(iter(known))}"


def _hint(word: str, known: Collection[str], pattern: str) -> str:
    near = nearest(word.lower(), known)
    if near:
        return f"; did you mean {pattern.format(near)}?"
    return f"; known are {', '.join(pattern.format(k) for k in known)}"


def _homes() -> dict[str, str]:
    """Return the section of each key."""
    return {key.name: name for name, section in SECTIONS.items() for key in fields(section)}


def _word(text: str) -> str:
    """Format an unknown name, quoted if it does not look like one."""
    return text if re.fullmatch(r"[\w-]{1,60}", text, re.ASCII) else shown(text)

"""Which of the delivered models is in force: a small file in the state folder of the device, replaced as a whole.

A model file is named by its SHA-256 and never changed. It is on the disk before `installed.json` names it, and is
deleted after another is named, so at any moment, also of a power cut, there is the old model or the new one.
"""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from affectd.config.sections import Config
from affectd.config.state import state_of
from affectd.delivery.message import Message
from affectd.files import checksum, read_file, replace_private, sha256, sync

_log = logging.getLogger(__name__)

_NAME = "installed.json"
_MOST_BYTES = 100_000
_MOST_MODEL_BYTES = 64_000_000
_MOST_BAD = 20


@dataclass(frozen=True, kw_only=True)
class Installed:
    """What is known of the models that were delivered; digests are the SHA-256 of whole files, in hex."""

    sequence: int = 0
    """Of the newest message that was settled; older messages are refused."""
    current: str = ""
    """The digest of the model in force; empty: the configured one."""
    previous: str = ""
    """That of the one to go back to."""
    on_trial: bool = False
    """Whether it is not known yet that the current one works."""
    deaths: int = 0
    """How many runs with a model on trial did not end in good order, with the present one."""
    usual_seconds: float | None = None
    """Seconds of speech for each event with the previous one; None if it made none."""
    bad: tuple[str, ...] = ()
    """Models that were installed here and rolled back."""
    unfinished: int = 0
    """How often in a row the work on the message `payload` was begun and did not end, since its file is whole."""
    payload: str = ""
    """The SHA-256 of the newest message that was looked at."""
    verdict: dict[str, Any] = field(default_factory=dict)
    """What came of it, as a status event tells it; empty while that is open."""


def is_on(config: Config) -> bool:
    """Return whether models are taken from a fleet."""
    return config.mqtt.enabled and bool(config.mqtt.fleet and config.model.trusted_keys)


def folder_of(device: str) -> Path:
    """Return the folder of the delivered models of a device, which may not exist."""
    return state_of(device) / "models"


def file_of(folder: Path, digest: str) -> Path:
    """Return where the model file with this digest is."""
    return folder / f"{digest}.tflite"


def part_of(folder: Path, digest: str) -> Path:
    """Return where the model file with this digest is while it comes, and until it has passed its trial."""
    return folder / f"{digest}.part"


def has_come(folder: Path, message: Message) -> bool:
    """Return whether the file of a message is there, but has not passed its trial: before that it does no harm."""
    try:
        return part_of(folder, message.sha256).stat().st_size >= message.n_bytes
    except OSError:
        return False


def in_force(config: Config) -> Config:
    """Return the settings with the delivered model as ``[model] path``, if there is one and it is whole."""
    if not is_on(config):
        return config
    folder = folder_of(config.device.id)
    digest = read(folder).current
    if not digest:
        return config
    path = file_of(folder, digest)
    try:
        found = sha256(read_file(path, _MOST_MODEL_BYTES)).hexdigest()
    except OSError as error:
        _log.warning("the delivered model %s cannot be read (%s); the configured one is used", path, error.strerror)
        return config
    if found != digest:
        _log.warning("the delivered model %s is damaged; the configured one is used", path)
        return config
    return replace(config, model=replace(config.model, path=str(path)))


def read(folder: Path) -> Installed:
    """Return what is known; nothing if the file is missing, or was damaged by something else than a power cut."""
    try:
        found = json.loads(read_file(folder / _NAME, _MOST_BYTES))
        if found.pop("crc32", None) not in (None, checksum(found)):  # earlier versions wrote none
            raise ValueError
        return _checked(Installed(**{**found, "bad": tuple(found["bad"])}))
    except FileNotFoundError:
        return Installed()
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is damaged"
        _log.warning("what is known of delivered models is lost: %s: %s", folder / _NAME, why)
        return Installed()


def _checked(found: Installed) -> Installed:
    """Return it; raises TypeError for a value that is never written, which would end every start."""
    for key, usual in vars(Installed(usual_seconds=0.0)).items():
        value = getattr(found, key)
        if type(value) is not type(usual) and not (key == "usual_seconds" and value is None):
            raise TypeError(f"{key} cannot be {value!r:.40}")
    if found.verdict and not found.verdict.keys() >= {"state", "reason"}:
        raise TypeError("verdict has no state or no reason")
    return found


def write(folder: Path, installed: Installed) -> None:
    """Replace what is known, at once or not at all; then delete the model files that it does not name.

    Raises
    ------
    OSError
        It cannot be written; what was known before holds.
    """
    known = asdict(installed)
    replace_private(folder / _NAME, json.dumps(known | {"crc32": checksum(known)}).encode())
    sync(folder)
    kept = {file_of(folder, digest) for digest in (installed.current, installed.previous)}
    for path in folder.glob("*.tflite"):
        if path not in kept:
            with suppress(OSError):
                path.unlink()


def rolled_back(installed: Installed, why: str) -> Installed:
    """Return what is known after the previous model is in force again, and the current one is never taken again."""
    return replace(
        installed,
        current=installed.previous,
        previous="",
        on_trial=False,
        deaths=0,
        bad=(*installed.bad, installed.current)[-_MOST_BAD:],
        verdict={**installed.verdict, "state": "alarmed", "reason": "rolled_back", "why": why},
    )

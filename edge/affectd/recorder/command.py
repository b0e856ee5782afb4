"""`affectd record`: asks, records, trims and measures; leaves a WAV file, and what is known of it beside."""

from __future__ import annotations

import json
import logging
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from affectd.board import clock_synchronized
from affectd.config.sections import Config
from affectd.errors import AffectdError, NoInputError, UnavailableError, UsageError
from affectd.events.event import utc
from affectd.features.spec import FeatureSpec
from affectd.recognition.model_file import find_model, read_model
from affectd.recorder.countdown import Countdown, level_text
from affectd.recorder.measure import level_dbfs, speech_seconds, spoken_part
from affectd.recorder.sound import Heard, sound
from affectd.recorder.wav_file import WavFile, part_of, write_new
from affectd.service.signals import stop_on_signals
from affectd.stdio import LOG_SECONDS, printable, write_when_ready

_log = logging.getLogger(__name__)

SCHEMA = 1
"""Of the file beside the recording; fields are added, never renamed."""

LEAST_SECONDS, MOST_SECONDS = 1, 600
_MOST_LETTERS = 64
_SPARE_BYTES = 1 << 16  # for the file beside it


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be recorded."""

    path: Path
    """The WAV file; what is known of it goes to the same name with ``.json``."""
    seconds: float
    label: str | None = None
    everyone_knows: bool = False
    """Whether the one who asks for it says so; else the terminal is asked."""
    trim: bool = False
    """Whether to drop what is before the first speech and after the last."""


def record(order: Order, config: Config) -> None:
    """Record the microphone at the rate of the model once everyone knows; Ctrl-C stops, and keeps what there is.

    Raises
    ------
    UsageError
        The order cannot be right, there is such a file already, or not everyone knows; nothing was recorded.
    AudioError, UnavailableError
        The microphone or the disk failed; what was recorded until then is kept.
    NoInputError
        It was stopped before the first sample.
    """
    model = read_model(find_model(config.model.path))
    rate = model.spec.sample_rate
    if order.label is not None:
        order = replace(order, label=checked_label(order.label))
    _check_place(order, rate)
    if order.label is not None and order.label not in model.labels:
        known = ", ".join(model.labels)
        _log.info("%s is none of the labels of the model: %s; it is kept as it is", order.label, known)
    if not order.everyone_knows:
        _ask(order)
    heard, countdown = Heard(), Countdown(order.seconds)
    failures: list[AffectdError] = []
    is_kept = False
    with stop_on_signals() as blocks, ExitStack() as opened, WavFile(order.path, rate) as file:
        # The file is complete before the microphone is closed, because that may hang in a sound server.
        blocks.open(lambda: sound(opened, config.audio, rate, order.seconds, heard, countdown))
        with _noted(failures):
            for block in blocks:
                file.write(block)
            blocks.raise_failure()
        countdown.close()
        is_kept = file.n_samples > 0
        if is_kept:
            with _noted(failures):
                _finish(file, order, config, model.spec, heard)
    for later in failures[1:]:
        _log.warning("%s", later)
    if failures:
        raise failures[0]
    if not is_kept:
        raise NoInputError("Stopped before the first sample: nothing was recorded.")


@contextmanager
def _noted(failures: list[AffectdError]) -> Iterator[None]:
    """Note a failure instead of raising it: first what was recorded until then is kept."""
    try:
        yield
    except AffectdError as error:
        failures.append(error)


def checked_label(text: str) -> str:
    """Return a label with single spaces; any word will do, also one that the model does not know.

    Raises
    ------
    UsageError
        It is empty, too long, or has characters that cannot be printed.

    Examples
    --------
    >>> checked_label("  half   asleep ")
    'half asleep'
    """
    label = unicodedata.normalize("NFC", " ".join(text.split()))
    if not label or len(label) > _MOST_LETTERS or not label.isprintable():
        raise UsageError(f"--label {text!r}: 1 to {_MOST_LETTERS} characters that can be printed")
    return label


def _check_place(order: Order, sample_rate: int) -> None:
    """Check what can be checked before anyone speaks."""
    path, folder = order.path, order.path.parent
    if not LEAST_SECONDS <= order.seconds <= MOST_SECONDS:
        raise UsageError(f"--seconds {order.seconds:g}: from {LEAST_SECONDS} to {MOST_SECONDS}, which are ten minutes")
    if path.suffix.lower() != ".wav":
        raise UsageError(f"{path}: the name of a recording ends in .wav")
    if not os.path.isdir(folder):  # unlike `Path.is_dir`, false for a name that cannot be
        raise UsageError(f"{folder} is not a folder; make it first, or choose another")
    beside = path.with_suffix(".json")
    for name in (path, beside, part_of(path), part_of(beside)):
        if os.path.lexists(name):
            raise UsageError(f"{name} is there already, and a recording never replaces a file: choose another name")
    system = os.statvfs(folder)
    free, needed = system.f_bavail * system.f_frsize, round(2 * sample_rate * order.seconds) + _SPARE_BYTES
    if system.f_blocks and free < needed:  # some file systems tell neither their size nor what is free
        raise UnavailableError(
            f"{path} cannot be written: it may take {needed / 1e6:.1f} MB, and {free / 1e6:.1f} MB are free"
        )


def _ask(order: Order) -> None:
    """Ask the terminal whether everyone in the room knows."""
    if sys.stdin is None or not os.isatty(sys.stdin.fileno()):
        raise UsageError(
            "Everyone in the room must know before they are recorded. There is no terminal to ask: tell them, and add "
            "--everyone-knows."
        )
    what = f"{order.seconds:g} s of everything that is said in this room, into {printable(str(order.path))}"
    question = f"This records {what}.\nDoes everyone in the room know, and agree? [y/N] "
    write_when_ready(2, question.encode(errors="backslashreplace"), LOG_SECONDS)
    # As bytes: what is typed need not be text in any encoding.
    if sys.stdin.buffer.readline().strip().lower() not in (b"y", b"yes"):
        raise UsageError("Nothing was recorded: everyone in the room must know first.")


def _finish(file: WavFile, order: Order, config: Config, spec: FeatureSpec, heard: Heard) -> None:
    """Trim and measure what was recorded, complete the file, and write what is known of it."""
    n_heard, first = file.n_samples, 0
    if order.trim:
        part = spoken_part(file, spec, config.gate)
        if part is None:
            _log.warning("no speech was heard, so nothing was trimmed")
        else:
            first, stop = part
            file.keep(first, min(stop, n_heard))
    level, spoken = level_dbfs(file), speech_seconds(file, spec, config.gate)
    about = {
        "schema": SCHEMA,
        "file": order.path.name,
        "label": order.label,
        "time": utc(heard.began + first / file.sample_rate),
        "clock_synchronized": clock_synchronized(),
        "device": config.device.id,
        "microphone": config.audio.device or heard.microphone,
        "microphone_rate": heard.microphone_rate,
        "sample_rate": file.sample_rate,
        "seconds": round(file.seconds, 3),
        "speech_seconds": round(spoken, 3),
        "trimmed_seconds": round((n_heard - file.n_samples) / file.sample_rate, 3),
        "lost_seconds": round(heard.lost_seconds, 3),
        "level_dbfs": None if level is None else round(level, 1),
        "clipped_samples": heard.clipped_samples,
    }
    file.complete()
    clipped = f", too loud: {heard.clipped_samples} samples clipped" if heard.clipped_samples else ""
    lost = f", {heard.lost_seconds:.1f} s lost because the board was busy" if heard.lost_seconds else ""
    about_sound = f"{file.seconds:.1f} s, {spoken:.1f} s of speech, {level_text(level)}{clipped}{lost}"
    _log.info("%s: %s", order.path, about_sound)
    write_new(order.path.with_suffix(".json"), (json.dumps(about, indent=1) + "\n").encode())

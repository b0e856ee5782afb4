"""Whether the microphone is to be closed: asked for from outside, and remembered over restarts."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_log = logging.getLogger(__name__)

_NAME = "muted"
_COMMANDS = {b"ON": False, b"OFF": True}
# A client that may publish could otherwise fill the log.
_LOG_SECONDS = 60.0
_SHOWN_BYTES = 20


class Mute:
    """The wish that the microphone be closed; `affectd.audio.supervisor` opens and closes the microphone by it.

    It is kept as an empty file ``muted``: there or not there, which no power cut can leave in between.

    Parameters
    ----------
    directory : Path or None
        Where it is remembered; None: nowhere. What cannot be read is taken as muted: of the two
        possible mistakes that one keeps the promise made to the people in the room.
    clock : callable
        Monotonic seconds; tests put their own here.

    Attributes
    ----------
    is_muted : bool
        The wish; any thread may look.
    """

    def __init__(self, directory: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._directory = directory
        self._clock = clock
        self._lock = threading.Lock()
        self._complained = False
        self._next_log = -float("inf")
        self._kept: bool | None = None  # what the directory says; None: unknown
        self._kept = self._read()
        self.is_muted = self._kept is not False

    def set(self, muted: bool) -> None:
        """Mute or not, from now on and after a restart; returns when it is on the disk, and never fails.

        Any thread may call it. Where it cannot be kept it holds until the end of the process; a warning says so.
        """
        self.is_muted = muted
        with self._lock:
            wanted = self.is_muted  # another thread may have changed it, or may do so now and then waits here
            if self._kept == wanted:  # a command that says nothing new costs the disk nothing
                return
            try:
                self._write(wanted)
            except OSError as error:
                if not self._complained:
                    _log.warning("after a restart it will not be known whether it was muted: %s", error)
                self._complained, self._kept = True, None
            else:
                self._complained, self._kept = False, wanted

    def command(self, payload: bytes, retained: bool) -> bool:
        """Obey a message to the topic ``listen``, ``ON`` or ``OFF``, and return whether it was one.

        A retained message is none: the broker would repeat it after every restart, whatever was said since.
        """
        muted = _COMMANDS.get(bytes(payload))
        if muted is None or retained:
            if self._clock() >= self._next_log:
                self._next_log = self._clock() + _LOG_SECONDS
                what = "it is retained" if muted is not None else "only ON and OFF are known"
                _log.warning("the command %r to listen is ignored: %s", bytes(payload[:_SHOWN_BYTES]), what)
            return False
        self.set(muted)
        return True

    def _read(self) -> bool | None:
        if self._directory is None:
            return False
        try:
            os.stat(self._directory / _NAME)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            _log.warning("the microphone stays closed, as it is unknown whether it was muted: %s", error)
            return None
        return True

    def _write(self, muted: bool) -> None:
        if self._directory is None:
            raise OSError("there is no state directory")
        self._directory.mkdir(parents=True, exist_ok=True)
        if muted:
            with open(self._directory / _NAME, "wb") as file:
                os.fsync(file.fileno())
        else:
            with suppress(FileNotFoundError):
                os.unlink(self._directory / _NAME)
        # The name is what counts, and that is in the directory.
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

"""Muting by command: whether to keep the microphone closed, kept over restarts."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from affectd.files import open_private, private_folder, sync

_log = logging.getLogger(__name__)

_NAME = "muted"
_COMMANDS = {b"ON": False, b"OFF": True}
# Limits the log lines that a client can cause.
_LOG_SECONDS = 60.0
_SHOWN_BYTES = 20
# Limits the writes that a client can cause, which wear an SD card out.
_MOST_WRITES = 10
_WRITES_SECONDS = 60.0
# A disk that takes longer is not waited for.
_HANG_SECONDS = 1.0


class Mute:
    """Whether to keep the microphone closed; `affectd.audio.supervisor` follows it.

    Kept as an empty file ``muted`` in `directory`, which exists or not even after a power cut; None: not kept.
    After ten writes in a minute an opening is written later, so that a restart finds the microphone closed; a
    closing is always written at once. If the directory cannot be read the microphone stays muted, for privacy.
    Any thread may read ``is_muted``.
    """

    def __init__(self, directory: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._directory = directory
        self._clock = clock
        self._lock = threading.Lock()
        self._warned = False
        self._writes: deque[float] = deque(maxlen=_MOST_WRITES)  # when they were made
        self._later: threading.Timer | None = None
        self._is_closing = False
        self._writer: threading.Thread | None = None
        self._next_log = -float("inf")
        self._kept: bool | None = None  # what the directory says; None: unknown
        self._kept = self._read()
        self.is_muted = self._kept is not False

    def set(self, muted: bool) -> None:
        """Mute or not, now and after a restart; never fails. Any thread.

        If it cannot be saved it holds until the end of the process, a warning is logged, and it is tried every minute.
        """
        self.is_muted = muted
        self._keep(at_once=False)

    def close(self) -> None:
        """Write what was to be written later, and what another program has deleted meanwhile."""
        self._is_closing = True
        if self._kept and self._read() is False:
            self._kept = False
        self._keep(at_once=True)

    def _keep(self, *, at_once: bool) -> None:
        with self._lock:
            self._decide(at_once=at_once)
        until = time.monotonic() + _HANG_SECONDS
        while (writer := self._writer) is not None:
            writer.join(max(0.0, until - time.monotonic()))
            if writer.is_alive():
                _log.warning("whether it is muted is not saved yet: %s hangs", self._directory)
                return

    def _decide(self, *, at_once: bool) -> None:
        if self._writer is not None:  # decides again when it is done
            return
        wanted = self.is_muted  # read again, because another thread may have changed it
        if self._later is not None and (at_once or self._kept == wanted):
            self._later.cancel()
            self._later = None
        if self._kept == wanted:  # no write without a change
            return
        now = self._clock()
        is_full = len(self._writes) == _MOST_WRITES and now < self._writes[0] + _WRITES_SECONDS
        # The disk has not been told that it is closed: that cannot wait.
        must_be_now = wanted and self._kept is False
        if is_full and not at_once and not must_be_now:
            self._keep_later(self._writes[0] + _WRITES_SECONDS - now)
            return
        self._writes.append(now)
        writer = threading.Thread(target=self._save, args=(wanted,), name="mute", daemon=True)
        try:
            writer.start()
            self._writer = writer  # under the lock, which its end takes too
        except RuntimeError as error:  # the system permits no further thread
            self._is_not_saved(error)

    def _save(self, wanted: bool) -> None:
        try:
            self._write(wanted)
        except OSError as error:
            self._is_not_saved(error)
        else:
            self._warned, self._kept = False, wanted
        with self._lock:
            self._writer = None
            if self.is_muted != wanted:  # changed meanwhile
                self._decide(at_once=False)
            elif self._warned and not self._is_closing:  # a disk that was full may have room then
                self._keep_later(_WRITES_SECONDS)

    def _is_not_saved(self, error: Exception) -> None:
        if not self._warned:
            _log.warning("whether it is muted cannot be saved and is lost at a restart: %s", error)
        self._warned, self._kept = True, None

    def _keep_later(self, seconds: float) -> None:
        if self._later is None:
            self._later = threading.Timer(seconds, self._keep_now)
            self._later.daemon = True
            self._later.start()

    def _keep_now(self) -> None:
        self._later = None
        self._keep(at_once=True)

    def command(self, payload: bytes, retained: bool) -> bool:
        """Execute a message on the topic ``listen``, ``ON`` or ``OFF``; return whether it was valid.

        Retained messages are ignored, because the broker repeats them after every restart.
        """
        muted = _COMMANDS.get(bytes(payload))
        if muted is None or retained:
            if self._clock() >= self._next_log:
                self._next_log = self._clock() + _LOG_SECONDS
                what = "it is retained" if muted is not None else "only ON and OFF are known"
                _log.warning("ignored command %r on the topic listen: %s", bytes(payload[:_SHOWN_BYTES]), what)
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
            _log.warning("the microphone stays closed, because it is unknown whether it was muted: %s", error)
            return None
        return True

    def _write(self, muted: bool) -> None:
        if self._directory is None:
            raise OSError("there is no state directory")
        private_folder(self._directory)
        if muted:
            with open(open_private(self._directory / _NAME, os.O_WRONLY | os.O_TRUNC), "wb") as file:
                os.fsync(file.fileno())
        else:
            with suppress(FileNotFoundError):
                os.unlink(self._directory / _NAME)
        sync(self._directory)

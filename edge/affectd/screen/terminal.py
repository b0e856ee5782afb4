"""The screen of a terminal: taken, drawn and given back, whatever happens.

One thread draws, so neither a slow terminal nor a lost one holds up the sound. It gives the screen back as soon as a
signal comes that ends the program, even if the rest of the program hangs.

Source: Linux manual pages termios(3) and console_codes(4); xterm control sequences, alternate screen buffer.
"""

from __future__ import annotations

import os
import select
import signal
import termios
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from affectd.screen.layout import Line
from affectd.stdio import own, printable, write_when_ready

# The other screen, emptied; no cursor; no line goes on in the next one.
_TAKE = "\x1b[?1049h\x1b[2J\x1b[?25l\x1b[?7l"
_GIVE_BACK = "\x1b[m\x1b[2J\x1b[?7h\x1b[?25h\x1b[?1049l"
_STYLES = {"strong": "1", "faint": "2", "good": "32", "doubt": "33", "bad": "31"}
# What depends on time and on the size of the terminal changes without news.
_PERIOD_SECONDS = 0.5
_SHORTEST_SECONDS = 0.05
_FULL_SECONDS = 0.05
_LAST_SECONDS = 0.5
_ENDS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}


class Terminal:
    """Shows the lines that `picture` returns for a number of columns and rows, until its ``with`` block ends.

    Parameters
    ----------
    descriptor : int
        Of a terminal.
    picture : callable
        Called in the thread that draws.
    is_colored : bool
        Whether to use colors and bold type.

    Attributes
    ----------
    was_stopped : bool
        Whether a signal came that ends the program.
    """

    def __init__(self, descriptor: int, picture: Callable[[int, int], list[Line]], is_colored: bool) -> None:
        self._descriptor = own(descriptor)
        self._picture, self._is_colored = picture, is_colored
        self._lock = threading.RLock()  # reentrant, because a signal handler may interrupt who holds it
        self._attributes: list[Any] | None = None  # those to be set again; None: the screen is not taken
        self._size = (0, 0)
        self._shown: list[str] = []
        self._is_ending = self.was_stopped = False
        self._news, self._tell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="screen", daemon=True)

    def __enter__(self) -> Terminal:
        handlers: dict[int, Any] = {
            signal.SIGWINCH: _ignored,
            signal.SIGCONT: _ignored,
            signal.SIGTSTP: self._suspend,
            signal.SIGHUP: self._die,
            signal.SIGQUIT: self._die,
            # In the background, giving the screen back must not stop the program.
            signal.SIGTTOU: signal.SIG_IGN,
        }
        self._handlers = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        # Every signal that has a handler is told to the thread at once, whatever the main thread is doing.
        self._wakeup = signal.set_wakeup_fd(self._tell, warn_on_full_buffer=False)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_ending = True
        self.news()
        self._thread.join(2 * _LAST_SECONDS)
        self._came()
        with suppress(OSError):
            self._give_back()
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def news(self) -> None:
        """Have the picture drawn soon; returns at once, in any thread."""
        with suppress(BlockingIOError):
            os.write(self._tell, b"\0")

    def print(self, line: str) -> None:
        """Write a line as any other program does, after the ``with`` block; it is lost if there is no room for it."""
        with suppress(OSError):
            self._write(f"{printable(line)}\n", _LAST_SECONDS)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._news, select.POLLIN)
        ended = threading.Event()
        try:
            while not self._is_ending:
                poll.poll(1000 * _PERIOD_SECONDS)
                came = self._came()
                with self._lock:
                    self._is_ending = self._is_ending or self.was_stopped
                    if not self._is_ending:
                        self._draw(is_stale=signal.SIGCONT in came)
                ended.wait(_SHORTEST_SECONDS)
            self._give_back()
        except OSError:  # the terminal is gone
            os.kill(os.getpid(), signal.SIGTERM)

    def _came(self) -> bytes:
        """Return the signals that have come since the last call, and a zero for news."""
        came = b""
        with suppress(BlockingIOError):
            came = os.read(self._news, 4096)
        self.was_stopped = self.was_stopped or not _ENDS.isdisjoint(came)
        return came

    def _draw(self, *, is_stale: bool) -> None:
        if not self._is_in_foreground():
            return
        if self._attributes is None or is_stale:
            self._take()
        columns, rows = self._found_size()
        if (columns, rows) != self._size:
            self._size, self._shown = (columns, rows), []
        lines = [self._styled(line) for line in self._picture(columns, rows)]
        lines += [""] * (rows - len(lines))
        changed = [row for row in range(rows) if not self._shown or lines[row] != self._shown[row]]
        # A line is emptied first: its last character would go with what is emptied behind it.
        text = "".join(f"\x1b[{row + 1};1H\x1b[2K{lines[row]}" for row in changed)
        self._shown = lines if self._write(text, _FULL_SECONDS) else []

    def _take(self) -> None:
        attributes = termios.tcgetattr(self._descriptor)
        self._attributes = self._attributes or [*attributes]
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(self._descriptor, termios.TCSANOW, attributes)
        self._shown = []
        self._write(_TAKE, _LAST_SECONDS)

    def _give_back(self) -> None:
        with self._lock:
            if self._attributes is None:
                return
            attributes, self._attributes = self._attributes, None
            self._write(_GIVE_BACK, _LAST_SECONDS)
            termios.tcflush(self._descriptor, termios.TCIFLUSH)  # keys that did nothing here
            termios.tcsetattr(self._descriptor, termios.TCSANOW, attributes)

    def _suspend(self, number: int, frame: FrameType | None) -> None:
        """Stop, as Ctrl-Z asks; afterwards the screen is taken again once it is this program's turn."""
        with self._lock:
            self._give_back()
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)  # it goes on here
            signal.signal(number, self._suspend)

    def _die(self, number: int, frame: FrameType | None) -> None:
        with self._lock:
            self._is_ending = True
            with suppress(OSError):
                self._give_back()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _is_in_foreground(self) -> bool:
        try:
            return os.tcgetpgrp(self._descriptor) == os.getpgrp()
        except OSError:  # not the terminal that this program is controlled from
            return True

    def _found_size(self) -> tuple[int, int]:
        columns, rows = os.get_terminal_size(self._descriptor)
        return columns or 80, rows or 24  # a serial line does not know

    def _styled(self, line: Line) -> str:
        if not self._is_colored:
            return "".join(text for text, _ in line)
        return "".join(
            f"\x1b[{';'.join(_STYLES[name] for name in style.split())}m{text}\x1b[m" if style else text
            for text, style in line
        )

    def _write(self, text: str, timeout_seconds: float) -> bool:
        return write_when_ready(self._descriptor, text.encode("utf-8", "replace"), timeout_seconds)


def _ignored(number: int, frame: FrameType | None) -> None:
    """Do nothing; that there is a handler wakes the thread."""

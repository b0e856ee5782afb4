"""Terminals for tests: a pseudo-terminal whose program thinks it is its own, or has only a part of, and a real tmux."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import shlex
import shutil
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

PATIENCE_SECONDS = 90
TAKEN, GIVEN_BACK = b"\x1b[?1049h", b"\x1b[?1049l"


class PseudoTerminal:
    """A program on a terminal of its own; what it shows is in `shown`."""

    def __init__(self, command: list[str], environment: Mapping[str, str] = {}, size: tuple[int, int] = (80, 24)):
        self._master, self._slave = os.openpty()
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        self.before = termios.tcgetattr(self._slave)
        self.shown = b""
        # Its standard error too is that terminal.
        self.process = subprocess.Popen(
            command,
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            env={**os.environ, "TERM": "xterm", **environment},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def read_until(self, text: bytes) -> None:
        """Read until the program has shown `text`."""
        until = time.monotonic() + PATIENCE_SECONDS
        while text not in self.shown:
            assert time.monotonic() < until, self.shown
            assert self._read(1.0) or self.process.poll() is None, self.shown

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def end(self) -> int:
        """Read until the program has ended; return its exit code, which is negative for a signal."""
        until = time.monotonic() + PATIENCE_SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < until, self.shown
            self._read(0.1)
        while self._read(0.0):
            pass
        return self.process.returncode

    def attributes(self) -> list[Any]:
        """Return those of the terminal now; they outlive the program."""
        return termios.tcgetattr(self._slave)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        self.shown += os.read(self._master, 65536)
        return True

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)
        os.close(self._slave)


class Tmux:
    """A tmux server of its own with one shell in a window of 80 columns and 24 rows."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        program = shutil.which("tmux")
        if program is None:
            pytest.skip("tmux is not installed")
        self._command = [program, "-u", "-S", str(folder / "tmux"), "-f", os.devnull]
        self._environment = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **environment}
        self._environment.pop("TMUX", None)
        self("new-session", "-d", "-x", "80", "-y", "24", "env PS1='ready> ' bash --norc --noprofile")
        self.wait_for(lambda screen: "ready>" in screen)

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._command, *arguments], env=self._environment, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout

    def run(self, *command: str) -> None:
        self("send-keys", "-l", shlex.join(command))
        self("send-keys", "Enter")

    def screen(self, *options: str) -> str:
        return self("capture-pane", "-p", *options)

    def wait_for(self, is_there: Callable[[str], bool]) -> str:
        """Return the first screen for which this holds."""
        until = time.monotonic() + PATIENCE_SECONDS
        while not is_there(screen := self.screen()):
            assert time.monotonic() < until, screen
            time.sleep(0.05)
        return screen

    def close(self) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self("kill-server")


@contextlib.contextmanager
def pseudo_terminal(command: list[str], **options: Any) -> Iterator[PseudoTerminal]:
    # A shell's background job ignores it, and so would the program.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    terminal = PseudoTerminal(command, **options)
    try:
        yield terminal
    finally:
        terminal.close()
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def tmux(folder: Path, environment: Mapping[str, str] = {}) -> Iterator[Tmux]:
    terminal = Tmux(folder, environment)
    try:
        yield terminal
    finally:
        terminal.close()


def at_terminal(
    command: Sequence[str], *, columns: int = 80, piped: Sequence[str] = (), stdin: bytes = b"", **options: object
) -> tuple[int, str, str]:
    """Run a command; return its exit code, what came to the screen, and what came through a pipe.

    `piped` names streams, ``stdout`` or ``stderr``, that are pipes instead. Lines of the screen end with a newline.
    """
    screen, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (24, columns))
    streams = {name: subprocess.PIPE if name in piped else terminal for name in ("stdout", "stderr")}
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"TERM": "xterm"}
    try:
        with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, **streams, **options) as process:
            os.close(terminal)
            shown = b""
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it may end without reading
                process.stdin.write(stdin)
                process.stdin.close()
            with contextlib.suppress(OSError):  # EIO: the program has closed the terminal
                while data := os.read(screen, 1 << 16):
                    shown += data
            process.stdin = None
            through, complaints = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        os.close(screen)
    return process.returncode, shown.decode().replace("\r\n", "\n"), ((through or b"") + (complaints or b"")).decode()

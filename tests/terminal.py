"""A program at a terminal, for tests: what it shows there, and what it writes into pipes."""

from __future__ import annotations

import os
import pty
import subprocess
import termios
from collections.abc import Sequence
from contextlib import suppress

_SECONDS = 120


def at_terminal(
    command: Sequence[str], *, columns: int = 80, piped: Sequence[str] = (), stdin: bytes = b"", **options: object
) -> tuple[int, str, str]:
    """Run a command; return its exit code, what came to the screen, and what came through a pipe.

    `piped` names streams, ``stdout`` or ``stderr``, that are pipes instead. Lines of the screen end with a newline.
    """
    screen, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, columns))
    streams = {name: subprocess.PIPE if name in piped else terminal for name in ("stdout", "stderr")}
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"TERM": "xterm"}
    try:
        with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, **streams, **options) as process:
            os.close(terminal)
            shown = b""
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # it may end without reading
                process.stdin.write(stdin)
                process.stdin.close()
            with suppress(OSError):  # EIO: the program has closed the terminal
                while data := os.read(screen, 1 << 16):
                    shown += data
            process.stdin = None
            through, complaints = process.communicate(timeout=_SECONDS)
    finally:
        os.close(screen)
    return process.returncode, shown.decode().replace("\r\n", "\n"), ((through or b"") + (complaints or b"")).decode()

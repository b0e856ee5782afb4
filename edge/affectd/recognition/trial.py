"""Tries something in a copy of this process, because an interpreter does not survive every network.

The numbers in a network say what to reserve and where to read. With wrong ones TFLite reads beyond its memory, reserves
all there is, or does not end, and Python cannot prevent it.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
from collections.abc import Callable
from contextlib import suppress

from affectd.errors import AffectdError, ModelFileError, UnavailableError, unreadable

# Beyond what this process has; the largest networks for such boards take a few MB.
_MOST_BYTES = 128_000_000
_MOST_SECONDS = 30.0
# Of the processor: enough for any network that fits. Where it got less, the board was busy.
_ENOUGH_SECONDS = 3.0
_MOST_LETTERS = 1000


def survive(attempt: Callable[[], object]) -> None:
    """Call `attempt` in a copy of this process; what it does there has no effect here.

    Raises
    ------
    ModelFileError
        The copy crashed, needed more than 128 MB, or did not end in 30 s.
    UnavailableError
        No process can be started, or the board is so busy that it hardly ran, or as `attempt`, which may also raise
        ModelFileError.
    """
    try:
        answer, write_end = os.pipe()
        child = os.fork()
    except OSError as error:
        raise UnavailableError(f"no process can be started to try the model file: {error.strerror}") from error
    if not child:
        _try(attempt, write_end)
    os.close(write_end)
    try:
        with open(answer, "rb") as pipe:
            is_in_time = select.select([pipe], [], [], _MOST_SECONDS)[0]
            verdict = pipe.read() if is_in_time else b""
    finally:  # a signal may end the start meanwhile
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        used = os.wait4(child, 0)[2]
    if not is_in_time and used.ru_utime + used.ru_stime < _ENOUGH_SECONDS:
        raise UnavailableError("the board is too busy to try the model file")
    if not verdict:
        how = (
            f"it crashes or needs {_MOST_BYTES // 10**6} MB"
            if is_in_time
            else f"it takes more than {_MOST_SECONDS:g} s"
        )
        raise ModelFileError(f"tflite: expected a network that the interpreter can run; with this one {how}")
    code, sentence = json.loads(verdict)
    if code == ModelFileError.exit_code:
        raise ModelFileError(sentence)
    if code:
        raise UnavailableError(sentence)


def _try(attempt: Callable[[], object], write_end: int) -> None:
    code, sentence = 0, ""
    try:
        _limit(resource.RLIMIT_CORE, 0)
        with open("/proc/self/statm", encoding="ascii") as file:
            n_bytes = int(file.read().split()[0]) * resource.getpagesize()
        _limit(resource.RLIMIT_AS, n_bytes + _MOST_BYTES)
        attempt()
    except AffectdError as error:
        code, sentence = error.exit_code, str(error)
    except BaseException as error:
        # Too few descriptors, for one, are no fault of the network.
        kind = unreadable(error, ModelFileError) if isinstance(error, OSError) else ModelFileError
        code, sentence = kind.exit_code, f"tflite: cannot be run: {error!r}"
    finally:
        os.write(write_end, json.dumps([code, sentence[:_MOST_LETTERS]]).encode())
        os._exit(0)


def _limit(kind: int, most: int) -> None:
    soft, hard = resource.getrlimit(kind)
    with suppress(OSError):  # the unit forbids it, but has a limit for the whole service
        resource.setrlimit(kind, (most if soft == resource.RLIM_INFINITY else min(most, soft), hard))

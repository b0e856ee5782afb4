"""A process of its own, for libraries that may end the process they run in."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TypeVar

from affectd.errors import AffectdError, DataError

_MOST_SECONDS = 10.0

T = TypeVar("T")
R = TypeVar("R")


def apart(function: Callable[[T], R], argument: T, crashed: str) -> R:
    """Call a function of a module in a new process, and return what it returns or raise what it raises.

    Raises
    ------
    DataError
        If the process ends without an answer; the message is `crashed` and the reason.
    """
    context = multiprocessing.get_context("spawn")  # not fork: threads of TensorFlow would not come along
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(there, function, argument), daemon=True)
    process.start()
    there.close()
    try:
        outcome = here.recv()
    except EOFError:
        process.join()
        raise DataError(f"{crashed} ({_reason(process.exitcode or 0)})") from None
    else:
        process.join(_MOST_SECONDS)  # rather than to kill it, at which it would leave something behind
    finally:
        process.kill()
        process.join()
        here.close()
    if isinstance(outcome, BaseException):
        raise outcome
    result: R = outcome
    return result


def _answer(there: Connection, function: Callable[[T], R], argument: T) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the process that waits ends this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        there.send(function(argument))
    except BaseException as error:
        if not isinstance(error, AffectdError):  # a traceback does not travel
            error.add_note("".join(traceback.format_exception(error)))
        there.send(error)


def _end_with_parent() -> None:
    """End this process where the one that waits is killed: else it would work on, and write what is waited for."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _reason(code: int) -> str:
    if code == -signal.SIGKILL:
        return "it was killed, as happens when memory runs out"
    return f"it ended by {signal.Signals(-code).name}" if code < 0 else f"it ended with {code}"

"""How both programs end: every failure is one sentence on standard error and an exit code, never a traceback.

An `AffectdError` has its own sentence and code. Anything else, in any thread, is a mistake in the program or a broken
system: the sentence says where its traceback was written.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import FrameType
from typing import Any

from affectd.errors import NO_THREAD, AffectdError, UnavailableError, is_no_thread

_UNFORESEEN = 70
_MOST_MESSAGE = 200
_SHORT_SECONDS = 0.01
_RESERVE_BYTES = 8 << 20
_OWN = ("affectd", "affectd_train", "runpy", "__main__")
_LEAST_FILES = 64  # below this it is the limit that is too low, above it a leak of ours
_LEAST_THREADS = 32  # the same
_INSTALL = {"affectd": "pip install affectd", "affectd-train": 'pip install ".[train]" in the checkout'}


def guarded(name: str, command: Callable[[], int], *, is_program: bool) -> int:
    """Run the command of a program and return its exit code.

    If it `is_program`, the process ends afterwards, and failures of its threads end it too; else SIGTERM, SIGINT and
    SIGHUP have the handlers that they had.
    """
    ending = _Ending(name)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        if is_program:
            ending.take_over()
        code = command()
        _flush()
        return ending.code or code
    except SystemExit:
        raise
    except BaseException as error:
        return ending.failed(error)
    finally:
        _leave(before, is_program=is_program)


def _leave(before: Mapping[signal.Signals, Any], *, is_program: bool) -> None:
    """Write what is left, and let no handler stay: the end of Python itself cannot be guarded."""
    # A handler that `affectd.service.signals` leaves: the program ends as it was told, and once is enough.
    was_stopped = signal.getsignal(signal.SIGTERM) != before[signal.SIGTERM]
    if is_program:
        if not was_stopped:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        with suppress(BrokenPipeError, AffectdError):
            _flush()
    if was_stopped:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if is_program else handler)


def unforeseen(name: str, error: BaseException) -> str:
    """Write the traceback of an exception to a file, unless it is no mistake; return what it is and which file."""
    if _is_too_few_threads(error):
        return NO_THREAD
    from affectd.program.traceback_file import write_traceback

    path = write_traceback(name, error)
    where = "could not be written" if path is None else f"is in {path}"
    return f"{_message(error)}; the traceback {where}"


class _Ending:
    """The end of a program: what is said about it, and its exit code."""

    def __init__(self, name: str) -> None:
        self._name = name
        # Given back before anything is said; until then it is only promised by the kernel and takes no memory.
        self._reserve = bytes(_RESERVE_BYTES)
        self._is_interrupted = False
        self.code = 0
        """Of a thread that failed; 0: none did."""

    def take_over(self) -> None:
        """Handle what Python would print as a traceback."""
        from affectd.stdio import fill_descriptors

        threading.excepthook = self._thread_failed
        sys.unraisablehook = self._ignored
        # Both are inherited: a parent that ignores its children, or blocks what ends a program, means itself.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._interrupted)
        fill_descriptors()
        if sys.stderr is None:  # Python found it closed; libraries write to it, as those of progress bars do
            sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - until the program ends
        if sys.stdout is None:
            raise UnavailableError("Standard output is closed.")

    def failed(self, error: BaseException) -> int:
        """Say what failed; return the exit code."""
        try:
            if self.code and isinstance(error, KeyboardInterrupt):  # from the thread that failed
                return self.code
            # What is interrupted may fail in its own words, as an import of C does.
            if self._is_interrupted or isinstance(error, KeyboardInterrupt):
                return 128 + signal.SIGINT
            self._reserve = b""
            return self._said(error)
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
        except Exception:  # there is not even memory for a sentence
            with suppress(OSError):
                os.write(2, b"affectd: unforeseen error, which cannot be described\n")
            return _UNFORESEEN

    def _said(self, error: BaseException) -> int:
        from affectd.stdio import ReaderGoneError, print_error

        if isinstance(error, ReaderGoneError):
            return self.code
        most_files = os.sysconf("SC_OPEN_MAX")
        reason = error.__cause__ or error  # which file is one too many is chance
        if isinstance(reason, OSError) and reason.errno == errno.EMFILE and most_files < _LEAST_FILES:
            print_error(
                self._name, f"Too many open files: {most_files} are too few (ulimit -n; of a service LimitNOFILE=)."
            )
            return UnavailableError.exit_code
        if isinstance(error, AffectdError):
            print_error(self._name, str(error))
            return error.exit_code
        if _is_too_few_threads(error):
            print_error(self._name, NO_THREAD)
            return UnavailableError.exit_code
        package = _package(error)
        if isinstance(error, MemoryError):
            sentence, code = "there is too little memory", UnavailableError.exit_code
            mend = " (ulimit -v; of a service MemoryMax=)"
        elif package:
            is_missing = isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == package
            what = "is not installed" if is_missing else "cannot be loaded"
            sentence, code = f"the Python package {package} {what}", UnavailableError.exit_code
            mend = f" ({_INSTALL[self._name]})"
        else:
            sentence, code, mend = "unforeseen error", _UNFORESEEN, ""
        print_error(self._name, f"{sentence}{mend}: {unforeseen(self._name, error)}")
        return code

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        self._is_interrupted = True
        raise KeyboardInterrupt

    def _thread_failed(self, failure: threading.ExceptHookArgs) -> None:
        """Report a thread that failed, and stop the program: it would be deaf or mute without a word."""
        error = failure.exc_value
        if error is None or isinstance(error, SystemExit) or self.code:
            return
        self.code = self.failed(error)
        # As Ctrl-C does it, which every command obeys; `affectd run` writes the events that wait.
        if callable(signal.getsignal(signal.SIGINT)):
            _interrupt()

    def _ignored(self, failure: sys.UnraisableHookArgs) -> None:
        """Report an exception that Python cannot raise, such as one of a destructor."""
        try:
            error = failure.exc_value
            if isinstance(error, KeyboardInterrupt):
                # Again, a moment later: one that comes now would be raised here and be lost as well.
                threading.Timer(_SHORT_SECONDS, _interrupt).start()
            elif isinstance(error, Exception) and not sys.is_finalizing():
                self.failed(error)
        except BaseException:  # at the end of Python parts of it are missing
            return


def _is_too_few_threads(error: BaseException) -> bool:
    return is_no_thread(error) and threading.active_count() < _LEAST_THREADS


def _interrupt() -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def _flush() -> None:
    """Write what `print` has kept, as Python would do later without saying what fails."""
    from affectd.stdio import writing_results

    if sys.stdout is None:
        return
    try:
        with writing_results():
            sys.stdout.flush()
    except (BrokenPipeError, AffectdError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)  # else Python would try again
        os.close(nothing)
        raise


def _package(error: BaseException) -> str:
    """Return the name of the package of others whose import failed; empty if it was something else."""
    names, part = [], error.__traceback__
    while part is not None:
        if part.tb_frame.f_code.co_name == "<module>":  # it was being imported
            names.append(str(part.tb_frame.f_globals.get("__name__")))
        part = part.tb_next
    if isinstance(error, ImportError) and error.name:
        names.append(error.name)
    elif isinstance(error, SyntaxError) and error.filename:
        names += error.filename.replace("dist-packages", "site-packages").split("site-packages/")[1:]
    packages = [name.partition("/")[0].partition(".")[0] for name in names]
    # The first one is what we asked for; what it imports itself means less to the reader.
    return next((package for package in packages if package not in (*_OWN, *sys.stdlib_module_names)), "")


def _message(error: BaseException) -> str:
    """Return kind and message of an exception, of the first one if others followed, in one short line."""
    while isinstance(error, ImportError) and isinstance(error.__cause__, ImportError):
        error = error.__cause__
    try:
        said = " ".join(str(error)[: 4 * _MOST_MESSAGE].split())[:_MOST_MESSAGE]
    except Exception:
        said = ""
    return f"{type(error).__name__}: {said}" if said else type(error).__name__

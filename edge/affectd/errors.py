"""Failures that the user can fix, one class per exit code.

Exit codes follow BSD ``sysexits.h``; the unit file tells systemd not to restart on 78. `affectd.program` prints
the message and exits; any other exception is a bug, whose traceback goes to a file.

>>> try:
...     raise ConfigError("unknown key margn_db in [gate]")
... except AffectdError as error:
...     print(error, error.exit_code)
unknown key margn_db in [gate] 78
"""

from __future__ import annotations

import errno

PASSING = frozenset(
    (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ETIMEDOUT)
)
"""Errors of a disk or of the whole machine, which may be over at the next start; any other is of the path."""

NO_THREAD = (
    "no further thread can be started: the number of threads or the memory is limited"
    " (ulimit -u, ulimit -v; of a service TasksMax=, MemoryMax=)"
)
"""What is wrong after an error that `is_no_thread`."""


class AffectdError(Exception):
    """A failure: a sentence for the user and an exit code for the caller."""

    exit_code = 70


class UsageError(AffectdError):
    """The command line is wrong."""

    exit_code = 64


class DataError(AffectdError):
    """The input is damaged or not audio."""

    exit_code = 65


class NoInputError(AffectdError):
    """The input does not exist, cannot be opened, or is empty."""

    exit_code = 66


class UnavailableError(AffectdError):
    """A dependency, a server or disk space is missing."""

    exit_code = 69


class AudioError(AffectdError):
    """The sound card failed, was unplugged, or refuses the format."""

    exit_code = 74


class MicrophoneError(AudioError):
    """The microphone delivers no sound; `reason` is one word for programs, the message a sentence for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ConfigError(AffectdError):
    """The configuration or the model file is invalid; restarting would not help."""

    exit_code = 78


class ModelFileError(ConfigError):
    """The model file is invalid; the message names the field."""


def unreadable(error: OSError, lasting: type[AffectdError]) -> type[AffectdError]:
    """Return the class for a file that cannot be read: `lasting`, or one after which a restart may help."""
    return UnavailableError if error.errno in PASSING else lasting


def is_no_thread(error: BaseException) -> bool:
    """Return whether an error of Python means that the system permits no further thread."""
    return isinstance(error, RuntimeError) and str(error) == "can't start new thread"

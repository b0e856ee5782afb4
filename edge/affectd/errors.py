"""Everything that can go wrong in a way the user can mend, one class per exit code.

Exit codes follow BSD ``sysexits.h``; systemd is told never to restart on 78.
Raise one of these with a plain sentence; `affectd.cli` prints it on stderr and
exits. Anything else that escapes is a bug and shows its traceback.
"""

from __future__ import annotations


class AffectdError(Exception):
    """A failure with a plain sentence for the user and an exit code for the caller."""

    exit_code = 70


class UsageError(AffectdError):
    """The command line is wrong."""

    exit_code = 64


class DataError(AffectdError):
    """The input was found but its content is damaged or not audio."""

    exit_code = 65


class NoInputError(AffectdError):
    """The input does not exist, cannot be opened, or never delivered a byte."""

    exit_code = 66


class UnavailableError(AffectdError):
    """Something this command needs is not installed or does not answer."""

    exit_code = 69


class AudioError(AffectdError):
    """The sound card failed, vanished, or refuses the format."""

    exit_code = 74


class MicrophoneError(AudioError):
    """The microphone cannot be heard; `reason` is one word for programs, the message a sentence for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ConfigError(AffectdError):
    """The configuration cannot be used; restarting would not help."""

    exit_code = 78


class ModelFileError(ConfigError):
    """The model file cannot be used; the message names the field at fault."""

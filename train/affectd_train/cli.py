"""The command ``affectd-train``: from corpora to a packed model file, each step resumable."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

# The small products of the front end are slower on several threads; TensorFlow has threads of its own. NumPy reads it
# when it is imported, as it is below.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from affectd.program.arguments import Parser
from affectd.program.guard import guarded
from affectd.stdio import print_error, print_result
from affectd_train.arguments import (
    add_archive,
    add_evaluation,
    add_fleet,
    add_import,
    add_pictures,
    add_result,
    add_training,
)
from affectd_train.commands import COMMANDS
from affectd_train.home import home

GOING_ON = ("make", "fit", "sweep", "evaluate", "unheard", "voice", "archive")
"""Commands that keep what they have done when they are stopped; the others begin anew."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code (see `affectd.errors`)."""
    return guarded("affectd-train", lambda: run(arguments), is_program=arguments is None)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; failures that can happen anywhere are raised."""
    options = _parser().parse_args(arguments)
    heard: list[int] = []
    try:
        with _interruptible(heard), home():
            result = options.command(options)
    except OSError as error:
        print_error("affectd-train", f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return 74
    except KeyboardInterrupt:  # of Ray it may be another than was raised
        with suppress(OSError):
            print(file=sys.stderr, flush=True)  # ends the line of a progress bar, which may be half drawn
        after = "goes on from the last checkpoint" if options.goes_on else "begins anew"
        print_error("affectd-train", f"interrupted; the same command {after}")
        return 128 + (heard or [signal.SIGINT])[0]
    print_result(result)
    return 0


@contextmanager
def _interruptible(heard: list[int]) -> Iterator[None]:
    """Let SIGTERM, and a terminal that is closed, end a command as Ctrl-C does; which was heard is noted.

    A second Ctrl-C does not break into what cleans up after the first.
    """

    def interrupt(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        heard.append(number)
        raise KeyboardInterrupt

    numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
    asked = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]  # not, such as under nohup
    before = {number: signal.signal(number, interrupt) for number in asked}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(print_result, _page, prog="affectd-train")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, help_: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help_)
        sub.set_defaults(command=COMMANDS[name], goes_on=name in GOING_ON)
        return sub

    add_training(command)
    add_evaluation(command)
    add_pictures(command)
    add_result(command)
    add_fleet(command)
    add_archive(command)
    add_import(command)
    return parser


def _page(command: str) -> tuple[str | None, str | None]:
    from affectd_train.help import page

    return page(command)


if __name__ == "__main__":
    sys.exit(main())

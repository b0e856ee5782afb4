"""What the commands of ``affectd`` take; `affectd.cli` runs them, `affectd.program.help` explains them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from affectd.program.arguments import Parser, named

if TYPE_CHECKING:
    from argparse import _SubParsersAction
    from collections.abc import Callable

TIMELINE_FORMATS = ("table", "csv", "json", "trace", "audacity", "textgrid", "vtt", "svg", "html")


def add_commands(commands: _SubParsersAction[Parser], add_bench: Callable[[Parser], None]) -> None:
    """Add every command, in the order of ``--help``; `add_bench` adds the options of ``bench``."""
    settings = Parser(add_help=False)
    words = "settings (default: /etc/affectd/affectd.toml if it exists)"
    settings.add_argument("--config", metavar="FILE", type=named, help=words)
    words = "model file (default: the one that came with affectd)"
    settings.add_argument("--model", metavar="FILE", type=named, help=words)
    source = Parser(add_help=False)
    source.add_argument(
        "--source", metavar="mic|FILE|-", help="microphone, WAV file, or - for stdin: WAV or raw 16-bit mono PCM"
    )
    formats = Parser(add_help=False)
    words = "text for people, JSON, or CSV for spreadsheets (default: text on a terminal, else json)"
    formats.add_argument("--format", choices=("text", "json", "csv"), help=words)
    _add_listening(commands, source, settings, formats)
    _add_upkeep(commands, source, settings, formats)
    add_bench(commands.add_parser("bench", help="measure CPU, memory and latency on this board"))
    commands.add_parser("devices", parents=[formats], help="list the microphones")
    commands.add_parser("forget", parents=[settings], help="delete what the broker keeps of this device")


def _add_listening(commands: _SubParsersAction[Parser], source: Parser, settings: Parser, formats: Parser) -> None:
    """Add what hears sound."""
    run = commands.add_parser("run", parents=[source, settings, formats], help="print events until the sound ends")
    run.add_argument("--realtime", action="store_true", help="play a file at the speed it was recorded")
    run.add_argument("--began", metavar="TIME", help="when the recording began: its events carry the time of the sound")
    words = "also four JSON lines a second: what is heard, and why"
    run.add_argument("--trace", metavar="FILE|-", type=named, help=words)

    watch = commands.add_parser("watch", parents=[source, settings], help="show on this terminal what is heard, live")
    watch.add_argument("--url", metavar="URL", help="what another device hears: the address of its page")
    watch.add_argument("--token-file", metavar="FILE", type=named, help="the token of that page")

    classify = commands.add_parser("classify", parents=[settings, formats], help="print one line per recording")
    classify.add_argument(
        "paths", metavar="PATH", nargs="+", type=named, help="WAV file, folder of them, or - for stdin"
    )
    classify.add_argument(
        "--together", action="store_true", help="they are of one place: get to know it from all first"
    )

    timeline = commands.add_parser("timeline", parents=[settings], help="show how recordings sound over time")
    timeline.add_argument("paths", metavar="FILE", nargs="+", type=named, help="WAV file, or - for stdin")
    words = "table (default), csv, json, trace (JSON, four lines a second), audacity, textgrid, vtt, svg, html"
    timeline.add_argument("--format", choices=TIMELINE_FORMATS, metavar="FORMAT", default="table", help=words)
    words = "shares of the speech in each period of so many seconds, such as 60"
    timeline.add_argument("--period", metavar="SECONDS", type=float, help=words)
    timeline.add_argument("--began", metavar="TIME", help="when the recording began, such as 2026-01-31T14:30")

    record = commands.add_parser(
        "record", parents=[settings], help="record the microphone, once everyone in the room knows"
    )
    words = "the recording; OUT.json beside it says what is known of it"
    record.add_argument("path", metavar="OUT.wav", type=named, help=words)
    record.add_argument("--seconds", type=float, required=True, metavar="N", help="how long, at most 600")
    record.add_argument("--label", help="how the speaker sounds, in one of the model's words or another")
    record.add_argument("--trim", action="store_true", help="drop the silence before the first word and after the last")
    record.add_argument("--everyone-knows", action="store_true", help="everyone who can be heard knows; else it asks")


def _add_upkeep(commands: _SubParsersAction[Parser], source: Parser, settings: Parser, formats: Parser) -> None:
    """Add what is about the model, the place, the settings and the device."""
    show = commands.add_parser("model", parents=[settings, formats], help="describe the model")
    show.add_argument("--self-test", action="store_true", help="replay the golden vectors on this device")

    baseline = commands.add_parser("baseline", parents=[source, settings], help="what was learned of this place")
    baseline.add_argument("--json", action="store_true", help="as one JSON object")
    action = baseline.add_mutually_exclusive_group()
    action.add_argument("--reset", action="store_true", help="forget it")
    action.add_argument("--enroll", action="store_true", help="learn from a minute of ordinary speech, or a file of it")

    personal = commands.add_parser("personalize", parents=[settings], help="fit a model file to one person or place")
    words = "recordings of affectd record --label, or folders of labels"
    personal.add_argument("folder", metavar="FOLDER", type=named, help=words)
    personal.add_argument("--out", metavar="FILE", type=named, required=True, help="the new model file")

    config = commands.add_parser(
        "config", parents=[source, settings], help="print every setting and where it came from"
    )
    config.add_argument("--json", action="store_true", help="as one JSON object instead of TOML")

    doctor = commands.add_parser("doctor", parents=[settings], help="find what is wrong here and how to fix it")
    doctor.add_argument("--json", action="store_true", help="as one JSON object per check")

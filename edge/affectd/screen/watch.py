"""`affectd watch` put together: what listens, here or on another device, and what shows it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from affectd.config.sections import Config, FileConfig, WebConfig
from affectd.events.detached import Detached
from affectd.events.sinks import JsonLines, Sink
from affectd.recognition.model_file import find_model, read_model
from affectd.recognition.smoothing import uncertain_threshold
from affectd.screen.kept_log import kept_log
from affectd.screen.layout import ASCII, BLOCKS, picture
from affectd.screen.lines import Lines
from affectd.screen.terminal import Terminal
from affectd.screen.view import View

_SOURCES = {"mic": "microphone", "-": "standard input"}


def watch_here(read_config: Callable[[], Config], out: JsonLines) -> None:
    """Listen to the source of the settings, a file in real time, and show it until it ends or a signal comes.

    Nothing is published, no file of events is written, no page opened, and what belongs to the service is left alone.

    Raises
    ------
    AffectdError
        As `affectd.run.serve`.
    """
    from affectd.run import serve

    def read() -> Config:
        config = read_config()
        return replace(config, mqtt=replace(config.mqtt, enabled=False), file=FileConfig(), web=WebConfig())

    config = read()
    model = read_model(find_model(config.model.path))
    source = config.audio.source
    name = _SOURCES.get(source) or os.path.basename(source)
    view = View(name, model.labels, uncertain_threshold(model, config))
    with _shown(view, out) as listener:
        serve(read, None, realtime=True, listeners=[listener], is_guest=True)


def watch_page(url: str, token_file: str | None, out: JsonLines) -> None:
    """Show what the page of another device tells until a signal comes.

    Raises
    ------
    AffectdError
        As `affectd.screen.page.Page`.
    """
    # Imported only here: HTTP and TLS cost more memory than all the rest of the screen.
    from affectd.screen.page import Page, interruptible

    page = Page(url, token_file)
    with _shown(View("microphone", address=page.url), out) as listener, _until_interrupted():
        for message in interruptible(page.messages()):
            listener.write(message)


@contextmanager
def _until_interrupted() -> Iterator[None]:
    """End the ``with`` block on SIGINT and SIGTERM."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _shown(view: View, out: JsonLines) -> Iterator[Sink]:
    """Give what takes every message and shows it: the screen of a terminal, else plain lines."""
    descriptor = out.stream.fileno()
    if not _is_screen(descriptor):
        with Detached("standard output", Lines(view, descriptor), is_alone=True) as detached:
            yield detached
        return
    signs = BLOCKS if _has_unicode(os.environ) else ASCII
    is_colored = not os.environ.get("NO_COLOR")
    with kept_log(view.note):
        with Terminal(descriptor, lambda columns, rows: picture(view, columns, rows, signs), is_colored) as screen:
            yield _Screen(view, screen)
        if not screen.was_stopped:  # a recording has ended: what was heard would be gone with the screen
            for when, said in view.happened:
                screen.print(f"{when}  {said}")


def _is_screen(descriptor: int) -> bool:
    return os.isatty(descriptor) and os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown")


def _has_unicode(environment: Mapping[str, str]) -> bool:
    """Return whether the terminal shows UTF-8, as locale(7) has it."""
    named = (environment.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    return "UTF8" in next(filter(None, named), "").upper().replace("-", "")


class _Screen:
    """What the thread of the sound tells, and the thread of the screen draws."""

    def __init__(self, view: View, screen: Terminal) -> None:
        self._view, self._screen = view, screen

    def write(self, message: Mapping[str, Any]) -> None:
        """Take a message."""
        self._view.write(message)
        self._screen.news()

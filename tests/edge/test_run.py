"""What `affectd run` puts together."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from http.client import HTTPConnection, HTTPResponse

import numpy as np
import pytest

from affectd import run as service
from affectd.config.sections import AudioConfig, Config, WebConfig
from affectd.events.sinks import JsonLines
from broker import free_port
from sounds import gain, syllables


@pytest.mark.parametrize(
    ("by", "is_watched"), [("nothing", False), ("a listener", True), ("a page", False), ("a page in a browser", True)]
)
def test_sound_may_come_late_while_all_is_quiet_and_the_trace_is_not_watched(
    monkeypatch: pytest.MonkeyPatch, by: str, is_watched: bool
) -> None:
    told: list[bool] = []
    config = Config(web=WebConfig(enabled="page" in by, port=free_port()))

    def opened(audio: AudioConfig, rate: int, *, quiet: Callable[[], bool], **_: object) -> Iterator[np.ndarray]:
        speech = gain(syllables(2.0), -12).astype(np.float32)
        viewer = listen_to(config.web.port) if "browser" in by else nullcontext()
        with viewer:
            for block in (np.zeros(3 * rate, np.float32), speech, np.zeros(3 * rate, np.float32)):
                told.append(quiet())
                yield block
            told.append(quiet())

    monkeypatch.setattr(service, "open_source", opened)
    listeners = [JsonLines(io.StringIO())] if by == "a listener" else []
    with open(os.devnull, "w") as out:
        service.serve(lambda: config, JsonLines(out), realtime=False, listeners=listeners)
    assert told == ([False] * 4 if is_watched else [False, True, False, True])


def listen_to(port: int) -> HTTPResponse:
    """Open the page's stream, of which the first bytes have come."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/events")
    return connection.getresponse()

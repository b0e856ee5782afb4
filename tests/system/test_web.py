"""`affectd run` with its page, over the loopback interface: every address, who gets in, and how it ends."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from affectd.events.event import event_schema
from affectd.events.trace import trace_schema
from affectd.recognition.model_file import find_model
from affectd.web.page import STATIC
from fake_broker import FakeBroker
from web_device import PATIENCE_SECONDS, WebDevice, long_demo

pytestmark = pytest.mark.skipif(not find_model().exists(), reason="no model file")

TOKEN = "0123456789abcdef"
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Connection": "close",
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return long_demo(tmp_path_factory.mktemp("sound"))


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory, sound: Path) -> Iterator[WebDevice]:
    """Without a token, in real time."""
    device = WebDevice(tmp_path_factory.mktemp("device"))
    with device.running("--source", sound, "--realtime"):
        yield device


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, sound: Path) -> Iterator[WebDevice]:
    """With a token, on all networks."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "token").write_text(f"{TOKEN}\n")
    (folder / "token").chmod(0o600)
    device = WebDevice(folder, WEB_BIND="0.0.0.0", WEB_TOKEN_FILE=folder / "token")
    with device.running("--source", sound, "--realtime"):
        yield device


@pytest.mark.parametrize("path", sorted(file.name for file in STATIC.iterdir()))
def test_every_file_of_the_page_is_served_as_what_it_is(device: WebDevice, path: str) -> None:
    status, headers, body = device.ask(f"/static/{path}")
    assert (status, body) == (200, (STATIC / path).read_bytes())
    kinds = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    assert headers["Content-Type"].startswith(kinds[path.rpartition(".")[2]])
    assert {name: headers[name] for name in HEADERS} == HEADERS
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert device.ask(f"/static/{path}?v=1", "HEAD")[::2] == (200, b"")


def test_the_page_is_at_the_root(device: WebDevice) -> None:
    assert device.ask("/")[2] == (STATIC / "index.html").read_bytes()


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "//",
        "/index.html",
        "/static",
        "/static/",
        "/static/..",
        "/static/../page.py",
        "/static/..%2fpage.py",
        "/static/%2e%2e/page.py",
        "/static/.%00./page.py",
        "/static/index.html/",
        "/static//index.html",
        "/static/static/index.html",
        "/../../../../etc/passwd",
        "//etc/passwd",
        "/events/",
        "/State",
    ],
)
def test_there_is_nothing_else(device: WebDevice, path: str) -> None:
    with closing(socket.create_connection(("127.0.0.1", device.port), PATIENCE_SECONDS)) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())  # http.client might tidy it up
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 404 "), answer
    assert answer.endswith(b"\r\n\r\nNothing is here.\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
@pytest.mark.parametrize("path", ["/", "/state", "/events", "/session"])
def test_nothing_can_be_changed(device: WebDevice, method: str, path: str) -> None:
    status, headers, _ = device.ask(path, method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/", "/state", "/events", "/healthz", "/session", "/static/index.html", "/nothing"])
def test_another_name_that_points_here_gets_nothing(device: WebDevice, guarded: WebDevice, path: str) -> None:
    """DNS rebinding: a foreign page would be of the same origin."""
    for one in (device, guarded):
        assert one.ask(path, Host="evil.example", Authorization=f"Bearer {TOKEN}")[0] == 403
        assert one.ask(path, Host=f"evil.example:{one.port}")[0] == 403


def test_the_state_says_what_the_device_is_and_does(device: WebDevice) -> None:
    status, headers, body = device.ask("/state")
    state = json.loads(body)
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert list(state) == [
        *("schema", "version", "device", "model", "labels", "listening", "microphone", "broker", "baseline"),
        *("telemetry", "card"),
    ]
    assert (state["device"], state["broker"]) == ("kiosk-3", None)
    assert state["baseline"] == {"settled": state["telemetry"]["settled"]}
    assert 0.0 <= state["baseline"]["settled"] < 1.0
    assert "happy" in state["labels"]
    assert state["telemetry"]["schema"] == 3
    assert state["telemetry"]["events_dropped"] == {"standard_output": 0}
    assert "non-commercial" in state["card"]["use"]
    assert device.ask("/state", "HEAD")[::2] == (200, b"")


def test_it_is_healthy_while_sound_is_processed(device: WebDevice) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while device.ask("/healthz")[0] != 200:  # before the first block
        assert time.monotonic() < until
    assert device.ask("/healthz")[2] == b"listening\n"
    assert json.loads(device.ask("/state")[2])["listening"] is True


def test_it_is_not_healthy_when_the_watchdog_would_bark(tmp_path: Path, sound: Path) -> None:
    device = WebDevice(tmp_path)
    device.environment["WATCHDOG_USEC"] = "1"  # no block comes that soon after another
    with device.running("--source", sound, "--realtime"):
        status, _, body = device.ask("/healthz")
        assert (status, body) == (503, b"no sound\n")
        assert json.loads(device.ask("/state")[2])["listening"] is False


@pytest.mark.parametrize("bind", ["::1", "localhost", "127.0.0.2"])
def test_this_device_alone_has_other_addresses_too(tmp_path: Path, sound: Path, bind: str) -> None:
    device = WebDevice(tmp_path, WEB_BIND=bind)
    try:
        socket.create_server((bind, 0), family=socket.AF_INET6 if ":" in bind else socket.AF_INET).close()
    except OSError as error:
        pytest.skip(f"this machine has no {bind}: {error}")
    with device.running("--source", sound, "--realtime"):
        host = f"[{bind}]" if ":" in bind else bind
        assert f"http://{host}:{device.port}/".encode() in device.log[0]
        client = http.client.HTTPConnection(bind, device.port, timeout=PATIENCE_SECONDS)
        with closing(client):
            client.request("GET", "/state")
            assert client.getresponse().status == 200


def longest(value: Any) -> int:
    """Return the length of the longest array anywhere in an object."""
    if isinstance(value, dict):
        return max(map(longest, value.values()), default=0)
    return max(len(value), *map(longest, value)) if isinstance(value, list) and value else 0


def test_a_stream_has_the_trace_and_the_events_and_no_sound(device: WebDevice) -> None:
    event, trace = map(jsonschema.Draft202012Validator, (event_schema(), trace_schema()))
    fields = set(trace_schema()["properties"]), set(event_schema()["properties"])
    with device.stream() as stream:
        assert stream.response.headers["Content-Type"].startswith("text/event-stream")
        seen: dict[str, list[Any]] = {}
        for kind, data in stream:
            seen.setdefault(kind, []).append(data)
            if len(seen.get("event", [])) >= 3 and len(seen.get("trace", [])) >= 12 and "state" in seen:
                break
    assert next(iter(seen)) == "snapshot"
    (snapshot,) = seen["snapshot"]
    assert list(snapshot) == ["state", "trace", "events", "hour", "now_seconds"]
    lines = [*([snapshot["trace"]] if snapshot["trace"] else []), *seen["trace"]]
    for line in lines:
        trace.validate(line)
        assert set(line) <= fields[0]
    for one, other in itertools.pairwise(lines):
        assert one["end_seconds"] == other["start_seconds"], "the trace has a gap"
    for line in [*snapshot["events"], *seen["event"]]:
        event.validate(line)
        assert set(line) <= fields[1]
    # Neither samples nor bands nor cepstra: there are at most as many numbers as labels, and each has a name.
    assert all(longest(line) == 0 for line in [*lines, *seen["event"]])
    assert all(len(line["probabilities"] or {}) <= 8 for line in lines)
    state = seen["state"][0]
    assert state.keys() == snapshot["state"].keys()
    until = time.monotonic() + PATIENCE_SECONDS
    while not {line["id"] for line in seen["event"]} <= {json.loads(line)["id"] for line in device.out}:
        assert time.monotonic() < until, "standard output has others"


def test_the_hour_covers_the_open_gate(device: WebDevice) -> None:
    with device.stream() as stream:
        next(data for kind, data in stream if kind == "event" and data.get("phase") == "end")
    with device.stream() as stream:
        _, snapshot = next(iter(stream))
    hour = snapshot["hour"]
    for one, other in itertools.pairwise(hour):
        assert one["end_seconds"] <= other["start_seconds"]
    assert all(segment["start_seconds"] < segment["end_seconds"] <= snapshot["now_seconds"] for segment in hour)
    ended = [event for event in snapshot["events"] if event.get("phase") == "end"]
    assert ended
    for event in ended:
        assert any(
            segment["start_seconds"] < event["end_seconds"] and event["start_seconds"] < segment["end_seconds"]
            for segment in hour
        )


def test_a_ninth_viewer_gets_503(device: WebDevice) -> None:
    with ExitStack() as stack:
        streams = []
        until = time.monotonic() + PATIENCE_SECONDS
        while len(streams) < 8:  # those of other tests may not be forgotten yet
            stream = stack.enter_context(device.stream())
            streams += [stream] if stream.response.status == 200 else []
            assert time.monotonic() < until
        assert device.ask("/events")[0] == 503
        assert all(next(iter(stream))[0] == "snapshot" for stream in streams)


def test_only_the_token_opens(guarded: WebDevice) -> None:
    for path in ("/state", "/events", "/session", "/nothing"):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "affectd_session=wrong"}):
            status, answer, _ = guarded.ask(path, **headers)
            assert (status, answer["WWW-Authenticate"]) == (401, 'Bearer realm="affectd"')
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert guarded.ask("/state", **bearer)[0] == 200
    with guarded.stream(**bearer) as stream:
        assert next(iter(stream))[0] == "snapshot"
    for path in ("/", "/sign", "/static/index.html"):
        assert guarded.ask(path)[0] == 200, "it shows nothing"
    assert guarded.ask("/healthz")[0] in (200, 503), "503 before the first block"


def test_a_browser_gets_a_session_for_the_token(guarded: WebDevice) -> None:
    status, headers, body = guarded.ask("/session", Authorization=f"Bearer {TOKEN}")
    assert (status, body) == (204, b"")
    cookie = headers["Set-Cookie"]
    assert cookie.endswith("; HttpOnly; SameSite=Strict")
    assert guarded.ask("/state", Cookie=cookie.partition(";")[0])[0] == 200
    with guarded.stream(Cookie=cookie.partition(";")[0]) as stream:
        assert next(iter(stream))[0] == "snapshot"


def fails(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert done.returncode == code, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "192.0.2.1", "kiosk.example"])
def test_others_need_a_token_or_it_does_not_start(tmp_path: Path, sound: Path, bind: str) -> None:
    done = WebDevice(tmp_path, WEB_BIND=bind).run("run", "--source", sound)
    fails(done, 78, "needs a token", bind)
    assert done.stdout == ""


def test_a_port_that_is_taken_and_an_address_of_another_machine_end_it(tmp_path: Path, sound: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = WebDevice(tmp_path, WEB_PORT=port).run("run", "--source", sound)
        fails(done, 69, f"127.0.0.1 port {port}", "another program has this port")
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    done = WebDevice(tmp_path, WEB_BIND="192.0.2.1", WEB_TOKEN_FILE=tmp_path / "token").run("run", "--source", sound)
    fails(done, 69, "192.0.2.1 port", "no such address now")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_although_viewers_watch_or_hang(tmp_path: Path, sound: Path, number: signal.Signals) -> None:
    device = WebDevice(tmp_path)
    with device.running("--source", sound, "--realtime") as program, ExitStack() as stack:
        streams = [stack.enter_context(device.stream()) for _ in range(4)]
        for _ in range(4):
            stalled = stack.enter_context(closing(socket.create_connection(("127.0.0.1", device.port))))
            stalled.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for stream in streams:  # of one that is not answered yet, the connection may be reset
            assert next(iter(stream))[0] == "snapshot"
        # A signal in the middle of opening the file would leave it to Python, which warns of it.
        assert any(kind == "trace" for kind, _ in streams[0])
        began = time.monotonic()
        program.send_signal(number)
        assert program.wait(PATIENCE_SECONDS) == 0
        assert time.monotonic() - began < 30.0, "on an idle machine within a second"
        assert all(kind != "snapshot" for kind, _ in streams[1]), "its end is an end of the stream"
    assert len(device.log) == 1, device.log


def test_a_reload_keeps_the_viewers_and_says_what_waits_for_a_restart(tmp_path: Path, sound: Path) -> None:
    settings = tmp_path / "affectd.toml"
    settings.write_text("")
    device = WebDevice(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        device.environment["NOTIFY_SOCKET"] = str(tmp_path / "notify")
        with (
            device.running("--source", sound, "--realtime", "--config", settings) as program,
            device.stream() as stream,
        ):
            messages = iter(stream)
            assert next(messages)[0] == "snapshot"
            next(data for kind, data in messages if kind == "trace")
            settings.write_text('[smoothing]\nuncertain = 0.1\n[web]\nbind = "127.0.0.2"\n')
            program.send_signal(signal.SIGHUP)
            # With this threshold every utterance has a name.
            assert next(data for kind, data in messages if kind == "event" and data["label"] != "uncertain")
    assert any(b"read again; restart for [web]" in line for line in device.log), device.log


def test_the_broker_is_part_of_the_state(tmp_path: Path, sound: Path) -> None:
    with FakeBroker() as broker:
        device = WebDevice(
            tmp_path, MQTT_ENABLED=True, MQTT_HOST="127.0.0.1", MQTT_PORT=broker.port, MQTT_DISCOVERY=False
        )
        with device.running("--source", sound, "--realtime"), device.stream() as stream:
            messages = iter(stream)
            _, snapshot = next(messages)
            assert snapshot["state"]["broker"] == {"connected": False, "refused": [], "outbox": 0}
            broker.welcome()
            state = next(data for kind, data in messages if kind == "state" and data["broker"]["connected"])
            assert state["telemetry"]["refused"] == []


def test_who_takes_nothing_delays_no_event(tmp_path: Path, sound: Path) -> None:
    """The margin is for busy machines; what waited for them would come when they are dropped, or never."""
    device = WebDevice(tmp_path)
    with device.running("--source", sound, "--realtime"), ExitStack() as stack:
        for _ in range(5):
            stalled = stack.enter_context(closing(socket.socket()))
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stalled.connect(("127.0.0.1", device.port))
            stalled.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        late = []
        for kind, data in stack.enter_context(device.stream()):
            if kind in ("trace", "event"):
                late.append(time.time() - datetime.fromisoformat(data["time"]).timestamp())
            if len(late) >= 30:
                break
    late.sort()
    assert late[len(late) // 2] < 10.0


def test_every_user_who_can_read_the_token_is_warned_of(tmp_path: Path, sound: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o644)
    with WebDevice(tmp_path, WEB_TOKEN_FILE=tmp_path / "token").running("--source", sound, "--realtime") as program:
        program.terminate()
        program.wait(PATIENCE_SECONDS)
    done = WebDevice(tmp_path, WEB_TOKEN_FILE=tmp_path / "token", WEB_BIND="192.0.2.1").run("run", "--source", sound)
    assert "every user of this machine can read the token" in done.stderr
    assert TOKEN not in done.stderr
    os.unlink(tmp_path / "token")
    fails(WebDevice(tmp_path, WEB_TOKEN_FILE=tmp_path / "token").run("run", "--source", sound), 78, "token_file")

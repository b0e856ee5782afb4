"""`affectd watch` as people use it: in a real tmux, beside a service, and for another device."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affectd.config.state import claimed_folders, state_of
from affectd.recognition.baseline_file import files_of
from affectd.recognition.model_file import write_model
from affectd.stdio import width_of
from own_labels import SIXTEEN, TWO
from room import Room, needs_room
from sounds import as_int16, gain, raw_sound, silence, syllables, write_wav
from terminals import PATIENCE_SECONDS, Tmux, tmux
from tiny_model import LABELS, place_model

WATCH = [sys.executable, "-m", "affectd", "watch"]
TALK = as_int16(np.concatenate([silence(0.5), gain(syllables(1.5), -12), silence(1.0)]))


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Tmux]:
    with tmux(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wav(tmp_path_factory.mktemp("long") / "talk.wav", as_int16(gain(syllables(PATIENCE_SECONDS), -12)))


def rows(screen: str) -> dict[str, str]:
    return {line.split(" ")[0]: line for line in screen.splitlines() if line}


def test_on_a_real_terminal_of_80_by_24(terminal: Tmux, model: Path, long: Path) -> None:
    terminal.run(*WATCH, "--source", str(long), "--model", str(model))
    screen = terminal.wait_for(lambda shown: "open for" in shown and "Last events\n" in shown and "begins" in shown)
    lines = screen.splitlines()
    assert len(lines) == 24
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].startswith("affectd watch")
    assert lines[-1].endswith("Ctrl-C ends")
    found = rows(screen)
    assert {"Sound", "Level", "Gate", "Voice", *LABELS, "Last"} <= found.keys()
    assert "█" in found["Level"]
    assert "talk.wav" in found["Sound"]
    colored = terminal.screen("-e")
    assert "\x1b[" in colored

    terminal("resize-window", "-x", "40", "-y", "8")
    small = terminal.wait_for(lambda shown: "dBFS" in shown and "affectd watch" not in shown)
    assert all(len(line) <= 40 for line in small.splitlines())
    terminal("resize-window", "-x", "100", "-y", "30")
    large = terminal.wait_for(lambda shown: shown.startswith("affectd watch") and "Ctrl-C ends" in shown)
    assert len(large.splitlines()) == 30

    terminal("send-keys", "C-z")
    stopped = terminal.wait_for(lambda shown: "Stopped" in shown and shown.rstrip().endswith("ready>"))
    assert "Level" not in stopped
    terminal.run("stty", "-a")
    assert " echo " in terminal.wait_for(lambda shown: "rows 30; columns 100" in shown and " echoe " in shown)
    terminal.run("fg")
    terminal.wait_for(lambda shown: shown.startswith("affectd watch") and "Ctrl-C ends" in shown)
    terminal("send-keys", "C-c")
    ended = terminal.wait_for(lambda shown: "Stopped" in shown and shown.rstrip().endswith("ready>"))
    assert "Level" not in ended
    terminal("send-keys", "-l", 'echo "it was $?"')
    terminal("send-keys", "Enter")
    terminal.wait_for(lambda shown: "\nit was 0\n" in shown)
    assert terminal("display-message", "-p", "#{alternate_on} #{cursor_flag} #{wrap_flag}") == "0 1 1\n"


@pytest.mark.parametrize("labels", [SIXTEEN, TWO], ids=["sixteen", "two"])
def test_labels_of_ones_own(terminal: Tmux, tmp_path: Path, labels: tuple[str, ...]) -> None:
    """The names are as wide on the terminal as the picture takes them to be: all bars end in one column."""
    model = tmp_path / "own.tflite"
    write_model(model, place_model(n_labels=len(labels), labels=labels))
    sound = write_wav(tmp_path / "talk.wav", as_int16(gain(syllables(PATIENCE_SECONDS), -12)))
    terminal.run(*WATCH, "--source", str(sound), "--model", str(model))
    screen = terminal.wait_for(lambda shown: "%  now" in shown and "Ctrl-C ends" in shown)
    assert len(screen.splitlines()) == 24
    for name in ("Valence", "Arousal", "unpleasant"):
        assert name not in screen
    bars = [line for line in screen.splitlines() if "%  now" in line]
    assert len(bars) == len(labels)
    assert len({line[:25] for line in bars}) == len(labels)  # each is told from the others
    for label in labels:
        assert any(line.startswith(label if width_of(label) < 26 else label[:7]) for line in bars), label
    # The terminal's own word on widths: tmux leaves what follows a name in its column.
    terminal("send-keys", "C-c")
    terminal.wait_for(lambda shown: "Level" not in shown)
    for label in labels:
        terminal.run("clear")
        terminal.run("printf", "%s", label)
        terminal.wait_for(lambda shown, label=label: f"\n{label}ready>" in f"\n{shown}")
        at = int(terminal("display-message", "-p", "#{cursor_x}"))
        assert at == width_of(label) + len("ready> "), label


def test_in_the_background_it_leaves_the_terminal_alone(terminal: Tmux, model: Path, long: Path) -> None:
    terminal.run(*WATCH, "--source", str(long), "--model", str(model))
    terminal.wait_for(lambda shown: shown.startswith("affectd watch"))
    terminal("send-keys", "C-z")
    terminal.wait_for(lambda shown: "Stopped" in shown)
    terminal.run("bg")
    terminal.run("sleep", "1")  # it would have drawn by then
    terminal.run("echo", "still", "here")
    screen = terminal.wait_for(lambda shown: "\nstill here" in shown)
    assert "Level" not in screen
    assert terminal("display-message", "-p", "#{alternate_on} #{cursor_flag}") == "0 1\n"
    terminal.run("kill", "%1")
    terminal.run("wait")
    terminal.wait_for(lambda shown: "Done" in shown)


def test_it_is_a_guest_of_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It publishes nothing, opens no page, writes no events, needs no state, and learns nothing into the baseline."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setenv("AFFECTD_DEVICE_ID", "kitchen")
    model = tmp_path / "place.tflite"
    write_model(model, place_model({"far_distance": 1e6, "prior_seconds": 4.0}))
    with socket.create_server(("127.0.0.1", 0)) as broker:
        broker.settimeout(0.1)
        settings = tmp_path / "affectd.toml"
        settings.write_text(
            f'[mqtt]\nenabled = true\nhost = "127.0.0.1"\nport = {broker.getsockname()[1]}\n'
            f'[file]\npath = "{tmp_path}/events.jsonl"\n'
            f"[web]\nenabled = true\nport = {broker.getsockname()[1]}\n"  # taken, as by the service
        )
        command = [*WATCH, "--source", "-", "--config", str(settings), "--model", str(model)]
        samples = raw_sound(TALK)
        with claimed_folders("kitchen"):  # as the service has it
            done = subprocess.run(command, input=samples, capture_output=True, timeout=PATIENCE_SECONDS, check=False)
            assert done.returncode == 0, done.stderr
            assert b"begins" in done.stdout
            with pytest.raises(TimeoutError):
                broker.accept()
    assert not (tmp_path / "events.jsonl").exists()
    assert files_of(state_of("kitchen")) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_a_sentence_while_the_sound_goes_on(model: Path) -> None:
    with (
        open("/dev/full", "wb") as full,
        subprocess.Popen(
            [*WATCH, "--source", "-", "--model", str(model)],
            stdin=subprocess.PIPE,
            stdout=full,
            stderr=subprocess.PIPE,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(raw_sound(TALK))
        process.stdin.flush()
        try:
            assert process.wait(PATIENCE_SECONDS) == 69
        finally:
            process.kill()
        said = process.stderr.read()
    assert said == b"affectd: Standard output cannot be written: No space left on device.\n"


@pytest.fixture(params=[pytest.param("PulseAudio", marks=needs_room)])
def room(tmp_path: Path) -> Iterator[Room]:
    room = Room(tmp_path)
    room.start()
    yield room
    room.stop(signal.SIGKILL)


def test_a_microphone_and_its_faults(room: Room) -> None:
    """What the log says meanwhile does not disturb the screen, and is not lost."""
    with tmux(room.folder, room.environment) as terminal:
        terminal.run(*WATCH)
        terminal.wait_for(lambda shown: "microphone: healthy" in shown and "waiting for speech" in shown)
        room.stop(signal.SIGKILL)
        lost = terminal.wait_for(lambda shown: "Sound       microphone: fault (" in shown)
        assert len(lost.splitlines()) == 24
        assert lost.startswith("affectd watch")
        room.start()
        terminal.wait_for(lambda shown: "Sound       microphone: healthy" in shown)
        terminal("send-keys", "C-c")
        ended = terminal.wait_for(lambda shown: shown.rstrip().endswith("ready>"))
        assert "affectd: microphone alarmed" in ended
        assert "affectd: microphone healthy" in ended


class Kitchen(BaseHTTPRequestHandler):
    """A page that asks for a token, tells a little, and closes each connection when it is told to."""

    close, is_open = threading.Event(), threading.Event()

    def do_GET(self) -> None:
        self.is_open.wait(PATIENCE_SECONDS)
        if self.headers["Authorization"] != "Bearer open-sesame":
            self.send_error(401)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        shares = {"calm": 0.1, "happy": 0.85, "\x1b[31mangry": 0.05}
        event = {"type": "emotion", "phase": "start", "label": "happy", "probability": 0.85, "probabilities": shares}
        trace = {
            "type": "trace",
            "start_seconds": 3700.0,
            "end_seconds": 3700.256,
            "level_dbfs": -31.5,
            "gate_open": True,
            "probabilities": shares,
            "smoothed": shares,
            "label": "happy",
            "probability": 0.85,
            "valence": 0.6,
            "arousal": 0.4,
        }
        microphone = {"state": "degraded", "reason": "narrow", "figure": -55.0}
        state = {"device": "kitchen", "labels": list(shares), "microphone": microphone}
        self.tell("snapshot", {"state": state, "trace": None, "events": [event], "hour": [], "now_seconds": 3700.0})
        self.tell("trace", trace)
        self.close.wait(PATIENCE_SECONDS)
        self.close.clear()

    def tell(self, kind: str, content: dict[str, Any]) -> None:
        self.wfile.write(f"event: {kind}\ndata: {json.dumps(content)}\n\n".encode())

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def kitchen() -> Iterator[ThreadingHTTPServer]:
    Kitchen.close.clear()
    Kitchen.is_open.set()
    with ThreadingHTTPServer(("127.0.0.1", 0), Kitchen) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        Kitchen.close.set()
        Kitchen.is_open.set()
        server.shutdown()
        thread.join()


def test_another_device_is_watched_by_its_page(terminal: Tmux, kitchen: ThreadingHTTPServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("open-sesame\n")
    url = f"http://127.0.0.1:{kitchen.server_port}"
    terminal.run(*WATCH, "--url", url, "--token-file", str(tmp_path / "token"))
    found = rows(terminal.wait_for(lambda shown: "open for" in shown))
    assert found["affectd"].split()[2:] == ["kitchen", "1:01:40"]
    assert found["Sound"].endswith(f"{url}, microphone: unfit sound (narrow)")
    assert found["Voice"].split()[1:] == ["happy", "85", "%"]
    assert "█" in found["happy"]
    assert "█" not in found["calm"]
    assert r"\x1b[31mang" in "\n".join(found)
    assert "nothing above 2.8 kHz" in terminal.screen()

    Kitchen.is_open.clear()  # until the screen was seen
    Kitchen.close.set()
    lost = terminal.wait_for(lambda shown: "trying again" in shown)
    assert "open for" not in lost
    Kitchen.is_open.set()
    terminal.wait_for(lambda shown: "open for" in shown)
    terminal("send-keys", "C-c")
    terminal.wait_for(lambda shown: "Level" not in shown)
    assert terminal("display-message", "-p", "#{alternate_on} #{cursor_flag}") == "0 1\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_page_of_a_device_as_lines(kitchen: ThreadingHTTPServer, tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "token").write_text("open-sesame\n")
    command = [*WATCH, "--url", f"http://127.0.0.1:{kitchen.server_port}/", "--token-file", str(tmp_path / "token")]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line == b" 1:01:40  -31.5 dBFS  happy 85 %  valence +0.60  arousal +0.40\n"
        process.send_signal(number)
        assert process.wait(15) == 0  # before the silent connection is given up


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--url", "http://127.0.0.1:{port}/"], 78, "asks for a token"),
        (["--url", "kitchen"], 64, "must be the address of a page"),
        (["--url", "http://127.0.0.1:{port}/", "--source", "x.wav"], 64, "goes without --source"),
        (["--token-file", "x"], 64, "--url names"),
    ],
)
def test_what_does_not_work_is_a_sentence(
    kitchen: ThreadingHTTPServer, options: list[str], code: int, said: str
) -> None:
    command = [*WATCH, *(option.format(port=kitchen.server_port) for option in options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == code
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""

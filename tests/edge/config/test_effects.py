"""Every setting changes something that can be observed: none is in force but ignored."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import fields, replace
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from affectd import pipeline
from affectd import run as service
from affectd.audio import supervisor
from affectd.audio.liveness import Liveness
from affectd.audio.microphone import Losses
from affectd.audio.source import open_source, wav_blocks
from affectd.config.sections import SECTIONS, AudioConfig, Config
from affectd.config.state import Folders
from affectd.delivery.message import RefusedError
from affectd.errors import AffectdError, NoInputError
from affectd.events.sinks import JsonLines, RotatingFile
from affectd.mqtt import connection as mqtt_connection
from affectd.mqtt.connection import Connection
from affectd.mqtt.credentials import read_login, tls_context
from affectd.mqtt.link import address
from affectd.mqtt.mute import Mute
from affectd.mqtt.publisher import Publisher
from affectd.mqtt.telemetry import Telemetry
from affectd.outbox.outbox import Outbox
from affectd.recognition.classifier import load_classifier
from affectd.recognition.model_file import write_model
from affectd.recognition.recording import classify_recording
from broker import Certificates, free_port
from fake_broker import CONNECT, SUBSCRIBE, FakeBroker
from fake_network import FakeNetwork
from fake_pyaudio import FakeDevice, FakePyAudio
from fleet import Signer
from publisher import open_connection
from sounds import as_int16, gain, noise, silence, syllables, write_wav
from tiny_model import tiny_model

Observe = Callable[[Config, Path], object]

SOUND = as_int16(
    gain(noise("pink", 14), -60)
    + np.concatenate(
        [silence(1), gain(syllables(3), -12), silence(2), gain(syllables(4), -30), silence(2), gain(syllables(2), -12)]
    )
)


class Wavering(FakeNetwork):
    """A network that changes its mind now and then."""

    def __call__(self, cepstra: np.ndarray) -> np.ndarray:
        self.calls.append(cepstra.copy())
        weights = np.exp(2 * np.sin(np.arange(3) * 2 + len(self.calls) * 0.9))
        return (weights / weights.sum()).astype(np.float32)


def spoken(config: Config, folder: Path) -> object:
    """The events of a while."""
    events: list[dict[str, Any]] = []
    network = Wavering()
    pipeline.run([SOUND], network, SimpleNamespace(write=events.append), config)  # type: ignore[arg-type]
    return [{key: value for key, value in event.items() if key not in ("id", "time")} for event in events]


def classified(config: Config, folder: Path) -> object:
    """The answer to a recording."""
    return classify_recording([SOUND], Wavering(), config)


def model_used(config: Config, folder: Path) -> object:
    write_model(folder / "tiny.tflite", tiny_model())
    path = str(folder / "tiny.tflite") if config.model.path == "tiny" else ""
    return load_classifier(replace(config.model, path=path)).model.labels


def serve(config: Config) -> None:
    with open(os.devnull, "w") as out:
        service.serve(lambda: config, JsonLines(out), realtime=False)


def served(config: Config, folder: Path) -> object:
    """What `affectd run` opens."""
    asked: list[object] = []

    def opened(audio: AudioConfig, rate: int, *, patient: bool, **_: object) -> None:
        asked.append((audio.source, patient))
        raise NoInputError("That is enough.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "open_source", opened)
        with pytest.raises(NoInputError):
            serve(config)
    return asked


def channel_heard(config: Config, folder: Path) -> object:
    """Of a microphone, a file, and standard input."""
    path = write_wav(folder / "stereo.wav", np.tile([0.25, 0.75], (1600, 1)))
    heard = [next(open_source(replace(config.audio, source=str(path)), 16000))[0]]
    heard.append(next(wav_blocks(path, 16000, config.audio.channel))[0])
    with pytest.MonkeyPatch.context() as patch, path.open("rb") as file:
        patch.setattr(sys, "stdin", SimpleNamespace(buffer=file, fileno=file.fileno))
        heard.append(next(open_source(replace(config.audio, source="-"), 16000))[0])
    assert np.ptp(heard) == 0
    return heard


def microphone_asked(config: Config, folder: Path) -> object:
    card = FakePyAudio(FakeDevice(accepts=lambda rate, n_channels: n_channels == 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pyaudio", card)
        try:
            next(supervisor.microphone_blocks(16000, config.audio, lambda *_: None, patient=False))
        except AffectdError as error:
            return str(error), card.asked
    return card.asked


def fault_found(config: Config, folder: Path, *, samples: np.ndarray) -> object:
    """After how many seconds of this a microphone is faulty, and how long it is waited for then."""
    now = [0.0]
    liveness = Liveness(config.audio, clock=lambda: now[0], jitter=lambda: 0.0)
    while (fault := liveness.heard(samples, 0.5)) is None:
        now[0] += 0.5
    return fault, now[0], [liveness.failed(fault) for _ in range(10)]


def connect_packet(config: Config, folder: Path) -> object:
    """What a broker is told at the beginning."""
    with FakeBroker() as broker:
        mqtt = replace(config.mqtt, port=broker.port)
        connection = Connection(
            mqtt,
            config.device.id,
            Outbox(None, None, max_events=1, max_bytes=1),
            event_topic="event",
            last_will=mqtt_connection.Publication("status", "offline"),
            farewell=mqtt_connection.Publication("status", "stopped"),
            greeting=list,
            subscriptions={},
            period_seconds=60.0,
            periodic=list,
        )
        connection.start()
        packet = broker.accept(mqtt.protocol).expect(CONNECT)
        connection.close(0.0)
        return packet


def login(config: Config, folder: Path) -> object:
    (folder / "password").write_text("open sesame\n")
    mqtt = config.mqtt
    try:
        found = read_login(replace(mqtt, password_file=str(folder / "password") if mqtt.password_file else ""), {})
    except AffectdError as error:
        return str(error)
    return found.username, found.password


def certificates(config: Config, folder: Path) -> object:
    made = Certificates(folder / "certificates")
    certificate, key = made.issue("client")
    files = {"ca_file": made.authority, "cert_file": certificate, "key_file": key}
    given = {name: str(path) for name, path in files.items() if getattr(config.mqtt, name)}
    try:
        context = tls_context(replace(config.mqtt, **given))
    except AffectdError as error:
        return str(error)
    return context and len(context.get_ca_certs())


def publisher_of(config: Config, folder: Path) -> Publisher:
    mute, model = Mute(folder), FakeNetwork().model
    telemetry = Telemetry(config.device.id, "a1b2c3", Losses(), mute)
    return Publisher(config, model, Folders(folder, folder), telemetry, mute, lambda topics: None, {})  # type: ignore[arg-type]


def published(config: Config, folder: Path) -> object:
    """Everything that a broker is told when it lets the device in; the time between reports is part of it."""
    with FakeBroker() as broker:
        config = replace(config, mqtt=replace(config.mqtt, port=broker.port))
        publisher = publisher_of(config, folder)
        publisher.start()
        with closing(SimpleNamespace(close=lambda: publisher.close(lambda: 0.0))):
            client = broker.welcome()
            told: list[object] = []
            topic = ""
            while not topic.endswith("/state") or "listen" in topic:
                command, body = client.receive()
                if command >> 4 == SUBSCRIBE:
                    client.send(bytes([0x90, 2 + body.count(b"\1"), *body[:2], *([1] * body.count(b"\1"))]))
                    told.append(body)
                    continue
                length = int.from_bytes(body[:2], "big")
                topic = body[2 : 2 + length].decode()
                told.append((topic, body[4 + length :]))
                if command & 6:
                    client.send(bytes([0x40, 2, *body[2 + length : 4 + length]]))
        return told


def kept_events(config: Config, folder: Path) -> object:
    """How many of 200 events wait for a broker that is not there."""
    with pytest.MonkeyPatch.context() as patch:
        made: list[Any] = []
        original = mqtt_connection.Connection.__init__
        patch.setattr(Connection, "__init__", lambda self, *a, **k: (made.append(a[2]), original(self, *a, **k))[1])
        publisher = publisher_of(config, folder)
        for number in range(200):
            publisher.write(
                {"id": str(number), "type": "status", "state": "healthy", "reason": "heard", "text": "x" * 2000}
            )
        return len(made[0])


def pauses(config: Config, folder: Path) -> object:
    """The longest pause before an attempt to connect again."""
    outbox = Outbox(None, None, max_events=1, max_bytes=1)
    connection = open_connection(1, outbox, retry_seconds=config.mqtt.retry_seconds)
    for _ in range(20):
        connection._lose("a test")
    return connection._outages._delay_seconds


def written(config: Config, folder: Path) -> object:
    """The files after 60 events."""
    folder = folder / "events"
    folder.mkdir(exist_ok=True)
    file = RotatingFile(replace(config.file, path=str(folder / "events.jsonl")))
    for number in range(60):
        file.write({"schema": 1, "type": "status", "number": number, "text": "x" * 160})
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    for path in folder.iterdir():
        path.unlink()
    return sizes


def parts_started(config: Config, folder: Path) -> object:
    """Which sinks `affectd run` starts."""
    path = write_wav(folder / "a.wav", np.zeros(1600))
    target = folder / "events.jsonl"
    target.unlink(missing_ok=True)
    started: list[str] = []
    config = replace(
        config,
        audio=replace(config.audio, source=str(path)),
        file=replace(config.file, path=str(target) if config.file.path else ""),
        mqtt=replace(config.mqtt, port=1),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STATE_DIRECTORY", str(folder))
        patch.setenv("RUNTIME_DIRECTORY", str(folder))
        patch.setattr("affectd.run.StoppableBlocks.patience_seconds", lambda blocks: 0.0)
        patch.setattr(Connection, "start", lambda self: started.append("mqtt"))
        serve(config)
    return started, target.exists()


def served_page(config: Config, folder: Path) -> object:
    """Where `affectd run` listens, and what it answers there to a request without a token."""
    (folder / "token").write_text("0123456789abcdef\n")
    path = write_wav(folder / "a.wav", np.zeros(1600))
    web = replace(config.web, token_file=str(folder / "token") if config.web.token_file else "")
    config = replace(config, audio=replace(config.audio, source=str(path)), web=web)
    found: list[object] = []

    def run(*_: object, **__: object) -> None:
        with suppress(ConnectionRefusedError), closing(HTTPConnection(web.bind, web.port, timeout=60)) as client:
            client.request("GET", "/state")
            found.append((web.bind, web.port, client.getresponse().status))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "run", run)
        serve(config)
    return found


def fleet_taken(config: Config, folder: Path) -> object:
    """The topics of which models are taken."""
    key = Signer(folder).public if config.model.trusted_keys or config.mqtt.fleet else ""
    config = replace(config, model=replace(config.model, trusted_keys=str(key) if config.model.trusted_keys else ""))
    if config.mqtt.fleet and not config.model.trusted_keys:
        config = replace(config, model=replace(config.model, trusted_keys=str(key)))
    elif not config.mqtt.fleet and config.model.trusted_keys:
        config = replace(config, mqtt=replace(config.mqtt, fleet="kiosks"))
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("STATE_DIRECTORY", str(folder))
        taken = service._deliveries(config, stack)
    return taken and sorted(taken.subscriptions)


def delivered(config: Config, folder: Path) -> object:
    """What comes of a message about a file of 200 kB."""
    signer = Signer(folder)
    model = replace(config.model, trusted_keys=str(signer.public))
    config = replace(config, model=model, mqtt=replace(config.mqtt, fleet="kiosks"))
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("STATE_DIRECTORY", str(folder))
        taken = service._deliveries(config, stack)
        assert taken is not None
        message = signer.message(bytes(200_000), "http://127.0.0.1:1/a", 1)
        try:
            return taken._believed(message)
        except RefusedError as error:
            return str(error)


constant = partial(fault_found, samples=np.full(8000, 0.5, np.float32))
nothing = partial(fault_found, samples=np.zeros(0, np.float32))

PORT = free_port()
TLS: dict[str, Any] = {"tls": True}
FAR: dict[str, Any] = {"host": "broker.example", "username": "pi", "password_file": "set"}

EFFECTS: dict[str, tuple[Observe, object, object, dict[str, Any]]] = {
    "device.id": (spoken, "kitchen", "bedroom", {}),
    "audio.source": (served, "a.wav", "mic", {}),
    "audio.device": (microphone_asked, "", "usb-id:1234:5678", {}),
    "audio.channel": (channel_heard, 0, 1, {}),
    "audio.stalled_seconds": (nothing, 5.0, 10.0, {}),
    "audio.constant_seconds": (constant, 5.0, 10.0, {}),
    "audio.retry_seconds": (constant, 2.0, 10.0, {}),
    "audio.wait": (served, False, True, {}),
    "gate.margin_db": (spoken, 3.0, 40.0, {}),
    "gate.fall_db": (spoken, 1.0, 55.0, {}),
    "gate.minimum_dbfs": (spoken, -96.0, -40.0, {}),
    "gate.floor_seconds": (spoken, 0.1, 10.0, {}),
    "gate.hangover_seconds": (spoken, 0.0, 3.0, {}),
    "gate.preroll_seconds": (spoken, 0.0, 0.9, {}),
    "model.path": (model_used, "", "tiny", {}),
    "model.trusted_keys": (fleet_taken, "", "set", {}),
    "model.download_mb": (delivered, 0.1, 1.0, {}),
    "model.stride_frames": (spoken, 16, 40, {}),
    "smoothing.average_seconds": (spoken, 0.0, 3.0, {}),
    "smoothing.minimum_count": (spoken, 1, 8, {}),
    "smoothing.hysteresis": (spoken, 0.0, 0.9, {"average_seconds": 0.0, "dwell_seconds": 0.0}),
    "smoothing.patience": (spoken, 1, 6, {"average_seconds": 0.0, "dwell_seconds": 0.0, "hysteresis": 0.0}),
    "smoothing.dwell_seconds": (spoken, 0.0, 2.0, {"average_seconds": 0.0, "hysteresis": 0.0}),
    "smoothing.uncertain": (spoken, 0.0, 0.99, {}),
    "mqtt.enabled": (parts_started, False, True, {}),
    "mqtt.host": (lambda config, folder: address(config.mqtt), "localhost", "broker", {}),
    "mqtt.port": (lambda config, folder: address(config.mqtt), None, 8080, {}),
    "mqtt.protocol": (connect_packet, "3.1.1", "5", {}),
    "mqtt.client_id": (connect_packet, "", "one", {}),
    "mqtt.username": (connect_packet, "", "pi", {}),
    "mqtt.password_file": (login, "", "set", {"username": "pi"}),
    "mqtt.allow_plain_password": (login, False, True, FAR),
    "mqtt.tls": (certificates, False, True, {}),
    "mqtt.ca_file": (certificates, "", "set", TLS),
    "mqtt.cert_file": (certificates, "", "set", {**TLS, "key_file": "set"}),
    "mqtt.key_file": (certificates, "", "set", TLS),
    "mqtt.keepalive_seconds": (connect_packet, 30, 60, {}),
    "mqtt.retry_seconds": (pauses, 5.0, 50.0, {}),
    "mqtt.outbox_events": (kept_events, 100, 1000, {}),
    "mqtt.outbox_mb": (kept_events, 0.1, 10.0, {}),
    "mqtt.discovery": (published, False, True, {}),
    "mqtt.discovery_prefix": (published, "homeassistant", "other", {}),
    "mqtt.birth_topic": (published, "", "home/born", {}),
    "mqtt.listen_command": (published, False, True, {}),
    "mqtt.fleet": (fleet_taken, "", "kiosks", {}),
    "telemetry.period_seconds": (published, 60.0, 600.0, {}),
    "file.path": (parts_started, "", "set", {}),
    "file.max_mb": (written, 0.002, 1.0, {}),
    "file.keep": (written, 1, 3, {"max_mb": 0.002}),
    "web.enabled": (served_page, False, True, {"port": PORT}),
    "web.bind": (served_page, "127.0.0.1", "127.0.0.2", {"enabled": True, "port": PORT}),
    "web.port": (served_page, PORT, free_port(), {"enabled": True}),
    "web.token_file": (served_page, "", "set", {"enabled": True, "port": PORT}),
}
"""For each key: what to observe, two values that must differ in it, and what else the section has to say."""
OF_CLASSIFY = [name for name in EFFECTS if name.startswith("gate.")] + ["model.stride_frames"]


def configured(name: str, value: object, others: dict[str, Any]) -> Config:
    section, key = name.split(".")
    return Config(**{section: SECTIONS[section](**{**others, key: value})})


def test_the_table_has_every_setting() -> None:
    names = [f"{name}.{key.name}" for name, section in SECTIONS.items() for key in fields(section)]
    assert list(EFFECTS) == names


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in os.environ:
        if variable in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "CREDENTIALS_DIRECTORY"):
            monkeypatch.delenv(variable)


@pytest.mark.parametrize("name", EFFECTS)
def test_every_setting_changes_what_is_observed(name: str, tmp_path: Path) -> None:
    observe, one, other, others = EFFECTS[name]
    folder = tmp_path / "state"
    seen = []
    for value in (one, other, one):
        folder.mkdir()
        seen.append(observe(configured(name, value, others), folder))
        shutil.rmtree(folder)
    assert seen[0] != seen[1]
    assert seen[0] == seen[2], "it differs anyway"


@pytest.mark.parametrize("name", OF_CLASSIFY)
def test_every_setting_of_gate_and_model_changes_the_answer_to_a_recording(name: str, tmp_path: Path) -> None:
    _, one, other, others = EFFECTS[name]
    first, second = (classified(configured(name, value, others), tmp_path) for value in (one, other))
    assert first != second

"""Muting over a real broker, with a sound server as witness of who has the microphone open."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from affectd.mqtt.topics import Topics
from broker import Broker, Subscriber, needs_mosquitto, wait_until
from room import Program, Room, needs_room
from sounds import gain, syllables, write_wav

pytest.importorskip("paho.mqtt.client")
pytestmark = [*needs_room, needs_mosquitto]

TOPICS = Topics("kiosk", "homeassistant")
START_SECONDS = 30.0
SOON_SECONDS = 10.0  # what takes half a second, on a busy machine

Start = Callable[[], Program]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as broker:
        yield broker


def program(room: Room, broker: Broker, listen_command: str = "true") -> Program:
    config = room.folder / "affectd.toml"
    config.write_text(
        f'[device]\nid = "kiosk"\n[mqtt]\nenabled = true\nport = {broker.port}\nlisten_command = {listen_command}\n'
    )
    room.environment["STATE_DIRECTORY"] = str(room.folder / "state")
    return Program(room, "--config", str(config))


def speak(room: Room) -> None:
    """Say something, and return when it has been said."""
    room.play(write_wav(room.folder / "speech.wav", gain(syllables(3.0), -12)))


def test_off_closes_the_microphone_over_a_restart_until_on_opens_it(room: Room, broker: Broker) -> None:
    with Subscriber(broker.port, "affectd/#") as subscriber:
        with program(room, broker) as listener:
            listener.wait_for_state("healthy", START_SECONDS)
            subscriber.wait_for(TOPICS.listen_state, "ON")
            assert room.n_listeners == 1
            broker.publish(TOPICS.listen, "OFF")
            assert listener.wait_for_state("muted", SOON_SECONDS)["reason"] == "asked"
            wait_until(lambda: room.n_listeners == 0, SOON_SECONDS)
            subscriber.wait_for(TOPICS.listen_state, "OFF")
            n_openings = room.n_openings
            speak(room)
            listener.kill()

        with program(room, broker) as listener:
            first = listener.wait_for(lambda event: True, START_SECONDS)
            assert (first["state"], first["reason"]) == ("muted", "asked")
            speak(room)
            assert room.n_openings == n_openings + 1, "only this look has opened the microphone since the last one"
            assert broker.retained(TOPICS.listen_state) == "OFF"
            state = json.loads(broker.retained(TOPICS.state) or "{}")
            assert (state["label"], state["speaking"], state["microphone"]) == (None, False, "muted")

            broker.publish(TOPICS.listen, "ON")
            assert listener.wait_for_state("recovering", SOON_SECONDS)["reason"] == "asked"
            wait_until(lambda: room.n_listeners == 1, SOON_SECONDS)
            listener.wait_for_state("healthy", SOON_SECONDS)
            subscriber.wait_for(TOPICS.listen_state, "ON", SOON_SECONDS)
            speak(room)
            listener.wait_for(lambda event: event.get("phase") == "start", SOON_SECONDS)
            listener.stop()
            assert listener.process.returncode == 0
    # By id, for one that was on its way when the program was killed may have come twice.
    events = {event["id"]: event for event in map(json.loads, subscriber.payloads(TOPICS.event))}.values()
    told = [event.get("state") for event in events]  # None: speech was heard
    assert told[:5] == ["healthy", "muted", "muted", "recovering", "healthy"]
    assert set(told[5:]) == {None}


def test_a_muted_service_ends_when_it_is_asked_to(room: Room, broker: Broker) -> None:
    with Subscriber(broker.port, "affectd/#") as subscriber, program(room, broker) as listener:
        listener.wait_for_state("healthy", START_SECONDS)
        broker.publish(TOPICS.listen, "OFF")
        listener.wait_for_state("muted", SOON_SECONDS)
        assert listener.stop() == []
        assert listener.process.returncode == 0
        subscriber.wait_for(TOPICS.status, "stopped")


@pytest.mark.parametrize("listen_command", ["true", "false"])
def test_nonsense_and_retained_commands_and_any_command_where_none_is_allowed_change_nothing(
    room: Room, broker: Broker, listen_command: str
) -> None:
    broker.publish(TOPICS.listen, "OFF", retain=True)
    with Subscriber(broker.port, "affectd/#") as subscriber, program(room, broker, listen_command) as listener:
        listener.wait_for_state("healthy", START_SECONDS)
        subscriber.wait_for(TOPICS.status, "online")
        for payload in ("off", "OFF ", "0", '{"listen": false}', "\0OFF", "ä" * 10_000):
            broker.publish(TOPICS.listen, payload)
        if listen_command == "false":
            broker.publish(TOPICS.listen, "OFF")
        speak(room)
        listener.wait_for(lambda event: event.get("phase") == "start", SOON_SECONDS)
        assert room.n_listeners == 1
        assert not [event for event in listener.stop() if event.get("state") == "muted"]
        # Written by another thread, while PortAudio starts and must not be heard.
        assert "connected to the broker" in listener.log.read_text()
    assert broker.retained(TOPICS.listen_state) == ("ON" if listen_command == "true" else None)

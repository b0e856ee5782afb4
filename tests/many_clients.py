"""A program that is many devices at once as the broker sees them: cheaper than many_devices.py, without an outbox.

Usage: many_clients.py PORT FOLDER FIRST N PAUSE_SECONDS PERIOD_SECONDS

It speaks MQTT itself in one thread, with a connection for each device, and their topics, last wills, payloads and
rates: five thousand times the client of affectd is more than a desktop can run. What it prints is what many_devices.py
prints.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import resource
import selectors
import socket
import struct
import sys
import time
from collections.abc import Iterator

from affectd.mqtt.state import CurrentState
from affectd.mqtt.topics import Topics
from affectd.recognition.model_file import ModelFile, find_model, read_model
from broker import packet, string
from many_devices import Listener

KEEPALIVE_SECONDS = 600  # so that there is no need to ask whether the broker is there
_PATIENCE_SECONDS = 120.0


class Client:
    """One device."""

    def __init__(self, name: str, port: int, model: ModelFile) -> None:
        self.topics, self.listener, self._state = Topics(name), Listener(name, model), CurrentState(name)
        self.n_waiting = 0
        self._number = self._n_bytes = 0
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_SECONDS)
        will = string(self.topics.status) + string("offline")
        head = string("MQTT") + b"\x04\x2e" + struct.pack("!H", KEEPALIVE_SECONDS)  # clean; will, retained, QoS 1
        self.socket.sendall(packet(0x10, head + string(f"affectd-{name}") + will))
        assert self.socket.recv(4) == b"\x20\x02\0\0"
        self.publish(self.topics.status, "online", retain=True)

    def publish(self, topic: str, payload: str, *, qos: int = 1, retain: bool = False) -> None:
        """Send a message."""
        self._number = self._number % 65535 + 1
        self.n_waiting += qos
        number = struct.pack("!H", self._number) if qos else b""
        self.socket.sendall(packet(0x30 | qos << 1 | retain, string(topic) + number + payload.encode()))

    def said(self, event: dict[str, object]) -> None:
        """Send an event, and the state after it."""
        self.publish(self.topics.event, json.dumps(event, ensure_ascii=False))
        if self._state.push(event):
            self._tell_state()

    def report(self) -> None:
        """Send the telemetry, and the state again."""
        self.publish(self.topics.telemetry, json.dumps(self.listener.telemetry()), qos=0)
        self._tell_state()

    def read(self) -> None:
        """Count the acknowledgements, of four bytes each; nothing else comes."""
        data = self.socket.recv(65536)
        assert data, "the broker is gone"
        self._n_bytes += len(data)
        self.n_waiting -= self._n_bytes // 4
        self._n_bytes %= 4

    def life(self, pause_seconds: float, period_seconds: float) -> Iterator[float]:
        """Do what is due, and yield for how long there is nothing to do."""
        report_in = random.uniform(0, period_seconds)
        for seconds, event in self.listener.listen(pause_seconds):
            while report_in <= seconds:
                yield report_in
                self.report()
                seconds, report_in = seconds - report_in, period_seconds
            yield seconds
            report_in -= seconds
            if event is not None:
                self.said(event)
                os.write(1, f"{event['id']}\n".encode())

    def _tell_state(self) -> None:
        self.publish(self.topics.state, self._state.payload((), {}), retain=True)


def main(port: str, folder: str, first: str, n: str, pause_seconds: str, period_seconds: str) -> None:
    """Do as the usage says."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    model, selector = read_model(find_model()), selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    clients, lives, due = [], [], []
    for number in range(int(n)):
        client = Client(f"device-{int(first) + number:05}", int(port), model)
        os.write(2, b"connected to the broker\n")
        clients.append(client)
        lives.append(client.life(float(pause_seconds), float(period_seconds)))
        selector.register(client.socket, selectors.EVENT_READ, client)
        due.append((time.monotonic() + next(lives[number]), number))
    heapq.heapify(due)
    is_ending, give_up_at = False, float("inf")
    while not (is_ending and all(client.n_waiting == 0 for client in clients)) and time.monotonic() < give_up_at:
        for key, _ in selector.select(0.05 if is_ending else max(0.0, due[0][0] - time.monotonic())):
            if key.data:
                key.data.read()
            else:
                is_ending, give_up_at = True, time.monotonic() + _PATIENCE_SECONDS
                selector.unregister(0)
        while not is_ending and due[0][0] <= time.monotonic():
            _, number = heapq.heappop(due)
            heapq.heappush(due, (time.monotonic() + next(lives[number]), number))
    for client in clients:
        client.socket.close()


if __name__ == "__main__":
    main(*sys.argv[1:])

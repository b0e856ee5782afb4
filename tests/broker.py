"""A real Mosquitto for tests, which can be killed, frozen and started again, and what looks at it from outside.

`Subscriber` and `Forwarder` speak to sockets themselves: a fault of the client library must not hide itself.
"""

from __future__ import annotations

import getpass
import random
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
needs_mosquitto = pytest.mark.skipif(
    MOSQUITTO is None or not shutil.which("mosquitto_pub"),
    reason="mosquitto is not installed (apt install mosquitto mosquitto-clients)",
)
PATIENCE_SECONDS = 30.0


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS, what: str = "") -> None:
    """Return when it holds; fail when it does not in that time."""
    give_up_at = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up_at:
            pytest.fail(f"not within {seconds} s: {what or condition}")
        time.sleep(0.005)


def free_port() -> int:
    """Find a port that no program listens at, below those that outgoing connections are given, which may come first."""
    while True:
        port = random.SystemRandom().randrange(20000, 32000)
        with suppress(OSError), socket.socket() as listener:
            listener.bind(("", port))
            return port


class Broker:
    """A Mosquitto on the loopback interface; leaving its ``with`` block stops it.

    Parameters
    ----------
    folder : Path
        For its files.
    settings : str
        Lines of mosquitto.conf for a second listener, the one at `port`; without them `port` is `observer_port`,
        where anybody may log in without encryption.
    running : bool
        Whether to start it at the beginning of the ``with`` block.
    log : str
        What it logs: ``all`` that it gets and sends, too, which costs more than to pass it on.
    """

    def __init__(self, folder: Path, *settings: str, running: bool = True, log: str = "all") -> None:
        self.observer_port = free_port()
        self.port = free_port() if settings else self.observer_port
        self._running = running
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "mosquitto.log"
        self._config = folder / "mosquitto.conf"
        lines = [
            f"user {getpass.getuser()}",
            "log_dest stderr",
            f"log_type {log}",
            "max_queued_messages 0",
            "per_listener_settings true",
            f"listener {self.observer_port} 127.0.0.1",
            "allow_anonymous true",
        ]
        if settings:
            lines += [f"listener {self.port} 127.0.0.1", *settings]
        self._config.write_text("\n".join(lines) + "\n")

    def __enter__(self) -> Self:
        if self._running:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.thaw()
            self.kill()

    @property
    def log(self) -> str:
        """What it has logged since the beginning."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def pid(self) -> int:
        """The number of its process."""
        assert self._process is not None
        return self._process.pid

    def save(self) -> None:
        """Let it write what it keeps to its disk, as it does every now and then."""
        assert self._process is not None
        self._process.send_signal(signal.SIGUSR1)

    def start(self) -> None:
        """Start it and return when it listens."""
        assert MOSQUITTO is not None
        assert self._process is None
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([MOSQUITTO, "-c", str(self._config)], stdout=log, stderr=log)

        def listens() -> bool:
            assert self._process is not None
            if self._process.poll() is not None:
                pytest.fail(f"mosquitto ended: {self.log}")
            try:
                for port in (self.observer_port, self.port):
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                return False
            return True

        wait_until(listens, what="mosquitto listens")

    def stop(self) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it without giving it time for anything."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Let it stand still: the kernel goes on accepting connections, and no answer comes."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def publish(self, topic: str, payload: str, *, retain: bool = False) -> None:
        """Publish something as another client would."""
        command = ["mosquitto_pub", "-p", str(self.observer_port), "-q", "1", "-t", topic, "-s" if payload else "-n"]
        subprocess.run(
            [*command, "-r"] if retain else command, input=payload.encode(), check=True, timeout=PATIENCE_SECONDS
        )

    def retained(self, topic: str) -> str | None:
        """Return what a newcomer is told about this topic, None if nothing."""
        # The answer to a later subscription shows that everything retained has been sent.
        with Subscriber(self.observer_port, topic) as subscriber:
            subscriber.subscribe("nothing/at/all")
            return next((message.payload for message in subscriber.messages if message.retained), None)

    def _end(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(PATIENCE_SECONDS)
        self._process = None


def password_file(folder: Path, **passwords: str) -> Path:
    """Write a file of user names and passwords for Mosquitto."""
    path = folder / "passwords"
    path.write_text("".join(f"{name}:{password}\n" for name, password in passwords.items()))
    subprocess.run(["mosquitto_passwd", "-U", str(path)], check=True, timeout=PATIENCE_SECONDS, capture_output=True)
    return path


class Certificates:
    """An authority of its own in `folder`, and what it signs."""

    def __init__(self, folder: Path) -> None:
        import trustme

        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._authority = trustme.CA()
        self.authority = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.authority))

    def issue(self, name: str, *, not_after: datetime = datetime(2100, 1, 1, tzinfo=UTC)) -> tuple[Path, Path]:
        """Write a certificate for a host or a client, and its key."""
        # In the past too, for certificates that have expired.
        not_before = datetime(2000, 1, 1, tzinfo=UTC)
        issued = self._authority.issue_cert(name, not_before=not_before, not_after=not_after)
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        key.chmod(0o600)
        return certificate, key

    def settings(self, name: str = "localhost", *, not_after: datetime = datetime(2100, 1, 1, tzinfo=UTC)) -> list[str]:
        """Return lines of mosquitto.conf for a listener with such a certificate."""
        certificate, key = self.issue(name, not_after=not_after)
        return [f"cafile {self.authority}", f"certfile {certificate}", f"keyfile {key}"]


@dataclass(frozen=True)
class Message:
    """What a subscriber was sent."""

    topic: str
    payload: str
    retained: bool
    at: float
    """Monotonic seconds of its arrival."""


class Subscriber:
    """A client at QoS 0 that keeps whatever it is sent; MQTT 3.1.1.

    At QoS 0 Mosquitto writes a message to its subscribers before it acknowledges it to the publisher, and what is
    in a socket outlives it.
    """

    def __init__(self, port: int, *topics: str) -> None:
        self.messages: list[Message] = []
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
        self._file = self._socket.makefile("rb")
        self._answered = threading.Semaphore(0)
        connect = string("MQTT") + b"\x04\x02" + struct.pack("!H", 0) + string("")
        self._socket.sendall(packet(0x10, connect))
        assert read_packet(self._file) == (0x20, b"\0\0")
        self._socket.settimeout(None)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        for topic in topics:
            self.subscribe(topic)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_connected(self) -> bool:
        """Whether more may come."""
        return self._thread.is_alive()

    def subscribe(self, topic: str) -> None:
        """Return when the broker has confirmed it; what it had retained has come by then."""
        self._socket.sendall(packet(0x82, struct.pack("!H", 1) + string(topic) + b"\0"))
        assert self._answered.acquire(timeout=PATIENCE_SECONDS)

    def payloads(self, topic: str) -> list[str]:
        """Return what was published on a topic so far."""
        return [message.payload for message in self.messages if message.topic == topic]

    def wait_for(self, topic: str, payload: str | None = None, seconds: float = PATIENCE_SECONDS) -> None:
        """Return when this was published, or anything if no payload is given."""
        wait_until(
            lambda: payload in self.payloads(topic) if payload is not None else self.payloads(topic),
            seconds,
            f"{payload or 'something'} on {topic}",
        )

    def close(self) -> None:
        """Read no more."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE_SECONDS)
        self._file.close()
        self._socket.close()

    def _read(self) -> None:
        with suppress(OSError, EOFError):
            while True:
                command, body = read_packet(self._file)
                if command == 0x90:
                    self._answered.release()
                elif command >> 4 == 3:
                    (length,) = struct.unpack("!H", body[:2])
                    topic, payload = body[2 : 2 + length].decode(), body[2 + length :].decode(errors="replace")
                    self.messages.append(Message(topic, payload, bool(command & 1), time.monotonic()))


class Forwarder:
    """A door in front of a port, which counts who comes through; closed, it refuses connections and breaks them off."""

    def __init__(self, to_port: int, *, is_open: bool = True) -> None:
        self.port = free_port()
        self.n_connects = 0
        self._to_port = to_port
        self._listener: socket.socket | None = None
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        if is_open:
            self.open()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._start(self._accept, self._listener)

    def close(self) -> None:
        for opened in [self._listener, *self._sockets]:
            if opened is not None:
                with suppress(OSError):
                    opened.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)
        for opened in [self._listener, *self._sockets]:
            if opened is not None:
                opened.close()
        self._listener, self._sockets, self._threads = None, [], []

    def _start(self, work: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                outside, _ = listener.accept()
                self.n_connects += 1
                self._sockets.append(outside)
                try:
                    inside = socket.create_connection(("127.0.0.1", self._to_port), timeout=PATIENCE_SECONDS)
                except OSError:
                    with suppress(OSError):
                        outside.shutdown(socket.SHUT_RDWR)
                    continue
                inside.settimeout(None)
                self._sockets.append(inside)
                for connection in (inside, outside):
                    with suppress(OSError):  # it has gone already
                        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._start(self._pump, outside, inside)
                self._start(self._pump, inside, outside)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def string(text: str) -> bytes:
    """Encode text as MQTT does."""
    return struct.pack("!H", len(text.encode())) + text.encode()


def packet(command: int, body: bytes) -> bytes:
    """Put a head before the body of a packet."""
    length = bytearray()
    rest = len(body)
    while True:
        rest, digit = divmod(rest, 128)
        length.append(digit | (0x80 if rest else 0))
        if not rest:
            return bytes([command]) + bytes(length) + body


def read_packet(file: object) -> tuple[int, bytes]:
    """Read the first byte and the body of a packet; EOFError at the end."""

    def read(n: int) -> bytes:
        data = b""
        while len(data) < n:
            more: bytes = file.read(n - len(data))  # type: ignore[attr-defined]
            if not more:
                raise EOFError
            data += more
        return data

    command, shift, length = read(1)[0], 0, 0
    while True:
        digit = read(1)[0]
        length |= (digit & 0x7F) << shift
        shift += 7
        if not digit & 0x80:
            return command, read(length)

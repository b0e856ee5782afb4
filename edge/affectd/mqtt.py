"""The connection to the broker: a thread that delivers what waits in the outbox, and never gives up.

The pipeline only ever puts something down and rings (`Connection.event_made`, `Connection.publish`); looking up,
connecting, sending and waiting for answers is the affair of this thread. What may block without end, a name
server above all, runs in another one, so that undelivered events reach the disk meanwhile.
"""

from __future__ import annotations

import logging
import random
import select
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from threading import Lock, Thread
from typing import Protocol

from affectd.config import MqttConfig
from affectd.mqtt_client import Link, Publication, address, paho
from affectd.mqtt_login import read_login, tls_context

__all__ = ["Connection", "Publication"]

_log = logging.getLogger(__name__)

_TICK_SECONDS = 1.0
_FIRST_DELAY_SECONDS = 1.0
# A connection that ended sooner did not work: two devices with the same client id throw each other out at once.
_STEADY_SECONDS = 30.0
_FAREWELL_SECONDS = 1.0
_MOST_UNACKNOWLEDGED = 100


class Outbox(Protocol):
    """What is needed of `affectd.outbox.Outbox`."""

    def pending(self, after: int, n: int) -> list[tuple[int, str]]:
        """Return up to n (sequence, payload), oldest first."""

    def delivered(self, sequences: Iterable[int]) -> None:
        """Forget these."""

    def settle(self, connected: bool) -> None:
        """Move to the disk what has to be there."""

    def __len__(self) -> int: ...


class Connection:
    """Everything this device says to the broker and hears from it.

    Parameters
    ----------
    config : MqttConfig
        Which broker, and how.
    device : str
        The id of this device.
    outbox : Outbox
        The events; only this thread takes from it.
    event_topic : str
        Where they go.
    last_will, farewell : Publication
        What is published when the connection is lost, and when it is closed.
    greeting : callable
        Returns what is published after every successful connect, before any event.
    subscriptions : mapping
        Topic to what is called with each payload and whether it is a retained one.
    period_seconds : float
        How often `periodic` is called while connected.
    periodic : callable
        Returns what is published then.

    Attributes
    ----------
    connected : bool
        Whether the broker has let us in.
    reason : str
        Why not; empty while connected.
    n_connects : int
        How often it did.

    Raises
    ------
    ConfigError
        The password or a certificate cannot be used.
    UnavailableError
        paho-mqtt is not installed.
    """

    def __init__(
        self,
        config: MqttConfig,
        device: str,
        outbox: Outbox,
        *,
        event_topic: str,
        last_will: Publication,
        farewell: Publication,
        greeting: Callable[[], list[Publication]],
        subscriptions: Mapping[str, Callable[[bytes, bool], None]],
        period_seconds: float,
        periodic: Callable[[], list[Publication]],
    ) -> None:
        paho()
        tls_context(config)
        self._login = read_login(config)
        self.connected = False
        self.reason = "not tried yet"
        self.n_connects = 0
        self._config = config
        self._client_id = config.client_id or f"affectd-{device}"
        self._outbox = outbox
        self._event_topic = event_topic
        self._last_will = last_will
        self._farewell = farewell
        self._greeting = greeting
        self._subscriptions = subscriptions
        self._period_seconds = period_seconds
        self._periodic = periodic
        self._thread = Thread(target=self._run, name="mqtt", daemon=True)
        self._bell, self._hammer = socket.socketpair()
        self._bell.setblocking(False)
        self._hammer.setblocking(False)

        self._lock = Lock()
        self._news: dict[str, Publication] = {}  # what `publish` was given, the newest of every topic
        self._unacknowledged_news: dict[int, Publication] = {}
        self._unacknowledged: dict[int, int] = {}  # number of a publication to sequence in the outbox
        self._sent = 0  # the last sequence sent over this connection
        self._more = False  # whether there may be events after that
        self._refused = ""

        self._link: Link | None = None
        self._told: set[str] = set()  # the reasons that this outage has been explained with
        self._delay_seconds = _FIRST_DELAY_SECONDS
        self._try_at = 0.0
        self._connected_at = 0.0
        self._periodic_at = 0.0
        self._settle_at = 0.0
        self._events_from = 0.0  # no event before, as the broker has refused one
        self._close_by = float("inf")
        self._tries_left = 1  # of a connection that is being closed

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def publish(self, publication: Publication) -> None:
        """Publish this now or as soon as connected, unless something newer on its topic overtakes it; any thread."""
        with self._lock:
            self._news[publication.topic] = publication
        self._ring()

    def event_made(self) -> None:
        """Tell that there is something in the outbox; any thread."""
        self._more = True
        self._ring()

    def close(self, patience_seconds: float) -> None:
        """Deliver what can be delivered in this time, take leave and disconnect; what is left stays in the outbox."""
        if self._thread.is_alive():
            self._close_by = time.monotonic() + patience_seconds
            self._ring()
            self._thread.join(patience_seconds + 2 * _FAREWELL_SECONDS)

    def _ring(self) -> None:
        with suppress(OSError):  # full: it rings already; closed: nobody is left to hear it
            self._hammer.send(b"\0")

    def _run(self) -> None:
        with self._bell, self._hammer:
            while True:
                try:
                    if self._is_done():
                        break
                    self._advance()
                    self._wait()
                except Exception:  # a fault of ours must not silence the device for good
                    _log.exception("the connection to the broker failed; it will be made again")
                    self._lose("a fault in affectd; see the log")
            self._take_leave()

    def _is_done(self) -> bool:
        """Return whether it is time to take leave: `close` was called, and there is nothing to do or no time left."""
        now = time.monotonic()
        if self._close_by == float("inf"):
            return False
        if now > self._close_by:
            return True
        if self._link is None:
            return self._tries_left == 0
        return self.connected and not (
            len(self._outbox) or self._news or self._unacknowledged or self._unacknowledged_news
        )

    def _take_leave(self) -> None:
        link = self._link
        if link is None:
            return
        if self.connected:
            number = link.publish(self._farewell)
            acknowledged: list[int] = []
            give_up_at = time.monotonic() + _FAREWELL_SECONDS
            while number not in acknowledged and link.state == "connected" and time.monotonic() < give_up_at:
                poll = select.poll()
                if not link.register(poll):
                    poll.poll(100)
                link.step()
                acknowledged += [taken for taken, _ in self._take_acknowledgements(link)]
            link.disconnect()
            _log.info("disconnected from the broker %s", self._address)
        else:
            link.drop()
        self.connected = False
        self.reason = "closed"

    @property
    def _address(self) -> str:
        return "{}:{}".format(*address(self._config))

    def _advance(self) -> None:
        """Do what is due, without waiting for anything."""
        now = time.monotonic()
        link = self._link
        if link is None:
            closing = self._close_by < float("inf")
            if now >= self._try_at or closing:
                self._tries_left -= closing
                self._dial()
        elif link.state == "lost":
            self._lose(link.reason)
        elif link.state == "connected":
            if not self.connected:
                self._welcome(link)
            self._take_acknowledgements(link)
            if now >= self._periodic_at:
                self._periodic_at = now + self._period_seconds
                self._gather(self._periodic)
            self._send_news(link)
            self._send_events(link, now)
        if not self.connected or now >= self._settle_at:
            self._settle_at = now + _TICK_SECONDS
            self._outbox.settle(self.connected)

    def _wait(self) -> None:
        """Wait until somebody rings, the broker sends something, or something is due."""
        link = self._link
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        at_once = link is not None and link.register(poll)
        due = [time.monotonic() + _TICK_SECONDS, self._close_by]
        due.append(self._try_at if link is None else self._periodic_at if self.connected else float("inf"))
        seconds = 0.0 if at_once else max(0.0, min(due) - time.monotonic())
        # Rounded up, else the last millisecond would be spent asking for the time.
        poll.poll(int(seconds * 1000) + (seconds > 0))
        with suppress(BlockingIOError):
            self._bell.recv(4096)
        if link is not None:
            link.step()

    def _dial(self) -> None:
        link = Link(self._config, self._client_id, self._login, last_will=self._last_will, received=self._received)
        self._link = link

        def open_and_ring() -> None:
            link.open()
            self._ring()

        Thread(target=open_and_ring, name="mqtt-connect", daemon=True).start()

    def _welcome(self, link: Link) -> None:
        link.subscribe(self._subscriptions)
        self._gather(self._greeting)
        self.connected, self.reason = True, ""
        self.n_connects += 1
        self._connected_at = time.monotonic()
        self._sent, self._more = 0, True
        self._events_from = 0.0
        self._told.clear()
        self._refused = ""
        _log.info("connected to the broker %s", self._address)

    def _lose(self, reason: str) -> None:
        """Forget the connection; try again later, and later each time."""
        now = time.monotonic()
        if self._link is not None:
            self._link.drop()
            self._link = None
        if self.connected and now - self._connected_at > _STEADY_SECONDS:
            self._delay_seconds = _FIRST_DELAY_SECONDS
        with self._lock:  # what was not acknowledged is news again, unless there is something newer
            self._news = {**{p.topic: p for p in self._unacknowledged_news.values()}, **self._news}
        self._unacknowledged_news.clear()
        self._unacknowledged.clear()
        most = self._config.retry_seconds
        # At random, or all devices of a house would come back in the same moment.
        self._try_at = now + random.uniform(0.5, 1.0) * min(self._delay_seconds, most)
        self._delay_seconds = min(2 * self._delay_seconds, most)
        self.connected, self.reason = False, reason
        if reason not in self._told:
            self._told.add(reason)
            _log.warning("no connection to the broker %s: %s; trying again", self._address, reason)

    def _received(self, topic: str, payload: bytes, retained: bool) -> None:
        handle = self._subscriptions.get(topic)
        if handle is None:
            return
        try:
            handle(payload, retained)
        except Exception:
            _log.exception("a message on %s could not be handled", topic)

    def _gather(self, make: Callable[[], list[Publication]]) -> None:
        """Make publications and put them with the news, where they overtake what was published before they were made.

        And only that: what the other threads publish meanwhile is newer.
        """
        with self._lock:
            older, self._news = self._news, {}
        try:
            made = make()
        except Exception:
            _log.exception("what is published regularly could not be made")
            made = []
        with self._lock:
            self._news = {**older, **{publication.topic: publication for publication in made}, **self._news}

    def _take_acknowledgements(self, link: Link) -> list[tuple[int, str]]:
        acknowledged = link.acknowledged()
        delivered = []
        for number, refusal in acknowledged:
            news = self._unacknowledged_news.pop(number, None)
            sequence = self._unacknowledged.pop(number, None)
            if sequence is not None and not refusal:
                delivered.append(sequence)
            elif sequence is not None:
                # They stay; all of them are sent again when the broker may have changed its mind.
                self._events_from = time.monotonic() + self._config.retry_seconds
                self._sent, self._more = 0, True
            if refusal and refusal != self._refused:
                self._refused = refusal
                topic = self._event_topic if news is None else news.topic
                _log.warning("the broker refuses what is published to %s: %s", topic, refusal)
        if delivered:
            self._outbox.delivered(delivered)
        return acknowledged

    def _send_news(self, link: Link) -> None:
        """Send what has no older publication on its topic under way: the newest waits, and the rest is overtaken."""
        busy = {publication.topic for publication in self._unacknowledged_news.values()}
        with self._lock:
            ready = [publication for topic, publication in self._news.items() if topic not in busy]
            ready = ready[: self._room(link)]
            for publication in ready:
                del self._news[publication.topic]
        for publication in ready:
            number = link.publish(publication)
            if publication.qos:
                self._unacknowledged_news[number] = publication

    def _send_events(self, link: Link, now: float) -> None:
        room = self._room(link)
        if not self._more or not room or now < self._events_from:
            return
        self._more = False  # before looking, as another thread may set it meanwhile
        events = self._outbox.pending(self._sent, room)
        for sequence, payload in events:
            number = link.publish(Publication(self._event_topic, payload))
            self._unacknowledged[number] = sequence
            self._sent = sequence
        if len(events) == room:
            self._more = True

    def _room(self, link: Link) -> int:
        """Return how many more publications may be under way."""
        most = min(_MOST_UNACKNOWLEDGED, link.most_unacknowledged)
        return max(0, most - len(self._unacknowledged) - len(self._unacknowledged_news))

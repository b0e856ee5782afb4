"""Delivery to the broker: all events of the outbox, and news, of which only the newest on each topic counts."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Protocol

from affectd.mqtt.link import Link, Publication, packet_bytes

_log = logging.getLogger(__name__)

_MOST_EVENTS = 100
# A connection that ends so soon after an optional publication may end because of it; that is then not sent for so many
# periods.
_SOON_SECONDS, _HELD_PERIODS = 0.3, 10


class Outbox(Protocol):
    """The interface of `affectd.outbox.outbox.Outbox` that is used here."""

    def pending(self, after: int, n: int) -> list[tuple[int, str]]:
        """Return up to n (sequence, payload) after this sequence, oldest first."""

    def delivered(self, sequences: Iterable[int]) -> None:
        """Delete these."""

    def settle(self, connected: bool) -> None:
        """Save to disk what must not be lost."""

    def __len__(self) -> int: ...


class Delivery:
    """Sends publications over a `Link` until the broker acknowledges them, over any number of links.

    An event stays in `outbox` until it is acknowledged; after a refusal the events wait for `retry_seconds`, and where
    one is too long for the broker, it alone.

    Some brokers end the connection where they do not permit a topic, as Mosquitto 2.0.11 with `max_queued_messages 0`.
    What is optional is held back after it was followed by two such ends in a row: it would keep all else away. With
    MQTT 3.1.1 a broker ends the connection at what is too long for it, too: an event after which that happens is sent
    alone over the next link, and if it happens again, nothing as long is sent for a while.

    Attributes
    ----------
    refused : set of str
        The topics whose last publication the broker has refused; any thread may read.
    """

    def __init__(self, outbox: Outbox, event_topic: str, retry_seconds: float) -> None:
        self._outbox = outbox
        self._event_topic = event_topic
        self._retry_seconds = retry_seconds
        self._lock = Lock()
        self._news: dict[str, Publication] = {}  # topic to the newest not sent
        self._sent_news: dict[int, Publication] = {}  # packet number to what is not acknowledged
        self._sent_events: dict[int, int] = {}  # packet number to the sequence in the outbox
        self._last_sequence = 0  # the last event that was sent over this link
        self._more = False  # whether there may be events after it
        self._events_from = 0.0  # no event before this moment
        self._again_from = 0.0  # no event that was too long for the broker before this moment
        # Its topic, when it was sent, unless the broker has gone on after it, and its packet number.
        self._optional, self._optional_at, self._optional_number = "", -float("inf"), 0
        self._optional_from = 0.0  # not before this moment
        self._has_ended_soon = False  # the last link, after it was sent
        # The event that the last link, which ended at once, left unacknowledged, and its bytes once it was sent alone.
        self._suspect, self._suspect_bytes = 0, 0
        self._events_at = -float("inf")  # when the last event was sent
        # Of a packet that ended connections, and until when nothing as long is sent.
        self._fatal_bytes, self._fatal_until = math.inf, 0.0
        self._has_left = False
        self.refused: set[str] = set()

    def publish(self, publication: Publication) -> None:
        """Take news, to be superseded by newer ones on the same topic. Any thread."""
        with self._lock:
            if not self._has_left:
                self._news[publication.topic] = publication

    def event_made(self) -> None:
        """Check the outbox at the next `advance`. Any thread."""
        self._more = True

    def gather(self, make: Callable[[], list[Publication]]) -> None:
        """Make news, which supersede what was published before the call, but not what is published during it."""
        if self._has_left:
            return
        with self._lock:
            older, self._news = self._news, {}
        try:
            made = make()
        except Exception:
            _log.exception("periodic messages could not be made")
            made = []
        with self._lock:
            self._news = {**older, **{publication.topic: publication for publication in made}, **self._news}

    def begin(self) -> None:
        """Begin a new link: what was not acknowledged over the last one is sent again, in order."""
        with self._lock:
            self._news = {**{publication.topic: publication for publication in self._sent_news.values()}, **self._news}
        self._sent_news.clear()
        self._sent_events.clear()
        self._again_from = 0.0

    def take_leave(self, farewell: Publication) -> None:
        """Publish this, and nothing after it."""
        self._events_from = float("inf")
        self.publish(farewell)
        self._has_left = True

    def advance(self, link: Link) -> None:
        """Process acknowledgements, then send what is allowed, news first."""
        self.take_acknowledgements(link)
        link.fatal_bytes = self._fatal_bytes if time.monotonic() < self._fatal_until else math.inf
        self._send_news(link)
        self._send_events(link)

    @property
    def has_news(self) -> bool:
        """Whether there is news that the broker has not acknowledged."""
        return bool(self._news.keys() - self._held() or self._sent_news)

    @property
    def is_complete(self) -> bool:
        """Whether the broker has acknowledged everything."""
        return not (self.has_news or self._sent_events or len(self._outbox))

    def take_acknowledgements(self, link: Link) -> None:
        """Process acknowledgements; also those of a link that was lost after them."""
        delivered = []
        for number, refusal in link.acknowledged():
            news = self._sent_news.pop(number, None)
            sequence = self._sent_events.pop(number, None)
            if news is None and sequence is None:  # at QoS 0 paho acknowledges what it has sent
                continue
            if number > self._optional_number:
                self._optional_at = -float("inf")
            topic = self._event_topic if news is None else news.topic
            if sequence is not None and sequence >= self._suspect:
                self._suspect = 0
            if refusal:
                self._refuse(refusal, topic, is_too_long=number < 0)
                continue
            if sequence is None or time.monotonic() >= self._again_from:
                self.refused.discard(topic)
            if sequence is not None:
                delivered.append(sequence)
        if delivered:
            self._outbox.delivered(delivered)
        if link.state == "lost":
            self._blame()

    def _blame(self) -> None:
        now, had_before = time.monotonic(), self._has_ended_soon
        self._has_ended_soon = now - self._optional_at < _SOON_SECONDS
        if self._has_ended_soon and had_before:
            self._optional_from = now + _HELD_PERIODS * self._retry_seconds
            self._refuse("it ends the connection", self._optional)
        is_event = not self._sent_news and now - self._events_at < _SOON_SECONDS
        oldest = min(self._sent_events.values(), default=0) if is_event else 0
        if oldest and oldest == self._suspect:
            self._fatal_until = now + _HELD_PERIODS * self._retry_seconds
            self._fatal_bytes = packet_bytes(self._event_topic, self._suspect_bytes)
            self._refuse("it ends the connection", self._event_topic, is_too_long=True)
        self._suspect = oldest

    def _held(self) -> set[str]:
        """Return the topic of what is optional while it is held back."""
        return {self._optional} if time.monotonic() < self._optional_from else set()

    def _refuse(self, refusal: str, topic: str, *, is_too_long: bool = False) -> None:
        if topic == self._event_topic:
            # The event stays in the outbox and is sent again later. What is too long keeps no other from being sent.
            until = time.monotonic() + self._retry_seconds
            if is_too_long:
                self._again_from = until
            else:
                self._events_from = max(self._events_from, until)
        if topic not in self.refused:
            self.refused.add(topic)
            _log.warning("the broker refuses what is published to %s: %s", topic, refusal)

    def _send_news(self, link: Link) -> None:
        # One publication per topic at a time; meanwhile only the newest waits.
        busy = {publication.topic for publication in self._sent_news.values()} | self._held()
        room = link.most_unacknowledged - self._n_unacknowledged
        with self._lock:
            ready = [publication for topic, publication in self._news.items() if topic not in busy][: max(0, room)]
            for publication in ready:
                del self._news[publication.topic]
        for publication in ready:
            number = link.publish(publication)
            if publication.is_optional:
                self._optional, self._optional_at, self._optional_number = publication.topic, time.monotonic(), number
            if publication.qos or number < 0:
                self._sent_news[number] = publication

    def _send_events(self, link: Link) -> None:
        if not self._sent_events and len(self._outbox) and time.monotonic() >= self._again_from:
            # Again from the oldest, because events may have been refused, or read from a disk that was missing.
            self._last_sequence, self._more = 0, True
        room = min(1 if self._suspect else _MOST_EVENTS, link.most_unacknowledged) - self._n_unacknowledged
        if not self._more or room <= 0 or time.monotonic() < self._events_from:
            return
        self._more = False  # before reading, because another thread may set it meanwhile
        events = self._outbox.pending(self._last_sequence, room)
        for sequence, payload in events:
            self._sent_events[link.publish(Publication(self._event_topic, payload))] = sequence
            self._last_sequence, self._suspect_bytes = sequence, len(payload.encode())
            self._events_at = time.monotonic()
        if len(events) == room:
            self._more = True

    @property
    def _n_unacknowledged(self) -> int:
        return len(self._sent_events) + len(self._sent_news)

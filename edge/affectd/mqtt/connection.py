"""The connection to the broker: a thread that delivers events and reconnects until it is closed.

The pipeline only enqueues and wakes this thread (`Connection.event_made`, `Connection.publish`), which sends and waits
for answers. Another thread opens connections, which may take half a minute; this one saves events to disk meanwhile.
"""

from __future__ import annotations

import logging
import select
import shlex
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from threading import Thread

from affectd.config.sections import MqttConfig
from affectd.errors import NO_THREAD, is_no_thread
from affectd.mqtt.credentials import exposed, read_login, tls_context
from affectd.mqtt.delivery import Delivery, Outbox
from affectd.mqtt.library import paho
from affectd.mqtt.link import Link, Publication, shown_address
from affectd.mqtt.outages import Outages

__all__ = ["Connection", "Publication"]

_log = logging.getLogger(__name__)

_TICK_SECONDS = 1.0
# While everything is delivered there is only the keepalive; anything new wakes the thread.
_IDLE_SECONDS = 5.0
_FAREWELL_SECONDS = 1.0
# After a signal, because the whole process ends within a second.
_BRIEF_SECONDS = 0.3
# A disk that takes longer is not waited for; one that always does is no news for so long, or it would fill the log.
_HANG_SECONDS, _HANG_SAID_SECONDS = 1.0, 3600.0
_NEVER = float("inf")


class Connection:
    """All communication of this device with the broker.

    Parameters
    ----------
    config, device
        The settings and the id of this device.
    outbox, event_topic
        The events, which only this thread takes, and their topic.
    last_will, farewell : Publication
        Published when the connection is lost, and when it is closed.
    greeting : callable
        Returns what to publish after every successful connect, before any event.
    subscriptions : mapping
        Topic to a function that this thread calls with each payload and whether the message is retained.
    answered : callable
        Called by this thread when `granted` or `refused` may have changed.
    period_seconds : float
        Interval of `periodic` while connected.
    periodic : callable
        Returns what to publish then.

    Attributes
    ----------
    connected : bool
        Whether the broker has accepted the connection.
    reason : str
        Why not; empty while connected, ``closed`` after `close` unless there was no connection.
    n_connects : int
        Successful connects.
    granted : set of str
        The topics whose subscription the broker has granted over this connection.

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
        answered: Callable[[], None] = lambda: None,
    ) -> None:
        paho()
        tls_context(config)
        read_login(config)
        for path in exposed(config):
            _log.warning("every user of this machine can read the secret in %s: chmod o= %s", path, shlex.quote(path))
        self.connected = False
        self.reason = "it has not answered"
        self.n_connects = 0
        self.granted: set[str] = set()
        self._denied: set[str] = set()  # the subscriptions that the broker has refused
        self._config = config
        self._client_id = config.client_id or f"affectd-{device}"
        self._broker = shown_address(config)
        self._outbox = outbox
        self._delivery = Delivery(outbox, event_topic, config.retry_seconds)
        self._last_will = last_will
        self._farewell = farewell
        self._greeting = greeting
        self._subscriptions = subscriptions
        self._answered = answered
        self._refused_before: frozenset[str] = frozenset()
        self._subscribe_at = _NEVER
        self._period_seconds = period_seconds
        self._periodic = periodic
        self._thread: Thread | None = None
        self._wake_sender: socket.socket | None = None

        self._link: Link | None = None  # None while waiting for the next attempt
        self._outages = Outages(self._broker, config.retry_seconds)
        self._settling: Thread | None = None
        self._say_hang_from = 0.0
        self._try_at = self._periodic_at = self._settle_at = 0.0
        self._close_by = _NEVER
        self._farewell_seconds = _FAREWELL_SECONDS
        self._leaving = False

    @property
    def refused(self) -> frozenset[str]:
        """The topics that the broker refuses, to subscribe to or to publish to; any thread."""
        return frozenset(self._denied.copy() | self._delivery.refused.copy())

    @property
    def is_complete(self) -> bool:
        """Whether the broker has acknowledged everything; any thread."""
        return self._delivery.is_complete

    def start(self) -> None:
        """Begin to connect."""
        waker, self._wake_sender = ends = socket.socketpair()
        for end in ends:
            end.setblocking(False)
        thread = Thread(target=self._run, args=(waker, self._wake_sender), name="mqtt", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system permits no more
            for end in ends:
                end.close()
            raise
        self._thread = thread  # only now: `close` would wait for one that was never started

    def publish(self, publication: Publication) -> None:
        """Publish now, or once connected, unless superseded by a newer one on the topic; any thread."""
        self._delivery.publish(publication)
        self._wake()

    def event_made(self) -> None:
        """Notify that there is an event in the outbox; any thread."""
        self._delivery.event_made()
        self._wake()

    def close(self, patience_seconds: float) -> None:
        """Deliver what is possible in this time, publish `farewell` and disconnect; the rest stays in the outbox."""
        if self._thread is not None:
            self._farewell_seconds = min(_FAREWELL_SECONDS, max(_BRIEF_SECONDS, patience_seconds))
            self._close_by = time.monotonic() + patience_seconds
            self._wake()
            self._thread.join(patience_seconds + 1.1 * self._farewell_seconds)

    def _wake(self) -> None:
        if self._wake_sender is not None:
            with suppress(OSError):  # full: already being woken; closed: the thread has ended
                self._wake_sender.send(b"\0")

    def _run(self, waker: socket.socket, wake_sender: socket.socket) -> None:
        with waker, wake_sender:
            while True:
                try:
                    is_closing = self._close_by < _NEVER  # before, for `_advance` makes a last attempt then
                    self._advance()
                    if is_closing and self._is_done():
                        break
                    self._wait(waker)
                except Exception as error:  # a bug must not end the thread
                    is_lack, fault = is_no_thread(error), f"a fault of affectd ({type(error).__name__}: {error})"
                    reason = NO_THREAD if is_lack else fault
                    if not (is_lack or self._outages.is_said(reason)):
                        _log.exception("please report this")
                    self._lose(reason)
                    time.sleep(_TICK_SECONDS)
            self._end()

    def _is_done(self) -> bool:
        """Return whether closing is complete; publish `farewell` once all else is delivered or late."""
        now = time.monotonic()
        late = now >= self._close_by
        if not self.connected:
            return late or self._link is None  # lost just now
        if not self._leaving and (late or self._delivery.is_complete):
            self._leaving, self._close_by = True, now + self._farewell_seconds
            self._delivery.take_leave(self._farewell)
            self._wake()
            return False
        return late or (self._leaving and not self._delivery.has_news)

    def _end(self) -> None:
        if self._link is not None:
            if self.connected and not self._delivery.has_news:
                self._link.disconnect()
                _log.info("disconnected from the broker %s", self._broker)
            else:
                self._link.drop()  # without a farewell the broker publishes the last will
        self.connected, self.reason = False, self.reason or "closed"

    def _advance(self) -> None:
        """Do what is due, without waiting."""
        link, now = self._link, time.monotonic()
        if link is None:
            if now >= self._try_at or self._close_by < _NEVER:
                self._open_link()
        elif link.state == "lost":
            self._delivery.take_acknowledgements(link)
            self._lose(link.reason)
        elif link.state == "connected":
            if not self.connected:
                self._on_connected(link)
            self._outages.lasting()
            if now >= self._periodic_at:
                self._periodic_at = now + self._period_seconds
                self._delivery.gather(self._periodic)
            self._delivery.advance(link)
            self._take_answers(link, now)
        if not self.connected or now >= self._settle_at:
            self._settle()
            self._settle_at = now + min(_IDLE_SECONDS, (self._link or self._config).keepalive_seconds / 5)
        if not self._delivery.is_complete:
            self._settle_at = min(self._settle_at, now + _TICK_SECONDS)

    def _settle(self) -> None:
        """Save events in another thread, because a disk may hang; until it goes on, events wait in memory."""
        if self._settling is not None and self._settling.is_alive():
            return
        failures: list[Exception] = []

        def settle() -> None:
            try:
                self._outbox.settle(self.connected)
            except Exception as error:
                failures.append(error)

        thread, why = Thread(target=settle, name="disk", daemon=True), ""
        try:
            thread.start()
            thread.join(_HANG_SECONDS)
            self._settling, why = thread, "the disk hangs" if thread.is_alive() else ""
        except RuntimeError:  # the system permits no more; the connection need not end for that
            why = NO_THREAD
        if why and time.monotonic() >= self._say_hang_from:
            self._say_hang_from = time.monotonic() + _HANG_SAID_SECONDS
            _log.warning("%s; events wait in memory meanwhile", why)
        for failure in failures:
            raise failure

    def _take_answers(self, link: Link, now: float) -> None:
        """Note which subscriptions are granted; try the others again, because permissions change."""
        answers = link.subscribed()
        for topic, refusal in answers:
            if refusal and topic not in self._denied:
                _log.warning("the broker refuses the subscription to %s: %s; nothing is received there", topic, refusal)
            elif not refusal and topic in self._denied:
                _log.info("the broker grants the subscription to %s now", topic)
            (self._denied if refusal else self.granted).add(topic)
            (self.granted if refusal else self._denied).discard(topic)
        if answers:
            self._subscribe_at = now + self._config.retry_seconds if self._denied else _NEVER
        elif now >= self._subscribe_at:
            self._subscribe_at = _NEVER
            link.subscribe(sorted(self._denied))
        if answers or self.refused != self._refused_before:
            self._refused_before = self.refused
            self._answered()

    def _wait(self, waker: socket.socket) -> None:
        """Wait until `_wake` is called, the broker sends something, or something is due."""
        link = self._link
        poll = select.poll()
        poll.register(waker, select.POLLIN)
        at_once = link is not None and link.register(poll)
        now = time.monotonic()
        due = [self._settle_at, self._periodic_at, self._subscribe_at] if self.connected else [now + _TICK_SECONDS]
        if link is None:
            due.append(self._try_at)
        if self._close_by > now:
            due.append(self._close_by)
        # Rounded up, otherwise the last millisecond would be a busy loop.
        poll.poll(0 if at_once else int(max(0.0, min(due) - now) * 1000) + 1)
        with suppress(BlockingIOError):
            waker.recv(4096)
        if link is not None:
            link.step()

    def _open_link(self) -> None:
        login = partial(read_login, self._config)
        link = Link(self._config, self._client_id, login, last_will=self._last_will, received=self._received)
        self._link = link

        def open_and_wake() -> None:
            link.open()
            self._wake()

        Thread(target=open_and_wake, name="mqtt-connect", daemon=True).start()

    def _on_connected(self, link: Link) -> None:
        self.granted.clear()
        self._subscribe_at = _NEVER
        link.subscribe(self._subscriptions)
        self._delivery.begin()
        self._delivery.gather(self._greeting)
        self.n_connects += 1
        self.connected, self.reason = True, ""
        if not self._outages.connected():
            return
        if not link.most_qos:
            _log.warning("the broker %s takes QoS 0 only: events may be lost or come twice at a loss", self._broker)
        if not link.may_retain:
            _log.warning("the broker %s keeps no messages: who subscribes later misses state and status", self._broker)

    def _lose(self, reason: str) -> None:
        """Drop the connection; try again later."""
        if self._link is not None:
            self._last_will = self._link.permitted(self._last_will)
            self._link.drop()
            self._link = None
        self._try_at = time.monotonic() + self._outages.lost(reason)
        self.connected, self.reason = False, reason

    def _received(self, topic: str, payload: bytes, retained: bool) -> None:
        handle = self._subscriptions.get(topic)
        if handle is None:
            return
        try:
            handle(payload, retained)
        except Exception:
            _log.exception("a message on %s could not be handled", topic)

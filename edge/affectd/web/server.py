"""The thread of the page: one loop over all clients, which waits for none of them."""

from __future__ import annotations

import logging
import os
import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Thread

from affectd.web.connection import Connection, Stage
from affectd.web.hub import HEARTBEAT, Hub, Message
from affectd.web.request import RefusedError, Request, Response

_log = logging.getLogger(__name__)

MOST_STREAMS = 8
_MOST_CONNECTIONS = 40
_HEARTBEAT_SECONDS = 15.0
# While there are streams, or a client that may have to be told that it takes too long.
_TICK_SECONDS = 1.0
_FULL_SECONDS = 0.1
_END_SECONDS = 0.2


class Server:
    """Answers the clients of a listening socket within its ``with`` block.

    Parameters
    ----------
    listener : socket
        Which clients connect to; the server closes it.
    hub : Hub
        What streams get.
    answer : callable
        Returns the response to a request; one without a body begins a stream. May raise `RefusedError`.
    beginning : callable
        Returns the first message of a stream.
    news : callable
        Returns the message that streams should get besides, None if there is nothing new; called every second.
    """

    def __init__(
        self,
        listener: socket.socket,
        hub: Hub,
        answer: Callable[[Request], Response],
        beginning: Callable[[], Message],
        news: Callable[[], Message | None],
    ) -> None:
        listener.setblocking(False)
        self._listener, self._hub = listener, hub
        self._answer, self._beginning, self._news = answer, beginning, news
        self._poll = select.poll()
        self._connections: dict[int, Connection] = {}
        self._interests: dict[int, int] = {}
        self._tick_at = self._heartbeat_at = 0.0
        self._is_closing = False
        self._thread = Thread(target=self._run, name="page", daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closing = True
        self._hub.wake()
        # A client cannot hold it up; a disk that hangs can.
        self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        for descriptor in (self._listener.fileno(), self._hub.waker):
            self._poll.register(descriptor, select.POLLIN)
        while not self._is_closing:
            try:
                self._step()
            except Exception as error:  # a mistake in the page must not end the device
                _log.error("the page failed, and let its viewers go", exc_info=error)
                self._drop()
                time.sleep(_FULL_SECONDS)
        self._listener.close()
        self._drop()

    def _step(self) -> None:
        """Wait until something happens, and do what it asks for."""
        happened = dict(self._poll.poll(1000 * _TICK_SECONDS if self._connections else None))
        now = time.monotonic()
        if happened.pop(self._hub.waker, 0):
            with suppress(BlockingIOError):
                os.eventfd_read(self._hub.waker)
        has_clients = happened.pop(self._listener.fileno(), 0)
        self.tell(self._hub.take())
        for descriptor, what in happened.items():
            self._serve(self._connections[descriptor], what, now)
        if has_clients:
            self._accept(now)
        if now >= self._tick_at:
            self._tick_at = now + _TICK_SECONDS
            self._tick(now)
        self._settle()

    def _drop(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._settle()

    def tell(self, messages: list[Message]) -> None:
        """Send messages to all streams; drop those that take none."""
        for connection in self._streams() if messages else ():
            if not all(map(connection.push, messages)):
                _log.info("a viewer of the page was dropped: it did not take what it was sent")

    def _streams(self) -> list[Connection]:
        return [connection for connection in self._connections.values() if connection.stage is Stage.STREAM]

    def _accept(self, now: float) -> None:
        for _ in range(_MOST_CONNECTIONS // 2):  # so that those who came just now are heard before they give way
            try:
                channel, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptor is free; the client waits in the queue of the kernel
                _log.warning("the page cannot take a client: %s", error.strerror)
                time.sleep(_FULL_SECONDS)
                return
            if len(self._connections) >= _MOST_CONNECTIONS:
                # The oldest that has not asked yet gives way: who has something to ask does so at once.
                unasked = (one for one in self._connections.values() if one.stage is Stage.REQUEST)
                oldest = next(unasked, None)
                if oldest is None:
                    channel.close()
                    continue
                oldest.close()
                self._settle()
            # Registered later, when it is known what it waits for.
            self._connections[channel.fileno()] = Connection(channel, now)

    def _serve(self, connection: Connection, happened: int, now: float) -> None:
        if connection.stage is not Stage.REQUEST:
            if connection.stage is not Stage.CLOSED:
                connection.advance(happened, now)
            return
        method = "GET"
        try:
            request = connection.request()
            if request is None:
                return
            method = request.method
            response = self._response(request)
        except RefusedError as refused:
            response = refused.response()
        head = response.as_bytes(method)
        if response.body is None and method == "GET":
            self._hub.is_watched = True  # first: with the first bytes a viewer knows that it watches
            connection.stream(head + self._beginning())
            self._hub.wake()  # for a line that came before that
        else:
            connection.respond(head, now)

    def _response(self, request: Request) -> Response:
        try:
            response = self._answer(request)
        except RefusedError:
            raise
        except Exception as error:  # a mistake in the page must not end the device
            _log.error("the page cannot answer %s", request.path, exc_info=error)
            raise RefusedError(500, "The device failed to answer.") from error
        if response.body is None and len(self._streams()) >= MOST_STREAMS:
            raise RefusedError(503, f"{MOST_STREAMS} viewers are the most.", ("Retry-After: 30",))
        return response

    def _tick(self, now: float) -> None:
        if now >= self._heartbeat_at:
            self._heartbeat_at = now + _HEARTBEAT_SECONDS
            self.tell([HEARTBEAT])
        if self._streams() and (news := self._news()) is not None:
            self.tell([news])
        for connection in list(self._connections.values()):
            try:
                connection.expired(now)
            except RefusedError as refused:
                connection.respond(refused.response().as_bytes("GET"), now)

    def _settle(self) -> None:
        """Forget closed connections, and poll for what the others wait for."""
        for descriptor, connection in list(self._connections.items()):
            if connection.stage is Stage.CLOSED:
                del self._connections[descriptor]
                if self._interests.pop(descriptor, None) is not None:
                    self._poll.unregister(descriptor)
            elif self._interests.get(descriptor) != connection.interest:
                self._interests[descriptor] = connection.interest
                self._poll.register(descriptor, connection.interest)
        self._hub.is_watched = bool(self._streams())

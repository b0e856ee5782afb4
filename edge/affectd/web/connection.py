"""One client: its request comes in and what it gets goes out, as fast as it likes, and nothing waits for it."""

from __future__ import annotations

import select
import socket
from collections import deque
from enum import Enum

from affectd.web.request import RefusedError, Request, read_request

_REQUEST_SECONDS = 10.0
_RESPONSE_SECONDS = 30.0
# What the client still sends is read for so long, else the kernel would tell it that the connection was broken.
_LINGER_SECONDS = 1.0
_PIECE_BYTES = 65536
# Messages that may wait for a stream: a quarter of a minute.
_MOST_WAITING = 64
# Of the kernel, for a stream; else it would take minutes of messages for a client that reads nothing.
_SENT_BYTES = 32768
_GONE = select.POLLERR | select.POLLHUP | select.POLLNVAL


class Stage(Enum):
    """How far a connection is."""

    REQUEST = "its request comes"
    RESPONSE = "its response goes out"
    STREAM = "it gets messages until one side ends"
    END = "it has got all"
    CLOSED = "closed"


class Connection:
    """The socket of a client; `now` is monotonic seconds everywhere.

    Attributes
    ----------
    stage : Stage
        How far it is.
    due_at : float
        When it has taken too long; infinite for a stream.
    """

    def __init__(self, channel: socket.socket, now: float) -> None:
        channel.setblocking(False)
        self._channel = channel
        self._received = bytearray()
        self._waiting: deque[memoryview] = deque()
        self.stage = Stage.REQUEST
        self.due_at = now + _REQUEST_SECONDS

    @property
    def interest(self) -> int:
        """What to poll for."""
        writes = select.POLLOUT if self._waiting else 0
        return writes | (0 if self.stage is Stage.RESPONSE else select.POLLIN)

    def request(self) -> Request | None:
        """Read what has come; return the request once it is complete.

        Raises
        ------
        RefusedError
            It cannot be answered, or took too long.
        """
        piece = self._read()
        if piece is not None:
            self._received += piece
            found = read_request(self._received)
            if found is not None:
                return found
            if not piece:
                self.close()
        return None

    def respond(self, response: bytes, now: float) -> None:
        """Send all of this, then end."""
        self.stage, self.due_at = Stage.RESPONSE, now + _RESPONSE_SECONDS
        self._waiting.append(memoryview(response))
        self._send(now)

    def stream(self, beginning: bytes) -> None:
        """Send this, and then what `push` gets."""
        self.stage, self.due_at = Stage.STREAM, float("inf")
        self._channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SENT_BYTES)
        self._waiting.append(memoryview(beginning))
        self._send(0.0)

    def push(self, message: bytes) -> bool:
        """Send a message of a stream; return False if so many wait that its client was dropped."""
        if len(self._waiting) >= _MOST_WAITING:
            self.close()
            return False
        self._waiting.append(memoryview(message))
        self._send(0.0)
        return True

    def advance(self, happened: int, now: float) -> None:
        """Do what `poll` says is possible, once the request was answered."""
        if happened & _GONE and not happened & select.POLLIN:
            self.close()
        elif happened & select.POLLOUT:
            self._send(now)
        elif happened & select.POLLIN:
            piece = self._read()
            # The client of a stream has nothing to say any more.
            if self.stage is Stage.STREAM or piece == b"":
                self.close()

    def expired(self, now: float) -> None:
        """End it if it has taken too long.

        Raises
        ------
        RefusedError
            Its request has: it may be told.
        """
        if now < self.due_at:
            return
        if self.stage is Stage.REQUEST and self._received:
            raise RefusedError(408, "The request took too long.")
        self.close()

    def close(self) -> None:
        """End it at once."""
        self.stage = Stage.CLOSED
        self._waiting.clear()
        self._channel.close()

    def _read(self) -> bytes | None:
        """Return what has come, empty at the end, None if there is nothing."""
        try:
            return self._channel.recv(_PIECE_BYTES)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return b""

    def _send(self, now: float) -> None:
        try:
            while self._waiting:
                piece = self._waiting[0]
                n_sent = self._channel.send(piece)
                if n_sent < len(piece):
                    self._waiting[0] = piece[n_sent:]
                else:
                    self._waiting.popleft()
            if self.stage is Stage.RESPONSE:
                self.stage, self.due_at = Stage.END, now + _LINGER_SECONDS
                self._channel.shutdown(socket.SHUT_WR)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()

"""What the broker sends, limited before paho holds it: paho would take up to 256 MB into memory for one packet.

Source: OASIS, "MQTT Version 5.0", sections 2.1 (packet format), 3.3 (PUBLISH) and 3.4 (PUBACK); the same in 3.1.1.
"""

from __future__ import annotations

import math
import ssl
import time
from typing import Any

from affectd.errors import UnavailableError

MOST_BYTES = 4096
"""The longest packet that is accepted; commands and the messages of Home Assistant have less than 100 bytes."""

_PUBLISH, _PUBACK, _PINGRESP = 3, 4, 13
_PINGREQ = b"\xc0\0"
_READ_BYTES = 65536
# So that a broker that sends without end does not keep the thread from everything else.
_MOST_READS = 16


class Incoming:
    """The socket that paho reads from and writes to: a socket, with its limits.

    A publication that is too long is passed on with its size as its payload, so that it is acknowledged and ignored;
    its bytes are discarded as they come.

    Attributes
    ----------
    asked_at : float
        When the PINGREQ was sent that the broker still has to answer, in monotonic seconds; infinite: there is none.
    refusals : dict
        Packet number to the reason code of a refusal in a PUBACK of MQTT 5, which paho 1.6 does not pass on.

    Raises
    ------
    UnavailableError
        By `recv`: the broker sends something that must not be held, or that is not MQTT.
    """

    def __init__(self, connection: Any, protocol: str) -> None:
        self.asked_at = math.inf
        self.refusals: dict[int, int] = {}
        self._socket, self._is_5 = connection, protocol == "5"
        self._raw = bytearray()  # the beginning of a packet
        self._ready = bytearray()  # whole packets
        self._n_skipped = 0  # bytes that are still to be discarded

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def pending(self) -> int:
        """Return how many bytes can be read although the socket has none: `poll` does not know of them."""
        return len(self._ready) + int(getattr(self._socket, "pending", lambda: 0)())

    def send(self, data: bytes) -> int:
        """Send; a PINGREQ is noted.

        A broker that has closed the connection takes whatever is sent: `recv` tells of the end after the last that
        the broker has said, which may be why.
        """
        if data == _PINGREQ:
            self.asked_at = min(self.asked_at, time.monotonic())
        try:
            return int(self._socket.send(data))
        except (ConnectionError, ssl.SSLEOFError):  # paho would not read any more
            return len(data)

    def recv(self, n: int) -> bytes:
        """Return up to `n` bytes of whole packets."""
        for _ in range(_MOST_READS):
            if self._ready:
                break
            data = self._socket.recv(_READ_BYTES)
            if not data:
                return b""
            self._take(data)
        if not self._ready:
            raise BlockingIOError
        data = bytes(self._ready[:n])
        del self._ready[:n]
        return data

    def _take(self, data: bytes) -> None:
        self._raw += data
        while True:
            n = min(self._n_skipped, len(self._raw))
            self._n_skipped -= n
            del self._raw[:n]
            head = _head(self._raw)
            if head is None:
                return
            start, n = head[0], sum(head)
            if n > MOST_BYTES:
                if not self._shorten(start, n):
                    return
            elif len(self._raw) < n:
                return
            else:
                self._note(self._raw[:n], start)
                self._ready += self._raw[:n]
                del self._raw[:n]

    def _shorten(self, start: int, n: int) -> bool:
        """Pass on a short form of a packet of `n` bytes and discard it; return whether enough of it has come."""
        if self._raw[0] >> 4 != _PUBLISH:
            raise UnavailableError(f"the broker sends a packet of {n} bytes; more than {MOST_BYTES} are not accepted")
        if len(self._raw) < start + 2:
            return False
        # The topic, and at QoS 1 the packet number.
        end = start + 2 + int.from_bytes(self._raw[start : start + 2]) + (2 if self._raw[0] & 6 else 0)
        if end > MOST_BYTES:
            raise UnavailableError("the broker sends a topic that is not subscribed to")
        if len(self._raw) < end:
            return False
        self._note(self._raw[:end], start)
        properties = b"\0" if self._is_5 else b""
        self._ready += _packet(self._raw[0], bytes(self._raw[start:end]) + properties + b"(%d bytes)" % n)
        self._n_skipped = n
        return True

    def _note(self, packet: bytes | bytearray, start: int) -> None:
        kind = packet[0] >> 4
        if kind == _PUBLISH and packet[0] & 4:
            # The subscriptions are at QoS 1. Of QoS 2 paho keeps every message that the broker does not release.
            raise UnavailableError("the broker sends at QoS 2, which was not asked for")
        if kind == _PINGRESP:
            self.asked_at = math.inf
        if kind == _PUBACK and len(packet) > start + 2 and packet[start + 2] >= 128:
            self.refusals[int.from_bytes(packet[start : start + 2])] = packet[start + 2]


def _head(raw: bytearray) -> tuple[int, int] | None:
    """Return where the body of a packet starts, and its length; None if too little of it has come."""
    length = 0
    for at in range(1, min(len(raw), 5)):
        length |= (raw[at] & 127) << 7 * (at - 1)
        if raw[at] < 128:
            return at + 1, length
    if len(raw) >= 5:
        raise UnavailableError("what came back is not MQTT (the length of a packet)")
    return None


def _packet(first: int, body: bytes) -> bytes:
    """Return a packet of fewer than 16384 bytes."""
    n = len(body)
    return bytes([first, n] if n < 128 else [first, n & 127 | 128, n >> 7]) + body

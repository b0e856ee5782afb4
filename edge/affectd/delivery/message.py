"""The message that names a model file: a few lines of text, and below them the signature of exactly these bytes.

::

    affectd model 1
    fleet: kiosks
    sequence: 1795824000
    bytes: 239104
    sha256: 5d41402abc4b2a76b9719d911017c592ae0f5d41402abc4b2a76b9719d911017
    url: https://files.example/kiosks.tflite
    signature: (Ed25519, base64)

Text and not JSON, because then there is one way to write it, and every program that signs a file can sign it. Source
of the signature: S. Josefsson, I. Liusvaara, RFC 8032, section 5.1 (PureEdDSA).
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass

_TEXT = re.compile(
    rb"affectd model 1\n"
    rb"fleet: ([A-Za-z0-9_-]{1,64})\n"
    rb"sequence: ([1-9][0-9]{0,14})\n"
    rb"bytes: ([1-9][0-9]{0,11})\n"
    rb"sha256: ([0-9a-f]{64})\n"
    rb"url: (https?://[!-~]{1,2000})\n"
)
_SIGNATURE = re.compile(rb"signature: ([A-Za-z0-9+/]{86}==)\n?")


class RefusedError(Exception):
    """A message or its model is refused: `why` is one word for programs, the message a sentence for people.

    `is_final` says whether trying again would give the same.
    """

    def __init__(self, why: str, sentence: str, *, is_final: bool = True) -> None:
        super().__init__(sentence)
        self.why, self.is_final = why, is_final


@dataclass(frozen=True)
class Message:
    """What is signed."""

    fleet: str
    sequence: int
    """Grows with every message of the fleet; a smaller one is an old message that is sent again."""
    n_bytes: int
    sha256: str
    url: str

    def text(self) -> bytes:
        """Return what is signed.

        Raises
        ------
        RefusedError
            A value does not fit: of the fleet's name or the address.

        Examples
        --------
        >>> message = Message("kiosks", 1, 3, "ab" * 32, "http://a/b")
        >>> parse(signed(message.text(), bytes(64)))[0] == message
        True
        """
        lines = ("affectd model 1", f"fleet: {self.fleet}", f"sequence: {self.sequence}", f"bytes: {self.n_bytes}")
        text = "\n".join((*lines, f"sha256: {self.sha256}", f"url: {self.url}", "")).encode()
        _message(text)
        return text


def signed(text: bytes, signature: bytes) -> bytes:
    """Return the whole message: the text, and the signature (64 bytes) below it."""
    return text + b"signature: " + binascii.b2a_base64(signature)


def parse(payload: bytes) -> tuple[Message, bytes, bytes]:
    """Return what a message says, its text, and the signature, which is not checked here.

    Raises
    ------
    RefusedError
        It is no such message.
    """
    text, mark, rest = payload.partition(b"signature: ")
    found = _SIGNATURE.fullmatch(mark + rest)
    message = _message(text)
    if found is None:
        raise RefusedError("message", "the message has no signature of 64 bytes in base64 as its last line")
    return message, text, binascii.a2b_base64(found[1])


def _message(text: bytes) -> Message:
    found = _TEXT.fullmatch(text)
    if found is None:
        raise RefusedError("message", "the message is not as affectd-train sign writes it")
    fleet, sequence, n_bytes, sha256, url = (value.decode() for value in found.groups())
    return Message(fleet, int(sequence), int(n_bytes), sha256, url)

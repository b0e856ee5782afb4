"""What comes on standard input, by its first bytes, and the sound of a WAV file that comes there."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Iterator

from affectd.arrays import Float32
from affectd.audio.containers import WAV_MAGICS, Origin, is_undecided, is_wav
from affectd.audio.wav_header import is_chunk, is_unknown, read_header, skip
from affectd.errors import DataError, NoInputError

_log = logging.getLogger(__name__)

_FIRST_BYTES = 4096
_STREAM_BYTES = 1 << 15

ORIGIN = Origin("Standard input")


class Piped:
    """A stream whose first bytes have been looked at.

    Raises
    ------
    DataError
        The stream is neither WAV nor raw PCM.
    NoInputError
        It cannot be read, here or later.
    """

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = stream
        self._ahead = b""
        is_all = False
        # No longer than necessary: a slow sender is to be heard at once.
        while not is_all and is_undecided(self._ahead):
            piece = self._arrived(_FIRST_BYTES)
            self._ahead += piece
            is_all = not piece
        self.is_wav = is_wav(self._ahead)
        if sentence := ORIGIN.refusal(self._ahead, is_all=is_all):
            raise DataError(sentence)

    def read1(self, size: int) -> bytes:
        """Return what has arrived, at most `size` bytes, without waiting for more; nothing at the end."""
        if not self._ahead:
            return self._arrived(size)
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        return data

    def read(self, size: int) -> bytes:
        """Wait for `size` bytes; return fewer at the end."""
        pieces = []
        while size > 0 and (piece := self.read1(size)):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def seekable(self) -> bool:
        """Return that bytes cannot be skipped without reading them."""
        return False

    def seek(self, offset: int, whence: int) -> int:
        """Raise, for a stream has no place."""
        raise NotImplementedError

    def _arrived(self, size: int) -> bytes:
        try:
            return self._stream.read1(size)
        except OSError as error:
            raise NoInputError(f"Standard input cannot be read: {error.strerror or error}.") from error


class WavStream:
    """A WAV file that arrives; it can be iterated once, over blocks as of `affectd.audio.wav.WavReader`.

    If the header knows no size or too small a one, the samples go on to the end. Another file that follows, as of a
    recorder in a loop, belongs to them.

    Raises
    ------
    DataError
        If a header is damaged or of an unsupported format; while iterating, if the stream ends too early.
    """

    def __init__(self, piped: Piped) -> None:
        self.origin = ORIGIN
        self._piped = piped
        self._header = read_header(piped, piped.read(12), ORIGIN)
        self.sample_rate: int = self._header.format.sample_rate
        self.n_channels: int = self._header.format.n_channels

    def __iter__(self) -> Iterator[Float32]:
        n_samples, n_bytes, before = 0, self._header.n_bytes, b""
        while True:
            for block in self._decoded(self._arriving(n_bytes, before)):
                n_samples += len(block)
                yield block
            before = self._following(n_bytes % 2)
            if len(before) < 8:
                break
            if before.startswith(WAV_MAGICS):
                n_bytes, before = self._another(before), b""
            else:
                _log.warning("Standard input has more samples than its header says: it is read to its end")
                n_bytes = 0
        if not n_samples:
            raise DataError("Standard input holds no samples: it ends after its header.")

    def _decoded(self, pieces: Iterator[bytes]) -> Iterator[Float32]:
        block_align, decoder, rest = self._header.format.block_align, self._header.format.decoder(), b""
        for piece in pieces:
            data = rest + piece
            n_whole = len(data) // block_align * block_align
            rest = data[n_whole:]
            if n_whole:
                decoder.learn(data[:n_whole])
                yield decoder.push(data[:n_whole])

    def _arriving(self, n_bytes: int, before: bytes) -> Iterator[bytes]:
        """Yield the bytes of the samples, all to the end if their number is unknown, those in `before` first."""
        # Recorders such as arecord promise 2 GiB if they are to record until they are stopped.
        n_left = math.inf if is_unknown(n_bytes, 0) or n_bytes == 1 << 31 else n_bytes
        data = before or self._piped.read1(int(min(_STREAM_BYTES, n_left)))
        while data:
            yield data
            n_left -= len(data)
            data = self._piped.read1(int(min(_STREAM_BYTES, n_left))) if n_left else b""
        # One byte more may be counted for that which pads a chunk of odd length.
        if 1 < n_left < math.inf:
            raise DataError(f"Standard input ended {n_left} bytes before the {n_bytes} of samples that it promised.")

    def _following(self, n_pad: int) -> bytes:
        """Read over the chunks after the samples; return the first bytes of what is none."""
        self._piped.read(n_pad)
        while is_chunk(head := self._piped.read(8)):
            size = int.from_bytes(head[4:], "little")
            skip(self._piped, size + size % 2)
        return head

    def _another(self, head: bytes) -> int:
        self._header = read_header(self._piped, head + self._piped.read(4), ORIGIN)
        if (self._header.format.sample_rate, self._header.format.n_channels) != (self.sample_rate, self.n_channels):
            raise DataError("Standard input goes on with another WAV file, of another rate or number of channels.")
        return self._header.n_bytes

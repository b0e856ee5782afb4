"""What comes on standard input, by its first bytes, and the sound of a WAV file that comes there."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Iterator

from affectd.arrays import Float32
from affectd.audio.containers import WAV_MAGICS, Origin, is_undecided, is_wav
from affectd.audio.wav_header import MORE_SOUND, is_chunk, is_unknown, read_header, skip
from affectd.errors import DataError, NoInputError

_log = logging.getLogger(__name__)

_FIRST_BYTES = 4096
_LEAST_BYTES = 12  # that tell a WAV file; fewer would be a few samples of raw PCM
_STREAM_BYTES = 1 << 15
_MOST_CHUNK_BYTES = 1 << 16  # that are waited for, in case it is sound


class Piped:
    """A stream whose first bytes have been looked at.

    Raises
    ------
    DataError
        The stream is neither WAV nor raw PCM.
    NoInputError
        It cannot be read, here or later.
    """

    def __init__(self, stream: io.BufferedIOBase, origin: Origin) -> None:
        self._stream, self.origin = stream, origin
        self._ahead = b""
        is_all = False
        # No longer than necessary: a slow sender is to be heard at once.
        while not is_all and is_undecided(self._ahead):
            piece = self._arrived(_FIRST_BYTES)
            self._ahead += piece
            is_all = not piece
        self.is_wav = is_wav(self._ahead)
        if sentence := origin.refusal(self._ahead, is_all=is_all):
            raise DataError(sentence)
        if self._ahead.startswith(WAV_MAGICS) and len(self._ahead) < _LEAST_BYTES and is_all:
            raise DataError(f"{origin.name} is cut off within its first {_LEAST_BYTES} bytes.")

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

    def unread(self, data: bytes) -> None:
        """Take back what was read last."""
        self._ahead = data + self._ahead

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
        self.origin = piped.origin
        self._piped = piped
        self._rest = b""  # of the samples: the beginning of one
        self._n_missing = math.inf  # of the bytes that the header promises, at the end; infinite: it promises none
        self._header = read_header(piped, piped.read(12), piped.origin)
        self.sample_rate: int = self._header.format.sample_rate
        self.n_channels: int = self._header.format.n_channels

    def __iter__(self) -> Iterator[Float32]:
        n_samples, n_bytes = 0, self._header.n_bytes
        while True:
            is_empty = n_bytes == 0 and self._only_chunks_follow()
            for block in self._decoded(self._arriving(n_bytes)) if not is_empty else ():
                n_samples += len(block)
                yield block
            following = self._following(n_bytes % 2)
            if len(following) < 8:
                break
            if following.startswith(WAV_MAGICS):
                n_bytes = self._another()
            elif following.startswith(b"data"):
                n_bytes = int.from_bytes(self._piped.read(8)[4:], "little")
            else:
                _log.warning("Standard input has more samples than its header says: it is read to its end")
                n_bytes = 0
        # One byte more is that which pads a chunk of odd length.
        if self._n_missing == 0 and len(self._rest) > 1:
            self.origin.note("ends in the middle of a sample: it is read to the last whole one")
        if not n_samples:
            raise DataError("Standard input holds no samples: it ends after its header.")

    def _only_chunks_follow(self) -> bool:
        """Return whether the rest of the stream are chunks: then a size of zero is not one that is unknown."""
        ahead, position = b"", 0
        while position <= _MOST_CHUNK_BYTES:
            ahead += self._piped.read(position + 8 - len(ahead))
            head = ahead[position:]
            if not is_chunk(head) or head.startswith(MORE_SOUND):
                break
            size = int.from_bytes(head[4:], "little")
            position += 8 + size + size % 2
        self._piped.unread(ahead)
        return len(ahead) in (position, position - 1)  # not all programs write the byte that pads the last one

    def _decoded(self, pieces: Iterator[bytes]) -> Iterator[Float32]:
        block_align, decoder = self._header.format.block_align, self._header.format.decoder()
        for piece in pieces:
            data = self._rest + piece
            n_whole = len(data) // block_align * block_align
            self._rest = data[n_whole:]
            if n_whole:
                decoder.learn(data[:n_whole])
                yield decoder.push(data[:n_whole])

    def _arriving(self, n_bytes: int) -> Iterator[bytes]:
        """Yield the bytes of the samples, all to the end if their number is unknown."""
        n_left = math.inf if is_unknown(n_bytes, 0) else n_bytes
        while n_left and (data := self._piped.read1(int(min(_STREAM_BYTES, n_left)))):
            yield data
            n_left -= len(data)
        self._n_missing = n_left
        if n_left < math.inf and not self._header.is_to_the_end(int(n_left)):
            raise DataError(f"Standard input ended {n_left} bytes before the {n_bytes} of samples that it promised.")

    def _following(self, n_pad: int) -> bytes:
        """Read over the chunks after the samples; return the first bytes of what follows, without reading them."""
        while True:
            ahead = self._piped.read(8 + n_pad)
            # Not all programs write the byte that pads a chunk of odd length.
            n_before = next((n for n in (n_pad, 0) if is_chunk(ahead[n : n + 8])), None)
            ahead = ahead[n_before or 0 :]
            self._piped.unread(ahead)
            if n_before is None or ahead.startswith(MORE_SOUND):
                return ahead
            size = int.from_bytes(ahead[4:8], "little")
            skip(self._piped, 8 + size)
            n_pad = size % 2

    def _another(self) -> int:
        self._header, self._rest = read_header(self._piped, self._piped.read(12), self.origin), b""
        if (self._header.format.sample_rate, self._header.format.n_channels) != (self.sample_rate, self.n_channels):
            raise DataError("Standard input goes on with another WAV file, of another rate or number of channels.")
        return self._header.n_bytes

"""The format of the samples in a WAV file, from its fmt chunk, and their decoding to float32.

Source: Microsoft, Multiple channel audio data and WAVE files, 2007; ITU-T G.711, Pulse code modulation of voice
frequencies, 1988, tables 1 and 2.
"""

from __future__ import annotations

import struct

import numpy as np

from affectd.arrays import Array, Bool, Float32, Float64
from affectd.audio.containers import Origin
from affectd.errors import DataError

LOWEST_RATE, HIGHEST_RATE = 8_000, 192_000

_PCM, _FLOAT, _A_LAW, _MU_LAW, _EXTENSIBLE = 0x0001, 0x0003, 0x0006, 0x0007, 0xFFFE
# An extensible header has a GUID: two bytes of the old encoding, then these; the second is of ambisonic B-format.
_GUID_TAILS = (bytes.fromhex("000000001000800000aa00389b71"), bytes.fromhex("00002107d3118644c8c1ca000000"))
_ENCODINGS = {
    0x0002: "Microsoft ADPCM",
    0x0011: "IMA ADPCM",
    0x0031: "GSM 6.10",
    0x0050: "MPEG",
    0x0055: "MP3",
    0x00FF: "AAC",
}
# Of another full scale are floats if so many, and this part of those that are not 0, are beyond 1, some by far.
_OTHER_SCALE_COUNT, _OTHER_SCALE_PART, _OTHER_SCALE_PEAK = 100, 0.1, 4.0
# By the first of them that is not exceeded; what is far below all of them was only recorded too loud.
_OTHER_SCALES, _FAR_BELOW = (1 << 15, 1 << 23, 1 << 31), 256


class SampleFormat:
    """How samples are stored, read from a fmt chunk.

    Attributes: `sample_rate` in Hz, `n_channels`, `bits` of a sample as stored; `block_align`, the bytes of one sample
    of all channels; `low_bits`, of the 32 of a sample, that may be all it has, else 0; `table`, the value (256,) of
    each byte where samples are of A-law or mu-law, else None.

    Raises
    ------
    DataError
        The format is damaged or unsupported; the message has the ffmpeg line that mends it.
    """

    def __init__(self, fmt: bytes, origin: Origin) -> None:
        self.origin = origin
        if len(fmt) < 16:
            raise DataError(f"{origin.name} has a fmt chunk of {len(fmt)} bytes; at least 16 are needed.")
        values = struct.unpack_from("<HHIIHH", fmt)
        encoding, self.n_channels, self.sample_rate, _, self.block_align, valid_bits = values
        if encoding == _EXTENSIBLE:
            if len(fmt) < 40 or fmt[26:40] not in _GUID_TAILS:
                raise self._unsupported("has an extensible header with an unknown encoding")
            encoding = int.from_bytes(fmt[24:26], "little")
        if encoding not in (_PCM, _FLOAT, _A_LAW, _MU_LAW):
            raise self._unsupported(f"holds {_ENCODINGS.get(encoding, f'encoding 0x{encoding:04X}')}")
        self.is_float = encoding == _FLOAT
        self.table = {_A_LAW: _a_law, _MU_LAW: _mu_law}[encoding]() if encoding in (_A_LAW, _MU_LAW) else None
        if self.n_channels < 1:
            raise DataError(f"{origin.name} has no channel.")
        # Some programs fill in the bits that a sample of A-law or mu-law has after decoding.
        self.bits = self._stored_bits(valid_bits if self.table is None else 8)
        if not LOWEST_RATE <= self.sample_rate <= HIGHEST_RATE:
            raise DataError(
                f"{origin.name} has a sample rate of {self.sample_rate} Hz; {LOWEST_RATE} to {HIGHEST_RATE} Hz can be "
                f"used; convert it first: {origin.conversion(output='-ar 16000 ')}"
            )
        self.low_bits = valid_bits if valid_bits <= 24 and self.bits == 32 and not self.is_float else 0

    def _stored_bits(self, valid_bits: int) -> int:
        """Return the bits of the container of one sample."""
        kind = "float" if self.is_float else "PCM"
        if valid_bits not in ((32, 64) if self.is_float else range(1, 33)):
            raise self._unsupported(f"holds {valid_bits}-bit {kind}")
        is_wide = 8 < valid_bits < 32 and self.block_align == 4 * self.n_channels
        stored = 32 if is_wide else -(-valid_bits // 8) * 8
        self.block_align = self.block_align or self.n_channels * stored // 8  # 0: not filled in
        if self.block_align != self.n_channels * stored // 8:
            raise self._unsupported(
                f"holds {valid_bits}-bit {kind} in a block alignment of {self.block_align}, where {self.n_channels} "
                f"channels take {self.n_channels * stored // 8}"
            )
        return stored

    def decoder(self) -> Decoder:
        """Return a decoder that begins with the first sample."""
        return Decoder(self)

    def _unsupported(self, sentence: str) -> DataError:
        return DataError(f"{self.origin.name} {sentence}; convert it first: {self.origin.conversion()}")


class Decoder:
    """Decodes samples in order, whole ones at each call."""

    def __init__(self, format: SampleFormat) -> None:
        self._format = format
        # Of fewer bits in 32, some programs use the highest ones, as the standard says, some the lowest, as ALSA does.
        self._low_bits = format.low_bits
        self._n_samples = self._n_heard = self._n_beyond = 0
        self._peak = 0.0

    @property
    def is_ambiguous(self) -> bool:
        """Whether the full scale is still unknown: `learn` is to be given samples before they are decoded."""
        return self._low_bits > 0

    def learn(self, data: bytes) -> None:
        """Look at whole samples for one that needs more than the lowest bits; if none does, these are the sample."""
        if self.is_ambiguous:
            integers, limit = np.frombuffer(data, "<i4"), 1 << (self._low_bits - 1)
            if ((integers >= limit) | (integers < -limit)).any():
                self._low_bits = 0

    def push(self, data: bytes) -> Float32:
        """Decode the next samples to ``(n, n_channels)`` in [-1, 1]; integers are divided by their full scale.

        Raises
        ------
        DataError
            A float is not finite, or floats have another full scale than 1.
        """
        block = self._decoded(data).reshape(-1, self._format.n_channels)
        self._n_samples += len(block)
        return block

    def _decoded(self, data: bytes) -> Float32:
        bits, table = self._format.bits, self._format.table
        if table is not None:
            return table[np.frombuffer(data, np.uint8)]
        if self._format.is_float:
            return self._clipped(np.frombuffer(data, f"<f{bits // 8}"))
        if bits == 8:  # the only unsigned one
            unsigned = np.frombuffer(data, np.uint8).astype(np.float32)
            return unsigned / np.float32(128) - np.float32(1)
        if bits == 16:
            return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(1 << 15)
        if bits == 24:
            padded = np.zeros((len(data) // 3, 4), np.uint8)
            padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            integers = padded.view("<i4").ravel()
        else:
            integers = np.frombuffer(data, "<i4")
        if self._low_bits:
            return integers.astype(np.float32) / np.float32(1 << (self._low_bits - 1))
        # float32 holds 24 bits; the rest is dropped so that rounding cannot reach 1.
        return (integers >> 8).astype(np.float32) / np.float32(1 << 23)

    def _clipped(self, values: Float32 | Float64) -> Float32:
        peak = float(np.abs(values).max(initial=0))
        if not np.isfinite(peak):
            n_before = self._n_samples + int(np.argmin(np.isfinite(values))) // self._format.n_channels
            seconds = n_before / self._format.sample_rate
            origin = self._format.origin
            raise DataError(
                f"{origin.name} holds a value that is not a finite number at {seconds:.4f} s; to have a click instead: "
                f"{origin.conversion()}"
            )
        self._n_heard += int(np.count_nonzero(values))
        if peak > 1:
            self._check_scale(values, peak)
        clipped: Float32 = np.clip(values, -1, 1).astype(np.float32)
        return clipped

    def _check_scale(self, values: Float32 | Float64, peak: float) -> None:
        origin, is_first = self._format.origin, self._n_beyond == 0
        self._n_beyond += int(np.count_nonzero(np.abs(values) > 1))
        self._peak = max(self._peak, peak)
        is_many = self._n_beyond >= max(_OTHER_SCALE_COUNT, _OTHER_SCALE_PART * self._n_heard)
        if is_many and self._peak >= _OTHER_SCALE_PEAK:
            scales = (scale for scale in _OTHER_SCALES if scale / _FAR_BELOW <= self._peak <= scale)
            full_scale = next(scales, self._peak)
            raise DataError(
                f"{origin.name} holds floats such as {self._peak:.6g}, so their full scale is not 1; to divide them by "
                f"{full_scale:.12g}: {origin.conversion(output=f'-af volume={1 / full_scale:.12g} ')}"
            )
        if is_first:
            origin.note(f"has samples beyond full scale, such as {peak:.4g}; they are clipped")


def _mu_law() -> Float32:
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    magnitude = (((code & 0x0F) << 3) + 0x84 << (code >> 4 & 7)) - 0x84
    return _signed(magnitude, code < 0x80)


def _a_law() -> Float32:
    code = np.arange(256, dtype=np.int32) ^ 0x55
    segment, step = code >> 4 & 7, (code & 0x0F) << 4
    magnitude = np.where(segment == 0, step + 8, step + 0x108 << np.maximum(segment - 1, 0))
    return _signed(magnitude, code >= 0x80)


def _signed(magnitude: Array, is_positive: Bool) -> Float32:
    return np.where(is_positive, magnitude, -magnitude).astype(np.float32) / np.float32(1 << 15)

"""What the first bytes of a file or stream say that it is, and the line that makes a WAV file of it."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

WAV_MAGICS = (b"RIFF", b"RF64", b"BW64")

_log = logging.getLogger(__name__)

_ANY = ord("?")
# The first bytes, where ? is any byte, and what begins so.
_Kinds = tuple[tuple[bytes, str], ...]
_SOUND: _Kinds = (
    (b"fLaC", "a FLAC file"),
    (b"OggS", "an Ogg file"),
    (b"ID3", "an MP3 file"),
    (b"????ftyp", "an MP4 or M4A file"),
    (b"????moov", "a QuickTime file"),
    (b"????mdat", "a QuickTime file"),
    (b"????wide", "a QuickTime file"),
    (b"FORM", "an AIFF file"),
    (b"caff", "a CAF file"),
    (b".snd", "an AU file"),
    (b"dns.", "an AU file"),
    (b"\x1a\x45\xdf\xa3", "a WebM or Matroska file"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a WMA file"),
    (b"#!AMR", "an AMR file"),
    (b"wvpk", "a WavPack file"),
    (b"MAC ", "a Monkey's Audio file"),
    (b"TTA1", "a TTA file"),
    (b"tBaK", "a TAK file"),
    (b"MPCK", "a Musepack file"),
    (b"MP+", "a Musepack file"),
    (b"DSD ", "a DSF file"),
    (b"FRM8", "a DSDIFF file"),
    (b"ADIF", "an AAC file"),
    (b"\x7f\xfe\x80\x01", "a DTS file"),
    (b"\0\0\x01\xba", "an MPEG file"),
    (b"FLV\x01", "an FLV file"),
    (b".RMF", "a RealMedia file"),
    (b"Creative Voi", "a VOC file"),
    (b"NIST_1A", "a NIST Sphere file"),
    (b"\x64\xa3\x01\0", "an IRCAM file"),
    (b"\x64\xa3\x03\0", "an IRCAM file"),
    (b"PVF1", "a PVF file"),
    (b"RIFX", "a RIFX file (big-endian WAV)"),
    (b"riff\x2e\x91\xcf\x11", "a Wave64 file"),
    (b"RIFF????AVI ", "an AVI file, not a WAV file"),
    (b"XoS.", "a SoX file"),
    (b".SoX", "a SoX file"),
    (b"2BIT", "an AVR file"),
    (b"LM8953", "a TXW file"),
    (b"ALawSoundFile", "a Psion file"),
    (b"SOUND\x1a", "a Sounder file"),
    (b"Extended Instrument:", "an XI file"),
    (b" paf", "a PAF file"),
    (b"fap ", "a PAF file"),
    (b"STRM", "an AST file"),
    (b".ra\xfd", "a RealAudio file"),
    (b"#!SILK", "a SILK file"),
    (b"\x02#!SILK", "a SILK file"),
    (b"#!EVRC", "an EVRC file"),
    (b"#!iLBC", "an iLBC file"),
    (b"RIFF????QLCM", "a QCP file"),
    (b"ajkg", "a Shorten file"),
    (b"OFR ", "an OptimFROG file"),
    (b"????\xf8\x72\x6f\xba", "a TrueHD file"),
    (b"????\xf8\x72\x6f\xbb", "an MLP file"),
    (b"\x72\xf8\x1f\x4e", "an S/PDIF stream"),
    (b"\xfe\x7f\x01\x80", "a DTS file"),
    (b"\xff\x1f\0\xe8", "a DTS file"),
    (b"\x1f\xff\xe8\0", "a DTS file"),
    (b"\x64\xa3\x02\0", "an IRCAM file"),
    (b"\0\x02\xa3\x64", "an IRCAM file"),
    (b"\0\x01\xa3\x64", "an IRCAM file"),
    (b"nut/multimedia", "a NUT file"),
    (b"\x06\x0e\x2b\x34", "an MXF file"),
    (b"\xb7\xd8\0\x20\x37\x49\xda\x11", "a WTV file"),
)
_NO_SOUND: _Kinds = (
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b\x08", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\0", "an xz file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (b"\x89PNG\r\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"%PDF-", "a PDF document"),
    (b"\x7fELF", "a program"),
    (b"RIFF????WEBP", "a WebP picture"),
    (b"GIF8", "a GIF picture"),
    (b"BM????\0\0\0\0", "a BMP picture"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"????TFL3", "a TFLite network"),
    (b"MZ\x90\0", "a program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"Rar!", "a RAR archive"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy file"),
    (b"MATLAB 5.0", "a MATLAB file"),
    (b"MThd", "a MIDI file"),
    (b"\xd0\xcf\x11\xe0", "an Office document"),
)
# Formats without a beginning, of frames of one length: that, which bits each begins with, how many frames prove it.
_FRAMES = ((188, 0xFF, 0x47, 4, "an MPEG transport stream"), (33, 0xF0, 0xD0, 8, "a GSM file"))
# So much text in a row, and of so many characters, is no sound.
_TEXT_BYTES, _TEXT_CHARACTERS = 64, 5
_CONTROLS = "\t\r\n\f\b\x1b"
# In older encodings, of which there are many, this part of the letters of a language are not those of ASCII.
_MOST_FOREIGN = 0.2
_MPEG_HZ = (44100, 48000, 32000)
# By layer: 1 is layer III, 2 is layer II.
_MPEG1_KBITS = {
    1: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
}
_MPEG2_KBITS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)


@dataclass(frozen=True)
class Origin:
    """Where bytes come from, for messages: the name of it, and the path if it is a file, else who reads the stream."""

    name: str
    path: str | None = None
    reader: str = ""

    def note(self, sentence: str) -> None:
        """Say in the log what is odd about it, and used all the same."""
        # Without arguments, so that each recording is of a kind of its own for `PerMinute`, which leaves others out.
        _log.warning(f"{self.name} {sentence}")

    def conversion(self, target: str = "out.wav", options: str = "", output: str = "") -> str:
        """Return the ffmpeg line that makes a readable WAV of it; options of ffmpeg end with a space."""
        if self.path is None:
            return f"ffmpeg -loglevel error {options}-i FILE {output}-c:a pcm_s16le -f wav - | {self.reader}"
        # ffmpeg would take the beginning of such a name for an option or a protocol.
        path = f"file:{self.path}" if re.match(r"-|[^/]*:", self.path) else self.path
        return f"ffmpeg {options}-i {shlex.quote(path)} {output}-c:a pcm_s16le {target}"

    def _line_of_sox(self) -> str:
        if self.path is None:
            return f"sox FILE -t wav - | {self.reader}"
        # sox, too, takes such a name for an option or a command.
        path = f"./{self.path}" if self.path.startswith(("-", "|")) else self.path
        return f"sox {shlex.quote(path)} out.wav"

    def refusal(self, head: bytes, *, is_all: bool) -> str | None:
        """Return the sentence that refuses bytes that are neither WAV nor raw PCM; `is_all` if no more follow."""
        is_file = self.path is not None
        framed = next((name for name, is_proved in _framed(head) if is_proved), None)
        if kind := _kind(head, _SOUND) or _mpeg_kind(head, is_file=is_file) or framed:
            # ffmpeg takes the samples of a big-endian WAV file for little-endian ones, and so makes noise of them.
            line = self._line_of_sox() if head.startswith(b"RIFX") else self.conversion()
            return f"{self.name} is {kind}; convert it first: {line}"
        if kind := _kind(head, _NO_SOUND):
            return f"{self.name} is {kind}, not sound."
        if _is_text(head, is_all=is_all):
            return f"{self.name} is text, not sound."
        return None


def is_wav(head: bytes) -> bool:
    """Return whether bytes begin as a WAV file does: RIFF, RF64 or BW64, then WAVE."""
    return head.startswith(WAV_MAGICS) and head[8:12] == b"WAVE"


def is_undecided(head: bytes) -> bool:
    """Return whether more bytes are needed to know what a stream is."""
    kinds = (*_SOUND, *_NO_SOUND, *((magic + b"????WAVE", "") for magic in WAV_MAGICS))
    if any(len(head) < len(magic) and _fits(head, magic) for magic, _ in kinds):
        return True
    if len(head) < _TEXT_BYTES and _text(head) is not None:
        return True
    if any(not is_proved for _, is_proved in _framed(head)):
        return True
    length = _frame_length(head)
    return length is not None and len(head) < length + 2


def _kind(head: bytes, known: _Kinds) -> str | None:
    return next((name for magic, name in known if len(head) >= len(magic) and _fits(head, magic)), None)


def _fits(head: bytes, magic: bytes) -> bool:
    return all(wanted in (byte, _ANY) for byte, wanted in zip(head, magic, strict=False))


def _text(head: bytes) -> str | None:
    """Decode text whose last character may be cut; None if it is none."""
    encodings = ("utf-16",) if head[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "latin-1")
    for encoding in encodings:
        for n_cut in range(min(4, len(head))):
            with suppress(UnicodeDecodeError):
                text = head[: len(head) - n_cut].decode(encoding)
                n_foreign = sum(not c.isascii() for c in text) if encoding == "latin-1" else 0
                is_text = all(c.isprintable() or c in _CONTROLS for c in text)
                if is_text and n_foreign <= _MOST_FOREIGN * len(text):
                    return text
                break
    return None


def _is_text(head: bytes, *, is_all: bool) -> bool:
    text = _text(head)
    return text is not None and (is_all or len(head) >= _TEXT_BYTES) and len(set(text)) >= _TEXT_CHARACTERS


def _mpeg_kind(head: bytes, *, is_file: bool) -> str | None:
    """Recognize MP3 and AAC without a container; in raw PCM the next frame is not where the first one says."""
    length = _frame_length(head)
    if length is None or (not is_file and head[length : length + 2] != head[:2]):
        return None
    return "an MP3 file" if head[1] & 6 else "an AAC file"


def _framed(head: bytes) -> Iterator[tuple[str, bool]]:
    """Yield each format that these can be the frames of, and whether they are enough to be sure."""
    for length, bits, value, n_frames, name in _FRAMES:
        first_bytes = head[: length * n_frames : length]
        if all(byte & bits == value for byte in first_bytes):
            yield name, len(first_bytes) == n_frames


def _frame_length(head: bytes) -> int | None:
    """Return the length in bytes of the MPEG or AAC frame that begins here; None if none does."""
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    code, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if layer == 0 and head[1] & 0xF0 == 0xF0:
        length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
        return length if length > 7 else None
    if version == 1 or layer in (0, 3) or code in (0, 15) or rate == 3:
        return None
    hz = _MPEG_HZ[rate] >> (0 if version == 3 else 1 if version == 2 else 2)
    kbits = (_MPEG1_KBITS[layer] if version == 3 else _MPEG2_KBITS)[code - 1]
    return (144_000 if version == 3 or layer == 2 else 72_000) * kbits // hz + padding

"""What the first bytes of a file or stream say that it is, and the ffmpeg line that makes a WAV file of it."""

from __future__ import annotations

import re
import shlex
from contextlib import suppress
from dataclasses import dataclass

WAV_MAGICS = (b"RIFF", b"RF64", b"BW64")

_SOUND: tuple[tuple[int, bytes, str], ...] = (
    (0, b"fLaC", "a FLAC file"),
    (0, b"OggS", "an Ogg file"),
    (0, b"ID3", "an MP3 file"),
    (4, b"ftyp", "an MP4 or M4A file"),
    (4, b"moov", "a QuickTime file"),
    (4, b"mdat", "a QuickTime file"),
    (4, b"wide", "a QuickTime file"),
    (0, b"FORM", "an AIFF file"),
    (0, b"caff", "a CAF file"),
    (0, b".snd", "an AU file"),
    (0, b"dns.", "an AU file"),
    (0, b"\x1a\x45\xdf\xa3", "a WebM or Matroska file"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a WMA file"),
    (0, b"#!AMR", "an AMR file"),
    (0, b"wvpk", "a WavPack file"),
    (0, b"MAC ", "a Monkey's Audio file"),
    (0, b"TTA1", "a TTA file"),
    (0, b"tBaK", "a TAK file"),
    (0, b"MPCK", "a Musepack file"),
    (0, b"MP+", "a Musepack file"),
    (0, b"DSD ", "a DSF file"),
    (0, b"FRM8", "a DSDIFF file"),
    (0, b"ADIF", "an AAC file"),
    (0, b"\x7f\xfe\x80\x01", "a DTS file"),
    (0, b"\0\0\x01\xba", "an MPEG file"),
    (0, b"FLV\x01", "an FLV file"),
    (0, b".RMF", "a RealMedia file"),
    (0, b"Creative Voi", "a VOC file"),
    (0, b"NIST_1A", "a NIST Sphere file"),
    (0, b"\x64\xa3\x01\0", "an IRCAM file"),
    (0, b"\x64\xa3\x03\0", "an IRCAM file"),
    (0, b"PVF1", "a PVF file"),
    (0, b"RIFX", "a RIFX file (big-endian WAV)"),
    (0, b"riff\x2e\x91\xcf\x11", "a Wave64 file"),
    (8, b"AVI ", "an AVI file, not a WAV file"),
)
_NO_SOUND: tuple[tuple[int, bytes, str], ...] = (
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b\x08", "a gzip file"),
    (0, b"BZh", "a bzip2 file"),
    (0, b"\xfd7zXZ\0", "an xz file"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (0, b"\x89PNG\r\n", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"%PDF-", "a PDF document"),
    (0, b"\x7fELF", "a program"),
)
# So much text in a row, and of so many characters, is no sound.
_TEXT_BYTES, _TEXT_CHARACTERS = 64, 5
_MPEG_HZ = (44100, 48000, 32000)
# By layer: 1 is layer III, 2 is layer II.
_MPEG1_KBITS = {
    1: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
}
_MPEG2_KBITS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)


@dataclass(frozen=True)
class Origin:
    """Where bytes come from, for messages: the name of it, and the path if it is a file."""

    name: str
    path: str | None = None

    def conversion(self, target: str = "out.wav", options: str = "", output: str = "") -> str:
        """Return the ffmpeg line that makes a readable WAV of it; options of ffmpeg end with a space."""
        if self.path is None:
            return f"ffmpeg -loglevel error {options}-i FILE {output}-c:a pcm_s16le -f wav - | affectd run --source -"
        # ffmpeg would take the beginning of such a name for an option or a protocol.
        path = f"file:{self.path}" if re.match(r"-|[^/]*:", self.path) else self.path
        return f"ffmpeg {options}-i {shlex.quote(path)} {output}-c:a pcm_s16le {target}"

    def refusal(self, head: bytes, *, is_all: bool) -> str | None:
        """Return the sentence that refuses bytes that are neither WAV nor raw PCM; `is_all` if no more follow."""
        if kind := _kind(head, _SOUND) or _mpeg_kind(head, is_file=self.path is not None):
            return f"{self.name} is {kind}; convert it first: {self.conversion()}."
        if kind := _kind(head, _NO_SOUND):
            return f"{self.name} is {kind}, not sound."
        if self.path is None and _is_text(head, is_all=is_all):
            return f"{self.name} is text, not sound."
        return None


def is_wav(head: bytes) -> bool:
    """Return whether bytes begin as a WAV file does: RIFF, RF64 or BW64, then WAVE."""
    return head.startswith(WAV_MAGICS) and head[8:12] == b"WAVE"


def is_undecided(head: bytes) -> bool:
    """Return whether more bytes are needed to know what a stream is."""
    magics = [(offset, magic) for offset, magic, _ in (*_SOUND, *_NO_SOUND)]
    if head.startswith(WAV_MAGICS):
        magics.append((8, b"WAVE"))
    if any(len(head) < offset + len(magic) and magic.startswith(head[offset:]) for offset, magic in magics):
        return True
    if len(head) < _TEXT_BYTES and _text(head) is not None:
        return True
    length = _frame_length(head)
    return length is not None and len(head) < length + 2


def _kind(head: bytes, known: tuple[tuple[int, bytes, str], ...]) -> str | None:
    return next((name for offset, magic, name in known if head.startswith(magic, offset)), None)


def _text(head: bytes) -> str | None:
    """Decode UTF-8 whose last character may be cut; None if it is no text."""
    for n_cut in range(min(4, len(head))):
        with suppress(UnicodeDecodeError):
            text = head[: len(head) - n_cut].decode()
            return text if all(c.isprintable() or c in "\t\r\n" for c in text) else None
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

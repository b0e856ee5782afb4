"""Whether an audio file is all there. libsndfile does not say: it reads what is left of one that was cut off."""

from __future__ import annotations

import os
from pathlib import Path

import soundfile

from affectd.audio.containers import Origin, is_wav
from affectd.audio.wav_header import Header, read_header
from affectd.errors import DataError

# Sizes from here on stand for one that was not known yet, as in a pipe.
_UNKNOWN = 0x7F000000
# Some programs count a header wrongly; no word is as short.
_SPARE_BYTES = 64
_LARGEST_PAGE = 27 + 255 + 255 * 255
# No more is behind the last frame of an MP3 file than a tag with a title.
_TAG_BYTES = 2048


def check_whole(path: Path, number: int) -> None:
    """Refuse what is left of a file that was cut off, as far as its headers tell; its descriptor stays where it is.

    Raises
    ------
    DataError
        If it was.
    """
    size, head = os.fstat(number).st_size, os.pread(number, 24, 0)
    if is_wav(head) and (header := _wav_header(number)):
        if header.n_cut(present := size - header.offset):
            what = f"{present} of the {header.n_bytes} bytes of samples"
            raise DataError(f"{path}: cut off, with {what} that it promises")
        return
    if size + _SPARE_BYTES < (promised := _promised(head)) < _UNKNOWN:
        raise DataError(f"{path}: cut off, with {size} of the {promised} bytes that it promises")
    if head.startswith(b"OggS") and _ends_in_a_page(os.pread(number, _LARGEST_PAGE, max(0, size - _LARGEST_PAGE))):
        raise DataError(f"{path}: cut off within a page of Ogg")


def check_read(path: Path, file: soundfile.SoundFile, n_read: int) -> None:
    """Refuse a file that ended before all of it was read: after `n_read` samples.

    Raises
    ------
    DataError
        If it did.
    """
    if file.format != "MP3" or _is_counted(file.name):
        if n_read < file.frames:
            raise DataError(f"{path}: ends after {n_read} of {file.frames} samples")
    # libsndfile takes the first frame for all, and stops at the length that follows from it.
    elif os.fstat(file.name).st_size - os.lseek(file.name, 0, os.SEEK_CUR) > _TAG_BYTES:
        raise DataError(
            f"{path}: an MP3 file that does not say how long it is, of which libsndfile reads "
            f"{n_read / file.samplerate:.1f} s only; convert it first: {Origin(str(path), str(path)).conversion()}"
        )


def _wav_header(number: int) -> Header | None:
    """Return the header of a WAV file of a kind that the device knows; libsndfile may know more."""
    at = os.lseek(number, 0, os.SEEK_CUR)
    try:
        with open(number, "rb", closefd=False) as file:
            file.seek(0)
            return read_header(file, file.read(12), Origin(""))
    except DataError:
        return None
    finally:
        os.lseek(number, at, os.SEEK_SET)


def _promised(head: bytes) -> int:
    """Return how many bytes a file has by its first ones; 0 where they do not say it."""
    first, second = (int.from_bytes(head[i : i + 4], "big") for i in (4, 8))
    match head[:4]:
        case b"FORM" | b"RIFX":
            return 8 + first
        case b"RIFF":
            return 8 + int.from_bytes(head[4:8], "little")
        case b".snd":
            return first + second
        case b"riff":
            return int.from_bytes(head[16:24], "little")
    return 0


def _ends_in_a_page(tail: bytes) -> bool:
    """Return whether the last page of Ogg is longer than what is there of it."""
    page = tail[tail.rfind(b"OggS\0") :]
    return page.startswith(b"OggS") and len(page) < 27 + sum(page[26:27]) + sum(page[27 : 27 + page[26]])


def _is_counted(number: int) -> bool:
    """Return whether the first frame of an MP3 file, behind its tag, says how long it is."""
    tag = os.pread(number, 10, 0)
    start = 10 + sum(byte << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True))
    first = os.pread(number, 4096, start if tag.startswith(b"ID3") else 0)
    return b"Xing" in first or b"Info" in first

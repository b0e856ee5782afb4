"""Nothing is taken for whole that was cut off or of which a part is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from affectd.errors import DataError
from affectd_train.data.recordings import find_damage, read_audio

RATE = 16000
NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, (2 * RATE, 2))

KINDS = {
    "aiff": {"format": "AIFF"},
    "au": {"format": "AU"},
    "w64": {"format": "W64"},
    "rifx.wav": {"format": "WAV", "endian": "BIG"},
    "adpcm.wav": {"format": "WAV", "subtype": "MS_ADPCM"},
    "ogg": {"format": "OGG", "subtype": "VORBIS"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_cut_off_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    soundfile.write(path, NOISE, RATE, **KINDS[kind])
    whole = path.read_bytes()
    assert abs(len(read_audio(path, RATE)) - 2 * RATE) < RATE // 10
    for n_bytes in range(len(whole) // 5, len(whole) - 65, len(whole) // 19):
        path.write_bytes(whole[:n_bytes])
        with pytest.raises(DataError):
            read_audio(path, RATE)
        assert find_damage(path), n_bytes


@pytest.mark.parametrize(
    ("kind", "place", "size"), [("aiff", 4, "00000000"), ("aiff", 4, "7f000050"), ("au", 8, "f" * 8)]
)
def test_a_size_that_a_pipe_left_unknown_is_no_cut(tmp_path: Path, kind: str, place: int, size: str) -> None:
    path = tmp_path / f"a.{kind}"
    soundfile.write(path, NOISE, RATE, **KINDS[kind])
    whole = path.read_bytes()
    path.write_bytes(whole[:place] + bytes.fromhex(size) + whole[place + 4 :])
    assert len(read_audio(path, RATE)) == 2 * RATE


def test_a_page_of_ogg_may_be_followed_by_other_bytes(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.ogg", NOISE, RATE, **KINDS["ogg"])
    with (tmp_path / "a.ogg").open("ab") as file:
        file.write(b"TAG" + bytes(125))
    assert len(read_audio(tmp_path / "a.ogg", RATE)) == 2 * RATE


def mp3(path: Path, sound: np.ndarray, mode: str, tag: bytes = b"") -> Path:
    """An MP3 file as of a recorder: without the first frame, which would say how long it is, and behind a tag."""
    soundfile.write(path, sound, RATE, format="MP3", bitrate_mode=mode, compression_level=0.5)
    whole = path.read_bytes()
    assert b"Info" in whole[:200] or b"Xing" in whole[:200]
    path.write_bytes(tag + whole[whole.index(whole[:2], 2) :])
    return path


TAGS = pytest.mark.parametrize("tag", [b"", b"ID3\4\0\0\0\0\x40\0" + bytes(8192)], ids=["", "with a picture"])


@TAGS
def test_an_mp3_file_that_does_not_say_how_long_it_is_is_read_whole(tmp_path: Path, tag: bytes) -> None:
    path = mp3(tmp_path / "a.mp3", NOISE[:, 0], "CONSTANT", tag)
    with path.open("ab") as file:
        file.write(b"TAG" + bytes(125))
    assert find_damage(path) is None
    assert 2 * RATE <= len(read_audio(path, RATE)) < 2.2 * RATE


def test_an_mp3_file_of_which_libsndfile_reads_a_part_is_refused(tmp_path: Path) -> None:
    path = mp3(tmp_path / "a.mp3", np.concatenate([NOISE[:, 0], np.zeros(10 * RATE)]), "VARIABLE")
    with pytest.raises(DataError, match=r"does not say how long it is, of which libsndfile reads [\d.]+ s only"):
        read_audio(path, RATE)


@TAGS
def test_an_mp3_file_that_was_cut_off_is_refused(tmp_path: Path, tag: bytes) -> None:
    path = tmp_path / "a.mp3"
    soundfile.write(path, NOISE[:, 0], RATE)
    whole = path.read_bytes()
    path.write_bytes(tag + whole)
    assert len(read_audio(path, RATE)) == 2 * RATE
    path.write_bytes(tag + whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"ends after \d+ of \d+ samples"):
        read_audio(path, RATE)

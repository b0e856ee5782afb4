"""The desktop hears what the device hears, and takes nothing for whole that was cut off or of which it reads a part."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from affectd.audio.source import wav_sound
from affectd.errors import DataError
from affectd_train.data.clips import Clip
from affectd_train.data.inspection import findings
from affectd_train.data.own import read_own
from affectd_train.data.recordings import common_seconds, find_damage, read_audio, read_header, stream_audio

RATE = 16000
NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, (2 * RATE, 2))
LIST = b"LIST\4\0\0\0INFO"


def wav(data: bytes, encoding: int = 1, bits: int = 16, align: int = 4, *, size: int | None = None) -> bytes:
    """A stereo WAV file, whose data chunk says that it has `size` bytes."""
    fmt = struct.pack("<HHIIHH", encoding, 2, RATE, RATE * align, align, bits)
    size = len(data) if size is None else size
    return b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + fmt + b"data" + size.to_bytes(4, "little") + data


PCM = (NOISE * 32767).astype("<i2").tobytes()
FLOATS = NOISE.astype("<f4")
LOUD = (NOISE * 2.5).astype("<f4").tobytes()
CLICK = FLOATS.copy()
CLICK[1000] = 1e6
LOW = (NOISE * ((1 << 23) - 1)).astype("<i4").tobytes()


FILES = {
    "plain": wav(PCM),
    "of a recorder that was killed": wav(PCM, size=0),
    "of floats, of a recorder that was killed": wav(FLOATS.tobytes(), 3, 32, 8, size=0),
    "from a pipe": wav(PCM, size=0xFFFFFFFF),
    "from a pipe of sox": wav(PCM, size=0x7FFFFFFF),
    "RF64 from a pipe": b"RF64" + wav(PCM, size=0xFFFFFFFF)[4:],
    "with a chunk behind": wav(PCM) + LIST,
    "that ends in the middle of a sample": wav(PCM + b"\1\2"),
    "beyond full scale": wav(LOUD, 3, 32, 8),
    "with a click": wav(CLICK.tobytes(), 3, 32, 8),
    "of arecord -f S24_LE": wav(LOW, 1, 24, 8),
    "of 32 bits": wav((NOISE * ((1 << 31) - 1)).astype("<i4").tobytes(), 1, 32, 8),
}


@pytest.mark.parametrize("rate", [RATE, 12000])
@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_a_wav_file_sounds_as_on_the_device(tmp_path: Path, content: bytes, rate: int) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    blocks, seconds = wav_sound(tmp_path / "a.wav", rate, "mix")
    expected = np.concatenate([*blocks])
    assert len(expected) == 2 * rate
    assert find_damage(tmp_path / "a.wav") is None
    assert read_header(tmp_path / "a.wav").seconds == seconds
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav", rate), expected)
    part = read_audio(tmp_path / "a.wav", RATE, 0.25, 1.5)
    np.testing.assert_array_equal(part, read_audio(tmp_path / "a.wav", RATE)[RATE // 4 : RATE * 3 // 2])


def test_floats_of_another_full_scale_are_left_out_as_on_the_device(tmp_path: Path) -> None:
    (tmp_path / "sad").mkdir()
    (tmp_path / "sad/a.wav").write_bytes(wav((FLOATS * 32768).tobytes(), 3, 32, 8))
    (tmp_path / "sad/b.wav").write_bytes(wav(PCM))
    ((path, reason),) = read_own(tmp_path).skipped
    assert path.name == "a.wav"
    assert reason.startswith("holds floats such as 16")
    assert "so their full scale is not 1; to divide them by 32768: ffmpeg " in reason


@pytest.mark.parametrize(
    "content",
    [
        wav(PCM[: len(PCM) // 2]) + PCM[len(PCM) // 2 :],
        wav(PCM[: len(PCM) // 2]) + LIST + b"data" + (len(PCM) // 2).to_bytes(4, "little") + PCM[len(PCM) // 2 :],
        wav(PCM) + wav(PCM),
    ],
    ids=["a size that is too small", "two chunks of samples", "two files"],
)
def test_a_wav_file_of_which_a_part_would_be_read_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.wav: has \d+ bytes after its samples that its header does not explain"):
        read_audio(tmp_path / "a.wav", RATE)
    assert str(find_damage(tmp_path / "a.wav")).startswith("has ")


def test_a_header_that_contradicts_itself_is_refused_as_on_the_device(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(PCM, align=2))  # which libsndfile reads as stereo: at half the speed, or twice
    with pytest.raises(DataError, match="in a block alignment of 2, where 2 channels take 4"):
        read_audio(tmp_path / "a.wav", RATE)
    assert "in a block alignment of 2" in str(find_damage(tmp_path / "a.wav"))


def test_floats_in_wave64_are_not_taken_for_integers(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.w64", NOISE, RATE, "FLOAT")
    np.testing.assert_array_equal(read_audio(tmp_path / "a.w64", RATE), FLOATS.mean(1))
    whole = (tmp_path / "a.w64").read_bytes()
    at = whole.index(b"fmt ") + 16
    plain, behind = whole[at + 8 : at + 24], whole[at + 24 :]
    guid = bytes.fromhex("03000000000010008000 00aa00389b71")
    fmt = b"\xfe\xff" + plain[2:] + struct.pack("<HHI", 22, 32, 3) + guid  # as ffmpeg writes it
    (tmp_path / "a.w64").write_bytes(whole[:at] + (24 + len(fmt)).to_bytes(8, "little") + fmt + behind)
    assert soundfile.info(tmp_path / "a.w64").subtype == "PCM_32"  # a fault of libsndfile 1.2.2
    with pytest.raises(DataError, match=r"a\.w64: holds floats, which libsndfile takes for integers; .* ffmpeg -i "):
        read_audio(tmp_path / "a.w64", RATE)
    assert str(find_damage(tmp_path / "a.w64")).startswith("holds floats")


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


def test_a_dead_channel_is_no_reason_to_refuse_the_other(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([NOISE[:, 0], 0 * NOISE[:, 0]], 1), RATE)
    soundfile.write(tmp_path / "silent.wav", 0 * NOISE, RATE)
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav", RATE), NOISE[:, 0] / 2, atol=2**-15)
    assert not read_audio(tmp_path / "silent.wav", RATE).any()


@pytest.mark.parametrize("rate", [RATE, 12000])
@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_channels_that_cancel_each_other_out_train_nothing(tmp_path: Path, kind: str, rate: int) -> None:
    voice, path = NOISE[:, 0], tmp_path / f"a.{kind}"
    soundfile.write(path, np.stack([voice, -1.05 * voice], 1), RATE)  # the mean is 32 dB quieter
    with pytest.raises(DataError, match=r"^\S+ has channels that cancel each other out: ffmpeg .*"):
        read_audio(path, rate)
    assert len(np.concatenate([*stream_audio(path, rate)])) == 2 * rate  # an archive hears it as the device does
    soundfile.write(path, np.stack([voice, -1.07 * voice], 1), RATE)  # 29 dB
    assert len(read_audio(path, rate)) == 2 * rate


def test_a_part_is_judged_by_itself(tmp_path: Path) -> None:
    voice = NOISE[:, 0]
    half = np.repeat([1.0, -1.0], RATE) * voice
    soundfile.write(tmp_path / "a.wav", np.stack([voice, half], 1), RATE)
    assert len(read_audio(tmp_path / "a.wav", RATE)) == 2 * RATE
    assert len(read_audio(tmp_path / "a.wav", RATE, 0.0, 1.0)) == RATE
    with pytest.raises(DataError, match="cancel each other out"):
        read_audio(tmp_path / "a.wav", RATE, 1.0, 2.0)


def test_inspect_says_why_what_it_heard_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "happy"
    for name, gain, sign in (("a", 1, 1), ("b", 1, -1), ("c", 0.5, -1)):
        path.mkdir(exist_ok=True)
        soundfile.write(path / f"{name}.wav", gain * NOISE[:, :1] * [1, sign], RATE)
    found = findings(read_own(tmp_path))
    names = [Path(path).name for path in found["damaged"]]
    assert names == [Path(row["path"]).name for row in found["skipped"]] == ["b.wav", "c.wav"]
    assert all("cancel each other out" in row["reason"] for row in found["skipped"])
    assert [Path(path).name for path in found["silent"]] == names  # which is what the mean is


def test_recordings_of_one_length_were_cut(tmp_path: Path) -> None:
    def clips(*lengths: int) -> list[Clip]:
        for number, length in enumerate(lengths):
            soundfile.write(tmp_path / f"{number}.flac", np.zeros(length), RATE)
        return [
            Clip("emodb", tmp_path / f"{number}.flac", "emodb-03", "male", "happy", "a01")
            for number in range(len(lengths))
        ]

    assert common_seconds(clips(2 * RATE, 2 * RATE + 1, 2 * RATE)) == 2.0
    assert common_seconds(clips(2 * RATE, 2 * RATE, 3 * RATE)) is None
    assert common_seconds(clips(RATE)) is None  # one recording has some length
    assert common_seconds([]) is None
    assert (
        common_seconds([Clip("cremad", tmp_path / "logmel.npy.xz", "cremad-1001", "male", "sad", "DFA", 0, 90)]) is None
    )

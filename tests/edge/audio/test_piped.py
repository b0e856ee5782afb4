"""Standard input: WAV is read as WAV, raw PCM as raw PCM, and nothing else is taken for either."""

from __future__ import annotations

import io
import itertools
import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affectd.audio.source import stream_blocks, wav_blocks
from affectd.errors import AffectdError, ConfigError, DataError, NoInputError
from pipe import Pipe

DEMO = Path(__file__).parents[2] / "data" / "demo.wav"


def heard(content: bytes, rate: int = 16000, channel: int | str = "mix") -> np.ndarray:
    blocks = list(stream_blocks(io.BufferedReader(Pipe([content])), rate, channel))
    return np.concatenate([np.zeros(0, np.float32), *blocks])


def header(n_bytes: int, rate: int = 16000, n_channels: int = 1, name: bytes = b"RIFF") -> bytes:
    """The 44 bytes that recorders write."""
    fmt = struct.pack("<HHIIHH", 1, n_channels, rate, rate * n_channels * 2, n_channels * 2, 16)
    return (
        name
        + struct.pack("<I", (n_bytes + 36) % 2**32)
        + b"WAVEfmt \x10\0\0\0"
        + fmt
        + b"data"
        + n_bytes.to_bytes(4, "little")
    )


PCM = np.random.default_rng(0).integers(-(2**15), 2**15, 20_001).astype("<i2")


@settings(max_examples=60)
@given(
    rate=st.sampled_from([8000, 16000, 44100]),
    n_channels=st.integers(1, 3),
    cuts=st.lists(st.integers(0, 20_000), max_size=6),
)
def test_a_wav_file_gives_the_same_samples_through_a_pipe_however_it_was_cut(
    tmp_path_factory: pytest.TempPathFactory, rate: int, n_channels: int, cuts: list[int]
) -> None:
    data = PCM[: 9000 * n_channels].tobytes()
    content = header(len(data), rate, n_channels) + data
    path = tmp_path_factory.getbasetemp() / "a.wav"
    path.write_bytes(content)
    edges = [0, *sorted(cut for cut in cuts if cut < len(content)), len(content)]
    pipe = Pipe([content[a:b] for a, b in itertools.pairwise(edges)])
    blocks = list(stream_blocks(io.BufferedReader(pipe), 16000))
    np.testing.assert_array_equal(np.concatenate(blocks), np.concatenate(list(wav_blocks(path, 16000))))


@pytest.mark.parametrize("n_bytes", [0, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFF - 36, 0x7FFFF000])
def test_a_recorder_that_does_not_know_how_long_it_will_record_is_heard_to_the_end(n_bytes: int) -> None:
    """These are the sizes that GStreamer, arecord, ffmpeg, others and sox write into a pipe."""
    np.testing.assert_array_equal(heard(header(n_bytes) + PCM.tobytes()) * 2**15, PCM)


@pytest.mark.parametrize("first", [b"LIST\4\0\0\0", b"LIST\xff\xff\xff\x7f", b"LISTLIST", b"dataLIST"])
def test_samples_that_look_like_the_beginning_of_a_chunk_are_heard(first: bytes) -> None:
    sound = first + PCM.tobytes()
    np.testing.assert_array_equal(heard(header(0) + sound) * 2**15, np.frombuffer(sound, "<i2"))


def test_rf64_comes_through_a_pipe() -> None:
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, 0, len(PCM) * 2, len(PCM), 0)
    content = header(0xFFFFFFFF, name=b"RF64")
    content = content[:12] + ds64 + content[12:] + PCM.tobytes() + b"LIST\4\0\0\0abcd"
    np.testing.assert_array_equal(heard(content) * 2**15, PCM)


def test_chunks_behind_the_samples_are_no_sound() -> None:
    content = header(len(PCM) * 2) + PCM.tobytes()
    for after in (b"", b"LIST\4\0\0\0abcd", b"LIST\3\0\0\0abc\0id3 \0\0\0\0", b"LIST\4\0\0\0ab"):
        np.testing.assert_array_equal(heard(content + after) * 2**15, PCM)


def test_a_size_that_wrapped_does_not_end_the_sound(caplog: pytest.LogCaptureFixture) -> None:
    """As `cat` of a file of more than 4 GB gives it."""
    pcm = np.maximum(PCM, 2**14)
    pcm[1000:1004] = 0
    np.testing.assert_array_equal(heard(header(2000) + pcm.tobytes()) * 2**15, pcm)
    pcm[1000:1002] = np.frombuffer(b"~$7~", "<i2")  # loud, and printable
    np.testing.assert_array_equal(heard(header(2000) + pcm.tobytes()) * 2**15, pcm)
    assert ["more samples than its header says" in message for message in caplog.messages] == [True] * 2


@pytest.mark.parametrize("tail", [b"", b"LIST\4\0\0\0abcd"], ids=["at the end", "a chunk behind"])
def test_what_ends_in_the_middle_of_a_sample_is_heard_to_the_last_whole_one(
    tail: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    stereo = PCM[:2000].tobytes() + b"\1\2"
    assert len(heard(header(len(stereo), n_channels=2) + stereo + tail)) == 1000
    assert caplog.messages == ["Standard input ends in the middle of a sample: it is read to the last whole one"]


@pytest.mark.parametrize("n_bytes", [6000, 6001, 6003, 6004])
def test_samples_stay_whole_where_a_size_ends_in_the_middle_of_one(n_bytes: int) -> None:
    """What is left of a size of more than 4 GB, of samples of 3 or 6 bytes."""
    left = PCM[:4000].astype("<i4") << 8
    stereo = np.stack([left, np.zeros_like(left)], axis=1).astype("<i4")
    fmt = struct.pack("<HHIIHH", 1, 2, 16000, 96000, 6, 24)
    content = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + fmt + b"data" + n_bytes.to_bytes(4, "little")
    content += stereo.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    np.testing.assert_array_equal(heard(content, channel=0) * 2**15, PCM[:4000])


def test_a_chunk_behind_an_odd_number_of_bytes_is_no_sound_with_or_without_padding() -> None:
    fmt = struct.pack("<HHIIHH", 1, 1, 16000, 16000, 1, 8)
    content = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + fmt + b"data\xe9\3\0\0" + b"\x90" * 1001
    for after in (b"", b"\0", b"LIST\4\0\0\0abcd", b"\0LIST\3\0\0\0abcid3 \0\0\0\0"):
        np.testing.assert_array_equal(heard(content + after), np.full(1001, 1 / 8, np.float32))


def test_a_second_chunk_of_samples_is_heard_too() -> None:
    one = header(2000) + PCM[:1000].tobytes() + b"LIST\4\0\0\0abcd"
    two = one + b"data\xd0\7\0\0" + PCM[1000:2000].tobytes() + b"LIST\4\0\0\0abcd"
    np.testing.assert_array_equal(heard(two) * 2**15, PCM[:2000])


@pytest.mark.parametrize("n_missing", [1, 2, 8, 36, 44])
def test_a_size_that_counts_the_header_is_no_damage(n_missing: int) -> None:
    np.testing.assert_array_equal(heard(header(2000 + n_missing) + PCM[:1000].tobytes()) * 2**15, PCM[:1000])


def test_a_recorder_in_a_loop_is_heard_on() -> None:
    one = header(2000) + PCM[:1000].tobytes() + b"LIST\4\0\0\0abcd"
    np.testing.assert_array_equal(heard(one * 3) * 2**15, np.tile(PCM[:1000], 3))
    with pytest.raises(DataError, match="another WAV file, of another rate"):
        heard(one + header(2000, rate=8000) + bytes(2000))


def test_the_samples_of_a_wav_file_are_heard_at_once() -> None:
    pipe = Pipe([header(0xFFFFFFFF), PCM[:50].tobytes(), PCM[50:90].tobytes()])
    blocks = stream_blocks(io.BufferedReader(pipe), 16000)
    assert len(next(blocks)) == 50
    assert pipe.n_reads == 2
    assert len(next(blocks)) == 40


@pytest.mark.parametrize(
    "first", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\1\0\2\0", b"\xff\xfb\1\0", b"\x52\x49\x46\x46\0\0"]
)
def test_raw_samples_are_heard_as_soon_as_they_cannot_be_anything_else(first: bytes) -> None:
    data = first + b"\1\0" * 20
    pipe = Pipe([data[:2], data[2:24], data[24:], bytes(100)])
    next(stream_blocks(io.BufferedReader(pipe), 16000))
    assert pipe.n_reads <= 2


@settings(max_examples=300)
@given(data=st.binary(min_size=0, max_size=200).map(lambda data: data[: len(data) // 2 * 2]))
def test_raw_samples_pass_unchanged(data: bytes) -> None:
    if data:
        np.testing.assert_array_equal(heard(b"\0\0" + data)[1:] * 2**15, np.frombuffer(data, "<i2"))


def test_a_raw_sound_that_begins_like_something_else_is_raw() -> None:
    for first in (b"\xff\xfb\x90\x64", b"\x47\x40", b"\xd8\1", b"\xff\xfe", b"\xfe\xff", b"II", b"\x0b\x77"):
        data = first + PCM.tobytes()
        np.testing.assert_array_equal(heard(data) * 2**15, np.frombuffer(data, "<i2"))


@pytest.mark.parametrize(
    ("format", "subtype", "name"),
    [
        ("FLAC", "PCM_16", "a FLAC file"),
        ("OGG", "VORBIS", "an Ogg file"),
        ("OGG", "OPUS", "an Ogg file"),
        ("MP3", "MPEG_LAYER_III", "an MP3 file"),
        ("AIFF", "PCM_16", "an AIFF file"),
        ("AU", "PCM_16", "an AU file"),
        ("CAF", "PCM_16", "a CAF file"),
        ("W64", "PCM_16", "a Wave64 file"),
        ("VOC", "PCM_16", "a VOC file"),
        ("NIST", "PCM_16", "a NIST Sphere file"),
        ("PVF", "PCM_16", "a PVF file"),
        ("IRCAM", "PCM_16", "an IRCAM file"),
    ],
)
def test_other_files_of_sound_are_refused_by_name(tmp_path: Path, format: str, subtype: str, name: str) -> None:
    soundfile = pytest.importorskip("soundfile", reason="libsndfile writes the files")
    path = tmp_path / "sound"
    soundfile.write(path, np.sin(np.arange(48000) / 10) / 2, 16000, subtype, format=format)
    content = path.read_bytes()
    with pytest.raises(
        DataError, match=f"^Standard input is {name}; convert it first: ffmpeg .* -i FILE .* affectd run"
    ):
        heard(content)
    with pytest.raises(DataError, match=f"sound is {name}; convert it first: ffmpeg -i .*sound"):
        wav_blocks(path, 16000)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\0\0\0\x20ftypM4A " + bytes(50), "an MP4 or M4A file; convert"),
        (b"\x1a\x45\xdf\xa3" + bytes(50), "a WebM or Matroska file; convert"),
        (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), "a WMA file; convert"),
        (b"ID3\4\0\0\0\0\0\0" + bytes(50), "an MP3 file; convert"),
        (b"RIFF\0\1\0\0AVI LIST" + bytes(50), "an AVI file, not a WAV file; convert"),
        (b"RIFX\0\1\0\0WAVEfmt " + bytes(50), "a RIFX file"),
        (b"PK\3\4" + bytes(50), "a ZIP archive, not sound"),
        (b"\x1f\x8b\x08" + bytes(50), "a gzip file, not sound"),
        ("Ob ich wohl heute noch fröhlich oder traurig bin? Das weiß ich selbst nicht.\n".encode(), "text, not sound"),
        (b'{"schema": 1, "id": "24613a18-1249-46e4-ae86-27d6a0785910", "type": "emotion"}\n', "text, not sound"),
        (b"hello\n", "text, not sound"),
        (b"\xef\xbb\xbf" + b"name;age\r\n" * 9, "text, not sound"),
        ("Ob ich wohl heute noch fröhlich oder traurig bin?\n".encode("utf-16"), "text, not sound"),
        ("Ob ich wohl heute noch fröhlich oder traurig bin? Das weiß ich selbst nicht.\n".encode("cp1252"), "text"),
        (
            b"\x1b[01;34mbin\x1b[0m  \x1b[01;34mboot\x1b[0m  \x1b[01;34mdev\x1b[0m  \x1b[01;34metc\x1b[0m  lib\n" * 2,
            "text",
        ),
        (b"RIFF\0\1\0\0WEBPVP8 " + bytes(50), "a WebP picture, not sound"),
        (b"GIF89a\x40\1" + bytes(50), "a GIF picture, not sound"),
        (b"BM6\x84\3\0\0\0\0\0\x36\0" + bytes(50), "a BMP picture, not sound"),
        (b"II*\0" + bytes(50), "a TIFF picture, not sound"),
        (b"\x1c\0\0\0TFL3" + bytes(50), "a TFLite network, not sound"),
        (b"SQLite format 3\0" + bytes(50), "an SQLite database, not sound"),
        (b".SoX\x1c\0\0\0" + bytes(50), "a SoX file; convert"),
        (b"\2#!SILK_V3" + bytes(50), "a SILK file; convert"),
        ((b"\x47\x40\x11\x10" + bytes(184)) * 6, "an MPEG transport stream; convert"),
        ((b"\xd8" + PCM[:16].tobytes()) * 12, "a GSM file; convert"),
    ],
)
def test_what_is_no_pcm_is_refused_by_name(content: bytes, name: str) -> None:
    with pytest.raises(DataError, match=f"^Standard input is {name}"):
        heard(content)


@pytest.mark.parametrize(
    ("content", "error", "sentence"),
    [
        (b"", NoInputError, "ended before its first sample"),
        (header(100)[:4], DataError, "cut off within its first 12 bytes"),
        (header(100)[:11], DataError, "cut off within its first 12 bytes"),
        (header(100)[:30], DataError, "fmt chunk of 10 bytes"),
        (header(100)[:40], DataError, "no data chunk"),
        (header(0), DataError, "holds no samples"),
        (header(0) + b"LIST\4\0\0\0abcd", DataError, "holds no samples"),
        (header(0) + b"LIST\3\0\0\0abc\0id3 \1\0\0\0a", DataError, "holds no samples"),
        (header(100) + bytes(60), DataError, "ended 40 bytes before the 100"),
        (header(100, rate=4000) + bytes(100), DataError, "4000 Hz"),
        (
            header(100).replace(b"\1\0\1\0", b"\2\0\1\0") + bytes(100),
            DataError,
            "Microsoft ADPCM; convert it first: ffmpeg",
        ),
    ],
)
def test_a_damaged_stream_is_a_sentence(content: bytes, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence) as caught:
        heard(content)
    assert str(caught.value).startswith("Standard input")


def test_the_channel_is_chosen_and_has_to_be_there() -> None:
    stereo = np.stack([PCM[:9000], -(PCM[:9000] // 2)], axis=1)
    content = header(stereo.nbytes, n_channels=2) + stereo.tobytes()
    for channel in (0, 1):
        np.testing.assert_array_equal(heard(content, channel=channel) * 2**15, stereo[:, channel])
    with pytest.raises(ConfigError, match=r"Standard input has the channels 0 to 1, but \[audio\] channel is 2"):
        heard(content, channel=2)
    np.testing.assert_array_equal(heard(PCM.tobytes(), channel=0) * 2**15, PCM)
    with pytest.raises(ConfigError, match="Standard input has one channel"):
        heard(PCM.tobytes(), channel=1)


@settings(max_examples=300)
@given(
    changes=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=6),
    cut=st.none() | st.integers(0, 400),
    behind=st.binary(max_size=30),
)
def test_a_mutated_stream_gives_valid_blocks_or_a_sentence(
    changes: list[tuple[int, int]], cut: int | None, behind: bytes
) -> None:
    content = bytearray(header(320) + PCM[:160].tobytes() + behind)
    for position, value in changes:
        content[position] = value
    sentence, samples = "", np.zeros(0)
    try:
        samples = heard(bytes(content[:cut]))
    except AffectdError as error:
        sentence = str(error)
    assert "\n" not in sentence
    assert np.isfinite(samples).all()


def affectd(*arguments: str, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    path = os.pathsep.join(filter(None, sys.path))
    with tempfile.TemporaryDirectory() as state:  # nothing is known of the place, whatever was heard before
        return subprocess.run(
            [sys.executable, "-m", "affectd", *arguments],
            input=stdin,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": path, "STATE_DIRECTORY": state, **environment},
            timeout=120,
            check=False,
        )


def events(result: subprocess.CompletedProcess[bytes]) -> list[tuple[object, ...]]:
    lines = map(json.loads, result.stdout.splitlines())
    return [(e["phase"], e["label"], e["probabilities"], e["start_seconds"], e["end_seconds"]) for e in lines]


def test_the_program_says_the_same_of_a_wav_file_and_of_its_bytes() -> None:
    by_name = affectd("run", "--source", str(DEMO))
    by_bytes = affectd("run", "--source", "-", stdin=DEMO.read_bytes())
    assert (by_bytes.returncode, by_bytes.stderr) == (0, b"")
    assert events(by_bytes) == events(by_name) != []


def test_the_program_refuses_other_bytes_with_65() -> None:
    result = affectd("run", "--source", "-", stdin=b"fLaC" + bytes(1000))
    assert (result.returncode, result.stdout) == (65, b"")
    assert result.stderr.startswith(b"affectd: Standard input is a FLAC file; convert it first: ffmpeg ")
    assert result.stderr.count(b"\n") == 1


def antiphase(path: Path) -> Path:
    samples = np.concatenate(list(wav_blocks(DEMO, 16000))) * 2**15
    stereo = np.stack([samples, -samples], axis=1).astype("<i2")
    path.write_bytes(header(stereo.nbytes, n_channels=2) + stereo.tobytes())
    return path


def test_the_channel_of_the_settings_is_that_of_files_and_standard_input(tmp_path: Path) -> None:
    path = antiphase(tmp_path / "stereo.wav")
    mixed = affectd("classify", str(path))
    assert json.loads(mixed.stdout)["label"] is None
    assert b"channels that cancel each other out; choose one with [audio] channel" in mixed.stderr
    usual = json.loads(affectd("classify", str(DEMO)).stdout)
    chosen = json.loads(affectd("classify", str(path), AFFECTD_AUDIO_CHANNEL="0").stdout)
    assert {**chosen, "path": ""} == {**usual, "path": ""}
    expected = events(affectd("run", "--source", str(DEMO)))
    assert events(affectd("run", "--source", str(path), AFFECTD_AUDIO_CHANNEL="0")) == expected
    assert events(affectd("run", "--source", "-", stdin=path.read_bytes(), AFFECTD_AUDIO_CHANNEL="0")) == expected
    absent = affectd("classify", str(path), AFFECTD_AUDIO_CHANNEL="2")
    assert (absent.returncode, absent.stdout) == (78, b"")
    assert b"has the channels 0 to 1, but [audio] channel is 2" in absent.stderr


def test_the_pages_let_arecord_send_raw_pcm() -> None:
    """Without -t it sends WAV, whose size ends after 18 hours."""
    repository = Path(__file__).parents[3]
    pages = [repository / "README.md", *(repository / "docs").glob("*.md")]
    lines = [
        line for page in pages for line in page.read_text().splitlines() if "arecord" in line and "affectd" in line
    ]
    assert lines
    assert all("-t raw -f S16_LE -r 16000 -c 1 |" in line for line in lines)

"""Every kind of WAV file is read exactly; every kind of damage is a sentence."""

from __future__ import annotations

import os
import shlex
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affectd.audio.wav import WavReader
from affectd.errors import AffectdError, DataError, NoInputError

PCM, FLOAT = 1, 3
GUID_TAIL = "000000001000800000aa00389b71"


def chunk(name: bytes, data: bytes, size: int | None = None) -> bytes:
    return name + struct.pack("<I", len(data) if size is None else size) + data + b"\0" * (len(data) % 2)


def fmt(encoding: int = PCM, n_channels: int = 1, rate: int = 16000, bits: int = 16, align: int = -1) -> bytes:
    align = n_channels * bits // 8 if align < 0 else align
    return chunk(b"fmt ", struct.pack("<HHIIHH", encoding, n_channels, rate, rate * align, align, bits))


def ds64(n_bytes: int) -> bytes:
    return chunk(b"ds64", struct.pack("<QQQI", 0, n_bytes, n_bytes // 2, 0))


def extensible(bits: int, valid_bits: int, n_channels: int = 1, encoding: int = PCM, tail: str = GUID_TAIL) -> bytes:
    align = n_channels * bits // 8
    header = struct.pack("<HHIIHHHHI", 0xFFFE, n_channels, 16000, 16000 * align, align, bits, 22, valid_bits, 0)
    return chunk(b"fmt ", header + struct.pack("<H", encoding) + bytes.fromhex(tail))


def wav(*chunks: bytes) -> bytes:
    return chunk(b"RIFF", b"WAVE" + b"".join(chunks))


def read(path: Path) -> np.ndarray:
    return np.concatenate(list(WavReader(path)))


def write(folder: Path, content: bytes) -> Path:
    path = folder / "recording.wav"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("container", ["WAV", "WAVEX"])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize(("n_channels", "rate"), [(1, 8000), (2, 44100), (7, 192000)])
def test_agrees_with_libsndfile(tmp_path: Path, container: str, subtype: str, n_channels: int, rate: int) -> None:
    soundfile = pytest.importorskip("soundfile", reason="libsndfile is the reference")
    samples = np.random.default_rng(0).uniform(-1, 1, (9001, n_channels))
    samples[:2] = [[-1.0], [1.0 if subtype in ("FLOAT", "DOUBLE") else 1 - 2**-31]]
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, rate, subtype, format=container)
    expected, _ = soundfile.read(path, always_2d=True)
    reader = WavReader(path)
    bits = {"PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "FLOAT": 32, "DOUBLE": 64}[subtype]
    assert (reader.sample_rate, reader.n_channels, reader.n_samples) == (rate, n_channels, 9001)
    assert reader.bits == bits
    blocks = list(reader)
    assert {block.dtype for block in blocks} == {np.dtype(np.float32)}
    np.testing.assert_allclose(np.concatenate(blocks), expected, rtol=0, atol=2**-23)
    # As good as what is stored: nothing but 32-bit integers and doubles has more than float32 holds.
    if subtype not in ("PCM_32", "DOUBLE"):
        np.testing.assert_array_equal(np.concatenate(blocks), expected)


@pytest.mark.parametrize(
    ("bits", "lowest", "highest"),
    [
        (8, b"\x00", b"\xff"),
        (16, b"\x00\x80", b"\xff\x7f"),
        (24, b"\x00\x00\x80", b"\xff\xff\x7f"),
        (32, b"\x00\x00\x00\x80", b"\xff\xff\xff\x7f"),
    ],
)
def test_integer_full_scale_is_minus_one_and_just_below_one(
    tmp_path: Path, bits: int, lowest: bytes, highest: bytes
) -> None:
    values = read(write(tmp_path, wav(fmt(bits=bits), chunk(b"data", lowest + highest)))).ravel()
    assert values[0] == -1
    assert values[1] == 1 - 2.0 ** (1 - min(bits, 24))


def test_floats_beyond_full_scale_are_clipped(tmp_path: Path) -> None:
    data = np.array([-7.0, 1e300, 0.5], "<f8").tobytes()
    values = read(write(tmp_path, wav(fmt(FLOAT, bits=64), chunk(b"data", data))))
    assert values.ravel().tolist() == [-1.0, 1.0, 0.5]


def test_unknown_chunks_before_and_after_the_samples_are_skipped(tmp_path: Path) -> None:
    data = np.arange(5, dtype="<i2")
    before = chunk(b"LIST", b"odd") + fmt() + chunk(b"junk", b"")
    after = chunk(b"id3 ", b"x")
    values = read(write(tmp_path, wav(before, chunk(b"data", data.tobytes()), after)))
    np.testing.assert_array_equal(values.ravel() * 2**15, data)


def test_can_be_iterated_twice_and_in_blocks_of_bounded_size(tmp_path: Path) -> None:
    n_channels = 20_000
    data = np.zeros((100, n_channels), "<i2")
    reader = WavReader(write(tmp_path, wav(fmt(n_channels=n_channels), chunk(b"data", data.tobytes()))))
    assert [len(block) for block in reader] == [len(block) for block in reader]
    assert max(block.nbytes for block in reader) < 1_000_000
    assert sum(len(block) for block in reader) == 100


GOOD = wav(fmt(), chunk(b"data", bytes(3200)))
BROKEN = {
    "empty": (b"", "is empty"),
    "three bytes": (b"RIF", "cut off within its first 12 bytes"),
    "text": (b"It was a dark and stormy night.", "is text, not sound"),
    "page of the web": (b"<!DOCTYPE html>\n<title>404</title>" + "é".encode() * 5000, "is text, not sound"),
    "raw PCM": (np.random.default_rng(0).bytes(9000), "raw PCM of 16 bits with -f s16le -ar 16000 before -i: ffmpeg"),
    "short text": (b"hi", "not a WAV file"),
    "zeros before the samples": (wav(fmt(), bytes(9000)), "more than 1000 chunks before its samples"),
    "another RIFF": (chunk(b"RIFF", b"AVI " + bytes(40)), "not a WAV file"),
    "header cut in fmt": (GOOD[:30], "fmt chunk of 10 bytes"),
    "header cut after fmt": (GOOD[:36], "no data chunk"),
    "header cut in data": (GOOD[:42], "no data chunk"),
    "two fmt chunks": (wav(fmt(rate=8000), fmt(), chunk(b"data", bytes(8))), "two fmt chunks"),
    "data before fmt": (wav(chunk(b"data", bytes(8)), fmt()), "no fmt chunk.*: ffmpeg -i "),
    "zero length": (wav(fmt(), chunk(b"data", b"")), "too short for one."),
    "zero length and another chunk": (wav(fmt(), chunk(b"data", b""), chunk(b"LIST", bytes(64))), "too short for one."),
    "half of the only sample": (wav(fmt(), chunk(b"data", b"a")), "holds no samples: its data chunk is too short"),
    "cut copy": (GOOD[:-1600], r"promises 3200 bytes of samples but holds 1600 \(0\.05 s\).*: ffmpeg -i"),
    "size of 2 GB": (wav(fmt(), chunk(b"data", bytes(320), 2_000_000_000)), "promises 2000000000 .* holds 320"),
    "cut copy of RF64": (
        b"RF64\xff\xff\xff\xffWAVE" + ds64(3200) + fmt() + chunk(b"data", bytes(320), 0xFFFFFFFF),
        "holds 320",
    ),
    "RF64 cut in its header": (b"RF64\xff\xff\xff\xffWAVE" + bytes(50), "no data chunk"),
    "mu-law in 16 bits": (wav(fmt(7, bits=16), chunk(b"data", bytes(8))), "block alignment of 2"),
    "ADPCM": (wav(fmt(2, bits=4), chunk(b"data", bytes(8))), "Microsoft ADPCM"),
    "unheard of": (wav(fmt(0x1234), chunk(b"data", bytes(8))), "encoding 0x1234"),
    "12 bits": (wav(fmt(bits=12), chunk(b"data", bytes(8))), "12-bit PCM"),
    "16-bit float": (wav(fmt(FLOAT, bits=16), chunk(b"data", bytes(8))), "16-bit float"),
    "no channel": (wav(fmt(n_channels=0), chunk(b"data", bytes(8))), "no channel"),
    "block alignment": (wav(fmt(align=3), chunk(b"data", bytes(6))), "block alignment"),
    "rate too low": (wav(fmt(rate=7999), chunk(b"data", bytes(8))), "7999 Hz"),
    "rate too high": (wav(fmt(rate=192_001), chunk(b"data", bytes(8))), "192001 Hz"),
    "short extensible header": (wav(fmt(0xFFFE), chunk(b"data", bytes(8))), "extensible header"),
    "FLAC": (b"fLaC" + bytes(50), "FLAC file; convert it first: ffmpeg"),
    "Ogg": (b"OggS" + bytes(50), "Ogg file; convert"),
    "MP3 with a tag": (b"ID3\x04" + bytes(50), "MP3 file; convert"),
    "MP3": (b"\xff\xfb\x90\x64" + bytes(50), "MP3 file; convert"),
    "M4A": (b"\0\0\0\x20ftypM4A " + bytes(50), "M4A file; convert"),
    "CAF": (b"caff\0\1\0\0" + bytes(50), "CAF file; convert it first: ffmpeg"),
    "AU": (b".snd" + bytes(50), "AU file; convert it first: ffmpeg"),
    "AIFF": (b"FORM\0\0\0\x32AIFF" + bytes(50), "AIFF file; convert it first: ffmpeg"),
    "WebM": (b"\x1a\x45\xdf\xa3" + bytes(50), "WebM or Matroska file; convert it first: ffmpeg"),
    "WMA": (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), "WMA file; convert it first: ffmpeg"),
    "AAC": (b"\xff\xf1\x50\x80\x02\x1f\xfc" + bytes(50), "AAC file; convert it first: ffmpeg"),
    "Wave64": (b"riff\x2e\x91\xcf\x11" + bytes(50), "Wave64 file; convert it first: ffmpeg"),
    "ZIP": (b"PK\x03\x04" + bytes(50), "ZIP archive, not sound"),
    "RIFX": (b"RIFX\0\0\0\x20WAVE" + bytes(50), "RIFX file.*convert it first: sox "),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_damage_is_one_sentence_that_names_the_file(tmp_path: Path, kind: str) -> None:
    content, sentence = BROKEN[kind]
    with pytest.raises(DataError, match=sentence) as caught:
        WavReader(write(tmp_path, content))
    assert str(caught.value).startswith(str(tmp_path / "recording.wav"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", [6, 7])
@pytest.mark.parametrize("n_channels", [1, 2])
@pytest.mark.parametrize("form", ["plain", "16 bits", "extensible"])
def test_a_law_and_mu_law_are_read_as_soundfile_does(tmp_path: Path, encoding: int, n_channels: int, form: str) -> None:
    soundfile = pytest.importorskip("soundfile")
    data = bytes(range(256)) * 40  # every code
    header = fmt(encoding, n_channels, bits=16 if form == "16 bits" else 8, align=n_channels)
    if form == "extensible":
        guid = struct.pack("<H", encoding) + bytes.fromhex(GUID_TAIL)
        sizes = (16000, 16000 * n_channels, n_channels, 8, 22, 8, 0)
        header = chunk(b"fmt ", struct.pack("<HHIIHHHHI", 0xFFFE, n_channels, *sizes) + guid)
    path = write(tmp_path, wav(header, chunk(b"data", data)))
    expected, _ = soundfile.read(path, dtype="float32", always_2d=True)
    reader = WavReader(path)
    assert (reader.n_channels, reader.n_samples, reader.bits) == (n_channels, len(data) // n_channels, 8)
    np.testing.assert_array_equal(np.concatenate(list(reader)), expected)


@pytest.mark.parametrize("subtype", ["ALAW", "ULAW"])
def test_a_law_and_mu_law_that_soundfile_writes_are_read(tmp_path: Path, subtype: str) -> None:
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / "a.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, 5001), 8000, subtype)
    expected, _ = soundfile.read(path, dtype="float32", always_2d=True)
    np.testing.assert_array_equal(np.concatenate(list(WavReader(path))), expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("bits", [32, 64])
def test_a_float_that_is_not_a_number_is_found_at_its_time(tmp_path: Path, value: float, bits: int) -> None:
    samples = np.zeros((20_000, 2), f"<f{bits // 8}")
    samples[12_000, 1] = value
    path = write(tmp_path, wav(fmt(FLOAT, 2, bits=bits), chunk(b"data", samples.tobytes())))
    reader = WavReader(path)
    with pytest.raises(DataError, match=r"not a finite number at 0\.7500 s; .*: ffmpeg -i "):
        list(reader)


def test_a_missing_file_a_directory_a_pipe_and_impossible_names_are_no_input(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for name, sentence in [
        ("missing.wav", "does not exist"),
        ("", "is a directory"),
        ("pipe", "not a regular file"),
        ("loop", "cannot be read"),
        ("a\0b", "not a possible file name"),
        ("x" * 300, "cannot be read"),
    ]:
        with pytest.raises(NoInputError, match=sentence):
            WavReader(tmp_path / name)


def test_a_file_without_permission_is_no_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, GOOD)
    path.chmod(0)
    if os.access(path, os.R_OK):  # root may read everything: let the system call say what others hear

        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(NoInputError, match="may not be read by this user"):
        WavReader(path)


def test_a_file_that_shrinks_while_it_is_read_is_damaged(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    reader = WavReader(path)
    os.truncate(path, 100)
    with pytest.raises(DataError, match="became shorter"):
        list(reader)


EXTENSIBLE = wav(
    chunk(b"LIST", b"INFOabc"),
    chunk(
        b"fmt ",
        struct.pack("<HHIIHHHHI", 0xFFFE, 2, 48000, 384000, 8, 32, 22, 32, 3)
        + struct.pack("<H", FLOAT)
        + bytes.fromhex(GUID_TAIL),
    ),
    chunk(b"data", np.linspace(-1, 1, 400, dtype="<f4").tobytes()),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    original=st.sampled_from([GOOD, EXTENSIBLE]),
    changes=st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=6),
    cut=st.none() | st.integers(0, 200),
)
def test_a_mutated_header_gives_valid_blocks_or_a_sentence(
    tmp_path: Path, original: bytes, changes: list[tuple[int, int]], cut: int | None
) -> None:
    content = bytearray(original)
    for position, value in changes:
        content[position] = value
    path = write(tmp_path, bytes(content[:cut]))
    try:
        reader = WavReader(path)
        blocks = list(reader)
    except AffectdError:
        return
    assert sum(map(len, blocks)) == reader.n_samples > 0
    for block in blocks:
        assert block.dtype == np.float32
        assert block.shape[1] == reader.n_channels
        assert (np.abs(block) <= 1).all()


VALUES = np.array([[1 << 23, -(1 << 23)], [(1 << 30) + (1 << 12), 0], [-(1 << 31), (1 << 31) - (1 << 12)]], "<i4")
"""Samples of two channels in the highest bits of 32."""
PADDED = {
    "24 in 32": fmt(bits=24, n_channels=2, align=8),
    "20 in 32": fmt(bits=20, n_channels=2, align=8),
    "16 in 32": fmt(bits=16, n_channels=2, align=8),
    "28 in 32": fmt(bits=28, n_channels=2, align=8),
    "24 in 32, extensible": extensible(32, 24, 2),
    "24 in 32, extensible, with the bits of the sample": chunk(
        b"fmt ", extensible(32, 24, 2)[8:22] + b"\x18\0" + extensible(32, 24, 2)[24:]
    ),
}


@pytest.mark.parametrize("kind", PADDED)
def test_fewer_valid_bits_than_32_are_the_highest_ones(tmp_path: Path, kind: str) -> None:
    values = read(write(tmp_path, wav(PADDED[kind], chunk(b"data", VALUES.tobytes()))))
    np.testing.assert_array_equal(values, (VALUES >> 8) / 2**23)


@pytest.mark.parametrize("bits", [16, 20, 24])
def test_or_the_lowest_ones_if_no_sample_needs_more_as_arecord_writes_s24_le(tmp_path: Path, bits: int) -> None:
    """A quiet beginning of 40 s does not decide it, the loudest sample does."""
    quiet = np.full((640_000, 1), 3, "<i4")
    low = np.concatenate([quiet, [[(1 << (bits - 1)) - 1], [-(1 << (bits - 1))]]]).astype("<i4")
    header = fmt(bits=bits, align=4)
    values = read(write(tmp_path, wav(header, chunk(b"data", low.tobytes()))))
    np.testing.assert_array_equal(values, low / 2 ** (bits - 1))
    high = np.concatenate([quiet, [[1 << (bits - 1)]]]).astype("<i4")
    values = read(write(tmp_path, wav(header, chunk(b"data", high.tobytes()))))
    np.testing.assert_array_equal(values, (high >> 8) / 2**23)


@pytest.mark.parametrize(
    ("header", "bits"),
    [
        (fmt(bits=12, align=2), 16),
        (fmt(bits=14, align=2), 16),
        (fmt(bits=20, align=3), 24),
        (fmt(bits=4, align=1), 8),
        (fmt(bits=16, align=0), 16),
        (extensible(16, 12), 16),
        (extensible(24, 20), 24),
        (extensible(16, 0), 16),
        (extensible(16, 16, tail="00002107d3118644c8c1ca000000"), 16),
        (extensible(32, 32, 4, tail="00002107d3118644c8c1ca000000"), 32),
        (fmt()[:4] + struct.pack("<I", 18) + fmt()[8:] + b"\0\0", 16),
        (fmt()[:4] + struct.pack("<I", 40) + fmt()[8:] + bytes(24), 16),
    ],
)
def test_containers_and_headers_that_libsndfile_reads_are_read_alike(tmp_path: Path, header: bytes, bits: int) -> None:
    soundfile = pytest.importorskip("soundfile", reason="libsndfile is the reference")
    data = np.random.default_rng(0).bytes(960)
    path = write(tmp_path, wav(header, chunk(b"data", data)))
    expected, _ = soundfile.read(path, always_2d=True)
    reader = WavReader(path)
    assert reader.bits == bits
    np.testing.assert_allclose(np.concatenate(list(reader)), expected, rtol=0, atol=2**-23)


@pytest.mark.parametrize("extra", [b"", b"\0"], ids=["only in the size", "the padding is counted"])
@pytest.mark.parametrize(("bits", "n_channels"), [(16, 1), (16, 2), (24, 1), (24, 3), (32, 1)])
def test_a_size_of_one_byte_too_much_is_no_damage(tmp_path: Path, bits: int, n_channels: int, extra: bytes) -> None:
    n_bytes = 100 * bits // 8 * n_channels
    header = wav(fmt(bits=bits, n_channels=n_channels)) + b"data" + struct.pack("<I", n_bytes + 1)
    assert read(write(tmp_path, header + bytes(n_bytes) + extra)).shape == (100, n_channels)


@pytest.mark.parametrize("missing", [2, 4, 8, 36, 44])
def test_a_size_that_counts_the_header_or_a_last_sample_too_much_is_no_damage(
    tmp_path: Path, missing: int, caplog: pytest.LogCaptureFixture
) -> None:
    """libsndfile reads these, too."""
    header = wav(fmt(n_channels=2)) + b"data" + struct.pack("<I", 4000 + missing)
    assert read(write(tmp_path, header + bytes(4000))).shape == (1000, 2)
    assert [f"{missing} bytes of samples fewer" in message for message in caplog.messages] == [True]


@pytest.mark.parametrize(("bits", "n_channels", "n_rest"), [(16, 2, 2), (16, 2, 3), (24, 1, 2), (24, 2, 5), (32, 1, 2)])
@pytest.mark.parametrize("tail", [b"", chunk(b"LIST", b"INFO" + bytes(60))], ids=["at the end", "a chunk behind"])
def test_what_ends_in_the_middle_of_a_sample_is_read_to_the_last_whole_one(
    tmp_path: Path, bits: int, n_channels: int, n_rest: int, tail: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """As a recorder that lost its power leaves it."""
    whole = np.random.default_rng(0).bytes(100 * bits // 8 * n_channels)
    head = fmt(bits=bits, n_channels=n_channels)
    expected = read(write(tmp_path, wav(head, chunk(b"data", whole))))
    caplog.clear()
    values = read(write(tmp_path, wav(head, chunk(b"data", whole + b"\7" * n_rest), tail)))
    np.testing.assert_array_equal(values, expected)
    assert ["in the middle of a sample" in message for message in caplog.messages] == [True]


def test_the_size_of_arecord_is_read_to_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It promises 2 GiB, and cannot correct that if its standard output is a file or the power fails."""
    assert len(read(write(tmp_path, wav(fmt(), chunk(b"data", bytes(320), 0x80000000))))) == 160
    assert "does not know its length" in caplog.text


def test_two_fmt_chunks_that_are_equal_are_one(tmp_path: Path) -> None:
    assert len(read(write(tmp_path, wav(fmt(), fmt(), chunk(b"data", bytes(320)))))) == 160


def test_a_second_chunk_of_samples_is_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = chunk(b"data", bytes(16000))
    assert len(read(write(tmp_path, wav(fmt(), data, chunk(b"LIST", b"abc"), data)))) == 8000
    assert "16008 bytes after its samples" in caplog.text


CHUNKS = st.lists(
    st.tuples(st.sampled_from([b"LIST", b"JUNK", b"bext", b"fact", b"cue ", b"PAD "]), st.binary(max_size=9)),
    max_size=3,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    container=st.sampled_from(["WAV", "WAVEX", "RF64"]),
    subtype=st.sampled_from(["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"]),
    n_channels=st.integers(1, 9),
    rate=st.integers(8_000, 192_000),
    n_samples=st.integers(1, 300),
    before=CHUNKS,
    between=CHUNKS,
    after=CHUNKS,
)
def test_what_libsndfile_writes_is_read_with_any_chunks_around(
    tmp_path: Path,
    container: str,
    subtype: str,
    n_channels: int,
    rate: int,
    n_samples: int,
    before: list[tuple[bytes, bytes]],
    between: list[tuple[bytes, bytes]],
    after: list[tuple[bytes, bytes]],
) -> None:
    soundfile = pytest.importorskip("soundfile", reason="libsndfile is the reference")
    samples = np.random.default_rng(n_samples).uniform(-1, 1, (n_samples, n_channels))
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, rate, subtype, format=container)
    expected, _ = soundfile.read(path, always_2d=True)
    content = path.read_bytes()
    parts = [(name, data) for name, data in chunks(content) if name in (b"ds64", b"fmt ", b"fact", b"data")]
    sizes = {name: (0xFFFFFFFF if container == "RF64" and name == b"data" else None) for name, _ in parts}
    written = [chunk(name, data, sizes[name]) for name, data in parts]
    is_first = container == "RF64"  # where ds64 has to be
    head, tail = written[:is_first], written[is_first:]
    around = [b"".join(chunk(*part) for part in extra) for extra in (before, between, after)]
    path.write_bytes(content[:12] + b"".join(head) + around[0] + b"".join(tail[:-1]) + around[1] + tail[-1] + around[2])
    reader = WavReader(path)
    assert (reader.sample_rate, reader.n_channels, reader.n_samples) == (rate, n_channels, n_samples)
    np.testing.assert_allclose(np.concatenate(list(reader)), expected, rtol=0, atol=2**-23)


def chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    found, position = [], 12
    while position + 8 <= len(content):
        name, size = content[position : position + 4], int.from_bytes(content[position + 4 : position + 8], "little")
        if name == b"data":
            size = min(size, len(content) - position - 8)
        found.append((name, content[position + 8 : position + 8 + size]))
        position += 8 + size + size % 2
    return found


def sparse(folder: Path, head: bytes, n_bytes: int, tail: bytes = b"") -> Path:
    """A file of any size that takes no space: `n_bytes` of silence, of which the last sample is 1/2."""
    path = write(folder, head)
    with path.open("r+b") as file:
        file.seek(len(head) + n_bytes - 2)
        file.write(b"\0\x40" + tail)
    return path


LIST = chunk(b"LIST", b"INFO" + bytes(60))
FIVE_GB = 5_000_000_000
LONG = {
    "wrapped": (wav(fmt()) + b"data" + struct.pack("<I", FIVE_GB % 2**32), FIVE_GB, b"", "too long for the size"),
    "wrapped, a chunk behind": (
        *(wav(fmt()) + b"data" + struct.pack("<I", FIVE_GB % 2**32), FIVE_GB),
        *(LIST, "too long for the size"),
    ),
    "wrapped twice": (wav(fmt()) + b"data" + struct.pack("<I", 64000), 2**33 + 64000, b"", "too long for the size"),
    "wrapped to nothing": (wav(fmt()) + b"data" + bytes(4), 2**32, b"", "does not know its length"),
    "ended at the largest size": (
        *(wav(fmt()) + b"data" + struct.pack("<I", 0xFFFFFFFF - 37), FIVE_GB),
        *(b"", "does not know its length"),
    ),
    "ended at 2 GB": (wav(fmt()) + b"data\0\xf0\xff\x7f", FIVE_GB, b"", "does not know its length"),
    "a largest size that is right": (
        *(wav(fmt()) + b"data" + struct.pack("<I", 0xFFFFFFFF - 37), 0xFFFFFFFF - 37),
        *(LIST, ""),
    ),
    "streamed": (wav(fmt()) + b"data\xff\xff\xff\xff", FIVE_GB, b"", "does not know its length"),
    "RF64": (b"RF64\xff\xff\xff\xffWAVE" + ds64(FIVE_GB) + fmt() + b"data\xff\xff\xff\xff", FIVE_GB, LIST, ""),
    "BW64": (b"BW64\xff\xff\xff\xffWAVE" + ds64(FIVE_GB) + fmt() + b"data\xff\xff\xff\xff", FIVE_GB, LIST, ""),
    "RF64, streamed": (
        *(b"RF64\xff\xff\xff\xffWAVE" + ds64(0) + fmt() + b"data\xff\xff\xff\xff", FIVE_GB),
        *(b"", "does not know its length"),
    ),
    "3 GB": (wav(fmt()) + b"data" + struct.pack("<I", 3_000_000_000), 3_000_000_000, LIST, ""),
}


@pytest.mark.parametrize("kind", LONG)
def test_files_of_any_size_are_read_to_the_end_of_their_samples(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    head, n_bytes, tail, note = LONG[kind]
    reader = WavReader(sparse(tmp_path, head, n_bytes, tail))
    assert reader.n_samples == n_bytes // 2
    assert [note in message for message in caplog.messages] == [True] * bool(note)
    with reader.path.open("rb") as file:  # the last piece, without reading 5 GB of zeros
        pieces = reader._pieces(file)
        reader._data_offset += (reader.n_samples - 100) * 2
        reader.n_samples = 100
        assert next(pieces)[-2:] == b"\0\x40"


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0xFFFFFFFF - 36, 0x7FFFF000])
def test_a_recording_whose_size_was_never_filled_in_is_read_to_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    data = np.arange(1, 161, dtype="<i2")
    values = read(write(tmp_path, wav(fmt(), chunk(b"data", data.tobytes() + b"\7", size))))
    np.testing.assert_array_equal(values.ravel()[:160] * 2**15, data)
    assert ["read to its end, 0.01 s" in message for message in caplog.messages] == [True]


def test_sound_behind_the_samples_is_not_dropped_in_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A header that was not updated, and two recordings behind each other."""
    one = wav(fmt(), chunk(b"data", bytes(64000)))
    for content in (one + bytes(100_000), one + one):
        caplog.clear()
        assert len(read(write(tmp_path, content))) == 32000
        assert ["are not read" in message and "ffmpeg -ignore_length 1" in message for message in caplog.messages] == [
            True
        ]
    caplog.clear()
    read(write(tmp_path, one + LIST + b"TAG" + bytes(125)))
    assert caplog.messages == []


def speech_like(n_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, (n_samples, 2))


@pytest.mark.parametrize("full_scale", [2**15, 2**23, 2**31])
@pytest.mark.parametrize("bits", [32, 64])
def test_floats_of_another_full_scale_are_refused_with_the_line_that_mends_them(
    tmp_path: Path, full_scale: int, bits: int
) -> None:
    samples = np.concatenate([np.zeros((50_000, 2)), speech_like(9000) * full_scale]).astype(f"<f{bits // 8}")
    path = write(tmp_path, wav(fmt(FLOAT, 2, bits=bits), chunk(b"data", samples.tobytes())))
    with pytest.raises(DataError, match=f"divide them by {full_scale}: ffmpeg .* -af volume={1 / full_scale:.12g} "):
        list(WavReader(path))


def test_floats_that_are_only_too_loud_are_not_to_be_made_silent(tmp_path: Path) -> None:
    samples = (speech_like(9000) * 20).astype("<f4")
    path = write(tmp_path, wav(fmt(FLOAT, 2, bits=32), chunk(b"data", samples.tobytes())))
    with pytest.raises(DataError, match="divide them by") as raised:
        list(WavReader(path))
    divisor = float(str(raised.value).split("divide them by ")[1].split(": ffmpeg")[0])
    assert 4 < divisor <= np.abs(samples).max() * 1.0001


def test_floats_without_bounds_are_refused_in_a_line_that_can_be_read(tmp_path: Path) -> None:
    samples = (speech_like(9000) * 1e307).astype("<f8")
    path = write(tmp_path, wav(fmt(FLOAT, 2, bits=64), chunk(b"data", samples.tobytes())))
    with pytest.raises(DataError, match=r"divide them by \d[.\d]*e\+30\d: ffmpeg ") as raised:
        list(WavReader(path))
    assert len(str(raised.value).replace(str(path), "")) < 300


def test_single_floats_beyond_full_scale_are_clipped_with_a_note(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    samples = speech_like(90_000).astype("<f4")
    samples[::1000] *= 40
    path = write(tmp_path, wav(fmt(FLOAT, 2, bits=32), chunk(b"data", samples.tobytes())))
    values = read(path)
    np.testing.assert_array_equal(values, np.clip(samples, -1, 1))
    assert ["beyond full scale" in message for message in caplog.messages] == [True]


def test_the_line_that_converts_is_one_that_a_shell_and_ffmpeg_take_for_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("-y.flac", "a:b.flac", "it's $(date).flac"):
        Path(name).write_bytes(b"fLaC" + bytes(50))
        with pytest.raises(DataError) as caught:
            WavReader(name)
        words = shlex.split(str(caught.value).split("convert it first: ")[1])
        assert words[:2] == ["ffmpeg", "-i"]
        assert words[2] in (f"file:{name}", name)
        assert not words[2].startswith("-")
        assert words[-1] == "out.wav", "no mark follows that would be copied with it"


@pytest.mark.skipif(not shutil.which("sox"), reason="sox is not installed")
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT", "ULAW"])
@pytest.mark.parametrize("name", ["a.wav", "-n.wav", "|a.wav"])
def test_the_line_for_a_big_endian_wav_file_gives_its_sound(
    tmp_path: Path, subtype: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ffmpeg 5.1 makes noise of it."""
    soundfile = pytest.importorskip("soundfile")
    monkeypatch.chdir(tmp_path)
    soundfile.write(f"./{name}", speech_like(9000), 16000, subtype, endian="BIG")
    expected, _ = soundfile.read(f"./{name}", dtype="float32")
    with pytest.raises(DataError) as caught:
        WavReader(name)
    subprocess.run(shlex.split(str(caught.value).split("convert it first: ")[1]), check=True)
    np.testing.assert_allclose(read(Path("out.wav")), expected, atol=2**-15)


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
def test_the_line_for_raw_pcm_gives_its_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pcm = (speech_like(9000)[:, 0] * 32767).astype("<i2")
    Path("a.wav").write_bytes(pcm.tobytes())
    with pytest.raises(DataError) as caught:
        WavReader("a.wav")
    said = str(caught.value)
    options = said.split("raw PCM of 16 bits with ")[1].split(" before -i")[0]
    line = said.split("before -i: ")[1].replace("-i ", f"{options} -i ", 1)
    subprocess.run(shlex.split(line), check=True, capture_output=True, stdin=subprocess.DEVNULL)
    np.testing.assert_array_equal(read(Path("out.wav")).ravel() * 2**15, pcm)

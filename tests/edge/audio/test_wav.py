"""Every kind of WAV file is read exactly; every kind of damage is a sentence."""

from __future__ import annotations

import os
import struct
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
    "text": (b"It was a dark and stormy night.", "not a WAV file"),
    "short text": (b"hi", "not a WAV file"),
    "another RIFF": (chunk(b"RIFF", b"AVI " + bytes(40)), "not a WAV file"),
    "header cut in fmt": (GOOD[:30], "fmt chunk of 10 bytes"),
    "header cut after fmt": (GOOD[:36], "no data chunk"),
    "header cut in data": (GOOD[:42], "no data chunk"),
    "data before fmt": (wav(chunk(b"data", bytes(8)), fmt()), "no fmt chunk"),
    "zero length": (wav(fmt(), chunk(b"data", b"")), "length of zero."),
    "zero length of an unfinished file": (wav(fmt(), chunk(b"data", bytes(320), 0)), "320 bytes follow"),
    "cut copy": (GOOD[:-1600], r"promises 3200 bytes of samples but holds 1600 \(0\.05 s\).*: ffmpeg -i"),
    "2 GiB size": (wav(fmt(), chunk(b"data", bytes(320), 0x80000000)), "promises 2147483648 .* holds 320"),
    "streamed": (wav(fmt(), chunk(b"data", bytes(320), 0xFFFFFFFF)), "promises 4294967295 .* holds 320"),
    "half a sample": (wav(fmt(bits=32), chunk(b"data", bytes(6))), "middle of a sample"),
    "mu-law": (wav(fmt(7, bits=8), chunk(b"data", bytes(8))), "mu-law"),
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
    "RF64": (b"RF64\xff\xff\xff\xffWAVE" + bytes(50), "RF64 file.*convert"),
    "RIFX": (b"RIFX\0\0\0\x20WAVE" + bytes(50), "RIFX file.*convert"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_damage_is_one_sentence_that_names_the_file(tmp_path: Path, kind: str) -> None:
    content, sentence = BROKEN[kind]
    with pytest.raises(DataError, match=sentence) as caught:
        WavReader(write(tmp_path, content))
    assert str(caught.value).startswith(str(tmp_path / "recording.wav"))
    assert "\n" not in str(caught.value)


def test_an_extensible_header_of_mu_law_names_it(tmp_path: Path) -> None:
    guid = struct.pack("<H", 7) + bytes.fromhex(GUID_TAIL)
    header = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 16000, 16000, 1, 8, 22, 8, 0) + guid
    with pytest.raises(DataError, match="mu-law"):
        WavReader(write(tmp_path, wav(chunk(b"fmt ", header), chunk(b"data", bytes(8)))))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("bits", [32, 64])
def test_a_float_that_is_not_a_number_is_found_at_its_time(tmp_path: Path, value: float, bits: int) -> None:
    samples = np.zeros((20_000, 2), f"<f{bits // 8}")
    samples[12_000, 1] = value
    path = write(tmp_path, wav(fmt(FLOAT, 2, bits=bits), chunk(b"data", samples.tobytes())))
    reader = WavReader(path)
    with pytest.raises(DataError, match=r"not a finite number at 0\.7500 s"):
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

"""The model file: what is written is read, the same bytes each time, and nothing broken passes."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tracemalloc
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from affectd.errors import ModelFileError
from affectd.features.spec import FeatureSpec
from affectd.recognition.classifier import dequantize, quantize
from affectd.recognition.model_file import find_model, read_model, write_model
from tiny_model import DATA, LABELS, N_FRAMES, draft_model, layered_model, place_model, resealed, voice_model

N_MFCC = FeatureSpec().n_mfcc
# A busy machine is no fault.
unhurried = settings(deadline=None)


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.tflite"
    write_model(path, draft_model())
    return path


@pytest.fixture(scope="session", params=[draft_model, place_model, voice_model, layered_model])
def of_any_format(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "any.tflite"
    write_model(path, request.param())
    return path


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("broken") / "model.tflite"


def assert_refused(path: Path, data: bytes, field: str = "") -> None:
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=rf"^model file {path}: {field}"):
        read_model(path)


def with_spec(source: Path, **changes: Any) -> bytes:
    with zipfile.ZipFile(source) as archive:
        spec = json.loads(archive.read("spec.json"))
    return resealed(source, {"spec.json": json.dumps({**spec, **changes}).encode()})


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def test_what_is_written_is_read(written: Path) -> None:
    model, read = draft_model(), read_model(written)
    for field in dataclasses.fields(model):
        before, after = getattr(model, field.name), getattr(read, field.name)
        if field.name == "golden":
            assert before.keys() == after.keys()
        else:
            np.testing.assert_equal(after, before)
    for before, after in [
        (model.mean, read.mean),
        (model.std, read.std),
        *((model.golden[key], read.golden[key]) for key in model.golden),
    ]:
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(after, before)


def test_the_same_model_gives_the_same_bytes(written: Path, tmp_path: Path) -> None:
    again = draft_model(
        card=dict(reversed(draft_model().card.items())),
        golden={key: np.asfortranarray(array) for key, array in reversed(draft_model().golden.items())},
    )
    write_model(tmp_path / "again", again)
    write_model(tmp_path / "copy", read_model(written))
    assert (tmp_path / "again").read_bytes() == written.read_bytes()
    assert (tmp_path / "copy").read_bytes() == written.read_bytes()


def test_the_bytes_do_not_depend_on_the_clock_or_the_umask(written: Path) -> None:
    with zipfile.ZipFile(written) as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {member.external_attr >> 16 for member in archive.infolist()} == {0o644}


def npz_of(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("samples.npy", content)
    return buffer.getvalue()


def test_rows_before_the_golden_clip_cost_next_to_nothing(written: Path, tmp_path: Path) -> None:
    draft = draft_model()
    padded = np.zeros((1000, draft.spec.n_mfcc), np.float32)
    padded[-N_FRAMES:] = np.random.default_rng(0).normal(size=(N_FRAMES, draft.spec.n_mfcc))
    golden = draft.golden | {"cepstra": padded, "input": padded.astype(np.int8)}
    write_model(tmp_path / "long", draft_model(n_frames=1000, golden=golden))
    np.testing.assert_array_equal(read_model(tmp_path / "long").golden["cepstra"], padded)
    assert (tmp_path / "long").stat().st_size < written.stat().st_size + 4 * N_FRAMES * draft.spec.n_mfcc + 2000


def test_the_file_begins_with_the_network_and_ends_with_a_zip_other_tools_read(written: Path) -> None:
    network = (DATA / "tiny.tflite").read_bytes()
    assert written.read_bytes().startswith(network)
    with zipfile.ZipFile(written) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["spec.json", "labels.txt", "golden.npz", "card.json"]
        assert archive.read("labels.txt").decode().splitlines() == list(LABELS)
        # Offsets count from the first byte of the file, as TFLite's metadata tools expect.
        assert archive.infolist()[0].header_offset == len(network)
    listed = subprocess.run([sys.executable, "-m", "zipfile", "-l", written], capture_output=True, text=True)
    assert listed.returncode == 0
    assert "golden.npz" in listed.stdout


@pytest.mark.skipif(shutil.which("unzip") is None, reason="unzip is not installed")
def test_unzip_finds_nothing_to_complain_about(written: Path) -> None:
    tested = subprocess.run(["unzip", "-t", written], capture_output=True, text=True)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "No errors" in tested.stdout


def test_any_flipped_byte_is_found(of_any_format: Path, scratch: Path) -> None:
    data = bytearray(of_any_format.read_bytes())
    scratch.write_bytes(data)
    with scratch.open("r+b", buffering=0) as file:
        for position, byte in enumerate(data):
            os.pwrite(file.fileno(), bytes([byte ^ (1 + position % 255)]), position)
            with pytest.raises(ModelFileError):
                read_model(scratch)
            os.pwrite(file.fileno(), bytes([byte]), position)
    read_model(scratch)


@unhurried
@given(where=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
def test_any_bits_of_a_byte_count(written: Path, scratch: Path, where: float, bits: int) -> None:
    data = bytearray(written.read_bytes())
    data[int(where * len(data))] ^= bits
    assert_refused(scratch, data)


@unhurried
@given(where=st.floats(0.2, 1, exclude_max=True), new=st.binary(min_size=1, max_size=30))
def test_damage_under_a_digest_that_fits_raises_nothing_else(
    written: Path, scratch: Path, where: float, new: bytes
) -> None:
    content = bytearray(written.read_bytes()[:-64])
    position = int(where * len(content))
    content[position : position + len(new)] = new
    scratch.write_bytes(content + hashlib.sha256(content).hexdigest().encode())
    with contextlib.suppress(ModelFileError):
        read_model(scratch)


@unhurried
@given(length=st.floats(0, 1, exclude_max=True))
@example(length=0)
def test_a_file_cut_short_is_found(of_any_format: Path, scratch: Path, length: float) -> None:
    data = of_any_format.read_bytes()
    assert_refused(scratch, data[: int(length * len(data))], "digest")


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"RIFF" * 100, (DATA / "tiny.tflite").read_bytes()],
    ids=["empty", "text", "long", "bare network"],
)
def test_a_file_of_another_kind_is_refused(scratch: Path, data: bytes) -> None:
    assert_refused(scratch, data, "digest")


def test_bytes_appended_are_found(written: Path, scratch: Path) -> None:
    assert_refused(scratch, written.read_bytes() + b"\n", "digest")


def test_resealing_alone_changes_nothing(written: Path, scratch: Path) -> None:
    scratch.write_bytes(resealed(written, {}))
    assert read_model(scratch).labels == LABELS


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("format: expected 1, 2, 3, 4 or 5, found 6", {"format": 6}),
        ("spec.json: .*missing \\['baseline'\\]", {"format": 2}),
        ("spec.json: .*not known \\['baseline'\\]", {"baseline": {}}),
        ("format", {"format": "1"}),
        ("format", {"format": True}),
        ("format", {"format": None}),
        ("spec.json", {"surprise": 1}),
        ("features: cannot be read: surprise", {"features": {"surprise": 1}}),
        ("features: cannot be read: hop_length", {"features": {**FeatureSpec().to_dict(), "hop_length": 0}}),
        ("features: cannot be read: n_fft", {"features": {**FeatureSpec().to_dict(), "n_fft": "1024"}}),
        ("features", {"features": 3}),
        ("n_frames: expected a whole number above 0, found 0", {"n_frames": 0}),
        ("n_frames", {"n_frames": 8.0}),
        ("n_frames", {"n_frames": True}),
        ("n_frames", {"n_frames": "8"}),
        ("mean: expected float32 \\(40,\\), found float32 \\(39,\\)", {"mean": [0.0] * 39}),
        ("mean", {"mean": 0.0}),
        ("mean", {"mean": ["0"] * N_MFCC}),
        ("mean", {"mean": [math.nan] * N_MFCC}),
        ("mean", {"mean": [1e39] * N_MFCC}),
        ("mean", {"mean": [10**400] * N_MFCC}),
        ("std: expected numbers above 0, found 0.0", {"std": [0] * N_MFCC}),
        ("std: expected numbers above 0, found -2.0", {"std": [1.0] * (N_MFCC - 1) + [-2]}),
        ("std", {"std": [math.inf] * N_MFCC}),
        ("labels: expected at least one label", {"labels": []}),
        ("labels", {"labels": "abc"}),
        ("labels", {"labels": {"calm": 1}}),
        ("labels: expected each label once, found 'calm'", {"labels": ["calm", "calm", "happy"]}),
        ("labels: expected names other than", {"labels": ["calm", "uncertain", "happy"]}),
        ("labels", {"labels": ["calm", "", "happy"]}),
        ("labels", {"labels": ["calm", "so\nso", "happy"]}),
        ("labels", {"labels": ["calm", " sad", "happy"]}),
        ("labels", {"labels": ["calm", "\ud800", "happy"]}),
        ("labels", {"labels": ["calm", 1, "happy"]}),
        ("labels.txt", {"labels": ["calm", "angry", "happy"]}),
        ("golden.output: expected int8 \\(2,\\), found int8 \\(3,\\)", {"labels": ["calm", "happy"]}),
        ("temperature: expected a number above 0, found 0", {"temperature": 0}),
        ("temperature", {"temperature": -1.5}),
        ("temperature", {"temperature": math.nan}),
        ("temperature", {"temperature": "1"}),
        ("temperature", {"temperature": None}),
        ("temperature", {"temperature": 1e-300}),
        ("temperature", {"temperature": 1e300}),
        ("mean", {"mean": [3e38] * N_MFCC}),
        ("std", {"std": [1e-40] * N_MFCC}),
        ("n_frames: expected at most 4096", {"n_frames": 2**62}),
        ("labels: expected at most 1000", {"labels": [str(number) for number in range(1001)]}),
        ("labels", {"labels": ["calm", "x" * 101, "happy"]}),
        ("thresholds", {"thresholds": {"uncertain": 0.5, "\x1b[2J": 0.5}}),
        ("features: cannot be read: n_fft", {"features": {**FeatureSpec().to_dict(), "n_fft": 2**62}}),
        ("features: cannot be read: n_mels", {"features": {**FeatureSpec().to_dict(), "n_mels": 2**62}}),
        ("features: cannot be read: n_mfcc", {"features": {**FeatureSpec().to_dict(), "n_mfcc": 2**62}}),
        ("features: cannot be read: hop_length", {"features": {**FeatureSpec().to_dict(), "hop_length": 2**62}}),
        ("features.hop_length", {"features": {**FeatureSpec().to_dict(), "hop_length": 1}}),
        ("features: cannot be read: n_fft", {"features": {**FeatureSpec().to_dict(), "window_length": 2**62}}),
        ("features: cannot be read: sample_rate", {"features": {**FeatureSpec().to_dict(), "sample_rate": 10**400}}),
        ("features: cannot be read: full_scale", {"features": {**FeatureSpec().to_dict(), "full_scale": 1e300}}),
        ("features: cannot be read: full_scale", {"features": {**FeatureSpec().to_dict(), "full_scale": 10**400}}),
        ("features: cannot be read: lifter", {"features": {**FeatureSpec().to_dict(), "lifter": 1e300}}),
        ("features: cannot be read: top_db", {"features": {**FeatureSpec().to_dict(), "top_db": 1e300}}),
        ("features: cannot be read: fmax", {"features": {**FeatureSpec().to_dict(), "fmax": 1e-300}}),
        (
            "features: .{1,150}$",
            {"features": {**FeatureSpec().to_dict(), "window": "x" * 9999}},
        ),
        ("thresholds", {"thresholds": [0.5]}),
        ("thresholds: expected the key 'uncertain'", {"thresholds": {"certain": 0.5}}),
        ("thresholds.uncertain", {"thresholds": {"uncertain": 1.01}}),
        ("thresholds.uncertain", {"thresholds": {"uncertain": -0.01}}),
        ("thresholds.uncertain", {"thresholds": {"uncertain": math.nan}}),
        ("thresholds.uncertain", {"thresholds": {"uncertain": False}}),
    ],
)
def test_an_impossible_value_is_named(written: Path, scratch: Path, field: str, changes: dict[str, Any]) -> None:
    assert_refused(scratch, with_spec(written, **changes), field)


@pytest.mark.parametrize("key", ["features", "n_frames", "mean", "std", "labels", "temperature", "thresholds"])
def test_a_missing_key_is_named(written: Path, scratch: Path, key: str) -> None:
    with zipfile.ZipFile(written) as archive:
        spec = json.loads(archive.read("spec.json"))
    del spec[key]
    data = resealed(written, {"spec.json": json.dumps(spec).encode()})
    assert_refused(scratch, data, rf"spec\.json: .*missing \['{key}'\]")


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"3", b"[" * 100_000, b"9" * 10_000])
def test_a_specification_that_is_no_object_is_refused(written: Path, scratch: Path, content: bytes) -> None:
    assert_refused(scratch, resealed(written, {"spec.json": content}), "spec.json")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b"null",
        b"\xff",
        # None of these could be printed by `affectd model`.
        b'{"accuracy": NaN}',
        b'{"accuracy": 1e999}',
        b'{"deep": ' + b"[" * 100 + b"]" * 100 + b"}",
    ],
)
def test_a_card_that_is_no_object_is_refused(written: Path, scratch: Path, content: bytes) -> None:
    assert_refused(scratch, resealed(written, {"card.json": content}), "card")


@pytest.mark.parametrize("name", ["spec.json", "labels.txt", "golden.npz", "card.json"])
def test_a_missing_member_is_named(written: Path, scratch: Path, name: str) -> None:
    assert_refused(scratch, resealed(written, {name: None}), rf"zip: .*missing \['{name}'\]")


def test_an_unknown_member_is_named(written: Path, scratch: Path) -> None:
    assert_refused(scratch, resealed(written, {"extra": b""}), r"zip: .*not known \['extra'\]")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(written: Path, scratch: Path) -> None:
    data = resealed(written, {})
    buffer = io.BytesIO(data)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("card.json", b"{}")
    content = buffer.getvalue()[:-64]
    assert_refused(scratch, content + hashlib.sha256(content).hexdigest().encode(), "zip: cannot be read: the list")


def test_a_network_that_is_none_is_named(scratch: Path, written: Path) -> None:
    data = bytearray(written.read_bytes()[:-64])
    data[4:8] = b"TFL2"
    assert_refused(scratch, data + hashlib.sha256(data).hexdigest().encode(), "tflite")


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("golden.samples", {"samples": np.zeros(9, np.float32)}),
        ("golden.samples", {"samples": np.zeros((9, 1), np.int16)}),
        ("golden.samples", {"samples": np.zeros(0, np.int16)}),
        ("golden.cepstra", {"cepstra": np.zeros((N_FRAMES, N_MFCC))}),
        ("golden.cepstra", {"cepstra": np.zeros((N_FRAMES + 1, N_MFCC), np.float32)}),
        ("golden.cepstra", {"cepstra": np.full((N_FRAMES, N_MFCC), np.nan, np.float32)}),
        ("golden.input", {"input": np.zeros((N_FRAMES, N_MFCC), np.uint8)}),
        ("golden.input", {"input": np.zeros((1, N_FRAMES, N_MFCC), np.int8)}),
        ("golden.output", {"output": np.zeros(2, np.int8)}),
        ("golden.output", {"output": np.zeros(3, np.float32)}),
        ("golden: expected", {"surprise": np.zeros(3)}),
    ],
)
def test_golden_vectors_of_another_kind_are_named(
    written: Path, scratch: Path, field: str, changes: dict[str, np.ndarray]
) -> None:
    golden = npz(**{**draft_model().golden, **changes})
    assert_refused(scratch, resealed(written, {"golden.npz": golden}), field)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK",
        npz(samples=np.zeros(3)),
        npz(samples=np.zeros(3))[:-30],
        npz(**draft_model().golden).replace(b"NUMPY", b"NUMPI"),
        npz(**draft_model().golden).replace(b"descr", b"desc)"),
        npz_of(b"\x93NUMPY\1\0\x60\xea" + b"1" * 60000),  # NumPy's sentence has several lines
    ],
)
def test_golden_vectors_that_cannot_be_read_are_named(written: Path, scratch: Path, content: bytes) -> None:
    assert_refused(scratch, resealed(written, {"golden.npz": content}), r"golden[^\n]*$")


def test_golden_vectors_are_never_unpickled(written: Path, scratch: Path) -> None:
    golden = npz(**{**draft_model().golden, "output": np.array([{}], dtype=object)})
    assert_refused(scratch, resealed(written, {"golden.npz": golden}), "golden: .*pickle")


def test_a_path_that_is_no_readable_file_is_refused_and_named(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    os.mkfifo(tmp_path / "pipe")
    for path, reason in [
        (tmp_path / "missing", "No such file"),
        (loop, "Too many levels"),
        (tmp_path, "directory"),
        (tmp_path / "pipe", "device"),
    ]:
        with pytest.raises(ModelFileError, match=f"{path}: .*{reason}") as caught:
            read_model(path)
        assert caught.value.exit_code == 78


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path: Path, written: Path) -> None:
    closed = tmp_path / "closed"
    shutil.copy(written, closed)
    closed.chmod(0)
    with pytest.raises(ModelFileError, match="Permission denied"):
        read_model(closed)


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(OSError, match="cannot be written"):
        write_model(target, draft_model())
    with pytest.raises(OSError, match="cannot be written"):
        write_model(tmp_path / "missing" / "model.tflite", draft_model())
    assert list(tmp_path.iterdir()) == [target]


def test_writing_replaces_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    write_model(path, draft_model(temperature=1.0))
    write_model(path, draft_model(temperature=2.0))
    assert read_model(path).temperature == 2.0
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_named(written: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"^card"):
        write_model(tmp_path / "model", draft_model(card={"path": tmp_path}))
    with pytest.raises(ModelFileError, match=r"^tflite: .*zip appended"):
        write_model(tmp_path / "model", draft_model(tflite=written.read_bytes()))
    assert not list(tmp_path.iterdir())


def test_a_model_cannot_be_built_from_impossible_values() -> None:
    with pytest.raises(ModelFileError, match=r"^std: expected float32 \(40,\), found float64 \(40,\)"):
        draft_model(std=np.ones(N_MFCC))


def test_the_default_model_lies_in_the_package_or_in_models() -> None:
    path = find_model()
    assert path.name == "affectd.tflite"
    assert path.parent.name in ("affectd", "models")


def nearest_step(x: float, scale: float, zero_point: int) -> int:
    """Round half away from zero and clip, in exact fractions."""
    steps = Fraction(x) / Fraction(scale)
    rounded = math.floor(abs(steps) + Fraction(1, 2))
    return max(-128, min(127, (rounded if steps > 0 else -rounded) + zero_point))


reals = st.floats(width=32, allow_nan=False, allow_infinity=False)
scales = st.floats(2.0**-20, 2.0**20, width=32)
zero_points = st.integers(-128, 127)


@unhurried
@given(reals, scales, zero_points)
@example(0.49999997, 1.0, 0)
@example(-0.49999997, 1.0, 0)
@example(130.0, 1.0, 0)
def test_quantize_rounds_to_the_nearest_step(x: float, scale: float, zero_point: int) -> None:
    assert quantize(np.float32(x), scale, zero_point) == nearest_step(x, scale, zero_point)


@unhurried
@given(st.integers(-300, 300), st.integers(-10, 10), zero_points)
def test_quantize_rounds_halves_away_from_zero(step: int, exponent: int, zero_point: int) -> None:
    x, scale = (step + 0.5) * 2.0**exponent, 2.0**exponent
    assert quantize(np.float32(x), scale, zero_point) == nearest_step(x, scale, zero_point)


def test_quantize_clips_where_a_cast_would_wrap() -> None:
    x = np.array([[130, -130, 126.5], [1e30, -np.inf, np.inf]], np.float32)
    quantized = quantize(x, 1.0, 0)
    assert quantized.dtype == np.int8
    np.testing.assert_array_equal(quantized, [[127, -128, 127], [127, -128, 127]])


@unhurried
@given(st.floats(-1, 1), scales, zero_points)
def test_dequantize_returns_within_half_a_step(part: float, scale: float, zero_point: int) -> None:
    x = np.float32(scale * (part * 127.5 - 0.5 - zero_point))
    back = dequantize(quantize(np.array([x]), scale, zero_point), scale, zero_point)
    assert back.dtype == np.float32
    assert abs(float(back[0]) - float(x)) <= scale * 0.501


@unhurried
@given(st.integers(-128, 127), scales, zero_points)
def test_quantize_undoes_dequantize(step: int, scale: float, zero_point: int) -> None:
    q = np.array([step], np.int8)
    real = dequantize(q, scale, zero_point)
    assert real[0] == pytest.approx(scale * (step - zero_point), rel=1e-6)
    assert quantize(real, scale, zero_point) == q


def assert_refused_in_little_memory(path: Path, data: bytes, field: str) -> None:
    """The peak of Python's and NumPy's memory stays near the size of the file."""
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match=rf"^model file {path}: {field}"):
            read_model(path)
        assert tracemalloc.get_traced_memory()[1] < 5 * len(data) + 40_000_000
    finally:
        tracemalloc.stop()


def understated(member: bytes, size: int) -> bytes:
    """A zip of one deflated member that says of itself that it is smaller, in both of its headers."""
    for offset in (22, 24):
        mark = b"PK\3\4" if offset == 22 else b"PK\1\2"
        at = member.index(mark) + offset
        member = member[:at] + size.to_bytes(4, "little") + member[at + 4 :]
    return member


@pytest.mark.parametrize("name", ["spec.json", "labels.txt", "golden.npz", "card.json"])
@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_inflates_to_hundreds_of_megabytes_is_refused(
    written: Path, scratch: Path, name: str, method: int
) -> None:
    data = resealed(written, {name: bytes(200_000_000)}, method)
    assert_refused_in_little_memory(scratch, data, re.escape(name))


def test_golden_vectors_that_inflate_or_say_that_they_are_small_are_refused(written: Path, scratch: Path) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, samples=np.zeros(300_000_000, np.int8))
    for golden in (buffer.getvalue(), understated(buffer.getvalue(), 1000)):
        assert_refused_in_little_memory(scratch, resealed(written, {"golden.npz": golden}), "golden: cannot be read")


@pytest.mark.parametrize("shape", [(2**40,), (2**31, 2**31), (2**62, 4), (-1,), (0, 2**62), (10**30,)])
def test_an_array_that_says_it_is_huge_is_refused(written: Path, scratch: Path, shape: tuple[int, ...]) -> None:
    members = {}
    for key, array in draft_model().golden.items():
        file = io.BytesIO()
        np.lib.format.write_array(file, array, version=(1, 0))
        members[f"{key}.npy"] = file.getvalue()
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|i1", "fortran_order": False, "shape": shape})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in {**members, "output.npy": file.getvalue() + b"\0\0\0"}.items():
            archive.writestr(name, content)
    data = resealed(written, {"golden.npz": buffer.getvalue()})
    assert_refused_in_little_memory(scratch, data, "golden: cannot be read")


def test_a_list_of_many_members_is_refused(written: Path, scratch: Path) -> None:
    data = resealed(written, {f"{number}": b"" for number in range(5000)})
    assert_refused_in_little_memory(scratch, data, "zip: cannot be read")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(5000):
            archive.writestr(f"{number}.npy", b"")
    assert_refused_in_little_memory(scratch, resealed(written, {"golden.npz": buffer.getvalue()}), "golden")


def test_a_clip_that_takes_long_to_replay_is_refused(written: Path, scratch: Path) -> None:
    golden = npz(**{**draft_model().golden, "samples": np.zeros(4_000_000, np.int16)})
    assert_refused(scratch, resealed(written, {"golden.npz": golden}), "golden.samples: expected at most")


def test_a_file_that_is_too_large_or_never_ends_is_refused(tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(1 << 40)
    for path in (large, Path("/dev/zero")):
        with pytest.raises(ModelFileError, match=f"^model file {path}: cannot be read"):
            read_model(path)


def test_a_long_message_is_cut(written: Path, scratch: Path) -> None:
    for data in (with_spec(written, **{"x" * 9000: 1}), resealed(written, {"x" * 9000: b""})):
        scratch.write_bytes(data)
        with pytest.raises(ModelFileError) as caught:
            read_model(scratch)
        assert len(str(caught.value)) < 700

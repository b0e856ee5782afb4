"""What the command is asked for: calls of librosa, normalization, files told by their content; and crashes."""

from __future__ import annotations

import json
import os
import pickle
import select
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import librosa
import numpy as np
import pytest

from affectd.errors import DataError, NoInputError, UsageError
from affectd.features.mfcc import Mfcc
from affectd_train.cli import main
from affectd_train.foreign.apart import apart
from affectd_train.foreign.kinds import TFLITE, kind_of
from affectd_train.foreign.librosa_call import spec_of_call
from affectd_train.foreign.normalization import read_normalization
from affectd_train.foreign.operators import NEWEST, check_operators

SOUND = (0.3 * np.random.default_rng(0).normal(0, 1, 22050) * np.hanning(22050)).astype(np.float32)

CALLS = [
    "n_mfcc=40",
    "sr=16000, n_mfcc=13, n_fft=1024, hop_length=256",
    "librosa.feature.mfcc(y=y, sr=16000, n_mfcc=20, lifter=22, htk=True, fmin=50, fmax=4000, n_mels=40)",
    "sr=8000, n_fft=512, win_length=400, hop_length=160, window='hamming', center=False",
    "librosa.feature.melspectrogram(y=y, sr=16000, n_mels=64)",
    "librosa.power_to_db(librosa.feature.melspectrogram(y=y, sr=16000, n_mels=64), ref=np.max)",
    "librosa.power_to_db(librosa.feature.melspectrogram(y=y, n_mels=64), top_db=60)",
]


@pytest.mark.parametrize("call", CALLS)
def test_a_call_of_librosa_gives_what_librosa_gives(call: str) -> None:
    code = call if call.startswith("librosa") else f"librosa.feature.mfcc(y=y, {call})"
    wanted = eval(code, {"librosa": librosa, "np": np, "y": SOUND}).T
    found = Mfcc(spec_of_call(call))(SOUND)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 4e-3


@pytest.mark.parametrize("around", ["{}.T", "np.mean({}.T, axis=0)", "{}.mean(axis=1)", "numpy.mean({}, 1)"])
def test_what_a_notebook_does_to_the_frames_is_left_to_the_input_of_the_network(around: str) -> None:
    call = "librosa.feature.mfcc(y=audio, sr=16000, n_mfcc=40)"
    assert spec_of_call(around.format(call)) == spec_of_call("sr=16000, n_mfcc=40")


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        ("n_mfcc=40, dct_type=3", "dct_type=3: the device can do dct_type=2 alone"),
        ("norm=None", "norm=None: the device can do norm='ortho' alone"),
        ("sr=sr", "sr=sr has to be written as a number or a text"),
        ("S=log_mel", "S is computed elsewhere"),
        ("n_mfc=40", "n_mfc is no argument of librosa's mfcc"),
        ("power=1.0", "power=1.0: the device can do power=2 alone"),
        ("pad_mode='reflect'", "pad_mode='reflect'"),
        ("window='blackman'", "window='blackman' is none of"),
        ("n_mfcc=200", "n_mfcc = 200 must lie in"),
        ("sr='16k'", "--librosa: "),
        ("librosa.feature.chroma_stft(y=y)", "chroma_stft is none of"),
        ("librosa.power_to_db(S)", "power_to_db has to be given melspectrogram(...)"),
        ("n_mfcc=", "expected arguments such as"),
        (
            "librosa.feature.mfcc(y=y, sr=sr).T",
            "sr=sr has to be written as a number or a text: what librosa.load was told",
        ),
        ("mfcc[0], 13", "'mfcc[0]' is no argument with a name"),
        ("librosa.feature.mfcc(y=y).flatten()", "flatten is none of"),
        ("np.mean()", "mean is none of"),
    ],
)
def test_what_the_device_cannot_compute_is_named(call: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        spec_of_call(call)
    assert sentence in str(caught.value)


MEAN, STD = np.array([1.0, -2.5, 3.0]), np.array([0.5, 1.0, 2.0])


def stored(folder: Path, form: str) -> Path:
    path = folder / f"scaler.{form.split()[0]}"
    if form == "npz":
        np.savez(path, mean=MEAN, std=STD)
    elif form == "npz of scikit-learn":
        np.savez(path, mean_=MEAN, scale_=STD, var_=STD**2)
    elif form == "npz of Keras":
        np.savez(path, mean=MEAN, var=STD**2)
    elif form == "json":
        path.write_text(json.dumps({"mean": MEAN.tolist(), "std": STD.tolist()}))
    elif form == "csv in rows":
        path.write_text("\n".join(",".join(map(str, row)) for row in (MEAN, STD)))
    else:
        lines = [f"{mean};{std}" for mean, std in zip(MEAN, STD, strict=True)]
        path.write_text("\n".join(["mean;std", *lines]) + "\n")
    return path


FORMS = ("npz", "npz of scikit-learn", "npz of Keras", "json", "csv in rows", "csv in columns")


@pytest.mark.parametrize("form", FORMS)
def test_a_normalization_is_read_in_any_form(form: str, tmp_path: Path) -> None:
    mean, std = read_normalization(stored(tmp_path, form), 3)
    np.testing.assert_allclose(mean, MEAN)
    np.testing.assert_allclose(std, STD)
    assert mean.dtype == std.dtype == np.float32


@pytest.mark.parametrize(("names", "columns"), [("std,mean", (STD, MEAN)), ('"Mean";"Var"', (MEAN, STD**2))])
def test_the_head_of_a_csv_says_which_column_is_which(
    names: str, columns: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    rows = [f"{first},{second}" for first, second in zip(*columns, strict=True)]
    (tmp_path / "scaler.csv").write_text("\n".join([names, *rows]))
    mean, std = read_normalization(tmp_path / "scaler.csv", 3)
    np.testing.assert_allclose(mean, MEAN)
    np.testing.assert_allclose(std, STD)


def test_one_number_is_for_every_column(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"mean": -20.5, "std": 4}')
    mean, std = read_normalization(tmp_path / "a.json", 3)
    assert (mean.tolist(), std.tolist()) == ([-20.5] * 3, [4.0] * 3)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_files_of_json_may_be_as_windows_writes_them(encoding: str, tmp_path: Path) -> None:
    from affectd_train.foreign.asked import _spec

    (tmp_path / "a.json").write_text('{"mean": -20.5, "std": 4}', encoding)
    mean, std = read_normalization(tmp_path / "a.json", 2)
    assert (mean.tolist(), std.tolist()) == ([-20.5] * 2, [4.0] * 2)
    spec = spec_of_call("sr=16000, n_mfcc=13")
    (tmp_path / "spec.json").write_text(json.dumps(spec.to_dict()), encoding)
    assert _spec(tmp_path / "spec.json") == spec


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (pickle.dumps({"mean": 1}), "a pickle, which may run any code"),
        (b'{"mean": [1, 2], "std": [1, 2]}', "2 numbers for the mean, expected 3, one for each column"),
        (b'{"mean": [1, 2, 3], "std": [1, 0, 1]}', "the standard deviation has numbers"),
        (b'{"mean": [1, 2, NaN], "std": [1, 1, 1]}', "the mean has numbers that are not finite"),
        (b'{"mean": [1, 2, 3]}', "has mean, expected"),
        (b"1,2,3", "expected an .npz or a JSON object"),
        (b"some words", "cannot be read, expected"),
    ],
)
def test_a_normalization_that_is_none_is_a_sentence(content: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "scaler"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_normalization(path, 3)
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)


def zipped(path: Path, *names: str) -> bytes:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return path.read_bytes()


def test_files_are_told_by_their_content(tmp_path: Path) -> None:
    contents = {
        "an ONNX file": b"\x08\x08\x12\x07pytorch\x1a\x05",
        "a file of PyTorch": zipped(tmp_path / "zip", "model/data.pkl", "model/version"),
        "a pickle": pickle.dumps({"weights": [1, 2]}, 4),
        "weights without their network": b"\x89HDF\r\n\x1a\n" + bytes(100),
        "a zip archive that is no Keras file": zipped(tmp_path / "zip", "a.txt"),
        "a damaged zip archive": b"PK\x03\x04" + bytes(50),
        "weights of safetensors": b'\x10\0\0\0\0\0\0\0{"__metadata__":{}}',
        "no network that is known here": b"hello",
    }
    for kind, content in contents.items():
        path = tmp_path / "network"
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            kind_of(path)
        assert str(caught.value).startswith(f"{path}: {kind}"), kind
    path.write_bytes(b"\x1c\0\0\0TFL3")
    assert kind_of(path) == TFLITE
    with pytest.raises(DataError, match=r"a folder without saved_model\.pb"):
        kind_of(tmp_path)
    with pytest.raises(NoInputError, match="no such file"):
        kind_of(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NoInputError, match="not a regular file"):
        kind_of(tmp_path / "pipe")


def test_a_process_that_dies_is_a_sentence_and_its_errors_are_raised() -> None:
    assert apart(abs, -3, "it crashed") == 3
    with pytest.raises(DataError, match=r"^it crashed \(it ended by SIGSEGV\)$"):
        apart(signal.raise_signal, signal.SIGSEGV, "it crashed")
    with pytest.raises(DataError, match=r"^it crashed \(it was killed"):
        apart(signal.raise_signal, signal.SIGKILL, "it crashed")
    with pytest.raises(TypeError):
        apart(abs, "a", "it crashed")


def test_where_the_one_that_waits_is_killed_the_process_ends_too(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code = "import sys, pathlib as p; from affectd_train.foreign.apart import apart as a; f = p.Path(sys.argv[1])"
    code += "; a(p.Path.read_text, f, '')"
    with subprocess.Popen([sys.executable, "-c", code, pipe]) as waiting, pipe.open("wb") as writing:  # once it is read
        waiting.kill()
        closed = select.poll()
        closed.register(writing, 0)
        assert closed.poll(60_000)


def test_an_operator_newer_than_tflite_runtime_is_named() -> None:
    from tensorflow.lite.python import schema_py_generated as schema

    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    graph = schema.ModelT()
    graph.operatorCodes = [code]
    code.version = NEWEST["FULLY_CONNECTED"]
    check_operators(graph)
    code.version += 1
    with pytest.raises(DataError, match=r"FULLY_CONNECTED, version 11; .*has its version 10 at most"):
        check_operators(graph)
    code.builtinCode, code.version = schema.BuiltinOperator.STABLEHLO_ADD, 1
    with pytest.raises(DataError, match=r"STABLEHLO_ADD, version 1; tflite-runtime 2\.14, .*does not have it"):
        check_operators(graph)


GOOD = ("--librosa", "n_mfcc=13", "--labels", "a,b", "--normalization", "none", "--clips", ".", "--out", "mine.tflite")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ((*GOOD, "--labels", "a"), 64, "--labels 'a': expected two or more names"),
        ((*GOOD, "--labels", "a,b,a"), 64, "--labels: 'a' is there twice"),
        ((*GOOD, "--hearing", "loudly"), 64, "--hearing 'loudly': expected whole, speech or KEY=VALUE"),
        ((*GOOD, "--hearing", "trim=30"), 64, "--hearing.trim: is not known; there are start_seconds"),
        ((*GOOD, "--librosa", "n_mfcc=x"), 64, "n_mfcc=x has to be written as a number"),
        (("--spec", "none.json", *GOOD[2:]), 66, "--spec none.json: no such file"),
        (GOOD, 65, "network.onnx: an ONNX file; turn it into TFLite first"),
        ((*GOOD, "--out", "other.txt"), 64, "other.txt is there and does not hold a network imported from"),
    ],
)
def test_the_command_says_one_sentence(
    arguments: tuple[str, ...],
    code: int,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("network.onnx").write_bytes(b"\x08\x08\x12\x07pytorch\x1a\x05")
    Path("other.txt").write_text("mine")
    assert main(["import", "network.onnx", *arguments]) == code
    assert sentence in capfd.readouterr().err
    assert not Path("mine.tflite").exists()


def test_a_spec_is_what_affectd_model_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from affectd_train.foreign.asked import _spec

    printed = subprocess.run([sys.executable, "-m", "affectd", "model"], capture_output=True, text=True, check=True)
    (tmp_path / "spec.json").write_text(printed.stdout)
    assert _spec(tmp_path / "spec.json").to_dict() == json.loads(printed.stdout)["features"]


def test_a_folder_without_recordings_is_a_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    network, clips = tmp_path / "a.tflite", tmp_path / "empty"
    network.write_bytes(b"0000TFL3")
    clips.mkdir()
    asked = ["--librosa", "n_mfcc=13,sr=16000", "--labels", "a,b", "--normalization", "none"]
    assert main(["import", str(network), *asked, "--clips", str(clips), "--out", str(tmp_path / "b.tflite")]) == 66
    assert f"--clips {clips}: no recording in it" in capfd.readouterr().err

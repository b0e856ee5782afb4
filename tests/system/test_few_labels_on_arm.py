"""Files of two and three labels in the real interpreter for 32-bit ARM: Debian's packages and PyPI's wheel under qemu.

Not as in test_arm.py: one program at a time, which needs neither binfmt nor mounts. Needs the network, and: apt install
qemu-user-static.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from affectd.audio.source import wav_blocks
from affectd.features.mfcc import Mfcc
from affectd.recognition.classifier import Classifier
from affectd.recognition.golden import CEPSTRA_LIMIT, STEPS_LIMIT, golden_vectors
from affectd.recognition.model_file import ModelFile, find_model, read_model, write_model
from affectd.recognition.voice import without_voice
from affectd_train.backend import keras, layers
from affectd_train.export.quantize import convert_int8
from affectd_train.training import start
from affectd_train.training.network import build_network, deployed
from roots import DEBIAN, REPOSITORY
from web_device import DEMO

pytestmark = pytest.mark.slow

QEMU = shutil.which("qemu-arm-static") or shutil.which("qemu-arm")
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# fmt: off
PACKAGES = (
    "libc6", "libpython3.11-minimal", "libpython3.11-stdlib", "python3.11-minimal", "libexpat1", "zlib1g", "libssl3",
    "libffi8", "libbz2-1.0", "liblzma5", "libuuid1", "libstdc++6", "libgcc-s1", "libcrypt1", "python3-numpy",
    "libblas3", "liblapack3", "libgfortran5", "libatomic1",
)
# fmt: on
LABELS = {2: ("happy", "müde"), 3: ("happy", "müde", "sad")}
INVOKE = """
import sys
import numpy as np
from tflite_runtime.interpreter import Interpreter
interpreter = Interpreter(sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
(into,) = interpreter.get_input_details()
for seed in range(20):
    steps = np.random.default_rng(seed).integers(-128, 128, into["shape"], dtype=np.int8)
    interpreter.set_tensor(into["index"], steps)
    interpreter.invoke()
"""


class Board:
    """Python for 32-bit ARM in a folder, with NumPy of Debian and tflite-runtime of PyPI."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("lists/partial", "cache/archives/partial", "debs", "root", "site"):
            (folder / name).mkdir(parents=True)
        (folder / "status").touch()
        (folder / "sources.list").write_text(f"deb [signed-by={KEYS}] {DEBIAN} bookworm main\n")
        self._apt("update")
        self._apt("download", *PACKAGES)
        for package in sorted((folder / "debs").glob("*.deb")):
            subprocess.run(["dpkg", "-x", str(package), str(folder / "root")], check=True)
        wheel = ("--platform=manylinux_2_34_armv7l", "--python-version=3.11", "--only-binary=:all:", "--no-deps")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", f"--dest={folder}", *wheel, "tflite-runtime==2.14.0"]
        subprocess.run(pip, check=True)
        (downloaded,) = folder.glob("*.whl")
        with zipfile.ZipFile(downloaded) as archive:
            archive.extractall(folder / "site")

    def _apt(self, *words: str) -> None:
        folder = self._folder
        options = {
            "APT::Architecture": "armhf",
            "APT::Architectures": "armhf",
            "Dir::State::Lists": folder / "lists",
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder / "cache",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::sourcelist": folder / "sources.list",
            "APT::Sandbox::User": "root",
        }
        chosen = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        subprocess.run(["apt-get", "-qq", *chosen, *words], check=True, cwd=folder / "debs")

    def run(self, *words: object) -> subprocess.CompletedProcess[str]:
        """Run Python there."""
        assert QEMU is not None
        root, triplet = self._folder / "root", "arm-linux-gnueabihf"
        libraries = [root / "usr/lib" / triplet / part for part in ("blas", "lapack", ".")] + [root / "lib" / triplet]
        python = [self._folder / "site", root / "usr/lib/python3/dist-packages", REPOSITORY / "edge"]
        given = {"LD_LIBRARY_PATH": libraries, "PYTHONPATH": python}
        settings = [
            word for key, paths in given.items() for word in ("-E", f"{key}={os.pathsep.join(map(str, paths))}")
        ]
        command = [QEMU, "-L", root, *settings, "-E", "PYTHONDONTWRITEBYTECODE=1", root / "usr/bin/python3.11", *words]
        return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Board:
    if QEMU is None or not shutil.which("apt-get") or not KEYS.is_file():
        pytest.skip("needs a Debian with qemu-user-static")
    return Board(tmp_path_factory.mktemp("board"))


@pytest.fixture(scope="module", params=LABELS, ids=lambda n: f"{n} labels")
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of few labels, as training that starts from the shipped one makes it before its first step."""
    shipped, labels = without_voice(read_model(find_model())), LABELS[request.param]
    mfcc = Mfcc(shipped.spec)
    sound = np.concatenate([*wav_blocks(str(DEMO), shipped.spec.sample_rate)])
    pieces = [sound[begin : begin + 48000] for begin in range(0, len(sound) - 48000, 4000)]
    cepstra = [mfcc.cepstra(mfcc.bands(mfcc.frames(piece)))[: shipped.n_frames] for piece in pieces]
    contexts = ((np.stack(cepstra) - shipped.mean) / shipped.std).astype(np.float32)
    network = build_network(shipped.n_frames, shipped.spec.n_columns, len(labels), n_hints=4)
    start.begin(network, shipped, labels, contexts)
    golden = {**shipped.golden, "output": np.zeros(len(labels), np.int8)}
    tflite = convert_int8(deployed(network), contexts)
    made: ModelFile = dataclasses.replace(shipped, tflite=tflite, labels=labels, golden=golden)
    path = tmp_path_factory.mktemp("model") / f"{len(labels)}.tflite"
    heard = golden_vectors(shipped.golden["samples"], Classifier(made))
    write_model(path, dataclasses.replace(made, golden=heard))
    return path


def test_its_self_test_passes(board: Board, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = board.run("-m", "affectd", "model", "--self-test", "--model", model)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    with capsys.disabled():
        print(f"\n{model.stem} labels, {said['runtime']}: {said['self_test']}", end=" ")
    assert said["runtime"].split()[0] == "tflite-runtime"
    assert said["self_test"]["cepstra_difference"] <= CEPSTRA_LIMIT
    assert said["self_test"]["output_steps"] <= STEPS_LIMIT


def test_a_recording_sounds_as_it_does_here(board: Board, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("-m", "affectd", "timeline", DEMO, "--format", "json", "--period", "5", "--model", model)
    there = board.run(*words)
    assert there.returncode == 0, there.stderr
    here = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=True)
    segments = [[segment["probabilities"] for segment in json.loads(d.stdout)["segments"]] for d in (there, here)]
    heard = [np.array([[*piece.values()] for piece in found]) for found in segments]
    differences = np.abs(heard[0] - heard[1])
    with capsys.disabled():
        print(f"\n{model.stem} labels: {len(heard[0])} pieces, at most {differences.max():.3f} off", end=" ")
    assert len(heard[0]) >= 5
    assert differences.max() < 0.1


@pytest.mark.parametrize("n_outputs", [2, 3])
def test_the_reason_for_it_still_holds(board: Board, tmp_path: Path, n_outputs: int) -> None:
    """A last layer of so few outputs reads beyond its weights; alone, where nothing lies behind them, it crashes."""
    contexts = np.random.default_rng(0).normal(size=(16, 4, 208)).astype(np.float32)
    ends = []
    for factor in (1, 2):
        pooled = layers.GlobalAveragePooling1D()(into := layers.Input((4, 208)))
        last = layers.Dense(factor * n_outputs)(pooled)
        if factor == 2:
            last = layers.GlobalAveragePooling1D()(layers.Reshape((2, n_outputs))(last))
        path = tmp_path / f"{factor}.tflite"
        path.write_bytes(convert_int8(keras.Model(into, last), contexts))
        ends.append(board.run("-c", INVOKE, path).returncode)
    assert ends[1] == 0
    assert ends[0] < 0, "it crashes no more: `deployed` could leave the layer as it is"

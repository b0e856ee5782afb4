"""The wheel on 64-bit and 32-bit ARM: Debian systems under qemu, with the interpreters' real ARM wheels.

Needs root, the network on the first run, and: apt install debootstrap qemu-user-static binfmt-support.
The systems, about 400 MB each, are kept for the next run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from affectd.classifier import CEPSTRA_LIMIT, STEPS_LIMIT, Classifier
from affectd.model_file import read_model

REPOSITORY = Path(__file__).parents[2]
MODEL = REPOSITORY / "models" / "affectd.tflite"
ROOTS = Path("/var/tmp/affectd-roots")
BINFMT = Path("/proc/sys/fs/binfmt_misc")
TOOLS = ("pytest", "hypothesis", "jsonschema")
# What needs neither recordings nor libraries of the desktop.
TESTS = [
    "classifier",
    "classify",
    "config",
    "context",
    "devices",
    "events",
    "framing",
    "liveness",
    "model_file",
    "pipeline",
    "resampler",
    "ring",
    "smoothing",
    "vad",
    "wav",
]
INVOKE = """
import numpy as np
from affectd.classifier import Classifier
from affectd.model_file import default_model_path, read_model
classifier = Classifier(read_model(default_model_path()))
np.save("/outputs.npy", [classifier.invoke(quantized) for quantized in np.load("/inputs.npy")])
"""

pytestmark = pytest.mark.slow


@dataclass(frozen=True, kw_only=True)
class System:
    """A Debian system and what is installed in it."""

    debian: str
    """Its name for the processor."""
    qemu: str
    """The name that qemu has for it."""
    suite: str
    python: str
    packages: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64")
    wheels: tuple[str, ...] = ("ai-edge-litert>=2.1", "numpy>=1.26")
    runtime: str = "ai-edge-litert"
    skipped: tuple[str, ...] = ()
    """Tests that cannot run there, as for ``-k``."""


SYSTEMS = {
    "arm64-bookworm": System(debian="arm64", qemu="aarch64", suite="bookworm", python="3.11"),
    "arm64-trixie": System(debian="arm64", qemu="aarch64", suite="trixie", python="3.13"),
    "armhf-bookworm": System(
        debian="armhf",
        qemu="arm",
        suite="bookworm",
        python="3.11",
        # PyPI has neither for 32-bit ARM.
        packages=("python3-numpy", "python3-pyaudio"),
        platforms=("manylinux_2_34_armv7l", "manylinux_2_17_armv7l"),
        wheels=("tflite-runtime==2.14.0",),
        runtime="tflite-runtime",
        # tflite-runtime's 32-bit wheel crashes on dense int8 layers with fewer than 4 outputs or 8 inputs; the
        # network in miniature has 3 and 4. What a device runs is tested here with the real model.
        skipped=("test_classifier", "test_classify", "real_network", "memory_does_not_grow"),
    ),
}


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)


def must(*command: str | Path) -> None:
    done = run(*command)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


class Root:
    """A system with affectd installed from its wheel."""

    def __init__(self, system: System, folder: Path) -> None:
        self.system = system
        self.folder = folder

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
        if self.system.debian == "arm64":
            # The processor of a Raspberry Pi 5. On qemu 7.2's default one, which has SVE, every product of
            # float32 matrices in NumPy 2.5 is wrong.
            environment["QEMU_CPU"] = "cortex-a76"
        return run("chroot", self.folder, *command, env=environment)

    def must(self, *command: str) -> str:
        done = self.run(*command)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        return done.stdout

    def affectd(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("/opt/affectd/bin/affectd", *arguments)


def need_emulation(qemu: str) -> None:
    """Let the kernel start programs of this processor with qemu, or skip."""
    if os.geteuid() != 0 or not shutil.which("debootstrap") or not shutil.which(f"qemu-{qemu}-static"):
        pytest.skip("needs root and: apt install debootstrap qemu-user-static binfmt-support")
    entry = BINFMT / f"qemu-{qemu}"
    if not entry.exists():
        run("mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT)
        run("update-binfmts", "--enable", f"qemu-{qemu}")
    if not entry.exists():
        pytest.skip(f"this kernel does not start {qemu} programs with qemu")


def debian(name: str, system: System) -> Path:
    """Return a Debian system, made on first use."""
    folder = ROOTS / name
    complete = folder / "complete"
    if not complete.exists():
        shutil.rmtree(folder, ignore_errors=True)
        packages = ",".join(("python3", "python3-venv", *system.packages))
        options = (f"--arch={system.debian}", "--variant=minbase", f"--include={packages}")
        must("debootstrap", *options, system.suite, folder, "http://deb.debian.org/debian")
        complete.touch()
    return folder


def download(folder: Path, system: System, requirements: Sequence[str], *options: str) -> None:
    """Fetch the wheels of another processor."""
    platforms = [f"--platform={platform}" for platform in system.platforms]
    target = ("--only-binary=:all:", f"--python-version={system.python}", *platforms, *options)
    must(sys.executable, "-m", "pip", "download", "--quiet", f"--dest={folder}", *target, *requirements)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not MODEL.exists():
        pytest.skip(f"{MODEL} does not exist")
    folder = tmp_path_factory.mktemp("dist")
    must(sys.executable, "-m", "build", "--wheel", "--outdir", folder, REPOSITORY)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module", params=SYSTEMS)
def root(request: pytest.FixtureRequest, wheel: Path) -> Root:
    """A system with affectd in a virtual environment, all from a folder of wheels, and the tests beside it."""
    system = SYSTEMS[request.param]
    need_emulation(system.qemu)
    root = Root(system, debian(request.param, system))
    wheels, tests = root.folder / "wheels", root.folder / "affectd"
    for folder in (wheels, tests):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    download(wheels, system, TOOLS)
    # NumPy for 32-bit ARM is Debian's, so that pip could not resolve tflite-runtime's need of it here.
    download(wheels, system, system.wheels, *(["--no-deps"] if system.packages else []))
    shutil.copy(wheel, wheels)
    for name in ("tests", "scripts"):
        shutil.copytree(REPOSITORY / name, tests / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(REPOSITORY / name, tests)
    sees = ["--system-site-packages"] if system.packages else []
    root.must("python3", "-m", "venv", "--clear", *sees, "/opt/affectd")
    install = ("/opt/affectd/bin/pip", "install", "--quiet", "--no-compile", "--no-index", "--find-links=/wheels")
    root.must(*install, "affectd[interpreter]", *TOOLS)
    return root


def test_the_self_test_passes(root: Root, capsys: pytest.CaptureFixture[str]) -> None:
    done = root.affectd("model", "--self-test")
    assert done.returncode == 0, done.stderr
    description = json.loads(done.stdout)
    with capsys.disabled():
        print(f"\n{root.folder.name}: {description['runtime']}: {description['self_test']}", end=" ")
    assert description["runtime"].split()[0] == root.system.runtime
    assert description["self_test"]["cepstra_difference"] <= CEPSTRA_LIMIT
    assert description["self_test"]["output_steps"] <= STEPS_LIMIT


def test_outputs_are_within_one_step_of_those_here(root: Root, capsys: pytest.CaptureFixture[str]) -> None:
    here = Classifier(read_model(MODEL))
    random = np.random.default_rng(3)
    shape = (20, here.model.n_frames, here.model.spec.n_mfcc)
    # Over the whole range, and over the narrow one that cepstra take.
    wide = random.integers(-128, 128, shape, dtype=np.int8)
    narrow = (30 * random.standard_normal(shape)).clip(-128, 127).astype(np.int8)
    inputs = np.concatenate([wide, narrow])
    np.save(root.folder / "inputs.npy", inputs)
    root.must("/opt/affectd/bin/python", "-c", INVOKE)
    there = np.load(root.folder / "outputs.npy").astype(int)
    expected = np.array([here.invoke(quantized) for quantized in inputs]).astype(int)
    steps = np.abs(there - expected)
    with capsys.disabled():
        print(f"\n{root.folder.name}: {np.bincount(steps.ravel()).tolist()} outputs are 0, 1, ... steps off", end=" ")
    assert np.unique(expected).size > 50, "the inputs do not exercise the network"
    assert steps.max() <= STEPS_LIMIT


def test_a_recording_gives_the_labels_that_it_gives_here(root: Root) -> None:
    demo = "tests/data/demo.wav"
    done = root.affectd("run", "--source", f"/affectd/{demo}")
    assert done.returncode == 0, done.stderr
    here = run(sys.executable, "-m", "affectd", "run", "--source", REPOSITORY / demo, "--model", MODEL)
    assert here.returncode == 0, here.stderr
    said = [[(e["phase"], e["label"]) for e in map(json.loads, d.stdout.splitlines())] for d in (done, here)]
    assert said[0] == said[1] != []


def test_the_edge_tests_pass(root: Root, capsys: pytest.CaptureFixture[str]) -> None:
    files = [f"tests/edge/test_{name}.py" for name in TESTS]
    files = [file for file in files if (root.folder / "affectd" / file).exists()]
    chosen = " and ".join(f"not {name}" for name in root.system.skipped)
    pytest_command = f"/opt/affectd/bin/python -m pytest -q -p no:cacheprovider -k '{chosen}' {' '.join(files)}"
    done = root.run("sh", "-c", f"cd /affectd && {pytest_command}")
    with capsys.disabled():
        print(f"\n{root.folder.name}: {(done.stdout.strip().splitlines() or ['nothing'])[-1]}", end=" ")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_pyaudio_from_debian_is_seen(root: Root) -> None:
    if "python3-pyaudio" not in root.system.packages:
        pytest.skip("only where PyPI's would have to be compiled")
    done = root.affectd("devices")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "no microphone" in done.stderr

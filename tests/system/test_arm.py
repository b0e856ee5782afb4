"""The wheel on 64-bit and 32-bit ARM: Debian systems under qemu (roots.py), with the interpreters' real ARM wheels."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from affectd.recognition.classifier import Classifier
from affectd.recognition.golden import CEPSTRA_LIMIT, STEPS_LIMIT
from affectd.recognition.model_file import read_model
from roots import REPOSITORY, Device, bootstrap, run

MODEL = REPOSITORY / "models" / "affectd.tflite"
TOOLS = ("pytest", "hypothesis", "jsonschema")
# What needs neither recordings nor libraries of the desktop.
TESTS = [
    "audio/test_devices",
    "audio/test_liveness",
    "audio/test_resampler",
    "audio/test_ring_buffer",
    "audio/test_wav",
    "config/test_loading",
    "events/test_event",
    "features/test_context",
    "features/test_framing",
    "recognition/test_classifier",
    "recognition/test_model_file",
    "recognition/test_recording",
    "recognition/test_smoothing",
    "recognition/test_vad",
    "test_pipeline",
]
INVOKE = """
import numpy as np
from affectd.recognition.classifier import Classifier
from affectd.recognition.model_file import find_model, read_model
classifier = Classifier(read_model(find_model()))
np.save("/outputs.npy", [classifier.invoke(quantized) for quantized in np.load("/inputs.npy")])
"""

pytestmark = pytest.mark.slow


@dataclass(frozen=True, kw_only=True)
class System:
    """A Debian system and what is installed in it."""

    architecture: str
    suite: str
    python: str
    packages: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64")
    wheels: tuple[str, ...] = ("ai-edge-litert>=2.1", "numpy>=1.26")
    runtime: str = "ai-edge-litert"
    skipped: tuple[str, ...] = ()
    """Tests that cannot run there, as for ``-k``."""


SYSTEMS = {
    "arm64-bookworm": System(architecture="arm64", suite="bookworm", python="3.11"),
    "arm64-trixie": System(architecture="arm64", suite="trixie", python="3.13"),
    "armhf-bookworm": System(
        architecture="armhf",
        suite="bookworm",
        python="3.11",
        # PyPI has neither for 32-bit ARM.
        packages=("python3-numpy", "python3-pyaudio"),
        platforms=("manylinux_2_34_armv7l", "manylinux_2_17_armv7l"),
        wheels=("tflite-runtime==2.14.0",),
        runtime="tflite-runtime",
        # tflite-runtime's 32-bit wheel crashes on dense int8 layers with fewer than 4 outputs or 8 inputs; the
        # network in miniature has 3 and 4. What a device runs is tested here with the real model.
        skipped=("test_classifier", "test_classify", "real_network", "memory_does_not_grow", "when_the_stream_began"),
    ),
}


def must(*command: str | Path) -> None:
    done = run(*command)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


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
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def system(name: str) -> System:
    return SYSTEMS[name]


@pytest.fixture(scope="module")
def device(system: System, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Device:
    """A system with affectd in a virtual environment, all from a folder of wheels, and the tests beside it."""
    root = bootstrap(system.suite, system.architecture, packages="systemd,python3")
    device = Device([root], tmp_path_factory.mktemp("device"), architecture=system.architecture)
    device.output("/checkout/scripts/system-packages", "python3-venv", *system.packages, network=True)
    wheels, tests = device.upper / "wheels", device.upper / "affectd"
    for folder in (wheels, tests):
        folder.mkdir()
    download(wheels, system, TOOLS)
    # NumPy for 32-bit ARM is Debian's, so that pip could not resolve tflite-runtime's need of it here.
    download(wheels, system, system.wheels, *(["--no-deps"] if system.packages else []))
    shutil.copy(wheel, wheels)
    for copied in ("tests", "scripts", "docs"):
        shutil.copytree(REPOSITORY / copied, tests / copied, ignore=shutil.ignore_patterns("__pycache__"))
    for copied in ("pyproject.toml", "README.md"):
        shutil.copy(REPOSITORY / copied, tests)
    sees = ["--system-site-packages"] if system.packages else []
    device.output("python3", "-m", "venv", *sees, "/opt/affectd")
    install = ("/opt/affectd/bin/pip", "install", "--quiet", "--no-compile", "--no-index", "--find-links=/wheels")
    device.output(*install, "affectd[interpreter]", *TOOLS)
    return device


def test_the_self_test_passes(name: str, system: System, device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    done = device.run("/opt/affectd/bin/affectd", "model", "--self-test")
    assert done.returncode == 0, done.stderr
    description = json.loads(done.stdout)
    with capsys.disabled():
        print(f"\n{name}: {description['runtime']}: {description['self_test']}", end=" ")
    assert description["runtime"].split()[0] == system.runtime
    assert description["self_test"]["cepstra_difference"] <= CEPSTRA_LIMIT
    assert description["self_test"]["output_steps"] <= STEPS_LIMIT


def test_outputs_are_those_here_but_for_rounding(name: str, device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    here = Classifier(read_model(MODEL))
    random = np.random.default_rng(3)
    shape = (20, here.model.n_frames, here.model.spec.n_mfcc)
    # Over the whole range, and over the narrow one that cepstra take.
    wide = random.integers(-128, 128, shape, dtype=np.int8)
    narrow = (30 * random.standard_normal(shape)).clip(-128, 127).astype(np.int8)
    inputs = np.concatenate([wide, narrow])
    np.save(device.upper / "inputs.npy", inputs)
    device.output("/opt/affectd/bin/python", "-c", INVOKE)
    there = np.load(device.upper / "outputs.npy").astype(int)
    expected = np.array([here.invoke(quantized) for quantized in inputs]).astype(int)
    steps = np.abs(there - expected)
    with capsys.disabled():
        print(f"\n{name}: {np.bincount(steps.ravel()).tolist()} outputs are 0, 1, ... steps off", end=" ")
    assert np.unique(expected).size > 20, "the inputs do not exercise the network"
    assert steps.max() <= 2
    assert (steps <= 1).mean() > 0.95


def test_a_recording_gives_the_labels_that_it_gives_here(device: Device) -> None:
    demo = "tests/data/demo.wav"
    done = device.run("/opt/affectd/bin/affectd", "run", "--source", f"/affectd/{demo}")
    assert done.returncode == 0, done.stderr
    here = run(sys.executable, "-m", "affectd", "run", "--source", REPOSITORY / demo, "--model", MODEL)
    assert here.returncode == 0, here.stderr
    said = [[(e["phase"], e["label"]) for e in map(json.loads, d.stdout.splitlines())] for d in (done, here)]
    assert said[0] == said[1] != []


def test_the_edge_tests_pass(name: str, system: System, device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    files = [f"tests/edge/{test}.py" for test in TESTS]
    chosen = " and ".join(f"not {test}" for test in system.skipped)
    pytest_command = f"/opt/affectd/bin/python -m pytest -q -p no:cacheprovider -k '{chosen}' {' '.join(files)}"
    done = device.run("sh", "-c", f"cd /affectd && {pytest_command}")
    with capsys.disabled():
        print(f"\n{name}: {(done.stdout.strip().splitlines() or ['nothing'])[-1]}", end=" ")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_pyaudio_from_debian_is_seen(system: System, device: Device) -> None:
    if "python3-pyaudio" not in system.packages:
        pytest.skip("only where PyPI's would have to be compiled")
    done = device.run("/opt/affectd/bin/affectd", "devices")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "no microphone" in done.stderr

"""The same model on every interpreter a device may have, each in a virtual environment of its own.

The first run downloads about 100 MB; pytest's cache keeps the environments.
"""

from __future__ import annotations

import json
import os
import pickle
import platform
import subprocess
import sys
import venv
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affectd.features.mfcc import Mfcc
from affectd.recognition.classifier import Classifier
from affectd.recognition.golden import STEPS_LIMIT
from affectd.recognition.model_file import read_model, write_model
from tiny_model import tiny_model

REPOSITORY = Path(__file__).parents[3]
N_SPEECH = 80
ENVIRONMENTS = {
    "litert": ("ai-edge-litert", "numpy"),
    "tflite": ("tflite-runtime==2.14.0", "numpy<2"),
    "tflite beside NumPy 2": ("tflite-runtime==2.14.0", "numpy>=2"),
}
PROGRAM = """
import json, sys
import numpy as np
from affectd.recognition.classifier import Classifier
from affectd.recognition.golden import self_test
from affectd.errors import AffectdError
from affectd.recognition.model_file import read_model, write_model
model_path, inputs_path, copy_path = sys.argv[1:]
model = read_model(model_path)
try:
    classifier = Classifier(model)
except AffectdError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
write_model(copy_path, model)
print(json.dumps({
    "runtime": [classifier.runtime_name, classifier.runtime_version],
    "numpy": np.__version__,
    "outputs": [classifier.invoke(quantized).tolist() for quantized in np.load(inputs_path)],
    "self_test": self_test(model, classifier),
}))
"""

if platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"):
    pytest.skip("the wheels compared here exist for 64-bit Linux", allow_module_level=True)


@pytest.fixture(scope="module", params=["tiny", "models/affectd.tflite"])
def model_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "tiny":
        path = tmp_path_factory.mktemp("tiny") / "tiny.tflite"
        write_model(path, tiny_model())
        return path
    path = REPOSITORY / "models" / "affectd.tflite"
    if not path.exists():
        pytest.skip(f"{path} does not exist")
    return path


@pytest.fixture(scope="module")
def inputs_path(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random int8 inputs over the whole range and over the narrow one that cepstra take, and contexts of speech."""
    random = np.random.default_rng(11)
    model = read_model(model_path)
    shape = (200, model.n_frames, model.spec.n_mfcc)
    wide = random.integers(-128, 128, shape, dtype=np.int8)
    narrow = (30 * random.standard_normal(shape)).clip(-128, 127).astype(np.int8)
    mfcc, classifier = Mfcc(model.spec), Classifier(model)
    with wave.open(str(REPOSITORY / "tests" / "data" / "demo.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768
    bands = mfcc.bands(mfcc.frames(samples))
    starts = np.linspace(0, len(bands) - model.n_frames, N_SPEECH).astype(int)
    speech = [classifier.quantize(mfcc.cepstra(bands[i : i + model.n_frames])) for i in starts]
    path = tmp_path_factory.mktemp("inputs") / "inputs.npy"
    np.save(path, np.concatenate([wide, narrow, speech]))
    return path


def environment(name: str, cache: pytest.Cache) -> Path:
    """Return the Python of a virtual environment with this interpreter, made on first use."""
    requirements = ENVIRONMENTS[name]
    if "tflite-runtime==2.14.0" in requirements and sys.version_info[:2] > (3, 11):
        pytest.skip("tflite-runtime has no wheel for a Python above 3.11")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = cache.mkdir(f"runtimes-{version}") / name.replace(" ", "-")
    python = folder / "bin" / "python"
    complete = folder / "complete"
    if not complete.exists():
        venv.create(folder, clear=True, symlinks=True)
        command = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
        installed = subprocess.run([*command, "--only-binary", ":all:", *requirements], capture_output=True, text=True)
        assert installed.returncode == 0, installed.stderr
        complete.touch()
    return python


def run(python: Path, *arguments: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-c", PROGRAM, *arguments],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "edge")},
        capture_output=True,
        text=True,
    )


def result(python: Path, *arguments: Path) -> dict[str, Any]:
    ran = run(python, *arguments)
    assert ran.returncode == 0, ran.stderr
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


def test_runtimes_agree_and_pass_the_self_test(
    model_path: Path, inputs_path: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    cache: pytest.Cache = pytestconfig.cache  # type: ignore[assignment]
    outputs = {}
    for name, runtime in [("litert", "ai-edge-litert"), ("tflite", "tflite-runtime")]:
        answer = result(environment(name, cache), model_path, inputs_path, tmp_path / name)
        assert answer["runtime"][0] == runtime
        assert answer["numpy"].startswith("1.") == (name == "tflite")
        assert answer["self_test"]["cepstra_difference"] <= 1e-2
        assert answer["self_test"]["input_steps"] <= 1
        assert answer["self_test"]["output_steps"] <= STEPS_LIMIT
        # NumPy 1 and 2 write the same bytes.
        assert (tmp_path / name).read_bytes() == model_path.read_bytes()
        outputs[name] = np.array(answer["outputs"])
    assert np.unique(outputs["litert"]).size > 10, "the inputs do not exercise the network"
    difference = np.abs(outputs["litert"] - outputs["tflite"])
    # The one layer of the tiny network may round the other way; of forty operators, several at once, so that of
    # thousands of logits a few are three steps apart or more, in one file as in another. An operator that computes
    # something else changes most of them, or one label's: those are held close.
    if model_path.name == "tiny.tflite":
        assert difference.max() <= 1
    assert difference[-N_SPEECH:].max() <= 3
    assert (difference <= 2).mean() > 0.997
    assert (difference <= 1).mean() > 0.98
    assert np.abs((outputs["litert"] - outputs["tflite"]).mean(axis=0)).max() < 0.1
    # Of speech they say the same where no tie is near: of two labels each may be one step off, in opposite directions,
    # which may turn a lead of two steps, but hardly ever does.
    litert, tflite = (outputs[name][-N_SPEECH:] for name in ("litert", "tflite"))
    leads = np.diff(np.sort(litert, axis=1)[:, -2:]).ravel()
    assert (leads > 1).mean() > 0.5, "the speech does not exercise the network"
    same = litert.argmax(1) == tflite.argmax(1)
    assert same[leads > 1].mean() > 0.97
    assert same[leads > 2].all()


def test_tflite_runtime_beside_numpy_2_is_skipped_with_one_sentence(
    model_path: Path, inputs_path: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    python = environment("tflite beside NumPy 2", pytestconfig.cache)  # type: ignore[arg-type]
    ran = run(python, model_path, inputs_path, tmp_path / "copy")
    assert (ran.returncode, ran.stdout) == (69, "")
    (sentence,) = ran.stderr.splitlines()
    assert "ai-edge-litert: not installed" in sentence
    assert "tflite-runtime: built for NumPy 1, fails beside NumPy 2." in sentence
    assert "pip install" not in sentence, "one is there"


PROBE = """
import pickle, sys
from tflite_runtime.interpreter import Interpreter
for name, version, content in pickle.load(open(sys.argv[1], "rb")):
    try:
        Interpreter(model_content=content)
    except ValueError:
        continue
    print(name, version)
"""


def probe(number: int, version: int) -> bytes:
    """A file without operators that names one."""
    import flatbuffers
    from tensorflow.lite.python import schema_py_generated as schema

    code, tensor, graph, model = schema.OperatorCodeT(), schema.TensorT(), schema.SubGraphT(), schema.ModelT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), version
    tensor.shape, tensor.type = [1], schema.TensorType.INT8
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [tensor], [0], [0], []
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT()]
    builder = flatbuffers.Builder(256)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_the_desktop_knows_which_operators_tflite_runtime_has(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    schema = pytest.importorskip("tensorflow.lite.python.schema_py_generated")
    from affectd_train.foreign.operators import NEWEST

    numbers = {name: value for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    assert set(NEWEST) <= set(numbers)
    probes = [(name, version, probe(number, version)) for name, number in numbers.items() for version in range(1, 12)]
    (tmp_path / "probes").write_bytes(pickle.dumps(probes))
    python = environment("tflite", pytestconfig.cache)  # type: ignore[arg-type]
    ran = subprocess.run([python, "-c", PROBE, tmp_path / "probes"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, int] = {}
    for line in ran.stdout.splitlines():
        name, version = line.split()
        found[name] = max(found.get(name, 0), int(version))
    assert found == NEWEST

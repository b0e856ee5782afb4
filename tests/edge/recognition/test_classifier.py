"""The classifier: the arithmetic around the network, the choice of the interpreter, the self-test."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affectd.config.sections import ModelConfig
from affectd.errors import ModelFileError, UnavailableError
from affectd.features.mfcc import Mfcc
from affectd.features.spec import FeatureSpec
from affectd.recognition import classifier as classifier_module
from affectd.recognition.classifier import Classifier, _tensor, load_classifier
from affectd.recognition.golden import golden_vectors, self_test
from affectd.recognition.model_file import ModelFile, read_model, write_model
from tiny_model import DATA, LABELS, N_FRAMES, draft_model, pcm, tiny_model

N_MFCC = FeatureSpec().n_mfcc


@pytest.fixture(scope="module")
def model() -> ModelFile:
    return tiny_model()


@pytest.fixture(scope="module")
def classifier(model: ModelFile) -> Classifier:
    return Classifier(model)


def interpreter_of(classifier: Classifier) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=classifier.model.tflite)
    interpreter.allocate_tensors()
    return interpreter


def reference(model: ModelFile, interpreter: Any, cepstra: np.ndarray) -> np.ndarray:
    """The probabilities, step by step in float64, on an interpreter of its own."""
    (source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero_point = source["quantization"]
    steps = (cepstra.astype(float) - model.mean) / model.std / scale
    quantized = np.sign(steps) * np.floor(np.abs(steps) + 0.5) + zero_point
    interpreter.set_tensor(source["index"], quantized.clip(-128, 127).astype(np.int8)[None])
    interpreter.invoke()
    scale, zero_point = sink["quantization"]
    logits = scale * (interpreter.get_tensor(sink["index"])[0].astype(float) - zero_point)
    weights = np.exp(logits / model.temperature)
    return weights / weights.sum()


def test_probabilities_are_those_of_the_network(classifier: Classifier) -> None:
    random = np.random.default_rng(5)
    model, interpreter = classifier.model, interpreter_of(classifier)
    for spread in (0.0, 0.5, 1.0, 30.0):
        normal = spread * random.standard_normal((N_FRAMES, N_MFCC))
        cepstra = (normal * model.std + model.mean).astype(np.float32)
        probabilities = classifier(cepstra)
        assert probabilities.dtype == np.float32
        assert probabilities.shape == (len(LABELS),)
        assert probabilities.sum() == pytest.approx(1, abs=1e-6)
        np.testing.assert_allclose(probabilities, reference(model, interpreter, cepstra), atol=1e-5)


def test_an_answer_does_not_depend_on_the_one_before(classifier: Classifier, model: ModelFile) -> None:
    first = classifier(model.golden["cepstra"])
    other = classifier(-3 * model.golden["cepstra"])
    assert not np.allclose(first, other)
    np.testing.assert_array_equal(classifier(model.golden["cepstra"]), first)


def test_the_result_is_not_overwritten_by_the_next(classifier: Classifier, model: ModelFile) -> None:
    output = classifier.invoke(model.golden["input"])
    kept = output.copy()
    classifier.invoke(np.full((N_FRAMES, N_MFCC), 127, np.int8))
    np.testing.assert_array_equal(output, kept)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_gets_no_label(classifier: Classifier, model: ModelFile, value: float) -> None:
    cepstra = model.golden["cepstra"].copy()
    cepstra[-1, -1] = value
    with pytest.raises(UnavailableError, match=r"^NumPy .* NaN or infinite"):
        classifier(cepstra)


def test_temperature_flattens_without_changing_the_order(model: ModelFile) -> None:
    cepstra = model.golden["cepstra"]
    cold, warm, hot = (
        Classifier(dataclasses.replace(model, temperature=temperature))(cepstra) for temperature in (1e-6, 1.5, 1e6)
    )
    assert cold.argmax() == warm.argmax()
    assert cold.max() == pytest.approx(1)
    assert cold.max() > warm.max() > hot.max()
    np.testing.assert_allclose(hot, 1 / len(LABELS), atol=1e-4)


def test_the_interpreter_ignores_the_appended_zip(model: ModelFile, tmp_path: Path) -> None:
    path = tmp_path / "tiny.tflite"
    write_model(path, model)
    whole = Classifier(dataclasses.replace(model, tflite=path.read_bytes()))
    np.testing.assert_array_equal(whole.invoke(model.golden["input"]), model.golden["output"])


def test_the_runtime_in_use_is_named(classifier: Classifier) -> None:
    assert classifier.runtime_name == "ai-edge-litert"
    assert classifier.runtime_version[0].isdigit()
    assert Classifier(classifier.model, runtime="ai-edge-litert").runtime_name == "ai-edge-litert"


def blank(n_frames: int) -> dict[str, np.ndarray]:
    shape = (n_frames, N_MFCC)
    return {**draft_model().golden, "cepstra": np.zeros(shape, np.float32), "input": np.zeros(shape, np.int8)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"tflite": (DATA / "tiny_float.tflite").read_bytes()},
            r"^input: expected int8 \(1, 8, 40\), found float32 \(1, 8, 40\)$",
        ),
        (
            {"n_frames": 9, "golden": blank(9)},
            r"^input: expected int8 \(1, 9, 40\), found int8 \(1, 8, 40\)$",
        ),
        (
            {"labels": ("no", "yes"), "golden": {**blank(8), "output": np.zeros(2, np.int8)}},
            r"^output: expected int8 \(1, 2\), found int8 \(1, 3\)$",
        ),
    ],
    ids=["float", "frames", "labels"],
)
def test_a_network_of_another_shape_or_type_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        Classifier(draft_model(**changes))


def test_an_unknown_runtime_is_refused(model: ModelFile) -> None:
    with pytest.raises(UnavailableError, match="'tensorflow'; try ai-edge-litert or tflite-runtime"):
        Classifier(model, runtime="tensorflow")


def test_without_any_runtime_every_reason_is_given(model: ModelFile, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in classifier_module.RUNTIMES.values():
        monkeypatch.setitem(sys.modules, f"{module}.interpreter", None)
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UnavailableError) as caught:
        Classifier(model)
    assert "ai-edge-litert: not installed; tflite-runtime: not installed" in str(caught.value)
    assert str(caught.value).endswith("; pip install 'affectd[interpreter]' brings one")
    assert caught.value.exit_code == 69


def broken_at(stage: str) -> type:
    def fail(*_: Any, **__: Any) -> None:
        print("a page of advice", file=sys.stderr)
        raise SystemError("error return\nwithout exception set")

    methods = dict.fromkeys(("__init__", "allocate_tensors", "invoke"), lambda *_, **__: None)
    return type("Interpreter", (), {**methods, stage: fail})


@pytest.mark.parametrize("stage", ["__init__", "allocate_tensors", "invoke"])
def test_a_runtime_that_imports_but_does_not_run_is_skipped(
    model: ModelFile, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], stage: str
) -> None:
    package, module = types.ModuleType("broken"), types.ModuleType("broken.interpreter")
    module.Interpreter = broken_at(stage)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "broken", package)
    monkeypatch.setitem(sys.modules, "broken.interpreter", module)
    monkeypatch.setattr(classifier_module, "RUNTIMES", {"broken": "broken", **classifier_module.RUNTIMES})
    assert Classifier(model).runtime_name == "ai-edge-litert"
    with pytest.raises(UnavailableError, match="broken: SystemError: error return without exception set"):
        Classifier(model, runtime="broken")
    out, err = capfd.readouterr()
    assert out == ""
    assert "advice" not in err


def test_a_damaged_network_is_refused_with_the_reason(model: ModelFile) -> None:
    damaged = model.tflite[:8] + b"\xff" * (len(model.tflite) - 8)
    # Not UnavailableError: no restart mends it.
    with pytest.raises(ModelFileError, match=r"^tflite: .*ai-edge-litert: ValueError"):
        Classifier(dataclasses.replace(model, tflite=damaged), runtime="ai-edge-litert")


def test_a_network_that_fails_to_load_is_not_worth_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    tflite = draft_model().tflite
    write_model(path, draft_model(tflite=tflite[:8] + bytes(len(tflite) - 8)))
    with pytest.raises(ModelFileError, match=rf"^model file {path}: tflite: ") as caught:
        load_classifier(ModelConfig(path=str(path)))
    assert caught.value.exit_code == 78


def test_a_scale_that_overflows_is_named() -> None:
    details = {"shape": np.array([1, 3]), "dtype": np.int8, "index": 0}
    for quantization in ((3e38, 0), (1e-40, 0), (0.0, 0), (np.nan, 0), (0.5, 200)):
        with pytest.raises(ModelFileError, match=r"^output: expected"):
            _tensor("output", [{**details, "quantization": quantization}], (1, 3))


def test_nothing_of_the_runtime_reaches_stdout(model: ModelFile, tmp_path: Path) -> None:
    write_model(tmp_path / "tiny.tflite", model)
    program = (
        "import sys\n"
        "from affectd.recognition.classifier import Classifier\n"
        "from affectd.recognition.golden import self_test\n"
        "from affectd.recognition.model_file import read_model\n"
        "model = read_model(sys.argv[1])\n"
        "self_test(model, Classifier(model))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "tiny.tflite"],
        env=os.environ | {"PYTHONPATH": str(Path(classifier_module.__file__).parents[2])},
        capture_output=True,
    )
    assert (ran.returncode, ran.stdout) == (0, b""), ran.stderr.decode()


def test_the_self_test_finds_no_difference_where_the_model_was_made(
    model: ModelFile, classifier: Classifier, tmp_path: Path
) -> None:
    write_model(tmp_path / "tiny.tflite", model)
    found = self_test(read_model(tmp_path / "tiny.tflite"), classifier)
    assert found == {"cepstra_difference": 0.0, "input_steps": 0.0, "output_steps": 0.0}


@pytest.mark.parametrize(("name", "small", "large"), [("cepstra", 0.005, 0.02), ("input", 1, 2), ("output", 1, 2)])
def test_the_self_test_names_what_is_off(model: ModelFile, name: str, small: float, large: float) -> None:
    for difference in (small, large):
        golden = {key: array.copy() for key, array in model.golden.items()}
        value = golden[name].reshape(-1)[1:2]
        # Towards zero, so that an int8 does not wrap.
        value -= np.asarray(np.copysign(difference, value), value.dtype)
        off = dataclasses.replace(model, golden=golden)
        if difference == small:
            self_test(off, Classifier(model))
        else:
            with pytest.raises(ModelFileError, match=rf"^golden\.{name}: expected within"):
                self_test(off, Classifier(model))


def test_the_self_test_judges_the_network_by_the_stored_input(model: ModelFile, classifier: Classifier) -> None:
    # One step up or down per coefficient, in a pattern to which this network answers with several.
    signs = np.random.default_rng(2).choice([-1, 1], size=N_MFCC)
    shifted = np.clip(model.golden["input"].astype(int) + signs, -128, 127).astype(np.int8)
    output = classifier.invoke(shifted)
    assert np.abs(output.astype(int) - model.golden["output"]).max() > 1, "the shift does not show"
    golden = {**model.golden, "input": shifted, "output": output}
    found = self_test(dataclasses.replace(model, golden=golden), classifier)
    assert found == {"cepstra_difference": 0.0, "input_steps": 1.0, "output_steps": 0.0}


def test_the_self_test_notices_another_front_end(model: ModelFile) -> None:
    other = dataclasses.replace(model, spec=FeatureSpec(fmin=50.0))
    with pytest.raises(ModelFileError, match=r"^golden\.cepstra"):
        self_test(other, Classifier(other))


def test_golden_vectors_treat_a_clip_as_the_device_treats_an_utterance() -> None:
    # Of a reference that cancels gain, a wrong full scale would not show.
    classifier = Classifier(draft_model(spec=FeatureSpec(reference="one")))
    mfcc = Mfcc(classifier.model.spec)
    for n_samples in (700, 30_000):
        samples = pcm(n_samples)
        bands = mfcc.bands(mfcc.frames(samples.astype(np.float32) / 32768))
        silence = np.full((max(0, N_FRAMES - len(bands)), bands.shape[1]), mfcc.floor, np.float32)
        expected = mfcc.cepstra(np.concatenate([silence, bands[-N_FRAMES:]]))
        golden = golden_vectors(samples, classifier)
        np.testing.assert_allclose(golden["cepstra"], expected, atol=1e-4)
        np.testing.assert_array_equal(golden["input"], classifier.quantize(golden["cepstra"]))
        np.testing.assert_array_equal(golden["output"], classifier.invoke(golden["input"]))

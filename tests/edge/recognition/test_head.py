"""Format 2 of the model file: the network gives an embedding, and a head turns it into logits."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import math
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectd.errors import ModelFileError
from affectd.recognition.classifier import Classifier
from affectd.recognition.description import describe
from affectd.recognition.golden import self_test
from affectd.recognition.model_file import ModelFile, find_model, read_model, write_model
from affectd.recognition.voice import without_voice
from tiny_model import (
    BASELINE,
    DATA,
    LABELS,
    PLACE_LABELS,
    draft_place_model,
    place_model,
    tiny_model,
)

N_EMBEDDING, N_LABELS = len(LABELS), len(PLACE_LABELS)
HEAD = ("weights", "bias", "baseline", "spread")


@pytest.fixture(scope="module")
def model() -> ModelFile:
    return place_model()


@pytest.fixture(scope="module")
def written(model: ModelFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "place.tflite"
    write_model(path, model)
    return path


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("broken") / "model.tflite"


def members(path: Path) -> tuple[dict[str, bytes], bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}, archive.comment


def changed(path: Path, spec: dict[str, Any] | None = None, **arrays: np.ndarray | None) -> bytes:
    """The file with another ``spec.json``, and arrays of ``golden.npz`` replaced, added or removed (None)."""
    content, comment = members(path)
    golden = {**np.load(io.BytesIO(content["golden.npz"])), **arrays}
    packed = io.BytesIO()
    np.savez(packed, **{name: array for name, array in golden.items() if array is not None})
    content["golden.npz"] = packed.getvalue()
    if spec is not None:
        content["spec.json"] = json.dumps(spec).encode()
    buffer = io.BytesIO((DATA / "tiny.tflite").read_bytes())
    with zipfile.ZipFile(buffer, "a") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
        archive.comment = comment
    data = buffer.getvalue()[:-64]
    return data + hashlib.sha256(data).hexdigest().encode()


def assert_refused(path: Path, data: bytes, field: str) -> None:
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=rf"^model file {path}: {field}") as caught:
        read_model(path)
    assert caught.value.exit_code == 78
    assert len(str(caught.value)) < 1000


def test_what_is_written_is_read_and_gives_the_same_bytes(written: Path, model: ModelFile, tmp_path: Path) -> None:
    read = read_model(written)
    assert read.head is not None
    assert model.head is not None
    for name in HEAD:
        before, after = getattr(model.head, name), getattr(read.head, name)
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(after, before)
    assert read.head.spec == model.head.spec
    np.testing.assert_array_equal(read.golden["logits"], model.golden["logits"])
    write_model(tmp_path / "again", read)
    assert (tmp_path / "again").read_bytes() == written.read_bytes()


def test_every_array_has_one_place_in_the_file(written: Path) -> None:
    content, _ = members(written)
    assert list(content) == ["spec.json", "labels.txt", "golden.npz", "card.json"]
    golden = np.load(io.BytesIO(content["golden.npz"]))
    assert sorted(golden) == sorted(("samples", "cepstra", "input", "output", "logits", *HEAD))
    spec = json.loads(content["spec.json"])
    assert spec["format"] == 2
    assert spec["baseline"] == BASELINE


def test_files_are_written_as_before(tmp_path: Path) -> None:
    plain = tmp_path / "plain.tflite"
    write_model(plain, without_voice(read_model(find_model())))
    assert json.loads(members(plain)[0]["spec.json"])["format"] == 1
    for path in (find_model(), find_model().parent / "affectd-commercial.tflite", plain):
        write_model(tmp_path / "copy", read_model(path))
        assert (tmp_path / "copy").read_bytes() == path.read_bytes()
    write_model(tmp_path / "tiny", tiny_model())
    spec = json.loads(members(tmp_path / "tiny")[0]["spec.json"])
    assert spec["format"] == 1
    assert "baseline" not in spec


def test_without_a_head_nothing_of_it_is_imported(tmp_path: Path) -> None:
    """Modules take memory, which a network without one must not pay for."""
    program = (
        "import sys; import affectd.run; from affectd.config.sections import ModelConfig\n"
        "from affectd.recognition.classifier import load_classifier\n"
        "load_classifier(ModelConfig(path=sys.argv[1]))\n"
        "ours = ('head', 'baseline', 'kept', 'place', 'voice')\n"
        "print([name for name in ours if 'affectd.recognition.' + name in sys.modules])"
    )
    path = tmp_path / "plain.tflite"
    write_model(path, without_voice(read_model(find_model())))
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def reference(model: ModelFile, embedding: np.ndarray, baseline: np.ndarray) -> list[float]:
    """The probabilities, number by number."""
    head = model.head
    assert head is not None
    logits = [
        float(head.bias[label])
        + sum(
            (float(e) - float(b)) * float(w)
            for e, b, w in zip(embedding, baseline, head.weights[:, label], strict=True)
        )
        for label in range(N_LABELS)
    ]
    powers = [math.exp(logit / model.temperature) for logit in logits]
    return [power / sum(powers) for power in powers]


def test_the_head_sees_the_embedding_minus_the_baseline(model: ModelFile) -> None:
    classifier, head = Classifier(model), model.head
    assert head is not None
    embedding = classifier.embed(model.golden["cepstra"])
    assert embedding.shape == (N_EMBEDDING,)
    np.testing.assert_allclose(
        classifier(model.golden["cepstra"]), reference(model, embedding, head.baseline), atol=1e-6
    )
    moved = head.baseline + np.float32([0.5, -0.25, 1.0])
    expected = (embedding - moved) @ head.weights + head.bias
    np.testing.assert_allclose(head.logits(embedding, moved), expected, atol=1e-5)
    assert not np.allclose(head.logits(embedding, moved), head.logits(embedding, head.baseline), atol=0.1)


def test_a_distance_is_in_units_of_the_spread(model: ModelFile) -> None:
    head = model.head
    assert head is not None
    assert head.distance(head.baseline) == 0
    assert head.distance(head.baseline + head.spread) == pytest.approx(1)
    steps = np.float32([3.0, -4.0, 0.0])
    assert head.distance(head.baseline + steps * head.spread) == pytest.approx(5 / math.sqrt(3), rel=1e-6)


def test_the_self_test_replays_the_logits(model: ModelFile, written: Path) -> None:
    classifier = Classifier(model)
    found = self_test(read_model(written), classifier)
    assert found == {"cepstra_difference": 0.0, "input_steps": 0.0, "output_steps": 0.0, "logits_difference": 0.0}
    logits = model.golden["logits"]
    near = dataclasses.replace(model, golden={**model.golden, "logits": logits + np.float32(5e-4)})
    assert self_test(near, classifier)["logits_difference"] == pytest.approx(5e-4, rel=1e-2)
    off = dataclasses.replace(model, golden={**model.golden, "logits": logits + np.float32(2e-3)})
    with pytest.raises(ModelFileError, match=r"^golden.logits: expected within 0.001 .* found 0.002"):
        self_test(off, classifier)


def test_a_description_says_how_the_baseline_learns(model: ModelFile, written: Path) -> None:
    described = describe(written, Classifier(model))
    assert described["output"] == [1, N_EMBEDDING]
    assert described["labels"] == list(PLACE_LABELS)
    assert described["baseline"] == BASELINE
    assert "baseline" not in describe(find_model(), Classifier(tiny_model()))


def test_a_network_with_another_output_is_named(model: ModelFile) -> None:
    head = model.head
    assert head is not None
    head = dataclasses.replace(
        head,
        weights=np.ones((5, N_LABELS), np.float32),
        baseline=np.zeros(5, np.float32),
        spread=np.ones(5, np.float32),
    )
    golden = {**model.golden, "output": np.zeros(5, np.int8)}
    with pytest.raises(ModelFileError, match=r"^output: expected int8 \(1, 5\), found int8 \(1, 3\)$"):
        Classifier(draft_place_model(head=head, golden=golden))


@pytest.mark.parametrize(
    ("field", "arrays"),
    [
        ("golden: .*missing \\['weights'\\]", {"weights": None}),
        ("golden: .*missing \\['spread'\\]", {"spread": None}),
        ("golden: expected the arrays .*logits", {"logits": None}),
        ("golden: expected the arrays", {"surprise": np.zeros(3, np.float32)}),
        ("golden.weights", {"weights": np.zeros((N_EMBEDDING, N_LABELS))}),
        ("golden.weights", {"weights": np.zeros((N_EMBEDDING, N_LABELS + 1), np.float32)}),
        ("golden.weights", {"weights": np.zeros(N_EMBEDDING, np.float32)}),
        ("golden.weights", {"weights": np.zeros((0, N_LABELS), np.float32)}),
        ("golden.weights: expected an embedding of 1 to 1024", {"weights": np.zeros((1025, N_LABELS), np.float32)}),
        ("golden.weights", {"weights": np.full((N_EMBEDDING, N_LABELS), np.nan, np.float32)}),
        ("golden.weights", {"weights": np.full((N_EMBEDDING, N_LABELS), 1e10, np.float32)}),
        ("golden.bias", {"bias": np.zeros(N_LABELS - 1, np.float32)}),
        ("golden.bias", {"bias": np.full(N_LABELS, -np.inf, np.float32)}),
        ("golden.baseline", {"baseline": np.zeros(N_EMBEDDING + 1, np.float32)}),
        ("golden.baseline", {"baseline": np.full(N_EMBEDDING, np.nan, np.float32)}),
        ("golden.spread: expected numbers of at least 1e-09, found 0", {"spread": np.zeros(N_EMBEDDING, np.float32)}),
        ("golden.spread", {"spread": np.full(N_EMBEDDING, -1, np.float32)}),
        ("golden.spread", {"spread": np.full(N_EMBEDDING, np.inf, np.float32)}),
        ("golden.output: expected int8 \\(3,\\)", {"output": np.zeros(N_LABELS, np.int8)}),
        ("golden.logits", {"logits": np.zeros(N_LABELS)}),
        ("golden.logits", {"logits": np.zeros(N_EMBEDDING, np.float32)}),
        ("golden.logits", {"logits": np.full(N_LABELS, np.nan, np.float32)}),
    ],
)
def test_an_impossible_head_is_named(
    written: Path, scratch: Path, field: str, arrays: dict[str, np.ndarray | None]
) -> None:
    assert_refused(scratch, changed(written, **arrays), field)


@pytest.mark.parametrize(
    ("field", "baseline"),
    [
        ("baseline: expected an object", None),
        ("baseline: expected an object", [1.0]),
        ("baseline: expected an object", {}),
        ("baseline: expected an object", {**BASELINE, "surprise": 1}),
        ("baseline: expected an object", {**BASELINE, "x" * 9000: 1}),
        *(
            (f"baseline.{name}: expected a number from", {**BASELINE, name: value})
            for name in BASELINE
            for value in (None, "1", True, math.nan, math.inf, -1.0, 1e300, [])
        ),
        ("baseline.prior_seconds: expected a number from 1 to 1e\\+06, found 0", {**BASELINE, "prior_seconds": 0}),
        ("baseline.half_life_hours", {**BASELINE, "half_life_hours": 0.0}),
        (
            "baseline.far_distance: expected near_distance \\(3\\) or more",
            {**BASELINE, "near_distance": 3, "far_distance": 2},
        ),
    ],
)
def test_impossible_numbers_of_the_baseline_are_named(
    written: Path, scratch: Path, field: str, baseline: object
) -> None:
    spec = json.loads(members(written)[0]["spec.json"])
    assert_refused(scratch, changed(written, spec | {"baseline": baseline}), field)


def test_a_head_in_a_file_of_format_1_is_refused(written: Path, scratch: Path) -> None:
    spec = json.loads(members(written)[0]["spec.json"])
    assert_refused(scratch, changed(written, spec | {"format": 1}), "spec.json: .*not known \\['baseline'\\]")
    del spec["baseline"]
    assert_refused(scratch, changed(written, spec | {"format": 1}), "golden: expected the arrays")
    assert_refused(scratch, changed(written, spec), "spec.json: .*missing \\['baseline'\\]")


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


numbers = st.floats(width=32) | st.sampled_from([0.0, -0.0, 1e-45, 3e38, np.inf, np.nan])


@given(name=st.sampled_from((*HEAD, "logits")), data=st.data())
def test_whatever_passes_gives_probabilities(written: Path, scratch: Path, name: str, data: st.DataObject) -> None:
    """An array of any numbers is refused, or the device answers with numbers."""
    shape = np.load(io.BytesIO(members(written)[0]["golden.npz"]))[name].shape
    values = data.draw(st.lists(numbers, min_size=math.prod(shape), max_size=math.prod(shape)))
    scratch.write_bytes(changed(written, **{name: np.array(values, np.float32).reshape(shape)}))
    try:
        model = read_model(scratch)
    except ModelFileError:
        return
    probabilities = Classifier(model)(model.golden["cepstra"])
    assert np.isfinite(probabilities).all()
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)

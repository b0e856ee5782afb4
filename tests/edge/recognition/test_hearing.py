"""A network that hears as its notebook did: what reaches it is the array that librosa and NumPy make there."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affectd.config.sections import Config
from affectd.errors import DataError, ModelFileError
from affectd.features.spec import FeatureSpec
from affectd.pipeline import run
from affectd.recognition.classifier import Classifier, quantize
from affectd.recognition.golden import golden_vectors, self_test
from affectd.recognition.hearing import MOST_SECONDS, Hearing, InputLayout
from affectd.recognition.model_file import ModelFile, read_model, write_model
from affectd.recognition.recording import classify_recording
from sounds import as_int16, gain, noise, silence, syllables, write_wav
from tiny_model import DATA, LABELS, N_FRAMES, draft_model, draft_place_model, pcm, resealed

# The defaults of librosa at 16 kHz, with 40 MFCCs; 48000 samples have 94 frames.
LIBROSA: dict[str, Any] = {
    "window_length": 2048,
    "n_fft": 2048,
    "hop_length": 512,
    "reference": "one",
    "log_floor": 1e-10,
    "top_db": 80.0,
}
SPEC = FeatureSpec(**LIBROSA)
RATE, CONTEXT, N_MFCC = 16000, 94, 40
TOLERANCE = 2e-3
MEAN, STD = np.linspace(-300, 3, N_MFCC, dtype=np.float32), np.linspace(150, 7, N_MFCC, dtype=np.float32)
PATIENCE_SECONDS = 120
pytestmark = pytest.mark.filterwarnings("ignore:n_fft=2048 is too large")

SPEECH = as_int16(np.concatenate([silence(0.4), gain(syllables(2.2), -12), gain(noise("white", 3), -50)]))
RECORDINGS = {
    "a few samples": SPEECH[8000:8037],
    "shorter than a frame": SPEECH[8000:9000],
    "shorter": SPEECH[:30000],
    "as long": SPEECH[:48000],
    "a sample longer": SPEECH[:48001],
    "longer": SPEECH,
    "with silence": np.concatenate([silence(1), SPEECH[8000:20000], silence(1.3)]),
    "silence": silence(2),
    "long silence": silence(4),
}


def mfcc(samples: np.ndarray) -> np.ndarray:
    return librosa.feature.mfcc(y=samples, sr=RATE, n_mfcc=N_MFCC)


def at_end(columns: np.ndarray) -> np.ndarray:
    """Frames first; zeros behind, or cut off there."""
    rows = columns.T[:CONTEXT]
    return np.pad(rows, ((0, CONTEXT - len(rows)), (0, 0)))


def at_start(columns: np.ndarray) -> np.ndarray:
    """What keras.utils.pad_sequences does unless it is told otherwise."""
    rows = columns.T[-CONTEXT:]
    return np.pad(rows, ((CONTEXT - len(rows), 0), (0, 0)))


def in_the_middle(columns: np.ndarray) -> np.ndarray:
    rows = columns.T
    if len(rows) > CONTEXT:
        first = (len(rows) - CONTEXT) // 2
        return rows[first : first + CONTEXT]
    missing = CONTEXT - len(rows)
    return np.pad(rows, ((missing // 2, missing - missing // 2), (0, 0)))


def repeated(columns: np.ndarray) -> np.ndarray:
    rows = columns.T[:CONTEXT]
    return np.pad(rows, ((0, CONTEXT - len(rows)), (0, 0)), mode="wrap")


def scaled(columns: np.ndarray) -> np.ndarray:
    columns = (columns - columns.mean(axis=1, keepdims=True)) / (columns.std(axis=1, keepdims=True) + 1e-8)
    return at_end(columns)


def normalized(x: np.ndarray) -> np.ndarray:
    return (x - MEAN) / STD


def zeros_behind_normalized(samples: np.ndarray) -> np.ndarray:
    rows = normalized(mfcc(samples).T)[:CONTEXT]
    return np.pad(rows, ((0, CONTEXT - len(rows)), (0, 0)))


def trimmed_and_fixed(samples: np.ndarray) -> np.ndarray:
    trimmed, _ = librosa.effects.trim(samples, top_db=30)
    return normalized(mfcc(librosa.util.fix_length(trimmed, size=48000)).T)


def cut_out(samples: np.ndarray) -> np.ndarray:
    """As librosa.load with an offset and a duration, which RAVDESS notebooks have."""
    return samples[int(0.5 * RATE) :][: int(2.5 * RATE)]


@dataclasses.dataclass(frozen=True)
class Notebook:
    reference: Callable[[np.ndarray], np.ndarray]  # from samples to the input of its network
    shape: tuple[int, ...]
    layout: dict[str, Any]
    hearing: dict[str, Any]


FRAMES = (1, CONTEXT, N_MFCC)
NOTEBOOKS = {
    "frames, zeros at the end": Notebook(lambda y: normalized(at_end(mfcc(y))), FRAMES, {}, {}),
    "frames, zeros at the start": Notebook(
        lambda y: normalized(at_start(mfcc(y))), FRAMES, {}, {"pad_at": "start", "cut_at": "start"}
    ),
    "frames, in the middle": Notebook(
        lambda y: normalized(in_the_middle(mfcc(y))), FRAMES, {}, {"pad_at": "both", "cut_at": "both"}
    ),
    "frames, again and again": Notebook(lambda y: normalized(repeated(mfcc(y))), FRAMES, {}, {"fill": "repeat"}),
    "zeros after the normalization": Notebook(zeros_behind_normalized, FRAMES, {}, {"fill": "mean"}),
    "scaled by recording": Notebook(
        lambda y: normalized(scaled(mfcc(y))), FRAMES, {}, {"centring": "mean_and_deviation"}
    ),
    "an image": Notebook(lambda y: normalized(at_end(mfcc(y)))[..., None], (*FRAMES, 1), {}, {}),
    "an image, time across": Notebook(
        lambda y: normalized(at_end(mfcc(y))).T[..., None], (1, N_MFCC, CONTEXT, 1), {"transposed": True}, {}
    ),
    "channels first": Notebook(lambda y: normalized(at_end(mfcc(y)))[None], (1, 1, CONTEXT, N_MFCC), {}, {}),
    "one row of frames": Notebook(lambda y: normalized(at_end(mfcc(y))).ravel(), (1, CONTEXT * N_MFCC), {}, {}),
    "trimmed, three seconds": Notebook(trimmed_and_fixed, FRAMES, {}, {"trim_db": 30.0, "n_samples": 48000}),
    "means": Notebook(
        lambda y: normalized(np.mean(mfcc(y).T, axis=0)), (1, N_MFCC), {"statistics": "mean"}, {"fill": "none"}
    ),
    "means as a sequence": Notebook(
        lambda y: normalized(np.mean(mfcc(y), axis=1))[:, None],
        (1, N_MFCC, 1),
        {"statistics": "mean"},
        {"fill": "none"},
    ),
    "means and deviations of a part": Notebook(
        lambda y: (
            (np.hstack([mfcc(y).mean(axis=1), mfcc(y).std(axis=1)]) - np.tile(MEAN, 2)) / np.tile(STD, 2)
            if len(y := cut_out(y))
            else np.empty(0)
        ),
        (1, 2 * N_MFCC),
        {"statistics": "mean_and_deviation"},
        {"fill": "none", "start_seconds": 0.5, "seconds": 2.5},
    ),
    "means of padded frames, trimmed": Notebook(
        lambda y: normalized(at_end(mfcc(librosa.effects.trim(y, top_db=20)[0])).mean(axis=0)),
        (1, N_MFCC),
        {"statistics": "mean"},
        {"trim_db": 20.0},
    ),
}


def model_of(notebook: Notebook, **changes: Any) -> ModelFile:
    """A file whose network is never run."""
    times = 2 if notebook.layout.get("statistics") == "mean_and_deviation" else 1
    golden = {
        "samples": pcm(),
        "cepstra": np.zeros((CONTEXT, N_MFCC), np.float32),
        "input": np.zeros(notebook.shape[1:], np.int8),
        "output": np.zeros(len(LABELS), np.int8),
    }
    fields = {
        "spec": SPEC,
        "n_frames": CONTEXT,
        "mean": np.tile(MEAN, times),
        "std": np.tile(STD, times),
        "layout": InputLayout(shape=notebook.shape, **notebook.layout),
        "hearing": Hearing(**notebook.hearing),
        "golden": golden,
    }
    return draft_model(**{**fields, **changes})


class Spy:
    """Keeps what a network is given, as `Classifier` would quantize it."""

    def __init__(self, model: ModelFile) -> None:
        self.model = model
        self.inputs: list[np.ndarray] = []

    def __call__(self, columns: np.ndarray) -> np.ndarray:
        layout = self.model.layout
        assert layout is not None
        self.inputs.append(layout.arranged((layout.pooled(columns) - self.model.mean) / self.model.std))
        return np.full(len(LABELS), 1 / len(LABELS), np.float32)


def heard(samples: np.ndarray, model: ModelFile, block: int = 4000) -> list[np.ndarray]:
    spy = Spy(model)
    found = classify_recording((samples[i : i + block] for i in range(0, len(samples), block)), spy, Config())
    assert found.seconds == round(len(samples) / RATE, 3)
    assert (found.label is None) == (not spy.inputs)
    return spy.inputs


@pytest.mark.parametrize("recording", RECORDINGS)
@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_the_network_gets_the_array_of_the_notebook(notebook: str, recording: str) -> None:
    samples, kind = RECORDINGS[recording], NOTEBOOKS[notebook]
    expected = kind.reference(samples)
    inputs = heard(samples, model_of(kind))
    if not expected.size:
        assert not inputs
        return
    (found,) = inputs
    assert found.shape == expected.shape == kind.shape[1:]
    # Divided by its deviation, a column that does not move is rounding noise.
    if "centring" not in kind.hearing or recording not in ("silence", "long silence", "a few samples"):
        np.testing.assert_allclose(found, expected, atol=TOLERANCE)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what librosa.load imports
@pytest.mark.parametrize("offset", [0.0, 0.5, 1.3])
def test_a_part_is_the_one_that_librosa_loads(tmp_path: Path, offset: float) -> None:
    path = write_wav(tmp_path / "a.wav", SPEECH)
    for seconds in (None, 2.5, 30.0):
        samples, _ = librosa.load(path, sr=None, offset=offset, duration=seconds)
        kind = dataclasses.replace(NOTEBOOKS["means"], hearing={"fill": "none", "start_seconds": offset})
        kind.hearing["seconds"] = seconds
        (found,) = heard(librosa.load(path, sr=None)[0], model_of(kind))
        np.testing.assert_allclose(found, kind.reference(samples), atol=TOLERANCE)


def test_columns_come_in_the_order_of_the_notebook() -> None:
    """Five features of a published notebook, each its mean, in its own order."""

    def reference(samples: np.ndarray) -> np.ndarray:
        spectrum = np.abs(librosa.stft(samples))
        parts = (
            librosa.feature.zero_crossing_rate(np.pad(samples, 1024), center=False),
            librosa.feature.chroma_stft(S=spectrum, sr=RATE, tuning=0),
            librosa.feature.mfcc(y=samples, sr=RATE)[1:],
            librosa.feature.rms(y=samples),
        )
        return np.concatenate([part.mean(axis=1) for part in parts])

    further: Any = {"n_mfcc": 20, "rms": "linear", "zero_crossings": "rate", "chroma": "magnitude"}
    spec = FeatureSpec(**LIBROSA, **further)
    # MFCCs, RMS, zero crossings, chroma; the zeroth MFCC is in no column.
    order = (21, *range(22, 34), *range(1, 20), 20)
    kind = Notebook(reference, (1, 33), {"statistics": "mean", "columns": order}, {"fill": "none"})
    golden = model_of(NOTEBOOKS["means"]).golden | {
        "input": np.zeros(33, np.int8),
        "cepstra": np.zeros((5, spec.n_columns), np.float32),
    }
    numbers = {"mean": np.zeros(33, np.float32), "std": np.ones(33, np.float32)}
    (found,) = heard(SPEECH, model_of(kind, spec=spec, golden=golden, **numbers))
    np.testing.assert_allclose(found, reference(SPEECH), atol=TOLERANCE)


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, len(SPEECH)), st.lists(st.integers(0, 9000), min_size=1, max_size=40), st.sampled_from([*NOTEBOOKS])
)
def test_blocks_of_any_length_give_the_same(n: int, lengths: list[int], notebook: str) -> None:
    model, samples = model_of(NOTEBOOKS[notebook]), SPEECH[:n]

    def blocks() -> Iterator[np.ndarray]:
        start = 0
        for length in [*lengths, n]:
            yield samples[start : start + length]
            start += length

    spy = Spy(model)
    one = classify_recording(blocks(), spy, Config())
    whole = heard(samples, model, block=max(1, n))
    assert one == classify_recording([samples], Spy(model), Config())
    for ours, theirs in zip(spy.inputs, whole, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_recording_too_long_to_be_heard_whole_is_refused_in_little_memory() -> None:
    model, minute = model_of(NOTEBOOKS["means"]), silence(60)
    enough = round(MOST_SECONDS / 60)
    with pytest.raises(DataError, match=r"^talk\.wav: longer than 600 s, .* hears a recording as a whole: "):
        classify_recording((minute for _ in range(600)), Spy(model), Config(), "talk.wav")
    # Ten hours of which a part is heard are no matter.
    part = model_of(NOTEBOOKS["means and deviations of a part"])
    tracemalloc.start()
    try:
        found = classify_recording((minute for _ in range(enough + 1)), Spy(part), Config())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.seconds == 60 * (enough + 1)
    assert peak < 30e6


def vector(**changes: Any) -> ModelFile:
    """Means of what is trimmed, for a real network."""
    return runnable("tiny_vector.tflite", InputLayout(shape=(1, 40), statistics="mean"), **changes)


def image(**changes: Any) -> ModelFile:
    return runnable("tiny_image.tflite", InputLayout(shape=(1, 40, N_FRAMES, 1), transposed=True), **changes)


def runnable(network: str, layout: InputLayout, **changes: Any) -> ModelFile:
    golden = draft_model().golden | {"input": np.zeros(layout.shape[1:], np.int8)}
    tflite = (DATA / network).read_bytes()
    draft = draft_model(**{"spec": SPEC, "layout": layout, "golden": golden, "tflite": tflite, **changes})
    return dataclasses.replace(draft, golden=golden_vectors(pcm(), Classifier(draft)))


MODELS = {
    "means": lambda: vector(hearing=Hearing(trim_db=30.0, fill="none")),
    "means over the context": lambda: vector(),
    "image": lambda: image(hearing=Hearing()),
    "image of our contexts": lambda: image(),
    "our shape": lambda: runnable("tiny.tflite", InputLayout(shape=(1, N_FRAMES, 40)), hearing=Hearing(fill="mean")),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_file_is_read_as_it_was_written_and_passes_its_self_test(tmp_path: Path, name: str) -> None:
    model, path = MODELS[name](), tmp_path / "m.tflite"
    write_model(path, model)
    read = read_model(path)
    assert (read.layout, read.hearing) == (model.layout, model.hearing)
    write_model(tmp_path / "again.tflite", read)
    assert (tmp_path / "again.tflite").read_bytes() == path.read_bytes()
    differences = self_test(read, Classifier(read))
    assert max(differences.values()) <= 1
    # The self-test sees what is done to the input: turned around, it is another one.
    wrong = dataclasses.replace(read, golden=read.golden | {"input": read.golden["input"][::-1].copy()})
    with pytest.raises(ModelFileError, match=r"^golden\.input"):
        self_test(wrong, Classifier(wrong))


def test_the_network_itself_gets_the_array(tmp_path: Path) -> None:
    """With quantization, and through a file: int8 as it is computed from the array of the notebook."""
    for name, reference in {
        "means": lambda y: normalized(mfcc(librosa.effects.trim(y, top_db=30)[0]).mean(axis=1)),
        "image": lambda y: normalized(np.pad(mfcc(y).T, ((0, N_FRAMES), (0, 0)))[:N_FRAMES]).T[..., None],
    }.items():
        classifier = Classifier(MODELS[name]())
        given: list[np.ndarray] = []
        classifier.invoke = lambda x, given=given: given.append(x) or np.zeros(3, np.int8)  # type: ignore[method-assign, func-returns-value, misc]
        for samples in (SPEECH, SPEECH[8000:10000]):
            classify_recording([samples], classifier, Config())
            expected = quantize(reference(samples), *classifier._input_scale)
            assert np.abs(given[-1].astype(int) - expected).max() <= 1


def test_a_layout_alone_is_heard_in_our_contexts() -> None:
    """Means over each context, silence before a short utterance included, in five voices."""
    model = vector()
    columns: list[np.ndarray] = []

    class Kept(Classifier):
        def quantize(self, cepstra: np.ndarray) -> np.ndarray:
            columns.append(cepstra.copy())
            return super().quantize(cepstra)

    classifier = Kept(model)
    assert classify_recording([SPEECH], classifier, Config()).label in LABELS
    assert len(columns) > 10
    for context in [*columns]:
        assert context.shape == (N_FRAMES, 40)
        expected = quantize((context.mean(axis=0) - model.mean) / model.std, *classifier._input_scale)
        np.testing.assert_array_equal(classifier.quantize(context), expected)


LIVE = {
    "frames, zeros at the end": at_end,
    "frames, zeros at the start": at_start,
    "frames, again and again": repeated,
    "means": lambda columns: columns.mean(axis=1),
}


@pytest.mark.parametrize("notebook", LIVE)
def test_live_the_last_frames_of_the_utterance_stand_for_the_recording(notebook: str) -> None:
    model = model_of(NOTEBOOKS[notebook])
    sound = np.concatenate(
        [SPEECH, SPEECH[:20000], SPEECH[6000:40000]]
    )  # of one level, so that top_db cuts nothing off

    def live(block: int) -> list[np.ndarray]:
        spy, events = Spy(model), SimpleNamespace(write=lambda event: None)
        run((sound[i : i + block] for i in range(0, len(sound), block)), spy, events, Config())  # type: ignore[arg-type]
        return spy.inputs

    inputs = live(4096)
    for ours, theirs in zip(inputs, live(333), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    columns = mfcc(sound)

    def is_of(found: np.ndarray, lengths: range) -> bool:
        for n in lengths:
            for first in range(columns.shape[1] - n + 1):
                expected = normalized(LIVE[notebook](columns[:, first : first + n]))
                if np.abs(found - expected).max() < TOLERANCE:
                    return True
        return False

    assert is_of(inputs[0], range(16, 64)), "at first there are fewer frames than in a context"
    assert is_of(inputs[-1], range(10, CONTEXT + 1))


def test_a_timeline_hears_it_and_the_command_shows_it(tmp_path: Path) -> None:
    path, speech = tmp_path / "means.tflite", write_wav(tmp_path / "speech.wav", SPEECH)
    hearing = Hearing(trim_db=30.0, fill="none", start_seconds=0.5, seconds=2.0, centring="mean")
    write_model(path, vector(hearing=hearing))

    def affectd(*words: object) -> str:
        command = [sys.executable, "-m", "affectd", *map(str, words), "--model", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    shown = json.loads(affectd("model", "--self-test"))
    assert shown["hearing"] == dataclasses.asdict(hearing)
    assert shown["layout"] == {"shape": [1, 40], "columns": None, "statistics": "mean", "transposed": False}
    assert shown["input"] == [1, 40]
    text = " ".join(affectd("model", "--format", "text").split())
    assert "means of 40 MFCCs" in text
    assert "as a whole, from 0.5 s for 2 s, both ends trimmed 30 dB below the loudest, columns centred" in text
    (answer,) = map(json.loads, affectd("classify", speech).splitlines())
    assert answer["label"] in LABELS
    lines = [json.loads(line) for line in affectd("timeline", "--format", "trace", speech).splitlines()]
    assert any(line["probabilities"] for line in lines)


@pytest.mark.parametrize(
    ("field", "layout", "hearing"),
    [
        ("format: expected 1 or 2 for a file without", None, None),
        ("layout: expected an object or null, found 3", 3, {}),
        ("layout.shape: is missing", {}, None),
        ("layout.shape: expected a list", {"shape": "40"}, None),
        ("layout.shape: expected a list", {"shape": [[1], 8, 40]}, None),
        ("layout.shape: expected 1 and one to three", {"shape": [2, 8, 40]}, None),
        ("layout.shape: expected 1 and one to three", {"shape": [1]}, None),
        ("layout.shape: expected 1 and one to three", {"shape": [1, 1, 8, 40, 1]}, None),
        (r"layout.shape: expected \(1, 8, 40\)", {"shape": [1, 40, 8]}, None),
        (r"layout.shape: expected \(1, 40, 8\)", {"shape": [1, 8, 40], "transposed": True}, None),
        (r"layout.shape: expected \(1, 8, 40\)", {"shape": [1, 16, 20]}, None),
        (r"layout.shape: expected \(1, 1, 80\)", {"shape": [1, 40], "statistics": "mean_and_deviation"}, None),
        ("layout.turned: is not known; there are shape", {"shape": [1, 8, 40], "turned": True}, None),
        ("layout.transposed", {"shape": [1, 8, 40], "transposed": 1}, None),
        ("layout.statistics: expected one of none, mean", {"shape": [1, 8, 40], "statistics": "median"}, None),
        ("layout.statistics", {"shape": [1, 8, 40], "statistics": ["mean"]}, None),
        ("layout.columns: expected columns from 0 to 39", {"shape": [1, 8, 1], "columns": [40]}, None),
        ("layout.columns: expected columns from 0 to 39", {"shape": [1, 8, 1], "columns": [True]}, None),
        ("layout.columns: expected columns from 0 to 39", {"shape": [1, 8, 1], "columns": []}, None),
        ("layout.columns: expected each column once", {"shape": [1, 8, 2], "columns": [3, 3]}, None),
        (r"mean: expected float32 \(2,\)", {"shape": [1, 8, 2], "columns": [3, 1]}, None),
        ("hearing.trim: is not known; there are start_seconds", None, {"trim": 30}),
        ("hearing.start_seconds", None, {"start_seconds": -1}),
        ("hearing.start_seconds", None, {"start_seconds": True}),
        ("hearing.seconds", None, {"seconds": 0}),
        ("hearing.seconds: expected a number above 0, up to 600", None, {"seconds": 36000}),
        ("hearing.trim_db", None, {"trim_db": 0}),
        ("hearing.trim_db", None, {"trim_db": "30"}),
        ("hearing.n_samples", None, {"n_samples": 48000.0}),
        ("hearing.n_samples", None, {"n_samples": 10**9}),
        ("hearing.centring: expected one of none, mean", None, {"centring": "median"}),
        ("hearing.fill: expected one of", None, {"fill": "edge"}),
        ("hearing.fill: expected zeros, mean or repeat", None, {"fill": "none"}),
        ("hearing.pad_at: expected one of end, start, both", None, {"pad_at": None}),
    ],
)
def test_what_it_cannot_be_is_refused(tmp_path: Path, field: str, layout: object, hearing: object) -> None:
    path = tmp_path / "m.tflite"
    write_model(path, MODELS["our shape"]())
    with zipfile.ZipFile(path) as archive:
        spec = json.loads(archive.read("spec.json")) | {"layout": layout, "hearing": hearing}
    path.write_bytes(resealed(path, {"spec.json": json.dumps(spec).encode()}))
    with pytest.raises(ModelFileError, match=rf"^model file {path}: {field}"):
        read_model(path)


def test_format_3_is_only_for_files_that_need_it(tmp_path: Path) -> None:
    def spec_of(model: ModelFile) -> dict[str, Any]:
        write_model(tmp_path / "m.tflite", model)
        with zipfile.ZipFile(tmp_path / "m.tflite") as archive:
            found: dict[str, Any] = json.loads(archive.read("spec.json"))
            return found

    assert spec_of(draft_model())["format"] == 1
    assert "layout" not in spec_of(draft_model())
    assert spec_of(draft_place_model())["format"] == 2
    assert spec_of(draft_model(hearing=Hearing()))["format"] == 3
    with_head = draft_place_model(hearing=Hearing())
    assert {"baseline", "layout", "hearing"} < spec_of(with_head).keys()
    assert read_model(tmp_path / "m.tflite").head is not None


def test_a_network_of_another_shape_than_its_file_says_is_refused() -> None:
    model = image()
    with pytest.raises(ModelFileError, match=r"^input: expected int8 \(1, 8, 40\), found int8 \(1, 40, 8, 1\)"):
        Classifier(draft_model(tflite=model.tflite))

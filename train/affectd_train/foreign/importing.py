"""The command ``affectd-train import``: a network of others, made whole for the device and packed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from affectd.arrays import Float32
from affectd.config.sections import Config
from affectd.errors import AffectdError, DataError, NoInputError
from affectd.features.spec import FeatureSpec
from affectd.recognition.classifier import Classifier
from affectd.recognition.golden import golden_vectors, self_test
from affectd.recognition.hearing import Hearing, InputLayout
from affectd.recognition.model_file import ModelFile, write_model
from affectd.recognition.recording import classify_recording
from affectd.stdio import printable, quiet
from affectd.words.listings import hearing_words
from affectd_train.data.recordings import read_each
from affectd_train.export.pack import golden_samples
from affectd_train.files import made_folder, say
from affectd_train.folders import audio_files
from affectd_train.foreign.apart import apart
from affectd_train.foreign.kinds import kind_of
from affectd_train.foreign.layout import input_of
from affectd_train.foreign.normalization import read_normalization
from affectd_train.foreign.operators import FEWEST_INPUTS, FEWEST_OUTPUTS, check_operators

if TYPE_CHECKING:
    from affectd_train.foreign.graph import Graph

CRASHED = (
    "TensorFlow's converter crashed on this network, as it does on recurrent layers (LSTM, GRU) that are not built with"
    " unroll=True"
)

MOST_CLIPS = 400
"""Of the clips given, evenly spread: as many show the ranges of the tensors."""

MOST_CONTEXTS = 1000
"""Of what is heard in them."""

ENOUGH = 0.95
"""Share of the contexts for which the int8 network should give the label of the float network."""

_LEAST_SIZE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the command line asks for; `normalization` and `hearing` None are none, and as affectd's own network."""

    network: Path
    spec: FeatureSpec
    labels: tuple[str, ...]
    normalization: Path | None
    hearing: Hearing | None
    clips: Path
    out: Path
    n_frames: int | None = None
    time: str | None = None
    terms: str = ""


def import_network(wanted: Wanted) -> str:
    """Import a network in a process of its own; return what was made of it, in words.

    Raises
    ------
    NoInputError, DataError, UnavailableError
        If it cannot be imported; the message says why.
    """
    kind_of(wanted.network)  # what can be said at once
    if not (recordings := audio_files(wanted.clips)):  # which says what else is there, once in each process
        raise NoInputError(f"--clips {wanted.clips}: no recording in it that soundfile reads")
    return apart(partial(imported, recordings=recordings), wanted, f"{wanted.network}: {CRASHED}")


def imported(wanted: Wanted, recordings: Sequence[Path] = ()) -> str:
    """Import a network in this process, as `import_network` does; the recordings are those of its clips, if listed."""
    kind = kind_of(wanted.network)
    with quiet():  # not at the top: TensorFlow takes seconds, and prints when it is loaded
        from affectd_train.foreign.conversion import read_tflite
        from affectd_train.foreign.graph import Graph

    try:
        graph = Graph(read_tflite(wanted.network, kind, wanted.n_frames))
        given = input_of(graph.input_shape, wanted.spec, wanted.n_frames, wanted.time)
        _check_types(graph)
        graph.without_softmax()
        graph.check_output(len(wanted.labels))
        check_operators(graph.model)  # before the work on them
        draft = _draft(wanted, given.n_frames, given.layout)
        heard = _heard(recordings or audio_files(wanted.clips), wanted.clips, draft)
        model = _packed(wanted, kind, graph, draft, heard)
    except AffectdError as error:
        raise type(error)(f"{wanted.network}: {error}") from error
    with made_folder(wanted.out.parent):
        write_model(wanted.out, model)
    return _words(wanted.out, model)


def _check_types(graph: Graph) -> None:
    if not (graph.is_int8 or graph.is_float):
        raise DataError("the network takes or gives neither float32 nor int8; convert it again without optimizations")
    if graph.is_float and graph.has_small_weights:
        raise DataError(
            "the weights are stored in 8 or 16 bits, but the network computes in float32; convert it again without"
            " optimizations, and this command makes it int8 throughout"
        )


def _draft(wanted: Wanted, n_frames: int, layout: InputLayout | None) -> ModelFile:
    """Make the model file without network and golden vectors, and with the normalization asked for."""
    n_columns, n_labels = wanted.spec.n_columns, len(wanted.labels)
    n_values = n_columns if layout is None else layout.n_values(n_columns)
    mean, std = np.zeros(n_values, np.float32), np.ones(n_values, np.float32)
    if wanted.normalization is not None:
        mean, std = read_normalization(wanted.normalization, n_values)
    hearing = wanted.hearing
    if hearing is not None and layout is not None and layout.statistics != "none":
        hearing = replace(hearing, fill="none")  # a mean is of the frames there are
    return ModelFile(
        spec=wanted.spec,
        n_frames=n_frames,
        mean=mean,
        std=std,
        labels=wanted.labels,
        temperature=1.0,
        thresholds={"uncertain": 0.0},
        golden={
            "samples": golden_samples(wanted.spec.sample_rate),
            "cepstra": np.zeros((n_frames, n_columns), np.float32),
            "input": np.zeros((n_frames, n_columns) if layout is None else layout.shape[1:], np.int8),
            "output": np.zeros(n_labels, np.int8),
        },
        card={},
        tflite=b"\0\0\0\0TFL3",
        layout=layout,
        hearing=hearing,
    )


class _Listener:
    """Stands in for the network while recordings are heard, and keeps what it would be given."""

    def __init__(self, model: ModelFile) -> None:
        self.model = model
        self.heard: list[Float32] = []

    def __call__(self, cepstra: Float32) -> Float32:
        self.heard.append(np.array(cepstra))
        return np.full(len(self.model.labels), 1 / len(self.model.labels), np.float32)


def _heard(paths: Sequence[Path], clips: Path, draft: ModelFile) -> list[Float32]:
    """Return what a network would be given of recordings in a folder, before its layout: each (n, n_columns)."""
    listener = _Listener(draft)
    for _, samples in read_each(paths[:: -(-len(paths) // MOST_CLIPS)], draft.spec.sample_rate, "clips"):
        classify_recording([samples], listener, Config())
    if not listener.heard:
        raise DataError(f"--clips {clips}: no speech is heard in any of the recordings")
    return listener.heard[:: -(-len(listener.heard) // MOST_CONTEXTS)]


def _packed(wanted: Wanted, kind: str, graph: Graph, draft: ModelFile, heard: list[Float32]) -> ModelFile:
    """Make the network int8, and the model file around it."""
    from affectd_train.export.quantize import check_int8

    rows = np.stack([cepstra if draft.layout is None else draft.layout.pooled(cepstra) for cepstra in heard])
    if wanted.normalization is None and graph.is_float:
        draft = replace(draft, std=_sizes(graph, draft, rows))
    contexts = _contexts(draft, rows)
    content = graph.content()
    tflite = content if graph.is_int8 else _int8(content, contexts)
    check_int8(tflite)
    _check_small(tflite)
    model = replace(draft, tflite=tflite)
    classifier = Classifier(model)
    imported: dict[str, Any] = {"from": wanted.network.name, "kind": kind, "terms": wanted.terms or "not stated"}
    if graph.is_float:
        imported |= {"contexts": len(rows), "agreement": _agreement(content, contexts, classifier, heard)}
    card = {"name": wanted.out.stem, "imported": imported}
    model = replace(model, golden=golden_vectors(model.golden["samples"], classifier), card=card)
    self_test(model, classifier)
    return model


def _sizes(graph: Graph, draft: ModelFile, rows: Float32) -> Float32:
    """Return what to divide columns by that are not normalized, having made the network expect it; else ones.

    MFCCs as they are differ much in size, and share the 256 steps of one input.
    """
    layout, n_values = draft.layout, len(draft.std)
    sizes: Float32 = np.maximum(np.abs(rows).max((0, 1)), _LEAST_SIZE).astype(np.float32)
    has_columns_last = layout is None or (not layout.transposed and layout.shape[-1] % n_values == 0)
    return sizes if has_columns_last and graph.scale_columns(sizes) else draft.std


def _contexts(model: ModelFile, rows: Float32) -> Float32:
    """Return what the network is given, normalized and in the shape of its input without the 1."""
    normalized = (rows - model.mean) / model.std
    return normalized if model.layout is None else np.stack([model.layout.arranged(row) for row in normalized])


def _int8(content: bytes, contexts: Float32) -> bytes:
    from affectd_train.export.quantize import COARSER, finished, until_int8
    from affectd_train.foreign.conversion import quantized
    from affectd_train.foreign.graph import Graph

    graph = Graph(until_int8(partial(quantized, content, contexts)))
    check_operators(graph.model)
    # Others have steps that are fixed, or those of their input.
    content = graph.content()
    return finished(content, COARSER) if graph.last_operator in ("FULLY_CONNECTED", "CONV_2D") else content


def _agreement(content: bytes, contexts: Float32, classifier: Classifier, heard: list[Float32]) -> float:
    """Return for how many of the contexts the device gives the label of the float network; say if for few."""
    from affectd_train.foreign.conversion import answers

    wanted = answers(content, contexts).argmax(1)
    found = np.array([classifier.embed(cepstra).argmax() for cepstra in heard])
    share = round(float((wanted == found).mean()), 4)
    if share < ENOUGH:
        is_plain = not classifier.model.mean.any()
        hint = "; normalize the columns in training, and give their mean and deviation by --normalization"
        say(
            f"the int8 network gives the label of the float network for {100 * share:.0f} % of the contexts alone"
            f"{hint if is_plain else ''}"
        )
    return share


def _check_small(tflite: bytes) -> None:
    from affectd_train.foreign.graph import Graph

    for n_outputs, n_inputs in Graph(tflite).dense_shapes():
        if n_outputs < FEWEST_OUTPUTS or n_inputs < FEWEST_INPUTS:
            say(
                f"a dense layer has {n_inputs} inputs and {n_outputs} outputs: on 32-bit ARM, tflite-runtime crashes on"
                f" fewer than {FEWEST_INPUTS} or {FEWEST_OUTPUTS}; 64-bit boards run it"
            )
            return


def _words(out: Path, model: ModelFile) -> str:
    """Say what was made, in one line for each thing that is worth a look."""
    found = model.card["imported"]
    hearing = "contexts of speech"
    if model.hearing is not None:
        hearing = f"a recording {', '.join(hearing_words(asdict(model.hearing), model.n_frames))}"
    pooled = "none" if model.layout is None else model.layout.statistics
    frames = f"{model.n_frames} frames" if pooled == "none" else f"{pooled.replace('_', ' ')} over the frames"
    time = ", time last" if model.layout is not None and model.layout.transposed else ""
    lines = [
        f"{printable(str(out))}: {out.stat().st_size} bytes, {len(model.labels)} labels,"
        f" input {list(model.input_shape)}",
        f"heard: {hearing}; {frames} of {model.spec.n_columns} columns{time}, at {model.spec.sample_rate} Hz",
    ]
    if "agreement" in found:
        share = 100 * found["agreement"]
        lines.append(f"int8 gives the label of the float network for {share:.1f} % of {found['contexts']} contexts")
    lines.append(f"terms: {printable(found['terms'])}")
    return "\n".join(lines)

"""What makes the content of a model file valid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from affectd.recognition.checks import LEAST, Checks, finite, is_array, is_count, is_json, is_line, is_number

if TYPE_CHECKING:
    from affectd.recognition.model_file import ModelFile

GOLDEN_KEYS = ("samples", "cepstra", "input", "output")
VOICE_KEYS = ("functionals", "logits")
MOST_LETTERS = 100
"""Of the name of a label."""
_MOST_FRAMES = 4096
_MOST_LABELS = 1000
_MOST_GOLDEN_FRAMES = 10_000
_MOST_DEPTH = 32


def model_checks(model: ModelFile) -> Checks:
    """Check everything but the golden vectors."""
    n_columns, labels, temperature = model.spec.n_columns, model.labels, model.temperature
    yield "tflite", model.tflite[4:8] == b"TFL3", "a TFLite flatbuffer ('TFL3' at byte 4)", model.tflite[:8]
    rate = model.spec.frame_rate
    overlap = model.spec.window_length / model.spec.hop_length
    yield "features.hop_length", overlap <= 64, "1/64 of window_length or more", model.spec.hop_length
    yield "features.hop_length", 1 <= rate <= 1000, "1 to 1000 frames per second", rate
    yield "n_frames", is_count(model.n_frames), "a whole number above 0", model.n_frames
    yield "n_frames", model.n_frames <= _MOST_FRAMES, f"at most {_MOST_FRAMES}", model.n_frames
    least = 1 if model.spec.deltas == "none" else model.spec.delta_width
    yield "n_frames", model.n_frames >= least, f"at least features.delta_width, {least}", model.n_frames
    if model.layout is not None:
        yield from model.layout.checks(model.n_frames, n_columns)
    if model.hearing is not None:
        yield from model.hearing.checks(model.layout, model.spec.sample_rate)
    n_values = n_columns if model.layout is None else model.layout.n_values(n_columns)
    for field, array in (("mean", model.mean), ("std", model.std)):
        yield field, is_array(array, np.float32, n_values), f"float32 ({n_values},)", array
        yield from finite(field, array)
    smallest = float(model.std.min())
    yield "std", smallest > 0, "numbers above 0", smallest
    yield "std", smallest >= LEAST, f"numbers of at least {LEAST:g}", smallest
    yield "labels", isinstance(labels, tuple) and labels != (), "at least one label", labels
    yield "labels", len(labels) <= _MOST_LABELS, f"at most {_MOST_LABELS} labels", len(labels)
    for label in labels:
        yield "labels", is_line(label), "names of one line without spaces around them", label
        yield "labels", len(label) <= MOST_LETTERS, f"names of at most {MOST_LETTERS} letters", label
        yield "labels", labels.count(label) == 1, "each label once", label
        yield "labels", label != "uncertain", "names other than what an event has instead of one", label
    yield "temperature", is_number(temperature) and temperature > 0, "a number above 0", temperature
    yield "temperature", 1e-6 <= temperature <= 1e6, "a number from 1e-06 to 1e+06", temperature
    yield "thresholds", isinstance(model.thresholds, dict), "an object", model.thresholds
    yield "thresholds", "uncertain" in model.thresholds, "the key 'uncertain'", sorted(model.thresholds)
    for name, value in model.thresholds.items():
        yield "thresholds", is_line(name) and len(name) <= MOST_LETTERS, "names of one line", name
        yield f"thresholds.{name}", is_number(value) and 0 <= value <= 1, "a number from 0 to 1", value
    yield "card", isinstance(model.card, dict), "an object", model.card
    yield "card", is_json(model.card, _MOST_DEPTH), f"finite numbers, and at most {_MOST_DEPTH} levels", model.card
    if model.head is not None:
        yield from model.head.checks(len(labels))
    if model.voice is not None:
        is_alone = not (model.head or model.layout or model.hearing)
        yield "voice", is_alone, "none beside a head, a layout or a hearing", "both"
        yield from model.voice.checks(len(labels), model.spec)
    if model.sees_functionals:
        yield from _functionals_checks(model)


def _functionals_checks(model: ModelFile) -> Checks:
    from affectd.features.functionals import N_FUNCTIONALS  # only for such a file, as the voice
    from affectd.recognition.voice import front_end_checks

    is_plain = not (model.voice or model.layout or model.hearing)
    yield "head", is_plain, "no voice, layout or hearing beside functionals", "another network"
    n = 0 if model.head is None else model.head.n_embedding
    yield "golden.weights", n > N_FUNCTIONALS, f"a head of an embedding and {N_FUNCTIONALS} functionals", n
    found = model.golden.get("functionals")
    yield "golden.functionals", is_array(found, np.float32, N_FUNCTIONALS), f"float32 ({N_FUNCTIONALS},)", found
    yield from front_end_checks(model.spec)


def golden_checks(model: ModelFile) -> Checks:
    """Check the golden vectors of a model that passed `model_checks`."""
    has_functionals = model.voice is not None or model.sees_functionals
    further = VOICE_KEYS if has_functionals else () if model.head is None else ("logits",)
    keys, expected_keys = sorted(model.golden), (*GOLDEN_KEYS, *further)
    yield "golden", keys == sorted(expected_keys), f"the arrays {', '.join(expected_keys)}", keys
    samples, cepstra, quantized, output = (model.golden[key] for key in GOLDEN_KEYS)
    # Where all frames are taken, they are as many as there are.
    takes_all = model.hearing is not None and model.hearing.fill == "none" and cepstra.ndim == 2
    frames = (max(1, len(cepstra)) if takes_all else model.n_frames, model.spec.n_columns)
    yield "golden.samples", is_array(samples, np.int16, samples.size or 1), "int16 (n,)", samples
    n_golden = model.spec.count_frames(samples.size)
    expected = f"at most {_MOST_GOLDEN_FRAMES} frames of sound"
    yield "golden.samples", n_golden <= _MOST_GOLDEN_FRAMES, expected, n_golden
    yield "golden.cepstra", is_array(cepstra, np.float32, *frames), f"float32 {frames}", cepstra
    yield "golden.cepstra", bool(np.isfinite(cepstra).all()), "finite numbers", "NaN or infinity"
    shape = model.input_shape[1:]
    yield "golden.input", is_array(quantized, np.int8, *shape), f"int8 {shape}", quantized
    yield "golden.output", is_array(output, np.int8, model.n_outputs), f"int8 ({model.n_outputs},)", output
    # Of a head that sees them they are checked above.
    n_functionals = model.voice.head.n_embedding if model.voice else len(model.golden.get("functionals", ()))
    lengths = {"logits": len(model.labels), "functionals": n_functionals}
    for key in further:
        array = model.golden[key]
        yield f"golden.{key}", is_array(array, np.float32, lengths[key]), f"float32 ({lengths[key]},)", array
        yield f"golden.{key}", bool(np.isfinite(array).all()), "finite numbers", "NaN or infinity"

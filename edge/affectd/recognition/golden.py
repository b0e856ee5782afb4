"""The golden vectors of a model file, and the self-test that replays them on this device."""

from __future__ import annotations

import numpy as np

from affectd.arrays import Array, Float32, Int16
from affectd.errors import ModelFileError
from affectd.features.mfcc import Mfcc
from affectd.recognition.classifier import Classifier
from affectd.recognition.model_file import ModelFile
from affectd.recognition.offline import padded

# Largest deviations from the golden vectors that processors and NumPy versions can cause.
CEPSTRA_LIMIT = 1e-2
STEPS_LIMIT = 1
EMBEDDING_LIMIT = 8  # many numbers, of finer steps: between our two interpreters one of 208 is 4 away
# The head is computed in float64.
LOGITS_LIMIT = 1e-3
FUNCTIONALS_LIMIT = 1.1  # two combs may fit a frame alike, an octave apart


def golden_vectors(samples: Int16, classifier: Classifier) -> dict[str, Array]:
    """Return the output of every stage for one clip, as in `ModelFile.golden`.

    The clip, ``(n,)`` int16 at the model's sample rate, is taken as one utterance: of a longer one the last n_frames
    are used, a shorter one is padded in front. With a `Hearing` it is a recording.
    """
    model = classifier.model
    cepstra = _heard(samples.astype(np.float32) / np.float32(32768), model)
    quantized = classifier.quantize(cepstra)
    output = classifier.invoke(quantized)
    golden: dict[str, Array] = {"samples": samples, "cepstra": cepstra, "input": quantized, "output": output}
    if model.voice is not None or model.sees_functionals:
        golden["functionals"] = classifier.functionals(cepstra)
    if model.learning_head is not None:
        golden["logits"] = _golden_logits(golden, model, classifier)
    return golden


def _heard(samples: Float32, model: ModelFile) -> Float32:
    mfcc = Mfcc(model.spec)
    if model.hearing is not None:
        from affectd.recognition.whole import hear, row_of_mean

        cepstra = hear(samples, mfcc, model.hearing, model.n_frames, row_of_mean(model))
        if cepstra is None:
            raise ModelFileError("golden.samples: expected a clip of which something can be heard, found none")
        return cepstra
    bands = mfcc.bands(mfcc.frames(samples))
    return mfcc.cepstra(padded(bands, mfcc, model.n_frames))


def _golden_logits(golden: dict[str, Array], model: ModelFile, classifier: Classifier) -> Float32:
    if model.voice is not None:
        return model.voice.golden(golden["functionals"])
    assert model.head is not None
    output = classifier.dequantize(golden["output"])
    seen = model.head.seen(output, golden["functionals"]) if model.sees_functionals else output
    return model.head.logits(seen, model.head.baseline)


def self_test(model: ModelFile, classifier: Classifier) -> dict[str, float]:
    """Replay the golden vectors of a model file on this device.

    Returns
    -------
    dict
        ``cepstra_difference`` (largest absolute difference), ``input_steps`` and ``output_steps`` (largest
        difference in int8 steps), where a head or a voice sees functionals ``functionals_difference``, and with
        either ``logits_difference``; each stage gets the stored input, so it is tested alone.

    Raises
    ------
    ModelFileError
        A difference above these ``_LIMIT``; the message names the golden vector.

    Examples
    --------
    >>> from affectd.recognition.model_file import find_model, read_model
    >>> model = read_model(find_model())
    >>> self_test(model, Classifier(model))["output_steps"] <= 1
    True
    """
    golden = model.golden
    here = golden_vectors(golden["samples"], classifier)
    here["output"] = classifier.invoke(golden["input"])
    stages = [
        ("cepstra_difference", "cepstra", CEPSTRA_LIMIT),
        ("input_steps", "input", STEPS_LIMIT),
        ("output_steps", "output", STEPS_LIMIT if model.head is None else EMBEDDING_LIMIT),
    ]
    if model.voice is not None or model.sees_functionals:
        here["functionals"] = classifier.functionals(golden["cepstra"])
        stages.append(("functionals_difference", "functionals", FUNCTIONALS_LIMIT))
    if model.learning_head is not None:
        here["logits"] = _golden_logits(golden, model, classifier)
        stages.append(("logits_difference", "logits", LOGITS_LIMIT))
    differences = {}
    for key, field, limit in stages:
        if here[field].shape != golden[field].shape:
            raise ModelFileError(f"golden.{field}: expected {here[field].shape}, found {golden[field].shape}")
        # float64: the difference of two int8 may not fit an int8.
        difference = float(np.abs(here[field].astype(np.float64) - golden[field]).max())
        # Not "difference > limit", which is false for NaN.
        if not difference <= limit:
            raise ModelFileError(
                f"golden.{field}: expected within {limit:g} of the stored values, found {difference:g} away"
                f" ({classifier.runtime_name} {classifier.runtime_version}, NumPy {np.__version__})"
            )
        differences[key] = difference
    return differences

"""The model file: a ``.tflite`` with a zip appended that holds everything else the device needs.

By TFLite's convention for associated files, the interpreter ignores the zip. In format 1 the network gives logits, in
format 2 an embedding, which a `Head` turns into logits.

=============== ==========================================================================
``spec.json``   format version, `FeatureSpec`, n_frames, mean, std, labels, temperature, thresholds; in format 2
                also how the baseline learns
``labels.txt``  the labels again, one per line, for generic TFLite tools
``golden.npz``  samples, cepstra, int8 input and int8 output of one clip, for the self-test; in format 2 also its
                logits, and the arrays of the head
``card.json``   data and terms, split, metrics, training revision
=============== ==========================================================================

The arrays of ``golden.npz`` are deflated, everything else is stored. The last 64 bytes (the end of the zip comment)
are the SHA-256 in hex of all bytes before them.
"""

from __future__ import annotations

import io
import json
import os
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from affectd.arrays import Array, Float32
from affectd.errors import ModelFileError
from affectd.features.spec import FeatureSpec
from affectd.files import read_file, sha256
from affectd.recognition.archive import Archive, append_zip, npy, read_npz
from affectd.recognition.checks import (
    LEAST,
    MOST,
    Checks,
    check_keys,
    describe,
    is_array,
    is_count,
    is_json,
    is_line,
    is_number,
    parse,
    require,
)

if TYPE_CHECKING:
    from affectd.recognition.head import Head

FORMATS = (1, 2)
_SPEC_KEYS = ("format", "features", "n_frames", "mean", "std", "labels", "temperature", "thresholds")
_GOLDEN_KEYS = ("samples", "cepstra", "input", "output")
_DIGEST_MARK = b"affectd model file, sha256 of all bytes before: "
_DIGEST_LENGTH = 64
# A file that says more is refused before it is held in memory; the largest networks for such boards have a few MB.
_MOST_FILE_BYTES = 64_000_000
_MOST_BYTES = {"spec.json": 1_000_000, "labels.txt": 100_000, "golden.npz": 16_000_000, "card.json": 1_000_000}
_MOST_FRAMES = 4096
_MOST_LABELS = 1000
_MOST_LETTERS = 100
_MOST_GOLDEN_FRAMES = 10_000
_MOST_DEPTH = 32
_MEMBERS = tuple(_MOST_BYTES)


@dataclass(frozen=True, eq=False, kw_only=True)
class ModelFile:
    """The content of a model file; an instance is always valid.

    Parameters
    ----------
    spec : FeatureSpec
        The front end the network was trained on.
    n_frames : int
        Frames of cepstra in the input of the network.
    mean, std : (n_columns,) float32
        Normalization: the network's input is ``(cepstra - mean) / std``.
    labels : tuple of str
        Class names in the order of the network's output.
    temperature : float
        The logits are divided by it before the softmax.
    thresholds : dict of str to float
        Probabilities from 0 to 1; ``"uncertain"`` is the one below which no label is named.
    golden : dict of str to ndarray
        ``samples`` (n,) int16 PCM; ``cepstra`` (n_frames, n_columns) float32; ``input`` (n_frames, n_columns)
        int8; ``output`` (n_outputs,) int8; with a head also ``logits`` (n_labels,) float32, where the baseline is the
        head's own.
    card : dict
        Data and terms, split, metrics, training revision; JSON values only.
    tflite : bytes
        The network alone.
    head : Head, optional
        What turns the embedding into logits, in format 2; without one the network gives logits itself.

    Raises
    ------
    ModelFileError
        A field is invalid; the message says what was expected and what was found.

    Examples
    --------
    >>> model = read_model(find_model())
    >>> model.mean.shape == (model.spec.n_columns,), model.golden["cepstra"].shape[0] == model.n_frames
    (True, True)
    """

    spec: FeatureSpec
    n_frames: int
    mean: Float32
    std: Float32
    labels: tuple[str, ...]
    temperature: float
    thresholds: dict[str, float]
    golden: dict[str, Array]
    card: dict[str, Any]
    tflite: bytes
    head: Head | None = None

    def __post_init__(self) -> None:
        require(self._checks())
        require(self._golden_checks())

    @property
    def n_outputs(self) -> int:
        """How many numbers the network gives: one logit for each label, or the embedding."""
        return len(self.labels) if self.head is None else self.head.n_embedding

    def _checks(self) -> Checks:
        n_columns, labels, temperature = self.spec.n_columns, self.labels, self.temperature
        yield "tflite", self.tflite[4:8] == b"TFL3", "a TFLite flatbuffer ('TFL3' at byte 4)", self.tflite[:8]
        rate = self.spec.frame_rate
        overlap = self.spec.window_length / self.spec.hop_length
        yield "features.hop_length", overlap <= 64, "1/64 of window_length or more", self.spec.hop_length
        yield "features.hop_length", 1 <= rate <= 1000, "1 to 1000 frames per second", rate
        yield "n_frames", is_count(self.n_frames), "a whole number above 0", self.n_frames
        yield "n_frames", self.n_frames <= _MOST_FRAMES, f"at most {_MOST_FRAMES}", self.n_frames
        least = 1 if self.spec.deltas == "none" else self.spec.delta_width
        yield "n_frames", self.n_frames >= least, f"at least features.delta_width, {least}", self.n_frames
        for field, array in (("mean", self.mean), ("std", self.std)):
            yield field, is_array(array, np.float32, n_columns), f"float32 ({n_columns},)", array
            yield field, bool((np.abs(array) <= MOST).all()), f"finite numbers up to {MOST:g}", array.tolist()
        smallest = float(self.std.min())
        yield "std", smallest > 0, "numbers above 0", smallest
        yield "std", smallest >= LEAST, f"numbers of at least {LEAST:g}", smallest
        yield "labels", isinstance(labels, tuple) and labels != (), "at least one label", labels
        yield "labels", len(labels) <= _MOST_LABELS, f"at most {_MOST_LABELS} labels", len(labels)
        for label in labels:
            yield "labels", is_line(label), "names of one line without spaces around them", label
            yield "labels", len(label) <= _MOST_LETTERS, f"names of at most {_MOST_LETTERS} letters", label
            yield "labels", labels.count(label) == 1, "each label once", label
            yield "labels", label != "uncertain", "names other than what an event has instead of one", label
        yield "temperature", is_number(temperature) and temperature > 0, "a number above 0", temperature
        yield "temperature", 1e-6 <= temperature <= 1e6, "a number from 1e-06 to 1e+06", temperature
        yield "thresholds", isinstance(self.thresholds, dict), "an object", self.thresholds
        yield "thresholds", "uncertain" in self.thresholds, "the key 'uncertain'", sorted(self.thresholds)
        for name, value in self.thresholds.items():
            yield "thresholds", is_line(name) and len(name) <= _MOST_LETTERS, "names of one line", name
            yield f"thresholds.{name}", is_number(value) and 0 <= value <= 1, "a number from 0 to 1", value
        yield "card", isinstance(self.card, dict), "an object", self.card
        yield "card", is_json(self.card, _MOST_DEPTH), f"finite numbers, and at most {_MOST_DEPTH} levels", self.card
        if self.head is not None:
            yield from self.head.checks(len(labels))

    def _golden_checks(self) -> Checks:
        keys, expected_keys = sorted(self.golden), _GOLDEN_KEYS if self.head is None else (*_GOLDEN_KEYS, "logits")
        yield "golden", keys == sorted(expected_keys), f"the arrays {', '.join(expected_keys)}", keys
        samples, cepstra, quantized, output = (self.golden[key] for key in _GOLDEN_KEYS)
        frames = (self.n_frames, self.spec.n_columns)
        yield "golden.samples", is_array(samples, np.int16, samples.size or 1), "int16 (n,)", samples
        n_golden = self.spec.count_frames(samples.size)
        expected = f"at most {_MOST_GOLDEN_FRAMES} frames of sound"
        yield "golden.samples", n_golden <= _MOST_GOLDEN_FRAMES, expected, n_golden
        yield "golden.cepstra", is_array(cepstra, np.float32, *frames), f"float32 {frames}", cepstra
        yield "golden.cepstra", bool(np.isfinite(cepstra).all()), "finite numbers", "NaN or infinity"
        yield "golden.input", is_array(quantized, np.int8, *frames), f"int8 {frames}", quantized
        yield "golden.output", is_array(output, np.int8, self.n_outputs), f"int8 ({self.n_outputs},)", output
        if self.head is not None:
            logits, n_labels = self.golden["logits"], len(self.labels)
            yield "golden.logits", is_array(logits, np.float32, n_labels), f"float32 ({n_labels},)", logits
            yield "golden.logits", bool(np.isfinite(logits).all()), "finite numbers", "NaN or infinity"


def model_id(model: ModelFile) -> str:
    """Return the id of a model: the first 12 hex digits of the SHA-256 of the network."""
    return sha256(model.tflite).hexdigest()[:12]


def find_model(configured: str | Path = "") -> Path:
    """Return the path of the configured model file, or of the packaged one if none is configured.

    Examples
    --------
    >>> find_model().name, str(find_model("mine.tflite"))
    ('affectd.tflite', 'mine.tflite')
    """
    if configured:
        return Path(configured)
    packaged = Path(__file__).parents[1] / "affectd.tflite"
    return packaged if packaged.is_file() else packaged.parents[2] / "models" / packaged.name


def read_model(path: str | os.PathLike[str]) -> ModelFile:
    """Read and check a model file.

    Raises
    ------
    ModelFileError
        The file is missing, damaged, of another format, or invalid; the message names the path and the field.

    Examples
    --------
    >>> model = read_model(find_model())
    >>> model.spec.sample_rate, "uncertain" in model.thresholds
    (16000, True)
    """
    try:
        return _decode(read_file(path, _MOST_FILE_BYTES))
    except OSError as error:
        raise ModelFileError(f"model file {path}: cannot be read: {error.strerror}") from error
    except ModelFileError as error:
        raise ModelFileError(f"model file {path}: {error}") from error


def write_model(path: str | os.PathLike[str], model: ModelFile) -> None:
    """Write a model file atomically; the bytes depend only on the model and the version of zlib.

    Raises
    ------
    ModelFileError
        The card is not JSON, the network has a zip appended already, or the folder cannot be written.

    Examples
    --------
    >>> write_model("copy.tflite", read_model(find_model()))
    >>> Path("copy.tflite").read_bytes() == find_model().read_bytes()
    True
    """
    target = Path(path)
    data = _encode(model)
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        try:
            with beside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, target)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise ModelFileError(f"model file {path}: cannot be written: {error.strerror}") from error


def _encode(model: ModelFile) -> bytes:
    import zipfile  # only to write

    if zipfile.is_zipfile(io.BytesIO(model.tflite)):
        raise ModelFileError("tflite: expected the network alone, found a zip appended to it")
    spec: dict[str, Any] = {
        "format": 1 if model.head is None else 2,
        "features": model.spec.to_dict(),
        "n_frames": model.n_frames,
        "mean": model.mean.tolist(),
        "std": model.std.tolist(),
        "labels": model.labels,
        "temperature": model.temperature,
        "thresholds": model.thresholds,
    }
    arrays = {key: model.golden[key] for key in _GOLDEN_KEYS}
    if model.head is not None:
        spec["baseline"] = asdict(model.head.spec)
        arrays |= {"logits": model.golden["logits"], **model.head.arrays()}
    members = {
        "spec.json": _json("spec.json", spec),
        "labels.txt": _labels_text(model.labels),
        "golden.npz": append_zip(b"", {f"{key}.npy": npy(array) for key, array in arrays.items()}, deflated=True),
        "card.json": _json("card", model.card),
    }
    data = append_zip(model.tflite, members, comment=_DIGEST_MARK + b"0" * _DIGEST_LENGTH)[:-_DIGEST_LENGTH]
    return data + sha256(data).hexdigest().encode()


def _decode(data: bytes) -> ModelFile:
    content, digest = data[:-_DIGEST_LENGTH], data[-_DIGEST_LENGTH:]
    if not content.endswith(_DIGEST_MARK):
        raise ModelFileError("digest: expected one at the end; this is no model file of affectd or is cut short")
    if sha256(content).hexdigest().encode() != digest:
        raise ModelFileError("digest: the file is damaged, its bytes are not those it was written with")
    archive = parse("zip", lambda: Archive(data, len(_DIGEST_MARK) + _DIGEST_LENGTH))
    check_keys("zip", _MEMBERS, archive.members)
    start = min(member.offset for member in archive.members.values())
    members = {name: parse(name, partial(archive.read, name, most)) for name, most in _MOST_BYTES.items()}
    spec = parse("spec.json", lambda: json.loads(members["spec.json"]))
    if not isinstance(spec, dict):
        raise ModelFileError(f"spec.json: expected an object, found {describe(spec)}")
    # The version first, because a later format may differ in everything else.
    if type(spec.get("format")) is not int or spec["format"] not in FORMATS:
        known = " or ".join(map(str, FORMATS))
        raise ModelFileError(f"format: expected {known}, found {describe(spec.get('format'))}")
    has_head = spec["format"] == 2
    check_keys("spec.json", (*_SPEC_KEYS, "baseline") if has_head else _SPEC_KEYS, spec)
    golden = parse("golden", lambda: read_npz(members["golden.npz"], _MOST_BYTES["golden.npz"]))
    head = _take_head(golden, spec["baseline"]) if has_head else None
    model = ModelFile(
        spec=parse("features", lambda: FeatureSpec.from_dict(spec["features"])),
        n_frames=spec["n_frames"],
        mean=_vector("mean", spec["mean"]),
        std=_vector("std", spec["std"]),
        labels=tuple(spec["labels"]) if isinstance(spec["labels"], list) else spec["labels"],
        temperature=spec["temperature"],
        thresholds=spec["thresholds"],
        golden=golden,
        card=parse("card", lambda: json.loads(members["card.json"])),
        tflite=data[:start],
        head=head,
    )
    if (names := members["labels.txt"]) != _labels_text(model.labels):
        raise ModelFileError(f"labels.txt: expected the labels of spec.json, found {describe(names)}")
    return model


def _take_head(golden: dict[str, Array], numbers: object) -> Head:
    # Only here: a network without one must not cost memory for it.
    from affectd.recognition.head import read_spec, take_head

    return take_head(golden, read_spec(numbers))


def _json(field: str, value: object) -> bytes:
    return parse(field, lambda: json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False).encode())


def _labels_text(labels: tuple[str, ...]) -> bytes:
    return "".join(f"{label}\n" for label in labels).encode()


def _vector(field: str, values: object) -> Float32:
    if not isinstance(values, list) or not all(is_number(value) for value in values):
        raise ModelFileError(f"{field}: expected a list of finite numbers, found {describe(values)}")
    return np.array(values, dtype=np.float32)

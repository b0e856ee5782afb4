"""The model file: a ``.tflite`` with a zip appended that holds everything else the device needs.

By TFLite's convention for associated files, the interpreter ignores the zip. In format 1 the network gives logits, in
format 2 an embedding, which a `Head` turns into logits. Format 3 is of a network that hears in its own way
(`affectd.recognition.hearing`), with or without a head. In format 4 the network gives logits, and beside it there is a
`Voice` (`affectd.recognition.voice`). In format 5 it gives an embedding, and the head sees the functionals of the
context after it. Which format a file has follows from what is in it.

=============== ==========================================================================
``spec.json``   format version, `FeatureSpec`, n_frames, mean, std, labels, temperature, thresholds; with a head
                also how the baseline learns; in format 3 also layout and hearing, in format 4 baseline and
                voice, in format 5 ``far_functionals``
``labels.txt``  the labels again, one per line, for generic TFLite tools
``golden.npz``  samples, cepstra, int8 input and int8 output of one clip, for the self-test; with a head also its
                logits, and the arrays of the head; with a voice, and in format 5, also the functionals; with a
                voice its arrays
``card.json``   data and terms, split, metrics, training revision
=============== ==========================================================================

The arrays of ``golden.npz`` are deflated, everything else is stored; in format 4 all is deflated. The last 64 bytes
(the end of the zip comment) are the SHA-256 in hex of all bytes before them.
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
from affectd.errors import ModelFileError, unreadable
from affectd.features.spec import FeatureSpec
from affectd.files import read_file, sha256
from affectd.recognition.archive import Archive, append_zip, npy, read_npz
from affectd.recognition.checks import check_keys, describe, is_number, parse, read_numbers, require
from affectd.recognition.model_checks import GOLDEN_KEYS, VOICE_KEYS, golden_checks, model_checks

if TYPE_CHECKING:
    from affectd.recognition.head import Head
    from affectd.recognition.hearing import Hearing, InputLayout
    from affectd.recognition.voice import Voice

FORMATS = (1, 2, 3, 4, 5)
_SPEC_KEYS = ("format", "features", "n_frames", "mean", "std", "labels", "temperature", "thresholds")
_DIGEST_MARK = b"affectd model file, sha256 of all bytes before: "
_DIGEST_LENGTH = 64
# A file that says more is refused before it is held in memory; the largest networks for such boards have a few MB.
_MOST_FILE_BYTES = 64_000_000
_MOST_BYTES = {"spec.json": 1_000_000, "labels.txt": 100_000, "golden.npz": 16_000_000, "card.json": 1_000_000}


@dataclass(frozen=True, eq=False, kw_only=True)
class ModelFile:
    """The content of a model file; an instance is always valid.

    Parameters
    ----------
    spec : FeatureSpec
        The front end the network was trained on.
    n_frames : int
        Frames of cepstra in the input of the network.
    mean, std : (n_values,) float32
        Normalization: the network's input is ``(cepstra - mean) / std``; n_values is n_columns without a layout.
    labels : tuple of str
        Class names in the order of the network's output.
    temperature : float
        The logits are divided by it before the softmax.
    thresholds : dict of str to float
        Probabilities from 0 to 1; ``"uncertain"`` is the one below which no label is named.
    golden : dict of str to ndarray
        ``samples`` (n,) int16 PCM; ``cepstra`` (n_frames, n_columns) float32; ``input`` int8 of
        ``input_shape[1:]``; ``output`` (n_outputs,) int8; with a head or a voice also ``logits`` (n_labels,) float32,
        where the baseline is the head's own (`Voice.golden`); with a voice or in format 5 also ``functionals`` (62,)
        float32. With a hearing that fills nothing, there are as many cepstra as the clip has.
    card : dict
        Data and terms, split, metrics, training revision; JSON values only.
    tflite : bytes
        The network alone.
    head : Head, optional
        What turns the embedding into logits, in formats 2 and 5, perhaps in 3; without one the network gives logits.
    layout, hearing : InputLayout, Hearing, optional
        How a network trained elsewhere hears, in format 3; without them as affectd's own.
    voice : Voice, optional
        What is heard relative to the voice of the place, in format 4, beside a network that gives logits.

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
    layout: InputLayout | None = None
    hearing: Hearing | None = None
    voice: Voice | None = None

    def __post_init__(self) -> None:
        require(model_checks(self))
        require(golden_checks(self))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of the network's input, whose first number is 1."""
        return (1, self.n_frames, self.spec.n_columns) if self.layout is None else self.layout.shape

    @property
    def sees_functionals(self) -> bool:
        """Whether the head sees the embedding and after it the functionals of the context, in format 5."""
        return self.head is not None and self.head.far_functionals is not None

    @property
    def n_outputs(self) -> int:
        """How many numbers the network gives: one logit for each label, or the embedding."""
        if self.head is None:
            return len(self.labels)
        return self.head.n_embedding - (len(self.golden["functionals"]) if self.sees_functionals else 0)

    @property
    def learning_head(self) -> Head | None:
        """The head whose baseline a device learns: of an embedding, or that of the voice; None without either."""
        return self.head if self.voice is None else self.voice.head


def model_id(model: ModelFile) -> str:
    """Return the id of a model: the first 12 hex digits of the SHA-256 of the network.

    A head, if there is one, is a part of it: `affectd personalize` changes nothing else. So is a voice.
    """
    digest = sha256(model.tflite)
    if (head := model.learning_head) is not None:
        digest.update(head.weights.tobytes() + head.bias.tobytes() + head.baseline.tobytes())
    if (voice := model.voice) is not None:
        beside = [array for name, array in voice.arrays().items() if name not in voice.head.arrays()]
        digest.update(b"".join(array.tobytes() for array in beside))
    return digest.hexdigest()[:12]


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
    UnavailableError
        It cannot be read now, because the disk or the machine fails.

    Examples
    --------
    >>> model = read_model(find_model())
    >>> model.spec.sample_rate, "uncertain" in model.thresholds
    (16000, True)
    """
    try:
        return _decode(read_file(path, _MOST_FILE_BYTES))
    except OSError as error:
        raise unreadable(error, ModelFileError)(f"model file {path}: cannot be read: {error.strerror}") from error
    except ModelFileError as error:
        raise ModelFileError(f"model file {path}: {error}") from error


def write_model(path: str | os.PathLike[str], model: ModelFile) -> None:
    """Write a model file atomically; the bytes depend only on the model and the version of zlib.

    Raises
    ------
    ModelFileError
        The card is not JSON, or the network has a zip appended already.
    OSError
        The place cannot be written, which is no fault of the model.

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
        raise OSError(f"{path}: cannot be written ({error.strerror})") from error


def _encode(model: ModelFile) -> bytes:
    import zipfile  # only to write

    if zipfile.is_zipfile(io.BytesIO(model.tflite)):
        raise ModelFileError("tflite: expected the network alone, found a zip appended to it")
    spec: dict[str, Any] = {
        "format": format_of(model),
        "features": model.spec.to_dict(),
        "n_frames": model.n_frames,
        "mean": model.mean.tolist(),
        "std": model.std.tolist(),
        "labels": model.labels,
        "temperature": model.temperature,
        "thresholds": model.thresholds,
    }
    arrays = {key: model.golden[key] for key in GOLDEN_KEYS}
    if model.head is not None:
        spec["baseline"] = asdict(model.head.spec)
        spec |= {"far_functionals": model.head.far_functionals} if model.sees_functionals else {}
        arrays |= {key: model.golden[key] for key in (VOICE_KEYS if model.sees_functionals else ("logits",))}
        arrays |= model.head.arrays()
    if model.voice is not None:
        spec |= {"baseline": asdict(model.voice.head.spec), "voice": model.voice.spec.stored()}
        arrays |= {key: model.golden[key] for key in VOICE_KEYS} | model.voice.arrays()
    if spec["format"] == 3:
        spec |= {"layout": model.layout and asdict(model.layout), "hearing": model.hearing and asdict(model.hearing)}
    members = {
        "spec.json": _json("spec.json", spec),
        "labels.txt": _labels_text(model.labels),
        "golden.npz": append_zip(b"", {f"{key}.npy": npy(array) for key, array in arrays.items()}, deflated=True),
        "card.json": _json("card", model.card),
    }
    comment = _DIGEST_MARK + b"0" * _DIGEST_LENGTH
    data = append_zip(model.tflite, members, comment, deflated=spec["format"] == 4)[:-_DIGEST_LENGTH]
    return data + sha256(data).hexdigest().encode()


def format_of(model: ModelFile) -> int:
    """Return the format of a model, which follows from what is in it."""
    if model.sees_functionals:
        return 5
    if model.voice is not None:
        return 4
    if model.layout is not None or model.hearing is not None:
        return 3
    return 1 if model.head is None else 2


def _decode(data: bytes) -> ModelFile:
    content, digest = data[:-_DIGEST_LENGTH], data[-_DIGEST_LENGTH:]
    if not content.endswith(_DIGEST_MARK):
        raise ModelFileError("digest: expected one at the end; this is no model file of affectd or is cut short")
    if sha256(content).hexdigest().encode() != digest:
        raise ModelFileError("digest: the file is damaged, its bytes are not those it was written with")
    archive = parse("zip", lambda: Archive(data, len(_DIGEST_MARK) + _DIGEST_LENGTH))
    check_keys("zip", _MOST_BYTES, archive.members)
    start = min(member.offset for member in archive.members.values())
    members = {name: parse(name, partial(archive.read, name, most)) for name, most in _MOST_BYTES.items()}
    spec = parse("spec.json", lambda: json.loads(members["spec.json"]))
    if not isinstance(spec, dict):
        raise ModelFileError(f"spec.json: expected an object, found {describe(spec)}")
    # The version first, because a later format may differ in everything else.
    if type(spec.get("format")) is not int or spec["format"] not in FORMATS:
        *others, last = FORMATS
        known = f"{', '.join(map(str, others))} or {last}"
        raise ModelFileError(f"format: expected {known}, found {describe(spec.get('format'))}")
    hears = spec["format"] == 3
    has_head = "baseline" in spec if hears else spec["format"] in (2, 4, 5)
    further = {3: ("layout", "hearing"), 4: ("voice",), 5: ("far_functionals",)}.get(spec["format"], ())
    check_keys("spec.json", (*_SPEC_KEYS, *(["baseline"] if has_head else []), *further), spec)
    golden = parse("golden", lambda: read_npz(members["golden.npz"], _MOST_BYTES["golden.npz"]))
    head = _take_head(golden, spec) if has_head else {}
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
        **head,
        **(_take_parts(spec) if hears else {}),
    )
    if (names := members["labels.txt"]) != _labels_text(model.labels):
        raise ModelFileError(f"labels.txt: expected the labels of spec.json, found {describe(names)}")
    return model


def _take_head(golden: dict[str, Array], spec: dict[str, Any]) -> dict[str, Any]:
    # Only here: a network without one must not cost memory for it.
    from affectd.recognition.head import BaselineSpec, take_head

    baseline = read_numbers(BaselineSpec, "baseline", spec["baseline"])
    if "voice" not in spec:
        return {"head": take_head(golden, baseline, spec.get("far_functionals"))}
    from affectd.recognition.voice import read_voice

    return {"voice": read_voice(golden, baseline, spec["voice"])}


def _take_parts(spec: dict[str, Any]) -> dict[str, Any]:
    from affectd.recognition.hearing import read_parts  # only here, as the head

    return read_parts(spec)


def _json(field: str, value: object) -> bytes:
    return parse(field, lambda: json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False).encode())


def _labels_text(labels: tuple[str, ...]) -> bytes:
    return "".join(f"{label}\n" for label in labels).encode()


def _vector(field: str, values: object) -> Float32:
    if not isinstance(values, list) or not all(is_number(value) for value in values):
        raise ModelFileError(f"{field}: expected a list of finite numbers, found {describe(values)}")
    return np.array(values, dtype=np.float32)

"""What a file with a network is, told by its content."""

from __future__ import annotations

import zipfile
from pathlib import Path

from affectd.errors import DataError, NoInputError

KERAS, SAVED_MODEL, TFLITE = "Keras file", "SavedModel", "TFLite file"

_INSTEAD = "save the network as a Keras file (network.save('mine.keras')) or as TFLite"
_PYTORCH = (
    "a file of PyTorch; export the network to ONNX, turn that into TFLite with onnx2tf, and import its *_float32.tflite"
)
_ONNX = (
    "an ONNX file; turn it into TFLite first (pip install onnx2tf; onnx2tf -i FILE), and import its *_float32.tflite"
)
_ZIPPED = {
    "config.json": KERAS,
    "data.pkl": _PYTORCH,
    "constants.pkl": _PYTORCH,
    "word/document.xml": "a document",
}
_PICKLED = f"a pickle, as scikit-learn and old PyTorch write it, which may run any code when it is read; {_INSTEAD}"


def kind_of(path: Path) -> str:
    """Return which of `KERAS`, `SAVED_MODEL` and `TFLITE` a file or folder is.

    Raises
    ------
    NoInputError
        If there is none that can be read.
    DataError
        If it is something else; the message names it, and says what to do instead.
    """
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return SAVED_MODEL
        raise DataError(f"{path}: a folder without saved_model.pb, so no SavedModel; {_INSTEAD}")
    if not path.exists():
        raise NoInputError(f"{path}: no such file")
    if not path.is_file():  # before it is opened: a pipe would be waited for
        raise NoInputError(f"{path}: not a regular file")
    try:
        with path.open("rb") as file:
            begin = file.read(4096)
    except OSError as error:
        raise NoInputError(f"{path}: cannot be read ({error.strerror})") from error
    kind = _kind(path, begin)
    if kind in (KERAS, TFLITE):
        return kind
    raise DataError(f"{path}: {kind}")


def _kind(path: Path, begin: bytes) -> str:
    if begin[4:8] == b"TFL3":
        return TFLITE
    if begin.startswith(b"\x89HDF\r\n\x1a\n"):
        # Weights alone have no description of the layers.
        return KERAS if b"model_config" in path.read_bytes() else f"weights without their network; {_INSTEAD}"
    if begin.startswith(b"PK"):
        return _zipped(path)
    if begin.startswith(b"\x80") and b"." in begin:
        return _PICKLED
    if path.suffix.lower() == ".onnx" or b"onnx" in begin[:200].lower() or b"pytorch" in begin[:40]:
        return _ONNX
    if b'{"__metadata__"' in begin[:64] or path.suffix.lower() == ".safetensors":
        return f"weights of safetensors, without their network; {_INSTEAD}"
    return f"no network that is known here (or damaged); {_INSTEAD}"


def _zipped(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return f"a damaged zip archive, as a Keras file is one; {_INSTEAD}"
    for name in names:
        for end, kind in _ZIPPED.items():
            if name == end or name.endswith(f"/{end}"):
                return kind
    return f"a zip archive that is no Keras file; {_INSTEAD}"

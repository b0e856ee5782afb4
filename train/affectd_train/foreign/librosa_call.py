"""A call of librosa, as it stands in a notebook, as the specification of our front end."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from affectd.errors import UsageError
from affectd.features.spec import FeatureSpec

_MEL = ("sr", "n_fft", "hop_length", "win_length", "window", "center", "pad_mode", "power", "n_mels", "fmin", "fmax")
_MEL_KEYS = (*_MEL, "htk", "norm")
_KEYS = {
    "mfcc": (*_MEL, "htk", "mel_norm", "n_mfcc", "dct_type", "norm", "lifter"),
    "melspectrogram": _MEL_KEYS,
    "power_to_db": ("ref", "amin", "top_db"),
}
_SOUND = ("y", "s")
_WINDOWS = {"hann": "hann", "hamming": "hamming", "boxcar": "rectangular", "ones": "rectangular"}
_ROOT = "--librosa"


def spec_of_call(text: str) -> FeatureSpec:
    """Turn the arguments of ``librosa.feature.mfcc`` into a specification; what is not given is as in librosa 0.11.

    Parameters
    ----------
    text
        The arguments (``n_mfcc=40, sr=16000``), the call itself, or the call of ``librosa.feature.melspectrogram``,
        alone or within ``librosa.power_to_db``. The sound, ``y=...``, is left aside, and so are ``.T`` and ``np.mean``
        around it: the input of the network says which way time runs, and whether it takes means.

    Raises
    ------
    UsageError
        If it is none of these, or asks for what the device cannot compute.
    """
    call = _parsed(text)
    name, arguments = _arguments(call)
    if name == "mfcc":
        return _specified(arguments, _mfcc(arguments))
    if name == "melspectrogram":
        return _specified(arguments, {"n_mfcc": 0, "mel": "power", "reference": "one", "top_db": None}, "norm")
    inner = [argument for argument in call.args if isinstance(argument, ast.Call)]
    if len(inner) != 1 or _arguments(inner[0])[0] != "melspectrogram":
        raise UsageError(
            f"{_ROOT}: power_to_db has to be given melspectrogram(...), as in power_to_db(melspectrogram())"
        )
    return _specified(_arguments(inner[0])[1], {"n_mfcc": 0, "mel": "log", **_decibel(arguments)}, "norm")


def _parsed(text: str) -> ast.Call:
    for attempt in (text, f"mfcc({text})"):
        try:
            tree = ast.parse(attempt.strip(), mode="eval").body
        except (SyntaxError, ValueError):
            continue
        tree = _bare(tree)
        if isinstance(tree, ast.Call):
            return tree
    raise UsageError(f"{_ROOT} {text!r}: expected arguments such as n_mfcc=40,sr=16000, or the call of librosa itself")


def _bare(tree: ast.expr) -> ast.expr:
    """Take off what a notebook does to the frames: ``.T``, ``np.mean(..., axis=0)``, ``.mean(axis=0)``."""
    while True:
        if isinstance(tree, ast.Attribute) and tree.attr == "T":
            tree = tree.value
        elif isinstance(tree, ast.Call) and isinstance(tree.func, ast.Attribute) and tree.func.attr == "mean":
            is_of_numpy = ast.unparse(tree.func.value) in ("np", "numpy")
            if is_of_numpy and not tree.args:
                return tree
            tree = tree.args[0] if is_of_numpy else tree.func.value
        else:
            return tree


def _arguments(call: ast.Call) -> tuple[str, dict[str, Any]]:
    """Return the name of the function, without its module, and the arguments that are not the sound."""
    name = ast.unparse(call.func).rpartition(".")[2]
    if name not in _KEYS:
        raise UsageError(f"{_ROOT}: {name} is none of {', '.join(_KEYS)}; --spec FILE can say other front ends")
    if name != "power_to_db" and any(not isinstance(argument, ast.Name) for argument in call.args):  # more than y
        raise UsageError(f"{_ROOT}: {ast.unparse(call.args[0])!r} is no argument with a name, such as n_mfcc=40")
    found: dict[str, Any] = {}
    for keyword in call.keywords:
        key = keyword.arg or "**"
        if key == "S":
            raise UsageError(f"{_ROOT}: S is computed elsewhere; give the arguments that it was computed with instead")
        if key.lower() in _SOUND:
            continue
        if key not in _KEYS[name]:
            raise UsageError(f"{_ROOT}: {key} is no argument of librosa's {name} that is known here")
        found[key] = _value(key, keyword.value)
    return name, found


def _value(key: str, tree: ast.expr) -> Any:
    if key == "ref" and ast.unparse(tree) in ("np.max", "numpy.max", "max"):
        return max
    try:
        return ast.literal_eval(tree)
    except ValueError:
        rate = ": what librosa.load was told, 22050 if nothing" if key == "sr" else ""
        raise UsageError(f"{_ROOT}: {key}={ast.unparse(tree)} has to be written as a number or a text{rate}") from None


def _mfcc(arguments: dict[str, Any]) -> dict[str, Any]:
    _only(arguments, "dct_type", 2)
    _only(arguments, "norm", "ortho")
    lifter = float(arguments.get("lifter", 0))
    return {"n_mfcc": arguments.get("n_mfcc", 20), "lifter": lifter, **_decibel({})}


def _decibel(arguments: dict[str, Any]) -> dict[str, Any]:
    reference = arguments.get("ref", 1.0)
    if reference is not max and reference != 1:
        raise UsageError(f"{_ROOT}: ref={reference!r}: the device knows 1.0 and np.max")
    return {
        "reference": "max" if reference is max else "one",
        "log_floor": float(arguments.get("amin", 1e-10)),
        "top_db": arguments.get("top_db", 80.0),
    }


def _specified(arguments: dict[str, Any], others: dict[str, Any], norm: str = "mel_norm") -> FeatureSpec:
    """Put together what MFCCs and mel bands have in common, and `others`."""
    _only(arguments, "pad_mode", "constant")
    _only(arguments, "power", 2)
    window = arguments.get("window", "hann")
    if window not in _WINDOWS:
        raise UsageError(f"{_ROOT}: window={window!r} is none of {', '.join(_WINDOWS)}")
    rate, n_fft = arguments.get("sr", 22050), arguments.get("n_fft", 2048)
    length, hop, highest = arguments.get("win_length"), arguments.get("hop_length", 512), arguments.get("fmax")
    checked: Callable[..., FeatureSpec] = FeatureSpec  # says itself what is wrong with a value
    try:
        return checked(
            sample_rate=rate,
            n_fft=n_fft,
            window_length=n_fft if length is None else length,
            hop_length=(n_fft if length is None else length) // 4 if hop is None else hop,
            window=_WINDOWS[window],
            center=arguments.get("center", True),
            n_mels=arguments.get("n_mels", 128),
            fmin=arguments.get("fmin", 0.0),
            fmax=rate / 2 if highest is None else highest,
            htk=arguments.get("htk", False),
            mel_norm=arguments.get(norm, "slaney"),
            **others,
        )
    except (TypeError, ValueError) as error:
        raise UsageError(f"{_ROOT}: {error}") from error


def _only(arguments: dict[str, Any], key: str, value: Any) -> None:
    if key in arguments and arguments[key] != value:
        raise UsageError(f"{_ROOT}: {key}={arguments[key]!r}: the device can do {key}={value!r} alone")

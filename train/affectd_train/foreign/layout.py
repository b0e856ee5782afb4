"""How the frames of a recording lie in the input of a network of others, told from its shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from affectd.errors import DataError, UsageError
from affectd.features.spec import FeatureSpec
from affectd.recognition.hearing import InputLayout

LIVE_SECONDS = 3.0
"""Of sound that a network of means is given by a microphone, where --frames does not say it."""


class Input(NamedTuple):
    """What a network takes: `layout` is None for the device's own, ``(1, n_frames, n_columns)``."""

    n_frames: int
    layout: InputLayout | None


def input_of(shape: Sequence[int], spec: FeatureSpec, n_frames: int | None, time: str | None) -> Input:
    """Tell how the columns of a specification lie in an input of this shape, the first number of which is 1.

    Parameters
    ----------
    n_frames
        As asked for; it has to be that of the shape, unless the network takes a mean over them.
    time
        ``"first"`` or ``"last"``, where the shape alone does not tell.

    Raises
    ------
    DataError
        If they do not fit.
    UsageError
        If it has to be said which axis is time.
    """
    k, shape = spec.n_columns, tuple(shape)
    if -1 in shape[1:]:
        raise DataError(f"the network takes any number of frames, {shape}; save it with a fixed one")
    if shape[:1] not in ((1,), (-1,)) or not 2 <= len(shape) <= 4:
        raise DataError(f"the network's input is {shape}, expected one context at a time, of rank 2 to 4")
    shape = (1, *shape[1:])
    lengths = [n for n in shape[1:] if n != 1]
    if len(lengths) == 2:
        found = _matrix(shape, lengths, k, time)
    elif len(lengths) == 1:
        found = _vector(shape, lengths[0], spec, n_frames, time)
    else:
        raise DataError(f"the network's input is {shape}, expected frames of {k} columns without further channels")
    if n_frames is not None and found.n_frames != n_frames:
        raise DataError(f"the network takes {found.n_frames} frames, and --frames says {n_frames}")
    return found


def _matrix(shape: tuple[int, ...], lengths: list[int], k: int, time: str | None) -> Input:
    if k not in lengths:
        raise DataError(
            f"the network's input is {shape}, and the front end has {k} columns: neither axis has as many; --spec or"
            " --librosa has to say how its features were computed"
        )
    if lengths[0] == lengths[1] and time is None:
        raise UsageError(f"the network's input is {shape}: --time first or --time last says which axis is time")
    is_transposed = time == "last" if lengths[0] == lengths[1] else lengths[0] == k
    n_frames = lengths[1] if is_transposed else lengths[0]
    is_ours = shape == (1, n_frames, k) and not is_transposed
    return Input(n_frames, None if is_ours else InputLayout(shape=shape, transposed=is_transposed))


def _vector(shape: tuple[int, ...], length: int, spec: FeatureSpec, n_frames: int | None, time: str | None) -> Input:
    k = spec.n_columns
    live = round(LIVE_SECONDS * spec.frame_rate) if n_frames is None else n_frames
    if length == k:
        return Input(live, InputLayout(shape=shape, statistics="mean"))
    if length == 2 * k:
        return Input(live, InputLayout(shape=shape, statistics="mean_and_deviation"))
    if length % k:
        raise DataError(
            f"the network's input is {shape}, and the front end has {k} columns: it is neither a mean of them"
            f" ({k} or {2 * k}) nor whole frames"
        )
    if time is None:
        raise UsageError(
            f"the network's input is {shape}, {length // k} frames in a row: --time first or --time last says which"
            " axis was time before they were flattened"
        )
    return Input(length // k, InputLayout(shape=shape, transposed=time == "last"))

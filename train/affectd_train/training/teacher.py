"""A large network teaches the small one: what it makes of every clip is a second target beside the label.

The teacher is the encoder of Moonshine base (20 million weights, trained on 200,000 hours to recognize words; MIT
license): the mean and standard deviation over time of its third to fifth layer, and a linear classifier on them
that knows the training speakers alone. Of unseen speakers it recognizes more than any network of our size that was
trained on labels only. The device never sees it.

N. Jeffries et al., "Moonshine: Speech Recognition for Live Transcription and Voice Commands", 2024.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

import librosa
import numpy as np
from librosa.filters import mel
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import softmax

from affectd.arrays import Float32, Float64
from affectd.errors import DataError, UnavailableError
from affectd.features.spec import FeatureSpec
from affectd_train.augmentation.waveform import Augmenter
from affectd_train.compiled import compile_librosa
from affectd_train.data.clips import Clip
from affectd_train.data.logmel import load_logmel
from affectd_train.files import write_arrays
from affectd_train.parallel import in_parallel
from affectd_train.stored import arrays, cached, check, reading
from affectd_train.training.variants import Source, digest, sources

SAMPLE_RATE = 16000
LAYERS = ("/layers.2/Add_1_output_0", "/layers.3/Add_1_output_0", "/layers.4/Add_1_output_0")
"""Layers in the middle, as the encoder's file calls what they give, ``(1, n_steps, 416)``: the last ones know words."""

N_COMPONENTS = 512
"""Principal components of the embeddings that the classifier is given; they hold 92 % of the variance."""

N_HINTS = 256
"""Principal components that the small network learns to guess."""

L2 = 300.0
"""Weight decay of the linear classifier, in units of clips."""

CROSSINGS = 5
"""Groups of speakers; each is classified by a classifier that was trained on the others."""


class Session(Protocol):
    """What is used of ``onnxruntime.InferenceSession``."""

    def run(self, outputs: Sequence[str] | None, inputs: Mapping[str, Float32], /) -> list[Float32]:
        """Compute outputs, all of them for None."""


def encoder_session(encoder: Path) -> Session:
    """Open the encoder on one thread, with `LAYERS` for outputs, and what nothing needs then cut off."""
    onnx, runtime = _installed("onnx"), _installed("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    with reading(encoder, "docs/training.md says where to get the teacher"):
        model = onnx.load_model_from_string(encoder.read_bytes())
        del model.graph.output[:]
        for layer in LAYERS:
            model.graph.output.append(onnx.helper.make_tensor_value_info(layer, onnx.TensorProto.FLOAT, None))
        session: Session = runtime.InferenceSession(model.SerializeToString(), options)
    return session


session_of_process = cache(encoder_session)
"""The encoder in a process of a pool, opened for its first clip."""


def embeddings(
    clips: Sequence[Clip],
    spec: FeatureSpec,
    encoder: Path,
    cache: Path,
    augmenter: Augmenter | None = None,
    copy: int = 0,
) -> Float32:
    """Embed clips on all cores, or read the embeddings from an earlier call's cache.

    Log-mel clips are turned into sound first.

    Parameters
    ----------
    encoder
        ``encoder_model.onnx`` of Moonshine base.
    augmenter, copy
        With an augmenter, the voices of copies are embedded; see `affectd_train.training.bands.load_bands`.

    Returns
    -------
    ``(len(clips), 3 * 832)`` float32; NaN for a clip that cannot be decoded.

    Raises
    ------
    UnavailableError, DataError
        If onnx or onnxruntime is not installed; if the encoder is damaged or another network.
    """
    settings = encoder.read_bytes() + json.dumps(LAYERS).encode()
    file = cache / f"embeddings-{clips[0].corpus}-{digest(settings, clips, augmenter, copy)}.npz"

    def read(file: Path) -> Float32:
        (rows,) = arrays(file, "rows")
        check(rows.shape == (len(clips), 2 * 416 * len(LAYERS)), "rows of another shape")
        return np.asarray(rows, np.float32)

    def make(file: Path) -> None:
        encoder_session(encoder)  # what is wrong with it is said once rather than by every process
        compile_librosa()
        title = f"embeddings of {clips[0].corpus}, copy {copy}"
        rows = list(in_parallel(partial(embed, encoder), sources(clips, spec, augmenter, copy), title))
        write_arrays(file, rows=np.stack(rows).astype(np.float16))

    return cached(file, read, make)


def embed(encoder: Path, source: Source) -> Float32:
    """Embed one clip: ``(3 * 832,)``, the mean and the deviation of each of `LAYERS`."""
    try:
        samples = invert(load_logmel(source.clip)) if source.clip.is_logmel else source.sound()[0]
    except DataError:  # reading its bands says why
        return np.full(2 * 416 * len(LAYERS), np.nan, np.float32)
    power = np.convolve(samples**2, np.ones(400) / 400, "same")
    loud = np.flatnonzero(power >= 1e-4 * power.max())  # all of digital silence
    speech = loudest_at_half(samples[max(0, loud[0] - 1600) : loud[-1] + 1600])
    layers = session_of_process(encoder).run(None, {"input_values": speech[None]})  # each (1, n_steps, 416)
    return np.concatenate([part for layer in layers for part in (layer[0].mean(0), layer[0].std(0))])


def loudest_at_half(samples: Float32) -> Float32:
    """Bring the loudest sample to 0.5: the encoder hears no level."""
    loudest = np.abs(samples).max() or 1.0
    return (0.5 * samples / loudest).astype(np.float32)


def invert(bands: Float32) -> Float32:
    """Make a recording that has such log-mel bands as CREMA-D comes in.

    The powers of the bins are found by multiplicative updates (D. Lee and S. Seung, "Algorithms for non-negative matrix
    factorization", 2001), the phases by D. Griffin and J. Lim's iteration. Of ``(n_frames, 128)`` decibel below the
    maximum, of frames of 1024 samples every 256, it makes ``((n_frames - 1) * 256,)`` float32.
    """
    bank, inverse = _filters()
    power = np.where(bands > bands.max() - 79.5, 10 ** (bands / 10), 0).astype(np.float32)
    bins = np.maximum(power @ inverse, 1e-10)
    wanted = power @ bank
    for _ in range(20):
        bins *= wanted / (bins @ bank.T @ bank + 1e-12)
    result: Float32 = librosa.griffinlim(np.sqrt(bins).T, n_iter=24, hop_length=256, n_fft=1024, random_state=0)
    return result


@dataclass(frozen=True)
class SoftTargets:
    """What the teacher makes of some clips, as targets."""

    probabilities: Float32  # (n_clips, n_labels), by a classifier not trained on the clip's speaker; NaN where unknown
    hints: Float32  # (n_clips, N_HINTS), the largest principal components of the embedding, each of variance 1


@dataclass(frozen=True)
class Basis:
    """Principal components of embeddings."""

    mean: Float32  # (d,), subtracted first
    std: Float32  # (d,), divided by then
    axes: Float32  # (d, k)
    spread: Float32  # (k,), the standard deviation along each axis

    @classmethod
    def of(cls, x: Float32) -> Basis:
        """Find the components of the embeddings ``(n, d)``."""
        mean, std = x.mean(0), x.std(0) + np.float32(1e-3)
        z = (x - mean) / std
        variance, axes = np.linalg.eigh(z.T @ z / np.float32(len(z)))
        k = min(N_COMPONENTS, len(z))
        return cls(mean, std, axes[:, : -k - 1 : -1].copy(), np.sqrt(np.maximum(variance[: -k - 1 : -1], 1e-6)))

    def __call__(self, x: Float32) -> Float32:
        """Project embeddings: ``(n, d)`` to ``(n, k)``."""
        return np.asarray(((x - self.mean) / self.std) @ self.axes, np.float32)


def soft_targets(
    x: Float32, basis: Basis, labels: NDArray[np.int64], n_labels: int, weights: Float32, speakers: Sequence[str]
) -> SoftTargets:
    """Classify every clip, of embeddings `x` ``(n, d)``, by a classifier that was not trained on its speaker.

    `weights` ``(n,)`` say how much a clip counts; those of 0 do not train.
    """
    z = basis(x)
    names = sorted(set(speakers))
    np.random.default_rng(0).shuffle(names)
    group = {name: i % CROSSINGS for i, name in enumerate(names)}
    mine = np.array([group[name] for name in speakers])
    probabilities = np.zeros((len(z), n_labels), np.float32)
    for k in range(CROSSINGS):
        others = (mine != k) & (weights > 0)
        weight = fit_linear(z[others], labels[others], n_labels, weights[others])
        probabilities[mine == k] = softmax(z[mine == k] @ weight[:-1] + weight[-1], axis=1)
    return SoftTargets(probabilities, (z / basis.spread)[:, :N_HINTS])


def fit_linear(z: Float32, labels: NDArray[np.int64], n_labels: int, weights: Float32) -> Float32:
    """Fit a multinomial logistic regression: ``(d + 1, n_labels)``, the last row for the offsets."""
    right = np.eye(n_labels, dtype=np.float32)[labels]
    shape = (z.shape[1] + 1, n_labels)

    def cost(flat: Float64) -> tuple[float, Float64]:
        w = flat.reshape(shape).astype(np.float32)
        p = softmax(z @ w[:-1] + w[-1], axis=1)
        gradient = (p - right) * weights[:, None]
        loss = -(weights * np.log(np.maximum((p * right).sum(1), 1e-12))).sum() + L2 / 2 * np.square(w[:-1]).sum()
        return float(loss), np.concatenate([z.T @ gradient + L2 * w[:-1], gradient.sum(0)[None]]).ravel().astype(float)

    found = minimize(cost, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 150})
    result: Float32 = found.x.reshape(shape).astype(np.float32)
    return result


@cache
def _filters() -> tuple[Float32, Float32]:
    bank = mel(sr=SAMPLE_RATE, n_fft=1024, n_mels=128).astype(np.float32)  # (128, 513)
    return bank, np.linalg.pinv(bank).T.astype(np.float32)


def _installed(name: str) -> Any:  # neither has types
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise UnavailableError(f'{name} is not installed: pip install ".[teacher]" in the checkout') from None

"""The int8 network on the device, run by the first TFLite interpreter that works."""

from __future__ import annotations

import errno
import importlib
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from affectd.arrays import Float32, Float64, Int8
from affectd.config.sections import ModelConfig
from affectd.errors import ModelFileError, UnavailableError
from affectd.recognition.model_file import ModelFile, find_model, read_model
from affectd.stdio import quiet

# Distribution name to module, in order of preference; without TensorFlow, which does not fit on the device.
RUNTIMES = {"ai-edge-litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime"}
_MOST_MESSAGE = 300
# Of the network's input and output; beyond them float32 overflows.
_SCALES = (1e-9, 1e9)

Floats = TypeVar("Floats", Float32, Float64)


class Network(Protocol):
    """The interface of `Classifier` that the pipeline uses."""

    model: ModelFile

    def __call__(self, cepstra: Float32) -> Float32:
        """Turn ``(n_frames, n_columns)`` cepstra into ``(n_labels,)`` probabilities."""


class Classifier:
    """Turns one context of cepstra into the probability of every label.

    Parameters
    ----------
    runtime : str, optional
        A key of `RUNTIMES`; by default the first one that works, named by ``runtime_name`` and ``runtime_version``.
    threads : int
        Threads of the interpreter; a small network is not faster on several.

    Raises
    ------
    UnavailableError
        No interpreter can run this model; the message gives the reason for each.
    ModelFileError
        The interpreter works, but not with this network, or the network's input or output does not match the model
        file; the message names the field.

    Examples
    --------
    >>> model = read_model(find_model())
    >>> probabilities = Classifier(model)(np.zeros((model.n_frames, model.spec.n_columns), np.float32))
    >>> probabilities.shape == (len(model.labels),), round(float(probabilities.sum()), 3)
    (True, 1.0)
    """

    def __init__(self, model: ModelFile, runtime: str | None = None, threads: int = 1) -> None:
        if runtime is not None and runtime not in RUNTIMES:
            raise UnavailableError(f"no TFLite interpreter is called {runtime!r}; try {' or '.join(RUNTIMES)}")
        self.model = model
        reasons = []
        names = tuple(RUNTIMES) if runtime is None else (runtime,)
        for name in names:
            try:
                self._interpreter, self.runtime_version = _construct(name, model.tflite, threads)
            # A wheel built for another NumPy, C library or processor may raise any exception.
            except Exception as error:
                if isinstance(error, OSError) and error.errno == errno.EMFILE:
                    raise  # no fault of the interpreter
                reasons.append(f"{name}: {_reason(error)}")
            else:
                self.runtime_name = name
                break
        else:
            said = "; ".join(reasons)
            # A restart brings no other network, but an interpreter may be installed meanwhile.
            if any(_runs_ours(name, model.tflite) for name in names):
                raise ModelFileError(f"tflite: expected a network that the interpreter can run ({said})")
            is_missing = said.count("not installed") == len(names)
            mend = "; pip install 'affectd[interpreter]' brings one" if is_missing else ""
            raise UnavailableError(f"no TFLite interpreter can run this model ({said}){mend}")
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._input, self._input_scale = _tensor("input", inputs, model.input_shape)
        self._output, self._output_scale = _tensor("output", outputs, (1, model.n_outputs))
        if model.voice is not None or model.sees_functionals:
            from affectd.features.functionals import Functionals  # only here, as the voice

            self.functionals = Functionals(model.spec)

    def __call__(self, cepstra: Float32) -> Float32:
        """Return the probabilities (n_labels,) of one context of cepstra (n_frames, n_columns), all float32.

        With a head, those at the baseline that the model file has; with a voice, those where none is known.

        Raises
        ------
        UnavailableError
            A value is not finite.
        """
        output = self.embed(cepstra)
        head, voice = self.model.head, self.model.voice
        if head is not None:
            seen = head.seen(output, self.functionals(cepstra)) if self.model.sees_functionals else output
            output = head.doubted(head.logits(seen, head.baseline), seen)
        elif voice is not None:
            self._heard = self.functionals(cepstra)
            output = voice.cold(output, self._heard)
        return softmax(output, self.model.temperature)

    @property
    def sure(self) -> float | None:
        """What the logits of the last call were multiplied by, see `Voice.sure`; None of a file without a voice."""
        return None if self.model.voice is None else float(self.model.voice.sure(self._heard, 0.0))

    def embed(self, cepstra: Float32) -> Float32:
        """Return what the network gives, dequantized: the embedding (n_embedding,), or without a head the logits.

        Raises
        ------
        UnavailableError
            A value is not finite.
        """
        # Samples are finite, so only faulty arithmetic of NumPy can cause this. The check takes 2 microseconds.
        if not np.isfinite(cepstra).all():
            raise UnavailableError(
                f"NumPy {np.__version__} does not compute on this processor: the features of finite sound came out as"
                " NaN or infinite; affectd model --self-test shows whether another version of NumPy does."
            )
        return self.dequantize(self.invoke(self.quantize(cepstra)))

    def quantize(self, cepstra: Float32) -> Int8:
        """Return cepstra (n_frames, n_columns) float32 as the network's int8 input, ``ModelFile.input_shape[1:]``."""
        layout, mean, std = self.model.layout, self.model.mean, self.model.std
        if layout is None:
            return quantize((cepstra - mean) / std, *self._input_scale)
        return layout.arranged(quantize((layout.pooled(cepstra) - mean) / std, *self._input_scale))

    def dequantize(self, output: Int8) -> Float32:
        """Return the network's int8 output as real numbers, float32 of the same shape."""
        return dequantize(output, *self._output_scale)

    def invoke(self, quantized: Int8) -> Int8:
        """Run the network alone: int8 of ``ModelFile.input_shape[1:]`` in, int8 (n_outputs,) out."""
        # set_tensor takes half the time of a view through tensor().
        self._interpreter.set_tensor(self._input, quantized[np.newaxis])
        self._interpreter.invoke()
        output: Int8 = self._interpreter.get_tensor(self._output)[0]
        return output


def quantize(x: ArrayLike, scale: float, zero_point: int) -> Int8:
    """Quantize real numbers as TFLite does: ``round(x / scale) + zero_point``, clipped to -128..127.

    Halves are rounded away from zero, in float64: in float32 0.49999997 would become 1.

    `x` may have any shape, without NaN; infinities are clipped. Source: B. Jacob et al., "Quantization and training of
    neural networks for efficient integer-arithmetic-only inference", 2018, equation 1.

    Examples
    --------
    >>> quantize([0.0, 0.25, -0.25, 1e9], scale=0.5, zero_point=10).tolist()
    [10, 11, 9, 127]
    """
    steps = np.asarray(x, dtype=np.float64) / scale
    steps = np.trunc(steps + np.copysign(0.5, steps)) + zero_point
    # Clipped first, because a cast wraps: 130 becomes -126.
    return np.asarray(np.clip(steps, -128, 127)).astype(np.int8)


def dequantize(q: Int8, scale: float, zero_point: int) -> Float32:
    """Return the real numbers ``scale * (q - zero_point)`` of int8 values, float32 of the same shape.

    Examples
    --------
    >>> dequantize(np.array([10, 11, 127], np.int8), scale=0.5, zero_point=10).tolist()
    [0.0, 0.5, 58.5]
    """
    return (q.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)


def softmax(logits: Floats, temperature: float = 1.0) -> Floats:
    """Return the probabilities of logits ``(..., n_labels)`` divided by a temperature, in the precision of these.

    Examples
    --------
    >>> softmax(np.zeros(4, np.float32))
    array([0.25, 0.25, 0.25, 0.25], dtype=float32)
    """
    scaled = logits / np.float32(temperature)
    # The largest becomes exp(0): no overflow, whatever the logits.
    exponentials = np.exp(scaled - scaled.max(-1, keepdims=True))
    probabilities: Floats = exponentials / exponentials.sum(-1, keepdims=True)
    return probabilities


def _construct(name: str, tflite: bytes, threads: int) -> tuple[Any, str]:
    """Return an interpreter that has run this network once, and its version.

    Importing is not enough: tflite-runtime 2.14 beside NumPy 2 imports and fails when constructed.
    """
    with quiet():
        module = importlib.import_module(f"{RUNTIMES[name]}.interpreter")
        version = getattr(importlib.import_module(RUNTIMES[name]), "__version__", "of unknown version")
        interpreter = module.Interpreter(model_content=tflite, num_threads=threads)
        interpreter.allocate_tensors()
        interpreter.invoke()
        interpreter.get_input_details(), interpreter.get_output_details()  # raise for a name that is not UTF-8
    return interpreter, version


def _runs_ours(name: str, tflite: bytes) -> bool:
    """Return whether this interpreter runs the network of the package, which is another one than `tflite`."""
    try:
        ours = read_model(find_model()).tflite
        return ours != tflite and bool(_construct(name, ours, threads=1))
    except Exception:
        return False


def _reason(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return "not installed"
    # An extension module compiled against NumPy 1 raises this beside NumPy 2.
    if "numpy.core.multiarray" in str(error.__cause__):
        return f"built for NumPy 1, fails beside NumPy {np.__version__}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:_MOST_MESSAGE]


def _tensor(field: str, details: list[dict[str, Any]], shape: tuple[int, ...]) -> tuple[int, tuple[float, int]]:
    """Check that there is one tensor, int8 of this shape; return its index and (scale, zero_point)."""
    if len(details) != 1:
        raise ModelFileError(f"{field}: expected one tensor, found {len(details)}")
    tensor = details[0]
    found = tuple(tensor["shape"].tolist())
    if tensor["dtype"] is not np.int8 or found != shape:
        raise ModelFileError(f"{field}: expected int8 {shape}, found {np.dtype(tensor['dtype'])} {found}")
    scale, zero_point = tensor["quantization"]
    low, high = _SCALES
    # TFLite gives 0 for a tensor without a scale, or with one per channel.
    if not low <= scale <= high:
        raise ModelFileError(f"{field}: expected one quantization scale above 0, {low:g} to {high:g}, found {scale}")
    if not -128 <= zero_point <= 127:
        raise ModelFileError(f"{field}: expected a zero point that is int8, found {zero_point}")
    return tensor["index"], (float(scale), int(zero_point))


def load_classifier(config: ModelConfig, threads: int = 1) -> Classifier:
    """Load the configured model file, which is tried in another process first, or the packaged one.

    Raises
    ------
    ModelFileError, UnavailableError
        As `read_model`, `affectd.recognition.trial.survive` and `Classifier`.

    Examples
    --------
    >>> load_classifier(ModelConfig()).runtime_name in RUNTIMES
    True
    """
    path = find_model(config.path)
    model = read_model(path)
    try:
        if config.path:
            # Imported only here: the packaged model does not need it.
            from affectd.recognition.trial import survive

            survive(lambda: Classifier(model).invoke(model.golden["input"]))
        return Classifier(model, threads=threads)
    except ModelFileError as error:
        raise ModelFileError(f"model file {path}: {error}") from error

#!/usr/bin/env python3
"""Compare what affectd computes with what others take for the same, in one run, in turns, on one core.

    pip install kaldi-native-fbank onnxruntime tqdm && pip install --no-deps openwakeword==0.4.0
    scripts/benchmark_peers.py            as Markdown; --json for programs

librosa, python_speech_features and TensorFlow are in the extra `dev`. What is not installed is left out, with a line
that says so. openWakeWord 0.4.0 is the last one with its models inside; its code wants an old tflite-runtime, so its
two feature models (melspectrogram, embedding) are run by onnxruntime as its `AudioFeatures` does: every 80 ms, one
thread.

Two limits stand beside affectd's own figures. For the MFCC it is NumPy's `rfft` of the same frames: in one plain call,
which makes copies in float64 in memory that the system hands out anew each time; and in the fastest way there is in
NumPy, in float32, in batches that stay in the cache. For the network it is the time that its multiply-accumulates would
take at the rate of a large int8 product (1024 x 1024 x 1024) on the same interpreter.
"""

from __future__ import annotations

import argparse
import os
import sys

if __name__ == "__main__":
    for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[_name] = "1"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import importlib
import importlib.metadata
import json
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from typing import Any

import numpy as np

from affectd.bench.board import board
from affectd.features.context import CepstralContext
from affectd.features.framing import Framer
from affectd.features.mfcc import Mfcc
from affectd.features.spec import FeatureSpec
from affectd.recognition.classifier import RUNTIMES, Classifier
from affectd.recognition.model_file import find_model, read_model
from affectd.stdio import quiet

SECONDS = 3
STRIDE_SECONDS = 0.5
RATE = 16000
BATCH = 32
N_MFCC = 64
OURS = f"64 ms every 16 ms, 128 bands, {N_MFCC} coefficients"
SPEECH_FEATURES = "25 ms every 10 ms, 26 bands, 13 coefficients"
PEERS = (
    "numpy",
    "librosa",
    "python_speech_features",
    "kaldi-native-fbank",
    "openwakeword",
    "onnxruntime",
    "tensorflow",
)

Calls = dict[str, Callable[[], object]]
Times = dict[str, "np.ndarray[Any, np.dtype[np.float64]]"]


def timed(calls: Calls, patience_seconds: float = 20.0) -> Times:
    """Time the calls in turns, each warm from a call just before; return processor time of every round, seconds.

    In turns, so that what disturbs one disturbs all; processor time, so that other programs do so little.
    """
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    began = time.monotonic()
    while len(times[next(iter(calls))]) < 300 and time.monotonic() - began < patience_seconds:
        for name, call in calls.items():
            call()
            before = time.process_time()
            call()
            times[name].append(time.process_time() - before)
    return {name: np.array(values) for name, values in times.items()}


def ratio(times: Times, name: str, to: str) -> float:
    """Return the median of the ratios of the rounds: each compares what ran at the same time."""
    return float(np.median(times[name] / times[to]))


def module(name: str) -> Any:
    """Import a peer, or say that it is left out."""
    try:
        with quiet():
            return importlib.import_module(name)
    except ImportError as error:
        print(f"{name} is left out: {error}", file=sys.stderr)
        return None


def rfft_calls(spec: FeatureSpec, frames: Any) -> Calls:
    """Return the limit of any MFCC in NumPy: the transforms alone, of frames that are there already."""
    frames = np.ascontiguousarray(frames)
    spectrum: Any = np.empty((BATCH, spec.n_fft // 2 + 1), np.complex64)

    def batched() -> None:
        for start in range(0, len(frames), BATCH):
            batch = frames[start : start + BATCH]
            # With a norm to multiply by, NumPy 2 transforms float32 as such.
            np.fft.rfft(batch, spec.n_fft, norm="forward", out=spectrum[: len(batch)])

    return {
        "numpy rfft, one call": lambda: np.fft.rfft(frames, spec.n_fft),
        "numpy rfft, float32, batches": batched,
    }


def mfcc_of_three_seconds(samples: Any) -> dict[str, Times]:
    """Time 3 s at the settings of python_speech_features and Kaldi, and at affectd's own, which are librosa's."""
    groups = {}
    # All of them now, so that each finds the same.
    speech_features, kaldi, librosa = map(module, ("python_speech_features", "kaldi_native_fbank", "librosa"))
    spec = FeatureSpec(
        window_length=400, hop_length=160, n_fft=512, window="rectangular", center=False, pad_end=True,
        preemphasis=0.97, full_scale=32768.0, periodogram=True, n_mels=26, htk=True, mel_norm=None, floor_bins=True,
        log="natural", log_floor=float(np.finfo(float).eps), replace_zeros=True, reference="one", top_db=None,
        n_mfcc=13, lifter=22.0, lifter_start=0, energy=True,
    )  # fmt: skip
    theirs = Mfcc(spec)
    pcm = (samples * 32767).round().astype(np.int16)
    calls: Calls = {"affectd": lambda: theirs(samples), **rfft_calls(spec, theirs.frames(samples))}
    if speech_features is not None:
        calls["python_speech_features"] = lambda: speech_features.mfcc(pcm, RATE, nfft=512)
    if kaldi is not None:
        calls["kaldi-native-fbank"] = kaldi_mfcc(kaldi, samples, 25.0, 10.0, 26, 13)
    groups[SPEECH_FEATURES] = timed(calls)
    spec = FeatureSpec(n_mfcc=N_MFCC)
    ours = Mfcc(spec)
    calls = {"affectd": lambda: ours(samples), **rfft_calls(spec, ours.frames(samples))}
    if librosa is not None:
        settings = {"n_mfcc": N_MFCC, "n_fft": 1024, "hop_length": 256, "n_mels": 128}
        calls["librosa, warm"] = lambda: librosa.feature.mfcc(y=samples, sr=RATE, **settings)
    if kaldi is not None:
        # The nearest that it has: frames of 64 ms every 16 ms, padded to 1024, 128 bands, as many coefficients.
        calls["kaldi-native-fbank"] = kaldi_mfcc(kaldi, samples, 64.0, 16.0, 128, N_MFCC)
    groups[OURS] = timed(calls)
    return groups


def kaldi_mfcc(
    kaldi: Any, samples: Any, length_ms: float, shift_ms: float, n_bands: int, n_mfcc: int
) -> Callable[[], object]:
    """Return what computes so much more of a stream with kaldi-native-fbank; its tables are made once."""
    options = kaldi.MfccOptions()
    options.frame_opts.dither = 0
    options.frame_opts.samp_freq = RATE
    options.frame_opts.frame_length_ms, options.frame_opts.frame_shift_ms = length_ms, shift_ms
    options.mel_opts.num_bins, options.num_ceps = n_bands, n_mfcc
    online = kaldi.OnlineMfcc(options)
    done = 0

    def run() -> Any:
        nonlocal done
        online.accept_waveform(RATE, samples)
        begin, done = done, online.num_frames_ready
        return [online.get_frame(i) for i in range(begin, done)]

    return run


def mfcc_of_a_stream(samples: Any) -> Times:
    """Time a stream of 3 s, per stride of 0.5 s: affectd and Kaldi compute its frames alone, the others all 3 s again.

    While the loudest band of the context stays the same, as it mostly does, affectd computes the cepstra of the new
    frames alone, else of all.
    """
    spec = FeatureSpec(n_mfcc=N_MFCC)
    ours, framer = Mfcc(spec), Framer(spec)
    context = CepstralContext(spec.count_frames(len(samples)), ours)
    all_bands = ours.bands(ours.frames(samples))
    strides = np.split(samples, round(SECONDS / STRIDE_SECONDS))

    def frames_alone() -> None:
        for stride in strides:
            ours.bands(framer.push(stride))

    def with_cepstra() -> None:
        for stride in strides:
            context.push(ours.bands(framer.push(stride)))
            context.view()

    def with_all_cepstra() -> None:
        for stride in strides:
            context.push(ours.bands(framer.push(stride)))
            ours.cepstra(all_bands)

    calls: Calls = {
        "affectd, its frames alone": frames_alone,
        "affectd, and their cepstra": with_cepstra,
        "affectd, and the cepstra of all 3 s": with_all_cepstra,
        "affectd, 3 s anew": lambda: ours(samples),
    }
    librosa, speech_features = module("librosa"), module("python_speech_features")
    kaldi = module("kaldi_native_fbank")
    if kaldi is not None:
        calls["kaldi-native-fbank, its frames alone"] = kaldi_mfcc(kaldi, strides[0], 64.0, 16.0, 128, N_MFCC)
    if librosa is not None:
        settings = {"n_mfcc": N_MFCC, "n_fft": 1024, "hop_length": 256, "n_mels": 128}
        calls["librosa, 3 s anew"] = lambda: librosa.feature.mfcc(y=samples, sr=RATE, **settings)
    if speech_features is not None:
        pcm = (samples * 32767).round().astype(np.int16)
        calls["python_speech_features, 3 s anew"] = lambda: speech_features.mfcc(
            pcm, RATE, winlen=0.064, winstep=0.016, nfft=1024, nfilt=128, numcep=N_MFCC
        )
    streamed = list(calls)[:3]
    return {name: values / len(strides) if name in streamed else values for name, values in timed(calls).items()}


def one_second(samples: Any) -> Times:
    """Time one second of speech through everything, against openWakeWord's feature pipeline."""
    from affectd.bench.stages import pieces
    from affectd.config.sections import Config
    from affectd.pipeline import run

    class Nowhere:
        def write(self, event: object) -> None:
            """Take an event."""

    model = read_model(find_model())
    classifier = Classifier(model)
    n_seconds = 10
    pcm = np.resize(model.golden["samples"], n_seconds * RATE)
    blocks = list(pieces(pcm, RATE))
    calls: Calls = {"affectd, everything": lambda: run(iter(blocks), classifier, Nowhere(), Config())}
    try:
        calls["openWakeWord, features"] = open_wake_word(pcm)
    except ImportError as error:
        print(f"openWakeWord is left out: {error}", file=sys.stderr)
    return {name: values / n_seconds for name, values in timed(calls).items()}


def open_wake_word(pcm: Any) -> Callable[[], object]:
    """Return what runs openWakeWord's two feature models over sound, 80 ms at a time."""
    import importlib.util
    from pathlib import Path

    found = importlib.util.find_spec("openwakeword")
    if found is None or found.origin is None:
        raise ImportError("No module named 'openwakeword'")
    onnx = importlib.import_module("onnxruntime")
    options = onnx.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    models = Path(found.origin).parent / "resources" / "models"
    if not models.is_dir():
        raise ImportError("this version of openwakeword has no models inside; 0.4.0 has")
    mel, embedding = (
        onnx.InferenceSession(str(models / f"{name}.onnx"), options, providers=["CPUExecutionProvider"])
        for name in ("melspectrogram", "embedding_model")
    )
    step, overlap, n_rows = 1280, 480, 76
    mel_input, embedding_input = mel.get_inputs()[0].name, embedding.get_inputs()[0].name

    def run() -> None:
        rows = np.ones((n_rows, 32), np.float32)
        for start in range(overlap, len(pcm) - step + 1, step):
            block = pcm[np.newaxis, start - overlap : start + step].astype(np.float32)
            new = mel.run(None, {mel_input: block})[0].squeeze() / 10 + 2
            rows = np.concatenate([rows, new])[-n_rows:]
            embedding.run(None, {embedding_input: rows[np.newaxis, :, :, np.newaxis]})

    return run


def networks() -> tuple[Times, dict[str, float]]:
    """Time the network against LIGHT-SERNET in int8 and against its own limit; return the sizes too."""
    model = read_model(find_model())
    classifier = Classifier(model)
    quantized = model.golden["input"]
    calls: Calls = {"affectd": lambda: classifier.invoke(quantized)}
    sizes = {"affectd, kB": len(model.tflite) / 1000, "affectd, million MAC": macs(classifier._interpreter) / 1e6}
    if module("tensorflow") is not None:
        sernet = light_sernet()
        runs, interpreter = interpreted(classifier.runtime_name, sernet)
        calls["LIGHT-SERNET, int8"] = runs
        sizes |= {"LIGHT-SERNET, kB": len(sernet) / 1000, "LIGHT-SERNET, million MAC": macs(interpreter) / 1e6}
        runs, interpreter = interpreted(classifier.runtime_name, product())
        calls["int8 product"] = runs
        sizes["int8 product, million MAC"] = macs(interpreter) / 1e6
    return timed(calls), sizes


def interpreted(runtime: str, tflite: bytes) -> tuple[Callable[[], object], Any]:
    """Return what runs a network once as affectd's classifier does, and its interpreter."""
    with quiet():
        interpreter = importlib.import_module(f"{RUNTIMES[runtime]}.interpreter").Interpreter(
            model_content=tflite, num_threads=1
        )
        interpreter.allocate_tensors()
    given, answer = interpreter.get_input_details()[0], interpreter.get_output_details()[0]["index"]
    data = np.random.default_rng(0).integers(-128, 128, given["shape"]).astype(np.int8)

    def run() -> Any:
        interpreter.set_tensor(given["index"], data)
        interpreter.invoke()
        return interpreter.get_tensor(answer)

    return run, interpreter


def macs(interpreter: Any) -> float:
    """Count the multiply-accumulates of convolutions and dense layers."""
    total = 0
    shapes = {tensor["index"]: tensor["shape"] for tensor in interpreter.get_tensor_details()}
    for operator in interpreter._get_ops_details():
        if operator["op_name"] in ("CONV_2D", "FULLY_CONNECTED"):
            weights, output = shapes[operator["inputs"][1]], shapes[operator["outputs"][0]]
            total += int(np.prod(output)) * int(np.prod(weights[1:]))
        elif operator["op_name"] == "DEPTHWISE_CONV_2D":
            weights, output = shapes[operator["inputs"][1]], shapes[operator["outputs"][0]]
            total += int(np.prod(output)) * int(np.prod(weights[1:3]))
    return total


def light_sernet() -> bytes:
    """Build LIGHT-SERNET for 3 s and 8 classes and quantize it; untrained, for the cost is the same.

    Source: A. Aftab, A. Morsali, S. Ghaemmaghami and B. Champagne, "LIGHT-SERNET: A lightweight fully convolutional
    neural network for speech emotion recognition", ICASSP 2022, figure 1 and section 2.
    """
    import keras

    n_frames = (SECONDS * RATE - 1024) // 256 + 1
    given = keras.Input((n_frames, 40, 1), batch_size=1)

    def block(x: Any, filters: int, kernel: tuple[int, int], pool: tuple[int, int] | None) -> Any:
        x = keras.layers.Conv2D(filters, kernel, padding="same", use_bias=False)(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
        return x if pool is None else keras.layers.AveragePooling2D(pool, padding="same")(x)

    # Three paths: along time, along frequency, and both.
    x = keras.layers.Concatenate()([block(given, 32, kernel, (2, 2)) for kernel in ((11, 1), (1, 9), (3, 3))])
    for filters, pool in ((64, (2, 2)), (96, (2, 2)), (128, (2, 1)), (160, (2, 1))):
        x = block(x, filters, (3, 3), pool)
    x = keras.layers.GlobalAveragePooling2D()(block(x, 320, (1, 1), None))
    return converted(keras.Model(given, keras.layers.Dense(8, activation="softmax")(x)))


def product() -> bytes:
    """Build one large int8 product, 1024 x 1024 x 1024, as a convolution of 1 x 1."""
    import keras

    given = keras.Input((32, 32, 1024), batch_size=1)
    return converted(keras.Model(given, keras.layers.Conv2D(1024, 1, use_bias=False)(given)))


def converted(network: Any) -> bytes:
    """Turn a Keras model into a full-int8 TFLite file."""
    import tensorflow as tf

    random = np.random.default_rng(0)
    with quiet():
        converter = tf.lite.TFLiteConverter.from_keras_model(network)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        shape = network.inputs[0].shape
        converter.representative_dataset = lambda: ([random.normal(size=shape).astype(np.float32)] for _ in range(4))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        return bytes(converter.convert())


def figures(times: Times, to: str = "affectd") -> dict[str, dict[str, float]]:
    """Return median and 99th percentile in microseconds, and how much more each takes than `to`."""
    return {
        name: {
            "p50_us": round(float(np.median(values)) * 1e6, 1),
            "p99_us": round(float(np.percentile(values, 99)) * 1e6, 1),
            "ratio": round(ratio(times, name, to), 3),
        }
        for name, values in times.items()
    }


def versions() -> dict[str, str]:
    """Return the version of NumPy and of every peer that is installed."""
    found = {}
    for name in PEERS:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def measure() -> dict[str, Any]:
    """Compare everything."""
    pcm = np.resize(read_model(find_model()).golden["samples"], SECONDS * RATE)
    samples = pcm.astype(np.float32) / np.float32(32768)
    report: dict[str, Any] = {
        "date": date.today().isoformat(),
        "board": board(),
        "versions": versions(),
        "mfcc": {settings: figures(times) for settings, times in mfcc_of_three_seconds(samples).items()},
        "stream": figures(mfcc_of_a_stream(samples), "affectd, 3 s anew"),
        "second": figures(one_second(samples), "affectd, everything"),
    }
    # Last, for TensorFlow changes how memory is had: what allocates a lot gets faster beside it than it is alone.
    nets, sizes = networks()
    report |= {"network": figures(nets), "sizes": {name: round(size, 2) for name, size in sizes.items()}}
    if "int8 product" in nets:
        rate = sizes["int8 product, million MAC"] / np.median(nets["int8 product"]) / 1e3
        report["limit"] = {
            "int8_gmac_per_second": round(float(rate), 1),
            "network_us": round(sizes["affectd, million MAC"] * 1e3 / float(rate), 1),
        }
    return report


def markdown(report: dict[str, Any]) -> str:
    """Write a report as tables."""
    programs = {"Python": report["board"]["python"], **report["versions"]}
    where = f"{report['board']['machine']}, one core; {', '.join(' '.join(program) for program in programs.items())}"
    lines = [f"`scripts/benchmark_peers.py`, {report['date']}, {where}.", ""]
    tables = {f"MFCC of 3 s: {settings}": rows for settings, rows in report["mfcc"].items()}
    tables |= {"A stream, each stride of 0.5 s": report["stream"], "One second of speech": report["second"]}
    tables["Network, one classification"] = report["network"]
    for title, rows in tables.items():
        lines += [f"| {title} | p50, us | p99, us | ratio |", "|---|---|---|---|"]
        lines += [f"| {name} | {r['p50_us']:.0f} | {r['p99_us']:.0f} | {r['ratio']:.2f} |" for name, r in rows.items()]
        lines.append("")
    lines.append("; ".join(f"{name} {size:g}" for name, size in report["sizes"].items()))
    if "limit" in report:
        limit = report["limit"]
        lines.append(f"int8 limit: {limit['int8_gmac_per_second']} GMAC/s, {limit['network_us']} us for our network")
    return "\n".join(lines)


def main() -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(description="Compares what affectd computes with what others take for the same.")
    parser.add_argument("--json", action="store_true", help="as one JSON object instead of Markdown")
    options = parser.parse_args()
    report = measure()
    print(json.dumps(report) if options.json else markdown(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Compare the cost of affectd with that of other programs for the same work, in one run, in turns, on one core.

    pip install kaldi-native-fbank onnxruntime tqdm && pip install --no-deps openwakeword==0.4.0
    scripts/benchmark_peers.py            as Markdown; --json for programs

librosa, python_speech_features and TensorFlow are in the extra `dev`. What is missing is left out, with a message.
openWakeWord 0.4.0 is the last version that contains its models; its code needs an old tflite-runtime, so its two
feature models are run by onnxruntime as its `AudioFeatures` does: every 80 ms, one thread.

There are two lower limits. For the MFCC it is NumPy's `rfft` of the same frames: in one plain call, which allocates
float64 copies, and in the fastest way of NumPy, in float32 and in batches that fit the cache. For the network it is the
time of its multiply-accumulates at the rate of a large int8 product (1024 x 1024 x 1024) on the same interpreter.
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
from functools import cache
from typing import Any

import numpy as np

from affectd.bench.board import board
from affectd.bench.stages import NullSink, pieces
from affectd.config.sections import Config
from affectd.features.context import CepstralContext
from affectd.features.framing import Framer
from affectd.features.mfcc import Mfcc
from affectd.features.spec import FeatureSpec
from affectd.pipeline import run
from affectd.recognition.baseline import at_new_place
from affectd.recognition.classifier import Classifier
from affectd.recognition.model_file import find_model, read_model
from affectd.stdio import quiet

SECONDS = 3
STRIDE_SECONDS = 0.5
RATE = 16000
BATCH = 32
N_MFCC = 64
OURS = f"64 ms every 16 ms, 128 bands, {N_MFCC} coefficients"
SPEECH_FEATURES = "25 ms every 10 ms, 26 bands, 13 coefficients"
MODULES = ("python_speech_features", "kaldi_native_fbank", "librosa")
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
    """Return the processor time of each call in every round, seconds, each warm from a call just before.

    The calls run in turns, so that a disturbance affects all; processor time is less affected by other programs.
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


@cache
def module(name: str) -> Any:
    """Import a peer; None, with a message, if it is missing."""
    try:
        with quiet():
            return importlib.import_module(name)
    except ImportError as error:
        print(f"{name} is left out: {error}", file=sys.stderr)
        return None


def rfft(spec: FeatureSpec, frames: Any) -> Calls:
    """Return the lower limit of any MFCC in NumPy: the transforms of frames that exist already."""
    frames = np.ascontiguousarray(frames)
    spectrum: Any = np.empty((BATCH, spec.n_fft // 2 + 1), np.complex64)

    def batched() -> None:
        for start in range(0, len(frames), BATCH):
            batch = frames[start : start + BATCH]
            # With a norm, NumPy 2 transforms float32 in float32.
            np.fft.rfft(batch, spec.n_fft, norm="forward", out=spectrum[: len(batch)])

    return {"numpy rfft, one call": lambda: np.fft.rfft(frames, spec.n_fft), "numpy rfft, float32, batches": batched}


def librosa(name: str, samples: Any) -> Calls:
    """Return librosa's MFCC at our settings."""
    settings = {"n_mfcc": N_MFCC, "n_fft": 1024, "hop_length": 256, "n_mels": 128}
    peer = module("librosa")
    return {} if peer is None else {name: lambda: peer.feature.mfcc(y=samples, sr=RATE, **settings)}


def speech_features(name: str, samples: Any, **settings: float) -> Calls:
    """Return the MFCC of python_speech_features."""
    pcm = (samples * 32767).round().astype(np.int16)
    peer = module("python_speech_features")
    return {} if peer is None else {name: lambda: peer.mfcc(pcm, RATE, **settings)}


def kaldi(
    name: str, samples: Any, length_ms: float = 64.0, shift_ms: float = 16.0, n_bands: int = 128, n_mfcc: int = N_MFCC
) -> Calls:
    """Return the MFCC of kaldi-native-fbank for so much more of a stream; by default near our settings."""
    peer = module("kaldi_native_fbank")
    if peer is None:
        return {}
    options = peer.MfccOptions()
    options.frame_opts.dither = 0
    options.frame_opts.samp_freq = RATE
    options.frame_opts.frame_length_ms, options.frame_opts.frame_shift_ms = length_ms, shift_ms
    options.mel_opts.num_bins, options.num_ceps = n_bands, n_mfcc
    online = peer.OnlineMfcc(options)
    done = 0

    def next_frames() -> Any:
        nonlocal done
        online.accept_waveform(RATE, samples)
        begin, done = done, online.num_frames_ready
        return [online.get_frame(i) for i in range(begin, done)]

    return {name: next_frames}


def mfcc_of_three_seconds(samples: Any) -> dict[str, Times]:
    """Time 3 s at the settings of python_speech_features and Kaldi, and at affectd's own, which are librosa's."""
    spec = FeatureSpec(
        window_length=400, hop_length=160, n_fft=512, window="rectangular", center=False, pad_end=True,
        preemphasis=0.97, full_scale=32768.0, periodogram=True, n_mels=26, htk=True, mel_norm=None, floor_bins=True,
        log="natural", log_floor=float(np.finfo(float).eps), replace_zeros=True, reference="one", top_db=None,
        n_mfcc=13, lifter=22.0, lifter_start=0, energy=True,
    )  # fmt: skip
    theirs, ours = Mfcc(spec), Mfcc(FeatureSpec(n_mfcc=N_MFCC))
    at_theirs: Calls = {
        "affectd": lambda: theirs(samples),
        **rfft(spec, theirs.frames(samples)),
        **speech_features("python_speech_features", samples, nfft=512),
        **kaldi("kaldi-native-fbank", samples, 25.0, 10.0, 26, 13),
    }
    at_ours: Calls = {
        "affectd": lambda: ours(samples),
        **rfft(ours.spec, ours.frames(samples)),
        **librosa("librosa, warm", samples),
        **kaldi("kaldi-native-fbank", samples),
    }
    return {SPEECH_FEATURES: timed(at_theirs), OURS: timed(at_ours)}


def mfcc_of_a_stream(samples: Any) -> Times:
    """Time a stream of 3 s, per stride of 0.5 s: affectd and Kaldi compute its frames alone, the others all 3 s again.

    affectd computes the cepstra of all frames only if the loudest band of the context has changed.
    """
    spec = FeatureSpec(n_mfcc=N_MFCC)
    ours, framer = Mfcc(spec), Framer(spec)
    context = CepstralContext(spec.count_frames(len(samples)), ours)
    all_bands = ours.bands(ours.frames(samples))
    settings = {"winlen": 0.064, "winstep": 0.016, "nfft": 1024, "nfilt": 128, "numcep": N_MFCC}
    strides = np.split(samples, round(SECONDS / STRIDE_SECONDS))

    def over_strides(step: Callable[[Any], object]) -> Callable[[], object]:
        return lambda: [step(ours.bands(framer.push(stride))) for stride in strides]

    streamed: Calls = {
        "affectd, its frames alone": over_strides(lambda bands: None),
        "affectd, and their cepstra": over_strides(lambda bands: (context.push(bands), context.view())),
        "affectd, and the cepstra of all 3 s": over_strides(
            lambda bands: (context.push(bands), ours.cepstra(all_bands))
        ),
    }
    calls: Calls = {
        **streamed,
        "affectd, 3 s anew": lambda: ours(samples),
        **kaldi("kaldi-native-fbank, its frames alone", strides[0]),
        **librosa("librosa, 3 s anew", samples),
        **speech_features("python_speech_features, 3 s anew", samples, **settings),
    }
    return {name: values / len(strides) if name in streamed else values for name, values in timed(calls).items()}


def one_second() -> Times:
    """Time one second of speech through the whole pipeline, and through openWakeWord's feature models."""
    from peer_networks import open_wake_word

    model = read_model(find_model())
    classifier = Classifier(model)
    n_seconds = 10
    pcm = np.resize(model.golden["samples"], n_seconds * RATE)
    blocks = list(pieces(pcm, RATE))
    network, ended = at_new_place(classifier)
    calls: Calls = {"affectd, everything": lambda: run(blocks, network, NullSink(), Config(), ended=ended)}
    try:
        calls["openWakeWord, features"] = open_wake_word(pcm)
    except ImportError as error:
        print(f"openWakeWord is left out: {error}", file=sys.stderr)
    return {name: values / n_seconds for name, values in timed(calls).items()}


def networks() -> tuple[Times, dict[str, float]]:
    """Time the network, LIGHT-SERNET in int8 and the large int8 product; return the sizes too."""
    from peer_networks import interpreted, light_sernet, macs, product

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


def figures(times: Times, to: str = "affectd") -> dict[str, dict[str, float]]:
    """Return median and 99th percentile in microseconds, and the median over the rounds of the ratio to `to`."""
    return {
        name: {
            "p50_us": round(float(np.median(values)) * 1e6, 1),
            "p99_us": round(float(np.percentile(values, 99)) * 1e6, 1),
            "ratio": round(float(np.median(values / times[to])), 3),
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
    """Run all comparisons."""
    for name in MODULES:
        module(name)  # all before the first timing, because imports change how memory is allocated
    pcm = np.resize(read_model(find_model()).golden["samples"], SECONDS * RATE)
    samples = pcm.astype(np.float32) / np.float32(32768)
    report: dict[str, Any] = {
        "date": date.today().isoformat(),
        "board": board(),
        "versions": versions(),
        "mfcc": {settings: figures(times) for settings, times in mfcc_of_three_seconds(samples).items()},
        "stream": figures(mfcc_of_a_stream(samples), "affectd, 3 s anew"),
        "second": figures(one_second(), "affectd, everything"),
    }
    # Last, because TensorFlow's allocator makes other code faster.
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
    """Format a report as Markdown tables."""
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
    parser = argparse.ArgumentParser(description="Compares the cost of affectd with that of other programs.")
    parser.add_argument("--json", action="store_true", help="as one JSON object instead of Markdown")
    options = parser.parse_args()
    report = measure()
    print(json.dumps(report) if options.json else markdown(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Count the instructions that the pipeline takes per second of speech and of silence, against a committed baseline.

    scripts/instructions.py            exit code 1 if either is more than 5 % above scripts/instructions.json
    scripts/instructions.py --update   write that file

Counts of valgrind's callgrind do not depend on the load of the machine, but on the processor family and the versions of
Python, NumPy and interpreter. If these differ from the baseline nothing is compared, and the exit code is 0; then count
the previous commit with --update first. callgrind has no AVX-512, so on x86-64 the libraries use their AVX2 code.
For 64-bit ARM there is scripts/instructions-arm64.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

BASELINE = Path(__file__).with_suffix(".json")
TOLERANCE = 0.05
# Two lengths, whose difference leaves out the start and the first seconds of a stream.
SECONDS = (6, 12)
KINDS = ("speech", "silence")

WORKLOAD = """
import sys
from affectd.bench.sounds import sounds, speech_clips
from affectd.bench.stages import NullSink, pieces
from affectd.recognition.baseline import at_new_place
from affectd.recognition.classifier import Classifier
from affectd.config.sections import Config
from affectd.recognition.model_file import find_model, read_model
from affectd.pipeline import run
kind, seconds, longest = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
model = read_model(find_model())
sound = sounds(speech_clips(model, []), model.spec.sample_rate, longest)[kind][: seconds * model.spec.sample_rate]
network, ended = at_new_place(Classifier(model))
run(pieces(sound, model.spec.sample_rate), network, NullSink(), Config(), ended=ended)
"""


def count(kind: str, seconds: int) -> int:
    """Return the instructions of one process that processes this many seconds."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AFFECTD_")},
        "OPENBLAS_NUM_THREADS": "1",
        "OPENBLAS_CORETYPE": "Haswell" if platform.machine() == "x86_64" else "",
        "PYTHONHASHSEED": "0",
    }
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, "-c", WORKLOAD, kind]
    done = subprocess.run([*command, str(seconds), str(SECONDS[-1])], env=environment, capture_output=True, text=True)
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or collected is None:
        sys.exit(f"valgrind failed with exit code {done.returncode}: {done.stderr[-1000:]}")
    return int(collected[1])


def measure() -> dict[str, Any]:
    """Count both kinds; return the content of the baseline file."""
    from affectd.recognition.model_file import find_model, model_id, read_model

    short, long = SECONDS
    per_second = {kind: round((count(kind, long) - count(kind, short)) / (long - short)) for kind in KINDS}
    return {"made_with": made_with(model_id(read_model(find_model()))), "instructions_per_second": per_second}


def made_with(model: str) -> dict[str, str]:
    """Return everything besides this code that the counts depend on."""
    libraries = {}
    for name in ("numpy", "ai-edge-litert", "tflite-runtime"):
        try:
            libraries[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"architecture": platform.machine(), "python": platform.python_version(), **libraries, "model": model}


def judge(counted: dict[str, Any], baseline: dict[str, Any]) -> tuple[int, list[str]]:
    """Compare two results of `measure`; return the exit code and the lines to print."""
    here, there = counted["made_with"], baseline["made_with"]
    if here != there:
        names = [name for name in {**there, **here} if there.get(name) != here.get(name)]
        changes = ", ".join(f"{name} {there.get(name, 'none')} -> {here.get(name, 'none')}" for name in names)
        return 0, [f"not compared, because these have changed: {changes}"]
    code, lines = 0, []
    for kind, now in counted["instructions_per_second"].items():
        before = baseline["instructions_per_second"][kind]
        line = f"{kind}: {now / 1e6:.2f} million instructions per second of sound, {now / before - 1:+.1%}"
        if now > before * (1 + TOLERANCE):
            code, line = 1, f"{line}: more than {TOLERANCE:.0%} above the baseline"
        lines.append(line)
    return code, lines


def main() -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(description="Counts the instructions that the pipeline takes per second of sound.")
    parser.add_argument("--update", action="store_true", help="write the counts to the baseline")
    parser.add_argument("--workload", action="store_true", help="print the program that is counted, and exit")
    options = parser.parse_args()
    if options.workload:
        print(WORKLOAD)
        return 0
    if shutil.which("valgrind") is None:
        print("valgrind is not installed: sudo apt install valgrind", file=sys.stderr)
        return 69
    counted = measure()
    print(json.dumps(counted["instructions_per_second"]))
    if options.update:
        BASELINE.write_text(json.dumps(counted, indent=2) + "\n")
        return 0
    code, lines = judge(counted, json.loads(BASELINE.read_text()))
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())

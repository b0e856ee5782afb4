#!/usr/bin/env python3
"""What archives cost: 1 and 2 workers, two nodes, and beside them a plain pool of processes that does the same.

The recordings are cut from those in $AFFECTD_DATA (default: shared/data beside the repository) and joined, 2 to 5 s
each; one in 500 is broken. Nothing else should run on the machine.

    python tests/benchmark_archives.py --json tests/archive_cost.json   # 10,000 recordings, 20 minutes
    python tests/archive_documents.py                                   # into docs/archives.md
    python tests/benchmark_archives.py --files 200 --turns 1            # only to see that it works
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile

from archive_documents import as_text
from ray_nodes import nodes

HERE = Path(__file__).parent
DATA = Path(os.environ.get("AFFECTD_DATA") or HERE.parents[1] / "shared" / "data")
KINDS = ("ray 1", "ray 2", "pool 1", "pool 2", "nodes 2", "tenth 1")
"""What runs, and with how many workers: this machine alone, a pool without Ray, nodes that are joined, and one worker
with a tenth of the recordings, which shows what the start takes."""

_CORPORA, _SOURCES = ("emodb", "nemo", "tess", "ravdess", "ased", "everyday_mycroft"), 150
_RATE, _SECONDS, _PIECE = 16000, (2.0, 5.0), (8000, 48000)
_BROKEN_EVERY = 500
_TICKS = os.sysconf("SC_CLK_TCK")
_LOOK_SECONDS = 0.5


def make(folder: Path, n: int) -> Path:
    """Write so many recordings, the same each time, a fifth of them as FLAC; return the list of them."""
    from affectd_train.data.recordings import read_audio
    from affectd_train.folders import AUDIO_SUFFIXES

    draw = random.Random(0)
    sources = []
    for corpus in _CORPORA:
        files = sorted(path for path in (DATA / corpus).rglob("*") if path.suffix in AUDIO_SUFFIXES)
        sources += [read_audio(path, _RATE) for path in draw.sample(files, min(_SOURCES, len(files)))]
    if not sources:
        sys.exit(f"{DATA}: none of {', '.join(_CORPORA)} in it; set AFFECTD_DATA")
    paths = []
    for i in range(n):
        length, parts = int(draw.uniform(*_SECONDS) * _RATE), []
        while sum(map(len, parts)) < length:
            source = draw.choice(sources)
            first = draw.randrange(max(1, len(source) // 3))
            parts.append(source[first : first + draw.randrange(*_PIECE)])
        path = folder / f"{i // 1000:03}" / f"{i:06}.{'flac' if draw.random() < 0.2 else 'wav'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.concatenate(parts)[:length], _RATE)
        if i % _BROKEN_EVERY == 7:
            path.write_bytes(path.read_bytes()[: draw.choice([10, 3000])])
        paths.append(path)
    listed = folder / "list.txt"
    listed.write_text("".join(f"{path}\n" for path in paths))
    return listed


def described(listed: Path) -> dict[str, float]:
    """Say how many recordings there are, and how long and large they are on average."""
    paths = [Path(line) for line in listed.read_text().splitlines()]
    seconds = []
    for path in paths:
        with suppress(soundfile.LibsndfileError):
            seconds.append(soundfile.info(path).duration)
    n_bytes = np.mean([path.stat().st_size for path in paths])
    return {"files": len(paths), "seconds": round(float(np.mean(seconds)), 3), "bytes": round(float(n_bytes))}


class Bar(threading.Thread):
    """Reads the line that tells of progress; `looks` are times, and how many recordings were answered by then."""

    def __init__(self, stderr: BinaryIO) -> None:
        super().__init__(daemon=True)
        self._stderr, self.said, self.looks = stderr, "", [(0.0, 0)]

    def run(self) -> None:
        while more := os.read(self._stderr.fileno(), 1 << 16):
            self.said += more.decode(errors="replace")
            for n in re.findall(r" (\d+)/\d+ \[", self.said)[-1:]:
                if int(n) > self.looks[-1][1]:
                    self.looks.append((time.monotonic(), int(n)))

    def answering(self) -> tuple[int, float]:
        """Return how many recordings were answered after the first ones were, and in how many seconds."""
        (began, first), (ended, last) = self.looks[1], self.looks[-1]
        return last - first, round(ended - began, 1)


@dataclass
class Seen:
    """A process: what it is, its processor seconds so far, and its memory, MB: the most, and over time."""

    kind: str = "rest"
    last: float = 0.0
    peak: float = 0.0
    curve: list[tuple[float, float]] = field(default_factory=list)


class Watch:
    """Looks at all processes that come from some."""

    def __init__(self, driver: int, roots: set[int]) -> None:
        self._driver, self._roots, self.seen = driver, roots, dict[int, Seen]()

    def look(self) -> None:
        """Note what all processes have used by now."""
        for pid, seconds in self._family().items():
            with suppress(OSError, TypeError):  # it may end meanwhile
                words = Path(f"/proc/{pid}/cmdline").read_bytes()
                status = Path(f"/proc/{pid}/status").read_text()
                now, peak = (int(re.search(rf"{key}:\s+(\d+)", status)[1]) * 1024e-6 for key in ("VmRSS", "VmHWM"))  # type: ignore[index]
                one = self.seen.setdefault(pid, Seen())
                if pid == self._driver:
                    one.kind = "driver"
                elif b"ray::MapWorker" in words or b"--multiprocessing-fork" in words:
                    one.kind = "worker"
                one.last, one.peak = seconds, max(one.peak, peak)
                one.curve.append((time.monotonic(), now))

    def _family(self) -> dict[int, float]:
        """Return the processor seconds of the roots and of all that come from them."""
        parents, seconds = dict[int, int](), dict[int, float]()
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            with suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                parents[pid], seconds[pid] = int(fields[1]), (int(fields[11]) + int(fields[12])) / _TICKS
        found, new = set[int](), self._roots & parents.keys()
        while new:
            found |= new
            new = {pid for pid, parent in parents.items() if parent in new} - found
        return {pid: seconds[pid] for pid in found}

    def of(self, kind: str) -> list[Seen]:
        """Return all processes of a kind."""
        return [one for one in self.seen.values() if one.kind == kind]


def busy_seconds() -> float:
    """Return the processor seconds of all programs so far."""
    user, nice, system, _, _, *interrupts = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + sum(interrupts)) / _TICKS


def grown(worker: Seen, since: float) -> float:
    """Return by how much a worker's memory grew from the second quarter to the last of the time it answered."""
    mb = [mb for at, mb in worker.curve if at >= since] or [0.0]
    quarter = max(1, len(mb) // 4)
    return float(np.mean(mb[-quarter:]) - np.mean(mb[quarter : 2 * quarter] or mb))


def measure(kind: str, listed: Path, table: Path) -> dict[str, Any]:
    """Answer all recordings in one way, and watch."""
    name, workers = kind.split()
    if name == "tenth":
        lines = listed.read_text().splitlines(keepends=True)
        listed = listed.with_name("tenth.txt")
        listed.write_text("".join(lines[::10]))
    with ExitStack() as stack:
        roots = set[int]()
        if name == "pool":
            command = [sys.executable, HERE / "archive_pool.py", workers, listed, table]
        else:
            command = [sys.executable, "-m", "affectd_train", "archive", listed, "--out", table, "--workers", workers]
        if name == "nodes":
            cluster = stack.enter_context(nodes(int(workers)))
            roots, command = {cluster.pid}, [*command, "--address", cluster.address]
        before = Watch(0, set(roots))
        before.look()  # a node that is there already does not count
        began, busy = time.monotonic(), busy_seconds()
        process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
        assert process.stderr is not None
        watch = Watch(process.pid, roots | {process.pid})
        bar = Bar(process.stderr)
        bar.start()
        while process.poll() is None:
            watch.look()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK_SECONDS)
        seconds, busy = time.monotonic() - began, busy_seconds() - busy
        bar.join()
        if process.returncode:
            sys.exit(f"{kind}: {bar.said}")
    spent = dict.fromkeys(("worker", "driver", "rest"), 0.0)
    for pid, one in watch.seen.items():
        spent[one.kind] += one.last - (before.seen[pid].last if pid in before.seen else 0)
    n, answering = bar.answering()
    return {
        "kind": kind,
        "seconds": round(seconds, 1),
        "answered": n,
        "answering_seconds": answering,
        "cpu_seconds": {who: round(value, 1) for who, value in spent.items()},
        "others_cpu_seconds": round(max(0.0, busy - sum(spent.values())), 1),
        "worker_mb": round(max(one.peak for one in watch.of("worker"))),
        "worker_grew_mb": round(max(grown(one, bar.looks[1][0]) for one in watch.of("worker")), 1),
        "driver_mb": round(watch.of("driver")[0].peak),
    }


def machine() -> dict[str, Any]:
    """Say where this was measured."""
    about = Path("/proc/cpuinfo").read_text()
    model, virtual = re.search(r"model name\s*: (.*)", about), re.search(r"^flags.* hypervisor\b", about, re.MULTILINE)
    return {
        "processor": (model[1] if model else "unknown") + (", virtual" if virtual else ""),
        "cores": os.cpu_count(),
        "ray": version("ray"),
    }


def main() -> int:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--files", type=int, default=10_000, metavar="N", help="how many recordings (default: 10000)")
    parser.add_argument("--turns", type=int, default=2, metavar="N", help="how often each runs, in turn (default: 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as the programs have it
    with tempfile.TemporaryDirectory(prefix="affectd-archives-") as folder:
        listed = make(Path(folder) / "calls", options.files)
        figures = {"machine": machine(), "recordings": described(listed), "runs": []}
        for turn in range(options.turns):
            for number, kind in enumerate(KINDS):
                figures["runs"].append(measure(kind, listed, Path(folder) / f"table-{turn}-{number}"))
                print(json.dumps(figures["runs"][-1]), file=sys.stderr, flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    print(as_text(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())

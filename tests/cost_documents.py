"""Write what the documents say about the cost, from the figures beside the benchmarks.

After a change that matters, on a machine that does nothing else, as root for ARM::

    .venv-dev/bin/python scripts/benchmark.py --hours 10 --json > scripts/benchmark.json
    .venv-dev/bin/python scripts/benchmark_peers.py --json > scripts/benchmark_peers.json
    .venv-dev/bin/python scripts/instructions.py --update
    scripts/instructions-arm64 FOLDER > scripts/instructions-arm64.json
    .venv-dev/bin/python tests/cost_documents.py
"""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from affectd.audio.microphone import PIECE_SECONDS
from affectd.bench.command import as_text

REPOSITORY = Path(__file__).parents[1]
SCRIPTS = REPOSITORY / "scripts"
PAGES = {
    REPOSITORY / "README.md": ["summary"],
    REPOSITORY / "docs" / "cost.md": ["bars", "latency", "bench", "peers", "estimates"],
}
"""page -> the parts that it has"""
PART = re.compile(r"(<!-- cost: (\w+) -->\n).*?(\n<!-- end of cost -->\n)", re.DOTALL)
"""A part of a page that is written from figures, with its name."""


@dataclass(frozen=True)
class Board:
    """What an estimate assumes."""

    name: str
    processor: str
    clock_ghz: float
    instructions_per_cycle: tuple[float, float]
    waking_us: tuple[float, float]


BOARDS = (
    Board("Pi Zero 2 W", "Cortex-A53", 1.0, (0.3, 0.8), (150.0, 500.0)),
    Board("Pi 3 B+", "Cortex-A53", 1.4, (0.3, 0.8), (100.0, 350.0)),
    Board("Pi 4", "Cortex-A72", 1.8, (0.8, 1.6), (60.0, 200.0)),
    Board("Pi 5", "Cortex-A76", 2.4, (1.2, 2.4), (30.0, 100.0)),
)

PORTAUDIO_MB = "4 to 22"
"""Without and with ALSA's plugins; `docs/cost.md` says how they were measured, as the benchmark opens no card."""


def figures(name: str) -> dict[str, Any]:
    """Read the figures of a script."""
    read: dict[str, Any] = json.loads((SCRIPTS / f"{name}.json").read_text())
    return read


def script(name: str) -> ModuleType:
    """Import a script."""
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def bars() -> str:
    """Write what was asked for beside what was measured."""
    bench, peers = figures("benchmark"), figures("benchmark_peers")
    theirs, ours = peers["mfcc"].values()
    network, stages, growth = peers["network"], bench["stages"]["inference"], bench["growth"]
    service, latency, installed = bench["service"], bench["latency"], bench["footprint_mb"]
    packages = sum(installed.get(name, 0.0) for name in ("affectd", "paho-mqtt", "PyAudio"))
    costs = [row["cpu_ms_per_second"] for row in growth]
    grown = growth[-1]["resident_mb"] - growth[0]["resident_mb"]
    hours = growth[-1]["audio_seconds"] / 3600
    rows = [
        ("the service in speech, % of one core", service["speech"]["cpu_percent"], "<=", 0.6, 2),
        ("the service in silence, % of one core", service["silence"]["cpu_percent"], "<=", 0.25, 2),
        ("memory in use with MQTT on, MB", max(row["resident_mb"] for row in service.values()), "<=", 60, 1),
        ("from exec to READY, s", bench["start"]["ready_seconds"], "<=", 0.5, 2),
        ("installed besides NumPy and the interpreter, MB", packages, "<=", 3, 2),
        ("one classification by the network, p50, us", stages["p50_us"], "<=", 100, 0),
        ("the same, p99 / p50", stages["p99_us"] / stages["p50_us"], "<=", 3, 1),
        ("LIGHT-SERNET, int8 / the network", network["LIGHT-SERNET, int8"]["ratio"], ">=", 10, 0),
        ("MFCC of 3 s / a plain `rfft` of the same frames", 1 / ours["numpy rfft, one call"]["ratio"], "<=", 1.25, 2),
        ("the same / `rfft` in float32, in batches", 1 / ours["numpy rfft, float32, batches"]["ratio"], "", 0, 2),
        ("librosa, warm / MFCC of 3 s", ours["librosa, warm"]["ratio"], ">=", 1, 1),
        ("python_speech_features / MFCC of 3 s", theirs["python_speech_features"]["ratio"], ">=", 3, 1),
        (
            "a stride of 0.5 s / its share of 3 s",
            6 * peers["stream"]["affectd, and their cepstra"]["ratio"],
            "<=",
            1.3,
            2,
        ),
        ("from the last sample an event needs to its line, p95, ms", latency["compute_ms"]["p95"], "<=", 20, 1),
        (f"cost of a second of sound, {hours:g} h / 1 min", costs[-1] / costs[0], "<=", 1.1, 2),
        (f"memory that {hours:g} h of sound take more than 1 min, MB", grown, "<=", 1, 1),
    ]
    lines = ["|  | here | wanted | met |", "|---|---|---|---|"]
    for name, value, sign, bar, digits in rows:
        met = {"<=": value <= bar, ">=": value >= bar}.get(sign)
        wanted = f"{'at most' if sign == '<=' else 'at least'} {bar:g}" if sign else "–"
        lines.append(
            f"| {name} | {value:.{digits}f} | {wanted} | {'–' if met is None else 'yes' if met else '**no**'} |"
        )
    return "\n".join(lines) + "\n"


def latency() -> str:
    """Say what the time from a word to its event consists of."""
    took = figures("benchmark")["latency"]
    p50 = {name: f"{row['p50']:.0f}" for name, row in took.items() if isinstance(row, dict)}
    compute = took["compute_ms"]
    lines = [
        f"From the beginning of a word to its first line, often still `uncertain`, {p50['start_ms']} ms pass (median; "
        f"95 %: {took['start_ms']['p95']:.0f} ms):",
        "",
        f"- {p50['gate_ms']} ms until the voice falls for the first time, which opens the gate;",
        f"- {p50['strides_ms']} ms for the classifications the smoothing wants, `minimum_count` of `stride_frames`;",
        f"- {p50['window_ms']} ms for the second half of the last frame;",
        f"- {p50['delivery_ms']} ms until the microphone hands over the {1000 * PIECE_SECONDS:.0f} ms that hold it;",
        f"- {compute['p50']:.1f} ms for computing (95 %: {compute['p95']:.1f} ms).",
        "",
        f"The line that ends an utterance comes {p50['end_ms']} ms after its last sound, mostly `hangover_seconds`.",
    ]
    return "\n".join(lines) + "\n"


def bench() -> str:
    """Write the whole report of the benchmark."""
    return f"```\n{as_text(figures('benchmark'))}\n```\n"


def peers() -> str:
    """Write the comparison with others."""
    text: str = script("benchmark_peers").markdown(figures("benchmark_peers"))
    return f"{text}\n"


def share(board: Board, kind: str) -> str:
    """Estimate the share of one core of a board, %, that a kind of sound takes."""
    instructions = figures("instructions-arm64")[kind] / board.clock_ghz / 1e7
    wakes = figures("benchmark")["service"]["silence"]["wakes_per_second"] / 1e4
    (few, many), (short, long) = board.instructions_per_cycle, board.waking_us
    best, worst = instructions / many + wakes * short, instructions / few + wakes * long
    return f"{best:.1g} to {worst:.1g}" if worst < 1 else f"{best:.1f} to {worst:.1f}"


def estimates() -> str:
    """Write the estimates for boards."""
    counted = figures("instructions-arm64")
    lines = [
        "| board | processor | instructions per cycle | one waking, us | speech, % | silence, % |",
        "|---|---|---|---|---|---|",
    ]
    for board in BOARDS:
        (few, many), (short, long) = board.instructions_per_cycle, board.waking_us
        shares = [share(board, kind) for kind in ("speech", "silence")]
        cells = [f"{board.processor}, {board.clock_ghz:g} GHz", f"{few:g} to {many:g}", f"{short:g} to {long:g}"]
        lines.append(f"| {' | '.join([board.name, *cells, *shares])} |")
    x86 = figures("instructions")["instructions_per_second"]
    lines += [
        "",
        f"Instructions for a second of speech and of silence: {counted['speech'] / 1e6:.1f} and "
        f"{counted['silence'] / 1e6:.1f} million on 64-bit ARM (`scripts/instructions-arm64`, the real ARM wheels in "
        f"qemu), {x86['speech'] / 1e6:.1f} and {x86['silence'] / 1e6:.1f} on x86-64 (`scripts/instructions.py`).",
    ]
    return "\n".join(lines) + "\n"


def summary() -> str:
    """Write the README's four rows."""
    report = figures("benchmark")
    service, latency = report["service"], report["latency"]["start_ms"]
    small = next(board for board in BOARDS if board.name == "Pi Zero 2 W")
    resident = max(row["resident_mb"] for row in service.values())
    rows = [
        ("processor while people speak", f"{service['speech']['cpu_percent']:.2f} %", f"{share(small, 'speech')} %"),
        ("processor in silence", f"{service['silence']['cpu_percent']:.2f} %", f"{share(small, 'silence')} %"),
        ("memory, MQTT included", f"{resident:.0f} MB, and {PORTAUDIO_MB} for the microphone", "–"),
        ("from the beginning of a word to its event", f"{latency['p50'] / 1000:.1f} s", "–"),
    ]
    lines = [f"| cost, of one core | server, measured | {small.name}, estimated |", "|---|---|---|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows]) + "\n"


PARTS = {
    "summary": summary,
    "bars": bars,
    "latency": latency,
    "bench": bench,
    "peers": peers,
    "estimates": estimates,
}


def written(page: str) -> str:
    """Return this text of a page with every part that is made of figures written anew."""
    return PART.sub(lambda match: f"{match[1]}\n{PARTS[match[2]]()}{match[3]}", page)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(written(page.read_text()))

"""The report of the benchmark as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

_STAGES = {
    "capture": "256 ms from callback to pipeline",
    "resample": "256 ms from 48 kHz",
    "framing": "one stride",
    "gate": "one stride",
    "mfcc": "log mel energies of one stride",
    "context": "cepstra of one stride",
    "quantize": "cepstra to int8",
    "inference": "the network alone",
    "classify": "one stride, in one of four the voice",
    "smoothing": "one classification",
    "emit": "one event",
}


def text(report: dict[str, Any]) -> str:
    """Format a report of `affectd.bench.command.measure` as tables."""
    board, libraries = report["board"], report["libraries"]
    lines = [
        f"{board['machine']}, {board['cores']} cores, {board['system']}, Python {board['python']}",
        f"{libraries['interpreter']}, NumPy {libraries['numpy']}, {libraries['blas']}, threads: {libraries['threads']}",
        f"model {report['model_bytes'] / 1000:.0f} kB; {report['time']}",
        *(f"{when}: {_condition(report[when])}" for when in ("before", "after")),
        "",
        *_table(
            ("stage, microseconds", "p50", "p95", "p99", "max", ""),
            ([name, *(f"{v:.1f}" for v in row.values()), _STAGES[name]] for name, row in report["stages"].items()),
        ),
        "",
        *_table(
            ("sound", "% of a core", "MB", "wakes/s", "faster than real time"),
            (
                [
                    name,
                    f"{row['cpu_percent']:.2f}",
                    f"{row.get('resident_mb', float('nan')):.1f}",
                    f"{row['wakes_per_second']:.0f}",
                    f"{1 / max(report['real_time_factor'][name], 1e-9):.0f} x",
                ]
                for name, row in report["service"].items()
            ),
        ),
        f"the service in real time, MQTT {'on' if report['mqtt'] else 'off: paho-mqtt is not installed'}",
        "",
        *_start(report["start"]),
        "",
        *_latency(report["latency"]),
        "",
        *_table(
            ("sound in one go", "ms/s", "MB"),
            (
                [_duration(row["audio_seconds"]), f"{row['cpu_ms_per_second']:.3f}", f"{row['resident_mb']:.1f}"]
                for row in report["growth"]
            ),
        ),
        "",
        *_table(("installed", "MB"), ([name, f"{size:.2f}"] for name, size in report["footprint_mb"].items())),
    ]
    if "compared" in report:
        rows = ([n, f"{c['before']:g}", f"{c['now']:g}", f"{c['ratio']:.2f}"] for n, c in report["compared"].items())
        lines += ["", *_table(("compared", "before", "now", "ratio"), rows)]
    return "\n".join(lines)


def _start(start: dict[str, Any]) -> list[str]:
    parts = start["parts_seconds"]
    return [
        f"exec to READY: {start['ready_seconds']:.3f} s (at most {start['ready_max_seconds']:.3f} s)",
        "  " + ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in parts.items()),
    ]


def _latency(latency: dict[str, Any]) -> list[str]:
    figures = {name: row for name, row in latency.items() if isinstance(row, dict)}
    rows = ([name.removesuffix("_ms"), f"{row['p50']:.1f}", f"{row['p95']:.1f}"] for name, row in figures.items())
    return [
        *_table(("latency, ms", "p50", "p95"), rows),
        f"{latency['heard']} of {latency['words']} words; start = gate + strides + window + delivery + compute",
    ]


def _condition(condition: dict[str, Any]) -> str:
    celsius, mhz = condition["temperature_celsius"], condition["clock_mhz"]
    parts = [
        f"{celsius:.0f} degrees Celsius" if celsius is not None else "temperature unknown",
        f"{mhz} MHz ({condition['governor']})" if mhz is not None else "clock unknown",
        f"throttling: {condition['throttling']}",
        f"load {condition['load']}",
    ]
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds < 3600 else f"{seconds / 3600:g} h"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    table = [header, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    # Text is left-aligned, numbers are right-aligned.
    texts = {0} | {i for i, name in enumerate(header) if not name}
    return [
        "  ".join(cell.ljust(width) if i in texts else cell.rjust(width) for i, (cell, width) in cells).rstrip()
        for cells in (list(enumerate(zip(row, widths, strict=True))) for row in table)
    ]

"""Write what docs/archives.md says about the cost, from the figures beside the benchmark.

After a change that matters, on a machine that does nothing else::

    .venv-dev/bin/python tests/benchmark_archives.py --json tests/archive_cost.json
    .venv-dev/bin/python tests/archive_documents.py
"""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
COST = Path(__file__).with_name("archive_cost.json")
PAGES = {REPOSITORY / "docs" / "archives.md": ["measured", "estimate"]}
"""page -> the parts that it has"""
PART = re.compile(r"(<!-- archive: (\w+) -->\n).*?(\n<!-- end of archive -->\n)", re.DOTALL)
"""A part of a page that is written from figures, with its name."""

NAMES = {
    "ray 1": "1 worker",
    "ray 2": "2 workers",
    "nodes 2": "2 nodes of one core, joined",
    "pool 1": "without Ray: 1 process",
    "pool 2": "without Ray: 2 processes",
}
WANTED_EFFICIENCY, WANTED_MB = 0.85, 250

# What the estimate assumes.
NODES = (1, 2, 5, 10, 30, 100)
CORES_A_NODE, RECORDINGS, CALL_SECONDS, BATCH = 16, 1_000_000, 180, 32
LATENCY_SECONDS, GIGABITS = 0.05, 10


class Figures:
    """What a run of the benchmark found; means over its turns."""

    def __init__(self, figures: dict[str, Any]) -> None:
        self.machine, self.recordings, self._runs = figures["machine"], figures["recordings"], figures["runs"]
        self.n = self.recordings["files"]
        self.kinds = {run["kind"] for run in self._runs}

    def mean(self, kind: str, *keys: str) -> float:
        """Return a figure of one kind of run."""
        values = [run for run in self._runs if run["kind"] == kind]
        for key in keys:
            values = [value[key] for value in values]
        return float(sum(values) / len(values))

    def rate(self, kind: str) -> float:
        """Return the recordings a second after the start."""
        return self.mean(kind, "answered") / self.mean(kind, "answering_seconds")

    def cpu_ms(self, kind: str, *who: str) -> float:
        """Return the processor time of a recording, its share of the start included."""
        return 1000 * sum(self.mean(kind, "cpu_seconds", one) for one in who or ("worker", "driver", "rest")) / self.n

    def others(self) -> float:
        """Return the most that other programs took of the processors meanwhile, %."""
        of_run = [100 * run["others_cpu_seconds"] / run["seconds"] for run in self._runs if run["kind"] in NAMES]
        return max(of_run) / float(self.machine["cores"])

    def efficiency(self) -> tuple[float, float]:
        """Return what share of twice one worker two workers are: the whole command, and after the start."""
        whole = self.mean("ray 1", "seconds") / self.mean("ray 2", "seconds") / 2
        return whole, self.rate("ray 2") / self.rate("ray 1") / 2

    def driver_seconds(self) -> float:
        """Return the processor time of the driver for a recording, without its start."""
        whole, tenth = (self.mean(kind, "cpu_seconds", "driver") for kind in ("ray 1", "tenth 1"))
        return (whole - tenth) / (0.9 * self.n)


def measured(figures: Figures) -> str:
    """Write what was measured."""
    lines = [
        "|  | recordings a second | after the start | CPU of workers, ms each | of the rest | memory of a worker |",
        "|---|---|---|---|---|---|",
    ]
    for kind, name in ((kind, name) for kind, name in NAMES.items() if kind in figures.kinds):
        after = "–" if kind.startswith("pool") else f"{figures.rate(kind):.0f}"  # its start takes no time
        rates = f"{figures.n / figures.mean(kind, 'seconds'):.0f} | {after}"
        spent = f"{figures.cpu_ms(kind, 'worker'):.1f} | {figures.cpu_ms(kind, 'driver', 'rest'):.1f}"
        lines.append(f"| {name} | {rates} | {spent} | {figures.mean(kind, 'worker_mb'):.0f} MB |")
    about, where = figures.recordings, figures.machine
    whole, answering = figures.efficiency()
    most, grew = (max(figures.mean(f"ray {n}", key) for n in (1, 2)) for key in ("worker_mb", "worker_grew_mb"))
    time = [figures.mean(f"ray {n}", "seconds") / figures.mean(f"pool {n}", "seconds") for n in (1, 2)]
    cpu = [figures.cpu_ms(f"ray {n}") / figures.cpu_ms(f"pool {n}") for n in (1, 2)]
    missed = (whole < WANTED_EFFICIENCY, most > WANTED_MB)
    efficient, small = (", **missed**" if it else "" for it in missed)
    said = [
        f"Two workers are {whole:.2f} of twice one worker for the whole command (wanted: {WANTED_EFFICIENCY:.2f}"
        f"{efficient}), and {answering:.2f} after the start.",
        f"A worker takes at most {most:.0f} MB (wanted: {WANTED_MB}{small}), and {grew:.1f} MB more at the end than "
        "early on.",
        f"Ray takes {time[0]:.2f} of the time of a plain pool of processes with one worker and {time[1]:.2f} with "
        f"two, its start included, and {cpu[0]:.2f} and {cpu[1]:.2f} of its processor time.",
    ]
    if "nodes 2" in figures.kinds:
        joined = figures.mean("nodes 2", "seconds") / figures.mean("ray 2", "seconds")
        said.append(
            f"Two nodes that run already take {joined:.2f} of the time of two workers for which Ray is started."
        )
    begin = (
        f"{figures.n:,} recordings of {about['seconds']:.1f} s and {about['bytes'] / 1000:.0f} kB on average, one in "
        f"500 broken, on {where['cores']} cores of {where['processor']}, with Ray {where['ray']}; "
        f"other programs took at most {figures.others():.0f} % of them:"
    )
    return _page(lines, begin, said)


class Plan:
    """A million recordings of one length on clusters, as the estimate has them."""

    def __init__(self, figures: Figures, seconds: float) -> None:
        self.core = 2 / figures.rate("ray 2") * seconds / figures.recordings["seconds"]
        self.driver = figures.driver_seconds()
        self.start = figures.mean("ray 2", "seconds") - figures.mean("ray 2", "answering_seconds")

    def took(self, n_nodes: int) -> tuple[float, float]:
        """Return the seconds that so many nodes take, and the share of them in which their cores work."""
        working = RECORDINGS * self.core / (n_nodes * CORES_A_NODE)
        took = self.start + max(working, RECORDINGS * self.driver) + BATCH * self.core
        return took, working / took

    def most_nodes(self) -> float:
        """Return how many nodes the driver keeps busy."""
        return self.core / self.driver / CORES_A_NODE


def estimate(figures: Figures) -> str:
    """Write the estimate for clusters."""
    short, long = Plan(figures, figures.recordings["seconds"]), Plan(figures, CALL_SECONDS)
    seconds, n_bytes = figures.recordings["seconds"], figures.recordings["bytes"]
    needed = CORES_A_NODE * n_bytes / short.core * 8e-9
    slower = [1 + LATENCY_SECONDS / plan.core for plan in (short, long)]
    lines = [
        f"| nodes | cores | a million of {seconds:.1f} s | cores work | a million calls of {CALL_SECONDS // 60} min | "
        "cores work |",
        "|---|---|---|---|---|---|",
    ]
    for n in NODES:
        cells = [f"{_time(took)} | {100 * share:.0f} %" for took, share in (short.took(n), long.took(n))]
        lines.append(f"| {n} | {n * CORES_A_NODE:,} | {' | '.join(cells)} |")
    said = [
        f"*Cores*: {CORES_A_NODE} a node, each as fast as one of two workers above, {1 / short.core:.0f} recordings of "
        f"{seconds:.1f} s a second. A longer one costs in proportion, which is rather too much.",
        f"*The start* takes {short.start:.0f} s, as above: the nodes run already, and start their workers at once.",
        "*The driver*, the process where the command is typed, lists, hands out, takes back and writes the table, "
        f"alone: {1000 * short.driver:.2f} ms of processor a recording (measured), so at most {1 / short.driver:,.0f} "
        "recordings a second. That a batch may cost it more with more workers is left out.",
        f"*The network*: the cores of a node hear {needed:.1f} Gbit/s of WAV, of {GIGABITS}. From `s3://` a recording "
        f"comes after {1000 * LATENCY_SECONDS:.0f} ms, in which its worker waits: one of {seconds:.1f} s takes "
        f"{slower[0]:.1f} times as long, one of {CALL_SECONDS // 60} min {slower[1]:.1f} times. The table is of files "
        "that lie near.",
        f"*Stragglers*: the last batch of {BATCH} is waited for, {BATCH * short.core:.1f} s and "
        f"{BATCH * long.core:.0f} s. One recording is never divided: ten hours of sound hold a worker "
        f"{36000 / seconds * short.core / 60:.0f} minutes.",
    ]
    end = (
        f"The driver limits first: from about {_nodes(short)} on with short recordings, from about {_nodes(long)} on "
        "with calls. Beyond that, divide the list, and give each part a command with `--workers` and a table of its "
        "own."
    )
    begin = "This is an estimate: nothing beyond one machine was measured. It assumes:"
    return f"{_page(lines, begin, said)}\n{_wrapped(end)}"


def _page(table: list[str], begin: str, said: list[str]) -> str:
    bullets = "".join(_wrapped(one, "- ") for one in said)
    return "\n".join(table) + f"\n\n{_wrapped(begin)}\n{bullets}"


def _wrapped(text: str, bullet: str = "") -> str:
    return textwrap.fill(text, 128, initial_indent=bullet, subsequent_indent=" " * len(bullet)) + "\n"


def _time(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"


def _nodes(plan: Plan) -> str:
    n = plan.most_nodes()
    return f"{n:.0f} nodes" if n >= 2 else f"{n * CORES_A_NODE:.0f} cores"


def as_text(figures: dict[str, Any]) -> str:
    """Write what was measured and what it means for a cluster, as the page has it."""
    return f"{measured(Figures(figures))}\n{estimate(Figures(figures))}"


PARTS = {"measured": measured, "estimate": estimate}


def written(page: str) -> str:
    """Return this text of a page with every part that is made of figures written anew."""
    figures = Figures(json.loads(COST.read_text()))
    return PART.sub(lambda match: f"{match[1]}\n{PARTS[match[2]](figures)}{match[3]}", page)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(written(page.read_text()))

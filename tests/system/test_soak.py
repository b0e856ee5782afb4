"""Eight hours of sound through the real program, as fast as it takes them: nothing may grow.

Nothing may be written but the events and, now and then, what is learned of the place.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from affectd.recognition.baseline_file import path_of
from affectd.recognition.model_file import find_model, read_model, write_model
from open_files import open_files
from sounds import SAMPLE_RATE, gain, noise, raw_sound, silence, syllables
from tiny_model import tiny_model

HOURS = 8
SAMPLES_PER_HOUR = 6
SLOPE_LIMIT_KIB = 1024
BASELINE_PERIOD_SECONDS = 300
BYTES_PER_SECOND = 2 * SAMPLE_RATE
REPOSITORY = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux with smaps_rollup"),
]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The model that is shipped; in a tree without one, the small one of the tests."""
    if find_model().exists():
        return find_model()
    write_model(tmp_path / "tiny.tflite", tiny_model())
    return tmp_path / "tiny.tflite"


class Program:
    """`affectd run` on raw PCM, in a folder of its own that it must leave empty."""

    def __init__(self, model: Path, folder: Path) -> None:
        folder.mkdir()
        # Whatever is written without a path of ours would land in one of these.
        places = dict.fromkeys(("HOME", "TMPDIR", "XDG_STATE_HOME", "XDG_CACHE_HOME", "STATE_DIRECTORY"), str(folder))
        environment = {
            **os.environ,
            **places,
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "edge"), os.environ.get("PYTHONPATH", "")]),
        }
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "affectd", "run", "--source", "-", "--model", str(model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=environment,
        )
        self.proc = Path("/proc") / str(self.process.pid)
        self.output = {"stdout": b"", "stderr": b""}
        self._readers = [threading.Thread(target=self._read, args=(name,)) for name in self.output]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str) -> None:
        with getattr(self.process, name) as stream:
            for line in stream:
                self.output[name] += line

    def feed(self, pcm: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(pcm)
        self.process.stdin.flush()

    def end(self) -> int:
        """End the sound; return how many bytes it passed to write(), ever, and wherever to."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        # The process has ended but is not yet waited for, so that its counters are final and still there.
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        counters = dict(line.split(": ") for line in (self.proc / "io").read_text().splitlines())
        for reader in self._readers:
            reader.join()
        assert self.process.wait() == 0, self.output["stderr"].decode()
        return int(counters["wchar"])

    def resident_kib(self) -> int:
        rollup = dict(line.split(":") for line in (self.proc / "smaps_rollup").read_text().splitlines()[1:])
        return int(rollup["Rss"].split()[0])

    def descriptors(self) -> dict[str, str]:
        return open_files(self.process.pid)

    def threads(self) -> int:
        return len(list((self.proc / "task").iterdir()))


@pytest.fixture
def programs() -> Iterator[list[Program]]:
    """Programs that are killed should the test fail before they end."""
    started: list[Program] = []
    yield started
    for program in started:
        if program.process.returncode is None:
            program.process.kill()
            program.process.wait()
            assert program.process.stdin is not None
            program.process.stdin.close()


def minute(random: np.random.Generator) -> bytes:
    """A minute of a room: twenty seconds each of speech, silence and noise, no two minutes alike."""
    kind = str(random.choice(["white", "pink", "brown", "hum"]))
    parts = [
        gain(syllables(20, rate_hz=random.uniform(2, 6)), random.uniform(-40, -3)),
        silence(20),
        gain(noise(kind, 20, seed=int(random.integers(1 << 30))), random.uniform(-60, -10)),
    ]
    samples = np.concatenate([parts[i] for i in random.permutation(3)])
    return raw_sound(samples)


def test_eight_hours_leave_nothing_but_what_was_learned_of_the_place(
    model: Path, programs: list[Program], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = Program(model, tmp_path / "short")
    programs.append(short)
    short.feed(bytes(BYTES_PER_SECOND))
    # What the interpreter prints to /dev/null while it starts.
    start_bytes = short.end() - len(short.output["stdout"]) - len(short.output["stderr"])

    began = time.monotonic()
    program = Program(model, tmp_path / "long")
    programs.append(program)
    random = np.random.default_rng(8)
    hours, resident, descriptors, threads = [], [], [], []
    for number in range(1, HOURS * 60 + 1):
        program.feed(minute(random))
        if number % (60 // SAMPLES_PER_HOUR) == 0:
            hours.append(number / 60)
            resident.append(program.resident_kib())
            descriptors.append(program.descriptors())
            threads.append(program.threads())
            if number % 60 == 0:
                with capsys.disabled():
                    print(f"\nhour {number // 60}: {resident[-1]} KiB, {len(descriptors[-1])} descriptors", end="")
    all_bytes = program.end()
    periods = (time.monotonic() - began) / BASELINE_PERIOD_SECONDS

    later = np.array(hours) >= HOURS - 7
    slope, _ = np.polyfit(np.array(hours)[later], np.array(resident)[later], 1)
    events = [json.loads(line) for line in program.output["stdout"].splitlines()]
    with capsys.disabled():
        print(f"\n{len(events)} events, {7 * slope:+.0f} KiB in the last seven hours by a straight line,", end=" ")
        print(f"{max(resident)} KiB at most")
    per_hour = np.bincount([int(event["end_seconds"] // 3600) for event in events], minlength=HOURS)
    assert per_hour[:HOURS].min() > 60, "the network had nothing to do"
    assert 7 * slope < SLOPE_LIMIT_KIB
    assert max(resident) - resident[SAMPLES_PER_HOUR - 1] < SLOPE_LIMIT_KIB, "a jump that a straight line hides"
    assert descriptors == descriptors[:1] * len(descriptors)
    assert threads == threads[:1] * len(threads)
    written = all_bytes - start_bytes - len(program.output["stdout"]) - len(program.output["stderr"])
    files = [path for one in (short, program) for path in one.folder.rglob("*") if path.is_file()]
    kept = [path for path in files if path.name != "lock"]
    assert [path.name for path in kept] in ([], [path_of(program.folder, read_model(model)).name])
    # At the beginning and at the end, too; its numbers do not always have as many digits.
    assert written <= (periods + 2) * sum(path.stat().st_size + 10 for path in kept), "it wrote to something else"
    assert program.output["stderr"] == b""

"""The outbox on disks that are full, read-only, frozen or without power, and in processes that are killed."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from affectd.outbox import journal
from affectd.outbox.outbox import Outbox
from disks import fill, mounted, small_disk
from faulty_disk import Step, after_a_power_cut, faulty_disk
from outbox_life import Witness, live, open_outbox, what_is_left
from outboxes import EVENT, Clock

TESTS = Path(__file__).parents[1]
PATIENCE_SECONDS = 120
needs_ext4 = pytest.mark.skipif(not shutil.which("mkfs.ext4"), reason="mkfs.ext4 is not installed")


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "affectd")


def payloads(outbox: Outbox) -> list[str]:
    return [payload for _, payload in outbox.pending(0, 100_000)]


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A folder that is not on a disk, as the real one for the runtime; a kill spares it all the same."""
    with TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        yield Path(folder)


@contextmanager
def real_disk(folder: Path) -> Iterator[Path]:
    """A file system as on a card: it keeps a journal, can be frozen, and becomes read-only after an error."""
    image = folder.with_suffix(".image")
    with image.open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    with mounted(folder, "-o", "loop,errors=remount-ro", str(image)) as disk:
        yield disk


def test_killed_at_every_step_it_loses_nothing_and_keeps_the_order(in_memory: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    command = [sys.executable, str(TESTS / "outbox_life.py"), str(in_memory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    told = json.loads(done.stdout)
    assert min(result["deaths"] for what, result in told.items() if "every_step" in what) > 20, told
    assert min(result["deaths"] for what, result in told.items() if "before" in what) > 5, told
    assert min(result["deaths"] for result in told.values()) >= 1, told


@pytest.mark.parametrize("small", [65536, 0], ids=["appended", "rewritten"])
def test_without_power_at_any_step_what_had_settled_is_left_in_order(
    in_memory: Path, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_SMALL_BYTES", small)
    steps: list[Step] = []
    told: list[tuple[int, str, str]] = []
    state = in_memory / "state"
    with faulty_disk(steps.append):
        # The folder for the runtime is gone without power, so it is left out: what is not on the disk is lost.
        live(state, None, lambda what, event: told.append((len(steps), what, event)))
    assert {step.path for step in steps if state not in (Path(step.path), Path(step.path).parent)} == set()
    draw = random.Random(1)
    for n_steps in range(len(steps) + 1):
        witness = Witness()
        for after, what, event in told:
            if after <= n_steps:
                witness.tell(what, event)
        made = [event for _, what, event in told if what == "put"]
        for share in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0):
            disk = in_memory / "disk"
            disk.mkdir()
            after_a_power_cut(steps[:n_steps], disk, lambda: draw.random() < share)  # noqa: B023
            witness.put = made
            witness.check(what_is_left(disk, None), promised=witness.settled)
            shutil.rmtree(disk)


def test_a_full_disk_is_told_once_and_taken_up_again_when_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    with small_disk(tmp_path / "disk") as disk:
        outbox = open_outbox(disk / "affectd", tmp_path / "run", clock)
        made = [f"{n} {EVENT}" for n in range(600)]  # more than the disk would hold
        for event in made[:100]:
            outbox.put(event)
        outbox.settle(connected=False)
        assert outbox.on_disk == 100
        ballast = fill(disk)
        for event in made[100:]:
            outbox.put(event)
        for _ in range(200):
            clock.now += 1
            outbox.settle(connected=False)
        assert payloads(outbox) == made
        assert outbox.on_disk < 600
        folder = disk / "affectd"
        assert caplog.messages == [
            f"the outbox cannot use {folder}: the disk is full; events are not safe from a power cut"
        ]

        # What was delivered meanwhile is never delivered again, although no room is there to note it.
        outbox.delivered([sequence for sequence, _ in outbox.pending(0, 350)])
        outbox.settle(connected=True)
        assert payloads(outbox) == made[350:]

        ballast.unlink()
        clock.now += 60
        outbox.settle(connected=False)
        assert payloads(outbox) == made[350:]
        assert outbox.on_disk == 250
        assert caplog.messages[1:] == [f"the outbox can use {folder} again"]
        outbox.close()
        assert what_is_left(folder, None) == made[350:]


def test_a_full_folder_in_memory_does_not_stop_events(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with small_disk(tmp_path / "run") as run:
        outbox = open_outbox(tmp_path / "state", run, clock)
        outbox.put("first")
        ballast = fill(run)
        made = ["first", *(f"{n} {EVENT}" for n in range(60))]
        for event in made[1:]:
            outbox.put(event)
        assert payloads(outbox) == made
        outbox.settle(connected=True)
        what = "an event just made is lost if the process dies"
        assert caplog.messages == [f"the outbox cannot use {run}: the disk is full; {what}"]
        ballast.unlink()
        clock.now += 60
        outbox.put("last")
        outbox.settle(connected=True)  # too old to be only there
        assert payloads(outbox) == [*made, "last"]
        assert caplog.messages[1:] == [f"the outbox can use {run} again"]
        outbox.close()
    assert what_is_left(tmp_path / "state", None) == [*made, "last"]


def test_what_waits_on_a_disk_that_became_read_only_is_delivered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    with small_disk(tmp_path / "disk") as disk:
        outbox = open_outbox(disk, None)
        for event in "abc":
            outbox.put(event)
        outbox.close()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        outbox = open_outbox(disk, tmp_path / "run", clock)
        outbox.put("d")
        assert payloads(outbox) == ["a", "b", "c", "d"]
        outbox.delivered([sequence for sequence, _ in outbox.pending(0, 2)])
        for _ in range(200):
            clock.now += 1
            outbox.settle(connected=False)
        assert payloads(outbox) == ["c", "d"]
        assert caplog.messages == [
            f"the outbox cannot use {disk}: it is read-only; events are not safe from a power cut"
        ]
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        clock.now += 60
        outbox.settle(connected=False)
        assert caplog.messages[1:] == [f"the outbox can use {disk} again"]
        assert outbox.on_disk == 2
        outbox.close()
        assert what_is_left(disk, None) == ["c", "d"]


@needs_ext4
def test_a_disk_that_an_error_makes_read_only_loses_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with real_disk(tmp_path / "disk") as disk:
        outbox = open_outbox(disk, None, clock)
        outbox.put("a")
        outbox.settle(connected=False)
        outbox.put("b")
        device = subprocess.run(["findmnt", "-no", "SOURCE", str(disk)], capture_output=True, text=True, check=True)
        try:
            Path("/sys/fs/ext4", Path(device.stdout.strip()).name, "trigger_fs_error").write_text("1")
        except OSError as error:
            pytest.skip(f"this kernel makes no errors on demand: {error}")
        for _ in range(200):
            clock.now += 1
            outbox.settle(connected=False)
        assert payloads(outbox) == ["a", "b"]
        # At most first an error, then, when it is tried again, a disk that is read-only; and no line for every attempt.
        assert 1 <= len(set(caplog.messages)) == len(caplog.messages) <= 2, caplog.messages
        outbox.close()


def test_a_folder_that_may_not_be_written_to_degrades_to_memory(tmp_path: Path) -> None:
    code = f"""
import logging, sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from affectd.outbox.outbox import Outbox
logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stdout)
folder = Path({str(tmp_path)!r})
outbox = Outbox(folder / "state", folder / "run", max_events=10, max_bytes=1000)
for event in "abc":
    outbox.put(event)
for _ in range(3):
    outbox.settle(False)
print([event for _, event in outbox.pending(0, 10)], outbox.on_disk)
outbox.close()
"""
    for name in ("state", "run"):
        (tmp_path / name).mkdir(mode=0o555)
    command = [sys.executable, "-c", code]
    if os.geteuid() == 0:  # root may write everywhere
        for folder in (tmp_path, *tmp_path.parents[:2]):
            folder.chmod(folder.stat().st_mode | 0o055)
        demoted = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        if not shutil.which("setpriv") or subprocess.run([*demoted, sys.executable, "-c", ""], check=False).returncode:
            pytest.skip("only root can start this Python")
        command = [*demoted, *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        f"WARNING the outbox cannot use {tmp_path}/run: Permission denied; "
        "an event just made is lost if the process dies",
        f"WARNING the outbox cannot use {tmp_path}/state: Permission denied; events are not safe from a power cut",
        "['a', 'b', 'c'] 0",
        "WARNING 3 events that could not be written are lost",
    ], done.stderr


@contextmanager
def frozen(disk: Path) -> Iterator[Callable[[], None]]:
    """Let every write to this disk wait, until the test says that it goes on."""
    if subprocess.run(["fsfreeze", "--freeze", str(disk)], check=False).returncode:
        pytest.skip("no disk can be frozen here")
    is_frozen = True

    def thaw() -> None:
        nonlocal is_frozen
        if is_frozen:
            subprocess.run(["fsfreeze", "--unfreeze", str(disk)], check=True)
        is_frozen = False

    try:
        yield thaw
    finally:
        thaw()


@needs_ext4
def test_a_disk_that_hangs_holds_up_no_event(tmp_path: Path, in_memory: Path) -> None:
    with real_disk(tmp_path / "disk") as disk:
        outbox = open_outbox(disk, in_memory)
        outbox.put("first")
        outbox.settle(connected=False)
        with frozen(disk) as thaw:
            outbox.put("second")
            voice = threading.Thread(target=outbox.settle, args=(False,))
            voice.start()
            voice.join(1.0)
            assert voice.is_alive(), "it does not hang"
            longest = 0.0
            for number in range(900):
                begin = time.perf_counter()
                outbox.put(f"{number} {EVENT}")
                longest = max(longest, time.perf_counter() - begin)
            assert voice.is_alive()
            thaw()
            voice.join(PATIENCE_SECONDS)
            assert not voice.is_alive()
        print(f"the longest of 900 puts beside a disk that hangs: {longest * 1e3:.2f} ms")
        outbox.settle(connected=False)
        assert payloads(outbox) == ["first", "second", *(f"{number} {EVENT}" for number in range(900))]
        assert outbox.on_disk == 902
        outbox.close()


def test_a_thousand_events_a_second_cost_a_few_percent(tmp_path: Path, in_memory: Path) -> None:
    outbox = open_outbox(tmp_path / "state", in_memory)
    n_events = 20_000
    begin = time.process_time()
    for number in range(n_events):
        outbox.put(EVENT)
        if number % 5 == 4:  # as they are acknowledged
            outbox.delivered([sequence for sequence, _ in outbox.pending(0, 100)])
        if number % 1000 == 999:
            outbox.settle(connected=True)
    seconds = (time.process_time() - begin) / n_events
    print(f"{seconds * 1e6:.0f} us of processor time for an event")
    assert seconds * 1000 < 0.1  # of a core, at 1,000 events a second
    assert not (tmp_path / "state").exists()
    outbox.close()


def test_ten_thousand_events_that_wait_are_not_in_memory(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from affectd.outbox.outbox import Outbox

def resident():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])

folder = Path({str(tmp_path)!r})
before = resident()
outbox = Outbox(folder / "state", folder / "run", max_events=10_000, max_bytes=16_000_000)
for n in range(10_000):
    outbox.put(f"{{n:05}} " + "x" * 600)
    if n % 100 == 99:
        outbox.settle(False)
print(outbox.on_disk, resident() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    on_disk, kilobytes = map(int, done.stdout.split())
    print(f"{kilobytes} kB for {on_disk} events")
    assert on_disk == 10_000
    assert kilobytes < 2000  # the payloads have 6 MB

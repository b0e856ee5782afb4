"""The outbox with files whose content is damaged."""

from __future__ import annotations

import os
import random
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outboxes import EVENT, IN_MEMORY, NAME, Clock, deliver, filled, opened, payloads, put


def intact(events: list[str], before: bytes, after: bytes) -> list[str]:
    """Return the events whose lines are still in the file."""
    left = set(after.split(b"\n")[:-1])
    return [event for event, line in zip(events, before.split(b"\n")[:-1], strict=True) if line in left]


@given(draw=st.randoms(use_true_random=False), where=st.sampled_from(["state", "run"]))
@settings(max_examples=100)
def test_damage_costs_the_damaged_lines_only(draw: random.Random, where: str) -> None:
    with TemporaryDirectory(dir=IN_MEMORY) as folder:
        file = Path(folder) / where / NAME
        events = filled(file.parent)
        before = file.read_bytes()
        content = bytearray(before)
        if draw.random() < 0.5:
            del content[draw.randrange(len(content)) :]
        for _ in range(draw.randrange(4)):
            begin = draw.randrange(len(content) + 1)
            content[begin : begin + draw.choice([1, 16, 512, 4096])] = draw.randbytes(draw.choice([1, 16, 512, 4096]))
        file.write_bytes(content)
        outbox = opened(Path(folder) / "state", Path(folder) / "run")
        left = payloads(outbox)
        assert left == intact(events, before, bytes(content))
        put(outbox, "new")
        outbox.settle(connected=False)
        assert payloads(outbox) == [*left, "new"]
        outbox.close()
        outbox = opened(Path(folder) / "state", Path(folder) / "run")
        assert payloads(outbox) == [*left, "new"]
        deliver(outbox)
        outbox.settle(connected=True)
        assert len(outbox) == 0
        outbox.close()


@pytest.mark.parametrize("page", [1, 2, 3, 5, 9])
def test_of_a_file_with_one_bad_page_everything_else_is_saved(
    state: Path, page: int, caplog: pytest.LogCaptureFixture
) -> None:
    events = filled(state, 200)
    file = state / NAME
    before = file.read_bytes()
    content = bytearray(before)
    content[4096 * (page - 1) : 4096 * page] = b"\xff" * 4096
    file.write_bytes(content)
    outbox = opened(state, None)
    left = payloads(outbox)
    outbox.close()
    assert 180 <= len(left) < 200
    assert left == intact(events, before, bytes(content))
    assert (state / f"{NAME}.broken").read_bytes() == bytes(content)
    assert len(caplog.messages) == 1
    assert f"{len(left)} events in it could be saved" in caplog.messages[0]
    assert caplog.records[0].levelname == "WARNING"
    outbox = opened(state, None)
    assert payloads(outbox) == left
    outbox.close()
    assert len(caplog.messages) == 1  # there is nothing left to mend


def test_damage_that_only_the_checksum_sees_is_not_published(state: Path, clock: Clock) -> None:
    events = filled(state, 50)
    file = state / NAME
    content = file.read_bytes()
    assert content.count(b" 017 {") == 1  # the number of a line, not the end of a checksum or of a time
    file.write_bytes(content.replace(b" 017 {", b" O17 {"))
    outbox = opened(state, None, clock)
    put(outbox, "new")
    expected = [*events[:17], *events[18:], "new"]
    assert payloads(outbox) == expected
    deliver(outbox, 20)
    outbox.settle(connected=True)
    assert payloads(outbox) == expected[20:]
    outbox.close()


@pytest.mark.parametrize("is_as_long", [True, False])
def test_damage_to_a_file_in_use_costs_the_damaged_line_only(
    state: Path, clock: Clock, caplog: pytest.LogCaptureFixture, is_as_long: bool
) -> None:
    outbox = opened(state, None, clock)
    put(outbox, *"abcdef")
    outbox.settle(connected=False)
    deliver(outbox, 1)  # which the file does not say yet
    file = state / NAME
    lines = file.read_bytes().splitlines(keepends=True)
    lines[2] = lines[1] if is_as_long else b"nonsense\n"
    file.write_bytes(b"".join(lines))
    put(outbox, "g")
    assert "c" not in payloads(outbox)
    outbox.settle(connected=True)
    clock.now += 60
    outbox.settle(connected=True)
    assert payloads(outbox) == list("bdefg")
    outbox.close()
    outbox = opened(state, None)
    assert payloads(outbox) == list("bdefg")
    outbox.close()
    assert caplog.records[0].levelname == "WARNING"
    assert "reading or writing failed" in caplog.messages[0]


@pytest.mark.parametrize("sequence", [2**63 - 1, 0, 7])
def test_a_damaged_sequence_spoils_no_others(state: Path, sequence: int) -> None:
    """The highest there can be would leave no room for another."""
    events = filled(state, 20)
    lines = (state / NAME).read_bytes().splitlines(keepends=True)
    lines[5] = lines[5][:9] + b"%016x" % sequence + lines[5][25:]
    (state / NAME).write_bytes(b"".join(lines))
    outbox = opened(state, None)
    put(outbox, "new")
    assert payloads(outbox) == [*events[:5], *events[6:], "new"]
    outbox.close()


@pytest.mark.parametrize("length", [0, 1, 15, 100, 511, 512, 4095, 4096, 4097, 8192, 10_000, 15_000])
def test_a_truncated_file_begins_anew_with_what_is_left(state: Path, length: int) -> None:
    events = filled(state, 60)
    file = state / NAME
    before = file.read_bytes()
    file.write_bytes(before[:length])
    outbox = opened(state, None)
    left = payloads(outbox)
    assert left == intact(events, before, before[:length])
    assert len(left) >= (45 if length == 15_000 else 0)
    put(outbox, "new")
    outbox.close()
    outbox = opened(state, None)
    assert payloads(outbox) == [*left, "new"]
    outbox.close()


def test_a_file_that_a_failing_disk_made_huge_does_not_fill_the_memory(state: Path) -> None:
    events = filled(state, 20)
    file = state / NAME
    last = file.read_bytes().splitlines(keepends=True)[-1]
    with file.open("r+b") as damaged:
        damaged.truncate(1 << 28)  # zeros, of which none is on the disk
        damaged.seek(0, os.SEEK_END)
        damaged.write(b"\n" + last.replace(b" 0000", b" 0001"))  # of which the checksum is wrong
    tracemalloc.start()
    outbox = opened(state, None)
    left = payloads(outbox)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert left == events
    assert peak < 10e6
    assert file.stat().st_size < 1e6, "it is written anew"
    outbox.close()


@pytest.mark.parametrize("n_bytes", [1, 9, 26, 40, 200])
@pytest.mark.parametrize("n_events", [1, 20])
def test_a_last_line_that_was_cut_off_costs_itself_alone_and_is_no_damage(
    state: Path, n_bytes: int, n_events: int, caplog: pytest.LogCaptureFixture
) -> None:
    events = filled(state, n_events)
    file = state / NAME
    whole = file.read_bytes()
    last = f"{filled(state.with_name('other'), 1)[0]} {EVENT}"
    outbox = opened(state.with_name("other"), None)
    put(outbox, last)
    outbox.close()
    file.write_bytes(whole + (state.with_name("other") / NAME).read_bytes().splitlines()[-1][:n_bytes])
    outbox = opened(state, None)
    assert payloads(outbox) == events
    put(outbox, "new")
    outbox.close()
    outbox = opened(state, None)
    assert payloads(outbox) == [*events, "new"]
    outbox.close()
    assert caplog.messages == []
    assert {file.name for file in state.iterdir()} == {NAME}


def test_a_damaged_note_of_deliveries_lets_them_come_again_and_loses_none(state: Path, clock: Clock) -> None:
    outbox = opened(state, None, clock)
    put(outbox, *"abcdef")
    outbox.settle(connected=False)
    deliver(outbox, 2)
    clock.now += 10
    outbox.settle(connected=True)
    put(outbox, "g")
    outbox.settle(connected=False)
    content = (state / NAME).read_bytes()
    outbox.close()
    lines = content.splitlines(keepends=True)
    assert [line[26:-1] for line in lines] == [*(b"abcdef"[n : n + 1] for n in range(6)), b"\xfe", b"\xfe", b"g"]
    for note, expected in ((lines[6], "cdefg"), (lines[6][:-3] + b"zz\n", "acdefg")):
        (state / NAME).write_bytes(b"".join([*lines[:6], note, *lines[7:]]))
        outbox = opened(state, None)
        assert payloads(outbox) == list(expected)
        outbox.close()


@pytest.mark.parametrize("content", [b"\0" * 8192, b"not a journal\n" * 1000, bytes(range(256)) * 64])
@pytest.mark.parametrize("suffix", ["", ".new", ".broken"])
def test_nonsense_in_place_of_a_file_does_no_harm(state: Path, content: bytes, suffix: str) -> None:
    events = filled(state)
    for _ in range(3):
        (state / (NAME + suffix)).write_bytes(content)
        outbox = opened(state, None)
        assert payloads(outbox) == (events if suffix else [])
        put(outbox, "new")
        outbox.settle(connected=False)
        assert payloads(outbox)[-1:] == ["new"]
        outbox.delivered([sequence for sequence, _ in outbox.pending(0, 1000)[-1:]])
        outbox.close()
    assert len(list(state.glob("*.broken*"))) == (0 if suffix == ".new" else 1)


def test_a_folder_in_place_of_the_file_degrades_to_memory(
    state: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    (state / NAME).mkdir(parents=True)
    outbox = opened(state, None, clock)
    put(outbox, "a")
    for _ in range(150):
        clock.now += 1
        outbox.settle(connected=False)
    assert payloads(outbox) == ["a"]
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(f"the outbox cannot use {state}: ")
    outbox.close()
    assert caplog.messages[1:] == ["1 events that could not be written are lost"]

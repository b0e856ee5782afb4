"""The file of the baseline: it survives a restart and a death at any moment, and nothing damaged is believed."""

from __future__ import annotations

import base64
import dataclasses
import json
import logging
import os
import stat
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectd.recognition.baseline import Baseline, Learned
from affectd.recognition.baseline_file import Keeper, decode, encode, path_of, read_learned, write_learned
from affectd.recognition.model_file import model_id
from broker import wait_until
from faulty_disk import FULL, IO_ERROR, Step, faulty_disk
from tiny_model import draft_place_model

MODEL = draft_place_model()
assert MODEL.head is not None
HEAD = MODEL.head
OTHER = draft_place_model(tflite=MODEL.tflite + b"\0")


def learned(seconds: float = 123.5, *offset: float, since: float | None = 1.7e9) -> Learned:
    return Learned(seconds, np.array(offset or (0.25, -0.125, 0.5)), since)


def content(known: Learned | None = None, device: str = "kitchen") -> bytes:
    return encode(known or learned(), device, MODEL)


def read(folder: Path, device: str = "kitchen") -> Learned | None:
    return read_learned(folder, device, MODEL)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@given(
    seconds=st.floats(0, 1e7),
    steps=st.lists(st.floats(-100, 100), min_size=3, max_size=3),
    since=st.none() | st.integers(0, 4 * 10**9),
)
def test_what_is_written_is_read_to_the_precision_of_float16(
    seconds: float, steps: list[float], since: int | None
) -> None:
    back = decode(content(Learned(seconds, np.array(steps) * HEAD.spread, since)), "kitchen", MODEL)
    assert back.seconds == pytest.approx(seconds, abs=6e-4)
    assert back.since == since
    np.testing.assert_allclose(back.offset / HEAD.spread, steps, rtol=2**-11, atol=1e-7)


def test_the_file_is_small_and_holds_what_the_documents_say() -> None:
    body = json.loads(content())
    assert body.keys() == {"device", "model", "head", "seconds", "since", "offset", "crc32"}
    assert (body["device"], body["model"]) == ("kitchen", model_id(MODEL))
    steps = np.frombuffer(base64.b64decode(body["offset"]), "<f2")
    np.testing.assert_allclose(steps, learned().offset / HEAD.spread, rtol=1e-3)
    zeros = np.zeros(256, np.float32)
    head = dataclasses.replace(HEAD, weights=np.tile(HEAD.bias, (256, 1)), baseline=zeros, spread=zeros + 1)
    wide = dataclasses.replace(MODEL, head=head, golden=MODEL.golden | {"output": zeros.astype(np.int8)})
    assert len(encode(Learned(1e6, np.zeros(256), 2e9), "k" * 40, wide)) < 1000


def test_a_baseline_goes_on_after_a_restart(tmp_path: Path) -> None:
    before = Baseline(HEAD)
    for _ in range(30):
        before.learn(HEAD.baseline + HEAD.spread, speech_seconds=4, speech_ratio=0.8, at_hours=0.0, now=1.6e9)
    write_learned(tmp_path / "devices" / "kitchen", MODEL, content(before.learned))
    after = Baseline(HEAD, read(tmp_path / "devices" / "kitchen"))
    assert after.settled == pytest.approx(before.settled, abs=1e-5)
    np.testing.assert_allclose(after.value, before.value, atol=1e-3)
    assert after.learned.since == 1.6e9
    assert read(tmp_path / "devices" / "bath") is None


def test_the_same_network_with_another_start_begins_anew() -> None:
    for name in ("baseline", "spread"):
        head = dataclasses.replace(HEAD, **{name: getattr(HEAD, name) * np.float32(1.5)})
        with pytest.raises(ValueError, match="another model"):
            decode(content(), "kitchen", dataclasses.replace(MODEL, head=head))


def test_the_owner_alone_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_learned(tmp_path / "kitchen", MODEL, content())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "kitchen").stat().st_mode) == 0o700
    assert stat.S_IMODE(path_of(tmp_path / "kitchen", MODEL).stat().st_mode) == 0o600


def sealed(**changes: Any) -> bytes:
    """The file with fields replaced, added or removed (None), and a checksum that fits."""
    body = {**json.loads(content()), **changes}
    body = {key: value for key, value in body.items() if value is not None or key == "since"}
    del body["crc32"]
    checksum = zlib.crc32(json.dumps(body, sort_keys=True).encode())
    return json.dumps({**body, "crc32": checksum}).encode()


def halves(*values: float) -> str:
    return base64.b64encode(np.array(values, "<f2").tobytes()).decode()


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        (b"", "damaged"),
        (b"\xff\0", "damaged"),
        (b"[]", "damaged"),
        (b"[" * 10_000, "damaged"),
        (b"{}", "damaged"),
        (content()[:-20], "damaged"),
        (content().replace(b'"seconds": 123.5', b'"seconds": 923.5'), "damaged"),
        (sealed(surprise=1), "damaged"),
        (sealed(offset=None), "damaged"),
        (sealed(offset="!!!!"), "damaged"),
        (sealed(offset="abc"), "damaged"),
        (sealed(offset="\u00e4"), "damaged"),
        (sealed(offset=base64.b64encode(b"odd").decode()), "damaged"),
        (sealed(offset=7), "impossible"),
        (sealed(offset=halves(1, 2)), "impossible"),
        (sealed(offset=halves(1, 2, 3, 4)), "impossible"),
        (sealed(offset=halves(1, np.nan, 3)), "impossible"),
        (sealed(offset=halves(1, np.inf, 3)), "impossible"),
        (sealed(seconds=-1), "impossible"),
        (sealed(seconds=1e300), "impossible"),
        (sealed(seconds=float("nan")), "impossible"),
        (sealed(seconds="1"), "impossible"),
        (sealed(since="yesterday"), "impossible"),
        (sealed(since=10**400), "impossible"),
        (sealed(since=-1), "impossible"),
        (sealed(device="bath"), "of a device with another id"),
        (sealed(model="0" * 12), "of another model"),
        (b" " * 20_000, "larger than"),
    ],
)
def test_a_damaged_or_foreign_file_is_named_and_begun_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damaged: bytes, reason: str
) -> None:
    path = path_of(tmp_path, MODEL)
    path.write_bytes(damaged)
    assert read(tmp_path) is None
    (said,) = warnings(caplog)
    assert str(path) in said
    assert reason in said
    assert "anew" in said
    write_learned(tmp_path, MODEL, content())
    assert read(tmp_path) is not None


@given(where=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
def test_a_flipped_bit_never_makes_another_baseline(where: float, bits: int) -> None:
    data = bytearray(content())
    data[int(where * len(data))] ^= bits
    try:
        found = decode(bytes(data), "kitchen", MODEL)
    except ValueError:
        return
    assert found.seconds == 123.5  # white space, or a letter of a field that JSON reads the same
    np.testing.assert_allclose(found.offset, learned().offset, rtol=1e-3)


def test_what_is_no_file_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path_of(tmp_path, MODEL).mkdir()
    assert read(tmp_path) is None
    assert "cannot be read, it begins anew" in warnings(caplog)[0]


def test_files_of_other_models_are_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (path_of(tmp_path, OTHER).name, ".baseline-0123456789ab.json", "muted", "lock", "outbox.journal"):
        (tmp_path / name).write_text("")
    write_learned(tmp_path, MODEL, content())
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [path_of(tmp_path, MODEL).name, "muted", "lock", "outbox.journal"]
    )


def test_a_failure_at_any_step_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    steps: list[Step] = []
    with faulty_disk(lambda step: steps.append(step)):
        write_learned(tmp_path / "all", MODEL, content(learned(1.0)))
    kinds = [step.kind for step in steps if step.kind != "mkdir"]
    assert kinds.index("sync") < kinds.index("replace")
    assert kinds.index("write") < kinds.index("sync")
    for fatal in range(len(kinds)):
        for answer in (FULL, IO_ERROR):
            folder = tmp_path / f"{fatal}-{answer}"
            write_learned(folder, MODEL, content(learned(1.0)))
            number = iter(range(100))

            def refuse(step: Step, number: Any = number, fatal: int = fatal, answer: int = answer) -> int | None:
                return answer if next(number) == fatal else None

            with faulty_disk(refuse), pytest.raises(OSError, match=r"space|error"):
                write_learned(folder, MODEL, content(learned(2.0)))
            assert len(list(folder.iterdir())) == 1, "half of it would take room that there is not"
            assert read(folder).seconds == 1.0  # type: ignore[union-attr]
            write_learned(folder, MODEL, content(learned(3.0)))
            assert read(folder).seconds == 3.0  # type: ignore[union-attr]
            assert len(list(folder.iterdir())) == 1


def test_it_is_written_at_most_once_in_a_period_and_at_the_end(tmp_path: Path) -> None:
    written: list[str] = []

    def note(step: Step) -> None:
        if step.kind == "replace":
            written.append(step.path)

    with faulty_disk(note):
        now = 1000.0
        keeper = Keeper(tmp_path, MODEL, period_seconds=300.0, clock=lambda: now)
        keeper.keep(content(learned(1.0)))
        wait_until(lambda: written, 10)
        for seconds in range(2, 200):
            keeper.keep(content(learned(float(seconds))))
        assert read(tmp_path).seconds == 1.0  # type: ignore[union-attr]
        now += 300.0
        keeper.keep(content(learned(200.0)))
        wait_until(lambda: len(written) == 2, 10)
        assert read(tmp_path).seconds == 200.0  # type: ignore[union-attr]
        keeper.keep(content(learned(201.0)))
        keeper.close(10.0)
        assert read(tmp_path).seconds == 201.0  # type: ignore[union-attr]
    assert len(written) == 3


def test_what_was_learned_last_is_written_when_it_is_time_though_all_is_silent(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, MODEL, period_seconds=0.2)
    keeper.keep(content(learned(1.0)))
    wait_until(lambda: read(tmp_path) is not None, 10)
    keeper.keep(content(learned(2.0)))
    wait_until(lambda: read(tmp_path).seconds == 2.0, 10)  # type: ignore[union-attr]
    keeper.close()


def test_a_disk_that_hangs_holds_up_neither_the_sound_nor_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hangs, goes_on = threading.Event(), threading.Event()

    def hang(step: Step) -> None:
        if step.kind == "sync":
            hangs.set()
            goes_on.wait(30)

    with faulty_disk(hang):
        keeper = Keeper(tmp_path, MODEL)
        keeper.keep(content())
        assert hangs.wait(10)
        for _ in range(1000):
            keeper.keep(content())
        keeper.close(0.05)
        assert any("hangs" in said for said in warnings(caplog))
        goes_on.set()
        keeper._thread.join(10)
    assert not keeper._thread.is_alive()


def test_a_disk_that_is_full_is_told_once_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    answer, asked = FULL, []

    def refuse(step: Step) -> int | None:
        asked.append(step.kind)
        return answer or None

    with faulty_disk(refuse):
        keeper = Keeper(tmp_path, MODEL, period_seconds=0.0)
        for n in range(3):
            before = len(asked)
            keeper.keep(content(learned(float(n + 1))))
            wait_until(lambda before=before: len(asked) > before, 10)
        answer = 0
        keeper.keep(content(learned(9.0)))
        keeper.close(10.0)
    assert read(tmp_path).seconds == 9.0  # type: ignore[union-attr]
    assert len([said for said in warnings(caplog) if "cannot be saved" in said]) == 1


def test_what_a_full_disk_refused_is_written_when_there_is_room_though_all_is_silent(tmp_path: Path) -> None:
    refused = threading.Event()

    def refuse(step: Step) -> int:
        refused.set()
        return FULL

    keepers = Keeper(tmp_path / "later", MODEL, period_seconds=0.2), Keeper(tmp_path / "at the end", MODEL)
    for keeper, seconds in zip(keepers, (1.0, 2.0), strict=True):
        refused.clear()
        with faulty_disk(refuse):
            keeper.keep(content(learned(seconds)))
            assert refused.wait(10)
            wait_until(lambda keeper=keeper: keeper._latest is not None, 10)
    wait_until(lambda: read(tmp_path / "later") is not None, 10)
    for keeper in keepers:
        keeper.close(10.0)
    assert [read(tmp_path / name).seconds for name in ("later", "at the end")] == [1.0, 2.0]  # type: ignore[union-attr]


def test_the_end_tries_a_full_disk_once_more_and_no_longer(tmp_path: Path) -> None:
    with faulty_disk(lambda step: FULL):
        keeper = Keeper(tmp_path / "state", MODEL)
        keeper.keep(content())
        keeper.close(10.0)
    assert not keeper._thread.is_alive()

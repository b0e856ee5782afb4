"""Several sinks at once: none can stop another, and a file that stays small and whole whatever the disk does."""

from __future__ import annotations

import io
import json
import logging
import os
import resource
import stat
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectd.config.sections import FileConfig
from affectd.errors import ConfigError, UnavailableError
from affectd.events.sinks import JsonLines, RotatingFile, Several, as_line
from kept import Kept

EVENT = {"schema": 1, "type": "status"}
EVENT_LINE = json.dumps(EVENT).encode() + b"\n"


def lines(*paths: Path) -> list[Any]:
    return [json.loads(line) for path in paths for line in path.read_text("utf-8").splitlines()]


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    "failure",
    [UnavailableError("No room."), OSError(28, "No space left on device"), ValueError("I/O operation on closed file.")],
    ids=lambda failure: type(failure).__name__,
)
def test_a_sink_that_fails_stops_no_other_and_is_logged_when_it_begins_and_ends(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    sinks = [Kept(), Kept(), Kept()]
    several = Several([("the first", sinks[0]), ("the second", sinks[1]), ("the third", sinks[2])])
    for n in range(100):
        sinks[1].failure = failure if 10 <= n < 60 else None
        several.write({"n": n})
    everything = [{"n": n} for n in range(100)]
    assert sinks[0] == sinks[2] == everything
    assert sinks[1] == everything[:10] + everything[60:]
    assert messages(caplog) == [
        f"events do not reach the second: {failure}",
        "events reach the second again; it missed 50",
    ]


@given(failing=st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=30))
def test_each_sink_gets_all_that_it_can_take_in_order(failing: list[tuple[bool, bool, bool]]) -> None:
    sinks = [Kept(), Kept(), Kept()]
    several = Several([(str(n), sink) for n, sink in enumerate(sinks)])
    for n, failures in enumerate(failing):
        for sink, fails in zip(sinks, failures, strict=True):
            sink.failure = OSError("no") if fails else None
        several.write({"n": n})
    for index, sink in enumerate(sinks):
        assert sink == [{"n": n} for n, failures in enumerate(failing) if not failures[index]]


def test_a_reader_that_has_gone_is_given_up_and_the_last_one_ends_it_all(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ends = [os.pipe() for _ in range(2)]
    streams = [os.fdopen(write_end, "w") for _, write_end in ends]
    config = FileConfig(path=str(tmp_path / "events.jsonl"))
    several = Several([("the first", JsonLines(streams[0])), ("a file", RotatingFile(config))])
    several.write({"n": 0})
    os.close(ends[0][0])
    for n in range(1, 50):
        several.write({"n": n})
    assert lines(Path(config.path)) == [{"n": n} for n in range(50)]
    assert messages(caplog) == ["the reader of the first has closed it; events go to the other sinks"]

    last = Several([("the second", JsonLines(streams[1]))])
    os.close(ends[1][0])
    with pytest.raises(BrokenPipeError):
        last.write({})
    for stream in streams:
        with pytest.raises(BrokenPipeError):
            stream.close()  # what was not read is still in it


@given(sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=40), keep=st.integers(1, 4))
def test_no_file_grows_beyond_its_size_and_the_newest_events_are_there_in_order(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], keep: int
) -> None:
    path = tmp_path_factory.mktemp("events") / "events.jsonl"
    file = RotatingFile(FileConfig(path=str(path), max_mb=0.002, keep=keep))
    events = [EVENT | {"n": n, "text": "ä" * (size // 2)} for n, size in enumerate(sizes)]
    for event in events:
        file.write(event)
    old = [path.with_name(f"{path.name}.{number}") for number in range(keep, 0, -1)]
    there = [*(one for one in old if one.exists()), path]
    assert sorted(path.parent.iterdir()) == sorted(there)
    found = lines(*there)
    assert found == events[len(events) - len(found) :]
    if len(there) <= keep:
        assert found == events, "nothing goes before all the room is used"
    for one in there:
        assert one.stat().st_size <= 2000 or len(lines(one)) == 1


@pytest.mark.parametrize(("keep", "said"), [(1, "only 1 rotated file is kept"), (2, "only 2 rotated files are kept")])
def test_what_an_earlier_setting_kept_is_said_to_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, keep: int, said: str
) -> None:
    path = tmp_path / "events.jsonl"
    long = RotatingFile(FileConfig(path=str(path), max_mb=0.001, keep=3))
    for n in range(200):
        long.write(EVENT | {"n": n})
    assert (tmp_path / "events.jsonl.3").exists()
    RotatingFile(FileConfig(path=str(path), max_mb=0.001, keep=3))
    assert not messages(caplog)
    RotatingFile(FileConfig(path=str(path), max_mb=0.001, keep=keep))
    (message,) = messages(caplog)
    assert message == f"{path}.{keep + 1} is never deleted, because {said}: remove it, and those after it"


def test_a_restart_goes_on_with_the_file_and_half_a_line_spoils_itself_alone(tmp_path: Path) -> None:
    config = FileConfig(path=str(tmp_path / "events.jsonl"))
    RotatingFile(config).write(EVENT | {"n": 0})
    with open(config.path, "ab") as file:
        file.write(b'{"n": 1, "type": "emo')  # here the power went
    RotatingFile(config).write({"n": 2})
    RotatingFile(config).write({"n": 3})
    text = Path(config.path).read_text().splitlines()
    assert text == ['{"schema": 1, "type": "status", "n": 0}', '{"n": 1, "type": "emo', '{"n": 2}', '{"n": 3}']


def test_others_may_not_read_it_and_a_name_that_is_no_utf8_is_written_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    RotatingFile(FileConfig(path=str(path))).write({"path": "\udcff"})
    assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0
    assert lines(path) == [{"path": "\udcff"}]


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "loop", "below a file", "empty name"])
def test_a_path_that_can_never_work_is_an_error_of_the_configuration(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "events.jsonl"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)  # it has no reader: to open it would wait for ever
    elif kind == "device":
        path = Path("/dev/null")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "below a file":
        path.write_text("")
        path = path / "events.jsonl"
    else:
        path = tmp_path / ("x" * 300)
    with pytest.raises(ConfigError, match=r"^\[file\] path: .* cannot be written: .*\.$"):
        RotatingFile(FileConfig(path=str(path)))


def test_a_folder_that_may_be_mounted_later_is_waited_for_where_the_microphone_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "stick" / "affectd" / "events.jsonl"
    config = FileConfig(path=str(path))
    said = f"--trace: {path} cannot be written: its folder is missing; it is mistyped, or on a disk that is not mounted"
    with pytest.raises(UnavailableError) as failure:
        RotatingFile(config, "--trace")
    assert str(failure.value) == f"{said}."
    file = RotatingFile(config, "--trace", patient=True)
    assert messages(caplog) == [f"{said}; trying again at each event"]
    with pytest.raises(UnavailableError, match="No such file or directory"):
        file.write(EVENT)
    path.parent.mkdir(parents=True)
    file.write(EVENT)
    assert lines(path) == [EVENT]


def test_a_file_that_is_taken_away_is_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "stick"
    folder.mkdir()
    path = folder / "events.jsonl"
    file = RotatingFile(FileConfig(path=str(path)))
    file.write({"n": 0})
    path.rename(path.with_suffix(".taken"))
    file.write({"n": 1})
    assert lines(path) == [{"n": 1}]
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(UnavailableError, match="cannot be written: No such file or directory"):
        file.write({"n": 2})
    folder.mkdir()
    file.write({"n": 3})
    assert lines(path) == [{"n": 3}]


def test_a_link_stays_where_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link = tmp_path / "events.jsonl"
    link.symlink_to(tmp_path / "disk" / "events.jsonl")
    file = RotatingFile(FileConfig(path=str(link), max_mb=0.001, keep=2))
    for n in range(200):
        file.write(EVENT | {"n": n})
    assert link.is_symlink()
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == [
        "events.jsonl",
        "events.jsonl.1",
        "events.jsonl.2",
    ]


@pytest.mark.parametrize("failing_call", [1, 2, 3])
def test_a_renaming_that_fails_halfway_again_and_again_pushes_nothing_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_call: int
) -> None:
    path = tmp_path / "events.jsonl"
    file = RotatingFile(FileConfig(path=str(path), max_mb=0.001, keep=3))
    for number in (1, 2):
        path.with_name(f"{path.name}.{number}").write_text(json.dumps(EVENT | {"old": number}) + "\n")
    path.write_text(json.dumps(EVENT | {"text": "x" * 950}) + "\n")
    replace, n_calls = os.replace, 0

    def failing(*paths: Path) -> None:
        nonlocal n_calls
        n_calls += 1
        if n_calls >= failing_call:
            raise OSError(5, "Input/output error")
        replace(*paths)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", failing)
        for _ in range(5):
            with pytest.raises(UnavailableError, match="Input/output error"):
                file.write({"new": 0})
            assert path.stat().st_size < 1000  # and it does not grow meanwhile
    file.write({"new": 1})
    found = lines(*sorted(tmp_path.iterdir(), reverse=True))
    events = [EVENT | {"old": 2}, EVENT | {"old": 1}, EVENT | {"text": "x" * 950}]
    assert found == [*events, {"new": 1}]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a disk of 64 KiB and 8 files."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=8", "affectd", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a disk cannot be mounted here: {mounted.stderr.decode()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_spoils_no_line_and_is_written_again_when_there_is_room(
    small_disk: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = small_disk / "events.jsonl"
    other = small_disk / "other"
    other.write_bytes(bytes(40_000))
    kept = Kept()
    several = Several([("a file", RotatingFile(FileConfig(path=str(path)))), ("memory", kept)])
    for n in range(200):
        several.write({"n": n, "text": "x" * 333})
    n_before = len(lines(path))
    assert 20 < n_before < 100
    assert path.read_bytes().endswith(b"\n")
    other.unlink()
    for n in range(200, 210):
        several.write({"n": n})
    assert [event["n"] for event in lines(path)] == [*range(n_before), *range(200, 210)]
    assert [event["n"] for event in kept] == list(range(210))
    assert messages(caplog) == [
        f"events do not reach a file: {path} cannot be written: No space left on device.",
        f"events reach a file again; it missed {200 - n_before}",
    ]


def test_what_takes_a_part_of_an_event_says_why_it_takes_no_more(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    file = RotatingFile(FileConfig(path=str(path)))
    file.write(EVENT)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 5, before[1]))
    try:
        with pytest.raises(UnavailableError, match="File too large"):
            file.write(EVENT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(lines(path)) == 1
    assert path.read_bytes().endswith(b"\n")


def test_a_disk_that_is_full_at_the_start_is_waited_for(small_disk: Path) -> None:
    path = small_disk / "events.jsonl"
    with suppress(OSError):
        for n in range(9):
            (small_disk / str(n)).touch()
    with pytest.raises(OSError, match="No space left"):
        path.touch()
    file = RotatingFile(FileConfig(path=str(path)))
    with pytest.raises(UnavailableError, match="No space left"):
        file.write({"n": 0})
    (small_disk / "0").unlink()
    file.write({"n": 1})
    assert lines(path) == [{"n": 1}]


def test_a_disk_that_becomes_read_only_stops_nothing(small_disk: Path) -> None:
    path = small_disk / "events.jsonl"
    file = RotatingFile(FileConfig(path=str(path)))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(UnavailableError, match="Read-only file system"):
        file.write({"n": 0})
    # Where there never was a file it is a mistake: under systemd everything but a few folders is read-only.
    with pytest.raises(ConfigError, match="Read-only file system"):
        RotatingFile(FileConfig(path=str(small_disk / "other.jsonl")))
    again = RotatingFile(FileConfig(path=str(path)))  # as after a power cut
    with pytest.raises(UnavailableError, match="Read-only file system"):
        again.write({"n": 0})
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    file.write(EVENT | {"n": 1})
    again.write(EVENT | {"n": 2})
    assert lines(path) == [EVENT | {"n": 1}, EVENT | {"n": 2}]


FOREIGN = {
    "settings": b'[gate]\nmargin_db = 9\n# {"schema": 1, "type": "status"}\n',
    "a log of another program": b'{"level": "info", "type": "x"}\n' * 9,
    "a list": b'[{"schema": 1, "type": "status"}]\n',
    "one line without an end": b'{"schema": 1, "type": "status", "n": ' + b"0" * 70_000,
    "a recording": b"RIFF\x24\0\0\0WAVEfmt ",
    "zeros": bytes(1 << 17),
    "deep": b"[" * 60_000 + b"\n",
    "an empty line first": b"\n[gate]\n",
    "half an event and something else": b'{"schema": 1, "id"\nmine\n',
    "zeros and what is not printable": b"\0\0\1\0\x10\x10}\n",
    "zeros and text": b"\0\0\0mine\n",
    "a password": b"secret",
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("way", ["itself", "symbolic link", "hard link", "rotated"])
def test_a_file_that_holds_something_else_is_refused_and_left_as_it_is(tmp_path: Path, name: str, way: str) -> None:
    other = tmp_path / ("events.jsonl.2" if way == "rotated" else "other")
    other.write_bytes(FOREIGN[name])
    path = tmp_path / "events.jsonl"
    if way == "itself":
        path = other
    elif way == "symbolic link":
        path.symlink_to(other)
    elif way == "hard link":
        path.hardlink_to(other)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ConfigError, match=r"^\[file\] path: .* something else than events of affectd\.$"):
        RotatingFile(FileConfig(path=str(path)))
    assert other.read_bytes() == FOREIGN[name]
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 500,
        b'{"sch',
        b'{"schema": 1, "id": "4',
        b"\0" * 99 + b'{"schema": 1',
        # Zeros in place of the first sector, or of one in the middle.
        b"\0" * 512 + b'\xa4ppy"}\n' + EVENT_LINE,
        b'{"sch' + b"\0" * 512 + b'"happy"}\n' + EVENT_LINE,
        # Of two power cuts.
        b'{"sch\n' + EVENT_LINE + b'{"schema": 1, "id": "4\n' + EVENT_LINE,
    ],
)
def test_what_a_power_cut_leaves_of_events_is_gone_on_with(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(content)
    RotatingFile(FileConfig(path=str(path))).write(EVENT)
    RotatingFile(FileConfig(path=str(path))).write(EVENT)
    assert path.read_bytes().startswith(content)
    assert [json.loads(line) for line in path.read_bytes().splitlines()[-2:]] == [EVENT, EVENT]


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("file", "something else than events"),
        ("folder", "Is a directory"),
        ("pipe", "a pipe, socket or device, not a regular file"),
        ("link", "a link, not a regular file"),
    ],
)
def test_rotation_overwrites_nothing_that_came_meanwhile(tmp_path: Path, kind: str, what: str) -> None:
    path = tmp_path / "events.jsonl"
    file = RotatingFile(FileConfig(path=str(path), max_mb=0.001, keep=1))
    file.write(EVENT | {"text": "x" * 950})
    other = tmp_path / "events.jsonl.1"
    if kind == "file":
        other.write_bytes(b"mine")
    elif kind == "folder":
        other.mkdir()
    elif kind == "pipe":
        os.mkfifo(other)
    else:
        other.symlink_to("nowhere")
    found = other.lstat()
    with pytest.raises(UnavailableError, match=rf"events\.jsonl\.1, which it would become.*{what}"):
        file.write(EVENT)
    assert other.lstat() == found
    with pytest.raises(ConfigError, match=rf"events\.jsonl\.1, which it would become.*{what}"):
        RotatingFile(FileConfig(path=str(path), keep=1))


def test_another_file_in_its_place_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    file = RotatingFile(FileConfig(path=str(path)))
    file.write(EVENT)
    path.rename(tmp_path / "moved")
    path.write_bytes(b"mine")
    with pytest.raises(UnavailableError, match="something else than events"):
        file.write(EVENT)
    assert path.read_bytes() == b"mine"
    path.unlink()
    file.write(EVENT)
    assert lines(path) == [EVENT]


HOSTILE = "a\x1b[31m\x9b\x7f\u202e\u2028\U000e0001\udcff\n.wav"


def test_what_a_terminal_would_obey_is_escaped_in_lines_that_stay_json() -> None:
    line = as_line({"path": HOSTILE, "ä": "é✓"})
    assert line.isprintable()
    assert "é✓" in line
    assert json.loads(line) == {"path": HOSTILE, "ä": "é✓"}
    stream = io.StringIO()
    JsonLines(stream).write_text(f"one\n{HOSTILE}")
    assert stream.getvalue().split("\n") == [
        "one",
        r"a\x1b[31m\x9b\x7f\u202e\u2028\U000e0001\udcff",
        ".wav",
        "",
    ]

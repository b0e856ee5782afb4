"""The download from a real server: it goes on where it broke, and takes not one byte more than was signed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from affectd.delivery.download import WAITS, download
from affectd.delivery.message import RefusedError
from affectd.errors import UnavailableError
from faulty_disk import FULL, PART, Step, faulty_disk
from fleet import Files

CONTENT = bytes(range(256)) * 2000


@pytest.fixture
def files() -> Iterator[Files]:
    with Files() as files:
        yield files


def fetch(url: str, part: Path, n_bytes: int = len(CONTENT)) -> list[float]:
    waited: list[float] = []
    download(url, n_bytes, part, wait=waited.append)
    return waited


def test_it_goes_on_where_it_broke(files: Files, tmp_path: Path) -> None:
    files.breaks = [100_000, 0, 200_000]
    waited = fetch(files.put("m", CONTENT), tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == CONTENT
    assert [asked for _, asked in files.asked] == [None, "bytes=100000-", "bytes=100000-", "bytes=300000-"]
    assert waited == [WAITS[0], WAITS[1], WAITS[0]]


def test_it_goes_on_after_a_restart(files: Files, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(CONTENT[:1234])
    fetch(files.put("m", CONTENT), tmp_path / "part")
    assert files.asked == [("m", "bytes=1234-")]
    assert (tmp_path / "part").read_bytes() == CONTENT


def test_a_server_without_ranges_begins_again(files: Files, tmp_path: Path) -> None:
    files.has_ranges, files.breaks = False, [300_000]
    fetch(files.put("m", CONTENT), tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == CONTENT


def test_another_part_than_was_asked_for_is_not_taken(files: Files, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(CONTENT[:1234])
    files.shift = 256
    with pytest.raises(UnavailableError, match="another part"):
        fetch(files.put("m", CONTENT), tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == CONTENT[:1234]


@pytest.mark.parametrize("had", [0, 1000, 600_000 - 1])
@pytest.mark.parametrize("n_bytes", [len(CONTENT) - 1, len(CONTENT) + 1, 600_000])
def test_another_size_is_refused(files: Files, tmp_path: Path, n_bytes: int, had: int) -> None:
    (tmp_path / "part").write_bytes(bytes(min(had, n_bytes - 1)))
    with pytest.raises(RefusedError) as refused:
        fetch(files.put("m", CONTENT), tmp_path / "part", n_bytes)
    assert (refused.value.why, refused.value.is_final) == ("size", False)
    assert not (tmp_path / "part").exists()


def test_a_server_that_does_not_answer_is_given_up(files: Files, tmp_path: Path) -> None:
    url = files.put("m", CONTENT)
    with pytest.raises(UnavailableError, match="404"):
        fetch(url + "x", tmp_path / "part")
    assert len(files.asked) == 1 + len(WAITS)
    for other in ("http://127.0.0.1:1/m", "http://nowhere.invalid/m", "http://[/m", "http://127.0.0.1:99999/m"):
        with pytest.raises(UnavailableError, match="cannot be downloaded"):
            fetch(other, tmp_path / "part")


def test_a_disk_that_is_full_gets_its_room_back_and_the_server_is_not_blamed(files: Files, tmp_path: Path) -> None:
    waited: list[float] = []
    for kind in ("open", "write"):
        with (
            faulty_disk(lambda step, kind=kind: FULL if step.kind == kind else None),
            pytest.raises(UnavailableError, match=rf"^{tmp_path} cannot be written: No space left on device$"),
        ):
            download(files.put("m", CONTENT), len(CONTENT), tmp_path / "part", wait=waited.append)
        assert not list(tmp_path.iterdir())
    assert not waited, "it is full a second later, too"


def test_what_a_disk_takes_in_parts_is_whole(files: Files, tmp_path: Path) -> None:
    answers = iter([PART, None, PART])

    def write_a_part(step: Step) -> int | None:
        return next(answers, None) if step.kind == "write" else None

    with faulty_disk(write_a_part):
        assert fetch(files.put("m", CONTENT), tmp_path / "part") == []
    assert (tmp_path / "part").read_bytes() == CONTENT

"""Lists and tables of archives that are not as they should be: a sentence each, nothing taken for what it is not."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from affectd.errors import DataError, NoInputError

pyarrow = pytest.importorskip("pyarrow", reason="no pyarrow: pip install 'affectd[ray]'")
pytest.importorskip("fsspec", reason="no fsspec: pip install 'affectd[ray]'")


def opened(folder: Path) -> None:
    from affectd_train.archive import table
    from affectd_train.archive.worker import schema

    with table.opened(folder, schema(("happy", "sad"), is_timed=False), {"schema": 1}):
        pass


def test_a_list_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    from affectd_train.archive.sources import recordings_of

    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfa.wav\r\nb.wav\r\n")
    found = recordings_of(str(tmp_path / "list.txt"))
    assert [(one.path, one.location) for one in found] == [(name, str(tmp_path / name)) for name in ("a.wav", "b.wav")]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_list_may_be_in_utf_16_as_powershell_writes_it(encoding: str, tmp_path: Path) -> None:
    from affectd_train.archive.sources import recordings_of

    (tmp_path / "list.txt").write_bytes("\ufeffgrün.wav\r\nb.wav\r\n".encode(encoding))
    found = recordings_of(str(tmp_path / "list.txt"))
    assert [(one.path, one.location) for one in found] == [
        (name, str(tmp_path / name)) for name in ("grün.wav", "b.wav")
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfea\0\n", "not UTF-16, as it says it is"),
        ("a.wav\nb.wav\n".encode("utf-16-le"), "no text with a path on each line; save it as UTF-8"),
    ],
)
def test_a_list_that_is_no_text_is_one_line(content: bytes, words: str, tmp_path: Path) -> None:
    from affectd_train.archive.sources import recordings_of

    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(DataError) as raised:
        recordings_of(str(tmp_path / "list.txt"))
    assert str(raised.value) == f"{tmp_path}/list.txt: {words}"


@pytest.mark.parametrize("names", [["Path"], ["path", "path"], ["a", "b"]])
def test_parquet_without_one_column_path_is_one_line(names: list[str], tmp_path: Path) -> None:
    import pyarrow.parquet

    from affectd_train.archive.sources import recordings_of

    table = pyarrow.Table.from_arrays([pyarrow.array(["a.wav"])] * len(names), names=names)
    pyarrow.parquet.write_table(table, tmp_path / "list.parquet")
    with pytest.raises(DataError) as raised:
        recordings_of(str(tmp_path / "list.parquet"))
    assert str(raised.value) == f"{tmp_path}/list.parquet: needs one column path, found {', '.join(names)}"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing", "no such file or folder"),
        ("dangling", "a link to nothing"),
        ("loop", "cannot be read (Too many levels of symbolic links)"),
        ("pipe", "neither a file nor a folder"),
        ("socket", "neither a file nor a folder"),
        ("/dev/zero", "neither a file nor a folder"),
    ],
)
def test_what_is_no_archive_is_said_as_it_is(name: str, words: str, tmp_path: Path) -> None:
    from affectd_train.archive.sources import recordings_of

    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        with pytest.raises(NoInputError) as raised:
            recordings_of(str(tmp_path / name))
    assert str(raised.value) == f"{tmp_path / name}: {words}"


PATTERNS = {
    "closed/*.wav": ("", "closed/*.wav: no recording in it; closed may not be read by this user"),
    "*/*.wav": ("open/a.wav", "skipped closed: a folder that may not be read by this user (in .)"),
    "op*/*/*.wav": ("open/deep/a.wav", "skipped closed: a folder that may not be read by this user (in open)"),
    "open/**/a.wav": ("open/a.wav open/deep/a.wav", "skipped closed: a folder that may not be read by this user"),
    "open/*.wav": ("open/a.wav", ""),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="root reads everything: needs root to become another user")
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_folder_that_a_pattern_may_not_look_into_is_said(pattern: str, tmp_path: Path) -> None:
    for folder in ("closed", "open/closed", "open/deep", "open"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "a.wav").touch()
    for folder in ("closed", "open/closed"):
        (tmp_path / folder).chmod(0)
    for one in (tmp_path, *tmp_path.parents):
        if one == Path(tempfile.gettempdir()):
            break
        one.chmod(0o755)
    code = "import os, sys; from affectd_train.archive.sources import recordings_of; os.setuid(65534)\n"
    code += "from affectd.errors import NoInputError\n"
    code += "try: print(*(os.path.relpath(one.path) for one in recordings_of(sys.argv[1])))\n"
    code += "except NoInputError as error: print(error, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code, pattern], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    found, said = PATTERNS[pattern]
    assert done.stdout.strip() == found
    assert said in done.stderr
    assert done.stderr.count("\n") == bool(said)


@pytest.mark.parametrize("content", ["[1]", "5", "null", '"x"', "{"])
def test_a_damaged_note_of_a_table_is_said(content: str, tmp_path: Path) -> None:
    opened(tmp_path / "table")
    (tmp_path / "table/_archive.json").write_text(content)
    with pytest.raises(DataError, match=r"_archive\.json: damaged"):
        opened(tmp_path / "table")


def test_a_copy_of_a_part_is_named(tmp_path: Path) -> None:
    opened(tmp_path / "table")
    shutil.copy(tmp_path / "table/part-000000.parquet", tmp_path / "table/part-000000 (1).parquet")
    with pytest.raises(DataError, match=r"part-000000 \(1\)\.parquet: not a part of this table"):
        opened(tmp_path / "table")

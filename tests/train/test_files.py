"""Files are written whole or not at all, and listed whatever the case of their names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from affectd_train.files import write_array, write_arrays, write_json, written_whole
from affectd_train.folders import audio_files
from disks import mounted


def test_recordings_are_listed_at_any_depth_and_in_any_case(tmp_path: Path) -> None:
    for name in ("b.wav", "A.WAV", "deep/er/c.Flac", "d.opus", "e.ogg", "ABOUT.md", "f.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    listed = [path.relative_to(tmp_path).as_posix() for path in audio_files(tmp_path)]
    assert listed == ["A.WAV", "b.wav", "d.opus", "deep/er/c.Flac", "e.ogg"]
    assert audio_files(tmp_path / "nowhere") == []


def test_an_interrupted_write_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "fit.json"
    write_json(file, {"seed": 1})

    def interrupted() -> None:
        with written_whole(file) as beside:
            beside.write_text("{")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert file.read_text() == '{\n "seed": 1\n}\n'


def test_two_processes_that_write_it_at_once_do_not_tear_it(tmp_path: Path) -> None:
    file = tmp_path / "fit.json"
    other = "import sys, pathlib; from affectd_train.files import write_json; write_json(pathlib.Path(sys.argv[1]), 2)"
    with written_whole(file) as beside:
        beside.write_text("half")
        subprocess.run([sys.executable, "-c", other, str(file)], check=True)
        with beside.open("a") as rest:
            rest.write(" and half")
    assert file.read_text() == "half and half"
    assert [path.name for path in tmp_path.iterdir()] == ["fit.json"]


def test_a_disk_that_may_only_be_read_from_then_on_is_said_of_the_file_itself(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=256k", "tmpfs") as disk:

        def write() -> None:
            with written_whole(disk / "card.md") as beside:
                beside.write_text("half")
                subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)

        for _ in range(2):
            with pytest.raises(OSError, match=r"/card\.md: cannot be written \(Read-only file system\)"):
                write()


@pytest.mark.parametrize("n_numbers", [612, 1000, 5000])
def test_an_array_is_written_to_its_last_number_or_not_at_all(tmp_path: Path, n_numbers: int) -> None:
    file = tmp_path / "a.npy"
    # A limit of the system ends the file as a full disk does, in the middle of a piece.
    limited = (
        "import pathlib, resource, sys, numpy; from affectd_train.files import write_array\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "write_array(pathlib.Path(sys.argv[1]), numpy.zeros(int(sys.argv[2])))"
    )
    command = [sys.executable, "-c", limited, str(file), str(n_numbers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr.endswith(f"OSError: {file}: cannot be written (File too large)\n")
    assert not list(tmp_path.iterdir())
    write_array(file, np.zeros(n_numbers))
    assert len(np.load(file)) == n_numbers


def test_arrays_are_written_into_a_new_folder(tmp_path: Path) -> None:
    write_arrays(tmp_path / "cache" / "a.npz", rows=np.arange(3), edges=[0, 3])
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["a.npz"]
    with np.load(tmp_path / "cache" / "a.npz") as stored:
        assert stored["rows"].tolist() == [0, 1, 2]
        assert stored["edges"].tolist() == [0, 3]

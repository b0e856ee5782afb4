"""Files are written whole or not at all, listed whatever the case of their names, computed on all cores in order."""

from __future__ import annotations

import operator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from affectd_train.files import in_parallel, write_arrays, write_json, written_whole
from affectd_train.folders import audio_files


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


def test_arrays_are_written_into_a_new_folder(tmp_path: Path) -> None:
    write_arrays(tmp_path / "cache" / "a.npz", rows=np.arange(3), edges=[0, 3])
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["a.npz"]
    with np.load(tmp_path / "cache" / "a.npz") as stored:
        assert stored["rows"].tolist() == [0, 1, 2]
        assert stored["edges"].tolist() == [0, 3]


def test_results_come_in_the_order_of_the_items() -> None:
    assert list(in_parallel(partial(operator.mul, 2), range(50), "doubled")) == list(range(0, 100, 2))

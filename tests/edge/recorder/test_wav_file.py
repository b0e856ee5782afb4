"""The file of a recording: read back by others, kept when anything fails, and never in place of another file."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from affectd.audio.wav import WavReader
from affectd.errors import UnavailableError, UsageError
from affectd.recorder.wav_file import WavFile, write_new


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, n).astype(np.float32)


def stored(samples: np.ndarray) -> np.ndarray:
    """The 16-bit steps of samples, rounded to the nearest."""
    return np.rint(samples.astype(np.float64) * 32768).clip(-32768, 32767).astype(np.int16)


def recorded(path: Path, samples: np.ndarray, rate: int = 16000) -> Path:
    with WavFile(path, rate) as file:
        file.write(samples)
        file.complete()
    return path


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=8).filter(any), st.sampled_from([8000, 16000, 44100]))
def test_other_programs_read_what_was_written_in_blocks_of_any_length(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], rate: int
) -> None:
    path = tmp_path_factory.mktemp("recording") / "talk.wav"
    blocks = [noise(n, seed) * 1.1 for seed, n in enumerate(lengths)]
    with WavFile(path, rate) as file:
        for block in blocks:
            file.write(block)
        assert np.array_equal(np.concatenate([*file]), stored(np.concatenate(blocks)) / np.float32(32768))
        file.complete()
    samples, read_rate = soundfile.read(path, dtype="int16")
    assert read_rate == rate
    assert np.array_equal(samples, stored(np.concatenate(blocks)))
    with wave.open(str(path)) as other:
        assert (other.getnchannels(), other.getsampwidth(), other.getnframes()) == (1, 2, sum(lengths))
    assert path.stat().st_size == 44 + 2 * sum(lengths)


@given(st.integers(1, 100_000), st.data())
def test_a_part_is_kept_and_the_rest_is_gone(
    tmp_path_factory: pytest.TempPathFactory, n: int, data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, n - 1))
    stop = data.draw(st.integers(first + 1, n))
    path, samples = tmp_path_factory.mktemp("recording") / "talk.wav", noise(n)
    with WavFile(path, 16000) as file:
        file.write(samples)
        file.keep(first, stop)
        file.complete()
    assert np.array_equal(soundfile.read(path, dtype="int16")[0], stored(samples)[first:stop])
    assert path.stat().st_size == 44 + 2 * (stop - first)


def test_it_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with WavFile(tmp_path / "talk.wav", 16000) as file:
            assert stat.S_IMODE((tmp_path / "talk.wav.part").stat().st_mode) == 0o600
            file.write(noise(10))
            file.complete()
        write_new(tmp_path / "talk.json", b"{}")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()] == [0o600, 0o600]


def test_what_a_killed_program_leaves_can_be_read_to_its_end(tmp_path: Path) -> None:
    np.save(tmp_path / "noise.npy", noise(20000))
    code = (
        "import os, sys\nfrom pathlib import Path\nimport numpy as np\n"
        "from affectd.recorder.wav_file import WavFile\n"
        "file = WavFile(Path(sys.argv[1]), 16000)\n"
        "file.write(np.load(sys.argv[2]))\n"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "talk.wav", tmp_path / "noise.npy"], check=False)
    assert done.returncode == -9
    (tmp_path / "noise.npy").unlink()
    assert [path.name for path in tmp_path.iterdir()] == ["talk.wav.part"]
    (tmp_path / "talk.wav.part").rename(tmp_path / "mended.wav")
    heard = np.concatenate([*WavReader(tmp_path / "mended.wav")])[:, 0]
    assert np.array_equal(heard * 32768, stored(noise(20000)))


def test_a_recording_without_a_sample_leaves_nothing(tmp_path: Path) -> None:
    with WavFile(tmp_path / "talk.wav", 16000):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_came_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    with WavFile(tmp_path / "talk.wav", 16000) as file:
        file.write(noise(100))
        (tmp_path / "talk.wav").write_text("mine")
        with pytest.raises(UsageError, match=r"was made meanwhile; what belongs there is in .*talk\.wav\.part"):
            file.complete()
    assert (tmp_path / "talk.wav").read_text() == "mine"
    assert np.array_equal(soundfile.read(tmp_path / "talk.wav.part", dtype="int16")[0], stored(noise(100)))
    (tmp_path / "talk.json").symlink_to("nowhere")
    with pytest.raises(UsageError, match=r"was made meanwhile; what belongs there is in .*talk\.json\.part"):
        write_new(tmp_path / "talk.json", b"{}")
    assert (tmp_path / "talk.json.part").read_bytes() == b"{}"
    names = ["talk.json", "talk.json.part", "talk.wav", "talk.wav.part"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_a_memory_stick_that_knows_no_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    recorded(tmp_path / "talk.wav", noise(100))
    assert [path.name for path in tmp_path.iterdir()] == ["talk.wav"]
    with pytest.raises(UsageError, match="was made meanwhile"):
        recorded(tmp_path / "talk.wav", noise(200))
    assert len(soundfile.read(tmp_path / "talk.wav")[0]) == 100


def test_two_recordings_of_one_name_do_not_mix(tmp_path: Path) -> None:
    with WavFile(tmp_path / "talk.wav", 16000) as file:
        file.write(noise(100))
        with pytest.raises(UsageError, match=r"talk\.wav\.part is there: a recording that goes on"):
            WavFile(tmp_path / "talk.wav", 16000)
        file.complete()
    assert len(soundfile.read(tmp_path / "talk.wav")[0]) == 100


def test_a_disk_that_is_full_from_the_beginning_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pwrite(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    n_open = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(UnavailableError, match=r"talk\.wav cannot be written: No space left on device"):
        WavFile(tmp_path / "talk.wav", 16000)
    assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == n_open


@pytest.mark.parametrize("n_bytes", [0, 1, 7, 8])
def test_a_disk_that_fills_keeps_whole_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_bytes: int) -> None:
    """As Linux does it: a write at the end of a disk takes what fits, and the next one fails."""
    true, room = os.pwrite, 44 + 2000 + n_bytes

    def pwrite(file: int, data: bytes, offset: int) -> int:
        if data and offset >= room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return true(file, bytes(data)[: room - offset], offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    path = tmp_path / "talk.wav"
    with WavFile(path, 16000) as file:
        file.write(noise(1000))
        with pytest.raises(UnavailableError, match=r"talk\.wav cannot be written: No space left on device"):
            file.write(noise(1000, seed=1))
        file.complete()
    samples = soundfile.read(path, dtype="int16")[0]
    assert np.array_equal(samples, np.concatenate([stored(noise(1000)), stored(noise(1000, seed=1))[: n_bytes // 2]]))
    assert path.stat().st_size == 44 + 2 * len(samples)


def test_a_file_beside_it_that_does_not_fit_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sync(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(UnavailableError, match=r"talk\.json cannot be written: No space left"):
        write_new(tmp_path / "talk.json", b"{}")
    assert list(tmp_path.iterdir()) == []

"""Of a folder every recording is found, through links too, and of everything else is said why it is left out."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

import tiny_corpora
from affectd.errors import DataError
from affectd.folders import Skipped, walk
from affectd_train.augmentation.waveform import Augmenter
from affectd_train.cli import main
from affectd_train.data.corpora import find_corpora, read_corpus
from affectd_train.data.noise import noise_recordings, room_responses
from affectd_train.data.recordings import read_audio, read_each
from affectd_train.folders import audio_files, fingerprint, say_skipped


def listed(root: Path) -> tuple[list[str], dict[str, str]]:
    """Return files and what was left out, by their paths in the folder."""
    files, skipped = walk(root)
    return [f.relative_to(root).as_posix() for f in files], {s.path.relative_to(root).as_posix(): s[1] for s in skipped}


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    touch(tmp_path / "store/blob", tmp_path / "other/deep/b.wav")
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.wav").symlink_to(tmp_path / "store/blob")
    (root / "linked").symlink_to(tmp_path / "other")
    assert listed(root) == (["a.wav", "linked/deep/b.wav"], {})
    (tmp_path / "way in").symlink_to(root)
    assert listed(tmp_path / "way in")[0] == ["a.wav", "linked/deep/b.wav"]


def test_links_that_lead_back_end_and_bring_nothing_in_from_above(tmp_path: Path) -> None:
    root = tmp_path / "data/noise"
    touch(root / "a.wav", tmp_path / "data/ravdess/x.wav", tmp_path / "far/b.wav")
    (root / "here").symlink_to(".")
    (root / "up").symlink_to(tmp_path / "data")
    (root / "far").symlink_to(tmp_path / "far")
    (tmp_path / "far/home").symlink_to(root)
    (tmp_path / "far/self").symlink_to("self")
    files, skipped = listed(root)
    assert files == ["a.wav", "far/b.wav"]
    assert set(skipped) == {"here", "up", "far/home", "far/self"}
    assert "link back" in skipped["up"]


def test_a_thicket_of_links_is_read_once(tmp_path: Path) -> None:
    for level in range(30):  # by way of the links there are 2^30 paths to the last folder
        folder = tmp_path / f"{level}"
        folder.mkdir()
        for name in "ab":
            (folder / name).symlink_to(tmp_path / f"{level + 1}")
    touch(tmp_path / "30/x.wav")
    (tmp_path / "root").symlink_to("0")
    assert len(walk(tmp_path / "root").files) == 1


def test_a_folder_is_read_where_it_lies_and_not_where_a_link_to_it_is(tmp_path: Path) -> None:
    for speaker in ("DC", "KL"):
        tiny_corpora.write(tmp_path / "AudioData" / speaker / "a01.wav", tiny_corpora.voice(200))
    (tmp_path / "AAA").symlink_to("AudioData/DC")  # before it in order, and its name says no speaker
    corpus = read_corpus("savee", tmp_path)
    assert [clip.speaker for clip in corpus.clips] == ["savee-dc", "savee-kl"]
    assert corpus.skipped == [Skipped(tmp_path / "AAA", "a link to a folder that is read already")]


def test_what_is_no_file_is_left_out_without_being_opened(tmp_path: Path) -> None:
    touch(tmp_path / "a.WAV", tmp_path / "._a.WAV", tmp_path / ".git/b.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "zero.wav").symlink_to("/dev/zero")
    (tmp_path / "gone.wav").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.wav"))
        files, skipped = listed(tmp_path)
    assert files == ["a.WAV"]
    assert skipped == {
        "._a.WAV": "a hidden file",
        ".git": "a hidden folder",
        "pipe.wav": "a named pipe, not a file",
        "zero.wav": "a device, not a file",
        "gone.wav": "a link to nothing",
        "socket.wav": "a socket, not a file",
    }
    with pytest.raises(DataError, match="not a regular file"):
        read_audio(tmp_path / "pipe.wav", 16000)


@pytest.mark.skipif(os.geteuid() != 0, reason="root reads everything: needs root to become another user")
def test_what_may_not_be_read_is_said(tmp_path: Path) -> None:
    touch(tmp_path / "closed/a.wav", tmp_path / "b.wav", tmp_path / "c.wav")
    (tmp_path / "closed").chmod(0)
    (tmp_path / "b.wav").chmod(0)
    for folder in (tmp_path, *tmp_path.parents):
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)
    code = "import sys; from pathlib import Path; from affectd_train.folders import audio_files\n"
    code += "from os import setuid; setuid(65534); print(*(p.name for p in audio_files(Path(sys.argv[1]))))"
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout == "c.wav\n"
    assert "skipped closed: a folder that cannot be read (Permission denied)" in done.stderr
    assert "skipped b.wav: may not be read by this user" in done.stderr


def test_every_reason_is_one_line_with_a_count_and_an_example(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    skipped = [Skipped(tmp_path / f"{n}.wav", f"ends after {n} of 900 samples") for n in range(30)]
    for _ in range(2):
        say_skipped("noise", [*skipped, Skipped(tmp_path / "x\n\x1b[2J\udcff.wav", "a socket")])
    said = capsys.readouterr().err.splitlines()
    assert said == [
        f"noise: skipped 30 files, such as 0.wav: ends after 0 of 900 samples (in {tmp_path})",
        f"noise: skipped x\\n\\x1b[2J\\udcff.wav: a socket (in {tmp_path})",
    ]


def test_what_is_no_recording_is_said_of_noise_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    touch(*(tmp_path / name for name in ("a.mp3", "b.M4A", "c.AIFF", "d.m4a", "e.txt", "f.avi", "g.ZIP", "h.wav.part")))
    assert [path.name for path in audio_files(tmp_path)] == ["a.mp3", "c.AIFF"]
    said = capsys.readouterr().err
    assert "skipped 2 files, such as b.M4A: soundfile does not read .m4a; convert it first: ffmpeg -i IN.m4a" in said
    assert "skipped f.avi: soundfile does not read .avi; convert it first: ffmpeg -i IN.avi" in said  # as in eNTERFACE
    assert "skipped e.txt: not an audio file" in said
    assert "skipped g.ZIP: an archive, into which nothing looks: unpack it" in said
    assert "skipped h.wav.part: a download that is not complete" in said


def test_a_replaced_file_of_the_same_size_and_time_has_another_fingerprint(tmp_path: Path) -> None:
    file, copy = tmp_path / "a.wav", tmp_path / "b.wav"
    file.write_bytes(b"one")
    before, times = fingerprint(file), (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    copy.write_bytes(b"one")
    assert fingerprint(copy) == before
    copy.write_bytes(b"two")
    os.utime(copy, ns=times)
    copy.replace(file)
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (3, times[1])
    assert fingerprint(file) != before
    assert "unreadable" in fingerprint(tmp_path / "gone")


def damaged_noise(folder: Path) -> None:
    """One good recording of noise, and one damaged in every way."""
    rng = np.random.default_rng(0)
    tiny_corpora.write(folder / "car/good.WAV", rng.normal(0, 0.1, 32000).astype(np.float32))
    tiny_corpora.write(folder / "car/cut.flac", rng.normal(0, 0.1, 32000).astype(np.float32))
    whole = (folder / "car/cut.flac").read_bytes()
    (folder / "car/cut.flac").write_bytes(whole[:20000])
    endless = bytearray(whole)
    endless[21:26] = bytes([endless[21] | 0x0F]) + b"\xff" * 4  # promises 2^36 samples
    (folder / "car/endless.flac").write_bytes(endless)
    (folder / "car/text.wav").write_text("not a sound")
    (folder / "car/empty.wav").touch()
    soundfile.write(folder / "car/nan.wav", np.array([0, np.nan]), 16000, subtype="FLOAT")
    soundfile.write(folder / "car/slow.wav", np.zeros(10), 1)
    tiny_corpora.write(folder / "Impulse_Responses/room.wav", np.r_[1.0, np.zeros(99)].astype(np.float32))
    (folder / "Impulse_Responses/text.wav").write_text("not a sound")
    os.mkfifo(folder / "car/pipe.wav")


def test_a_damaged_noise_file_is_left_out_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged_noise(tmp_path)
    assert [path.name for path, _ in read_each(noise_recordings(tmp_path), 16000, "noise")] == ["good.WAV"]
    said = capsys.readouterr().err
    for name in ("cut.flac", "endless.flac", "nan.wav", "slow.wav", "pipe.wav", "2 files, such as empty.wav"):
        assert f"skipped {name}" in said
    augmenter = Augmenter(tmp_path, tmp_path / "Impulse_Responses")
    assert [path.name for path in augmenter.noises] == ["good.WAV"]
    assert [path.name for path in augmenter.responses] == ["room.wav"]
    assert len(room_responses(tmp_path)) == 2


def test_folders_are_found_whatever_lies_beside_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "CREMA-D").mkdir()
    (tmp_path / "cremad").symlink_to("CREMA-D")
    (tmp_path / ".ravdess").mkdir()
    (tmp_path / "ravdess").symlink_to("/nowhere/ravdess")
    (tmp_path / "tess").touch()
    assert find_corpora(tmp_path) == {"cremad": tmp_path / "CREMA-D"}
    said = capsys.readouterr().err
    assert "skipped ravdess: a link to nothing" in said
    assert "skipped tess: not a folder" in said


@pytest.mark.parametrize("corpus", ["emodb", "cremad"])
def test_names_in_upper_case_throughout_are_the_same_names(corpus: str, tmp_path: Path) -> None:
    names = {"emodb": ("03a01Fa.wav", "08b10Nb.wav"), "cremad": ("1001_DFA_ANG_XX.wav", "1002_IEO_SAD_HI.wav")}
    folders = tmp_path / "as it is", tmp_path / "upper"
    for name in names[corpus]:
        tiny_corpora.write(folders[0] / name, tiny_corpora.voice(200))
        (folders[1]).mkdir(exist_ok=True)
        (folders[1] / name.upper()).write_bytes((folders[0] / name).read_bytes())
    as_it_is, upper = (
        [(c.speaker, c.gender, c.emotion, c.text) for c in read_corpus(corpus, f).clips] for f in folders
    )
    assert upper == as_it_is
    assert len(upper) == 2


def test_training_goes_on_without_the_damaged_noise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], small_network: None
) -> None:
    tiny_corpora.emodb(tmp_path / "far")
    (tmp_path / "EmoDB").symlink_to(tmp_path / "far/emodb")
    damaged_noise(tmp_path / "Noise")
    monkeypatch.chdir(tmp_path)
    numbers = ("pretrain_steps=1", "finetune_steps=1", "batch_size=4", "augmented_copies=1")
    settings = [word for number in numbers for word in ("--set", number)]
    assert main(["fit", "--data", ".", "--out", "run", "--cache", "cache", *settings]) == 0
    said = capfd.readouterr().err
    assert "emodb: 18 clips" in said
    assert "skipped cut.flac" in said
    assert "speech: not in ." in said

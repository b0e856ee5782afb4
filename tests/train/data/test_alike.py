"""One recording in two files is noticed, whatever the files are; two takes of one sentence are two recordings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

import tiny_corpora
from affectd_train.cli import main
from affectd_train.data import inspection
from affectd_train.data.alike import LONGEST_SECONDS, Heard, alike, hear
from affectd_train.data.corpora import read_corpus
from affectd_train.data.recordings import load_audio

RATE = 16000


def whole(name: str, blocks: list[np.ndarray], rate: int = RATE) -> Heard:
    return hear(name, blocks, sum(map(len, blocks)) / rate, rate)


KINDS = {"mp3": ("MP3", None), "ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"), "aiff": ("AIFF", "PCM_16")}


@pytest.mark.parametrize("kind", KINDS)
def test_inspect_notes_what_was_encoded_again(
    kind: str, speech_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    clips = read_corpus("ravdess", speech_data / "ravdess").clips[:8]
    for number, clip in enumerate(clips):
        folder = tmp_path / "data" / clip.emotion
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{number}.flac", load_audio(clip, RATE), RATE)
    form, subtype = KINDS[kind]
    (again := tmp_path / "data/sad").mkdir(exist_ok=True)
    soundfile.write(again / f"9.{kind}", 0.25 * load_audio(clips[3], RATE), RATE, subtype=subtype, format=form)
    assert main(["inspect", str(tmp_path / "data"), "--json"]) == 0
    (found,) = json.loads(capfd.readouterr().out)
    of_same = f"{clips[3].emotion}/3.flac"
    assert [(Path(row["path"]).name, row["reason"]) for row in found["alike"]] in (
        [(f"9.{kind}", f"sounds like {of_same}")],
        [("3.flac", f"sounds like sad/9.{kind}")],
    )
    assert "recordings that sound like another, though their files differ: 1 of 9 heard, such as" in found["notes"][-1]


def test_of_many_recordings_as_many_are_heard_and_the_note_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in {"0.wav": 1.0, "1.flac": 1.0, "2.wav": 1.2, "3.wav": 1.4, "4.wav": 1.6}.items():
        voices = [tiny_corpora.voice(hz, seconds, seed=hz) for hz in range(150, 1500, 300)]
        tiny_corpora.write(tmp_path / "happy" / name, np.sum(voices, axis=0))
    monkeypatch.setattr(inspection, "MOST_HEARD", 4)
    (found,) = inspection.inspect(tmp_path)
    assert found["heard"] == 4
    (note,) = [note for note in found["notes"] if "sound like another" in note]
    assert "their files differ: 1 of 4 heard, such as 1.flac, which sounds like happy/0.wav" in note


def test_another_sample_rate_is_the_same_recording(speech_data: Path, tmp_path: Path) -> None:
    clips = read_corpus("emodb", speech_data / "emodb").clips[:6]
    heard = [whole(clip.path.name, [load_audio(clip, RATE)]) for clip in clips]
    low = load_audio(clips[2], 8000)
    copy = whole("telephone", [low[:5000], low[5000:]], 8000)
    assert alike([*heard, copy]) == {"telephone": clips[2].path.name}


def test_takes_of_one_sentence_are_not_alike(speech_data: Path) -> None:
    """TESS and RAVDESS have the same words by the same speakers over and over."""
    tess = [clip for clip in read_corpus("tess", speech_data / "tess").clips if clip.emotion in ("neutral", "sad")]
    ravdess = [clip for clip in read_corpus("ravdess", speech_data / "ravdess").clips if clip.speaker < "ravdess-06"]
    assert len(ravdess) > 200
    heard = [whole(clip.path.name, [load_audio(clip, RATE)]) for clip in (*tess[::3], *ravdess)]
    assert alike(heard) == {}


def test_what_does_not_move_is_like_nothing() -> None:
    seconds = np.arange(RATE) / RATE
    still = [np.zeros(RATE), np.ones(RATE), *(0.1 * np.sin(2 * np.pi * hertz * seconds) for hertz in (300, 1000))]
    heard = [whole(str(number), [samples.astype(np.float32)]) for number, samples in enumerate(still)]
    assert alike(heard) == {}


def test_a_long_recording_is_known_by_its_beginning_and_its_length() -> None:
    sound = np.concatenate([tiny_corpora.voice(150 + 10 * i, 1.0, seed=i) for i in range(30)]).astype(np.float32)
    first = sound[: round(LONGEST_SECONDS * RATE)]
    heard = [whole("a", [sound]), hear("b", np.split(first, 10), 30.0, RATE), whole("c", [sound[: 25 * RATE]])]
    assert alike(heard) == {"b": "a"}

"""The readers on small corpora in the official layouts, and on the shared recordings where they are."""

from __future__ import annotations

import lzma
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

import tiny_corpora
from affectd.errors import DataError, NoInputError
from affectd_train.data.clips import Clip, Corpus
from affectd_train.data.corpora import find_corpora, read_clips, read_corpus
from affectd_train.data.labels import CORPORA, LABELS, labels_of
from affectd_train.data.logmel import load_logmel
from affectd_train.data.recordings import load_audio, read_audio
from affectd_train.evaluation.predictions import about


def write(path: Path, rate: int = 16000, channels: int = 1, n_samples: int = 80, subtype: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.linspace(-0.5, 0.5, n_samples * channels, dtype=np.float32).reshape(n_samples, channels)
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def reasons(corpus: Corpus) -> dict[str, str]:
    return {path.relative_to(corpus.root).as_posix(): reason for path, reason in corpus.skipped}


def described(corpus: Corpus) -> list[tuple[str, str, str, str]]:
    return [(clip.speaker, clip.gender, clip.emotion, clip.text) for clip in corpus.clips]


def test_the_label_table_says_which_labels_each_corpus_has() -> None:
    assert LABELS == ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
    assert labels_of("ravdess") == set(LABELS)
    assert labels_of("tess") == labels_of("savee") == set(LABELS) - {"calm"}
    assert labels_of("cremad") == labels_of("emodb") == set(LABELS) - {"calm", "surprised"}
    with pytest.raises(ValueError, match="iemocap"):
        labels_of("iemocap")


def test_ravdess_reads_speech_and_lists_songs_and_videos_with_a_reason(tmp_path: Path) -> None:
    write(tmp_path / "Audio_Actors_01-24/Actor_01/03-01-05-02-01-02-01.wav", rate=48000, channels=2)
    write(tmp_path / "Actor_02/03-01-02-01-02-01-02.flac", rate=48000)
    write(tmp_path / "Audio_Song_Actors_01-24/Actor_01/03-02-05-02-01-02-01.wav")
    (tmp_path / "Actor_02/01-01-02-01-02-01-02.mp4").touch()
    (tmp_path / "Actor_02/02-01-02-01-02-01-02.mp4").touch()
    corpus = read_corpus("ravdess", tmp_path)
    song = "Audio_Song_Actors_01-24/Actor_01/03-02-05-02-01-02-01.wav"
    assert described(corpus) == [
        ("ravdess-02", "female", "calm", "02"),
        ("ravdess-01", "male", "angry", "01"),
    ]
    assert reasons(corpus) == {
        song: "vocal channel 02, a song",
        "Actor_02/01-01-02-01-02-01-02.mp4": "modality 01 (picture and sound), only 03 (sound) is used",
        "Actor_02/02-01-02-01-02-01-02.mp4": "modality 02 (picture), only 03 (sound) is used",
    }


@pytest.mark.parametrize(
    ("code", "emotion"), [(f"{number:02d}", label) for number, label in enumerate(LABELS, start=1)]
)
def test_ravdess_numbers_its_emotions_in_the_order_of_our_labels(code: str, emotion: str, tmp_path: Path) -> None:
    write(tmp_path / f"Actor_03/03-01-{code}-01-01-01-03.wav")
    assert read_corpus("ravdess", tmp_path).clips[0].emotion == emotion


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("03-01-05-02-01-02.wav", "seven"),
        ("03-01-09-01-01-01-01.wav", "no emotion '09'"),
        ("03-01-05-02-01-02-25.wav", "01 to 24"),
        ("03-01-05-03-01-02-01.wav", "01 or 02"),
        ("03-01-01-02-01-01-01.wav", "normal intensity"),
        ("03-01-05-02-01-02-02.wav", "folder 01"),
        ("04-01-05-02-01-02-01.wav", "no modality 04"),
        ("happy.wav", "seven"),
        ("03-01-05-02-01-02-01.txt", "not an audio file"),
        ("._03-01-05-02-01-02-01.wav", "hidden"),
    ],
)
def test_a_misnamed_ravdess_file_is_listed_with_the_reason(name: str, reason: str, tmp_path: Path) -> None:
    good = write(tmp_path / "Actor_01/03-01-05-01-01-01-01.wav")
    (tmp_path / "Actor_01" / name).write_bytes(good.read_bytes())
    corpus = read_corpus("ravdess", tmp_path)
    assert [clip.path for clip in corpus.clips] == [good]
    assert reason in reasons(corpus)[f"Actor_01/{name}"]


def test_tess_reads_every_spelling_of_its_folders(tmp_path: Path) -> None:
    for name in (
        "OAF_angry/OAF_back_angry.wav",
        "OAF_Pleasant_surprise/OAF_back_ps.wav",
        "YAF_pleasant_surprised/YAF_back_ps.wav",
        "OAF_Fear/OAF_back_fear.wav",
        "YAF_ps/YAF_bar_ps.wav",
        "OAF_neutral/OA_bite_neutral.wav",
        "YAF_dog_disgust.wav",
    ):
        write(tmp_path / name, rate=24414)
    corpus = read_corpus("tess", tmp_path)
    assert sorted(described(corpus)) == [
        ("tess-oaf", "female", "angry", "back"),
        ("tess-oaf", "female", "fearful", "back"),
        ("tess-oaf", "female", "neutral", "bite"),
        ("tess-oaf", "female", "surprised", "back"),
        ("tess-yaf", "female", "disgust", "dog"),
        ("tess-yaf", "female", "surprised", "back"),
        ("tess-yaf", "female", "surprised", "bar"),
    ]
    assert corpus.skipped == []


def test_the_second_copy_in_the_doubled_folder_of_tess_is_listed_not_counted(tmp_path: Path) -> None:
    folder = "TESS Toronto emotional speech set data"
    first, second = f"{folder}/OAF_Sad/OAF_back_sad.wav", f"{folder}/{folder}/OAF_Sad/OAF_back_sad.wav"
    write(tmp_path / first)
    write(tmp_path / second)
    corpus = read_corpus("tess", tmp_path)
    assert [clip.path for clip in corpus.clips] == [tmp_path / first]
    assert reasons(corpus) == {second: f"the same recording as {first}"}


def test_the_misspelled_file_of_tess_and_its_mended_copy_are_one_recording(tmp_path: Path) -> None:
    write(tmp_path / "OAF_neutral/OAF_bite_neutral.wav")
    write(tmp_path / "OAF_neutral/OA_bite_neutral.wav")
    write(tmp_path / "YAF_neutral/YAF_bite_neutral.wav")
    corpus = read_corpus("tess", tmp_path)
    assert sorted(clip.speaker for clip in corpus.clips) == ["tess-oaf", "tess-yaf"]
    assert reasons(corpus) == {
        "OAF_neutral/OA_bite_neutral.wav": "the same recording as OAF_neutral/OAF_bite_neutral.wav"
    }


def test_a_tess_file_in_the_folder_of_another_emotion_is_skipped(tmp_path: Path) -> None:
    write(tmp_path / "OAF_angry/OAF_back_angry.wav")
    write(tmp_path / "OAF_angry/OAF_bar_happy.wav")
    write(tmp_path / "OAF_angry/OAF_bar_furious.wav")
    assert reasons(read_corpus("tess", tmp_path)) == {
        "OAF_angry/OAF_bar_happy.wav": "the name contradicts the folder OAF_angry",
        "OAF_angry/OAF_bar_furious.wav": "the name contradicts the folder OAF_angry",
    }


def test_cremad_reads_its_wav_files(tmp_path: Path) -> None:
    for stem in (
        "1001_DFA_ANG_XX",
        "1002_IEO_FEA_HI",
        "1040_ITH_SAD_X",
        "1092_DFA_ANG_XX",
        "1001_ABC_ANG_XX",
        "1001_DFA_BOR_XX",
    ):
        write(tmp_path / f"AudioWAV/{stem}.wav")
    corpus = read_corpus("cremad", tmp_path)
    assert described(corpus) == [
        ("cremad-1001", "male", "angry", "DFA"),
        ("cremad-1002", "female", "fearful", "IEO"),
        ("cremad-1040", "male", "sad", "ITH"),
    ]
    assert reasons(corpus) == {
        "AudioWAV/1001_ABC_ANG_XX.wav": "no sentence ABC in CREMA-D",
        "AudioWAV/1001_DFA_BOR_XX.wav": "no emotion 'BOR' in cremad",
        "AudioWAV/1092_DFA_ANG_XX.wav": "no actor 1092 in CREMA-D (1001 to 1091)",
    }


HEADER = "name,actor,sentence,emotion,level,first_frame,n_frames\n"


def write_logmel(root: Path, steps: npt.NDArray[np.uint8], rows: str) -> None:
    (root / "clips.csv").write_text(HEADER + rows)
    with lzma.open(root / "logmel.npy.xz", "wb") as file:
        np.save(file, steps)


def test_cremad_reads_its_log_mel_file(tmp_path: Path) -> None:
    steps = np.zeros((128, 5), np.uint8)
    steps[3, 2], steps[7, 4] = 63, 21
    rows = "1001_DFA_ANG_XX,1001,DFA,ANG,XX,0,2\n1002_IEO_HAP_LO,1002,IEO,HAP,LO,2,3\n"
    write_logmel(tmp_path, steps, rows + "1003_IEO_HAP_LO,1003,IEO,HAP,LO,x,3\nnonsense,1,2,3,4,0,1\n")
    corpus = read_corpus("cremad", tmp_path)
    assert [(clip.speaker, clip.emotion, clip.first_frame, clip.n_frames) for clip in corpus.clips] == [
        ("cremad-1001", "angry", 0, 2),
        ("cremad-1002", "happy", 2, 3),
    ]
    assert reasons(corpus) == {
        "clips.csv:1003_IEO_HAP_LO": "first_frame 'x' and n_frames '3' are no span of frames",
        "clips.csv:nonsense": "not ACTOR_SENTENCE_EMOTION_LEVEL",
    }
    decibel = load_logmel(corpus.clips[1])
    assert decibel.shape == (3, 128)
    assert decibel.dtype == np.float32
    assert decibel[0, 3] == pytest.approx(0)
    assert decibel[2, 7] == pytest.approx(21 * 80 / 63 - 80)
    assert decibel[1, 3] == -80
    with pytest.raises(ValueError, match="load_logmel"):
        load_audio(corpus.clips[1], 16000)


def test_the_log_mel_file_may_lie_deeper_and_its_table_may_come_from_a_spreadsheet(tmp_path: Path) -> None:
    inside = tmp_path / "cremad/CREMA-D"
    inside.mkdir(parents=True)
    write_logmel(inside, np.zeros((128, 5), np.uint8), "1001_DFA_ANG_XX,1001,DFA,ANG,XX,0,2\n")
    (inside / "clips.csv").write_bytes(b"\xef\xbb\xbf" + (inside / "clips.csv").read_bytes())
    (clip,) = read_corpus("cremad", tmp_path / "cremad").clips
    assert (clip.path, clip.n_frames) == (inside / "logmel.npy.xz", 2)


def test_cremad_prefers_audio_to_the_log_mel_file(tmp_path: Path) -> None:
    write_logmel(tmp_path, np.zeros((128, 5), np.uint8), "1001_DFA_ANG_XX,1001,DFA,ANG,XX,0,2\n")
    wav = write(tmp_path / "AudioWAV/1001_DFA_ANG_XX.wav")
    corpus = read_corpus("cremad", tmp_path)
    assert [clip.path for clip in corpus.clips] == [wav]
    assert list(reasons(corpus)) == ["logmel.npy.xz"]


@pytest.mark.parametrize("damage", ["truncated", "text", "shape", "short"])
def test_a_damaged_log_mel_file_is_named_when_loaded(damage: str, tmp_path: Path) -> None:
    steps = np.zeros((64 if damage == "shape" else 128, 1 if damage == "short" else 5), np.uint8)
    write_logmel(tmp_path, steps, "1001_DFA_ANG_XX,1001,DFA,ANG,XX,0,2\n")
    file = tmp_path / "logmel.npy.xz"
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-40])
    elif damage == "text":
        file.write_text("not xz")
    clip = read_corpus("cremad", tmp_path).clips[0]
    with pytest.raises(DataError, match=r"logmel\.npy\.xz"):
        load_logmel(clip)


@pytest.mark.parametrize("official", [True, False])
def test_savee_reads_folders_and_the_flat_layout(official: bool, tmp_path: Path) -> None:
    codes = {
        "a": "angry",
        "d": "disgust",
        "f": "fearful",
        "h": "happy",
        "n": "neutral",
        "sa": "sad",
        "su": "surprised",
    }
    for speaker in ("DC", "JE", "JK", "KL"):
        for code in codes:
            write(
                tmp_path / (f"AudioData/{speaker}/{code}01.wav" if official else f"{speaker}_{code}01.wav"),
                rate=44100,
            )
    corpus = read_corpus("savee", tmp_path)
    assert Counter(described(corpus)) == Counter(
        (f"savee-{speaker}", "male", emotion, f"{code}01")
        for speaker in ("dc", "je", "jk", "kl")
        for code, emotion in codes.items()
    )
    assert corpus.skipped == []


def test_recordings_of_one_name_are_told_apart_in_what_was_answered(tmp_path: Path) -> None:
    for name in ("DC/a01", "JE/a01", "JE/a02"):
        write(tmp_path / f"savee/AudioData/{name}.wav")
    paths = [about(clip)["path"] for clip in read_corpus("savee", tmp_path / "savee").clips]
    assert paths == ["savee/AudioData/DC/a01.wav", "savee/AudioData/JE/a01.wav", "savee/a02"]
    write(tmp_path / "turev/a.wav", n_samples=16000)
    rows = "a.wav,1,happy,0,0.5\na.wav,2,sad,0.5,1\n"
    (tmp_path / "turev/labels.csv").write_text(f"file,speaker,emotion,start,end\n{rows}")
    paths = [about(clip)["path"] for clip in read_corpus("turev", tmp_path / "turev").clips]
    assert paths == ["turev/a.wav:0-0.5", "turev/a.wav:0.5-1"]


def test_savee_lists_misnamed_files_and_copies(tmp_path: Path) -> None:
    write(tmp_path / "AudioData/DC/a01.wav")
    write(tmp_path / "ALL/DC_a01.wav")
    for name in (
        "AudioData/DC/x01.wav",
        "AudioData/DC/a1.wav",
        "AudioData/DC/JE_a02.wav",
        "AudioData/a03.wav",
    ):
        write(tmp_path / name)
    corpus = read_corpus("savee", tmp_path)
    assert len(corpus.clips) == 1
    found = reasons(corpus)
    assert found["AudioData/DC/a01.wav"] == "the same recording as ALL/DC_a01.wav"
    assert "contradicts" in found["AudioData/DC/JE_a02.wav"]
    assert "which speaker" in found["AudioData/a03.wav"]
    assert "emotion letter" in found["AudioData/DC/x01.wav"]
    assert len(found) == 5


def test_emodb_reads_german_letters_and_leaves_boredom_out_with_the_reason(tmp_path: Path) -> None:
    letters = {"W": "angry", "E": "disgust", "A": "fearful", "F": "happy", "T": "sad", "N": "neutral"}
    for letter in letters:
        write(tmp_path / f"wav/03a01{letter}a.wav")
    write(tmp_path / "wav/08b10Fd.wav")
    write(tmp_path / "wav/08b10La.wav")
    write(tmp_path / "wav/17b10Fd.wav")
    (tmp_path / "erkennung.txt").write_text("")
    corpus = read_corpus("emodb", tmp_path)
    assert Counter(described(corpus)) == Counter(
        [("emodb-03", "male", emotion, "a01") for emotion in letters.values()]
        + [("emodb-08", "female", "happy", "b10")]
    )
    assert reasons(corpus) == {
        "erkennung.txt": "not an audio file",
        "wav/08b10La.wav": "boredom is none of the eight labels",
        "wav/17b10Fd.wav": "no speaker 17 in EmoDB",
    }


def test_nemo_may_have_names_in_lower_case(tmp_path: Path) -> None:
    write(tmp_path / "samples/ic0_anger_1.wav")
    write(tmp_path / "samples/KS0_Fear_2.WAV")
    assert Counter(described(read_corpus("nemo", tmp_path))) == Counter(
        [("nemo-ic0", "female", "angry", "1"), ("nemo-ks0", "male", "fearful", "2")]
    )


def test_nemo_reads_polish_names_of_every_speaker(tmp_path: Path) -> None:
    codes = {
        "anger": "angry",
        "fear": "fearful",
        "happiness": "happy",
        "neutral": "neutral",
        "sadness": "sad",
        "surprised": "surprised",
    }
    for code in codes:
        write(tmp_path / f"samples/WR0_{code}_7.wav", rate=24000)
    for name in ("EB0_anger_90", "XX0_anger_1", "IC0_boredom_1", "IC0_anger", "IC0-anger-1"):
        write(tmp_path / f"samples/{name}.wav", rate=24000)
    (tmp_path / "data.tsv").write_text("")
    corpus = read_corpus("nemo", tmp_path)
    assert Counter(described(corpus)) == Counter(
        [("nemo-wr0", "male", emotion, "7") for emotion in codes.values()] + [("nemo-eb0", "female", "angry", "90")]
    )
    assert reasons(corpus) == {
        "data.tsv": "not an audio file",
        "samples/IC0-anger-1.wav": "not SPEAKER_emotion_SENTENCE, such as IC0_anger_1",
        "samples/IC0_anger.wav": "not SPEAKER_emotion_SENTENCE, such as IC0_anger_1",
        "samples/IC0_boredom_1.wav": "no emotion 'boredom' in nemo",
        "samples/XX0_anger_1.wav": "no speaker XX0 in nEMO",
    }


def test_an_archive_that_may_be_the_corpus_that_is_missed_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tiny_corpora.emodb(tmp_path, ("03",))
    for name in ("README.md", "Audio_Actors_01-24.zip", "tess.tar.gz.part"):
        (tmp_path / name).touch()
    read_clips(tmp_path, ["emodb"])
    assert ".zip" not in capfd.readouterr().err
    read_clips(tmp_path, ["ravdess", "tess", "emodb"])
    assert capfd.readouterr().err.splitlines() == [
        f"ravdess: not in {tmp_path}, going on without it",
        f"{tmp_path}: skipped Audio_Actors_01-24.zip: an archive, into which nothing looks: unpack it (in {tmp_path})",
        f"{tmp_path}: skipped tess.tar.gz.part: a download that is not complete (in {tmp_path})",
        f"tess: not in {tmp_path}, going on without it",
        "emodb: 6 clips, 0 files skipped",
    ]


def test_damaged_files_are_listed_with_the_reason(tmp_path: Path) -> None:
    good = write(tmp_path / "wav/03a01Fa.wav")
    write(tmp_path / "wav/03a01Fb.wav", n_samples=0)
    (tmp_path / "wav/03a01Fc.wav").write_text("not a sound")
    (tmp_path / "wav/03a01Fd.wav").write_bytes(good.read_bytes()[:20])
    (tmp_path / "wav/03a01Wa.wav").touch()
    soundfile.write(tmp_path / "wav/03a01Wb.wav", np.array([0, np.nan, 0], np.float32), 16000, subtype="FLOAT")
    corpus = read_corpus("emodb", tmp_path)
    assert [clip.path for clip in corpus.clips] == [good]
    found = reasons(corpus)
    assert found["wav/03a01Fb.wav"] == "no samples in it"
    assert found["wav/03a01Wb.wav"] == "holds samples that are not finite"
    for name in ("wav/03a01Fc.wav", "wav/03a01Fd.wav", "wav/03a01Wa.wav"):
        assert found[name].startswith("cannot be read as audio")
    assert len(found) == 5


def test_a_damaged_copy_does_not_hide_the_sound_one(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/03a01Fa.wav").write_text("not a sound")
    good = write(tmp_path / "b/03a01Fa.wav")
    assert [clip.path for clip in read_corpus("emodb", tmp_path).clips] == [good]


@pytest.mark.parametrize("name", CORPORA)
def test_a_folder_without_matching_files_shows_the_expected_layout(name: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    example = {
        "ravdess": "Actor_01/",
        "tess": "OAF_angry/",
        "cremad": "AudioWAV/",
        "savee": "DC/",
        "emodb": "wav/",
        "nemo": "samples/",
    }.get(name, "labels.csv with the columns file, speaker, emotion")
    with pytest.raises(DataError, match=f"(?s)expected .*{example}"):
        read_corpus(name, tmp_path)


def test_a_corpus_that_is_still_packed_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "Audio_Actors_01-24.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"Actors_01-24\.zip: an archive, into which nothing looks: unpack it"):
        read_corpus("ravdess", tmp_path)


def test_a_folder_that_is_not_there_is_no_input(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match="no such folder"):
        read_corpus("tess", tmp_path / "tess")
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(NoInputError, match="not a folder"):
        find_corpora(file)
    with pytest.raises(ValueError, match="iemocap"):
        read_corpus("iemocap", tmp_path)


def test_corpora_are_found_by_folder_name_whatever_the_case(tmp_path: Path) -> None:
    folders = {"ravdess": "Ravdess", "cremad": "CREMA-D", "emodb": "emodb", "kor_emotiontts": "Kor-EmotionTTS"}
    for folder in (*folders.values(), "noise"):
        (tmp_path / folder).mkdir()
    assert find_corpora(tmp_path) == {name: tmp_path / folder for name, folder in folders.items()}
    (tmp_path / "EMODB").mkdir()
    with pytest.raises(DataError, match="emodb"):
        find_corpora(tmp_path)


@pytest.mark.parametrize(
    ("suffix", "rate"), [("wav", 48000), ("flac", 44100), ("ogg", 24414), ("opus", 48000), ("wav", 8000)]
)
def test_audio_of_any_rate_format_and_channel_count_becomes_mono_at_the_wanted_rate(
    suffix: str, rate: int, tmp_path: Path
) -> None:
    # Left and right hold different tones: their mean holds both, each at half the amplitude.
    time = np.arange(rate // 2) / rate
    tones = 0.4 * np.sin(2 * np.pi * np.outer(time, [440, 1000]))
    path = tmp_path / f"tones.{suffix}"
    options = {"format": "OGG", "subtype": "OPUS"} if suffix == "opus" else {}
    soundfile.write(path, tones, rate, **options)
    samples = load_audio(Clip("emodb", path, "emodb-03", "male", "happy", "a01"), 16000)
    assert samples.dtype == np.float32
    assert samples.shape == (8000,)
    middle = samples[2000:6000] * np.hanning(4000)
    spectrum = np.abs(np.fft.rfft(middle)) / np.hanning(4000).sum() * 2
    for tone in (440, 1000):
        assert spectrum[tone // 4] == pytest.approx(0.2, rel=0.05)
    spectrum[100:125] = spectrum[240:260] = 0
    assert spectrum[:750].max() < 0.005


def test_load_errors_name_the_file(tmp_path: Path) -> None:
    flac = write(tmp_path / "cut.flac", n_samples=20000)
    flac.write_bytes(flac.read_bytes()[:1000])
    assert soundfile.info(flac).frames == 20000, "the header alone looks sound"
    with pytest.raises(DataError, match=r"cut\.flac"):
        read_audio(flac, 16000)
    mp3 = write(tmp_path / "cut.mp3", n_samples=20000)
    mp3.write_bytes(mp3.read_bytes()[: mp3.stat().st_size // 2])
    with pytest.raises(DataError, match=r"cut\.mp3.*ends after"):
        read_audio(mp3, 16000)
    soundfile.write(tmp_path / "nan.wav", np.array([0, np.inf], np.float32), 16000, subtype="FLOAT")
    with pytest.raises(DataError, match=r"nan\.wav: holds a value that is not a finite number at 0\.0001 s"):
        read_audio(tmp_path / "nan.wav", 16000)
    with pytest.raises(DataError, match=r"empty\.wav"):
        read_audio(write(tmp_path / "empty.wav", n_samples=0), 16000)
    with pytest.raises(NoInputError, match=r"gone\.wav"):
        read_audio(tmp_path / "gone.wav", 16000)


@pytest.mark.parametrize(
    ("name", "n_clips", "n_skipped", "n_speakers"),
    [
        ("ravdess", 1200, 0, 20),
        ("tess", 2800, 0, 2),
        ("emodb", 353, 62, 8),
        ("cremad", 7431, 0, 91),
        ("nemo", 3403, 0, 7),
        ("ased", 2474, 1, 65),  # what is skipped is its description
        ("emotale", 640, 161, 18),  # and a fifth of these are bored
        ("emospeech", 800, 1, 92),  # one is the pool of those whose names are not known
        ("turev", 1735, 1, 6),
        ("kor_emotiontts", 300, 1, 15),
    ],
)
def test_shared_recordings_are_read_completely(
    name: str, n_clips: int, n_skipped: int, n_speakers: int, speech_data: Path
) -> None:
    if name not in (found := find_corpora(speech_data)):
        pytest.skip(f"no {name} in {speech_data}")
    corpus = read_corpus(name, found[name])
    assert len(corpus.clips) == n_clips
    assert len(corpus.skipped) == n_skipped
    assert len({clip.speaker for clip in corpus.clips}) == n_speakers
    assert {clip.emotion for clip in corpus.clips} == labels_of(name)
    if name != "cremad":
        samples = load_audio(corpus.clips[0], 16000)
        assert samples.dtype == np.float32
        assert 0.01 < np.abs(samples).max() <= 1

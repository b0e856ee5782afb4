"""``personalize`` on both sides: the new file, what is refused, what is never written over."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from affectd import cli
from affectd.config.sections import Config
from affectd.personal.hearing import FIXED, with_float_head, with_functionals
from affectd.personal.last_layer import without_last_layer
from affectd.personal.recordings import find_recordings
from affectd.recognition.classifier import Classifier
from affectd.recognition.description import describe
from affectd.recognition.golden import self_test
from affectd.recognition.head import BaselineSpec
from affectd.recognition.model_file import find_model, model_id, read_model, write_model
from affectd.recognition.recording import classify_recording
from affectd_train import cli as train_cli
from affectd_train.folders import no_audio
from sounds import write_wav
from tiny_corpora import voice
from tiny_model import BASELINE

PITCHES = {"happy": 300.0, "sad": 170.0, "tired": 520.0}
N_EACH = 6


def read_wav(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768


def make_clips(folder: Path, labels: dict[str, float] = PITCHES, n_each: int = N_EACH) -> Path:
    """As ``affectd record --label`` leaves them: a pitch for each label, different in every clip."""
    for label, hz in labels.items():
        for number in range(n_each):
            path = folder / f"{label}-{number}.wav"
            write_wav(path, voice(hz * (1 + 0.02 * number), 1.0 + 0.1 * number, seed=number))
            path.with_suffix(".json").write_text(json.dumps({"schema": 1, "file": path.name, "label": label}))
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clips(tmp_path_factory.mktemp("recorded"))


@pytest.fixture(scope="module")
def made(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "mine.tflite"
    assert cli.main(["personalize", str(clips), "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "a.json beside it, which may say its label, is damaged"),
        (b'{"schema": 1, "label": "sad"', "a.json beside it, which may say its label, is damaged"),
        (b"\0" * 64, "a.json beside it, which may say its label, is damaged"),
        (b'{"label": 3}', "the label in a.json beside it is no line of text, of 64 letters at most"),
        (b'{"label": "sad\\n"}', "the label in a.json beside it is no line of text, of 64 letters at most"),
        (b'{"label": null}', None),
        (b'{"label": ""}', None),
        (b'[{"text": "a transcript"}]', None),
        (b" " * 70_000, None),
    ],
    ids=["empty", "cut off", "zeros", "a number", "two lines", "no label", "empty label", "of another", "large"],
)
def test_a_recording_whose_label_is_lost_is_not_taken_for_that_of_its_folder(
    tmp_path: Path, content: bytes, reason: str | None
) -> None:
    folder = tmp_path / "happy"
    folder.mkdir()
    write_wav(folder / "a.wav", voice(300.0, 1.0, seed=1))
    (folder / "a.json").write_bytes(content)
    found, skipped = find_recordings(tmp_path, ("happy", "sad"))
    assert [left_out.reason for left_out in skipped] == ([] if reason is None else [reason])
    assert [recording.label for recording in found] == (["happy"] if reason is None else [])


def test_what_is_pulled_towards_is_what_layers_say_of_a_known_voice() -> None:
    base = read_model(find_model())
    assert base.voice is not None
    assert base.voice.relative is not None
    network = with_float_head(base)
    head = with_functionals(network, base).head
    assert network.head is not None
    assert head is not None
    n = network.head.n_embedding
    np.testing.assert_array_equal(head.weights[:n], network.head.weights)
    np.testing.assert_array_equal(head.weights[n:], base.voice.weights())
    assert np.abs(head.weights[n:]).max() > 0.01


def refusal(capfd: pytest.CaptureFixture[str], *arguments: object, program: str = "affectd") -> tuple[int, str]:
    """Run a command that is to fail, and return its code and its last sentence."""
    main = cli.main if program == "affectd" else train_cli.main
    code = main([str(argument) for argument in arguments])
    said = capfd.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    return code, said.err.strip().splitlines()[-1]


def test_the_new_file_knows_the_labels_of_the_clips_and_the_voice(clips: Path, made: Path) -> None:
    base, model = read_model(find_model()), read_model(made)
    assert model.labels == ("happy", "sad", "tired")  # as the old file orders them, new ones last
    assert self_test(model, Classifier(model))["logits_difference"] == 0
    assert model.tflite == without_last_layer(base.tflite).tflite  # the embedding is untouched
    assert (model.spec, model.thresholds, model.temperature) == (base.spec, base.thresholds, 1.0)
    assert model.head is not None
    assert model.head.spec == FIXED
    assert model.sees_functionals
    classifier = Classifier(model)
    for label, hz in PITCHES.items():
        found = classify_recording([voice(1.07 * hz, 1.3, seed=99)], classifier, Config())
        assert found.label == label


def test_it_is_sure_of_the_voice_that_it_was_fitted_to_and_doubts_all_others(made: Path) -> None:
    network = Classifier(read_model(made))
    assert network.model.head is not None
    shown = describe(made, network)["far_functionals"]
    assert shown == network.model.head.far_functionals

    def sure(sound: np.ndarray) -> float:
        found = classify_recording([sound.astype(np.float32)], network, Config()).probability
        assert found is not None
        return found

    mine = [sure(voice(1.07 * hz, 1.3, seed=99)) for hz in PITCHES.values()]
    assert min(mine) >= network.model.thresholds["uncertain"]
    demo = read_wav(Path(__file__).parents[2] / "data" / "demo.wav")
    second = network.model.spec.sample_rate
    others = [sure(demo[start : start + 3 * second]) for start in range(0, len(demo) - 3 * second, 3 * second)]
    assert len(others) > 4
    assert max(others) < 0.4


def test_its_card_says_what_it_was_fitted_on_and_keeps_the_terms(made: Path) -> None:
    base, card = read_model(find_model()), read_model(made).card
    # Of the voice, too: what is fitted begins with it.
    assert (card["data"], card["use"]) == (base.card["data"], base.card["use"])
    assert "evaluation" not in card  # of other labels and another head
    personal = card["personal"]
    assert personal["model"] == model_id(base)
    assert personal["clips"] == dict.fromkeys(PITCHES, N_EACH)
    found = personal["cross_validation"]
    assert found["clips"] == 18
    assert found["right"] > found["right_before"]
    assert found["gain"] > 2 * found["gain_error"]
    assert found["gain_over_chance"] > 2 * found["gain_over_chance_error"]


def test_the_desktop_makes_the_same_file(clips: Path, made: Path, tmp_path: Path) -> None:
    out = tmp_path / "desktop.tflite"
    assert train_cli.main(["personalize", str(clips), "--model", str(find_model()), "--out", str(out)]) == 0
    assert out.read_bytes() == made.read_bytes()


def test_folders_named_by_label_do_as_well_on_both_sides(clips: Path, made: Path, tmp_path: Path) -> None:
    for path in clips.glob("*.wav"):
        label = path.stem.split("-")[0]
        (tmp_path / label.upper()).mkdir(exist_ok=True)
        (tmp_path / label.upper() / path.name).write_bytes(path.read_bytes())
    (tmp_path / "TIRED").rename(tmp_path / "tired")
    (tmp_path / "labels.txt").write_text("happy\nsad\ntired\n")
    for number, main in enumerate((cli.main, train_cli.main)):
        out = tmp_path / f"{number}.tflite"
        options = ["--labels", str(tmp_path / "labels.txt")] if main is train_cli.main else []
        model = ["--model", str(find_model())]
        assert main(["personalize", str(tmp_path), "--out", str(out), *model, *options]) == 0
        assert out.read_bytes() == made.read_bytes()


def test_another_rate_is_heard_alike(clips: Path, made: Path, tmp_path: Path) -> None:
    from scipy.signal import resample_poly

    for path in clips.glob("*.wav"):
        samples = read_wav(path)
        write_wav(tmp_path / path.stem.split("-")[0] / path.name, resample_poly(samples, 3, 1), 48000)
    assert cli.main(["personalize", str(tmp_path), "--out", str(tmp_path / "48.tflite")]) == 0
    found, wanted = (Classifier(read_model(path)) for path in (tmp_path / "48.tflite", made))
    for label, hz in PITCHES.items():
        sound = [voice(1.07 * hz, 1.3, seed=99)]
        one, other = (classify_recording(sound, network, Config()) for network in (found, wanted))
        assert (one.label, other.label) == (label, label)


def test_a_network_with_a_baseline_keeps_how_it_learns(clips: Path, tmp_path: Path) -> None:
    base = with_float_head(read_model(find_model()))
    assert base.head is not None
    spec = BaselineSpec(**BASELINE)
    spread = np.linspace(0.1, 0.5, base.head.n_embedding, dtype=np.float32)
    write_model(
        tmp_path / "base.tflite",
        dataclasses.replace(base, head=dataclasses.replace(base.head, spec=spec, spread=spread)),
    )
    out = tmp_path / "mine.tflite"
    assert cli.main(["personalize", str(clips), "--model", str(tmp_path / "base.tflite"), "--out", str(out)]) == 0
    model = read_model(out)
    assert model.head is not None
    assert model.head.spec == spec
    assert (model.head.spread == spread).all()
    assert model.tflite == base.tflite
    assert model.head.baseline.any()  # it begins with this voice


def test_labels_that_say_nothing_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    clips = make_clips(tmp_path / "clips", n_each=2 * N_EACH)
    for number, path in enumerate(sorted(clips.glob("*.wav"))):
        label = ("happy", "sad", "angry")[number % 3]
        (tmp_path / "mixed" / label).mkdir(exist_ok=True, parents=True)
        (tmp_path / "mixed" / label / path.name).write_bytes(path.read_bytes())
    out = tmp_path / "mine.tflite"
    code, said = refusal(capfd, "personalize", tmp_path / "mixed", "--out", out)
    assert code == 65
    assert "Nothing was written: it would not clearly help. Right in cross-validation: " in said
    assert " of 36; with the model as it is " in said
    assert not out.exists()


@pytest.mark.parametrize("n_each", [N_EACH, 2 * N_EACH])
def test_words_of_ones_own_that_say_nothing_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], n_each: int
) -> None:
    # The model knows nothing of them, so that anything is better than what it answers.
    clips = make_clips(tmp_path / "clips", n_each=n_each)
    for number, path in enumerate(sorted(clips.glob("*.wav"))):
        label = ("tired", "bored", "proud")[(number + number // 6) % 3]
        (tmp_path / "mixed" / label).mkdir(exist_ok=True, parents=True)
        (tmp_path / "mixed" / label / path.name).write_bytes(path.read_bytes())
    code, said = refusal(capfd, "personalize", tmp_path / "mixed", "--out", tmp_path / "mine.tflite")
    assert code == 65
    assert "Nothing was written: it would not clearly help." in said


def test_a_personal_file_is_fitted_again_with_all_that_it_hears(clips: Path, made: Path, tmp_path: Path) -> None:
    other = make_clips(tmp_path / "clips", {"happy": 170.0, "sad": 300.0, "tired": 210.0})
    out = tmp_path / "again.tflite"
    assert cli.main(["personalize", str(other), "--model", str(made), "--out", str(out)]) == 0
    first, again = read_model(made), read_model(out)
    assert again.sees_functionals
    assert again.tflite == first.tflite
    assert classify_recording([voice(1.07 * 170.0, 1.3, seed=99)], Classifier(again), Config()).label == "happy"


@pytest.mark.parametrize(
    ("labels", "code", "said"),
    [
        ({"happy": 300.0}, 65, "All recordings are happy: two labels or more are needed"),
        ({}, 66, "holds no labeled recording"),
        ({"happy": 300.0, "Uncertain": 170.0}, 65, "uncertain is what affectd says instead of a label"),
        ({f"label {number}": 200.0 for number in range(17)}, 65, "17 labels, such as label 9: at most 16"),
    ],
    ids=["one label", "none", "uncertain", "many"],
)
@pytest.mark.parametrize("program", ["affectd", "affectd-train"])
def test_labels_that_cannot_be_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], labels: dict[str, float], code: int, said: str, program: str
) -> None:
    make_clips(tmp_path, labels, 5)
    (tmp_path / "notes.txt").write_text("x")
    model = ("--model", find_model())
    found = refusal(capfd, "personalize", tmp_path, *model, "--out", tmp_path / "mine.tflite", program=program)
    assert found[0] == code
    assert said in found[1] or (not labels and "no recording with a label in it" in found[1])


@pytest.mark.parametrize(
    ("name", "shown"), [(b"tr\xf6dlerisch", "tr\\udcf6dlerisch"), (b"w" * 101, "w" * 12 + "..." + "w" * 25)]
)
def test_the_name_of_a_folder_that_can_be_no_label_is_said_before_anything_is_heard(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: bytes, shown: str
) -> None:
    for folder in ("happy", os.fsdecode(name)):
        (tmp_path / folder).mkdir()
        for number in range(5):
            (tmp_path / folder / f"{number}.wav").write_bytes(b"never read")
    code, said = refusal(capfd, "personalize", tmp_path, "--out", tmp_path / "mine.tflite")
    assert (code, said) == (65, f"affectd: {shown} cannot be a label: 1 to 100 characters that can be printed.")


def test_where_no_recording_is_left_it_is_said_why(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "happy").mkdir()
    (tmp_path / "happy/a.mp3").write_text("x")
    assert cli.main(["personalize", str(tmp_path), "--out", str(tmp_path / "mine.tflite")]) == 66
    skipped, refused = capfd.readouterr().err.splitlines()
    assert skipped == f"affectd: {tmp_path}: skipped a.mp3: not a WAV file (in {tmp_path / 'happy'})"
    assert "holds no labeled recording" in refused


def test_both_programs_hear_all_that_is_named_as_wav_files_are(tmp_path: Path) -> None:
    names = ("a.wav", "b.WAVE", "c.bwf", "d.rf64")
    (tmp_path / "happy").mkdir()
    for name in names:
        write_wav(tmp_path / "happy" / f"{name}.wav", voice(170 + len(name), 1.2))
        (tmp_path / "happy" / f"{name}.wav").rename(tmp_path / "happy" / name)
    found, skipped = find_recordings(tmp_path, ())
    assert (tuple(recording.path.name for recording in found), skipped) == (names, [])
    assert not any(no_audio(recording.path) for recording in found)


def test_both_programs_start_from_the_model_that_comes_with_affectd_in_any_folder(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for program, main in (("affectd", cli.main), ("affectd-train", train_cli.main)):
        assert main(["personalize", str(clips), "--out", f"{program}.tflite"]) == 0
    ours, theirs = (read_model(tmp_path / f"{program}.tflite") for program in ("affectd", "affectd-train"))
    assert ours.card == theirs.card


def test_events_of_two_personal_files_tell_which_it_was(made: Path, tmp_path: Path) -> None:
    other = make_clips(tmp_path / "clips", {"happy": 210.0, "sad": 400.0, "tired": 640.0})
    assert cli.main(["personalize", str(other), "--out", str(tmp_path / "other.tflite")]) == 0
    mine, theirs = read_model(made), read_model(tmp_path / "other.tflite")
    assert mine.tflite == theirs.tflite
    assert len({model_id(mine), model_id(theirs), model_id(read_model(find_model()))}) == 3


def test_recordings_of_no_use_do_not_count(clips: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make_clips(tmp_path, {"happy": 300.0}, 6)
    for number in range(4):
        write_wav(tmp_path / "sad" / f"{number}.wav", voice(170 + 9 * number, 1.2, seed=number))
    write_wav(tmp_path / "sad" / "silent.wav", np.zeros(16000))
    (tmp_path / "sad" / "damaged.wav").write_bytes(b"RIFF")
    (tmp_path / "sad" / "copy.wav").write_bytes((tmp_path / "sad" / "1.wav").read_bytes())
    (tmp_path / "sad" / "9.wav").write_bytes((tmp_path / "happy-3.wav").read_bytes())
    assert cli.main(["personalize", str(tmp_path), "--out", str(tmp_path / "mine.tflite")]) == 65
    said = capfd.readouterr().err
    assert "silent.wav: no speech is heard in it" in said
    assert "damaged.wav" in said
    assert "copy.wav: the same recording as sad/1.wav (in" in said
    assert f"9.wav: the same recording as {tmp_path.name}/happy-3.wav, where it is happy (in" in said
    assert "sad has 4 recordings with speech: 5 or more of each label are needed." in said


def test_no_file_is_written_over_but_our_own(
    clips: Path, made: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    others = {"base.tflite": find_model().read_bytes(), "notes.txt": b"mine", "dangling": None}
    for name, content in others.items():
        path = tmp_path / name
        path.symlink_to(tmp_path / "nowhere") if content is None else path.write_bytes(content)
        code, said = refusal(capfd, "personalize", clips, "--out", path)
        assert (code, said.endswith("choose another name")) == (64, True)
        assert content is None or path.read_bytes() == content
    for folder in ("no", "x" * 300):
        assert refusal(capfd, "personalize", clips, "--out", tmp_path / folder / "mine.tflite")[0] == 64
    assert refusal(capfd, "personalize", tmp_path / ("x" * 300), "--out", tmp_path / "mine.tflite")[0] == 66
    assert refusal(capfd, "personalize", clips, "--model", made, "--out", made)[0] == 64
    ours = tmp_path / "mine.tflite"
    ours.write_bytes(made.read_bytes())
    assert cli.main(["personalize", str(clips), "--out", str(ours)]) == 0


def test_a_place_that_cannot_be_written_is_not_taken_for_a_model_that_is_wrong(
    clips: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = Path("/proc/affectd.tflite")  # where root cannot write either
    for program, code in (("affectd", 69), ("affectd-train", 74)):
        found, said = refusal(capfd, "personalize", clips, "--out", out, "--model", find_model(), program=program)
        assert found == code
        assert said.startswith(f"{program}: {out}: cannot be written (")


def test_a_death_while_it_writes_leaves_nothing_half_written(clips: Path, made: Path, tmp_path: Path) -> None:
    code = "import os, sys; os.fsync = lambda _: os._exit(9); from affectd.cli import main; main(sys.argv[1:])"
    for name, content in {"new.tflite": None, "old.tflite": made.read_bytes()}.items():
        out = tmp_path / name
        if content is not None:
            out.write_bytes(content)
        done = subprocess.run([sys.executable, "-c", code, "personalize", str(clips), "--out", str(out)], check=False)
        assert done.returncode == 9
        assert (out.read_bytes() if out.exists() else None) == content


def test_nothing_of_it_is_loaded_to_listen(made: Path) -> None:
    code = (
        "import sys; from affectd.cli import run; run(sys.argv[1:])\n"
        "print([name for name in sys.modules if name.startswith('affectd.personal')], file=sys.stderr)"
    )
    demo = Path(__file__).parents[2] / "data" / "demo.wav"
    command = [sys.executable, "-c", code, "run", "--source", str(demo), "--model", str(made)]
    environment = os.environ | {"STATE_DIRECTORY": str(made.parent / "state")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stderr.splitlines()[-1] == "[]"
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {event["label"] for event in events} <= {"happy", "sad", "tired", "uncertain"}


def test_it_learns_the_voices_of_a_place_in_a_language_that_it_never_heard(speech_data: Path, tmp_path: Path) -> None:
    from affectd_train.data.corpora import read_clips
    from affectd_train.data.recordings import load_audio

    if not (speech_data / "kor_emotiontts").is_dir():
        pytest.skip("no Korean recordings there")
    clips = sorted(read_clips(speech_data, ["kor_emotiontts"]))
    speakers = sorted({clip.speaker for clip in clips})[:3]
    tested = []
    for label in ("neutral", "happy", "sad", "angry"):
        mine = [clip for clip in clips if clip.emotion == label and clip.speaker in speakers]
        for number, clip in enumerate(mine):
            if number % 3:
                write_wav(tmp_path / label / f"{number}.wav", load_audio(clip, 16000))
            else:
                tested.append(clip)
    out = tmp_path / "mine.tflite"
    assert cli.main(["personalize", str(tmp_path), "--out", str(out)]) == 0

    def right(path: Path) -> float:
        network = Classifier(read_model(path))
        found = [classify_recording([load_audio(clip, 16000)], network, Config()).label for clip in tested]
        return float(np.mean(np.array(found) == [clip.emotion for clip in tested]))

    assert right(out) > right(find_model()) + 0.3


def test_it_learns_a_voice_that_it_never_heard(speech_data: Path, tmp_path: Path) -> None:
    from affectd_train.data.recordings import read_audio

    clips = sorted((speech_data / "nemo" / "samples").glob("IC0_*"))
    if not clips:
        pytest.skip("no nEMO there")
    words = {"anger": "angry", "fear": "fearful", "happiness": "happy", "sadness": "sad"}
    tested: list[tuple[Path, str]] = []
    for word, label in words.items():
        of_label = [path for path in clips if f"_{word}_" in path.name][::4]
        for path in of_label[:10]:
            write_wav(tmp_path / label / f"{path.stem}.wav", read_audio(path, 16000))
        tested += [(path, label) for path in of_label[10:15]]
    out, base = tmp_path / "mine.tflite", Path(__file__).parents[3] / "models" / "affectd-commercial.tflite"
    assert "nemo" not in read_model(base).card["training"]["clips"]
    assert cli.main(["personalize", str(tmp_path), "--model", str(base), "--out", str(out)]) == 0

    def right(path: Path) -> float:
        network = Classifier(read_model(path))
        hits = [classify_recording([read_audio(p, 16000)], network, Config()).label == label for p, label in tested]
        return float(np.mean(hits))

    assert right(out) > right(base) + 0.15

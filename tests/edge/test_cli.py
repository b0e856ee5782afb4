"""The program as a program: sound in, JSON lines out, nothing else on stdout, a sentence for every failure."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from affectd.events.event import event_schema
from affectd.recognition.model_file import write_model
from broker import free_port
from sounds import as_int16, gain, noise, raw_sound, silence, syllables, write_wav
from tiny_model import tiny_model

SPEECH = as_int16(np.concatenate([silence(1), gain(syllables(3), -12), silence(1.5)]))
PATIENCE_SECONDS = 60
STOPS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    return write_wav(tmp_path / "speech.wav", SPEECH)


def wav_header(encoding: int, bits: int, size: int) -> bytes:
    """A mono header for 16 kHz that promises ``size`` bytes of samples."""
    fmt = struct.pack("<HHIIHH", encoding, 1, 16000, 16000 * bits // 8, bits // 8, bits)
    chunks = b"fmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", size)
    return b"RIFF" + struct.pack("<I", (4 + len(chunks) + size) & 0xFFFFFFFF) + b"WAVE" + chunks


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "affectd", *map(str, arguments)]


def affectd(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command(*arguments), input=stdin, capture_output=True, timeout=PATIENCE_SECONDS, check=False)


def lines(stdout: bytes) -> list[dict]:
    """Every line of stdout must be JSON."""
    assert stdout == b"" or stdout.endswith(b"\n")
    return [json.loads(line) for line in stdout.splitlines()]


def same(events: list[dict]) -> list[dict]:
    ignored = ("id", "time", "clock_synchronized")
    return [{key: value for key, value in event.items() if key not in ignored} for event in events]


def fails(result: subprocess.CompletedProcess[bytes], code: int, *words: str) -> None:
    """It must end with the code and one plain sentence."""
    sentence = result.stderr.decode()
    assert result.returncode == code, sentence
    assert sentence.startswith("affectd: ")
    assert sentence.count("\n") == 1, sentence
    assert "Traceback" not in sentence
    for word in words:
        assert word in sentence
    assert result.stdout == b""


def test_a_recording_goes_in_and_events_come_out(model: Path, speech: Path) -> None:
    result = affectd("run", "--source", speech, "--model", model)
    assert (result.returncode, result.stderr) == (0, b"")
    events = lines(result.stdout)
    validator = jsonschema.Draft202012Validator(event_schema())
    for event in events:
        validator.validate(event)
    assert [events[0]["phase"], events[-1]["phase"]] == ["start", "end"]
    assert 0.5 < events[0]["start_seconds"] < 1.0
    assert 4.0 < events[-1]["end_seconds"] < 4.8


def test_raw_sound_on_stdin_gives_the_same_events_as_a_file(model: Path, speech: Path) -> None:
    raw = raw_sound(SPEECH)
    from_stdin = affectd("run", "--source", "-", "--model", model, stdin=raw)
    from_file = affectd("run", "--source", speech, "--model", model)
    assert from_stdin.returncode == 0
    assert same(lines(from_stdin.stdout)) == same(lines(from_file.stdout)) != []


def test_noise_and_silence_give_no_event_but_a_sentence(model: Path, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "noise.wav", np.concatenate([silence(2), gain(noise("pink", 5), -10), silence(2)]))
    result = affectd("run", "--source", path, "--model", model)
    assert (result.returncode, result.stdout) == (0, b"")
    assert result.stderr == b"affectd: no speech was heard, or none that is long enough for an event\n"
    # Live sound has no end at which that would be worth a word.
    assert affectd("run", "--source", "-", "--model", model, stdin=path.read_bytes()).stderr == b""


def test_settings_reach_the_events(model: Path, speech: Path, tmp_path: Path) -> None:
    config = tmp_path / "affectd.toml"
    config.write_text(
        f'[device]\nid = "kitchen"\n[audio]\nsource = "{speech}"\n'
        f'[model]\npath = "{model}"\n[smoothing]\nuncertain = 1\n'
    )
    result = affectd("run", "--config", config)
    assert result.returncode == 0, result.stderr
    assert {(event["device"], event["label"]) for event in lines(result.stdout)} == {("kitchen", "uncertain")}


def test_a_model_path_that_cannot_be_one_is_an_error(tmp_path: Path) -> None:
    config = tmp_path / "affectd.toml"
    config.write_text('[model]\npath = "a\\u0000b"')
    fails(affectd("run", "--config", config), 78, "[model] path", "NUL")


def bad_recordings(folder: Path) -> dict[str, tuple[Path, int]]:
    samples = raw_sound(SPEECH[:16000])
    with_nan = np.array([0.1, np.nan] * 400, "<f4").tobytes()
    contents = {
        "empty": b"",
        "truncated header": wav_header(1, 16, len(samples))[:30],
        "no samples": wav_header(1, 16, 0),
        "text": b"This is not sound, whatever the name says.\n" * 50,
        "nan": wav_header(3, 32, len(with_nan)) + with_nan,
        "two gigabytes promised": wav_header(1, 16, 2_000_000_000) + samples,
    }
    (folder / "directory.wav").mkdir()
    bad = {"missing": (folder / "missing.wav", 66), "directory": (folder / "directory.wav", 66)}
    for name, content in contents.items():
        path = folder / f"{name.replace(' ', '-')}.wav"
        path.write_bytes(content)
        bad[name] = (path, 65)
    return bad


BAD = ["missing", "directory", "empty", "truncated header", "no samples", "text", "nan", "two gigabytes promised"]


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("verb", [["run", "--source"], ["classify"]], ids=["run", "classify"])
def test_a_bad_recording_is_a_sentence_and_an_exit_code(
    model: Path, tmp_path: Path, verb: list[str], name: str
) -> None:
    path, code = bad_recordings(tmp_path)[name]
    fails(affectd(*verb, path, "--model", model), code, path.name)


def test_every_bad_recording_of_the_list_is_tested(tmp_path: Path) -> None:
    assert sorted(bad_recordings(tmp_path)) == sorted(BAD)


def test_stdin_that_ends_at_once_is_no_input(model: Path) -> None:
    fails(affectd("run", "--source", "-", "--model", model, stdin=b""), 66)


def test_stdin_that_is_closed_is_no_input(model: Path) -> None:
    line = " ".join(command("run", "--source", "-", "--model", model)) + " <&-"
    fails(subprocess.run(line, shell=True, capture_output=True, timeout=PATIENCE_SECONDS, check=False), 66)


def test_stdin_that_ends_within_a_sample_as_of_a_recorder_that_is_killed_is_heard_and_said(model: Path) -> None:
    raw = raw_sound(SPEECH[:56000])
    result = affectd("run", "--source", "-", "--model", model, stdin=raw + b"\0")
    assert result.returncode == 0
    assert b"middle of a sample" in result.stderr
    assert [event["phase"] for event in lines(result.stdout)][-1] == "end", "the utterance was still open"


def broken_models(folder: Path) -> dict[str, Path]:
    whole = tiny_model()
    write_model(folder / "whole", whole)
    content = bytearray((folder / "whole").read_bytes())
    content[len(whole.tflite) // 2] ^= 0x10
    (folder / "flipped byte").write_bytes(content)
    (folder / "network alone").write_bytes(whole.tflite)
    (folder / "directory").mkdir()
    other = {key: np.concatenate([whole.golden[key], whole.golden[key][:1]]) for key in ("cepstra", "input")}
    write_model(folder / "another shape", dataclasses.replace(whole, n_frames=9, golden={**whole.golden, **other}))
    return {path.name: path for path in folder.iterdir()} | {"missing": folder / "missing"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing", ["cannot be read"]),
        ("directory", ["directory"]),
        ("flipped byte", ["digest"]),
        ("network alone", ["digest"]),
        ("another shape", ["input", "(1, 9, 40)", "(1, 8, 40)"]),
    ],
)
@pytest.mark.parametrize("verb", [["run", "--source"], ["classify"], ["model"]], ids=["run", "classify", "model"])
def test_a_broken_model_is_a_sentence_and_78(
    speech: Path, tmp_path: Path, verb: list[str], name: str, words: list[str]
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    recording = [] if verb == ["model"] else [speech]
    fails(affectd(*verb, *recording, "--model", broken_models(folder)[name]), 78, *words)


def test_classify_prints_one_line_per_recording_in_order(model: Path, speech: Path, tmp_path: Path) -> None:
    quiet = write_wav(tmp_path / "quiet.wav", silence(2))
    result = affectd("classify", speech, quiet, "--model", model)
    assert (result.returncode, result.stderr) == (0, b"")
    first, second = lines(result.stdout)
    said = ["path", "label", "probability", "probabilities", "seconds", "speech_seconds"]
    assert list(first) == [*said, "valence", "arousal", "uncertain"]
    assert first["uncertain"] is (first["probability"] < 0.45), "the threshold of the tiny model"
    assert -1 <= first["valence"] <= 1
    assert -1 <= first["arousal"] <= 1
    assert first["path"] == str(speech)
    assert first["probability"] == max(first["probabilities"].values()) == first["probabilities"][first["label"]]
    assert first["seconds"] == 5.5
    assert 2.5 < first["speech_seconds"] < 4
    assert second == {
        "path": str(quiet),
        "label": None,
        "probability": None,
        "probabilities": {},
        "seconds": 2.0,
        "speech_seconds": 0.0,
        "valence": None,
        "arousal": None,
        "uncertain": None,
    }


def test_classify_goes_on_after_a_bad_recording_and_ends_with_the_first_code(
    model: Path, speech: Path, tmp_path: Path
) -> None:
    text = tmp_path / "text.wav"
    text.write_text("no sound")
    result = affectd("classify", tmp_path / "none.wav", speech, text, speech, "--model", model)
    assert result.returncode == 66
    assert [line["path"] for line in lines(result.stdout)] == [str(speech)] * 2
    complaints = result.stderr.decode().splitlines()
    assert len(complaints) == 2
    assert "none.wav" in complaints[0]
    assert "text.wav" in complaints[1]


def test_a_file_name_that_is_no_utf_8_comes_back_as_it_was(model: Path, speech: Path) -> None:
    path = speech.rename(os.fsdecode(os.fsencode(speech.parent) + b"/caf\xe9.wav"))
    result = affectd("classify", path, "--model", model)
    assert (result.returncode, result.stderr) == (0, b"")
    assert lines(result.stdout)[0]["path"] == str(path)
    path.unlink()
    fails(affectd("classify", path, "--model", model), 66, "caf")


def test_an_empty_source_is_not_the_microphone(model: Path) -> None:
    fails(affectd("run", "--source", "", "--model", model), 78, "must be")


@pytest.mark.parametrize("closed", ["2>&-", "2>&- <&-", "2>/dev/full"])
def test_without_standard_error_the_exit_code_still_tells(model: Path, speech: Path, closed: str) -> None:
    missing, heard = (" ".join(command("classify", path, "--model", model)) for path in ("none.wav", speech))
    for line, code, n_lines in ((missing, 66, 0), (heard, 0, 1)):
        result = subprocess.run(
            f"{line} {closed}", shell=True, capture_output=True, timeout=PATIENCE_SECONDS, check=False
        )
        assert result.returncode == code
        assert len(lines(result.stdout)) == n_lines, "complaints never reach stdout"


def test_model_says_what_it_is_and_passes_its_self_test(model: Path) -> None:
    result = affectd("model", "--self-test", "--model", model)
    assert result.returncode == 0, result.stderr
    (description,) = lines(result.stdout)
    assert description["path"] == str(model)
    assert description["bytes"] == model.stat().st_size
    assert description["labels"] == ["angry", "calm", "happy"]
    assert description["input"] == [1, 8, 40]
    assert description["output"] == [1, 3]
    assert description["card"]["data"] == "noise"
    assert description["self_test"]["output_steps"] <= 1
    assert "self_test" not in lines(affectd("model", "--model", model).stdout)[0]


def test_the_self_test_fails_where_the_numbers_are_off(tmp_path: Path) -> None:
    whole = tiny_model()
    golden = {**whole.golden, "cepstra": whole.golden["cepstra"] + 1}
    write_model(tmp_path / "off", dataclasses.replace(whole, golden=golden))
    fails(affectd("model", "--self-test", "--model", tmp_path / "off"), 78, "golden.cepstra")


@pytest.mark.parametrize(
    "arguments",
    [[], ["sing"], ["run", "--loud"], ["classify"], ["run", "--source"], ["model", "extra"]],
    ids=" ".join,
)
def test_a_wrong_command_line_is_64(arguments: list[str]) -> None:
    fails(affectd(*arguments), 64, "--help")


@pytest.mark.parametrize("verb", ["run", "classify", "model", "config", "doctor", "devices"])
def test_every_command_has_help_on_stdout(verb: str) -> None:
    result = affectd(verb, "--help")
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.startswith(f"usage: affectd {verb}".encode())


def test_help_does_not_wait_for_numpy() -> None:
    code = "import sys, affectd.cli\ntry: affectd.cli.main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=PATIENCE_SECONDS)


def test_a_run_loads_neither_openssl_nor_other_compressions(speech: Path) -> None:
    code = "import atexit, sys, affectd.cli\n"
    code += "atexit.register(lambda: print([m for m in ('_hashlib', '_ssl', '_lzma', '_bz2') if m in sys.modules]))\n"
    code += f"sys.exit(affectd.cli.main(['run', '--source', {str(speech)!r}]))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=PATIENCE_SECONDS)
    assert done.stdout.splitlines()[-1] == b"[]"


def test_version_is_printed() -> None:
    result = affectd("--version")
    assert result.returncode == 0
    assert result.stdout.decode().startswith("affectd 0.")


@pytest.fixture
def running() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that are killed should a test fail before they end."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def start(running: list[subprocess.Popen[bytes]], *arguments: object) -> subprocess.Popen[bytes]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command(*arguments), **pipes)
    running.append(process)
    return process


@pytest.mark.parametrize("number", STOPS)
def test_a_signal_while_waiting_for_sound_closes_the_last_event(
    model: Path, running: list[subprocess.Popen[bytes]], number: signal.Signals
) -> None:
    raw = raw_sound(SPEECH)
    heard = lines(affectd("run", "--source", "-", "--model", model, stdin=raw).stdout)[0]["end_seconds"]
    process = start(running, "run", "--source", "-", "--model", model)
    assert process.stdin is not None
    assert process.stdout is not None
    # The strides up to the first event and not one more: after it, there is nothing to do but wait for sound.
    n_strides = math.ceil(heard * 16000 / 4096)
    process.stdin.write(raw[: n_strides * 4096 * 2])
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["phase"] == "start"
    process.send_signal(number)
    process.wait(PATIENCE_SECONDS)
    assert process.stderr is not None
    assert (process.returncode, process.stderr.read()) == (0, b"")
    assert lines(process.stdout.read())[-1]["phase"] == "end"


@pytest.mark.parametrize("number", STOPS)
def test_another_signal_does_not_cut_off_the_end(
    model: Path, running: list[subprocess.Popen[bytes]], number: signal.Signals
) -> None:
    # One more when `run` has restored its handlers, one when the program has, and one while Python ends.
    program = """
import atexit, os, signal, sys
import affectd.program.guard, affectd.run
from affectd.__main__ import main
def twice(function):
    def both(*arguments, **options):
        result = function(*arguments, **options)
        signal.raise_signal(number)
        return result
    return both
number = int(sys.argv.pop(1))
affectd.run.serve = twice(affectd.run.serve)
affectd.program.guard._flush = twice(affectd.program.guard._flush)
atexit.register(signal.raise_signal, number)
sys.exit(main())
"""
    words = [sys.executable, "-c", program, str(int(number)), "run", "--source", "-", "--model", model]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    running.append(process)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(raw_sound(SPEECH))
    process.stdin.flush()
    process.stdout.readline()  # it listens
    process.send_signal(number)
    assert process.wait(PATIENCE_SECONDS) == 0
    assert process.stderr is not None
    assert process.stderr.read() == b""


@pytest.mark.parametrize("option", ["--config", "--model"])
def test_a_file_that_never_ends_is_refused_at_once(tmp_path: Path, option: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        fails(affectd("run", option, path), 78, "cannot be read" if option == "--model" else "cannot read")


@pytest.mark.parametrize("number", STOPS)
def test_a_signal_ends_a_start_that_waits_for_its_settings(
    tmp_path: Path, running: list[subprocess.Popen[bytes]], number: signal.Signals
) -> None:
    fifo = tmp_path / "settings"
    os.mkfifo(fifo)
    program = "import sys; from affectd.run import serve; serve(lambda: open(sys.argv[1]).read(), None, realtime=False)"
    process = subprocess.Popen([sys.executable, "-c", program, fifo], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    running.append(process)
    writer = os.open(fifo, os.O_WRONLY)  # returns when the program has opened it, and now waits for its content
    try:
        process.send_signal(number)
        process.wait(PATIENCE_SECONDS)
    finally:
        os.close(writer)
    assert process.stdout is not None
    assert process.stderr is not None
    assert (process.returncode, process.stdout.read(), process.stderr.read()) == (0, b"", b"")


def test_a_lost_terminal_ends_nothing_that_was_told_to_ignore_it(
    model: Path, running: list[subprocess.Popen[bytes]]
) -> None:
    raw = raw_sound(SPEECH)
    words = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh", *command("run", "--source", "-", "--model", model)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    running.append(process)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(raw)
    process.stdin.flush()
    process.stdout.readline()  # it listens
    process.send_signal(signal.SIGHUP)
    out, log = process.communicate(raw, PATIENCE_SECONDS)
    assert (process.returncode, log) == (0, b"")
    assert [event["phase"] for event in lines(out)].count("end") == 2, "it heard all of both"


def test_a_signal_in_the_pause_of_a_file_in_real_time_closes_the_last_event(
    model: Path, tmp_path: Path, running: list[subprocess.Popen[bytes]]
) -> None:
    long = write_wav(tmp_path / "long.wav", np.concatenate([silence(0.2), gain(syllables(60), -12)]))
    process = start(running, "run", "--source", long, "--realtime", "--model", model)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.wait(PATIENCE_SECONDS)
    last = lines(process.stdout.read())[-1]
    assert process.returncode == 0
    assert last["phase"] == "end"
    assert last["end_seconds"] < 50, "it did not play to the end"


def test_a_reader_that_leaves_ends_it_quietly(
    model: Path, tmp_path: Path, running: list[subprocess.Popen[bytes]]
) -> None:
    words = np.concatenate([np.concatenate([silence(1), gain(syllables(2), -12)])] * 60)
    process = start(running, "run", "--source", write_wav(tmp_path / "words.wav", words), "--model", model)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    process.wait(PATIENCE_SECONDS)
    assert (process.returncode, process.stderr.read()) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_a_sentence(model: Path, speech: Path) -> None:
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            command("run", "--source", speech, "--model", model),
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    assert result.returncode == 69
    assert result.stderr == b"affectd: Standard output cannot be written: No space left on device.\n"


@pytest.mark.parametrize("key", ["AFFECTD_FILE_PATH", "--trace"])
def test_a_recording_whose_events_do_not_all_reach_their_file_is_no_success(
    model: Path, speech: Path, tmp_path: Path, key: str
) -> None:
    path = tmp_path / "events.jsonl"
    words = command("run", "--source", speech, "--model", model, *([key, path] if key == "--trace" else []))
    environment = os.environ | ({} if key == "--trace" else {key: str(path)})
    whole = subprocess.run(words, env=environment, capture_output=True, timeout=PATIENCE_SECONDS, check=True)
    n_all = len(path.read_text().splitlines())
    path.unlink()
    cut = subprocess.run(
        words,
        env=environment,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700)),  # as full as a disk
    )
    n_kept = len(lines(path.read_bytes()))
    assert 0 < n_kept < n_all
    assert re.search(
        r"\naffectd: Events are lost: [1-9][0-9]* did not reach (trace|/.*/events.jsonl)\.\n$", cut.stderr.decode()
    )
    assert cut.returncode == 69
    printed = [[event["type"] for event in lines(done.stdout)].count("emotion") for done in (whole, cut)]
    assert printed[0] == printed[1], "an output that fails does not stop another"


@pytest.mark.parametrize("key", ["AFFECTD_FILE_PATH", "--trace"])
@pytest.mark.parametrize("manager", ["", "/nowhere"], ids=["by hand", "under systemd"])
def test_a_folder_that_is_not_mounted_ends_no_service(
    model: Path, speech: Path, tmp_path: Path, key: str, manager: str
) -> None:
    path = tmp_path / "stick" / "events.jsonl"
    words = command("run", "--source", speech, "--model", model, *([key, path] if key == "--trace" else []))
    environment = os.environ | ({} if key == "--trace" else {key: str(path)}) | {"NOTIFY_SOCKET": manager}
    done = subprocess.run(words, env=environment, capture_output=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == 69, "not 78, after which systemd would not try again"
    assert f"{path} cannot be written: its folder is missing; it is mistyped, or on a disk".encode() in done.stderr
    assert bool(lines(done.stdout)) == (b"Events are lost" in done.stderr) == bool(manager)


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_recording_whose_events_no_outbox_keeps_for_the_broker_is_no_success(
    model: Path, speech: Path, tmp_path: Path, *, is_kept: bool
) -> None:
    pytest.importorskip("paho.mqtt.client")
    state = tmp_path / "state"
    if not is_kept:
        state.touch()  # where there must be a folder
    result = subprocess.run(
        command("run", "--source", speech, "--model", model),
        env={
            **{key: value for key, value in os.environ.items() if key not in ("XDG_RUNTIME_DIR", "RUNTIME_DIRECTORY")},
            "STATE_DIRECTORY": str(state),
            "AFFECTD_MQTT_ENABLED": "true",
            "AFFECTD_MQTT_PORT": str(free_port()),
        },
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    n_events, last = len(lines(result.stdout)), result.stderr.decode().splitlines()[-1]
    assert n_events > 0
    assert result.returncode == (0 if is_kept else 69)
    assert is_kept or last == f"affectd: Events are lost: {n_events} did not reach the broker."


def test_standard_output_that_is_closed_is_a_sentence(model: Path, speech: Path) -> None:
    shell = ["sh", "-c", 'exec "$0" "$@" >&-', *command("run", "--source", speech, "--model", model)]
    result = subprocess.run(shell, stderr=subprocess.PIPE, timeout=PATIENCE_SECONDS, check=False)
    assert (result.returncode, result.stderr) == (69, b"affectd: Standard output is closed.\n")


def test_what_a_library_prints_never_reaches_stdout() -> None:
    code = "import os\nfrom affectd.cli import claimed_stdout\nwith claimed_stdout() as out:\n"
    code += "    print('python'); os.write(1, b'C\\n'); out.write('event\\n')\nprint('after')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=PATIENCE_SECONDS, check=True)
    assert result.stdout == b"event\nafter\n"
    assert sorted(result.stderr.split()) == [b"C", b"python"]


def test_a_password_that_every_user_can_read_is_warned_of_once(model: Path, speech: Path, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("open sesame")
    secret.chmod(0o644)
    config = tmp_path / "affectd.toml"
    mqtt = f'enabled = true\nhost = "127.0.0.1"\nport = 1\nusername = "pi"\npassword_file = "{secret}"\n'
    config.write_text(f"[mqtt]\n{mqtt}")
    result = affectd("run", "--source", speech, "--model", model, "--config", config)
    assert result.returncode == 0
    assert result.stderr.decode().count(f"can read the secret in {secret}: chmod o= {secret}\n") == 1
    assert b"sesame" not in result.stderr


def test_a_file_name_is_printed_so_that_no_terminal_obeys_it(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31m\n\u202e\x9b\udcff.wav"
    for words in (["classify", path], ["run", "--source", path], ["run", "--config", path], ["model", "--model", path]):
        said = affectd(*words).stderr.decode()
        assert said[:-1].isprintable(), "one line"
        assert said.endswith("\n")
    for words in (["doctor", "--model", path], ["doctor", "--config", path]):
        assert all(line.isprintable() for line in affectd(*words).stdout.decode().split("\n"))
    write_wav(path, SPEECH)
    (said,) = affectd("classify", path, "--model", model).stdout.decode().splitlines()
    assert said.isprintable()
    assert json.loads(said)["path"] == str(path)

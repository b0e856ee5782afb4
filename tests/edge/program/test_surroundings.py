"""A program in surroundings that are not as usual: no traceback, whatever is missing, closed, full or odd."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from broker import free_port

REPOSITORY = Path(__file__).parents[3]
DEMO = REPOSITORY / "tests" / "data" / "demo.wav"
PATIENCE_SECONDS = 60
PACKAGES = ("affectd", "affectd_train")


def run(*words: str | Path, env: dict[str, str] | None = None, **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=False,
        env=os.environ | (env or {}),
        **options,
    )


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("words", [["--help"], ["nonsense"]], ids=" ".join)
@pytest.mark.parametrize(
    ("streams", "code"),
    [("2>&-", None), (">&-", 69), ("<&-", None), ("<&- >&- 2>&-", 69), (">/dev/full", 69), ("2>/dev/full", None)],
)
def test_a_stream_that_is_closed_or_full_is_no_traceback(
    streams: str, code: int | None, words: list[str], package: str
) -> None:
    line = f"{sys.executable} -m {package} {' '.join(words)} {streams}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, timeout=PATIENCE_SECONDS, check=False)
    usual = 0 if words == ["--help"] else 64
    expected = 64 if (streams, usual) == (">/dev/full", 64) else usual if code is None else code
    assert done.returncode == expected
    assert done.stderr.count(b"\n") == (expected != 0 and "2>" not in streams)
    assert b"Traceback" not in done.stderr


def test_progress_that_cannot_be_shown_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "happy").mkdir()
    (tmp_path / "happy/1.wav").write_bytes(DEMO.read_bytes())
    line = f"{sys.executable} -m affectd_train inspect {tmp_path} 2>&-"
    done = subprocess.run(["sh", "-c", line], capture_output=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == 0
    assert b"LABEL" in done.stdout


def test_too_little_memory_is_a_sentence(tmp_path: Path) -> None:
    for kilobytes in range(60_000, 130_000, 10_000):
        line = f"ulimit -v {kilobytes}; exec {sys.executable} -m affectd classify {DEMO}"
        env = os.environ | {"STATE_DIRECTORY": str(tmp_path)}
        done = subprocess.run(["sh", "-c", line], capture_output=True, timeout=PATIENCE_SECONDS, check=False, env=env)
        if done.stderr.startswith(b"OpenBLAS error"):  # a library of C that ends the process itself
            continue
        if done.returncode:
            assert re.fullmatch(rb"affectd: [^\n]*\n", done.stderr), kilobytes
            assert done.returncode == 69, kilobytes


@pytest.fixture(scope="session")
def homeless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that makes the C library know no user."""
    folder = tmp_path_factory.mktemp("homeless")
    source = folder / "homeless.c"
    source.write_text(
        "#include <pwd.h>\n#include <stddef.h>\n"
        "int getpwuid_r(uid_t u, struct passwd *p, char *b, size_t n, struct passwd **r) { *r = NULL; return 0; }\n"
        "struct passwd *getpwuid(uid_t u) { return NULL; }\n"
    )
    try:
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", folder / "homeless.so", source], check=True)
    except FileNotFoundError:
        pytest.skip("no gcc here")
    return folder / "homeless.so"


@pytest.mark.parametrize("words", [["config"], ["devices"], ["run", "--source", DEMO]], ids=lambda words: words[0])
def test_a_user_without_a_home_can_use_it(words: list[str | Path], homeless: Path, tmp_path: Path) -> None:
    settings = tmp_path / "affectd.toml"
    settings.write_text('[mqtt]\nenabled = true\nhost = "127.0.0.1"\nport = 1\n')
    env = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_STATE_HOME")}
    env["LD_PRELOAD"] = str(homeless)
    more = [] if words == ["devices"] else ["--config", settings]
    command = [sys.executable, "-m", "affectd", *words, *more]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE_SECONDS, check=False, env=env)
    assert done.returncode in ((0, 69) if words == ["devices"] else (0,)), done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("n_files", range(8, 18))
def test_too_few_files_are_a_sentence_and_no_fault_of_the_program(n_files: int, tmp_path: Path) -> None:
    settings = {"MQTT_ENABLED": "true", "MQTT_HOST": "127.0.0.1", "MQTT_PORT": "1", "WEB_ENABLED": "true"}
    settings["WEB_PORT"] = str(free_port())
    state = {"STATE_DIRECTORY": str(tmp_path / "state"), "RUNTIME_DIRECTORY": str(tmp_path / "run")}
    done = run(
        *("-m", "affectd", "run", "--source", DEMO),
        env={f"AFFECTD_{key}": value for key, value in settings.items()} | state,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (n_files, n_files)),
    )
    assert done.returncode in (0, 69), done.stderr
    assert b"unforeseen" not in done.stderr
    assert (done.returncode == 69) == (f"{n_files} are too few (ulimit -n" in done.stderr.decode())


def test_too_few_threads_are_a_sentence_and_no_fault_of_the_program(tmp_path: Path) -> None:
    # A stack for which there is no room, so that not even one thread can be started.
    line = f"ulimit -s {1 << 36} && exec {sys.executable} -m affectd run --source {DEMO}"
    env = os.environ | {"STATE_DIRECTORY": str(tmp_path)}
    done = subprocess.run(["bash", "-c", line], capture_output=True, timeout=PATIENCE_SECONDS, check=False, env=env)
    assert done.returncode == 69, done.stderr
    assert re.fullmatch(rb"affectd: no further thread can be started: [^\n]*TasksMax=[^\n]*\n", done.stderr)
    assert list(tmp_path.glob("*.traceback")) == []


@pytest.mark.parametrize(
    ("home", "code"),
    [("", 0), ("relative", 0), ("/proc/nothing", 69), ("a file", 69)],  # no broker, and no place to keep events
)
def test_a_home_that_is_none_is_no_error(home: str, code: int, tmp_path: Path) -> None:
    if home == "a file":
        (tmp_path / "file").touch()
        home = str(tmp_path / "file")
    settings = tmp_path / "affectd.toml"
    settings.write_text('[mqtt]\nenabled = true\nhost = "127.0.0.1"\nport = 1\nlisten_command = true\n')
    env = {"HOME": home, "XDG_STATE_HOME": "", "XDG_RUNTIME_DIR": ""}
    done = run("-m", "affectd", "run", "--source", DEMO, "--config", settings, env=env, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert done.stdout.count(b'"phase": "end"') == 5
    assert (b"did not reach the broker" in done.stderr) == (code == 69)
    assert b"Traceback" not in done.stderr
    assert not (tmp_path / ".local").exists(), "the current folder is no home"
    assert not (tmp_path / "relative").exists()


@pytest.mark.parametrize(
    ("words", "path", "code", "n_lines"),
    [
        (["run", "--source", DEMO], "", 0, 0),
        (["run", "--source", DEMO], "events.jsonl", 78, 1),
        (["run", "--source", DEMO, "--trace", "trace.jsonl"], "{}/events.jsonl", 78, 1),
        (["classify", ".."], "", 0, 1),
    ],
)
def test_a_current_folder_that_was_deleted_is_no_error(
    words: list[str | Path], path: str, code: int, n_lines: int, tmp_path: Path
) -> None:
    (tmp_path / "demo.wav").symlink_to(DEMO)
    (tmp_path / "back").symlink_to(tmp_path)
    env = os.environ | {"AFFECTD_FILE_PATH": path.format(tmp_path), "TMPDIR": str(tmp_path / "none")}
    line = f'mkdir gone && cd gone && rmdir ../gone && exec {sys.executable} -m affectd "$@"'
    done = subprocess.run(["sh", "-c", line, "sh", *words], capture_output=True, check=False, env=env, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert done.stderr.count(b"\n") == n_lines, done.stderr


def test_a_state_folder_relative_to_one_that_was_deleted_is_said(tmp_path: Path) -> None:
    """As one that cannot be made: events go to the broker, and are only as safe as memory."""
    mqtt = {"AFFECTD_MQTT_ENABLED": "true", "AFFECTD_MQTT_HOST": "127.0.0.1", "AFFECTD_MQTT_PORT": "1"}
    env = os.environ | mqtt | {"STATE_DIRECTORY": "state", "RUNTIME_DIRECTORY": "run", "AFFECTD_DEVICE_ID": "a"}
    line = f"mkdir gone && cd gone && rmdir ../gone && exec {sys.executable} -m affectd run --source {DEMO}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, check=False, env=env, cwd=tmp_path)
    assert done.returncode == 69, done.stderr  # there is no broker
    assert b'"phase": "end"' in done.stdout
    assert b"affectd: state/devices/a cannot be locked" in done.stderr


@pytest.mark.parametrize(
    "locale",
    [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "ascii"}],
    ids=["C", "ASCII", "streams"],
)
@pytest.mark.parametrize("optimized", ["-B", "-O", "-OO"])
def test_any_locale_can_be_used(locale: dict[str, str], optimized: str, tmp_path: Path) -> None:
    name = tmp_path / os.fsdecode(b"\xc3\xa9\xe9.wav")
    name.write_bytes(DEMO.read_bytes())
    done = run(optimized, "-m", "affectd", "classify", name, env=locale)
    assert (done.returncode, done.stderr) == (0, b"")
    model = REPOSITORY / "models" / "affectd.tflite"
    done = run(optimized, "-m", "affectd_train", "report", model, "--out", tmp_path / "é.md", env=locale)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "–" in (tmp_path / "é.md").read_text("utf-8")


def test_a_parent_that_ignores_its_children_or_blocks_signals_changes_nothing() -> None:
    def as_such_a_parent() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))

    # A model file that is named is tried in a child.
    model = REPOSITORY / "models" / "affectd.tflite"
    command = [sys.executable, "-m", "affectd", "run", "--source", DEMO, "--model", model, "--realtime"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=as_such_a_parent) as program:
        assert program.stdout is not None
        assert b'"phase": "start"' in program.stdout.readline()
        program.terminate()
        try:
            assert program.wait(PATIENCE_SECONDS) == 0
        finally:
            program.kill()

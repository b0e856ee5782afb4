"""How a program ends, whatever happens to it: a sentence, an exit code and the file of the traceback."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from affectd.program.traceback_file import write_traceback

REPOSITORY = Path(__file__).parents[3]
DEMO = REPOSITORY / "tests" / "data" / "demo.wav"
PATIENCE_SECONDS = 60
PROGRAMS = {"affectd": "affectd.__main__", "affectd-train": "affectd_train.__main__"}
# A program with a fault: `what` says where it is.
FAULTY = """
import importlib, signal, sys, threading, time
def boom(*anything, **more):
    what = sys.argv[0]
    if what == "recursion":
        return boom()
    if what == "memory":
        return bytes(1 << 60)
    if what == "interrupt":
        raise KeyboardInterrupt
    if what == "pipe":
        raise BrokenPipeError
    if what == "thread":
        thread = threading.Thread(target=fail)
        thread.start()
        threading.Event().wait(60)
    if what == "import":
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise ImportError("initialization failed")
    if what == "interrupted import":
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            pass
        raise ImportError("initialization failed")
    fail()
def fail():
    raise TypeError("a\\x1b[31m\\nb" + "c" * 10_000)
sys.argv[:2] = sys.argv[1:2]
program = importlib.import_module(sys.argv.pop(1))
program._run = boom
sys.exit(program.main())
"""


def run(*words: str | Path, env: dict[str, str] | None = None, **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=False,
        env=os.environ | (env or {}),
        **options,
    )


def faulty(what: str, state: Path, name: str = "affectd") -> subprocess.CompletedProcess[bytes]:
    return run("-c", FAULTY, what, PROGRAMS[name], env={"STATE_DIRECTORY": str(state)})


def sentence(done: subprocess.CompletedProcess[bytes], code: int, name: str = "affectd") -> str:
    said = done.stderr.decode()
    assert done.returncode == code, said
    assert said.startswith(f"{name}: ")
    assert said.count("\n") == 1, said
    assert said[:-1].isprintable()
    return said


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("error", "TypeError"),
        ("recursion", "RecursionError"),
        ("thread", "TypeError"),
        ("pipe", "BrokenPipeError"),
    ],
)
def test_an_unforeseen_error_is_a_sentence_70_and_a_private_file(
    what: str, kind: str, name: str, tmp_path: Path
) -> None:
    state = tmp_path / "affectd"
    before = os.umask(0)
    try:
        for _ in range(2):  # a restart writes the same file again
            said = sentence(faulty(what, state, name), 70, name)
    finally:
        os.umask(before)
    assert kind in said
    assert len(said) < 500
    (path,) = state.iterdir()
    assert said.endswith(f"; the traceback is in {path}\n")
    assert path.name == f"{name}.traceback"
    assert (stat.S_IMODE(state.stat().st_mode), stat.S_IMODE(path.stat().st_mode)) == (0o700, 0o600)
    content = path.read_text()
    assert kind in content
    assert "Traceback (most recent call last)" in content
    assert len(content) < 60_000


def test_too_little_memory_is_unavailable_and_says_which_limits_there_are(tmp_path: Path) -> None:
    said = sentence(faulty("memory", tmp_path), 69)
    assert said.startswith("affectd: there is too little memory (ulimit -v; of a service MemoryMax=): MemoryError; ")
    assert "Traceback (most recent call last)" in (tmp_path / "affectd.traceback").read_text()


@pytest.mark.parametrize(("what", "code"), [("interrupt", 130), ("interrupted import", 130)])
def test_ctrl_c_is_no_error(what: str, code: int, tmp_path: Path) -> None:
    done = faulty(what, tmp_path)
    assert (done.returncode, done.stderr) == (code, b"")
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_is_interrupted_at_any_moment_says_nothing() -> None:
    # At any line that it runs before it is through.
    program = """
import signal, sys
n = int(sys.argv.pop(1))
from affectd.__main__ import main
def trace(frame, event, argument):
    global n
    n -= 1
    if n == 0:
        sys.settrace(None)
        signal.raise_signal(signal.SIGINT)
    return trace
sys.argv[1:] = ["config"]
sys.settrace(trace)
code = main()
sys.settrace(None)
sys.exit(code)
"""
    for n in (3, 5, 20, 100, 1000, 3000, 10_000, 20_000):
        done = run("-c", program, str(n))
        assert done.stderr == b"", n
        assert done.returncode == 130, n


def test_where_nothing_can_be_written_the_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("STATE_DIRECTORY", str(blocked / "affectd"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    path = write_traceback("affectd", ValueError("x"))
    assert path == tmp_path / f"affectd-{os.geteuid()}" / "affectd.traceback"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    path.parent.chmod(0o777)  # as another user could have made it
    monkeypatch.setattr("affectd.program.traceback_file._TEMPORARY", ())
    assert write_traceback("affectd", ValueError("x")) is None
    path.unlink()
    path.parent.rmdir()
    path.parent.symlink_to("/etc")
    assert write_traceback("affectd", ValueError("x")) is None


def test_the_traceback_never_follows_a_link_and_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    (tmp_path / "mine").write_text("mine")
    for name in ("affectd.traceback", "affectd.traceback.new"):
        (tmp_path / name).symlink_to("mine")
    assert write_traceback("affectd", ValueError("x")) == tmp_path / "affectd.traceback"
    assert (tmp_path / "mine").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["affectd.traceback", "mine"]


def test_a_sink_or_a_source_that_fails_unforeseen_ends_the_service(tmp_path: Path) -> None:
    # Standard input stays open: the process must not wait for it.
    program = "import affectd.events.detached as d, sys; d.Descriptor.write = None; from affectd.__main__ import main; "
    words = ["run", "--source", "-"]
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", program + "sys.exit(main())", *words],
        stdin=reader,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"STATE_DIRECTORY": str(tmp_path)},
    )
    os.close(reader)
    try:
        # It ends in the middle of the recording, and then takes no more of it.
        with suppress(BrokenPipeError):
            view = memoryview(DEMO.read_bytes())
            while view:
                view = view[os.write(writer, view) :]
        said = process.communicate(timeout=PATIENCE_SECONDS)[1].decode()
    finally:
        os.close(writer)
        process.kill()
    assert process.returncode == 70, said
    assert "TypeError" in said
    assert "Traceback" not in said


BROKEN = {
    "ImportError": "raise ImportError('libfoo.so.1: cannot open shared object file')",
    "ValueError": "raise ValueError('numpy.dtype size changed, may indicate binary incompatibility')",
    "SyntaxError": "def f(:",
    "ModuleNotFoundError": "import nothing_of_this_name",
    "AttributeError": "import os; os.nothing",
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("kind", BROKEN)
def test_a_package_that_cannot_be_imported_is_named(kind: str, name: str, tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "numpy"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(BROKEN[kind])
    words = {"affectd": ["classify", str(DEMO)], "affectd-train": ["report"]}[name]
    path = os.pathsep.join([str(package.parent), *sys.path])
    env = {"PYTHONPATH": path, "STATE_DIRECTORY": str(tmp_path / "affectd")}
    said = sentence(run("-m", PROGRAMS[name].partition(".")[0], *words, env=env), 69, name)
    assert "the Python package numpy cannot be loaded" in said
    assert kind in said


def test_a_package_that_is_missing_is_named(tmp_path: Path) -> None:
    program = "import sys; sys.modules['soundfile'] = None; from affectd_train.__main__ import main; sys.exit(main())"
    (tmp_path / "ravdess").mkdir()
    env = {"STATE_DIRECTORY": str(tmp_path)}
    said = sentence(run("-c", program, "explore", tmp_path / "ravdess", env=env), 69, "affectd-train")
    assert 'the Python package soundfile is not installed (pip install ".[train]" in the checkout)' in said


def test_a_usage_error_of_the_desktop_is_64_too() -> None:
    for words in (["nonsense"], [], ["fit"], ["explore", "a", "--corpus", "\udce9\x1b[31m"]):
        done = run("-m", "affectd_train", *words)
        assert "--help" in sentence(done, 64, "affectd-train")


def test_a_signal_ends_the_program_before_it_is_ready() -> None:
    process = subprocess.Popen([sys.executable, "-X", "importtime", "-m", "affectd", "run"], stderr=subprocess.PIPE)
    assert process.stderr is not None
    for line in process.stderr:
        if b"affectd.program.guard" in line:
            process.send_signal(signal.SIGTERM)
            break
    said = process.communicate(timeout=PATIENCE_SECONDS)[1]
    assert b"Traceback" not in said
    assert process.returncode in (-signal.SIGTERM, 0)


def test_names_are_printed_so_that_no_terminal_obeys_them_by_the_desktop_too(tmp_path: Path) -> None:
    name = "a\x1b[31m\n\u202e.md"
    model = REPOSITORY / "models" / "affectd.tflite"
    done = run("-m", "affectd_train", "report", model, "--out", tmp_path / name)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == f"{tmp_path}/a\\x1b[31m\\n\\u202e.md\n"
    assert (tmp_path / name).exists()
    for words in (["report", tmp_path / "\x1b\n"], ["explore", tmp_path / "\x1b\n"]):
        assert "\\x1b\\n" in run("-m", "affectd_train", *words).stderr.decode()


@pytest.mark.parametrize(
    "line", ["affectd --help", "affectd config", "affectd_train --help", "affectd_train report -h"]
)
def test_a_reader_that_leaves_is_no_error(line: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-m", *line.split()]
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, timeout=PATIENCE_SECONDS, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_file_that_fails_while_it_is_read_is_a_sentence_and_tried_again_by_the_service(tmp_path: Path) -> None:
    mem = "/proc/self/mem"  # whose first page is not there
    for words, code in ((["run", "--config", mem], 69), (["model", "--model", mem], 69), (["classify", mem], 66)):
        assert "Input/output error" in sentence(run("-m", "affectd", *words), code)


def test_neither_a_password_nor_sound_gets_into_the_file(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("open sesame")
    secret.chmod(0o600)
    settings = tmp_path / "affectd.toml"
    settings.write_text(
        '[mqtt]\nenabled = true\nhost = "127.0.0.1"\nport = 1\nusername = "pi"\n' + f'password_file = "{secret}"\n'
    )
    for faulty_part in ("affectd.mqtt.connection.read_login", "affectd.mqtt.connection.Connection._advance"):
        module, _, name = faulty_part.rpartition(".")
        program = (
            "import sys, affectd.mqtt.connection, affectd.mqtt.credentials as c\n"
            "def fail(config): password = c.read_login(config).password; raise TypeError(len(password))\n"
            f"{module}.{name} = fail if {name!r} == 'read_login' else (lambda self: fail(self._config))\n"
            "from affectd.__main__ import main; sys.exit(main())"
        )
        state = tmp_path / "state"
        words = ["run", "--source", DEMO, "--config", settings]
        done = run("-c", program, *words, env={"STATE_DIRECTORY": str(state)})
        assert done.returncode == (70 if name == "read_login" else 0), done.stderr
        assert b"TypeError: 11; the traceback is in" in done.stderr
        assert b"Traceback" not in done.stderr
        content = (state / "affectd.traceback").read_text()
        assert "TypeError: 11" in content
        for text in (content, done.stderr.decode()):
            assert "sesame" not in text

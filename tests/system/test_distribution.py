"""What users install: the wheel and the sdist, in a clean environment, run as programs."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
DEMO = REPOSITORY / "tests" / "data" / "demo.wav"
MODEL = REPOSITORY / "models" / "affectd.tflite"


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)


def install(folder: Path, *requirements: str) -> Path:
    """Make an environment with these requirements; return its folder of programs."""
    venv.create(folder, with_pip=True)
    done = run(folder / "bin" / "pip", "install", "-q", "--disable-pip-version-check", *requirements)
    assert done.returncode == 0, done.stderr
    return folder / "bin"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the wheel and the sdist; the wheel is built from the sdist, as PyPI's users would."""
    folder = tmp_path_factory.mktemp("dist")
    done = run(sys.executable, "-m", "build", "--outdir", folder, REPOSITORY)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def bare(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and nothing but what it requires."""
    return install(tmp_path_factory.mktemp("bare"), str(next(built.glob("*.whl"))))


def test_the_wheel_carries_the_model_the_schema_the_page_and_the_license(built: Path) -> None:
    names = zipfile.ZipFile(next(built.glob("*.whl"))).namelist()
    assert "affectd/affectd.tflite" in names
    assert "affectd/events/event.schema.json" in names
    assert "affectd/py.typed" in names
    page = {
        f"affectd/web/static/{path.name}" for path in (REPOSITORY / "edge" / "affectd" / "web" / "static").iterdir()
    }
    assert len(page) >= 8
    assert page <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    shared = {name.partition(".data/data/")[2] for name in names if ".data/" in name}
    assert shared == {str(path.relative_to(REPOSITORY)) for path in REPOSITORY.glob("share/**/*") if path.is_file()}
    assert not [
        name
        for name in names
        if name.split("/")[0] not in ("affectd", "affectd_train") and "dist-info" not in name and ".data/" not in name
    ]


def test_the_sdist_carries_the_tests_and_scripts_but_no_leftovers(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    assert {"README.md", "models/affectd.tflite", "scripts/run", "tests/data/demo.wav"} <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith((".venv", "runs/"))]


def test_the_bare_wheel_installs_numpy_and_nothing_else(bare: Path) -> None:
    packages = {p["name"].lower() for p in json.loads(run(bare / "pip", "list", "--format", "json").stdout)}
    assert packages - {"pip", "setuptools"} == {"affectd", "numpy"}


def test_man_and_shells_find_what_the_wheel_brings(bare: Path) -> None:
    for path in ("man/man1/affectd.1", "bash-completion/completions/affectd", "zsh/site-functions/_affectd"):
        assert (bare.parent / "share" / path).read_text() == (REPOSITORY / "share" / path).read_text()


def test_the_bare_wheel_says_which_interpreter_is_missing(bare: Path) -> None:
    assert run(bare / "affectd", "--version").returncode == 0
    done = run(bare / "affectd", "classify", DEMO)
    assert done.returncode == 69
    assert "ai-edge-litert" in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def programs(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and an interpreter, and no other extra."""
    wheel = next(built.glob("*.whl"))
    return install(tmp_path_factory.mktemp("interpreter"), f"affectd[interpreter] @ {wheel.as_uri()}")


def test_with_the_interpreter_the_wheel_hears_speech(programs: Path) -> None:
    done = run(programs / "affectd", "run", "--source", DEMO)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {event["phase"] for event in events} >= {"start", "end"}
    assert run(programs / "affectd", "model", "--self-test").returncode == 0


def imported(python: Path | str) -> set[str]:
    """Return what `affectd run` imports: its own modules, and the packages of others."""
    done = run(python, "-X", "importtime", "-m", "affectd", "run", "--source", DEMO)
    assert done.returncode == 0, done.stderr
    names = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    others = (
        {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"imported package", "sitecustomize"}
    )
    return {name for name in names if name.startswith("affectd")} | {name for name in others if name[0] != "_"}


def test_the_extras_change_nothing_of_what_the_device_imports(programs: Path) -> None:
    without = imported(programs / "python")
    assert "affectd.recognition.classifier" in without
    # pickle looks for Jython's org.
    assert {name for name in without if "." not in name} - {"org"} == {"affectd", "numpy"}
    assert imported(sys.executable) == without


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["archive", "calls", "--out", "table"], "ray"),
        (["evaluate", "--data", ".", "--protocol", "own", "--address"], "ray"),
        (["keys", "private", "public"], "sign"),
        (["fit", "--data", "."], "train"),
    ],
    ids=["archive", "evaluate", "keys", "fit"],
)
def test_what_needs_an_extra_says_which(programs: Path, tmp_path: Path, words: list[str], extra: str) -> None:
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    command = [programs / "affectd-train", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 69
    assert f'pip install ".[{extra}]" in the checkout' in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]


def test_the_sdist_installs_and_runs(built: Path, tmp_path: Path) -> None:
    programs = install(tmp_path, f"affectd[interpreter] @ {next(built.glob('*.tar.gz')).as_uri()}")
    done = run(programs / "affectd", "classify", DEMO)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["speech_seconds"] > 5

"""The rooms of the code and the arrows between them: few, downwards, without a circle."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

REPOSITORY = Path(__file__).parents[1]
MOST_ARROWS = 155
UPWARDS = [
    ("edge/affectd/features/mel.py", "from affectd.recognition import vad", "device: imports lead downwards"),
    ("edge/affectd/audio/wav.py", "from affectd.features import mel", "a source of sound knows neither"),
    ("edge/affectd/outbox/outbox.py", "import affectd.config.sections", "features and outbox stand alone"),
    ("edge/affectd/pipeline.py", "from affectd.audio import source", "the pipeline does not know"),
    ("edge/affectd/errors.py", "import affectd_train", "the device never imports the desktop"),
    ("edge/affectd/unplaced.py", "import affectd.errors", "device: imports lead downwards"),
]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"sys.path[:0] = [{str(folder / 'edge')!r}, {str(folder / 'train')!r}]"
    code = f"import sys; {path}; from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", code, "--no-cache"]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


def test_imports_lead_downwards() -> None:
    done = lint(REPOSITORY)
    assert done.returncode == 0, done.stdout
    assert " 0 broken." in done.stdout


@pytest.mark.parametrize(("path", "line", "contract"), UPWARDS, ids=[path for path, _, _ in UPWARDS])
def test_an_import_upwards_is_refused(tmp_path: Path, path: str, line: str, contract: str) -> None:
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    for side in ("edge", "train"):
        shutil.copytree(REPOSITORY / side, tmp_path / side, ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / path
    file.write_text((file.read_text() if file.exists() else "") + f"\n{line}\n")
    done = lint(tmp_path)
    assert done.returncode == 1, done.stdout
    broken = [line for line in done.stdout.splitlines() if line.endswith("BROKEN")]
    assert any(contract in line for line in broken), broken


def arrows_of(package: str) -> set[tuple[str, str]]:
    graph = grimp.build_graph(package)
    for room in graph.find_children(package):
        graph.squash_module(room)
    rooms = graph.find_children(package)
    return {(room, other) for room in rooms for other in graph.find_modules_directly_imported_by(room) & rooms}


def test_the_device_has_few_arrows_between_its_rooms() -> None:
    arrows = arrows_of("affectd")
    assert len(arrows) <= MOST_ARROWS, sorted(arrows)


@pytest.mark.parametrize(("package", "side", "least"), [("affectd", "edge", 11), ("affectd_train", "train", 4)])
def test_a_room_imports_no_more_than_its_docstring_lists(package: str, side: str, least: int) -> None:
    lists = {}
    for init in (REPOSITORY / side / package).glob("*/__init__.py"):
        words = " ".join(init.read_text().split())  # those that may import "what is below" list nothing
        if found := re.search(
            r"\bimports? ((?:`\w+`(?:, | and )?)+)(?= alone|[.;]| and nothing)", words, re.IGNORECASE
        ):
            lists[f"{package}.{init.parent.name}"] = {f"{package}.{name}" for name in re.findall(r"`(\w+)`", found[1])}
    assert len(lists) >= least, sorted(lists)
    assert not {(room, other) for room, other in arrows_of(package) if other not in lists.get(room, {other})}

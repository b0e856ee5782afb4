"""The notebook in docs/ runs from top to bottom, on recordings that it makes itself, and holds no outputs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from affectd.recognition.classifier import Classifier
from affectd.recognition.golden import self_test
from affectd.recognition.model_file import read_model
from documents import REPOSITORY

NOTEBOOK = REPOSITORY / "docs" / "explore-and-train.ipynb"


def test_it_explores_trains_and_makes_a_model_file(tmp_path: Path) -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells), "committed without outputs"
    # Without magics, the cells are one program.
    program = "\n\n".join("".join(cell["source"]) for cell in cells)
    done = subprocess.run(
        [sys.executable, "-W", "ignore:FigureCanvasAgg", "-c", program],
        cwd=tmp_path,
        env=os.environ | {"MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "54" in done.stdout  # recordings, by inspect
    assert "of 18 recordings of own-cleo are called what they are" in done.stdout
    model = read_model(tmp_path / "explore" / "mine.tflite")
    assert model.labels == ("neutral", "happy", "sad")
    self_test(model, Classifier(model))

"""The same MFCCs on the oldest NumPy that affectd runs on, whose FFT knows float64 only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from affectd.features.mfcc import Mfcc
from affectd.features.spec import FeatureSpec
from mfcc_references import like_psf, speech, synthetic

EVERY_COLUMN = FeatureSpec(
    deltas="second", mel="log", pitch="semitones", rms="decibel", zero_crossings="rate", chroma="magnitude"
)
OTHER_NUMPY = "1.26.4"
OTHER_SCRIPT = """
import json, sys
import numpy as np
from affectd.features.mfcc import FeatureSpec, Mfcc
assert np.__version__ == sys.argv[1], np.__version__
specs = json.load(open(sys.argv[2]))
signals = np.load(sys.argv[3])
mfccs = [Mfcc(FeatureSpec.from_dict(spec)) for spec in specs]
np.savez(sys.argv[4], **{f"{n} {i}": mfcc(signals[n]) for i, mfcc in enumerate(mfccs) for n in signals})
"""


@pytest.fixture(scope="session")
def other_python(pytestconfig: pytest.Config) -> Path:
    """An interpreter that sees NumPy 1.26 and nothing else, kept in pytest's cache."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if sys.version_info >= (3, 13):
        pytest.skip(f"NumPy {OTHER_NUMPY} has no wheel for Python {version}")
    assert pytestconfig.cache is not None
    home = pytestconfig.cache.mkdir(f"numpy-{OTHER_NUMPY}-python-{version}")
    python = home / "bin" / "python"
    if not python.exists() or subprocess.run([python, "-c", "import numpy"], capture_output=True).returncode:
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", home], check=True)
        pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", f"numpy=={OTHER_NUMPY}"]
        installed = subprocess.run(pip, capture_output=True, text=True)
        if installed.returncode:
            pytest.skip(f"NumPy {OTHER_NUMPY} cannot be installed: {installed.stderr.strip()[-200:]}")
    return python


def assert_same_on_other_numpy(python: Path, signals: dict[str, np.ndarray], folder: Path) -> None:
    specs = [FeatureSpec(), FeatureSpec(reference="one"), like_psf()[0], like_psf(window="hamming")[0], EVERY_COLUMN]
    (folder / "specs.json").write_text(json.dumps([spec.to_dict() for spec in specs]))
    np.savez(folder / "signals.npz", **signals)
    edge = Path(__file__).resolve().parents[3] / "edge"
    arguments = [OTHER_NUMPY, folder / "specs.json", folder / "signals.npz", folder / "results.npz"]
    subprocess.run([python, "-c", OTHER_SCRIPT, *arguments], env=os.environ | {"PYTHONPATH": str(edge)}, check=True)
    results = np.load(folder / "results.npz")
    for index, spec in enumerate(specs):
        for name, samples in signals.items():
            theirs = results[f"{name} {index}"]
            assert theirs.dtype == np.float32
            np.testing.assert_allclose(Mfcc(spec)(samples), theirs, rtol=0, atol=1e-3, err_msg=name)


def test_numpy_1_26_gives_the_same_cepstra(other_python: Path, tmp_path: Path) -> None:
    assert_same_on_other_numpy(other_python, synthetic(), tmp_path)


def test_numpy_1_26_gives_the_same_cepstra_of_speech(other_python: Path, speech_data: Path, tmp_path: Path) -> None:
    assert_same_on_other_numpy(other_python, speech(speech_data), tmp_path)

"""What student projects compute with librosa is what the device's own columns give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from affectd.features.mfcc import Mfcc
from affectd.features.spec import FeatureSpec
from affectd_train.protocols.baseline_features import five_means, mfcc_frames, mfcc_mean, mfcc_pitch_energy
from mfcc_references import speech

# librosa's defaults at 16 kHz.
LIBROSA = {"window_length": 2048, "n_fft": 2048, "hop_length": 512, "reference": "one", "log_floor": 1e-10}
FIVE = FeatureSpec(
    **LIBROSA, n_mfcc=20, top_db=80.0, mel="power", rms="linear", zero_crossings="rate", chroma="magnitude"
)


@pytest.fixture(params=["RAVDESS angry", "RAVDESS calm", "TESS angry", "TESS sad"])
def samples(request: pytest.FixtureRequest, speech_data: Path) -> np.ndarray:
    cut = speech(speech_data)[request.param][:48000]
    return np.pad(cut, (0, 48000 - len(cut)))


def test_mfcc_frames_and_their_mean(samples: np.ndarray) -> None:
    ours = Mfcc(FeatureSpec(**LIBROSA, n_mfcc=40, top_db=80.0))(samples)
    np.testing.assert_allclose(ours, mfcc_frames(samples), atol=1e-3)
    np.testing.assert_allclose(ours.mean(0)[:, None], mfcc_mean(samples), atol=1e-3)


def test_mfcc_pitch_energy(samples: np.ndarray) -> None:
    spec = FeatureSpec(**LIBROSA, n_mfcc=40, top_db=80.0, pitch="semitones", rms="decibel")
    ours, theirs = Mfcc(spec)(samples), mfcc_pitch_energy(samples)
    assert ours.shape == theirs.shape == (94, 42)
    np.testing.assert_allclose(np.delete(ours, 40, axis=1), np.delete(theirs, 40, axis=1), atol=1e-3)
    # librosa takes the pitch in float32, in which a trough may lie on the other side of the threshold.
    assert np.mean(np.abs(ours[:, 40] - theirs[:, 40]) < 0.01) >= 0.97


def test_five_means(samples: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    # The tuning is estimated from the whole recording, which a stream does not have.
    monkeypatch.setattr("librosa.feature.spectral.estimate_tuning", lambda **_: 0.0)
    theirs = five_means(samples)[:, 0]
    means = dict(
        zip(FIVE.columns, np.split(Mfcc(FIVE)(samples).mean(0), np.cumsum([*FIVE.columns.values()])[:-1]), strict=True)
    )
    ours = np.concatenate([means[name] for name in ("zero_crossings", "chroma", "mfcc", "rms", "mel")])
    assert ours.shape == theirs.shape == (162,)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)

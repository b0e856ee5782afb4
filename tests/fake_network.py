"""A network whose answers a test writes down beforehand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from affectd.features.spec import FeatureSpec

LABELS = ("angry", "calm", "happy")


class FakeNetwork:
    """Remembers every context and answers by a script: one letter per call, the first letter of its label."""

    def __init__(self, script: str = "", n_frames: int = 150) -> None:
        self.model = SimpleNamespace(
            spec=FeatureSpec(),
            n_frames=n_frames,
            labels=LABELS,
            thresholds={"uncertain": 0.3},
            tflite=b"fake",
            head=None,
            voice=None,
            learning_head=None,
            layout=None,
            hearing=None,
        )
        self.calls: list[np.ndarray] = []
        self._script = script or "c"

    def __call__(self, cepstra: np.ndarray) -> np.ndarray:
        wanted = self._script[min(len(self.calls), len(self._script) - 1)]
        self.calls.append(cepstra.copy())
        return np.array([0.8 if label[0] == wanted else 0.1 for label in LABELS], np.float32)

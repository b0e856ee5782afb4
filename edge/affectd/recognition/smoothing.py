"""Smoothing of successive classifications into a stable label.

Averages over about a second and waits for a minimum count before the first answer, as TensorFlow's
``recognize_commands`` does. A change of label then needs a lead (hysteresis) for several classifications
in a row (patience), and a minimum time since the last change (dwell).

At its end an utterance keeps the label it earned: of the labels it was given on the way, ``uncertain`` left out, the
one with the highest mean probability over the whole utterance; ``uncertain`` if it was given no other.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from affectd.arrays import Float32, Float64
from affectd.config.sections import Config, SmoothingConfig
from affectd.recognition.model_file import ModelFile

UNCERTAIN = "uncertain"


@dataclass(frozen=True)
class Answer:
    """A label, its probability, and the probabilities of all labels.

    If the label is ``uncertain``, the probability is that of the best label.

    Examples
    --------
    >>> Answer("uncertain", 0.5, {"angry": 0.5, "sad": 0.5}).probability
    0.5
    """

    label: str
    probability: float
    probabilities: dict[str, float]


class Smoother:
    """Turns the classifications of one utterance into answers.

    ``uncertain`` is treated as a class whose probability is always `threshold`, with the same lead and patience.
    `labels` are in the order of the probabilities; `stride_seconds` lie between two classifications.

    Examples
    --------
    >>> config = SmoothingConfig(average_seconds=0.5, minimum_count=2)
    >>> smoother = Smoother(config, ("angry", "sad"), stride_seconds=0.25, threshold=0.6)
    >>> smoother.push(np.array([0.75, 0.25], np.float32))  # None before the minimum count
    >>> smoother.push(np.array([0.75, 0.25], np.float32))
    Answer(label='angry', probability=0.75, probabilities={'angry': 0.75, 'sad': 0.25})
    """

    def __init__(
        self, config: SmoothingConfig, labels: tuple[str, ...], stride_seconds: float, threshold: float
    ) -> None:
        self._config = config
        self._labels = labels
        self._threshold = threshold
        self._dwell_count = math.ceil(config.dwell_seconds / stride_seconds)
        self._recent: deque[Float32] = deque(maxlen=max(1, round(config.average_seconds / stride_seconds)))
        self.reset()

    def reset(self) -> None:
        """Begin an utterance."""
        self._recent.clear()
        self._sum = np.zeros(len(self._labels))
        self._count = 0
        self._current: int | None = None
        self._named: set[int] = set()  # labels given so far, besides ``uncertain``
        self._changed_at = 0
        self._rival = -1
        self._rival_count = 0

    def push(self, probabilities: Float32, is_speech: bool = True) -> Answer | None:
        """Take the next classification, ``(n_labels,)`` of sum 1; return the answer, None before the first.

        The first comes at the minimum count, or at the next classification after it for which `is_speech`, whether
        there was speech since the last classification: a sound that is over by then, such as a click, has none.
        """
        self._recent.append(probabilities)
        self._sum += probabilities
        self._count += 1
        if self._current is None and (self._count < self._config.minimum_count or not is_speech):
            return None
        mean: Float64 = np.array(self._recent, np.float64).mean(axis=0)
        if self._current is None:
            self._current, self._changed_at = self._best(mean), self._count
        elif self._should_change(self._current, mean):
            self._current, self._changed_at = self._rival, self._count
        if self._current < len(self._labels):
            self._named.add(self._current)
        return self._answer(self._current, mean)

    def overall(self) -> Answer | None:
        """Return the label that the utterance earned, with the mean of the whole utterance; None if `push` gave none.

        The probability of a label may be below the threshold then, for it may have been given for a part alone.
        """
        if self._current is None:
            return None
        mean = self._sum / self._count
        earned = max(sorted(self._named), key=lambda index: mean[index], default=len(self._labels))
        return self._answer(earned, mean)

    def _should_change(self, current: int, mean: Float64) -> bool:
        candidates = [*mean, self._threshold]
        best = self._best(mean)
        lead = candidates[best] - candidates[current]
        leads = best != current and lead >= self._config.hysteresis
        self._rival_count = self._rival_count + 1 if leads and best == self._rival else int(leads)
        self._rival = best
        patient = self._rival_count >= self._config.patience
        return bool(patient and self._count - self._changed_at >= self._dwell_count)

    def _best(self, mean: Float64) -> int:
        """Return the index of the best label, or one past the last for ``uncertain``."""
        best = int(mean.argmax())
        return best if mean[best] >= self._threshold else len(self._labels)

    def _answer(self, index: int, mean: Float64) -> Answer:
        probabilities = dict(zip(self._labels, mean.tolist(), strict=True))
        if index == len(self._labels):
            return Answer(UNCERTAIN, max(probabilities.values()), probabilities)
        return Answer(self._labels[index], probabilities[self._labels[index]], probabilities)


def uncertain_threshold(model: ModelFile, config: Config) -> float:
    """Return the probability below which a label is ``uncertain``: the configured one, else the model's."""
    configured = config.smoothing.uncertain
    return model.thresholds["uncertain"] if configured is None else configured

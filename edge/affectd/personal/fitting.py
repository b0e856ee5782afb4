"""The head fitted again on a few labeled clips: multinomial logistic regression that is pulled towards the old head.

With ``z`` the embedding of a clip (the mean over its contexts) minus the mean of all clips, divided by their spread,
the new weights minimize

    sum of w * -log(softmax(z @ weights + bias)[label])  +  strength / 2 * (|weights - old weights|^2 + |bias|^2)

where ``w``, 1 on the average, makes every label count the same. What is pulled towards is so the old head on what
differs from how this person usually sounds; a label that it does not know starts at zero. The strength is the one at
which clips that were left out are the most probable (cross-validation).

Sources: ridge towards a prior as in C. Chelba, A. Acero, "Adaptation of Maximum Entropy Capitalizer", 2004; truncated
Newton steps as in J. Nocedal, S. J. Wright, "Numerical Optimization", 2006, algorithm 7.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from affectd.arrays import Array, Bool, Float32, Float64
from affectd.recognition.classifier import softmax
from affectd.recognition.head import functionals_distance

STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
N_FOLDS = 5
# Of the contexts of this voice so many are not to be doubted.
_NEAR_SHARE = 0.95
# Of the root mean square of all spreads: a number that hardly changes in a few clips would else count for much.
_LEAST_SPREAD = 0.2
_MOST_STEPS, _MOST_INNER_STEPS = 50, 200


class Layer(NamedTuple):
    """A fitted layer: ``logits = (embedding - mean) @ weights + bias``, at temperature 1."""

    weights: Float64  # (n_embedding, n_labels)
    bias: Float64  # (n_labels,)
    mean: Float64  # (n_embedding,)
    spread: Float64  # (n_embedding,)

    def answer(self, heard: Float32) -> Float64:
        """Return the mean probabilities ``(n_labels,)`` of the contexts of a clip, ``(n_contexts, n_embedding)``."""
        return mean_probabilities((heard - self.mean) @ self.weights + self.bias)


class Chosen(NamedTuple):
    """What cross-validation found."""

    strength: float
    answers: Float64  # (n_clips, n_labels), to each clip without it


def learn(heard: Sequence[Float32], truth: Array, old: Float64, strength: float) -> Layer:
    """Fit a layer on clips.

    Parameters
    ----------
    heard
        Of each clip the embeddings of its contexts, ``(n_contexts, n_embedding)``.
    truth
        ``(n_clips,)``, the number of the label of each.
    old
        ``(n_embedding, n_labels)``, the weights of the old head at temperature 1, towards which the new are pulled.
    strength
        How strongly: the weight of the squared distance from them in the loss, see `minimize`.
    """
    embeddings, shares, mean, spread = _usual(heard, truth)
    known = np.hstack([(embeddings - mean) / spread, np.ones((len(embeddings), 1))])
    start = np.vstack([spread[:, None] * old, np.zeros(old.shape[1])])
    fitted = minimize(known, truth, len(truth) * shares, start, strength)
    return Layer(fitted[:-1] / spread[:, None], fitted[-1], mean, spread)


def _usual(heard: Sequence[Float32], truth: Array) -> tuple[Float64, Float64, Float64, Float64]:
    """Return the embedding of each clip, its share, which sum to 1, and the mean and the spread of all embeddings."""
    embeddings = np.stack([contexts.mean(0, dtype=np.float64) for contexts in heard])
    counts = np.bincount(truth)
    shares = (1.0 / np.maximum(counts, 1))[truth] / np.count_nonzero(counts)
    mean = shares @ embeddings
    spread = np.sqrt(shares @ (embeddings - mean) ** 2)
    spread = np.maximum(spread, max(_LEAST_SPREAD * float(np.sqrt(np.mean(spread**2))), 1e-6))
    return embeddings, shares, mean, spread


def minimize(x: Float64, truth: Array, weights: Float64, start: Float64, strength: float) -> Float64:
    """Find the weights ``(n, n_labels)`` of least loss, for rows of `x`, ``(n_clips, n)``.

    The loss is ``sum(weights * -log(softmax(x @ w)[truth])) + strength / 2 * sum((w - start) ** 2)``, which has one
    minimum; steps are those of Newton, by conjugate gradients.
    """
    is_truth = np.eye(start.shape[1])[truth]

    def loss(w: Float64) -> float:
        logits = x @ w
        logits -= logits.max(1, keepdims=True)
        surprise = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(x)), truth]
        return float(weights @ surprise + strength / 2 * np.sum((w - start) ** 2))

    w, least = start, loss(start)
    for _ in range(_MOST_STEPS):
        given = softmax(x @ w)
        slope = x.T @ (weights[:, None] * (given - is_truth)) + strength * (w - start)
        if np.abs(slope).max() < 1e-6 * len(x):
            break
        step, size = _newton_step(x, weights, given, slope, strength), 1.0
        while (now := loss(w + size * step)) > least + 1e-4 * size * float(np.sum(slope * step)) and size > 1e-6:
            size /= 2
        w, least = w + size * step, now
    return w


def _newton_step(x: Float64, weights: Float64, given: Float64, slope: Float64, strength: float) -> Float64:
    """Solve ``curvature @ step = -slope`` until the rest is a small part of the slope."""
    step = np.zeros_like(slope)
    rest, direction = -slope, -slope
    size = first = float(np.sum(rest * rest))
    # The nearer the minimum, the more exactly.
    enough = first * min(0.01, np.sqrt(first)) ** 2
    for _ in range(_MOST_INNER_STEPS):
        moved = x @ direction
        moved = given * (moved - np.sum(given * moved, 1, keepdims=True))
        curved = x.T @ (weights[:, None] * moved) + strength * direction
        length = size / float(np.sum(direction * curved))
        step, rest = step + length * direction, rest - length * curved
        before, size = size, float(np.sum(rest * rest))
        if size <= enough:
            break
        direction = rest + size / before * direction
    return step


def choose(heard: Sequence[Float32], truth: Array, old: Float64) -> Chosen:
    """Choose the strength by cross-validation: each clip is answered by a layer that was fitted without its fold."""
    best = Chosen(STRENGTHS[-1], np.empty(0))
    least = np.inf
    for strength in reversed(STRENGTHS):
        answers = np.empty((len(truth), old.shape[1]))
        for left_out in folds(truth):
            kept = np.flatnonzero(~left_out).tolist()
            layer = learn([heard[i] for i in kept], truth[kept], old, strength)
            for i in np.flatnonzero(left_out).tolist():
                answers[i] = layer.answer(heard[i])
        if (surprise := surprise_of(answers, truth)) < least:
            best, least = Chosen(strength, answers), surprise
    return best


def far_of(heard: Sequence[Float32], truth: Array) -> float:
    """Return `Head.far_functionals` for a head that is fitted on these clips.

    That is a quantile, over all contexts, of the distance of the functionals, which are the end of each embedding, from
    their mean over the clips of the other folds.
    """
    distances = []
    for left_out in folds(truth):
        kept = np.flatnonzero(~left_out).tolist()
        _, _, mean, spread = _usual([heard[i] for i in kept], truth[kept])
        distances += [functionals_distance(heard[i], mean, spread) for i in np.flatnonzero(left_out).tolist()]
    return float(np.quantile(np.concatenate(distances), _NEAR_SHARE))


def folds(truth: Array) -> Iterator[Bool]:
    """Yield which clips are left out, ``(n_clips,)``: of every label about as many in each of `N_FOLDS`."""
    number = np.empty(len(truth), np.int64)
    for label in np.unique(truth):
        of_label = np.flatnonzero(truth == label)
        number[of_label] = np.arange(len(of_label)) % N_FOLDS
    for fold in range(N_FOLDS):
        yield number == fold


def surprise_of(answers: Float64, truth: Array) -> float:
    """Return the mean of ``-log(probability of the label)``, each label counting the same."""
    surprise = -np.log(np.maximum(answers[np.arange(len(truth)), truth], 1e-12))
    return float(np.mean([surprise[truth == label].mean() for label in np.unique(truth)]))


def mean_probabilities(logits: Float64) -> Float64:
    """Return the mean of the softmax of logits ``(n_contexts, n_labels)``, as ``affectd classify`` answers."""
    mean: Float64 = softmax(logits).mean(0)
    return mean

"""The fit: the optimum that scikit-learn and SciPy find, and strengths that suit the clips."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize as scipy_minimize
from sklearn.linear_model import LogisticRegression

from affectd.features.functionals import N_FUNCTIONALS
from affectd.personal import fitting
from affectd.personal.fitting import STRENGTHS, choose, far_of, folds, learn, minimize, surprise_of
from affectd.recognition.head import functionals_distance


def clips(
    n_each: int, n_labels: int = 3, n_embedding: int = 12, apart: float = 2.0, seed: int = 0
) -> tuple[list[np.ndarray], np.ndarray]:
    """Clips of a few contexts each, whose labels are this far apart."""
    random = np.random.default_rng(seed)
    centers = random.normal(0, apart, (n_labels, n_embedding))
    truth = np.repeat(np.arange(n_labels), n_each)
    heard = [
        (centers[label] + random.normal(0, 1, n_embedding) + random.normal(0, 0.3, (4, n_embedding))).astype(np.float32)
        for label in truth
    ]
    return heard, truth


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), strength=st.sampled_from([0.1, 1.0, 30.0]), n_labels=st.integers(3, 6))
def test_it_finds_the_optimum_of_scikit_learn(seed: int, strength: float, n_labels: int) -> None:
    random = np.random.default_rng(seed)
    x = random.normal(0, 1, (8 * n_labels, 15))
    truth = random.permutation(np.repeat(np.arange(n_labels), 8))
    weights = random.uniform(0.3, 2, len(x))
    ours = minimize(x, truth, weights, np.zeros((15, n_labels)), strength)
    theirs = LogisticRegression(C=1 / strength, fit_intercept=False, tol=1e-9, max_iter=5000)
    theirs.fit(x, truth, sample_weight=weights)
    assert ours == pytest.approx(theirs.coef_.T, abs=2e-4)


def test_it_is_pulled_towards_the_old_weights_as_far_as_scipy_says() -> None:
    random = np.random.default_rng(3)
    x, truth, start = random.normal(0, 1, (30, 6)), np.arange(30) % 3, random.normal(0, 2, (6, 3))

    def loss(flat: np.ndarray) -> float:
        logits = x @ flat.reshape(6, 3)
        chosen = logits[np.arange(30), truth] - np.log(np.exp(logits).sum(1))
        return float(-chosen.sum() + 2.0 * np.sum((flat - start.ravel()) ** 2))

    wanted = scipy_minimize(loss, np.zeros(18), method="BFGS", options={"gtol": 1e-7}).x.reshape(6, 3)
    assert minimize(x, truth, np.ones(30), start, 4.0) == pytest.approx(wanted, abs=1e-4)


def test_the_strongest_pull_leaves_the_old_head_on_what_differs_from_the_mean() -> None:
    heard, truth = clips(5)
    old = np.random.default_rng(1).normal(0, 1, (12, 3))
    layer = learn(heard, truth, old, 1e9)
    assert layer.weights == pytest.approx(old, abs=1e-5)
    assert layer.bias == pytest.approx(np.zeros(3), abs=1e-5)
    assert layer.mean == pytest.approx(np.mean([clip.mean(0) for clip in heard], 0), abs=1e-5)


def test_labels_count_the_same_however_many_clips_they_have() -> None:
    heard, truth = clips(6, apart=0.8)
    once = learn(heard, truth, np.zeros((12, 3)), 3.0)
    # Every clip of one label three times: the total grows, and with it what the pull is compared with.
    more = [clip for clip, label in zip(heard, truth, strict=True) for _ in range(3 if label == 0 else 1)]
    numbers = np.concatenate([np.repeat(label, 3 if label == 0 else 1) for label in truth])
    twice = learn(more, numbers, np.zeros((12, 3)), 3.0 * len(numbers) / len(truth))
    assert twice.weights == pytest.approx(once.weights, abs=1e-4)
    assert twice.mean == pytest.approx(once.mean, abs=1e-6)


def test_clips_that_agree_with_nothing_old_are_learned_and_noise_is_not() -> None:
    heard, truth = clips(8, apart=3.0)
    learned = choose(heard, truth, np.zeros((12, 3)))
    assert learned.strength <= STRENGTHS[2]
    assert (learned.answers.argmax(1) == truth).mean() > 0.9
    noise, _ = clips(8, apart=0.0, seed=1)
    assert choose(noise, truth, np.zeros((12, 3))).strength >= 100


def test_an_answer_is_made_without_its_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    heard, truth = clips(5)
    seen: list[set[int]] = []
    real = fitting.learn

    def noted(kept: list[np.ndarray], *rest: object) -> fitting.Layer:
        seen.append({id(clip) for clip in kept})
        return real(kept, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(fitting, "learn", noted)
    answers = choose(heard, truth, np.zeros((12, 3))).answers
    assert answers.sum(1) == pytest.approx(np.ones(15))
    left_out = [{id(clip) for clip in heard} - kept for kept in seen[:5]]
    assert sorted(map(len, left_out)) == [3] * 5
    assert set().union(*left_out) == {id(clip) for clip in heard}


def test_the_same_voice_is_near_also_in_clips_that_it_was_not_fitted_to_and_another_is_far() -> None:
    heard, truth = clips(8, n_embedding=N_FUNCTIONALS)
    half = np.arange(len(truth)) % 8 < 5
    kept = [clip for clip, is_kept in zip(heard, half, strict=True) if is_kept]
    far = far_of(kept, truth[half])
    layer = learn(kept, truth[half], np.zeros((N_FUNCTIONALS, 3)), 1.0)
    others = np.concatenate([clip for clip, is_kept in zip(heard, half, strict=True) if not is_kept])
    assert (functionals_distance(others, layer.mean, layer.spread) < 1.1 * far).all()
    assert (functionals_distance(others + 10, layer.mean, layer.spread) > 2 * far).all()


@settings(max_examples=30)
@given(counts=st.lists(st.integers(5, 23), min_size=2, max_size=6))
def test_every_fold_has_its_share_of_every_label(counts: list[int]) -> None:
    truth = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    parts = list(folds(truth))
    assert (np.sum(parts, 0) == 1).all()
    for part in parts:
        of_label = np.bincount(truth[part], minlength=len(counts))
        assert (of_label >= np.array(counts) // 5).all()
        assert (of_label <= -(-np.array(counts) // 5)).all()


def test_surprise_counts_labels_the_same() -> None:
    answers = np.array([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.75, 0.25]])
    assert surprise_of(answers, np.array([0, 0, 0, 1])) == pytest.approx((np.log(2) + np.log(4)) / 2)

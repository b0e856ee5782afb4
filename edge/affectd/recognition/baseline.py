"""The baseline: the embedding that a place has when nothing special is said; the head sees what differs from it.

It starts at the mean of the training and moves to the mean of the speech of this place. At the end of an utterance,
with ``e`` the mean of its embeddings and the numbers of `BaselineSpec`:

1. ``seconds *= 2 ** -(hours of sound since the last one / half_life_hours)``
2. ``weight = min(seconds of speech, utterance_seconds) * min(1, near_distance / distance(e, baseline))``
3. ``mean += (e - mean) * weight / (seconds + weight)`` and ``seconds += weight``
4. ``baseline = start + (mean - start) * seconds / (prior_seconds + seconds)``

With a `Voice` the embedding are functionals, and their scatter around the mean of the place is learned, too, with the
same weights: how far the place is one voice. So is the mean of what is answered, where the file tells what is usual
(`affectd.recognition.voice`).

So one long utterance counts no more than a short one, and an outburst, far from the baseline, less: the mean tends to
what is usual. Time is that of the stream: no clock that jumps can make it forget, and a device that is off forgets
nothing. An utterance with little speech, little of its time speech, or an embedding far from all that was trained on
is not learned from, nor is one that a `Voice` takes for noise. Its level says nothing: the gain of the microphone is
unknown.

Sources: shrinkage as in D. A. Reynolds, T. F. Quatieri, R. B. Dunn, "Speaker Verification Using Adapted Gaussian
Mixture Models", 2000, equation 14; weights as in P. J. Huber, "Robust Estimation of a Location Parameter", 1964; the
scatter as in D. H. D. West, "Updating Mean and Variance Estimates: An Improved Method", 1979.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from affectd.arrays import Float32, Float64
from affectd.errors import UsageError
from affectd.recognition.classifier import Classifier, softmax
from affectd.recognition.head import Head
from affectd.recognition.model_file import ModelFile

if TYPE_CHECKING:
    from affectd.recognition.voice import Voice

STRIDE = 4
"""Functionals are computed of every fourth context of an utterance: neighbors share nearly all frames, and they cost
as much as the network."""


class Heard(Protocol):
    """What `affectd.events.event.Utterance` says at its end."""

    end_seconds: float
    speech_frames: int

    @property
    def speech_ratio(self) -> float:
        """Share of its frames that were speech."""


@dataclass(frozen=True, eq=False)
class Learned:
    """All that is known of a place."""

    seconds: float
    """Of speech, those long ago counted less."""
    offset: Float64
    """``(n_embedding,)``: the mean of the speech, minus the mean of the training; with a voice as `Voice.noted`."""
    since: float | None = None
    """When it began, in seconds since the epoch; None where the clock was not set."""
    scatter: float = 0.0
    """Of the utterances of a voice, as `affectd.recognition.voice` says; 0 for a head on an embedding."""


class Baseline:
    """The baseline of one place, as far as it is known.

    Examples
    --------
    >>> from affectd.recognition.head import BaselineSpec
    >>> spec = BaselineSpec(prior_seconds=6, half_life_hours=48, utterance_seconds=6, least_seconds=1,
    ...                     least_speech_ratio=0.2, near_distance=2, far_distance=9)
    >>> one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    >>> baseline = Baseline(Head(weights=one[None], bias=one, baseline=zero, spread=one, spec=spec))
    >>> baseline.learn(one, speech_seconds=20, speech_ratio=0.7, at_hours=0.1)
    True
    >>> float(baseline.value[0]), baseline.settled
    (0.5, 0.5)
    """

    def __init__(self, head: Head, learned: Learned | None = None, voice: Voice | None = None) -> None:
        self.head, self.voice = head, voice
        self.start: Float32 = head.baseline if voice is None else voice.start
        self.learned = Learned(0.0, np.zeros(len(self.start))) if learned is None else learned
        self._at_hours = 0.0
        self._move()

    @property
    def settled(self) -> float:
        """How far it has moved from the mean of the training to that of the place, 0 to 1."""
        return self.learned.seconds / (self.head.spec.prior_seconds + self.learned.seconds)

    @property
    def trust(self) -> float:
        """How far the place is one voice, 0 to 1; 1 for a head on an embedding, which does not ask."""
        if self.voice is None:
            return 1.0
        middle = self.voice.spec.middle_scatter
        return self.voice.trust(middle + self.settled * (self.learned.scatter - middle))

    def near(self, functionals: Float32 | Float64) -> float:
        """Return how far what is heard, ``(n_embedding,)``, is of the voice of the place, 0 to 1."""
        return 1.0 if self.voice is None else self.voice.near(self.voice.distance(functionals, self._mean))

    @property
    def distance(self) -> float:
        """How far it is from the mean of the training, see `Head.distance`."""
        return self.head.distance(self.value)

    def learn(
        self,
        embedding: Float32 | Float64,
        *,
        speech_seconds: float,
        speech_ratio: float,
        at_hours: float,
        now: float | None = None,
    ) -> bool:
        """Learn from an utterance; return False if it is none to learn from.

        Parameters
        ----------
        embedding : (n_embedding,)
            The mean over the utterance; with a voice of what it has `noted`.
        speech_seconds, speech_ratio
            How long speech was heard in it, and the share of its time that was speech.
        at_hours
            When it ended, since the sound began.
        now
            When it ended, in seconds since the epoch; None if that is not known.
        """
        spec = self.head.spec
        if speech_seconds < spec.least_seconds or speech_ratio < spec.least_speech_ratio or speech_seconds <= 0:
            return False
        heard = embedding[: self.head.n_embedding]
        is_speech = self.voice is None or self.voice.like_speech(heard) > 0
        if not is_speech or not self.head.distance(heard) <= spec.far_distance:
            return False
        weight = min(speech_seconds, spec.utterance_seconds)
        distance = self.head.distance_between(heard, self.value)
        if distance > spec.near_distance:
            weight *= spec.near_distance / distance
        before = self.learned
        kept = before.seconds * 2.0 ** (-max(0.0, at_hours - self._at_hours) / spec.half_life_hours)
        share = weight / (kept + weight)
        step = (embedding - self.start.astype(np.float64) - before.offset) * share
        scatter = before.scatter
        if self.voice is not None:
            # An utterance tells the less of how voices differ the more it changes the mean that it is compared with.
            differs = (1 - share) * self.voice.distance(heard, self._mean)
            scatter += share * ((1 - share) * differs + share * self.voice.spec.middle_scatter - scatter)
        self.learned = Learned(kept + weight, before.offset + step, before.since if before.seconds else now, scatter)
        self._at_hours = at_hours
        self._move()
        return True

    @property
    def _mean(self) -> Float64:
        return self.head.baseline + self.learned.offset[: self.head.n_embedding]

    def _move(self) -> None:
        n, moved = self.head.n_embedding, self.settled * self.learned.offset
        self.value: Float32 = (self.head.baseline + moved[:n]).astype(np.float32)
        self.off: Float64 | float = moved[n:] if len(moved) > n else 0.0


def head_of(model: ModelFile) -> Head:
    """Return the head of a model, or of its voice.

    Raises
    ------
    UsageError
        It has none.
    """
    if model.learning_head is None:
        raise UsageError("This model has no baseline: the file has neither a head nor a voice.")
    return model.learning_head


def learning_head_of(model: ModelFile) -> Head:
    """Return the head of a model that gets to know a place.

    Raises
    ------
    UsageError
        It has none, or one whose baseline stays where it is.
    """
    head = head_of(model)
    if not head.spec.moves:
        raise UsageError("This model has no baseline that moves: it knows the voice or place that it was fitted to.")
    return head


class Placed:
    """The network at one place: a `Network` whose head sees the embedding minus the baseline of the place.

    With a voice the head sees functionals, and adds to the network's logits as far as the voice is known.

    Every call is part of an utterance; `ended` ends it and learns from it, so that it has one baseline throughout.

    Raises
    ------
    UsageError
        The model has no head.
    """

    def __init__(self, classifier: Classifier, learned: Learned | None = None) -> None:
        self.model: ModelFile = classifier.model
        self._classifier, self._head = classifier, head_of(self.model)
        self.baseline = Baseline(self._head, learned, self.model.voice)
        self.reset()

    def reset(self) -> None:
        """Begin an utterance; what was heard of one that did not end is not learned from."""
        self._sum = np.zeros(len(self.baseline.start))
        self._count = self._calls = 0

    @property
    def sure(self) -> float | None:
        """What the logits of the last call were multiplied by, see `Voice.sure`; None of a file that tells no noise."""
        voice = self.model.voice
        return None if voice is None or voice.speech is None else float(self._sure)

    def __call__(self, cepstra: Float32) -> Float32:
        """Return the probabilities ``(n_labels,)`` of one context, as `Classifier` does."""
        return self.answer(self._classifier.embed(cepstra), lambda: self._classifier.functionals.heard(cepstra))

    def answer(self, output: Float32, heard: Callable[[], tuple[Float32, float]]) -> Float32:
        """Return the probabilities of a context of which the network gave this, ``(n_outputs,)``.

        With a voice, or a head that sees functionals, `heard` is asked for those of the context where they are needed,
        and the share of it that they are of.
        """
        if self.model.voice is not None:
            logits = self._with_voice(output, heard)
        else:
            logits = self._at_place(self._seen(output, heard) if self.model.sees_functionals else output)
        self._calls += 1
        return softmax(logits, self.model.temperature)

    def _seen(self, output: Float32, heard: Callable[[], tuple[Float32, float]]) -> Float32:
        if self._calls % STRIDE == 0:
            self._functionals, _ = heard()
        return self._head.seen(output, self._functionals)

    def _at_place(self, embedding: Float32) -> Float32:
        self._hear(embedding)
        return self._head.doubted(self._head.logits(embedding, self.baseline.value), embedding)

    def _with_voice(self, logits: Float32, heard: Callable[[], tuple[Float32, float]]) -> Float32:
        baseline, voice = self.baseline, self.baseline.voice
        assert voice is not None
        if self._calls % STRIDE == 0:
            functionals, share = heard()
            stranger = voice.of_stranger(functionals)
            self._hear(voice.noted(logits, functionals, stranger))
            near = baseline.near(self._sum[: self._head.n_embedding] / self._count)
            self._known = baseline.settled * baseline.trust * near * voice.enough(share)
            self._said = voice.said(functionals, baseline.value, self._known, stranger)
            self._sure = voice.sure(functionals)
        return voice.mixed(logits - baseline.off, self._said, self._known) * self._sure

    def _hear(self, embedding: Float32) -> None:
        self._sum += embedding
        self._count += 1

    def ended(self, utterance: Heard, now: float | None = None) -> bool:
        """Learn from the utterance of the calls since the last one; return whether it was one to learn from."""
        mean, count = self._sum / max(1, self._count), self._count
        self.reset()
        if not count:
            return False
        return self.baseline.learn(
            mean,
            speech_seconds=utterance.speech_frames / self.model.spec.frame_rate,
            speech_ratio=utterance.speech_ratio,
            at_hours=utterance.end_seconds / 3600.0,
            now=now,
        )

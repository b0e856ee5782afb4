"""The baseline of a place: the mean embedding of the speech there, which the head subtracts before it names a label.

It starts at the mean of the training and moves to the mean of the place. At the end of each utterance it learns from
``e``, the mean of the utterance's embeddings, by the numbers of `BaselineSpec`:

1. ``seconds *= 2 ** -(hours of sound since the last one / half_life_hours)``
2. ``weight = min(seconds of speech, utterance_seconds) * min(1, near_distance / distance(e, baseline))``
3. ``mean += (e - mean) * weight / (seconds + weight)`` and ``seconds += weight``
4. ``baseline = start + (mean - start) * seconds / (prior_seconds + seconds)``

By step 2 a long utterance counts no more than a short one, and an outburst, which is far from the baseline, less: the
mean tends to what is usual. Hours are those of the stream: a clock that is set wrong cannot make it forget, and while
it is off a device forgets nothing.

Nothing is learned from an utterance with little speech, with speech in little of its time, with an embedding far from
all that was trained on, or that a `Voice` takes for noise. The level does not matter: the gain of the microphone is
unknown.

With a `Voice` (`affectd.recognition.voice`) the functionals take the place of the embedding. Then two more things are
learned with the same weights: the scatter of the utterances around the mean, which tells one voice from many, and, if
the file says what is usual, the mean of the logits.

Where people take turns, as at a kiosk, the place is no one's voice. So with a voice there is a second baseline, of the
`VoiceAtHand`, and of the two the one counts that is better known.

Sources: step 4, shrinkage, as in D. A. Reynolds, T. F. Quatieri, R. B. Dunn, "Speaker Verification Using Adapted
Gaussian Mixture Models", 2000, equation 14; step 2, weights, as in P. J. Huber, "Robust Estimation of a Location
Parameter", 1964; the scatter as in D. H. D. West, "Updating Mean and Variance Estimates: An Improved Method", 1979.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from affectd.arrays import Float32, Float64
from affectd.errors import UsageError
from affectd.recognition.classifier import Classifier, Network, softmax
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


@dataclass
class PastUtterance:
    """An utterance, or a whole recording, as a `Heard`."""

    speech_frames: int
    end_seconds: float = 0.0
    speech_ratio: float = 1.0


@dataclass(frozen=True, eq=False)
class Learned:
    """All that is known of a place."""

    seconds: float
    """Of speech, those long ago counted less."""
    offset: Float64
    """``(n_embedding,)``: mean of the place minus mean of the training; with a voice in the order of `Voice.noted`."""
    since: float | None = None
    """When it began, in seconds since the epoch; None where the clock was not set."""
    scatter: float = 0.0
    """How far the utterances differ from their mean, see `affectd.recognition.voice`; 0 for a head on an embedding."""


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

    _reach = 1.0  # of how far from the mean an utterance is of the voice

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
        """How far the place is one voice, 0 to 1; always 1 for a head on an embedding."""
        if self.voice is None:
            return 1.0
        middle = self.voice.spec.middle_scatter
        return self.voice.trust(middle + self.settled * (self.learned.scatter - middle))

    def near(self, functionals: Float32 | Float64) -> float:
        """Return how far functionals ``(n_embedding,)`` are of the voice of the place, 0 to 1; without a voice 1."""
        if self.voice is None:
            return 1.0
        return self.voice.near(self.voice.distance(functionals, self._mean) / self._reach)

    def known(self, functionals: Float32 | Float64) -> float:
        """Return how far the voice of an utterance with these functionals ``(n_embedding,)`` is known, 0 to 1."""
        return self.settled * self.trust * self.near(functionals)

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
        """Learn from an utterance; return whether it was used.

        Parameters
        ----------
        embedding : (n_embedding,)
            The mean over the utterance; with a voice the mean of `Voice.noted`, which is longer where it has logits.
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
        self._meet(heard)
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

    def _meet(self, functionals: Float32 | Float64) -> None:
        """Look at an utterance before it is learned from."""

    @property
    def _mean(self) -> Float64:
        return self.head.baseline + self.learned.offset[: self.head.n_embedding]

    def _move(self) -> None:
        n, moved = self.head.n_embedding, self.settled * self.learned.offset
        self.value: Float32 = (self.head.baseline + moved[:n]).astype(np.float32)
        self.off: Float64 | float = moved[n:] if len(moved) > n else 0.0


class VoiceAtHand(Baseline):
    """The baseline of who is speaking now: it begins anew with an utterance that sounds like another voice."""

    _reach = 0.2  # less than of a place, for this is of a few utterances
    _END = 0.8  # times `far_voice`, from the mean: chosen on corpora that were left out, see tests/turns.py

    def __init__(self, voice: Voice) -> None:
        super().__init__(voice.head, voice=voice)

    def _meet(self, functionals: Float32 | Float64) -> None:
        assert self.voice is not None
        if self.voice.distance(functionals, self._mean) > self._END * self.voice.spec.far_voice:
            self.learned = Learned(0.0, np.zeros(len(self.start)))
            self._move()


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
    """The network at one place: a `Network` that uses the baseline of the place, and learns it.

    Each call classifies a context of the utterance that is under way. `ended` ends the utterance and learns from it;
    until then the baseline stays as it is.

    Raises
    ------
    UsageError
        The model has no head.
    """

    def __init__(self, classifier: Classifier, learned: Learned | None = None) -> None:
        self.model: ModelFile = classifier.model
        self._classifier, self._head = classifier, head_of(self.model)
        self.baseline = Baseline(self._head, learned, self.model.voice)
        self.at_hand = None if self.model.voice is None else VoiceAtHand(self.model.voice)
        self.reset()

    def reset(self) -> None:
        """Begin an utterance; what was heard of one that did not end is not learned from."""
        self._sum = np.zeros(len(self.baseline.start))
        self._count = self._calls = 0

    @property
    def sure(self) -> float | None:
        """What the logits of the last call were multiplied by, see `Voice.sure`; None of a file without a voice."""
        return None if self.model.voice is None else float(self._sure)

    def __call__(self, cepstra: Float32) -> Float32:
        """Return the probabilities ``(n_labels,)`` of one context, as `Classifier` does."""
        return self.answer(self._classifier.embed(cepstra), lambda: self._classifier.functionals.heard(cepstra))

    def answer(self, output: Float32, heard: Callable[[], tuple[Float32, float]]) -> Float32:
        """Return the probabilities ``(n_labels,)`` of a context, from the output ``(n_outputs,)`` of the network.

        `heard` returns the functionals of the context, and which share of it is speech. With a voice, or a head that
        sees functionals, it is called for every fourth context (`STRIDE`), else never.
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
        assert self.baseline.voice is not None
        assert self.at_hand is not None
        baseline, voice = self.baseline, self.baseline.voice
        if self._calls % STRIDE == 0:
            functionals, share = heard()
            stranger = voice.of_stranger(functionals)
            self._hear(voice.noted(logits, functionals, stranger))
            mean = self._sum[: self._head.n_embedding] / self._count
            known, at_hand = baseline.known(mean), self.at_hand.known(mean)
            self._known = max(known, at_hand) * voice.enough(share)
            usual = baseline.value if known >= at_hand else self.at_hand.value
            self._said = voice.said(functionals, usual, self._known, stranger)
            self._sure = voice.sure(functionals, self._known)
        return voice.mixed(logits - baseline.off, self._said, self._known) * self._sure

    def _hear(self, embedding: Float32) -> None:
        self._sum += embedding
        self._count += 1

    def ended(self, utterance: Heard, now: float | None = None) -> bool:
        """End the utterance and learn from it; return whether it was used, as `Baseline.learn`."""
        mean, count = self._sum / max(1, self._count), self._count
        self.reset()
        if not count:
            return False
        return self.learn(
            mean,
            speech_seconds=utterance.speech_frames / self.model.spec.frame_rate,
            speech_ratio=utterance.speech_ratio,
            at_hours=utterance.end_seconds / 3600.0,
            now=now,
        )

    def learn(self, embedding: Float32 | Float64, **utterance: Any) -> bool:
        """Learn from an utterance, as `Baseline.learn`, of the place and of the voice at hand."""
        if self.at_hand is not None:
            self.at_hand.learn(embedding, **utterance)
        return self.baseline.learn(embedding, **utterance)


def at_new_place(classifier: Classifier) -> tuple[Network, Callable[[Heard], object]]:
    """Return the network of a device that knows nothing of its place, and what learns from each utterance at its end.

    A model without a head learns nothing.
    """
    if classifier.model.learning_head is None:
        return classifier, lambda utterance: None
    placed = Placed(classifier)
    return placed, placed.ended

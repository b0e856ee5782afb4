"""The voice of a model file of format 4: it tells emotions relative to how the same voice usually sounds.

The network gives logits, as in format 1. Beside it, logits are computed from the `affectd.features.functionals` of the
same context, some of them relative to the baseline, the mean functionals of the speech at this place
(`affectd.recognition.baseline`). The result is::

    (network - off) * (1 - known * (1 - network_share)) + known * (head + relative) + (1 - known) * stranger

===============  ======================================================================================================
``network``      logits of the network
``head``         logits of a linear layer (`Head`) on the functionals minus the baseline, for a voice that is known
``relative``     logits of two more layers (`Layers`) on the same; 0 in a file without them
``stranger``     logits of `Layers` on the functionals minus the mean of the training, for a voice that is not known;
                 0 in a file without them
``known``        how far the voice is known, 0 to 1: ``settled * trust * near * enough``
``settled``      how far the baseline has moved from the mean of the training to the mean of the place
``trust``        whether the place is one voice: 1 up to ``same_scatter``, 0 from ``other_scatter`` on, as at a kiosk
``near``         whether the utterance is of that voice: 1 up to the distance ``far_voice``, 0 from twice that on, such
                 as for a passenger, who must not be compared with the driver
``enough``       whether enough of the context is speech, from 0 to 1: functionals of a few frames lie far from those of
                 sentences, which the head was fitted to and the baseline is made of
``off``          ``settled`` times how far the mean of ``network + stranger`` at this place exceeds ``usual``, its mean
                 on an ordinary day: where all sound sad to the network, the place is not sad. 0 without ``usual``
===============  ======================================================================================================

So a device that knows nothing adds ``stranger`` alone to the network. Where people take turns ``known`` and the
baseline are those of the voice at hand (`affectd.recognition.baseline.VoiceAtHand`), if it is known better.

Of strangers it is less sure: the result is multiplied by ``stranger_share``, rising to 1 as far as the voice is
``known``. That makes an answer ``uncertain`` and never another label.

``scatter`` is the mean square distance of the utterances from the mean of the place, along `Voice.directions`: those in
which voices differ most and the utterances of one voice least. It is below ``same_scatter`` where one person speaks,
and above ``other_scatter`` where each utterance is another person's.

Where the file has ``speech``, what sounds like noise is doubted: the logits are multiplied by a number from 0.25 to 1.
That too never makes another label of it, and a place does not learn from it. The number depends on ``like_speech``,
which is 0 where the functionals are as likely those of noise as of speech, and rises to 1.

The arrays lie in ``golden.npz`` beside those of the head, the numbers are ``voice`` in ``spec.json``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from affectd.arrays import Array, Float16, Float32, Float64
from affectd.errors import ModelFileError
from affectd.features.functionals import N_CEPSTRA, N_FUNCTIONALS, n_pitch_bands
from affectd.features.spec import FeatureSpec
from affectd.recognition.checks import Checks, finite, is_array, read_numbers, within
from affectd.recognition.head import BaselineSpec, Head, take_head
from affectd.recognition.layers import RELATIVE, STRANGER, Layers, bounded, take_layers
from affectd.recognition.model_checks import VOICE_KEYS

if TYPE_CHECKING:
    from affectd.recognition.model_file import ModelFile

_MOST_DIRECTIONS = N_FUNCTIONALS
_MOST_FMIN = 70.0
_FEW, _ENOUGH = 0.106, 0.213  # of the frames of a context: 0.32 and 0.64 s of 3 s
_LEAST_SURE = 0.25  # above 0: whatever is heard, the likeliest label stays the likeliest


@dataclass(frozen=True, kw_only=True)
class VoiceSpec:
    """The numbers that decide how much the head of a voice counts; training chooses them."""

    network_share: float
    """What is left of the network's logits where the voice is known."""
    same_scatter: float
    """Up to this scatter it is one voice."""
    other_scatter: float
    """From this scatter on it is many."""
    far_voice: float
    """Up to this distance from the place an utterance is of its voice; from twice as far on it is of another."""
    stranger_share: float = 1.0
    """What is left of all logits where the voice is not known; 1 in a file that does not say."""

    @property
    def middle_scatter(self) -> float:
        """Half way from one voice to many: what is believed of a place before it is known."""
        return (self.same_scatter + self.other_scatter) / 2

    def stored(self) -> dict[str, float]:
        """Return the object ``voice`` of ``spec.json``."""
        numbers = asdict(self)
        if self.stranger_share == 1.0:
            del numbers["stranger_share"]  # files without it stay as they are
        return numbers

    def checks(self) -> Checks:
        """Yield what `affectd.recognition.checks.require` takes."""
        yield from within("voice", self, _RANGES)
        is_more = self.other_scatter > self.same_scatter
        yield "voice.other_scatter", is_more, f"more than same_scatter ({self.same_scatter:g})", self.other_scatter


_RANGES: dict[str, tuple[float, float]] = {
    "network_share": (0.0, 1.0),
    "same_scatter": (1e-3, 1e6),
    "other_scatter": (1e-3, 1e6),
    "far_voice": (1e-3, 1e6),
    "stranger_share": (_LEAST_SURE, 1.0),
}


@dataclass(frozen=True, eq=False, kw_only=True)
class Voice:
    """A head on functionals, and what tells one voice from many.

    Parameters
    ----------
    head : Head
        Its embedding are the functionals.
    directions : (N_FUNCTIONALS, n) float32
        Those in which voices differ; the longer a column, the more it counts what differs along it.
    spec : VoiceSpec
        How far the head is believed.
    relative : Layers, optional
        What is said of a voice that is known, beside the head.
    stranger : Layers, optional
        What is said of a voice that is not known.
    usual : (n_labels,) float32, optional
        The mean of the logits of an ordinary day, of a voice that is not known.
    speech : (N_FUNCTIONALS + 1,) float16, optional
        What tells speech from noise: weights of functionals as `Layers` see them, and after them what is added.
    """

    head: Head
    directions: Float32
    spec: VoiceSpec
    relative: Layers | None = None
    stranger: Layers | None = None
    usual: Float32 | None = None
    speech: Float16 | None = None

    @property
    def start(self) -> Float32:
        """What the baseline of a place is before anything is heard, in the order of `noted`."""
        return self.head.baseline if self.usual is None else np.concatenate([self.head.baseline, self.usual])

    def noted(self, network: Float32, functionals: Float32, stranger: Float64) -> Float32:
        """Return what the baseline of a place learns from one context.

        Parameters
        ----------
        network, stranger : (n_labels,)
            The logits of the network, and those `of_stranger`.
        functionals : (N_FUNCTIONALS,)
            Of the context.

        Returns
        -------
        ndarray, float32
            The functionals, ``(N_FUNCTIONALS,)``; in a file with `usual` followed by the sum of the logits,
            ``(N_FUNCTIONALS + n_labels,)``.
        """
        return functionals if self.usual is None else np.concatenate([functionals, self.mixed(network, stranger, 0.0)])

    def distance(self, functionals: Array, mean: Array) -> float:
        """Return how far an utterance is from the mean of a place, as ``scatter`` counts; both ``(N_FUNCTIONALS,)``."""
        away = (np.asarray(functionals, np.float64) - mean) @ self.directions
        return float(np.mean(away * away))

    def trust(self, scatter: float) -> float:
        """Return how far a place of this scatter is one voice, 0 to 1."""
        same, other = self.spec.same_scatter, self.spec.other_scatter
        return min(1.0, max(0.0, (other - scatter) / (other - same)))

    def near(self, distance: float) -> float:
        """Return how far an utterance at this `distance` is of the voice of the place, 0 to 1."""
        return min(1.0, max(0.0, 2.0 - distance / self.spec.far_voice))

    def enough(self, share: float) -> float:
        """Return ``enough`` for a context of which this share is speech, both 0 to 1."""
        return min(1.0, max(0.0, (share - _FEW) / (_ENOUGH - _FEW)))

    def like_speech(self, functionals: Array) -> float:
        """Return how far functionals ``(N_FUNCTIONALS,)`` are those of speech rather than of noise, 0 to 1.

        It is 1 for a file that cannot tell, and for those of no sound, NaN.
        """
        if self.speech is None or not np.isfinite(functionals).all():
            return 1.0
        weights = self.speech.astype(np.float64)
        found = bounded(self._away(functionals, self.head.baseline)) @ weights[:-1] + weights[-1]
        return min(1.0, max(0.0, float(found)))

    def sure(self, functionals: Float32, known: float) -> np.float32:
        """Return what the logits are multiplied by: 1 for functionals of a `known` voice, less for noise and strangers.

        Parameters
        ----------
        functionals : (N_FUNCTIONALS,)
            Of the context.
        known : float
            How far the voice is known, 0 to 1.
        """
        of_speech = _LEAST_SURE + (1.0 - _LEAST_SURE) * self.like_speech(functionals)
        return np.float32(of_speech * (1.0 - (1.0 - known) * (1.0 - self.spec.stranger_share)))

    def of_stranger(self, functionals: Float32) -> Float64:
        """Return the logits of ``stranger``, ``(n_labels,)``; 0 without it, and for functionals of no sound, NaN."""
        if self.stranger is None or not np.isfinite(functionals).all():
            return np.zeros(len(self.head.bias))
        return self.stranger.logits(self._away(functionals, self.head.baseline))

    def said(self, functionals: Float32, baseline: Float32, known: float, stranger: Float64) -> Float64:
        """Return the logits ``(n_labels,)`` that are added to those of the network.

        Parameters
        ----------
        functionals, baseline : (N_FUNCTIONALS,)
            Of the context, NaN if there is no sound in it; of the place.
        known : float
            How far the voice is known, 0 to 1.
        stranger : (n_labels,)
            The logits `of_stranger`.
        """
        if not known or not np.isfinite(functionals).all():
            return (1.0 - known) * stranger
        return known * self._of_known(functionals, baseline) + (1.0 - known) * stranger

    def _of_known(self, functionals: Float32, baseline: Float32) -> Float64:
        said = self.head.logits(functionals, baseline).astype(np.float64)
        return said if self.relative is None else said + self.relative.logits(self._away(functionals, baseline))

    def weights(self) -> Float32:
        """Return one linear layer ``(N_FUNCTIONALS, n_labels)`` that approximates head and ``relative`` together."""
        if self.relative is None:
            return self.head.weights
        return np.asarray(self.head.weights + self.relative.slopes() / self.head.spread[:, None], np.float32)

    def _away(self, functionals: Array, baseline: Float32) -> Float64:
        away: Float64 = (functionals.astype(np.float64) - baseline) / self.head.spread
        return away

    def mixed(self, network: Float32 | Float64, said: Float64, known: float) -> Float32:
        """Return the logits ``(n_labels,)`` of the network, scaled down as far as the voice is `known`, plus `said`."""
        share = 1.0 - known * (1.0 - self.spec.network_share)
        return np.asarray(network.astype(np.float64) * share + said, np.float32)

    def cold(self, network: Float32, functionals: Float32) -> Float32:
        """Return the logits ``(n_labels,)`` where no voice is known, from those of the network."""
        return self.mixed(network, self.of_stranger(functionals), 0.0) * self.sure(functionals, 0.0)

    def golden(self, functionals: Float32) -> Float32:
        """Return the golden vector ``logits``, ``(n_labels,)``: ``head + relative + stranger``, as sure as if known."""
        stranger = self.of_stranger(functionals)
        said = self.said(functionals, self.head.baseline, 1.0, stranger) + stranger
        return np.asarray(said, np.float32) * self.sure(functionals, 1.0)

    def checks(self, n_labels: int, spec: FeatureSpec) -> Checks:
        """Yield what `affectd.recognition.checks.require` takes; `spec` is that of the network's input."""
        yield from self.head.checks(n_labels)
        n = self.head.n_embedding
        yield "golden.weights", n == N_FUNCTIONALS, f"a head of {N_FUNCTIONALS} functionals", n
        shape = self.directions.shape if isinstance(self.directions, np.ndarray) else ()
        k = shape[1] if len(shape) == 2 else 1
        is_valid = is_array(self.directions, np.float32, N_FUNCTIONALS, k) and 1 <= k <= _MOST_DIRECTIONS
        expected = f"float32 ({N_FUNCTIONALS}, 1 to {_MOST_DIRECTIONS})"
        yield "golden.directions", is_valid, expected, self.directions
        yield from finite("golden.directions", self.directions)
        for prefix, layers in self.layers().items():
            yield from layers.checks(n_labels, prefix)
        if self.usual is not None:
            yield "golden.usual", is_array(self.usual, np.float32, n_labels), f"float32 ({n_labels},)", self.usual
            yield from finite("golden.usual", self.usual)
        if self.speech is not None:
            n = N_FUNCTIONALS + 1
            yield "golden.speech", is_array(self.speech, np.float16, n), f"float16 ({n},)", self.speech
            yield from finite("golden.speech", self.speech)
        yield from self.spec.checks()
        yield from front_end_checks(spec)

    def arrays(self) -> dict[str, Array]:
        """Return what lies in ``golden.npz``."""
        found: dict[str, Array] = {**self.head.arrays(), "directions": self.directions}
        if self.usual is not None:
            found["usual"] = self.usual
        if self.speech is not None:
            found["speech"] = self.speech
        for prefix, layers in self.layers().items():
            found |= layers.arrays(prefix)
        return found

    def layers(self) -> dict[str, Layers]:
        """Return the layers that there are, by how the names of their arrays begin."""
        both = {RELATIVE: self.relative, STRANGER: self.stranger}
        return {prefix: layers for prefix, layers in both.items() if layers is not None}


def front_end_checks(spec: FeatureSpec) -> Checks:
    """Yield what a front end has to be for a voice, as `affectd.recognition.checks.require` takes it."""
    for field, value, expected in (
        ("log", spec.log, "decibel"),
        ("lifter", spec.lifter, 0),
        ("energy", spec.energy, False),
    ):
        yield f"features.{field}", value == expected, f"{expected!r} with a voice", value
    yield "features.n_mfcc", spec.n_mfcc >= N_CEPSTRA, f"at least {N_CEPSTRA} with a voice", spec.n_mfcc
    yield "features.fmin", spec.fmin <= _MOST_FMIN, f"at most {_MOST_FMIN:g} Hz with a voice, for its pitch", spec.fmin
    n_bands, expected = n_pitch_bands(spec), "two or more from 250 to 1600 Hz with a voice, for its pitch"
    yield "features.n_mels", n_bands >= 2, expected, n_bands
    only_cepstra = spec.n_columns == spec.n_mfcc
    yield "features", only_cepstra, "MFCCs and no other columns with a voice", spec.n_columns


def without_voice(model: ModelFile) -> ModelFile:
    """Return the network of a model alone, in format 1, with its own terms; one without a voice as it is."""
    if model.voice is None:
        return model
    golden = {key: array for key, array in model.golden.items() if key not in VOICE_KEYS}
    training = dict(model.card.get("training", {}))
    note = training.pop("voice", {})
    card = model.card | note.get("without", {}) | ({"training": training} if training else {})
    return replace(model, voice=None, golden=golden, card=card)


def read_voice(arrays: dict[str, Array], baseline: BaselineSpec, found: object) -> Voice:
    """Take the arrays of a voice out of those of ``golden.npz``, and read the object ``voice`` of ``spec.json``.

    Raises
    ------
    ModelFileError
        An array or a key is missing or not known, or its value is impossible.
    """
    spec = read_numbers(VoiceSpec, "voice", found)
    if "directions" not in arrays:
        raise ModelFileError("golden: expected the array directions of the voice; it is missing")
    directions = arrays.pop("directions")
    usual, speech = arrays.pop("usual", None), arrays.pop("speech", None)
    relative, stranger = (take_layers(arrays, prefix) for prefix in (RELATIVE, STRANGER))
    head = take_head(arrays, baseline)
    return Voice(
        head=head,
        directions=directions,
        spec=spec,
        relative=relative,
        stranger=stranger,
        usual=usual,
        speech=speech,
    )

"""Where people take turns, as at a kiosk: of the place and of the voice at hand the one counts that is better known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affectd.arrays import Float64
from affectd.recognition.baseline import Baseline, Placed, VoiceAtHand
from affectd.recognition.classifier import Classifier
from affectd.recognition.voice import Voice
from tiny_model import place_model, voice_model

MODEL = voice_model(spec={"far_voice": 3.0})
assert MODEL.voice is not None
VOICE: Voice = MODEL.voice
ALONG = np.linalg.pinv(VOICE.directions.astype(np.float64))  # (n_directions, N_FUNCTIONALS)


def said(voice: float, n: int, seed: int = 0) -> list[Float64]:
    """Functionals of utterances of a voice that is so far from the mean of the training along each direction."""
    random = np.random.default_rng(seed)
    return [VOICE.head.baseline + (voice + random.normal(0, 0.2, len(ALONG))) @ ALONG for _ in range(n)]


def learn(one: Baseline | Placed, utterances: list[Float64], **changes: Any) -> None:
    for functionals in utterances:
        one.learn(functionals, **{"speech_seconds": 4.0, "speech_ratio": 0.9, "at_hours": 0.0, **changes})


def kiosk() -> Placed:
    """A place where two voices have taken turns, and the second is speaking."""
    placed = Placed(Classifier(MODEL))
    for turn in range(6):
        learn(placed, said(-4.0 if turn % 2 else 4.0, 5, seed=turn))
    return placed


def test_at_a_kiosk_the_voice_at_hand_is_known_where_the_place_is_not() -> None:
    placed = kiosk()
    assert placed.at_hand is not None
    (next_one,) = said(-4.0, 1, seed=9)
    assert placed.baseline.known(next_one) == 0.0
    assert placed.at_hand.known(next_one) > 0.4
    other = said(4.0, 1, seed=9)[0]
    assert placed.at_hand.known(other) == 0.0
    # It has learned what a place does that heard nothing else.
    alone = Baseline(VOICE.head, voice=VOICE)
    learn(alone, said(-4.0, 5, seed=5))
    np.testing.assert_allclose(placed.at_hand.value, alone.value, rtol=1e-6)


def test_what_is_answered_goes_by_the_voice_at_hand() -> None:
    placed, classifier, cepstra = kiosk(), Classifier(MODEL), MODEL.golden["cepstra"]
    (functionals,) = said(-4.0, 1, seed=9)

    def answered(one: Placed) -> Any:
        one.reset()
        return one.answer(classifier.embed(cepstra), lambda: (functionals.astype(np.float32), 1.0))

    found = answered(placed)
    assert placed.at_hand is not None
    alone = Placed(classifier, placed.at_hand.learned)  # a place of that voice alone
    np.testing.assert_allclose(found, answered(alone), rtol=1e-5)
    assert abs(found - classifier(cepstra)).max() > 1e-3


def test_where_one_voice_is_alone_the_place_counts() -> None:
    placed = Placed(Classifier(MODEL))
    learn(placed, said(1.0, 40))
    assert placed.at_hand is not None
    for functionals in said(1.0, 20, seed=7):
        assert placed.baseline.known(functionals) >= placed.at_hand.known(functionals)


def test_a_single_outburst_ends_the_turn_and_not_what_is_known_of_the_place() -> None:
    placed = Placed(Classifier(MODEL))
    learn(placed, [*said(0.0, 40), *said(4.0, 1)])
    assert placed.at_hand is not None
    assert placed.at_hand.learned.seconds < 4.1
    assert placed.baseline.known(said(0.0, 1, seed=5)[0]) > 0.6


@pytest.mark.parametrize("changes", [{"speech_seconds": 0.1}, {"speech_ratio": 0.05}])
def test_what_is_not_learned_from_begins_no_turn(changes: dict[str, float]) -> None:
    at_hand = VoiceAtHand(VOICE)
    learn(at_hand, said(1.0, 5))
    before = at_hand.learned
    learn(at_hand, said(-4.0, 3), **changes)
    assert at_hand.learned == before


@settings(max_examples=30)
@given(turns=st.lists(st.tuples(st.sampled_from([-4.0, 0.0, 4.0]), st.integers(1, 6)), min_size=1, max_size=8))
def test_those_who_spoke_before_leave_nothing_in_it(turns: list[tuple[float, int]]) -> None:
    at_hand, fresh = VoiceAtHand(VOICE), VoiceAtHand(VOICE)
    for number, (voice, n) in enumerate(turns):
        learn(at_hand, said(voice, n, seed=number))
    learn(at_hand, said(9.0, 3, seed=99))
    learn(fresh, said(9.0, 3, seed=99))
    assert at_hand.learned.seconds == fresh.learned.seconds
    np.testing.assert_allclose(at_hand.value, fresh.value, rtol=1e-6)


def test_a_head_on_an_embedding_has_none() -> None:
    assert Placed(Classifier(place_model())).at_hand is None

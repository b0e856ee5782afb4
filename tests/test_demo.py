"""The bundled demonstration: the shipped model names each of its voices rightly, loud or quiet, whenever it begins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from affectd.audio.source import wav_blocks
from affectd.config.sections import Config, ModelConfig
from affectd.pipeline import run
from affectd.recognition.classifier import Network, load_classifier
from kept import Kept

DEMO = Path(__file__).parent / "data" / "demo.wav"
ACTED = ["neutral", "happy", "sad", "angry", "fearful"]  # in tests/data/make_demo.py


@pytest.fixture(scope="module")
def classifier() -> Network:
    return load_classifier(ModelConfig())


@pytest.mark.parametrize("gain_db", [-20, 0, 6])
@pytest.mark.parametrize("lead_seconds", [0.0, 0.31, 1.0])
def test_every_voice_is_named_rightly_and_no_other_emotion_is_named(
    classifier: Network, gain_db: float, lead_seconds: float
) -> None:
    rate = classifier.model.spec.sample_rate
    sound = np.concatenate(list(wav_blocks(DEMO, rate)))
    lead = np.zeros(round(lead_seconds * rate), np.float32)
    loud = (np.concatenate([lead, sound]) * 10 ** (gain_db / 20)).astype(np.float32)
    events = Kept()
    run([loud], classifier, events, Config())
    assert [event["label"] for event in events if event["phase"] == "end"] == ACTED
    # An utterance may begin with `uncertain`, but nothing else is said on the way.
    named = [event["label"] for event in events if event["phase"] != "end" and event["label"] != "uncertain"]
    assert named == ACTED


def test_arousal_tells_the_calm_voices_from_the_others(classifier: Network) -> None:
    events = Kept()
    run(wav_blocks(DEMO, classifier.model.spec.sample_rate), classifier, events, Config())
    arousal = {event["label"]: event["arousal"] for event in events if event["phase"] == "end"}
    assert max(arousal["neutral"], arousal["sad"]) < min(arousal[label] for label in ("happy", "angry", "fearful"))

"""The networks of the first figure are kept, and answer what the model card says they do."""

from __future__ import annotations

from pathlib import Path

import pytest

from affectd.recognition.baseline import Baseline
from affectd.recognition.classifier import Classifier
from affectd.recognition.model_file import find_model, read_model
from affectd_train.data.corpora import read_clips
from affectd_train.evaluation.predictions import predict_packed
from affectd_train.evaluation.settled import Recorder, heard_of
from affectd_train.evaluation.unheard import of_corpus, unheard_by
from affectd_train.protocols.speaker_independent import UNHEARD
from affectd_train.training.voice import is_as_now
from unheard_networks import NETWORKS


def test_there_is_one_for_each_corpus_with_a_voice_as_it_is_fitted_now() -> None:
    assert {*NETWORKS} == {*UNHEARD}
    assert all(is_as_now(read_model(path)) for path in NETWORKS.values())


@pytest.mark.parametrize("corpus", UNHEARD)
def test_neither_network_nor_voice_heard_anything_of_it(corpus: str) -> None:
    assert corpus in unheard_by(read_model(NETWORKS[corpus]))


def test_the_card_says_how_right_one_is(speech_data: Path, tmp_path: Path) -> None:
    clips = read_clips(speech_data, ["emodb"])
    found = of_corpus(predict_packed(NETWORKS["emodb"], clips, tmp_path), threshold=0.0)["cold"]
    said = read_model(find_model()).card["measured"]["settled"]["corpora"]["emodb"]["cold"]
    for key in ("unweighted", "unweighted_interval"):
        assert said[key] == pytest.approx(found[key], abs=0.0006), key


def test_people_who_speak_evenly_are_told_from_one(speech_data: Path) -> None:
    model = read_model(NETWORKS["emotale"])
    voice, recorder = model.voice, Recorder(Classifier(model))
    assert voice is not None
    clips = read_clips(speech_data, ["emotale"])
    alone = [clip for clip in clips if clip.speaker == clips[0].speaker]
    trust = []
    for place in (alone[::2], clips[::32]):
        baseline = Baseline(voice.head, voice=voice)
        for heard in (heard_of(recorder, clip) for clip in place):
            seconds = heard.frames / model.spec.frame_rate
            baseline.learn(heard.mean(voice), speech_seconds=seconds, speech_ratio=1.0, at_hours=0.0)
        trust.append(baseline.trust)
    assert trust[0] == 1.0
    assert trust[1] < 0.3

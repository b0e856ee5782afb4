"""Learning what a place sounds like from a minute of its sound, or from a recording."""

from __future__ import annotations

import logging
from collections.abc import Callable

from affectd.audio.source import first_samples, is_live, open_source
from affectd.config.sections import Config
from affectd.events.event import Utterance
from affectd.events.sinks import Several
from affectd.pipeline import run
from affectd.recognition.classifier import Classifier, Network
from affectd.recognition.place import teach

_log = logging.getLogger(__name__)

_ENROLL_SECONDS = 60


def enroll(config: Config, classifier: Classifier) -> None:
    """Learn from a minute of live sound, or from a whole file, and save it; an interruption changes nothing.

    Raises
    ------
    AffectdError
        As `affectd.recognition.place.teach`, and if the source fails.
    """

    def listen(network: Network, ended: Callable[[Utterance], None]) -> None:
        rate = classifier.model.spec.sample_rate
        blocks = open_source(config.audio, rate)
        if is_live(config.audio.source):
            _log.info("learning from %d s of sound: speak as usual", _ENROLL_SECONDS)
            blocks = first_samples(blocks, _ENROLL_SECONDS * rate)
        run(blocks, network, Several([]), config, ended=ended)

    teach(config, classifier, listen)

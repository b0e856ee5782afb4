"""The models that a fleet sends to this device, from the message to the running service.

A thread, which is there only from the first message on, checks the signature, lets `affectd.delivery.receive` do the
work in a process of its own, and writes down what is in force. The sound never waits for it: a new model is taken up
in a pause, by ending the run and beginning the next one with it.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from types import TracebackType
from typing import Protocol

from affectd.arrays import Bool, Float32
from affectd.config.sections import Config
from affectd.delivery.installed import Installed, file_of, folder_of, has_come, read, rolled_back, write
from affectd.delivery.message import Message, RefusedError, parse
from affectd.delivery.probation import Probation
from affectd.delivery.receive import Order, Verdict
from affectd.delivery.trust import is_signed, read_keys
from affectd.delivery.worker import Worker
from affectd.errors import AffectdError, ModelFileError
from affectd.files import sha256
from affectd.recognition.classifier import Classifier, load_classifier

_log = logging.getLogger(__name__)

_MOST_DEATHS = 2
_MOST_UNFINISHED = 3
# A pause in which the gate is closed for certain, and after this long any moment.
_PAUSE_SECONDS = 1.0
_PATIENCE_SECONDS = 300.0
_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS = 60.0, 3600.0
_MOST_SECONDS = 900.0
_END_SECONDS = 1.0


class Tell(Protocol):
    """Tells the state of the part ``model``, as `affectd.events.status.Reports.part` does."""

    def __call__(self, state: str, reason: str, **about: object) -> None:
        """Tell it."""


class Deliveries:
    """Takes models from a fleet within its ``with`` block, whose state folder this process has claimed.

    It judges a model on trial by the speech that is `heard` and by the events, for it is a sink; the blocks `between`
    which that happens end early when another model is to be taken up.

    Attributes
    ----------
    is_swapping : bool
        Whether the run has ended so that the next one takes up another model.

    Raises
    ------
    ConfigError
        The file of the trusted keys cannot be used.
    """

    def __init__(self, config: Config) -> None:
        read_keys(config.model.trusted_keys)
        self.is_swapping = False
        self._config = config
        self._folder = folder_of(config.device.id)
        self._installed = read(self._folder)
        self._is_swappable = config.audio.source == "mic"  # a stream cannot be opened twice
        self._wanted_at: float | None = None
        self._tell: Tell = _tell_nothing
        self._worker = Worker()
        self._retry_seconds = 0.0
        self._running = ""  # the digest of the delivered model that this run uses
        self._seen = ""  # the digest of the last message that was not signed
        self._child: subprocess.Popen[bytes] | None = None
        self._is_judged = False

    def load(self, read_config: Callable[[], Config]) -> tuple[Config, Classifier]:
        """Load the model in force; one that kills the service or cannot be loaded is rolled back.

        Raises
        ------
        ModelFileError
            The configured model cannot be loaded, and no other is in force.
        """
        found = self._installed
        if found.on_trial and found.deaths >= _MOST_DEATHS:
            self._roll_back("died", f"affectd died {found.deaths} times in its first minutes")
        elif found.on_trial:
            self._keep(replace(found, deaths=found.deaths + 1))
        while True:
            config, current = read_config(), self._installed.current
            is_delivered = current != "" and config.model.path == str(file_of(self._folder, current))
            try:
                classifier = load_classifier(config.model)
                break
            except ModelFileError as error:
                if not is_delivered or not self._roll_back("model", str(error)):
                    raise
        self._running = current if is_delivered else ""
        if current and not is_delivered:  # it is damaged: the same message brings it again
            self._installed = replace(self._installed, payload="", verdict={})
        now = self._installed
        self._probation = Probation(
            classifier.model.spec.frame_rate,
            on_trial=now.on_trial and is_delivered,
            usual_seconds=now.usual_seconds,
        )
        return config, classifier

    def __enter__(self) -> Deliveries:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._worker.is_closing = True
        if self._child is not None:
            self._child.kill()
        self._worker.close(_END_SECONDS)
        # A signal ends a run in good order, but a failure may be the model's.
        if self._installed.deaths and (kind is None or not issubclass(kind, Exception)):
            self._keep(replace(self._installed, deaths=self._installed.deaths - 1))

    @property
    def subscriptions(self) -> dict[str, Callable[[bytes, bool], None]]:
        """The topic of the fleet, and what takes its messages."""
        return {f"affectd/{self._config.mqtt.fleet}/model": self.received}

    def received(self, payload: bytes, retained: bool) -> None:
        """Take a message, in the thread of the connection; an empty one only means that the broker keeps none."""
        if payload:
            self._retry_seconds = 0.0
            self._worker.do("message", partial(self._take, payload))

    def begin(self, tell: Tell) -> None:
        """Tell what came of the last message, and of those to come; called before the first one comes."""
        self._tell = tell
        if self._installed.verdict:
            tell(**self._installed.verdict)

    def heard(self, level: Float32, active: Bool) -> None:
        """Count speech: the level of frames, ``(n,)`` float32 dBFS, and which of them were speech, ``(n,)`` bool."""
        self._probation.heard(active)

    def write(self, event: Mapping[str, object]) -> None:
        """Count an event."""
        if event["type"] == "emotion":
            self._probation.event()

    def between(self, blocks: Iterable[Float32]) -> Iterator[Float32]:
        """Pass blocks on, until another model is to be taken up and there is a pause."""
        for block in blocks:
            yield block
            if self._probation.on_trial and not self._is_judged:
                self._judge()
            if self._wanted_at is not None and self._is_due(self._wanted_at):
                self.is_swapping = True
                return

    def _is_due(self, wanted_at: float) -> bool:
        pause_seconds = self._config.gate.hangover_seconds + _PAUSE_SECONDS
        is_pause = self._probation.quiet_seconds >= pause_seconds
        return is_pause or time.monotonic() - wanted_at >= _PATIENCE_SECONDS

    def _judge(self) -> None:
        trial = self._probation
        self._is_judged = trial.is_silent or trial.is_proven
        if self._is_judged:
            self._worker.do("judge", self._go_back if trial.is_silent else self._prove)
        elif self._installed.deaths and trial.has_lived:  # a power cut from here on is no fault of the model
            self._worker.do("judge", lambda: self._keep(replace(self._installed, deaths=0)))

    def _go_back(self) -> None:
        sentence = "there was much speech, but no event"
        if self._installed.current == self._running and self._roll_back("silent", sentence):
            self._take_up()

    def _prove(self) -> None:
        if self._installed.current == self._running:
            self._keep(replace(self._installed, previous="", on_trial=False, deaths=0))

    def _take(self, payload: bytes) -> None:
        """Take one message to its end."""
        digest = sha256(payload).hexdigest()
        if digest == self._installed.payload and self._installed.verdict:  # the broker sends it at every connect
            self._tell(**self._installed.verdict)
            return
        if digest == self._seen:
            return
        try:
            message = self._believed(payload)
        except RefusedError as error:
            self._seen = digest
            self._say(error.why, str(error))
        except (AffectdError, OSError) as error:
            self._try_later(payload, "signature", str(error))
        else:
            self._worker.drop("again")  # what was to be tried again is older
            self._settle(payload, digest, message)

    def _believed(self, payload: bytes) -> Message:
        """Return the message, if it is signed and for this device; before that nothing it says is followed."""
        message, text, signature = parse(payload)
        if not is_signed(text, signature, read_keys(self._config.model.trusted_keys)):
            raise RefusedError("signature", "no trusted key made its signature")
        fleet, found = self._config.mqtt.fleet, self._installed
        if message.fleet != fleet:
            raise RefusedError("fleet", f"it is for the fleet {message.fleet}, and this device is of {fleet}")
        is_again = message.sequence == found.sequence and message.sha256 == found.current
        if message.sequence <= found.sequence and not is_again:
            raise RefusedError("downgrade", f"it has the sequence {message.sequence}, and {found.sequence} was here")
        if message.n_bytes > self._config.model.download_mb * 1e6:
            most = f"[model] download_mb allows {self._config.model.download_mb:g} MB"
            raise RefusedError("size", f"the model file has {message.n_bytes} bytes, and {most}")
        return message

    def _settle(self, payload: bytes, digest: str, message: Message) -> None:
        found = self._installed
        n_begun = 1 + (found.unfinished if found.payload == digest and has_come(self._folder, message) else 0)
        about = {"sequence": message.sequence}
        if message.sha256 in found.bad:
            verdict = Verdict(outcome="refused", why="bad", sentence="it was rolled back here before")
        elif n_begun > _MOST_UNFINISHED:
            verdict = Verdict(outcome="refused", why="crash", sentence=f"the work on it died {n_begun - 1} times")
        else:
            self._keep(replace(found, payload=digest, unfinished=n_begun, verdict={}))
            done = self._received(message)
            if self._worker.is_closing:  # in good order
                self._keep(replace(self._installed, unfinished=n_begun - 1))
                return
            if done is None:
                self._try_later(payload, "crash", "the process that works on it died")
                return
            verdict = done
        found = self._installed
        if verdict.outcome == "failed":
            self._keep(replace(found, payload=digest, unfinished=0))
            self._try_later(payload, verdict.why, verdict.sentence, **about)
        elif verdict.outcome == "refused":
            told = {"state": "alarmed", "reason": "refused", "why": verdict.why, **about}
            known = replace(found, payload=digest, unfinished=0, verdict=told)
            self._keep(replace(known, sequence=max(found.sequence, message.sequence)))
            self._say(verdict.why, verdict.sentence, **about)
        else:
            self._install(replace(found, payload=digest), payload, message, verdict.model)

    def _install(self, found: Installed, payload: bytes, message: Message, model: str) -> None:
        is_new = message.sha256 != found.current
        told = {"state": "healthy", "reason": "installed", "model": model, "sequence": message.sequence}
        known = replace(found, sequence=message.sequence, unfinished=0, verdict=told)
        if is_new:
            previous = found.previous if found.on_trial else found.current
            usual = found.usual_seconds if found.on_trial else self._probation.usual_seconds()
            known = replace(
                known, current=message.sha256, previous=previous, on_trial=True, deaths=0, usual_seconds=usual
            )
        if not self._keep(known):
            self._try_later(payload, "download", "it cannot be noted", sequence=message.sequence)
            return
        _log.info("the model %s of the fleet is installed (sequence %d)", model, message.sequence)
        self._take_up()

    def _take_up(self) -> None:
        """Let the next run begin in a pause."""
        if self._is_swappable:
            self._wanted_at = time.monotonic()
        else:
            _log.info("it is used from the next start on, because the sound is not of a microphone")
            self._tell(**self._installed.verdict)

    def _received(self, message: Message) -> Verdict | None:
        """Let a process do the work; None if it died."""
        order = Order(url=message.url, n_bytes=message.n_bytes, sha256=message.sha256, folder=str(self._folder))
        command = [sys.executable, "-P", "-m", "affectd.delivery.receive"]
        try:
            self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except OSError as error:  # which is not the fault of the model
            return Verdict(outcome="failed", why="crash", sentence=f"no process can be started: {error.strerror}")
        with self._child as child:
            if self._worker.is_closing:  # since it was started, perhaps unseen
                child.kill()
            try:
                out, _ = child.communicate(json.dumps(asdict(order)).encode(), timeout=_MOST_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                out = b""
        with suppress(ValueError, TypeError):
            return Verdict(**json.loads(out))
        return None

    def _try_later(self, payload: bytes, why: str, sentence: str, **about: object) -> None:
        self._retry_seconds = seconds = min(max(_FIRST_RETRY_SECONDS, 2 * self._retry_seconds), _LAST_RETRY_SECONDS)
        self._worker.do("again", partial(self._take, payload), seconds)
        self._say(why, f"{sentence}; trying again in {seconds:g} s", **about)

    def _say(self, why: str, sentence: str, **about: object) -> None:
        _log.warning("a model of the fleet is refused, the present one stays: %s", sentence)
        self._tell("alarmed", "refused", why=why, **about)

    def _roll_back(self, why: str, sentence: str) -> bool:
        """Go back to the previous model; return whether that is written down."""
        found = self._installed
        known = rolled_back(found, why)
        if not self._keep(known):
            return False
        back_to = "the one before" if known.current else "the configured one"
        _log.error("the model of sequence %d is rolled back to %s: %s", found.sequence, back_to, sentence)
        return True

    def _keep(self, installed: Installed) -> bool:
        """Write down what is known; return whether that worked."""
        try:
            write(self._folder, installed)
        except OSError as error:
            _log.warning("what came of a delivered model cannot be saved in %s: %s", self._folder, error.strerror)
            return False
        self._installed = installed
        return True


def _tell_nothing(state: str, reason: str, **about: object) -> None:
    pass

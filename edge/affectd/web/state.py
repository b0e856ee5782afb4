"""The state of the device as one JSON object, for `/state` and for every stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from affectd.web.hub import Hub

SCHEMA = 1
# A report of telemetry is about the time since the last one; shorter times say little.
_TELEMETRY_SECONDS = 1.0
# Between two messages of a stream, if something has changed and if not.
_CHANGED_SECONDS = 1.0
_SAME_SECONDS = 5.0


class State:
    """Makes the state; for one thread.

    Parameters
    ----------
    about : mapping
        What never changes: ``version``, ``device``, ``model``, ``labels`` and the whole ``card`` of the model.
    hub : Hub
        Knows the microphone.
    facts : callable
        Returns ``broker`` and ``baseline``, each None if there is none.
    telemetry : callable
        Returns the report since the last call.
    """

    def __init__(
        self,
        about: Mapping[str, Any],
        hub: Hub,
        facts: Callable[[], dict[str, Any]],
        telemetry: Callable[[], dict[str, Any]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._about = {key: value for key, value in about.items() if key != "card"}
        self._card = card_facts(about["card"])
        self._hub, self._facts, self._telemetry, self._clock = hub, facts, telemetry, clock
        self._report: dict[str, Any] = {}
        self._reported_at = self._told_at = -float("inf")
        self._told: dict[str, Any] = {}

    def __call__(self) -> dict[str, Any]:
        """Return all of it."""
        now = self._clock()
        if now - self._reported_at >= _TELEMETRY_SECONDS:
            self._report, self._reported_at = self._telemetry(), now
        return {
            "schema": SCHEMA,
            **self._about,
            **self._changing(),
            "telemetry": self._report,
            "card": self._card,
        }

    def news(self) -> dict[str, Any] | None:
        """Return the state if the streams should get it: when it has changed, and now and then."""
        now = self._clock()
        passed = now - self._told_at
        if passed < _CHANGED_SECONDS:
            return None
        changing = self._changing()
        if changing == self._told and passed < _SAME_SECONDS:
            return None
        self._told, self._told_at = changing, now
        return self()

    def _changing(self) -> dict[str, Any]:
        return {"listening": self._hub.is_listening, "microphone": self._hub.microphone, **self._facts()}


def card_facts(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return what people ask of a model card: what it may be used for, what it was trained and tested on, how well.

    Cards of other models may lack any of it.
    """
    evaluation = _object(card, "evaluation")
    accuracy = _object(evaluation, "int8")
    settled = _object(_object(card, "measured"), "settled")
    facts = {
        "name": card.get("name"),
        "use": card.get("use"),
        "data": card.get("data"),
        "elsewhere": _object(settled, "mean").get("unweighted"),
        "elsewhere_settled": _object(_object(settled, "mean_settled"), "60").get("unweighted"),
        "protocol": evaluation.get("protocol"),
        "accuracy": accuracy.get("unweighted"),
        "accuracy_interval": accuracy.get("unweighted_interval"),
    }
    return {key: value for key, value in facts.items() if value is not None}


def _object(card: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = card.get(key)
    return found if isinstance(found, Mapping) else {}

"""When evidence that comes second by second is enough, without flickering."""

from __future__ import annotations

# Seconds that speak against a fault end it: few at first, more each time it comes back.
_FIRST_END_SECONDS = 10.0
_LONGEST_END_SECONDS = 640.0


class Vote:
    """Is on after `proof_seconds` of evidence; each second against it takes away `weight` seconds of that.

    A second that says nothing takes away `forgotten` seconds, so that rare events do not add up over hours.

    Attributes
    ----------
    is_on : bool
        Whether the fault is there. It stays while there is no evidence.
    """

    def __init__(self, proof_seconds: float, weight: float, forgotten: float) -> None:
        self.is_on = False
        self._proof_seconds, self._weight, self._forgotten = proof_seconds, weight, forgotten
        self._for = self._against = 0.0
        self._end_seconds = _FIRST_END_SECONDS

    def push(self, verdict: bool | None, seconds: float = 1.0) -> None:
        """Take the verdict of the last seconds; None if they say nothing."""
        if self.is_on:
            if verdict is not None:
                self._against = max(0.0, self._against + (-2 * seconds if verdict else seconds))
            if self._against >= self._end_seconds:
                self.is_on, self._for = False, 0.0
                self._end_seconds = min(_LONGEST_END_SECONDS, 2 * self._end_seconds)
            return
        if verdict:
            self._for += seconds
        else:
            self._for = max(0.0, self._for - seconds * (self._forgotten if verdict is None else self._weight))
        if self._for >= self._proof_seconds:
            self.is_on, self._against = True, 0.0

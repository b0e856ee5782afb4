"""How far a rate of rare events can be off by chance."""

from __future__ import annotations

import math

from scipy.special import gammaincinv

_TAIL = 0.025


def interval_of_rate(an_hour: float, hours: float) -> tuple[float, float]:
    """Return the 95 % interval of events an hour that were counted for so many hours; of none it is all there is.

    Exact if events come singly and at any time, from F. Garwood, "Fiducial Limits for the Poisson Distribution", 1936.
    Where one speaker or one recording gives several, it is wider.

    Examples
    --------
    >>> [round(bound, 1) for bound in interval_of_rate(0.0, 0.5)]  # none in half an hour may be 7 an hour
    [0.0, 7.4]
    >>> [round(bound, 1) for bound in interval_of_rate(6.0, 0.5)]
    [1.2, 17.5]
    >>> interval_of_rate(0.0, 0.0)
    (0.0, inf)
    """
    if hours <= 0:  # rounded: of less than two seconds nothing is left
        return 0.0, math.inf
    n = round(an_hour * hours)
    low = float(gammaincinv(n, _TAIL)) if n else 0.0
    return low / hours, float(gammaincinv(n + 1, 1 - _TAIL)) / hours


def rate_text(an_hour: float, hours: float, digits: int = 0) -> str:
    """Write events an hour with their interval, such as ``6 (1 to 18)``."""
    low, high = interval_of_rate(an_hour, hours)
    return f"{an_hour:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"

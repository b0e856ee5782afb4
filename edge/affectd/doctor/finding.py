"""The result of a check of `affectd doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Grade = Literal["ok", "warning", "fault"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one check."""

    grade: Grade
    """``fault``: affectd does not work here; ``warning``: it works, but should be looked at."""
    found: str
    mend: str = ""
    """How to fix it; empty if there is nothing to fix."""


def ok(found: str) -> Finding:
    """Return a finding without a problem."""
    return Finding(grade="ok", found=found)


def warning(found: str, mend: str) -> Finding:
    """Return a finding that does not stop affectd."""
    return Finding(grade="warning", found=found, mend=mend)


def fault(found: str, mend: str) -> Finding:
    """Return a finding that stops affectd."""
    return Finding(grade="fault", found=found, mend=mend)

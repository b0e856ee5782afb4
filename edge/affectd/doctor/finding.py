"""What a check of `affectd doctor` finds."""

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
    """What to do about it; empty if nothing."""


def ok(found: str) -> Finding:
    """All is well."""
    return Finding(grade="ok", found=found)


def warning(found: str, mend: str) -> Finding:
    """It works, but should be looked at."""
    return Finding(grade="warning", found=found, mend=mend)


def fault(found: str, mend: str) -> Finding:
    """It does not work."""
    return Finding(grade="fault", found=found, mend=mend)

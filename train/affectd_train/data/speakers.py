"""Speakers on a command line, and how old they are where that is published: RAVDESS gives no age, SAVEE a range."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterable

AGE_GROUPS = ("20 to 29", "30 to 59", "60 and over")

# EmoDB: F. Burkhardt et al., Interspeech 2005, and http://emodb.bilderbar.info. TESS: its description, Borealis 2020.
# nEMO: its data.tsv.
_AGES = {
    "emodb-03": 31,
    "emodb-08": 34,
    "emodb-09": 21,
    "emodb-10": 32,
    "emodb-11": 26,
    "emodb-12": 30,
    "emodb-13": 32,
    "emodb-14": 35,
    "emodb-15": 25,
    "emodb-16": 31,
    "nemo-eb0": 27,
    "nemo-ic0": 28,
    "nemo-kd0": 28,
    "nemo-ks0": 23,
    "nemo-mk0": 23,
    "nemo-mp0": 24,
    "nemo-sm0": 24,
    "nemo-tp0": 26,
    "nemo-wr0": 23,
    "tess-oaf": 64,
    "tess-yaf": 26,
}

# Of actors 1001 to 1091, counted from the ages in the corpus's VideoDemographics.csv; all others are between.
# fmt: off
_CREMAD_20_TO_29 = frozenset((
    1002, 1003, 1005, 1009, 1010, 1012, 1013, 1014, 1018, 1019, 1022, 1023, 1038, 1043, 1045, 1046, 1047, 1049,
    1057, 1059, 1060, 1066, 1069, 1070, 1073, 1076, 1077, 1078, 1079, 1080, 1082, 1088, 1089, 1091,
))
# fmt: on
_CREMAD_60_AND_OVER = frozenset((1016, 1020, 1034, 1050, 1067, 1087))


def age_group(speaker: str) -> str:
    """Return which of `AGE_GROUPS` a speaker such as ``cremad-1001`` belongs to, or "" where no age is published.

    Examples
    --------
    >>> age_group("tess-oaf")
    '60 and over'
    """
    corpus, _, code = speaker.partition("-")
    if corpus == "cremad" and code.isdecimal():
        actor = int(code)
        return AGE_GROUPS[2 if actor in _CREMAD_60_AND_OVER else 0 if actor in _CREMAD_20_TO_29 else 1]
    if speaker not in _AGES:
        return ""
    return AGE_GROUPS[(_AGES[speaker] >= 30) + (_AGES[speaker] >= 60)]


def same(name: str) -> str:
    """Return what all ways to write the name of a speaker have in common: of two that differ in it, one may be tested.

    A spreadsheet makes 1 of 01, and pandas 1.0 of it where a cell of the column is empty; keyboards of East Asia also
    have letters and digits as wide as theirs.

    Examples
    --------
    >>> {same(name) for name in ("own-1", "own-01", "OWN-1.0", "own-\N{FULLWIDTH DIGIT ONE}")}
    {'own-1'}
    """
    return re.sub(r"(^|-)0*(\d+)(?:[.,]0+)?$", r"\1\2", unicodedata.normalize("NFKC", name).casefold())


def as_text(speakers: Iterable[str]) -> str:
    """Write speakers as `from_text` reads them: with commas between them, and names that have commas in quotes."""
    csv.writer(text := io.StringIO(), lineterminator="").writerow(speakers)
    return text.getvalue()


def from_text(text: str) -> frozenset[str]:
    """Read speakers from an option.

    Examples
    --------
    >>> sorted(from_text('ravdess-01, "own-Doe, Ann"'))
    ['own-Doe, Ann', 'ravdess-01']
    """
    rows = csv.reader(text.splitlines(), skipinitialspace=True)
    return frozenset(name for row in rows for name in row if name)

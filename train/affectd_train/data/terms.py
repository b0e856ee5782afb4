"""The terms under which every corpus is given."""

from __future__ import annotations

from collections.abc import Collection

from affectd.errors import UsageError

TERMS = {
    "ravdess": ("RAVDESS", "CC BY-NC-SA 4.0", "non-commercial"),
    "tess": ("TESS", "CC BY-NC-ND 4.0", "non-commercial"),
    "cremad": ("CREMA-D", "ODbL 1.0 / DbCL 1.0", ""),
    "savee": ("SAVEE", "by registration, research only", "non-commercial"),
    "emodb": ("EmoDB", "CC0", ""),
    "nemo": ("nEMO", "CC BY-NC-SA 4.0", "non-commercial"),
    "ased": ("ASED", "no license, to be cited", "research"),
    "emotale": ("EmoTale", "copyright without a license, to be cited", "research"),
    "emospeech": ("Indian EmoSpeech Command Dataset", "CC BY-NC-SA 4.0", "non-commercial"),
    "turev": ("TurEV-DB", "CC BY-NC-ND 4.0", "non-commercial"),
    "kor_emotiontts": ("emotiontts", "CC BY-NC-SA, research only", "non-commercial"),
}
"""corpus -> its name, its terms, and what they limit the weights to; nothing where commercial use is possible."""

EVERYDAY_TERMS = {
    "speech": ("Apache-2.0", ""),
    "everyday_en_wakeword": ("Apache-2.0", ""),
    "everyday_mycroft": ("public domain, a part CC BY-NC-SA", "non-commercial"),
    "everyday_lt": ("no license, for academic research", "research"),
}
"""Source of everyday speech -> its terms, and what they limit the weights to."""

OWN_TERMS = ("own recordings", "those that the people who speak in them agreed to", "")
"""The same of recordings of one's own, of which no table can know more."""

OPEN_TERMS = ("cremad", "emodb")
"""The corpora that train where the terms of all others forbid the use."""

DEVELOPMENT = ("kor_emotiontts",)
"""Corpora to try things on: networks are tested on them, and none is ever trained on them."""


def terms_of(corpus: str) -> tuple[str, str, str]:
    """Return name, terms and limit of a corpus, or of recordings of one's own."""
    return TERMS.get(corpus, OWN_TERMS)


def check_may_train(corpora: Collection[str]) -> None:
    """Raise `UsageError` where a corpus of `DEVELOPMENT` is asked to train."""
    if kept := sorted(set(DEVELOPMENT).intersection(corpora)):
        raise UsageError(f"{', '.join(kept)}: for development, to be tested on and never trained on")

"""The terms under which every corpus is given."""

from __future__ import annotations

TERMS = {
    "ravdess": ("RAVDESS", "CC BY-NC-SA 4.0", "non-commercial"),
    "tess": ("TESS", "CC BY-NC-ND 4.0", "non-commercial"),
    "cremad": ("CREMA-D", "ODbL 1.0 / DbCL 1.0", ""),
    "savee": ("SAVEE", "by registration, research only", "non-commercial"),
    "emodb": ("EmoDB", "CC0", ""),
}
"""corpus -> its name, its terms, and what they limit the weights to."""


OPEN_TERMS = ("cremad", "emodb")
"""The corpora that train where the terms of all others forbid the use."""

"""Every protocol by its name on the command line."""

from __future__ import annotations

from affectd_train.protocols import Protocol, cremad_speakers, cross_corpus, emodb_loso, open_terms, ravdess_emobox
from affectd_train.seed_protocols import pooled_random, ravdess_random, tess_random

PROTOCOLS: dict[str, Protocol] = {
    "ravdess-emobox": ravdess_emobox,
    "emodb-loso": emodb_loso,
    "cremad-speakers": cremad_speakers,
    "open-terms": open_terms,
    "cross-corpus": cross_corpus,
    "ravdess-random": ravdess_random,
    "tess-random": tess_random,
    "pooled-random": pooled_random,
}

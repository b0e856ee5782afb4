"""The eight labels of the product and the one table that maps every corpus onto them."""

from __future__ import annotations

from collections.abc import Iterable

LABELS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
"""Every label the product knows, in the order of the network's outputs."""

# One row per label, one column per corpus: the code its file names or its `labels.csv` use, "-" where it has no such
# class. SAVEE and EmoDB abbreviate (EmoDB in German: Wut, Ekel, Angst, Freude, Trauer).
_TABLE = """
label      ravdess tess    cremad savee emodb nemo      ased    emotale emospeech turev kor_emotiontts
neutral    01      neutral NEU    n     N     neutral   neutral neutral -         -     neutral
calm       02      -       -      -     -     -         -       -       calm      calm  -
happy      03      happy   HAP    h     F     happiness happy   happy   happy     happy happy
sad        04      sad     SAD    sa    T     sadness   sad     sad     -         sad   sad
angry      05      angry   ANG    a     W     anger     angry   angry   angry     angry angry
fearful    06      fear    FEA    f     A     fear      fearful -       fearful   -     -
disgust    07      disgust DIS    d     E     -         -       -       -         -     -
surprised  08      ps      -      su    -     surprised -       -       -         -     -
"""

LEFT_OUT: dict[str, dict[str, str]] = {"emodb": {"L": "boredom is none of the eight labels"}}
"""Codes that are no mistake but have no label here, per corpus, with the reason."""


def _parse(table: str) -> dict[str, dict[str, str]]:
    header, *rows = (line.split() for line in table.strip().splitlines())
    if tuple(row[0] for row in rows) != LABELS:
        raise ValueError("the rows of the label table are not LABELS in their order")
    return {
        corpus: {row[column]: row[0] for row in rows if row[column] != "-"}
        for column, corpus in enumerate(header)
        if column > 0
    }


LABEL_OF_CODE: dict[str, dict[str, str]] = _parse(_TABLE)
"""corpus -> emotion code in its file names -> label."""

CORPORA = tuple(LABEL_OF_CODE)
"""The corpora that can be read, in the order of the table."""


def labels_of(corpus: str) -> frozenset[str]:
    """Return which of the eight labels a corpus has.

    Raises
    ------
    ValueError
        If the corpus is none of `CORPORA`.

    Examples
    --------
    >>> sorted(labels_of("emodb"))
    ['angry', 'disgust', 'fearful', 'happy', 'neutral', 'sad']
    """
    if corpus not in LABEL_OF_CODE:
        raise ValueError(f"unknown corpus {corpus!r}: known are {', '.join(CORPORA)}")
    return frozenset(LABEL_OF_CODE[corpus].values())


def in_order(labels: Iterable[str]) -> list[str]:
    """Return labels, each once: those of the eight in their order, and then those of one's own by name.

    Examples
    --------
    >>> in_order(["tired", "sad", "bored", "happy", "sad"])
    ['happy', 'sad', 'bored', 'tired']
    """
    return sorted(set(labels), key=lambda label: (LABELS.index(label) if label in LABELS else len(LABELS), label))

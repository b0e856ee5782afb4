"""Words for emotions, of five languages and of one's own table, and the labels that they mean."""

from __future__ import annotations

import difflib
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from affectd.errors import DataError
from affectd_train.data.labels import LABELS
from affectd_train.data.table_rows import read_text

# English, German, French, Spanish, Italian: how people name folders and fill in columns.
_WORDS = """
neutral: neutrality, normal; neutrale, neutrales; neutre; neutro, neutra; neutrale
calm: calmness, relaxed, peaceful; ruhig, ruhe, gelassen, entspannt; calme, détendu; tranquilo, calma; calmo, tranquillo
happy: happiness, joy, joyful, glad; fröhlich, freude, froh, glücklich; heureux, heureuse, joie, joyeux, joyeuse;\
 feliz, felicidad, alegre, alegría, contento; felice, felicità, gioia, allegro, allegria
sad: sadness, unhappy; traurig, trauer, traurigkeit; triste, tristesse; tristeza; tristezza
angry: anger, rage, furious; wütend, wut, ärger, ärgerlich, zorn, zornig; colère, en colère, fâché, furieux;\
 enojado, enojo, enfadado, enfado, ira, rabia, furioso; arrabbiato, rabbia, collera
fearful: fear, afraid, scared, frightened; ängstlich, angst, furcht; peur, effrayé, apeuré; miedo, asustado, temor;\
 paura, spaventato, impaurito
disgust: disgusted; ekel, angeekelt, abscheu; dégoût, dégoûté; asco, asqueado, repugnancia; disgusto, disgustato
surprised: surprise, pleasant surprise, astonished; überrascht, überraschung, erstaunt; surpris, étonné, étonnement;\
 sorprendido, sorpresa; sorpreso
"""

FEWEST_LABELS, MOST_LABELS, MOST_LETTERS = 2, 16, 64


@dataclass(frozen=True)
class Words:
    """Which labels there are, and which words mean each of them.

    Examples
    --------
    >>> EIGHT.label("Wuetend"), EIGHT.label("COLÈRE"), EIGHT.find("notes")
    ('angry', 'angry', None)
    """

    labels: tuple[str, ...]
    label_of: dict[str, str]  # `plain` word -> label
    source: str  # for messages: where the labels come from

    def find(self, word: str) -> str | None:
        """Return the label that a word means, or None."""
        return self.label_of.get(plain(word))

    def label(self, word: str) -> str:
        """Return the label that a word means.

        Raises
        ------
        ValueError
            If it means none; the message names the nearest word.
        """
        if found := self.find(word):
            return found
        if not word:
            raise ValueError("no emotion")
        near = difflib.get_close_matches(plain(word), self.label_of, 1, 0.75)
        meant = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"emotion {word!r} is no word for {self.source}{meant}, nor other:NAME")


def plain(word: str) -> str:
    """Return a word without what people write in different ways: case, accents, dashes and underscores.

    Examples
    --------
    >>> plain(" Pleasant-SURPRISE"), plain("Dégoût")
    ('pleasant surprise', 'degout')
    """
    letters = unicodedata.normalize("NFKD", word.casefold())
    bare = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return " ".join(bare.replace("_", " ").replace("-", " ").split())


def read_words(file: Path | None) -> Words:
    """Read a table of one's own labels, or return the eight with their words.

    Every line is a label, and behind a colon the words for it, separated by commas: ``tired: sleepy, müde``. The words
    that we know for the eight labels stand for those of them that the table has, in any case, unless it gives them to
    another.

    Raises
    ------
    NoInputError
        If the file cannot be read.
    DataError
        If a line cannot be right, or the number of labels is not 2 to 16; the message names file and line.
    """
    if file is None:
        return EIGHT
    rows: dict[str, list[str]] = {}
    lines: dict[str, int] = {}
    for number, line in enumerate(read_text(file).split("\n"), 1):
        name, _, words = line.partition("#")[0].partition(":")
        label = unicodedata.normalize("NFC", name.strip())
        label = plain(label) if plain(label) in LABELS else label  # ours is known in the network it starts from
        if not label and not words.strip():
            continue
        named = [label, *filter(None, (word.strip() for word in words.split(",")))]
        if wrong := _wrong(label) or next((_twice(word, lines) for word in named if plain(word) in lines), ""):
            raise DataError(f"{file}, line {number}: {wrong}")
        lines.update(dict.fromkeys(map(plain, named), number))
        rows[label] = named
    if not FEWEST_LABELS <= len(rows) <= MOST_LABELS:
        raise DataError(f"{file}: {len(rows)} labels, must be {FEWEST_LABELS} to {MOST_LABELS}, each on a line")
    ours = {word: label for word, label in EIGHT.label_of.items() if label in rows}
    theirs = {key: label for label, named in rows.items() for word in named for key in _spellings(word)}
    return Words(tuple(rows), ours | theirs, f"a label in {file.name}")


def _wrong(label: str) -> str:
    """Say why a model file cannot have a label of this name."""
    if not plain(label):
        return "no label before the colon"
    if not label.isprintable():
        return f"label {label!r} has letters that cannot be printed"
    if len(label) > MOST_LETTERS:
        return f"a label of {len(label)} letters, may have {MOST_LETTERS}"
    return "uncertain is what affectd says instead of a label" if plain(label) == "uncertain" else ""


def _twice(word: str, lines: dict[str, int]) -> str:
    return f"{word!r} is also in line {lines[plain(word)]}"


def _spellings(word: str) -> set[str]:
    """Return a word as it is compared, with the umlauts as one letter and as two."""
    composed = unicodedata.normalize("NFC", word.casefold())
    return {plain(word), plain(composed.replace("ä", "ae").replace("ö", "oe").replace("ü", "ue"))}


def _parse(table: str) -> dict[str, str]:
    label_of: dict[str, str] = {}
    for line in table.strip().splitlines():
        label, _, words = line.partition(":")
        for word in [label, *words.replace(";", ",").split(",")]:
            for key in _spellings(word):
                if label_of.setdefault(key, label) != label:
                    raise ValueError(f"{word} means two labels")
    return label_of


EIGHT = Words(LABELS, _parse(_WORDS), "one of the eight labels (--labels FILE names others)")
"""The eight labels, with the words for them in English, German, French, Spanish and Italian."""

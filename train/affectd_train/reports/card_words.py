"""What the model card says in other words of recordings of one's own than of corpora."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from affectd_train.data.own import OWN
from affectd_train.reports.records import Card

_GATE = "- The voice gate stays shut for stationary noise (fans, rain, wind, road), but wipers, keyboards, barking dogs and of course other people's talk open it; the network then mostly, but not always, says `uncertain`."
_WORDS = "- It hears how words are spoken, not what is said, and nothing of what a person feels without voicing it."

PROHIBITED = "Inferring the emotions of people at work or in education is prohibited in the European Union except for medical or safety reasons (Regulation (EU) 2024/1689, Article 5(1)(f)), and people exposed to an emotion recognition system must be informed of it (Article 50(3)). Do not base a decision about a person on its output."

CHOSEN = "More than ten recipes were compared on these folds, so the figures of the one that was kept are a little too good. Corpora that were never heard are the better judge, though what stands beside the network, its voice and its doubt, was chosen by the means over those."

FAILURES = f"""\
{_GATE}
- All training speech is acted, most of it in quiet rooms. Spontaneous emotion is weaker and rarer than acted emotion: expect worse than the figures above.
- Children were not trained on, people over 60 hardly, and of languages only those of the corpora above.
{_WORDS}"""

OWN_FAILURES = f"""\
{_GATE}
- It knows the rooms, microphones, languages and ages of the recordings that it was trained on. Expect worse where they are others, and of people who were asked to sound a way expect better than of people who were not.
- It says one of its labels or `uncertain` of any voice, also of what is none of its labels.
{_WORDS}"""


@dataclass(frozen=True)
class Words:
    """The words that differ."""

    heading: str = "How right it is about strangers"
    about: str = "The file itself is trained on all speakers, so these are the figures of networks trained the same way without the speakers they were tested on, run by the device's code. Intervals are 95 % bootstrap over speakers."
    asked: str = "what the actor was asked for"
    failures: str = FAILURES
    accuracy: str = "unweighted accuracy on strangers"
    interval: str = "95 % interval over speakers, all folds together"
    speakers: str = "speakers with {clips} recordings, none of them trained on"
    calibration: str = "expected calibration error on strangers"


OF_CORPORA = Words()
OF_OWN = replace(OF_CORPORA, asked="the label of the recording", failures=OWN_FAILURES)
OF_OWN_BY_FILE = replace(
    OF_OWN,
    heading="How right it is, not about strangers",
    about="**These figures flatter the file.** The recordings were split by file, not by speaker: the same people may have trained the networks and tested them, and a network knows a voice again. With acted recordings that gave 20 to 40 points more than strangers do. They say how right it may be about the people in the recordings, and nothing about others. The file itself is trained on all recordings; the figures are of networks trained the same way without those they were tested on, run by the device's code. Intervals are 95 % bootstrap over recordings, or over speakers where they are known.",
    accuracy="unweighted accuracy, maybe not on strangers",
    interval="95 % interval, all folds together",
    speakers="recordings that were not trained on, of speakers who maybe were",
    calibration="expected calibration error, maybe not on strangers",
)


def words_of(content: Card) -> Words:
    """Choose the words for a card."""
    if not is_of_own(content):
        return OF_CORPORA
    return OF_OWN_BY_FILE if content["evaluation"].get("by_file") else OF_OWN


def headline(content: Card) -> str:
    """Say in one line how right the networks of the evaluation were.

    Examples
    --------
    >>> int8 = {"unweighted": 0.6, "unweighted_interval": (0.5, 0.7)}
    >>> headline({"evaluation": {"labels": ["sad", "happy"], "int8": int8}, "training": {"clips": {"own": 9}}})
    'unweighted accuracy on strangers: 0.600 (95 %: 0.500 to 0.700); by chance 0.500'
    """
    figures = content["evaluation"]
    low, high = figures["int8"]["unweighted_interval"]
    right, chance = figures["int8"]["unweighted"], 1 / len(figures["labels"])
    return f"{words_of(content).accuracy}: {right:.3f} (95 %: {low:.3f} to {high:.3f}); by chance {chance:.3f}"


def is_of_own(content: Card) -> bool:
    """Tell whether the network was trained on recordings of one's own."""
    return OWN in content.get("training", {}).get("clips", {})


def own_commands(content: Card, options: str) -> list[str]:
    """Say how to make a file of one's own recordings again."""
    figures: Mapping[str, Any] = content["evaluation"]
    by_file = " --by-file" if figures.get("by_file") else ""
    folds = f" --folds {len(figures['folds'])}" if len(figures["folds"]) != 5 else ""
    return [
        "# with --labels FILE for evaluate and fit, if the labels are your own",
        f"affectd-train evaluate --data DATA --protocol own{by_file}{folds}{options}   # the figures above",
        f"affectd-train fit --data DATA --out runs/mine --cache runs/own/cache{options}",
        "affectd-train quantize runs/mine",
        "affectd-train pack runs/mine --evaluation runs/own --out mine.tflite",
        "affectd-train report mine.tflite --out mine.md",
    ]

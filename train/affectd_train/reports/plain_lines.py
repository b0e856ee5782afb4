"""The lines that a card opens with, for readers who ask whether it will work in a kiosk."""

from __future__ import annotations

from collections.abc import Mapping

from affectd_train.data.everyday_speech import SOURCES, TRAINED
from affectd_train.evaluation.rates import interval_of_rate
from affectd_train.reports.card_sections import where_degraded
from affectd_train.reports.records import Card, Measured

_GAIN = "labels that a gain of -20 to +10 dB changes, worst gain"


def plain_lines(content: Card, *, has_voice: bool) -> list[str]:
    """Say in plain words what the figures of a card mean, as far as it has them; the first is always there.

    Returns
    -------
    A heading and at most five lines.
    """
    figures, found = content["evaluation"], content.get("measured", {})
    right, n_labels = figures["int8"]["unweighted"], len(figures["labels"])
    lines = [
        f"People it never heard, who speak as the actors of its training do: {10 * right:.0f} of 10 recordings get the "
        f"right one of {n_labels} labels (by chance {10 / n_labels:.1f})."
    ]
    lines += _elsewhere(found, has_voice) + _all_day(found)
    lines += (_named(content.get("named", {}), found) or _sure(found)) + _noise(found)
    return ["## Will it work in my kiosk?", "\n".join(f"- {line}" for line in lines)]


def _elsewhere(found: Measured, has_voice: bool) -> list[str]:
    corpora = found.get("settled", {}).get("corpora", {})
    rows = [corpus["cold"]["unweighted"] for corpus in corpora.values()]
    rows = rows or [row["any"] for row in found.get("strangers", []) if "corpora disjoint" in row["protocol"]]
    if not rows:
        return []
    line = f"Other microphones, another manner, another language: {_of_ten(rows)}. Your place is such a one."
    more = " Where one person speaks, a minute of that voice helps"
    if corpora:
        more += f" ({_of_ten([corpus['settled']['60']['unweighted'] for corpus in corpora.values()])})"
    more += "; where many do, little is gained by it."
    return [line + more * has_voice]


def _of_ten(shares: list[float]) -> str:
    return f"{10 * min(shares):.0f} to {10 * max(shares):.0f} of 10"


def _all_day(found: Measured) -> list[str]:
    everyday = found.get("behavior", {}).get("everyday", {})
    heard = [everyday[source] for source in SOURCES if source not in TRAINED and source in everyday]
    elsewhere = [rates["named_per_hour"] for rates in heard]
    if "speech" in everyday:  # a half of that source trained
        often = f"{everyday['speech']['named_per_hour']:.0f}"
        line = f"in an hour of recordings like some of its training it names {often} times something else than neutral"
        more = "; elsewhere many times as often, and wrongly."
    elif elsewhere:
        least, most = f"{min(elsewhere):.0f}", f"{max(elsewhere):.0f}"
        often = least if least == most else f"{least} to {most}"
        line = f"in an hour of sources that it never heard it names {often} times something else than neutral"
        more = "" if most == "0" else ", mostly wrongly"
        if hours := sum(rates["hours"] for rates in heard):
            an_hour = sum(rates["named_per_hour"] * rates["hours"] for rates in heard) / hours
            more += f" ({hours:.1f} hours were heard: it may be up to {interval_of_rate(an_hour, hours)[1]:.0f})"
        more += "."
    else:
        return []
    return [f"People who do not act: {line}{more}"]


def _named(named: Mapping[str, tuple[float, float | None]], found: Measured) -> list[str]:
    if "known" not in named or None in (named["known"][1], named["unheard"][1]):
        return []
    (known, right_known), (unheard, right_unheard) = named["known"], named["unheard"]
    line = (
        f"It says `uncertain` rather than guess: of recordings like the first it names {known:.0%} and is right in "
        f"{right_known:.0%} of these, of others {unheard:.0%} and {right_unheard:.0%}"
    )
    after = found.get("settled", {}).get("mean_settled", {}).get("60", {})
    if "precision" in after:
        line += f", after a minute of one voice {after['named']:.0%} and {after['precision']:.0%}"
    return [f"{line}."]


def _sure(found: Measured) -> list[str]:
    points = found.get("calibration", {}).get("coverage", [])
    at = next((point for point in points if point[0] >= 0.4), None)
    if at is None:
        return []
    return [
        f"It says `uncertain` rather than guess: of the surest {at[0]:.0%} of such recordings {at[2]:.0%} are right."
    ]


def _noise(found: Measured) -> list[str]:
    robustness = found.get("robustness")
    bars = robustness["bars"] if robustness else {}
    kept = bars.get("share of clean accuracy at 10 dB, worst noise")
    loud = bars.get(f"{_GAIN}, without what clips")
    noise = found.get("behavior", {}).get("everyday", {}).get("noise")
    if robustness is None or kept is None or loud is None or noise is None:
        return []
    return [
        f"Noise 10 dB below the voice{where_degraded(robustness)} leaves {kept:.0%} of what is right without noise, "
        f"loudness changes {loud:.1%} of the labels at most where nothing clips, and noise alone is named "
        f"{noise['named_per_hour']:.0f} times an hour."
    ]

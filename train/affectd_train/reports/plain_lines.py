"""The lines that a card opens with, for who asks whether it will work in a kiosk."""

from __future__ import annotations

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
    lines += _elsewhere(found, has_voice) + _all_day(found) + _sure(found) + _noise(found)
    return ["## Will it work in my kiosk?", "\n".join(f"- {line}" for line in lines)]


def _elsewhere(found: Measured, has_voice: bool) -> list[str]:
    rows = [row["any"] for row in found.get("strangers", []) if "corpora disjoint" in row["protocol"]]
    if not rows:
        return []
    line = (
        f"Other microphones and another manner: {10 * min(rows):.0f} to {10 * max(rows):.0f} of 10, in another "
        "language fewer. Your place is such a one."
    )
    more = " Where one person speaks, a minute of that voice helps; where many do, little is gained by it."
    return [line + more * has_voice]


def _all_day(found: Measured) -> list[str]:
    everyday = found.get("behavior", {}).get("everyday", {})
    return [
        "People who do not act: in an hour of recordings like some of its training it names "
        f"{rates['named_per_hour']:.0f} times something else than neutral; elsewhere many times as often, and wrongly."
        for rates in [everyday.get("speech")]
        if rates
    ]


def _sure(found: Measured) -> list[str]:
    points = found.get("calibration", {}).get("coverage", [])
    at = next((point for point in points if point[0] >= 0.4), None)
    if at is None:
        return []
    return [
        f"It says `uncertain` rather than guess: of the surest {at[0]:.0%} of such recordings {at[2]:.0%} are right."
    ]


def _noise(found: Measured) -> list[str]:
    kept = found.get("robustness", {}).get("bars", {}).get("share of clean accuracy at 10 dB, worst noise")
    loud = found.get("robustness", {}).get("bars", {}).get(f"{_GAIN}, without what clips")
    noise = found.get("behavior", {}).get("everyday", {}).get("noise")
    if kept is None or loud is None or noise is None:
        return []
    return [
        f"Noise 10 dB below the voice leaves {kept:.0%} of the first figure, loudness changes {loud:.1%} of the labels "
        f"at most, and noise alone is named {noise['named_per_hour']:.0f} times an hour."
    ]

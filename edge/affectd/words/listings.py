"""What `affectd devices` and `affectd model` print, as text and as rows of CSV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from affectd.stdio import width_of
from affectd.words.layout import Column, Layout, facts
from affectd.words.rows import Rows, flat, row

_FIELDS = ("index", "name", "names", "n_channels", "sample_rate", "sample_rates", "level_dbfs")
_FLOOR_DBFS = -120.0  # of digital silence
_NEVER_SECONDS = 1e6  # of speech, before which a baseline has hardly moved
_COLUMNS = {
    "mfcc": "{} MFCCs",
    "delta": "{} deltas",
    "delta_delta": "{} delta-deltas",
    "mel": "{} mel bands",
    "pitch": "pitch",
    "rms": "RMS",
    "zero_crossings": "rate of zero crossings",
    "chroma": "{} pitch classes",
}
_POOLED = {"none": "", "mean": "means of ", "mean_and_deviation": "means and deviations of "}
_ENDS = {"end": "the end", "start": "the start", "both": "both ends"}
_FILLS = {"zeros": "zeros", "mean": "the mean", "repeat": "the same again"}


def devices_text(microphones: Sequence[Mapping[str, Any]], room: int | None) -> Iterator[str]:
    """Yield the lines about microphones, as of `affectd.audio.devices.ListedMicrophone`."""
    if not microphones:
        return
    tables = [(_names(found), found) for found in microphones]
    layout = Layout(
        [
            Column("NAME FOR [audio] device", max(width_of(name) for names, _ in tables for name in names)),
            Column("LEVEL NOW", len("cannot open"), is_right=True),
            Column("CHANNELS", 3, is_right=True, is_optional=True),
            Column("RATES, kHz", max(len(_rates(found)) for found in microphones), is_optional=True),
            Column("MICROPHONE", max(width_of(found["name"]) for found in microphones), is_elastic=True),
        ],
        room,
    )
    yield layout.titles()
    for names, found in tables:
        yield layout.line([names[0], _level(found), str(found["n_channels"]), _rates(found), found["name"]])
        yield from (layout.line([name, "", "", "", ""]) for name in names[1:])


def devices_rows(microphones: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the rows of microphones."""
    rows = Rows(_FIELDS)
    yield rows.titles()
    yield from map(rows.line, microphones)


def model_text(found: Mapping[str, Any], room: int | None) -> Iterator[str]:
    """Yield the lines about a model, as of `affectd.recognition.description.describe`."""
    return facts(_model_facts(found), room)


def model_rows(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield a row for each fact about a model."""
    yield row(["field", "value"])
    yield from map(row, flat(found))


def _names(found: Mapping[str, Any]) -> Sequence[str]:
    return found["names"] or ["(none)"]


def _level(found: Mapping[str, Any]) -> str:
    level = found["level_dbfs"]
    if level is None:
        return "cannot open"
    return "silence" if level <= _FLOOR_DBFS else f"{level:.1f} dB"


def _rates(found: Mapping[str, Any]) -> str:
    return " ".join(f"{rate / 1000:g}" for rate in found["sample_rates"])


def _model_facts(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    features, layout = found["features"], found.get("layout", {})
    n_frames = found["n_frames"] if layout else found["input"][1]
    seconds = n_frames * features["hop_length"] / features["sample_rate"]
    yield "model", f"{found['model']}, {found['bytes'] / 1000:.0f} kB, {found['path']}"
    yield "labels", " ".join(found["labels"])
    columns = _columns(found.get("columns", {"mfcc": features["n_mfcc"]}))
    pooled = _POOLED[layout.get("statistics", "none")]
    yield "hears", f"{seconds:.1f} s at a time, as {pooled}{columns} of sound at {features['sample_rate']} Hz"
    if "hearing" in found:
        yield "recordings", ", ".join(hearing_words(found["hearing"], n_frames))
    uncertain = found["thresholds"]["uncertain"]
    yield "uncertain", f"below a probability of {uncertain:g}" if uncertain else "never"
    yield "run by", found["runtime"]
    yield from _card_facts(found["card"])
    if "baseline" in found and found["baseline"]["prior_seconds"] < _NEVER_SECONDS:
        yield "places", "it gets to know the place where it listens: affectd baseline"
    if "self_test" in found:
        differences = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in found["self_test"].items())
        yield "self-test", f"passed: this device computes it correctly ({differences})"


def hearing_words(hearing: Mapping[str, Any], n_frames: int) -> Iterator[str]:
    """Yield what is done to a recording, in this order; see `affectd.recognition.hearing.Hearing`."""
    yield "as a whole"
    if hearing["start_seconds"] or hearing["seconds"] is not None:
        length = "to the end" if hearing["seconds"] is None else f"for {hearing['seconds']:g} s"
        yield f"from {hearing['start_seconds']:g} s {length}"
    if hearing["trim_db"] is not None:
        yield f"both ends trimmed {hearing['trim_db']:g} dB below the loudest"
    where = f"cut off at {_ENDS[hearing['cut_at']]}, added at {_ENDS[hearing['pad_at']]}"
    if hearing["n_samples"] is not None:
        yield f"brought to {hearing['n_samples']} samples ({where})"
    if hearing["centring"] != "none":
        yield "columns centred" if hearing["centring"] == "mean" else "columns centred and scaled"
    if hearing["fill"] != "none":
        yield f"brought to {n_frames} frames with {_FILLS[hearing['fill']]} ({where})"


def _columns(counts: Mapping[str, int]) -> str:
    parts = [_COLUMNS[name].format(count) for name, count in counts.items()]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _card_facts(card: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what people ask of a card; a card may hold anything, or nothing."""
    data = card.get("data")
    known = [part for part in data if isinstance(part, dict)] if isinstance(data, list) else []
    if known:
        corpora = (f"{part.get('corpus')} ({part.get('clips')} clips, {part.get('terms')})" for part in known)
        yield "trained on", ", ".join(corpora)
    personal = card.get("personal")
    if isinstance(personal, dict) and isinstance(counts := personal.get("clips"), dict):
        yield "fitted to", f"one voice or place: {', '.join(f'{label} {n}' for label, n in counts.items())} recordings"
    use = card.get("use", _at(card, "imported", "terms"))
    if isinstance(use, str):
        yield "use", use
    cold = _at(card, "measured", "settled", "mean", "unweighted")
    known = _at(card, "measured", "settled", "mean_settled", "60", "unweighted")
    if isinstance(cold, float) and isinstance(known, float):
        words = (
            f"{100 * cold:.0f} % in corpora of which it heard nothing, {100 * known:.0f} % after a minute of a voice"
        )
        yield "elsewhere", words
    right = _at(card, "evaluation", "any_label", "int8")
    if isinstance(right, int | float):
        whom = "" if _at(card, "evaluation", "name") == "own" else ", about actors"
        yield "accuracy", f"{100 * right:.0f} %, mean of the labels{whom} ({_at(card, 'evaluation', 'protocol')})"


def _at(card: Any, *keys: str) -> Any:
    """Return what is below these keys, or None."""
    for key in keys:
        card = card.get(key) if isinstance(card, Mapping) else None
    return card

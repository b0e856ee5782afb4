"""Draw the picture of the README: what the device makes of tests/data/demo.wav, stage by stage.

After a new model file or a change of the pipeline: ``python tests/picture_documents.py``.
"""

from __future__ import annotations

import base64
import struct
import zlib
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from affectd.audio.source import wav_blocks
from affectd.config.sections import Config
from affectd.features.mfcc import Mfcc
from affectd.pipeline import run
from affectd.recognition.baseline import Placed
from affectd.recognition.classifier import Classifier
from affectd.recognition.model_file import find_model, read_model

REPOSITORY = Path(__file__).parents[1]
PICTURE = REPOSITORY / "docs" / "demo.svg"
DEMO = REPOSITORY / "tests" / "data" / "demo.wav"

WIDTH, HEIGHT = 1000, 496
LEFT, RIGHT = 150, 976
"""Where the time axis begins and ends."""
SOUND, BANDS, GATE, NETWORK, EVENTS = (44, 104), (118, 198), (212, 224), (238, 338), (352, 418)
"""Upper and lower edge of each row."""
RANGE_DB = 50.0
SENTENCES = (
    "“The train …”",
    "“It is my birthday …”",
    "“The garden is empty …”",
    "“Get out …!”",
    "“Do not leave me …”",
)
"""What tests/data/make_demo.py lets the voices say, shortened."""
COLORS = {
    "neutral": "#8b98a5",
    "calm": "#3aa6b9",
    "happy": "#f0b429",
    "sad": "#4a7bd0",
    "angry": "#e5484d",
    "fearful": "#9b6ade",
    "disgust": "#5bb974",
    "surprised": "#f2803a",
}
STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; fill: #1f2328 }
.name { font-weight: 600 } .small { font-size: 11px; fill: #59636e } .said { font-style: italic; font-size: 11.5px }
.panel { fill: #ffffff; stroke: #d1d9e0 } .open { fill: #0a7f78; fill-opacity: 0.07 } .gate { fill: #0a7f78 }
.wave { fill: #0a7f78 } .rule { stroke: #d1d9e0 } .pin { stroke: #59636e } .dot { fill: #1f2328 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } .small { fill: #9198a1 } .panel { fill: #0d1117; stroke: #3d444d }
.open { fill: #3ddbd0; fill-opacity: 0.09 } .gate, .wave { fill: #2fb8ae } .rule { stroke: #3d444d }
.pin { stroke: #9198a1 } .dot { fill: #f0f6fc }
}
"""


@dataclass
class Heard:
    """What a run of the device gave: events, and each classification with its time."""

    samples: NDArray[np.float32]
    bands: NDArray[np.float32]
    labels: tuple[str, ...]
    seconds: float
    events: list[dict[str, Any]] = field(default_factory=list)
    answers: list[tuple[float, NDArray[np.float32]]] = field(default_factory=list)

    def write(self, event: dict[str, Any]) -> None:
        """Take an event, as a sink does."""
        self.events.append(event)


def heard() -> Heard:
    """Run the device on the demo."""
    model = read_model(find_model())
    spec, network = model.spec, Placed(Classifier(model))
    samples = np.concatenate(list(wav_blocks(str(DEMO), spec.sample_rate)))
    mfcc = Mfcc(spec)
    result = Heard(samples, mfcc.bands(mfcc.frames(samples)), model.labels, len(samples) / spec.sample_rate)
    n_frames = 0

    class Spy:
        """The network, which gets to know the voices as on a device, and notes when it answered what."""

        def __init__(self) -> None:
            self.model = model

        def __call__(self, cepstra: NDArray[np.float32]) -> NDArray[np.float32]:
            probabilities = network(cepstra)
            result.answers.append((n_frames * spec.hop_length / spec.sample_rate, probabilities))
            return probabilities

    def count(level: NDArray[np.float32], active: NDArray[np.bool_]) -> None:
        nonlocal n_frames
        n_frames += len(level)

    run([samples], Spy(), result, Config(), measure=count, ended=network.ended)
    return result


def picture(result: Heard) -> str:
    """Draw all rows."""
    ends = [event for event in result.events if event["phase"] == "end"]

    def x(seconds: float) -> float:
        return LEFT + (RIGHT - LEFT) * seconds / result.seconds

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<title>From sound to events</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="panel" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="10"/>',
    ]
    for sentence, event in zip(SENTENCES, ends, strict=True):
        left, right = x(event["start_seconds"]), x(event["end_seconds"])
        height = EVENTS[0] - 8 - 14
        parts.append(f'<rect class="open" x="{left:.1f}" y="14" width="{right - left:.1f}" height="{height}" rx="4"/>')
        parts.append(f'<rect class="gate" x="{left:.1f}" y="{GATE[0]}" width="{right - left:.1f}" height="12" rx="3"/>')
        parts.append(f'<text class="said" x="{(left + right) / 2:.1f}" y="32" text-anchor="middle">{sentence}</text>')
    parts.append(waveform(result.samples))
    parts.append(spectrogram(result.bands))
    for event in ends:
        times = [event["start_seconds"], event["end_seconds"] + 0.3]
        parts += areas([(x(t), p) for t, p in result.answers if times[0] < t < times[1]], result.labels)
    parts += [pin(event, x(event["end_seconds"])) for event in result.events]
    rows = (
        (SOUND, "Sound", "16 kHz, mono"),
        (BANDS, "Mel bands", "a frame each 16 ms"),
        (GATE, "Voice gate", "opens for speech"),
        (NETWORK, "Network", "each 256 ms, int8"),
        (EVENTS, "Events", "JSON lines, MQTT"),
    )
    for (top, bottom), name, about in rows:
        middle = (top + bottom) / 2
        parts.append(f'<text class="name" x="22" y="{middle - 2:.1f}">{name}</text>')
        parts.append(f'<text class="small" x="22" y="{middle + 13:.1f}">{about}</text>')
    parts += [*axis(result.seconds, x), *legend(result.labels), "</svg>"]
    return "\n".join(parts) + "\n"


def waveform(samples: NDArray[np.float32]) -> str:
    """Draw the lowest and highest sample of each column."""
    columns = cut(samples / np.abs(samples).max(), RIGHT - LEFT)
    middle, half = sum(SOUND) / 2, (SOUND[1] - SOUND[0]) / 2
    upper = [(LEFT + k, middle - half * max(float(c.max()), 0.01)) for k, c in enumerate(columns)]
    lower = [(LEFT + k, middle - half * min(float(c.min()), -0.01)) for k, c in enumerate(columns)]
    return f'<path class="wave" d="{outline(upper, lower)}"/>'


def cut(rows: NDArray[np.float32], n: int) -> list[NDArray[np.float32]]:
    """Cut into pieces whose borders are evenly spaced."""
    return np.split(rows, np.linspace(0, len(rows), n + 1).astype(int)[1:-1])


def spectrogram(bands: NDArray[np.float32]) -> str:
    """Draw the mel bands as a picture of one color, of which the level is the opacity."""
    columns = np.stack([c.mean(axis=0) for c in cut(bands - bands.max(), (RIGHT - LEFT) // 2)], axis=1)
    rows = np.stack([r.mean(axis=0) for r in cut(columns, 40)])[::-1]
    opacity = np.round(np.clip(1 + rows / RANGE_DB, 0, 1) * 15).astype(np.uint8)
    (top, bottom), data = BANDS, base64.b64encode(png(opacity)).decode()
    return (
        f'<image x="{LEFT}" y="{top}" width="{RIGHT - LEFT}" height="{bottom - top}" preserveAspectRatio="none" '
        f'href="data:image/png;base64,{data}"/>'
    )


def png(opacity: NDArray[np.uint8]) -> bytes:
    """Encode opacities from 0 to 15 as a PNG of 16 colors that differ in nothing else."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = opacity.shape
    # Four bits a pixel; each row begins with the number of its filter, none.
    padded = np.pad(opacity, ((0, 0), (0, width % 2)))
    packed = padded[:, ::2] << 4 | padded[:, 1::2]
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 4, 3, 0, 0, 0)),
            chunk(b"PLTE", bytes((0x12, 0x9C, 0x93)) * 16),
            chunk(b"tRNS", bytes(17 * k for k in range(16))),
            chunk(b"IDAT", zlib.compress(rows, 9)),
            chunk(b"IEND", b""),
        ]
    )


def areas(points: list[tuple[float, NDArray[np.float32]]], labels: tuple[str, ...]) -> list[str]:
    """Stack the probabilities of an utterance."""
    (top, bottom), drawn = NETWORK, []
    below = np.zeros(len(points))
    for k, label in enumerate(labels):
        above = below + [float(p[k]) for _, p in points]
        upper, lower = (
            [(x, bottom - (bottom - top) * y) for (x, _), y in zip(points, edge, strict=True)]
            for edge in (above, below)
        )
        drawn.append(f'<path fill="{COLORS[label]}" d="{outline(upper, lower)}"><title>{label}</title></path>')
        below = above
    return drawn


def outline(upper: list[tuple[float, float]], lower: list[tuple[float, float]]) -> str:
    """Write a path along one edge and back along the other."""
    points = [*upper, *reversed(lower)]
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + "Z"


def pin(event: dict[str, Any], x: float) -> str:
    """Draw an event at the time of its last sound."""
    best = max(event["probabilities"], key=event["probabilities"].get)
    probability = event["probabilities"][best]
    top, label = EVENTS[0] - 6, escape(event["label"])
    about = f"{probability:.2f}" if best == event["label"] else f"{best} {probability:.2f}"
    name = f"{event['phase']} {event['end_seconds']:.2f} {label}"
    # To the left, so that the next has room.
    text = f'x="{x + (8 if event["phase"] == "start" else 4):.1f}" text-anchor="end"'
    if event["phase"] == "change":
        text, top = f'x="{x:.1f}" text-anchor="middle"', top + 34
    return (
        f'<g data-event="{name}"><line class="pin" x1="{x:.1f}" x2="{x:.1f}" y1="{GATE[0]}" y2="{top}"/>'
        f'<circle class="dot" cx="{x:.1f}" cy="{top}" r="3"/>'
        f'<text {text} y="{top + 18}">{label}</text><text class="small" {text} y="{top + 32}">{about}</text></g>'
    )


def axis(seconds: float, x: Any) -> list[str]:
    """Draw the axis of time."""
    y = 430
    drawn = [f'<line class="rule" x1="{LEFT}" x2="{RIGHT}" y1="{y}" y2="{y}"/>']
    return drawn + [
        f'<text class="small" x="{x(second):.1f}" y="{y + 16}" text-anchor="middle">{second} s</text>'
        for second in range(0, int(seconds) + 1, 2)
    ]


def legend(labels: tuple[str, ...]) -> list[str]:
    """Draw the colors of the labels."""
    y, width = 472, (RIGHT - LEFT) / len(labels)
    drawn = []
    for k, label in enumerate(labels):
        left = LEFT + k * width
        drawn.append(f'<rect x="{left:.1f}" y="{y - 10}" width="12" height="12" rx="3" fill="{COLORS[label]}"/>')
        drawn.append(f'<text class="small" x="{left + 18:.1f}" y="{y}">{label}</text>')
    return drawn


if __name__ == "__main__":
    PICTURE.write_text(picture(heard()))

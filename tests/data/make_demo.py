"""Make demo.wav: five sentences of synthetic voices, each in the mood of its words, with pauses and faint noise.

Needs flite and praat-parselmouth, SciPy and soundfile: `pip install praat-parselmouth scipy soundfile`. No person was
recorded for it: flite speaks, Praat changes pitch and tempo, and a filter the timbre. In which direction is known
from acted speech (K. R. Scherer, "Vocal communication of emotion: a review of research paradigms", Speech
Communication 40, 2003, table 2): anger and fear are high and fast, sadness is low, slow, flat and dull, joy is high and
lively. How far was searched until models/affectd.tflite names them, so this shows what it does, not how good it is.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import parselmouth
import soundfile
from parselmouth.praat import call, run
from scipy.signal import butter, lfilter, resample_poly, sosfilt

SAMPLE_RATE = 16000
PAUSE_SECONDS = 1.3
PEAK = 0.35
NOISE = 6e-4


@dataclass(frozen=True)
class Sentence:
    """What is said, and how; of `slope` and `liveliness` 0 and 1 leave the melody as it is."""

    label: str  # of the model, which names it so
    text: str
    voice: str  # of flite
    duration: float  # times that of flite
    pitch_hz: float  # median
    liveliness: float  # times the range of the melody, in logarithms of Hz
    slope: float  # of the melody, from the first word to the last, in the same
    tremor: float  # of the pitch at 6 Hz, in the same
    jitter: float  # of the pitch from point to point, in the same
    brightness_db: float  # of what lies above 1 kHz
    breath_db: float  # noise that follows the voice


SENTENCES = (
    Sentence(
        label="neutral",
        text="The shop on the corner opens at eight.",
        voice="awb",
        duration=0.93,
        pitch_hz=88.234,
        liveliness=0.467,
        slope=-0.311,
        tremor=0.071,
        jitter=0.004,
        brightness_db=-2.037,
        breath_db=-56.482,
    ),
    Sentence(
        label="happy",
        text="It is my birthday, and everybody came!",
        voice="slt",
        duration=1.243,
        pitch_hz=270.689,
        liveliness=0.795,
        slope=0.5,
        tremor=0.0,
        jitter=0.0,
        brightness_db=12.0,
        breath_db=-32.151,
    ),
    Sentence(
        label="sad",
        text="The garden is empty now.",
        voice="rms",
        duration=1.349,
        pitch_hz=73.99,
        liveliness=0.366,
        slope=0.5,
        tremor=0.069,
        jitter=0.068,
        brightness_db=-14.0,
        breath_db=-52.273,
    ),
    Sentence(
        label="angry",
        text="Get out of my kitchen, right now!",
        voice="kal16",
        duration=1.158,
        pitch_hz=288.613,
        liveliness=2.054,
        slope=-0.179,
        tremor=0.044,
        jitter=0.07,
        brightness_db=12.0,
        breath_db=-37.719,
    ),
    Sentence(
        label="fearful",
        text="What was that noise? Who is there?",
        voice="awb",
        duration=0.7,
        pitch_hz=296.674,
        liveliness=0.634,
        slope=0.14,
        tremor=0.003,
        jitter=0.055,
        brightness_db=-0.313,
        breath_db=-54.466,
    ),
)


def spoken(voice: str, text: str) -> parselmouth.Sound:
    """Return what flite says."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "said.wav"
        subprocess.run(["flite", "-voice", voice, "-t", text, "-o", path], check=True)
        return parselmouth.Sound(str(path))


def acted(sentence: Sentence, sound: parselmouth.Sound) -> np.ndarray:
    """Return the sentence as samples at `SAMPLE_RATE`, its loudest at `PEAK`."""
    seconds = sound.get_total_duration()
    manipulation = call(sound, "To Manipulation", 0.01, 60, 500)
    tier = call(manipulation, "Extract pitch tier")
    points = range(1, call(tier, "Get number of points") + 1)
    times = np.array([call(tier, "Get time from index", point) for point in points])
    pitch = np.array([call(tier, "Get value at index", point) for point in points])
    melody = np.log(pitch / np.median(pitch)) * sentence.liveliness
    melody += sentence.slope * (2 * times / seconds - 1)
    melody += sentence.tremor * np.sin(2 * np.pi * 6 * times)
    melody += sentence.jitter * np.random.default_rng(0).standard_normal(len(times))
    call(tier, "Remove points between", 0, seconds)
    for at, value in zip(times, sentence.pitch_hz * np.exp(melody), strict=True):
        call(tier, "Add point", at, float(np.clip(value, 60, 480)))
    call([tier, manipulation], "Replace pitch tier")
    duration = call("Create DurationTier", "duration", 0, seconds)
    call(duration, "Add point", 0, sentence.duration)
    call([duration, manipulation], "Replace duration tier")
    made = call(manipulation, "Get resynthesis (overlap-add)")
    samples = made.values[0]
    if made.sampling_frequency != SAMPLE_RATE:
        samples = resample_poly(samples, SAMPLE_RATE // 50, round(made.sampling_frequency / 50))
    return colored(sentence, samples)


def colored(sentence: Sentence, samples: np.ndarray) -> np.ndarray:
    """Make it brighter or duller, and breathy."""
    pole = np.exp(-2 * np.pi * 1000 / SAMPLE_RATE)
    low = lfilter([1 - pole], [1, -pole], samples)
    samples = low + 10 ** (sentence.brightness_db / 20) * (samples - low)
    envelope = np.sqrt(lfilter([0.01], [1, -0.99], samples**2))
    band = butter(2, [1500, 7500], "band", fs=SAMPLE_RATE, output="sos")
    air = sosfilt(band, np.random.default_rng(1).standard_normal(len(samples)))
    samples = samples + 10 ** (1 + sentence.breath_db / 20) * envelope * air
    return samples / np.abs(samples).max() * PEAK


def joined(sentences: list[np.ndarray]) -> np.ndarray:
    """Put pauses between sentences and faint noise under all."""
    pause = np.zeros(round(PAUSE_SECONDS * SAMPLE_RATE))
    parts = [pause[: len(pause) // 2]]
    for sentence in sentences:
        parts += [sentence, pause]
    samples = np.concatenate(parts)
    return samples + NOISE * np.random.default_rng(7).standard_normal(len(samples))


if __name__ == "__main__":
    run("random_initializeWithSeedUnsafelyButPredictably(1)")
    said = [acted(sentence, spoken(sentence.voice, sentence.text)) for sentence in SENTENCES]
    soundfile.write(Path(__file__).with_name("demo.wav"), joined(said), SAMPLE_RATE, subtype="PCM_16")

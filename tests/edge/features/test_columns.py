"""The columns beside the MFCCs, against librosa; in streams of any blocks; at any gain; and what they cost others."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import librosa as typed_librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affectd.features.columns import Columns
from affectd.features.context import CepstralContext, Context
from affectd.features.framing import Framer
from affectd.features.mfcc import Mfcc
from affectd.features.spec import FeatureSpec
from affectd.recognition.model_file import find_model, read_model
from mfcc_references import speech, synthetic

librosa: Any = typed_librosa

EVERYTHING: dict[str, Any] = {
    "deltas": "second",
    "mel": "log",
    "pitch": "hertz",
    "rms": "decibel",
    "zero_crossings": "rate",
    "chroma": "power",
}
FRAMES: dict[str, dict[str, int]] = {
    "librosa's frames": {"sample_rate": 16000, "n_fft": 2048, "hop_length": 512},
    "affectd's frames": {"sample_rate": 16000, "n_fft": 1024, "hop_length": 256},
    "22.05 kHz": {"sample_rate": 22050, "n_fft": 2048, "hop_length": 512},
    "odd hop": {"sample_rate": 16000, "n_fft": 1200, "hop_length": 333},
}


def like_librosa(frames: dict[str, int], **columns: Any) -> FeatureSpec:
    """A specification with librosa's defaults, but for the columns alone."""
    return FeatureSpec(
        **frames,
        window_length=frames["n_fft"],
        fmax=frames["sample_rate"] / 2,
        log_floor=1e-10,
        **{"reference": "one", "top_db": 80.0, "n_mfcc": 0, **columns},
    )


def zero_crossing_rate(y: np.ndarray, f: dict[str, int]) -> np.ndarray:
    # librosa pads with the first and the last sample here, and with zeros everywhere else.
    padded = np.pad(y, f["n_fft"] // 2)
    return librosa.feature.zero_crossing_rate(padded, frame_length=f["n_fft"], hop_length=f["hop_length"], center=False)


def yin(y: np.ndarray, f: dict[str, int]) -> np.ndarray:
    settings = {"sr": f["sample_rate"], "frame_length": f["n_fft"], "hop_length": f["hop_length"]}
    return librosa.yin(y.astype(np.float64), fmin=65.0, fmax=500.0, **settings)[np.newaxis]


def spectral(f: dict[str, int]) -> dict[str, Any]:
    return {"sr": f["sample_rate"], "n_fft": f["n_fft"], "hop_length": f["hop_length"]}


def rms(y: np.ndarray, f: dict[str, int]) -> np.ndarray:
    return librosa.feature.rms(y=y, frame_length=f["n_fft"], hop_length=f["hop_length"])


def chroma_of_magnitude(y: np.ndarray, f: dict[str, int]) -> np.ndarray:
    magnitude = np.abs(librosa.stft(y, n_fft=f["n_fft"], hop_length=f["hop_length"]))
    return librosa.feature.chroma_stft(S=magnitude, tuning=0, **spectral(f))


def melspectrogram(y: np.ndarray, f: dict[str, int]) -> np.ndarray:
    return librosa.feature.melspectrogram(y=y, **spectral(f))


def mfcc(y: np.ndarray, f: dict[str, int]) -> np.ndarray:
    return librosa.feature.mfcc(y=y, n_mfcc=13, **spectral(f))


REFERENCES: dict[str, tuple[dict[str, Any], Callable[[np.ndarray, dict[str, int]], np.ndarray], float]] = {
    "rms": ({"rms": "linear"}, rms, 2e-6),
    "rms in decibel": ({"rms": "decibel"}, lambda y, f: 20 * np.log10(np.maximum(rms(y, f), 1e-6)), 1e-3),
    "zero crossings": ({"zero_crossings": "rate"}, zero_crossing_rate, 1e-6),
    "log mel": ({"mel": "log"}, lambda y, f: librosa.power_to_db(melspectrogram(y, f)), 1e-3),
    "log mel below the maximum": (
        {"mel": "log", "reference": "max"},
        lambda y, f: librosa.power_to_db(melspectrogram(y, f), ref=np.max),
        1e-3,
    ),
    "mel power": ({"mel": "power", "top_db": None}, melspectrogram, 1e-3),
    "chroma": ({"chroma": "power"}, lambda y, f: librosa.feature.chroma_stft(y=y, tuning=0, **spectral(f)), 1e-3),
    "chroma of the magnitude": ({"chroma": "magnitude"}, chroma_of_magnitude, 1e-3),
    "pitch": ({"pitch": "hertz"}, yin, 1e-3),
    "pitch in semitones": ({"pitch": "semitones"}, lambda y, f: 12 * np.log2(yin(y, f) / 65.0), 1e-4),
    "deltas": (
        {"n_mfcc": 13, "deltas": "second"},
        lambda y, f: np.concatenate(
            [mfcc(y, f), *(librosa.feature.delta(mfcc(y, f), order=order) for order in (1, 2))]
        ),
        1e-3,
    ),
    "deltas over 5 frames": (
        {"n_mfcc": 13, "deltas": "first", "delta_width": 5},
        lambda y, f: np.concatenate([mfcc(y, f), librosa.feature.delta(mfcc(y, f), width=5)]),
        1e-3,
    ),
}


def assert_agrees(name: str, frames: dict[str, int], signals: dict[str, np.ndarray]) -> None:
    columns, reference, tolerance = REFERENCES[name]
    features = Mfcc(spec := like_librosa(frames, **columns))
    for signal, sound in signals.items():
        samples = np.pad(sound, (0, 2000))  # the shortest has fewer frames than a derivative needs
        theirs = reference(samples, frames).T
        ours = features(samples)
        if name.startswith("pitch"):
            # Of a single sample every period fits equally well; librosa answers what rounding makes of it.
            cut = librosa.util.frame(
                np.pad(samples, frames["n_fft"] // 2), frame_length=frames["n_fft"], hop_length=frames["hop_length"]
            )
            alone = np.count_nonzero(cut, axis=0) == 1
            ours, theirs = ours[~alone], theirs[~alone]
        assert ours.dtype == np.float32
        assert ours.shape == theirs.shape == (len(ours), spec.n_columns)
        relative = 1e-6 if name.startswith("pitch") else 1e-3  # of float64, and of float32
        np.testing.assert_allclose(ours, theirs, rtol=relative, atol=tolerance, err_msg=f"{name} of {signal}")


@pytest.mark.parametrize("frames", FRAMES)
@pytest.mark.parametrize("name", REFERENCES)
def test_a_column_is_librosas(name: str, frames: str) -> None:
    assert_agrees(name, FRAMES[frames], synthetic())


@pytest.mark.parametrize("name", REFERENCES)
def test_a_column_is_librosas_of_speech(name: str, speech_data: Path) -> None:
    assert_agrees(name, FRAMES["librosa's frames"], speech(speech_data))
    assert_agrees(name, FRAMES["affectd's frames"], speech(speech_data))


def test_the_order_of_the_columns() -> None:
    spec = FeatureSpec(n_mfcc=5, n_mels=20, **EVERYTHING)
    assert list(spec.columns.items()) == [
        ("mfcc", 5),
        ("delta", 5),
        ("delta_delta", 5),
        ("mel", 20),
        ("pitch", 1),
        ("rms", 1),
        ("zero_crossings", 1),
        ("chroma", 12),
    ]
    samples = synthetic()["noise between silences"]
    every = Mfcc(spec)(samples)
    first = 0
    for name, count in list(spec.columns.items())[3:]:
        alone = replace(FeatureSpec(n_mels=20, n_mfcc=0, mel="log"), **{name: EVERYTHING[name]})
        first = list(spec.columns).index(name)
        begin = sum(list(spec.columns.values())[:first])
        theirs = Mfcc(alone)(samples)[:, -count:]
        np.testing.assert_allclose(every[:, begin : begin + count], theirs, atol=1e-4, err_msg=name)


@settings(deadline=None, max_examples=30)
@given(
    sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=12),
    columns=st.fixed_dictionaries({}, optional={name: st.just(value) for name, value in EVERYTHING.items()}),
    preemphasis=st.sampled_from([0.0, 0.97]),
)
def test_a_stream_in_any_blocks_has_the_rows_of_the_whole(
    sizes: list[int], columns: dict[str, Any], preemphasis: float
) -> None:
    spec = FeatureSpec(window_length=512, n_fft=512, hop_length=160, n_mels=40, n_mfcc=13, **columns)
    spec = replace(spec, preemphasis=preemphasis)
    features = Mfcc(spec)
    random = np.random.default_rng(sum(sizes))
    samples = (random.standard_normal(sum(sizes)) * 0.1).astype(np.float32)
    framer = Framer(spec)
    parts = [features.bands(framer.push(block)) for block in np.split(samples, np.cumsum(sizes)[:-1])]
    parts.append(features.bands(framer.flush()))
    streamed, whole = np.concatenate(parts), features.bands(features.frames(samples))
    assert whole.shape[1] == spec.n_bands
    np.testing.assert_allclose(streamed, whole, atol=1e-4, rtol=1e-5)


@settings(deadline=None, max_examples=20)
@given(gain=st.floats(-59, 6), kind=st.sampled_from(["linear", "decibel"]))  # the level of a frame is -120 dB at least
def test_columns_below_the_contexts_maximum_are_the_same_at_any_gain(gain: float, kind: str) -> None:
    spec = FeatureSpec(**{**EVERYTHING, "rms": kind})
    samples = np.pad(synthetic()["square 125 Hz"][:8000] * 0.3, (4000, 0))
    samples += np.random.default_rng(3).normal(0, 3e-3, len(samples)).astype(np.float32)

    def context(samples: np.ndarray) -> np.ndarray:
        features = Mfcc(spec)
        kept = CepstralContext(100, features)  # longer than the sound: the rows before it must not tell the gain
        kept.push(features.bands(features.frames(samples)))
        return kept.view().copy()

    np.testing.assert_allclose(
        context((samples * 10 ** (gain / 20)).astype(np.float32)), context(samples), atol=2e-2, rtol=1e-3
    )


def test_an_absolute_level_follows_the_gain() -> None:
    spec = FeatureSpec(n_mfcc=0, rms="decibel", reference="one")
    noise = synthetic()["noise"]
    np.testing.assert_allclose(Mfcc(spec)(noise / 10), Mfcc(spec)(noise) - 20, atol=1e-3)


def test_a_short_context_is_padded_with_what_silence_gives() -> None:
    spec = FeatureSpec(**EVERYTHING)
    features = Mfcc(spec)
    silent = features.bands(np.zeros((3, spec.window_length), np.float32))
    context = Context(3, spec.n_bands, features.fill)
    np.testing.assert_allclose(context.view(), silent, atol=1e-4)


def test_rows_that_have_a_new_neighbor_are_computed_again() -> None:
    """One loud row and then quiet ones: the loudest band, by which cepstra are kept, does not change."""
    features = Mfcc(spec := FeatureSpec(n_mfcc=4, deltas="second", delta_width=5, rms="linear"))
    sound = synthetic()["noise"][:16000]
    rows = features.bands(features.frames(sound * np.geomspace(1, 1e-3, len(sound)).astype(np.float32)))
    stream, whole = CepstralContext(80, features), Context(80, spec.n_bands, features.fill)
    for row in rows:
        stream.push(row[np.newaxis])
        whole.push(row[np.newaxis])
        np.testing.assert_allclose(stream.view(), features.cepstra(whole.view()), atol=1e-4)


def test_derivatives_need_their_width() -> None:
    features = Mfcc(FeatureSpec(deltas="first", delta_width=5))
    assert features(np.ones(4 * 256, np.float32)).shape == (5, 80)
    assert features(np.zeros(0, np.float32)).shape == (0, 80)
    with pytest.raises(ValueError, match="delta_width = 5 needs as many frames, not 4"):
        features(np.ones(3 * 256, np.float32))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"pitch": "hertz", "pitch_fmin": 15.0}, "pitch_fmin = 15.0 must be above"),
        ({"pitch": "hertz", "pitch_fmin": 600.0}, "pitch_fmin = 600.0 must lie"),
        ({"pitch": "hertz", "pitch_fmax": 9000.0}, "pitch_fmax = 9000.0 must not exceed"),
        ({"n_mfcc": 0}, "n_mfcc = 0 must lie"),
        ({"n_mfcc": 0, "mel": "log", "deltas": "first"}, "deltas = 'first' needs n_mfcc"),
        ({"n_mfcc": 0, "mel": "log", "energy": True}, "energy = True needs n_mfcc"),
    ],
)
def test_columns_that_cannot_be_are_refused(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=f"^{named}"):
        FeatureSpec(**changes)


def test_a_file_without_further_columns_stays_as_it_is() -> None:
    shipped = read_model(find_model()).spec
    assert len(FeatureSpec().to_dict()) == len(shipped.to_dict()) == 26
    assert FeatureSpec.from_dict(shipped.to_dict()) == shipped
    every = FeatureSpec(**EVERYTHING)
    assert set(every.to_dict()) - set(shipped.to_dict()) == set(EVERYTHING)
    assert FeatureSpec.from_dict(every.to_dict()) == every


def test_what_no_specification_asks_for_is_not_loaded() -> None:
    ask = "import sys; from affectd.features.mfcc import FeatureSpec, Mfcc; Mfcc(FeatureSpec({}));"
    ask += "print(sorted(m[17:] for m in sys.modules if m.startswith('affectd.features.')))"

    def loaded(spec: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", ask.format(spec)], capture_output=True, text=True, check=True
        ).stdout.strip()

    plain = ["framing", "mel", "mfcc", "spec"]
    assert loaded("") == str(plain)
    assert loaded("rms='linear'") == str(sorted([*plain, "columns"]))
    assert loaded("chroma='power'") == str(sorted([*plain, "chroma", "columns"]))
    assert isinstance(Mfcc(FeatureSpec(mel="log")), Columns)
    assert not isinstance(Mfcc(FeatureSpec()), Columns)

"""What the device makes of a clip: of audio by its own code, of log-mel bands by the same steps from the bands on."""

from __future__ import annotations

import numpy as np

from affectd.arrays import Float32
from affectd.config.sections import Config
from affectd.features.framing import frame_strides
from affectd.features.mfcc import Mfcc
from affectd.features.spec import FeatureSpec
from affectd.recognition.classifier import Network
from affectd.recognition.recording import Recording, classify_recording, classify_speech
from affectd.recognition.vad import band_level, find_speech
from affectd_train.data.clips import Clip
from affectd_train.data.logmel import load_logmel, logmel_level
from affectd_train.data.recordings import load_audio


def hear(clip: Clip, network: Network) -> dict[str, float]:
    """Classify one clip with the default settings: the probability of every label, or nothing without speech."""
    if not clip.is_logmel:
        return recording_of(clip, network).probabilities
    bands = load_logmel(clip)
    return hear_bands(logmel_level(bands, network.model.spec), bands, network)


def recording_of(clip: Clip, network: Network) -> Recording:
    """Classify the sound of a clip with the default settings."""
    samples = load_audio(clip, network.model.spec.sample_rate)
    return classify_recording([samples], network, Config(), str(clip.path))


def open_seconds(clip: Clip, network: Network) -> float:
    """Classify a clip as `hear`, and return for how long the gate was open."""
    if not clip.is_logmel:
        return recording_of(clip, network).speech_seconds
    bands, spec = load_logmel(clip), network.model.spec
    level = logmel_level(bands, spec)
    hear_bands(level, bands, network)
    speech = find_speech(level, Config().gate, spec.frame_rate)
    return 0.0 if speech is None else float(speech.opened.sum()) / spec.frame_rate


def level_and_bands(samples: Float32, spec: FeatureSpec) -> tuple[Float32, Float32]:
    """Compute what the gate and the network are given, ``(n_frames,)`` dBFS and ``(n_frames, n_bands)``, as the device.

    In strides, for the last bit of a matrix product depends on its shape.
    """
    mfcc = Mfcc(spec)
    strides = [*frame_strides([samples], spec, lambda: Config().model.stride_frames * spec.hop_length)]
    level = np.concatenate([band_level(frames, spec.sample_rate) for frames in strides])
    return level, np.concatenate([mfcc.bands(frames) for frames in strides])


def hear_bands(level: Float32, bands: Float32, network: Network) -> dict[str, float]:
    """Classify a recording from its levels and bands, as `affectd.recognition.recording.classify_recording` does.

    A network that hears recordings as a whole gets all of it: only samples can be trimmed.
    """
    config = Config()
    if network.model.hearing is not None:
        from affectd.recognition import whole

        columns = whole.hear_bands(bands, network.model, Mfcc(network.model.spec))
        return dict(zip(network.model.labels, network(columns).astype(np.float64).round(4).tolist(), strict=True))
    speech = find_speech(level, config.gate, network.model.spec.frame_rate)
    if speech is None:
        return {}
    mean = classify_speech(speech, bands, network, config.model.stride_frames)
    return dict(zip(network.model.labels, mean.round(4).tolist(), strict=True))

"""What the teacher hears in every frame is at the time of that frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from onnx import TensorProto, helper, numpy_helper

from affectd.features.mfcc import Mfcc
from affectd.features.spec import FeatureSpec
from affectd_train.augmentation.waveform import Augmenter
from affectd_train.data.clips import Clip
from affectd_train.data.corpora import read_corpus
from affectd_train.data.everyday_speech import everyday_recordings
from affectd_train.training.bands import speech_bands
from affectd_train.training.frame_hints import FIRST_CENTER, LAYER, N_FRAME_HINTS, STEP, frame_hints
from affectd_train.training.teacher import LAYERS
from affectd_train.training.variants import Source, sources

SPEC = FeatureSpec()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder with the real one's steps that tells how loud 895 samples are, in 416 scales."""
    rng = np.random.default_rng(0)
    scales = rng.normal(size=(416, 1, 1)) * np.ones((416, 1, 2 * FIRST_CENTER + 1)) / (2 * FIRST_CENTER + 1)
    nodes = [
        helper.make_node("Abs", ["input_values"], ["loud"]),
        helper.make_node("Unsqueeze", ["loud", "axis"], ["channel"]),
        helper.make_node("Conv", ["channel", "scales"], ["columns"], strides=[STEP]),
        *(helper.make_node("Transpose", ["columns"], [layer], perm=[0, 2, 1]) for layer in LAYERS),
    ]
    known = [
        numpy_helper.from_array(scales.astype(np.float32), "scales"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
    ]
    sound = helper.make_tensor_value_info("input_values", TensorProto.FLOAT, ["batch", "n_samples"])
    last = helper.make_tensor_value_info(LAYER, TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "encoder", [sound], [last], known)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path_factory.mktemp("encoder") / "encoder_model.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def everyday(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("speech")
    rng = np.random.default_rng(1)
    for i in range(8):
        envelope = np.repeat(rng.uniform(0, 1, 40), 1600)
        soundfile.write(folder / f"{i}.wav", 0.3 * envelope * rng.normal(size=64000).clip(-1, 1), 16000)
    return everyday_recordings(folder)


def test_hints_belong_to_the_frames_of_the_bands(encoder: Path, everyday: list[Path], tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    envelope = np.interp(np.arange(48000), np.arange(0, 48001, 1600), rng.uniform(0.05, 1, 31)).astype(np.float32)
    sound = np.zeros(64000, np.float32)  # half a second of silence at both ends, for the gate to cut off
    sound[8000:56000] = 0.3 * envelope * np.sin(2 * np.pi * 300 / 16000 * np.arange(48000))
    soundfile.write(tmp_path / "03a01Fa.wav", sound, 16000)
    clip = Clip(
        path=tmp_path / "03a01Fa.wav", corpus="emodb", speaker="emodb-03", emotion="happy", gender="male", text="a"
    )
    (hints,) = frame_hints([clip], SPEC, encoder, everyday, tmp_path)
    bands = speech_bands(Source(clip, SPEC))
    assert hints.shape == (len(bands), N_FRAME_HINTS)
    # The first component is the loudness, of which there is only one here; so the two rise and fall together ...
    loudness = 10 ** (np.asarray(bands, np.float32).max(1) / 20)
    first = np.abs(hints[:, 0].astype(np.float32) - hints[0, 0])
    at = {lag: np.corrcoef(first[5 + lag : len(first) - 5 + lag], loudness[5:-5])[0, 1] for lag in range(-5, 6)}
    # ... at the same time.
    assert max(at, key=at.__getitem__) == 0
    assert at[0] > 0.95


def test_what_was_heard_is_kept(encoder: Path, everyday: list[Path], speech_data: Path, tmp_path: Path) -> None:
    clips = read_corpus("emodb", speech_data / "emodb").clips[:3]
    hints = frame_hints(clips, SPEC, encoder, everyday, tmp_path)
    assert [len(rows) for rows in hints] == [len(speech_bands(Source(clip, SPEC))) for clip in clips]
    (file,) = tmp_path.glob("frames-emodb-*.npz")
    before = file.stat().st_mtime_ns
    for again, rows in zip(frame_hints(clips, SPEC, encoder, everyday, tmp_path), hints, strict=True):
        np.testing.assert_array_equal(again, rows)
    assert file.stat().st_mtime_ns == before


def test_copies_are_heard_as_what_they_are(
    encoder: Path, everyday: list[Path], speech_data: Path, tmp_path: Path
) -> None:
    clips = read_corpus("emodb", speech_data / "emodb").clips[:2]
    augmenter = Augmenter(None, None)
    hints = frame_hints(clips, SPEC, encoder, everyday, tmp_path, augmenter, 1)
    copies = sources(clips, SPEC, augmenter, 1)
    assert [len(rows) for rows in hints] == [len(speech_bands(source)) for source in copies]
    for rows, original in zip(hints, frame_hints(clips, SPEC, encoder, everyday, tmp_path), strict=True):
        assert not np.array_equal(rows, original)


def test_a_clip_that_cannot_be_decoded_has_none(encoder: Path, everyday: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    clip = Clip(path=broken, corpus="emodb", speaker="emodb-03", emotion="sad", gender="male", text="a")
    (hints,) = frame_hints([clip], SPEC, encoder, everyday, tmp_path)
    assert hints.shape == (0, N_FRAME_HINTS)


def test_log_mel_clips_are_heard_too(encoder: Path, everyday: list[Path], speech_data: Path, tmp_path: Path) -> None:
    clips = read_corpus("cremad", speech_data / "cremad").clips[:2]
    for clip, rows in zip(clips, frame_hints(clips, SPEC, encoder, everyday, tmp_path), strict=True):
        assert len(rows) == len(speech_bands(Source(clip, SPEC))) > Mfcc(SPEC).spec.hop_length // 10

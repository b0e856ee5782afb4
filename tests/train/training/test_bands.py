"""What the network is trained on is what the device computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from affectd.config.sections import GateConfig
from affectd.errors import DataError
from affectd.features.mfcc import Mfcc
from affectd.features.spec import FeatureSpec
from affectd.recognition.offline import padded
from affectd.recognition.vad import band_level, trim
from affectd_train.data.clips import Clip
from affectd_train.data.corpora import read_corpus
from affectd_train.data.everyday_speech import everyday_recordings, trained_on
from affectd_train.data.labels import LABELS
from affectd_train.data.logmel import LOGMEL_PEAK_DBFS, logmel_level
from affectd_train.data.recordings import load_audio
from affectd_train.training.bands import BandStore, load_bands, load_everyday, speech_bands
from affectd_train.training.batches import Batches, normalization
from affectd_train.training.teacher import SoftTargets
from affectd_train.training.variants import Source

SPEC = FeatureSpec()


@pytest.fixture(scope="module")
def store(speech_data: Path, tmp_path_factory: pytest.TempPathFactory) -> BandStore:
    clips = read_corpus("emodb", speech_data / "emodb").clips[::15]
    return load_bands(clips, SPEC, tmp_path_factory.mktemp("cache"))


def batches(store: BandStore, **changes: object) -> Batches:
    settings: dict[str, object] = {
        "store": store,
        "shares": {"emodb": 1.0},
        "labels": LABELS,
        "noise": [],
        "everyday": [],
        "spec": SPEC,
        "n_frames": 188,
        "normalization": normalization(store, SPEC, 188, 0),
        "batch_size": 8,
        "label_smoothing": 0.1,
        "seed": 0,
    }
    return Batches(**settings | changes)  # type: ignore[arg-type]


def test_bands_are_those_of_the_trimmed_clip(store: BandStore) -> None:
    mfcc = Mfcc(SPEC)
    samples = load_audio(store.clips[0], SPEC.sample_rate)
    frames = mfcc.frames(samples)
    span = trim(band_level(frames, SPEC.sample_rate), GateConfig(), SPEC.sample_rate / SPEC.hop_length)
    assert span is not None
    expected = mfcc.bands(frames)[slice(*span)]
    assert store[0].shape == expected.shape
    np.testing.assert_allclose(store[0], np.maximum(expected - expected.max(), -120), atol=0.06)  # float16


def test_the_cache_answers_without_the_recordings(store: BandStore, speech_data: Path, tmp_path: Path) -> None:
    clips = list(store.clips)
    first = load_bands(clips, SPEC, tmp_path)
    (file,) = tmp_path.iterdir()
    written = file.stat().st_mtime_ns
    second = load_bands(clips, SPEC, tmp_path)
    assert file.stat().st_mtime_ns == written
    np.testing.assert_array_equal(first.rows, second.rows)
    assert load_bands(clips, FeatureSpec(hop_length=512), tmp_path).rows.shape != first.rows.shape


def test_a_speaker_left_out_is_nowhere(store: BandStore) -> None:
    speaker = store.clips[0].speaker
    left = BandStore.join([store, store]).without({speaker})
    assert speaker not in {clip.speaker for clip in left.clips}
    kept = [i for i, clip in enumerate(store.clips) if clip.speaker != speaker]
    np.testing.assert_array_equal(left[0], store[kept[0]])
    np.testing.assert_array_equal(left[len(kept)], store[kept[0]])


def test_a_batch_is_the_same_whenever_it_is_drawn(store: BandStore) -> None:
    x, y = batches(store).draw(7)
    again, same = batches(store).draw(7)
    np.testing.assert_array_equal(x, again)
    np.testing.assert_array_equal(y, same)
    other, _ = batches(store).draw(8)
    assert not np.array_equal(x, other)
    assert x.shape == (8, 188, SPEC.n_mfcc)
    assert x.dtype == np.float32
    assert np.isfinite(x).all()


def test_targets_are_smoothed_over_all_labels_also_those_that_the_corpus_lacks(store: BandStore) -> None:
    _, probabilities = batches(store, label_smoothing=0.12).draw(0)
    assert probabilities.shape == (8, len(LABELS))
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(probabilities.max(1), 0.88 + 0.12 / 8, rtol=1e-6)
    lacking = [LABELS.index("calm"), LABELS.index("surprised")]  # in EmoDB, which is what is drawn from
    np.testing.assert_allclose(probabilities[:, lacking], 0.12 / 8, rtol=1e-6)


def test_hints_of_frames_stay_with_their_frames(store: BandStore) -> None:
    n = len(store)
    # The hint of a frame is its place in the clip, from 0 to 1.
    frames = [np.linspace(0, 1, len(store[i]), dtype=np.float16)[:, None] for i in range(n)]
    taught = SoftTargets(np.full((n, len(LABELS)), 1 / len(LABELS), np.float32), np.zeros((n, 3), np.float32))
    drawn = batches(
        store, taught=taught, frames=frames, noise=[np.zeros((300, SPEC.n_mels), np.float32)], batch_size=200
    )
    _, targets = drawn.draw(0)
    steps = targets[:, len(LABELS) + 3 + 1 :].reshape(200, 47, 2)
    known = steps[:, :, 1] == 1
    assert 0 < (~known.any(1)).sum() < 50  # of noise nothing is known
    for place, there in zip(steps[:, :, 0], known, strict=True):
        if there.any():
            assert there[np.argmax(there) :].all()  # up to the end of the context, where clips end
            rises = np.diff(place[there])
            np.testing.assert_allclose(rises, rises.mean(), atol=0.004)
            assert rises.mean() > 0
            assert place[there].max() < 1


def test_clips_as_they_are_are_contexts_of_the_device(store: BandStore) -> None:
    drawn = batches(store)
    mean, std = normalization(store, SPEC, 188, 0)
    mfcc = Mfcc(SPEC)
    wanted = np.stack([(mfcc.cepstra(padded(store[i], mfcc, 188)) - mean) / std for i in range(len(store))])
    for context in drawn.plain(10):
        assert np.abs(wanted - context).max((1, 2)).min() < 1e-4


def test_noise_alone_has_no_emotion(store: BandStore) -> None:
    noise = [np.random.default_rng(0).normal(-40, 3, (400, SPEC.n_mels)).astype(np.float32)]
    contexts, drawn = batches(store, noise=noise, batch_size=512).contexts(0)
    uniform = (drawn == np.float32(1 / len(LABELS))).all(1)
    assert 0.04 < uniform.mean() < 0.12
    # Half of it begins with the context, the rest in silence, as a burst does.
    floor = Mfcc(SPEC).floor
    begins = (contexts[uniform] != floor).any(2).argmax(1)
    assert 0.2 < (begins == 0).mean() < 0.8
    assert begins.max() > 100
    assert begins.max() < 188 - 188 // 8 + 1


def test_everyday_speech_has_no_label(store: BandStore) -> None:
    everyday = [np.random.default_rng(0).normal(-40, 9, (150, SPEC.n_mels)).astype(np.float32)]
    drawn = batches(store, everyday=everyday, batch_size=256).draw(0)[1]
    acted = drawn.max(1) > 0.5
    assert 0.88 < acted.mean() < 0.99
    np.testing.assert_array_equal(drawn[~acted], np.float32(1 / 8))


def test_microphones_differ_by_as_much_as_was_asked_for(store: BandStore) -> None:
    none, some, much = (batches(store, tilt_db=decibel).contexts(0)[0] for decibel in (0.0, 1.0, 2.0))
    curves = np.abs(some - none) > 0.1
    assert curves.mean() > 0.2
    # Of most clips and bands twice as far; of those that hiss reaches, less.
    assert np.median((much - none)[curves] / (some - none)[curves]) == pytest.approx(2, rel=1e-3)


def in_silence(store: BandStore) -> BandStore:
    """Let every clip be as loud as it is for its first half, and digitally silent from then on."""
    rows = store.rows.copy()
    for first, last in zip(store.starts, store.ends, strict=True):
        rows[(first + last) // 2 : last] = -120
    return BandStore(store.clips, rows, store.starts, store.ends, store.copies)


def test_with_a_floor_of_noise_no_clip_is_digitally_silent(store: BandStore) -> None:
    silent = in_silence(store)
    without, _ = batches(silent, batch_size=64).contexts(0)
    floored, _ = batches(silent, batch_size=64, has_noise_floor=True).contexts(0)

    def depth(contexts: np.ndarray) -> np.ndarray:
        """Decibel from the mean power of each clip to its quietest frame, padding before it left out."""
        floor = Mfcc(SPEC).floor
        clips = [context[(context != floor).any(1)] for context in contexts]
        powers = [(10 ** (clip / 10)).mean(1) for clip in clips]
        return np.array([10 * np.log10(power.mean() / power.min()) for power in powers])

    assert (depth(without) > 60).mean() > 0.3  # hiss reaches some, and others begin and end in speech
    assert depth(floored).max() < 50
    assert 10 < np.median(depth(floored)) < 45


def test_the_floor_of_noise_varies_and_is_the_same_for_every_corpus(store: BandStore) -> None:
    quiet = [np.full((150, SPEC.n_mels), -120.0, np.float32)]
    quiet[0][::20] = 0.0
    everyday, targets = batches(store, everyday=quiet, batch_size=256, has_noise_floor=True).contexts(0)
    mine = everyday[targets.max(1) < 0.5]
    powers = (10 ** (mine[:, -40:] / 10)).mean(2)
    below = 10 * np.log10(powers.mean(1) / np.quantile(powers, 0.1, axis=1))
    assert len(mine) > 10
    assert below.max() < 45  # no clip is without
    assert below.max() > 37  # and of some it is far lower than in the mean
    assert np.median(below) < 30


def test_without_it_batches_are_those_of_the_first_recipe(store: BandStore) -> None:
    drawn, _ = batches(store).contexts(3)
    same, _ = batches(store, has_noise_floor=False).contexts(3)
    other, _ = batches(store, has_noise_floor=True).contexts(3)
    np.testing.assert_array_equal(drawn, same)
    assert not np.array_equal(drawn, other)


def test_half_of_the_everyday_recordings_are_left_for_tests(speech_data: Path, tmp_path: Path) -> None:
    if not (speech_data / "speech").is_dir():
        pytest.skip(f"no everyday speech in {speech_data}")
    files = sorted((speech_data / "speech").iterdir())
    share = np.mean([trained_on(file) for file in files])
    assert 0.4 < share < 0.6
    some = [next(file for file in files if trained_on(file)), next(file for file in files if not trained_on(file))]
    for file in some:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (clip,) = load_everyday(everyday_recordings(tmp_path), SPEC)
    samples = load_audio(Clip("", some[0], "", "", "", ""), SPEC.sample_rate)
    assert 20 < len(clip) <= SPEC.count_frames(len(samples))


def test_the_gate_sees_log_mels_as_it_sees_samples(speech_data: Path) -> None:
    clip = read_corpus("emodb", speech_data / "emodb").clips[3]
    mfcc = Mfcc(SPEC)
    frames = mfcc.frames(load_audio(clip, SPEC.sample_rate))
    bands = mfcc.bands(frames)
    measured = band_level(frames, SPEC.sample_rate)
    estimated = logmel_level(np.maximum(bands - bands.max(), -80), SPEC)
    loud = measured > measured.max() - 30
    difference = (estimated - measured)[loud]
    assert np.std(difference) < 4
    assert estimated.max() < LOGMEL_PEAK_DBFS + 12


def test_a_context_ends_with_the_speech_and_begins_with_padding() -> None:
    mfcc = Mfcc(SPEC)
    bands = np.random.default_rng(0).normal(-30, 5, (50, SPEC.n_mels)).astype(np.float32)
    cepstra = mfcc.cepstra(padded(bands, mfcc, 188))
    filled = np.full((188, SPEC.n_mels), mfcc.floor, np.float32)
    filled[-50:] = bands
    np.testing.assert_array_equal(cepstra, mfcc.cepstra(filled))
    np.testing.assert_array_equal(cepstra[:138], np.broadcast_to(cepstra[0], (138, SPEC.n_mfcc)))


def test_a_clip_that_cannot_be_decoded_is_a_reason_not_a_crash(speech_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ravdess" / "Actor_01"
    folder.mkdir(parents=True)
    source = speech_data / "ravdess" / "Actor_01" / "03-01-01-01-01-01-01.flac"
    (folder / source.name).write_bytes(source.read_bytes()[:20000])
    (clip,) = read_corpus("ravdess", tmp_path / "ravdess").clips
    reason = speech_bands(Source(clip, SPEC))
    assert isinstance(reason, str)
    assert source.name not in reason  # beside which it is said
    with pytest.raises(DataError, match="no recording of ravdess can be decoded"):
        load_bands([clip], SPEC, tmp_path / "cache")

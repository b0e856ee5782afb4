"""A copy is another voice saying the same, somewhere else; the teacher hears the voice, the network the rest too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from affectd.features.spec import FeatureSpec
from affectd_train.augmentation.waveform import Augmenter
from affectd_train.data.clips import Clip
from affectd_train.data.recordings import load_audio
from affectd_train.training.bands import BandStore, load_bands, speech_of
from affectd_train.training.variants import Source, digest, sources, speech_settings

SPEC = FeatureSpec()


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    """Two seconds of syllables of a buzzing voice, twice, and noise to put beside them."""
    rng = np.random.default_rng(0)
    (tmp_path / "noise").mkdir()
    soundfile.write(tmp_path / "noise" / "hiss.wav", 0.1 * rng.normal(size=48000).clip(-4, 4), 16000)
    found = []
    for name, pitch in (("03a01Fa", 110), ("03a01Wa", 130)):
        time = np.arange(32000) / 16000
        voice = np.sign(np.sin(2 * np.pi * pitch * time)) * np.maximum(0, np.sin(2 * np.pi * 2 * time))
        soundfile.write(tmp_path / f"{name}.wav", 0.2 * voice, 16000)
        found.append(Clip("emodb", tmp_path / f"{name}.wav", "emodb-03", "male", "happy", "a01"))
    return found


def test_a_copy_is_its_voice_and_what_is_around_it(clips: list[Clip], tmp_path: Path) -> None:
    augmenter = Augmenter(tmp_path / "noise", None)
    noisy = 0
    for seed in range(12):
        voice, heard = Source(clips[0], SPEC, augmenter, seed).sound()
        generator = np.random.default_rng(seed)
        expected = augmenter.voice(load_audio(clips[0], 16000), 16000, generator)
        np.testing.assert_array_equal(heard, augmenter.surround(expected, 16000, generator))
        # Nothing moves in time, and noise is in what the microphone hears alone.
        assert len(voice) == len(heard)
        gain = (voice @ heard) / (voice @ voice)
        rest = heard - gain * voice
        noisy += bool(rest.std() > 0.01 * heard.std())
    assert 2 <= noisy <= 10


def test_without_an_augmenter_a_clip_sounds_as_it_is(clips: list[Clip]) -> None:
    voice, heard = Source(clips[0], SPEC).sound()
    np.testing.assert_array_equal(voice, load_audio(clips[0], 16000))
    np.testing.assert_array_equal(heard, voice)


def test_every_clip_and_every_copy_has_a_voice_of_its_own(clips: list[Clip]) -> None:
    augmenter = Augmenter(None, None)
    both = sources(clips, SPEC, augmenter, 1) + sources(clips, SPEC, augmenter, 2)
    assert len({source.seed for source in both}) == 4
    assert sources(clips[1:], SPEC, augmenter, 1) == both[1:2], "whichever other clips there are"


def test_bands_and_voice_of_a_copy_have_the_same_times(clips: list[Clip], tmp_path: Path) -> None:
    for source in sources(clips, SPEC, Augmenter(tmp_path / "noise", None), 1):
        voice, bands, (first, last) = speech_of(source)
        assert voice is not None
        assert len(bands) == 1 + len(voice) // SPEC.hop_length
        assert 0 <= first < last <= len(bands)


def test_a_cache_is_named_by_all_that_is_in_it(clips: list[Clip], tmp_path: Path) -> None:
    augmenter = Augmenter(None, None)
    noisy = Augmenter(tmp_path / "noise", None)
    settings = speech_settings(SPEC)
    names = [
        digest(settings, clips, None, 0),
        digest(settings, clips[:1], None, 0),
        digest(settings, clips, augmenter, 1),
        digest(settings, clips, augmenter, 2),
        digest(settings, clips, noisy, 1),
        digest(speech_settings(FeatureSpec(hop_length=512)), clips, None, 0),
    ]
    assert len(set(names)) == len(names)
    # What is made of the bands later changes nothing about them.
    assert speech_settings(FeatureSpec(n_mfcc=20, top_db=80.0)) == settings


def test_a_store_knows_which_entries_are_copies(clips: list[Clip], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    copies = load_bands(clips, SPEC, cache, Augmenter(None, None), 2)
    both = BandStore.join([load_bands(clips, SPEC, cache), copies])
    assert both.entries() == [(clips[0], 0), (clips[1], 0), (clips[0], 2), (clips[1], 2)]
    np.testing.assert_array_equal(both[3], copies[1])
    assert not np.array_equal(both[1], both[3][: len(both[1])])
    assert both.without({"emodb-03"}).entries() == []

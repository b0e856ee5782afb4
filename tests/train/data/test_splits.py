"""Splits keep speakers apart, are deterministic, balanced, and say what they are."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from affectd_train.data.clips import Clip
from affectd_train.data.splits import (
    EMOBOX_RAVDESS,
    check_disjoint,
    emobox_ravdess,
    leave_one_speaker_out,
    random_split_sharing_speakers,
    speaker_folds,
)


def clips_of(speaker: str, gender: str, n_clips: int = 6) -> list[Clip]:
    corpus = speaker.partition("-")[0]
    return [
        Clip(corpus, Path(f"{speaker}/{number}.wav"), speaker, gender, ("happy", "sad")[number % 2], "a01")
        for number in range(n_clips)
    ]


def ravdess(actors: range) -> list[Clip]:
    return [clip for actor in actors for clip in clips_of(f"ravdess-{actor:02d}", "male" if actor % 2 else "female")]


ALL_ACTORS = ravdess(range(1, 25))
TESS = clips_of("tess-oaf", "female") + clips_of("tess-yaf", "female")


def speakers(clips: list[Clip]) -> set[str]:
    return {clip.speaker for clip in clips}


def test_the_emobox_folds_are_the_published_partition_of_24_actors() -> None:
    assert sorted(actor for fold in EMOBOX_RAVDESS.values() for actor in fold) == sorted(speakers(ALL_ACTORS))
    assert EMOBOX_RAVDESS[1] == tuple(f"ravdess-{actor}" for actor in ("01", "11", "20", "21"))
    assert EMOBOX_RAVDESS[6] == tuple(f"ravdess-{actor}" for actor in ("06", "13", "17", "22"))


@pytest.mark.parametrize("fold", EMOBOX_RAVDESS)
def test_an_emobox_fold_tests_its_four_actors_and_trains_everybody_else(fold: int) -> None:
    split = emobox_ravdess(ALL_ACTORS + TESS, fold)
    assert speakers(split.test) == set(EMOBOX_RAVDESS[fold])
    assert speakers(split.train) == speakers(ALL_ACTORS + TESS) - set(EMOBOX_RAVDESS[fold])
    assert len(split.train) + len(split.test) == len(ALL_ACTORS + TESS)
    assert split.name == f"EmoBox RAVDESS fold {fold}, speakers disjoint"


def test_an_emobox_fold_says_which_training_actors_are_missing() -> None:
    present = [clip for clip in ALL_ACTORS if clip.speaker not in EMOBOX_RAVDESS[6]]
    assert emobox_ravdess(present, 1).name.endswith("trained without ravdess-06, ravdess-13, ravdess-17, ravdess-22")
    with pytest.raises(ValueError, match="ravdess-06"):
        emobox_ravdess(present, 6)
    with pytest.raises(ValueError, match="fold 7"):
        emobox_ravdess(present, 7)


def test_speaker_folds_test_each_speaker_once_and_balance_genders() -> None:
    clips = ALL_ACTORS + TESS
    splits = speaker_folds(clips, n_folds=4, seed=5)
    assert Counter(clip for split in splits for clip in split.test) == Counter(clips)
    for split in splits:
        assert speakers(split.train).isdisjoint(speakers(split.test))
        assert len(split.train) + len(split.test) == len(clips)
        genders = Counter(
            next(clip.gender for clip in clips if clip.speaker == speaker)
            for speaker in speakers(split.test)
            if speaker.startswith("ravdess")
        )
        assert genders == {"female": 3, "male": 3}
        assert "disjoint" in split.name
    assert sorted(len(speakers(split.test)) for split in splits) == [6, 6, 7, 7]


def test_a_speaker_whose_gender_is_not_in_every_row_is_tested_once() -> None:
    clips = [clip for name in "abcd" for clip in (*clips_of(f"own-{name}", "male"), *clips_of(f"own-{name}", ""))]
    for n_folds in (2, 4):
        splits = speaker_folds(clips, n_folds, seed=0)
        assert Counter(clip for split in splits for clip in split.test) == Counter(set(clips))
        assert {len(speakers(split.test)) for split in splits} == {4 // n_folds}


def test_speaker_folds_even_out_speakers_of_different_size() -> None:
    clips = [clip for number in range(8) for clip in clips_of(f"emodb-{number}", "", n_clips=10 * (number + 1))]
    sizes = [len(split.test) for split in speaker_folds(clips, n_folds=2, seed=0)]
    assert max(sizes) - min(sizes) <= 40
    assert sum(sizes) == 360


def test_speaker_folds_spread_a_gender_even_where_that_leaves_the_sizes_uneven() -> None:
    women = [clip for number in range(5) for clip in clips_of(f"emodb-{number}", "female", 10)]
    men = [clip for number in range(5, 9) for clip in clips_of(f"emodb-{number}", "male", 2)]
    for split in speaker_folds(women + men, n_folds=4, seed=0):
        assert len({clip.speaker for clip in split.test if clip.gender == "male"}) == 1


def test_splits_depend_on_the_seed_and_not_on_the_order_of_the_clips() -> None:
    shuffled = random.Random(1).sample(ALL_ACTORS, len(ALL_ACTORS))

    def tested(clips: list[Clip], seed: int) -> list[list[set[str]]]:
        return [
            [speakers(split.test) for split in speaker_folds(clips, 4, seed)],
            [{str(clip.path) for clip in random_split_sharing_speakers(clips, 0.3, seed).test}],
        ]

    assert tested(ALL_ACTORS, 1) == tested(shuffled, 1)
    for one, other in zip(tested(ALL_ACTORS, 1), tested(ALL_ACTORS, 2), strict=True):
        assert one != other


@pytest.mark.parametrize("n_folds", [1, 25])
def test_an_impossible_number_of_folds_is_refused(n_folds: int) -> None:
    with pytest.raises(ValueError, match=f"n_folds is {n_folds}"):
        speaker_folds(ALL_ACTORS, n_folds, seed=0)


def test_leaving_one_speaker_out_tests_each_alone() -> None:
    splits = leave_one_speaker_out(TESS + clips_of("emodb-03", "male"))
    assert [speakers(split.test) for split in splits] == [{"emodb-03"}, {"tess-oaf"}, {"tess-yaf"}]
    assert all(len(split.train) == 12 for split in splits)
    with pytest.raises(ValueError, match="two speakers"):
        leave_one_speaker_out(clips_of("emodb-03", "male"))


def test_the_random_split_says_that_speakers_are_shared() -> None:
    split = random_split_sharing_speakers(ALL_ACTORS, test_fraction=0.25, seed=0)
    assert "SAME SPEAKERS ON BOTH SIDES" in split.name
    assert Counter(split.train + split.test) == Counter(ALL_ACTORS)
    assert Counter(clip.emotion for clip in split.test) == {"happy": 18, "sad": 18}
    with pytest.raises(ValueError, match=r"ravdess-\d\d"):
        check_disjoint(split.train, split.test)
    for fraction in (0.0, 1.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            random_split_sharing_speakers(ALL_ACTORS, fraction, seed=0)


def test_check_disjoint_names_the_speaker() -> None:
    with pytest.raises(ValueError, match=r"tess-yaf$"):
        check_disjoint(TESS, clips_of("tess-yaf", "female"))
    check_disjoint(TESS, ALL_ACTORS)

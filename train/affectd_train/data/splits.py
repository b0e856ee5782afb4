"""Which clips train and which test: with speakers disjoint unless a name says otherwise.

A network trained on a speaker recognizes the voice as well as the emotion, so random splits flatter
it by tens of points. Every split therefore carries its protocol in `Split.name`, which belongs beside
every figure that is reported.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from affectd.errors import DataError
from affectd_train.data.clips import Clip
from affectd_train.data.labels import in_order
from affectd_train.data.own import OWN

EMOBOX_RAVDESS: dict[int, tuple[str, ...]] = {
    1: ("ravdess-01", "ravdess-11", "ravdess-20", "ravdess-21"),
    2: ("ravdess-04", "ravdess-10", "ravdess-12", "ravdess-14"),
    3: ("ravdess-08", "ravdess-09", "ravdess-19", "ravdess-23"),
    4: ("ravdess-03", "ravdess-05", "ravdess-07", "ravdess-24"),
    5: ("ravdess-02", "ravdess-15", "ravdess-16", "ravdess-18"),
    6: ("ravdess-06", "ravdess-13", "ravdess-17", "ravdess-22"),
}
"""Test speakers of each fold of RAVDESS; a fold trains on all the others.

Source: Z. Ma et al., "EmoBox: Multilingual Multi-corpus Speech Emotion Recognition Toolkit and Benchmark",
Interspeech 2024, the published partition of RAVDESS.
"""


N_FOLDS = 5
"""Of recordings of one's own, unless there are fewer speakers or files."""


class TooFewError(DataError, ValueError):
    """There are too few clips or speakers for a split."""


@dataclass(frozen=True)
class Split:
    """Clips to train on and clips to test (or validate) on, and the protocol that chose them."""

    name: str
    train: list[Clip]
    test: list[Clip]


def emobox_ravdess(clips: Sequence[Clip], fold: int) -> Split:
    """Split by a fold of EmoBox's partition of RAVDESS; clips of other corpora all go to training.

    Speakers of RAVDESS who are absent from `clips` are named in `Split.name`: with fewer training speakers a
    figure does not compare with the published ones.

    Raises
    ------
    ValueError
        If there is no such fold; `TooFewError` if a test speaker of it is absent.
    """
    if fold not in EMOBOX_RAVDESS:
        raise ValueError(f"fold {fold} is none of EmoBox's folds of RAVDESS ({', '.join(map(str, EMOBOX_RAVDESS))})")
    present = {clip.speaker for clip in clips}
    if absent_from_test := sorted(set(EMOBOX_RAVDESS[fold]) - present):
        raise TooFewError(f"fold {fold} cannot be tested without {', '.join(absent_from_test)}")
    absent = sorted({speaker for fold in EMOBOX_RAVDESS.values() for speaker in fold} - present)
    name = f"EmoBox RAVDESS fold {fold}, speakers disjoint"
    if absent:
        name += f", trained without {', '.join(absent)}"
    return _split(name, clips, frozenset(EMOBOX_RAVDESS[fold]))


def speaker_folds(clips: Sequence[Clip], n_folds: int, seed: int) -> list[Split]:
    """Split into folds so that each speaker is tested in exactly one and trains the others.

    Speakers are dealt out per corpus and gender, so that each fold has about as many of each; among equals
    the fold with the fewest clips gets the next speaker. The order of the clips does not matter.

    Raises
    ------
    TooFewError
        If `n_folds` is less than two or more than there are speakers, or a speaker is not known.
    """
    _check_known(clips)
    n_clips = Counter(clip.speaker for clip in clips)
    if not 2 <= n_folds <= len(n_clips):
        raise TooFewError(f"n_folds is {n_folds}, but must be 2 to the number of speakers, {len(n_clips)}")
    speakers_of_fold: list[set[str]] = [set() for _ in range(n_folds)]
    for group in _shuffled_groups(clips, seed):
        n_of_group = [0] * n_folds
        # Largest first; the sort is stable, so the shuffle decides among speakers of equal size.
        for speaker in sorted(group, key=lambda speaker: -n_clips[speaker]):
            smallest = min(
                range(n_folds),
                key=lambda fold: (
                    n_of_group[fold],
                    len(speakers_of_fold[fold]),
                    sum(n_clips[speaker] for speaker in speakers_of_fold[fold]),
                ),
            )
            speakers_of_fold[smallest].add(speaker)
            n_of_group[smallest] += 1
    return [
        _split(f"fold {number} of {n_folds} (seed {seed}), speakers disjoint", clips, frozenset(speakers))
        for number, speakers in enumerate(speakers_of_fold, start=1)
    ]


def leave_one_speaker_out(clips: Sequence[Clip]) -> list[Split]:
    """Split once per speaker, in the order of their ids: that speaker is tested, all the others train.

    Raises
    ------
    TooFewError
        If there are fewer than two speakers, or one is not known.

    Examples
    --------
    >>> from pathlib import Path
    >>> clips = [Clip("emodb", Path(f"{n}.wav"), f"emodb-{n}", "male", "sad", "a01") for n in ("03", "10", "11")]
    >>> [split.name for split in leave_one_speaker_out(clips)][0]
    'leave emodb-03 out, speakers disjoint'
    """
    _check_known(clips)
    speakers = sorted({clip.speaker for clip in clips})
    if len(speakers) < 2:
        raise TooFewError(f"leaving one speaker out needs at least two speakers, there are {len(speakers)}")
    return [_split(f"leave {speaker} out, speakers disjoint", clips, frozenset((speaker,))) for speaker in speakers]


def random_split_sharing_speakers(clips: Sequence[Clip], test_fraction: float, seed: int) -> Split:
    """Split at random within each emotion, with the same speakers on BOTH sides.

    Only for comparison with published figures obtained this way; it says nothing about unseen speakers.

    Raises
    ------
    ValueError
        If `test_fraction` is not between 0 and 1; `TooFewError` if it leaves one side empty.
    """
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction is {test_fraction}, but must be between 0 and 1")
    generator = random.Random(seed)
    by_emotion: defaultdict[str, list[Clip]] = defaultdict(list)
    for clip in sorted(clips):
        by_emotion[clip.emotion].append(clip)
    test: set[Clip] = set()
    for emotion in sorted(by_emotion):
        alike = by_emotion[emotion]
        test.update(generator.sample(alike, round(test_fraction * len(alike))))
    if not 0 < len(test) < len(clips):
        raise TooFewError(f"test_fraction {test_fraction} of {len(clips)} clips leaves one side empty")
    name = f"random {test_fraction:.0%} (seed {seed}), SAME SPEAKERS ON BOTH SIDES"
    return Split(name, [clip for clip in clips if clip not in test], [clip for clip in clips if clip in test])


def file_folds(clips: Sequence[Clip], n_folds: int) -> list[Split]:
    """Split into folds by file within each emotion: for recordings whose speakers are not known.

    The same people may be on both sides, so that figures flatter the network. Parts of one file stay together.

    Raises
    ------
    TooFewError
        If `n_folds` is less than two or more than there are files.
    """
    emotion_of = {clip.path: clip.emotion for clip in sorted(clips)}
    if not 2 <= n_folds <= len(emotion_of):
        raise TooFewError(f"n_folds is {n_folds}, but must be 2 to the number of files, {len(emotion_of)}")
    paths = sorted(emotion_of)
    random.Random(0).shuffle(paths)
    paths.sort(key=lambda path: emotion_of[path])  # stable: shuffled within each emotion
    fold_of = {path: number % n_folds for number, path in enumerate(paths)}
    return [
        Split(
            f"fold {fold + 1} of {n_folds} (seed 0) BY FILE, MAYBE THE SAME SPEAKERS ON BOTH SIDES",
            [clip for clip in clips if fold_of[clip.path] != fold],
            [clip for clip in clips if fold_of[clip.path] == fold],
        )
        for fold in range(n_folds)
    ]


def own_splits(clips: Sequence[Clip], n_folds: int | None = None, by_file: bool = False) -> list[Split]:
    """Split recordings of one's own into folds; see `own`."""
    if by_file:
        splits = file_folds(clips, n_folds or min(N_FOLDS, len({clip.path for clip in clips})))
    else:
        speakers = {clip.speaker for clip in clips}
        if len(speakers) == 1 and "" not in speakers:
            raise TooFewError(f"all clips are of one speaker, {_who(speakers)}: {_OTHERWISE}")
        splits = speaker_folds(clips, n_folds or min(N_FOLDS, len(speakers)), seed=0)
    for split in splits:
        untrained = {clip.emotion for clip in clips} - {clip.emotion for clip in split.train}
        for label in in_order(untrained):
            raise TooFewError(_untrained(label, split, clips, by_file))
    return splits


_OTHERWISE = "add other speakers, or ask for a split by file (--by-file), whose figures flatter the network"


def _untrained(label: str, split: Split, clips: Sequence[Clip], by_file: bool) -> str:
    if by_file:
        return f"{split.name}: nothing of {label} is left to train on, for its clips are parts of too few files"
    speakers = {clip.speaker for clip in clips if clip.emotion == label}
    if len(speakers) == 1:
        return f"{label} is only said by {_who(speakers)}, without whom nothing of it is left to train on: {_OTHERWISE}"
    n_speakers = len({clip.speaker for clip in clips})
    return (
        f"{split.name}: nothing of {label} is left to train on, for only {_who(speakers)} say it:"
        f" ask for as many folds as there are speakers (--folds {n_speakers}), or add speakers of it"
    )


def _who(speakers: set[str]) -> str:
    return ", ".join(sorted(speaker.removeprefix(f"{OWN}-") for speaker in speakers))


def strangers_of(splits: Iterable[Split]) -> set[str]:
    """Return the people whom splits test as strangers."""
    return {who for split in splits for who in _speakers(split.test) - _speakers(split.train)}


def _speakers(clips: Iterable[Clip]) -> set[str]:
    return {clip.speaker for clip in clips}


def _check_known(clips: Sequence[Clip]) -> None:
    if unknown := sum(not clip.speaker for clip in clips):
        raise TooFewError(
            f"who speaks is not known of {unknown} of {len(clips)} clips, so they cannot be split by speakers: name"
            " them in a column speaker, or ask for a split by file (--by-file), whose figures flatter the network"
        )


def check_disjoint(train: Sequence[Clip], test: Sequence[Clip]) -> None:
    """Raise ValueError, naming the speakers, if one is both trained and tested on."""
    if shared := sorted({clip.speaker for clip in train} & {clip.speaker for clip in test}):
        raise ValueError(f"in training and in test: {', '.join(shared)}")


def _split(name: str, clips: Sequence[Clip], test_speakers: frozenset[str]) -> Split:
    train = [clip for clip in clips if clip.speaker not in test_speakers]
    test = [clip for clip in clips if clip.speaker in test_speakers]
    check_disjoint(train, test)
    return Split(name, train, test)


def _shuffled_groups(clips: Sequence[Clip], seed: int) -> list[list[str]]:
    """Return the speakers of each corpus and gender, shuffled, whatever the order of the clips."""
    gender_of: dict[str, str] = {}  # one for each speaker, though a table may not say it in every row
    for clip in clips:
        gender_of[clip.speaker] = max(clip.gender, gender_of.get(clip.speaker, ""))
    groups: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for clip in clips:
        groups[clip.corpus, gender_of[clip.speaker]].add(clip.speaker)
    generator = random.Random(seed)
    return [generator.sample(sorted(groups[key]), len(groups[key])) for key in sorted(groups)]

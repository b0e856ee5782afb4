"""Segments, periods and the envelope, each against the same made from everything at once."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affectd.config.sections import Config
from affectd.recognition.smoothing import UNCERTAIN
from affectd.timeline import envelope as envelope_of
from affectd.timeline.envelope import Envelope
from affectd.timeline.listening import listen
from affectd.timeline.summary import Period, Timeline, add_to
from affectd.timeline.words import clock, headline, percent, place
from fake_network import LABELS, FakeNetwork
from sounds import CONVERSATION

SECONDS = len(CONVERSATION) / 16000


def timeline(script: str = "c", **given: object) -> Timeline:
    blocks = np.array_split(CONVERSATION, 7)
    return listen(blocks, FakeNetwork(script), Config(), "talk.wav", **given)  # type: ignore[arg-type]


def test_a_timeline_has_the_length_the_speech_and_the_segments() -> None:
    found = timeline("ccccaaaaaahhhhhhhhaaaaaaa")
    assert (found.path, found.seconds, found.labels) == ("talk.wav", round(SECONDS, 3), LABELS)
    assert found.whole.speech_seconds == pytest.approx(sum(s.end_seconds - s.start_seconds for s in found.segments))
    seconds = {label: found.whole.label_seconds.get(label, 0.0) for label in (*LABELS, UNCERTAIN)}
    for label, total in seconds.items():
        of_label = (s.end_seconds - s.start_seconds for s in found.segments if s.label == label)
        assert total == pytest.approx(sum(of_label))
    assert len({s.label for s in found.segments}) > 1
    assert sum(found.whole.share(label) for label in seconds) == pytest.approx(1.0)


@pytest.mark.parametrize("period_seconds", [1.0, 2.5, 60.0])
def test_periods_share_out_all_the_speech(period_seconds: float) -> None:
    found = timeline("ccccaaaaaahhhhhhhhaaaaaaa", period_seconds=period_seconds)
    assert len(found.periods) == int(np.ceil(found.seconds / period_seconds))
    assert found.periods[-1].end_seconds == found.seconds
    for number, period in enumerate(found.periods):
        assert period.start_seconds == number * period_seconds
        overlaps = (
            (s.label, min(s.end_seconds, period.end_seconds) - max(s.start_seconds, period.start_seconds))
            for s in found.segments
        )
        expected = dict.fromkeys((*LABELS, UNCERTAIN), 0.0)
        for label, seconds in overlaps:
            expected[label] += max(0.0, seconds)
        assert {label: period.label_seconds.get(label, 0.0) for label in expected} == pytest.approx(expected, abs=1e-6)


@given(
    lines=st.lists(st.tuples(st.integers(0, 40), st.booleans(), st.sampled_from(LABELS)), max_size=40),
    period_seconds=st.floats(1.0, 30.0),
)
def test_every_second_of_speech_is_in_one_period(lines: list[tuple[int, bool, str]], period_seconds: float) -> None:
    periods: list[Period] = []
    end, speech = 0.0, 0.0
    for quarters, is_open, label in lines:
        start, end = end, end + quarters / 4
        if is_open:
            speech += end - start
            smoothed = {name: float(name == label) for name in LABELS}
            line = {"start_seconds": start, "end_seconds": end, "label": label, "smoothed": smoothed}
            add_to(periods, line, period_seconds)
    assert sum(period.speech_seconds for period in periods) == pytest.approx(speech)
    assert all(period.speech_seconds <= period_seconds + 1e-6 for period in periods)
    for before, after in itertools.pairwise(periods):
        assert before.end_seconds == pytest.approx(after.start_seconds)


@given(data=st.data(), length=st.integers(0, 3000), most=st.sampled_from([4, 16, 64]))
def test_an_envelope_is_the_same_whatever_the_block_size(data: st.DataObject, length: int, most: int) -> None:
    samples = np.random.default_rng(length).uniform(-1, 1, length).astype(np.float32)
    cuts = sorted(data.draw(st.lists(st.integers(0, length), max_size=6)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(envelope_of, "MOST_COLUMNS", most)
        envelope = Envelope()
        for block in np.split(samples, cuts):
            envelope.push(block)
        columns, size = envelope.columns(), envelope.column_samples
    assert len(columns) <= most
    assert size == 64 or length > most * size / 2
    expected = [np.abs(samples[start : start + size]).max() for start in range(0, length, size)]
    np.testing.assert_array_equal(columns, np.float32(expected))


def test_times_are_written_as_people_write_them() -> None:
    assert [clock(0), clock(59.5), clock(61), clock(3600 * 100 + 5)] == ["0:00", "1:00", "1:01", "100:00:05"]
    assert [clock(59.94, 1), clock(59.96, 1), clock(3599.999, 3)] == ["0:59.9", "1:00.0", "59:59.999"]
    assert [percent(0), percent(0.004), percent(0.005), percent(1)] == ["0 %", "<1 %", "0 %", "100 %"]
    began = Timeline("a.wav", "0" * 12, LABELS, datetime(2026, 1, 31, 23, 59, 58, 500_000, UTC))
    assert [place(began, 0, 1), place(began, 2, 1), place(began, 3)] == ["23:59:58.5", "00:00:00.5", "00:00:01"]


def test_the_headline_says_length_speech_and_shares() -> None:
    assert headline(timeline("c")) == "0:09 long, 0:05 of it speech: calm 85 %, uncertain 15 %"
    silent = Timeline("a.wav", "0" * 12, LABELS, None, seconds=5.0)
    assert headline(silent) == "0:05 long, 0:00 of it speech"

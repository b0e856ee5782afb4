"""What is said of a command line that is wrong."""

from __future__ import annotations

import pytest

from affectd.cli import run
from affectd.errors import UsageError


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        # Which help to read is that of the command that was called, whatever was wrong.
        (
            "timeline --fromat html a.wav",
            "arguments: --fromat; did you mean --format? (try affectd timeline",
        ),
        ("timeline --perod=60 a.wav", "--perod=60; did you mean --period? (try affectd timeline --help)"),
        ("watch a.wav", "unrecognized arguments: a.wav (try affectd watch --help)"),
        ("record a.wav --seconds 5 --quietly", "unrecognized arguments: --quietly (try affectd record --help)"),
        ("timelin a.wav", "; did you mean timeline? (try affectd --help)"),
        ("timeline --format textgird a.wav", "; did you mean textgrid? (try affectd timeline --help)"),
        ("--verison", "required: COMMAND (try affectd --help)"),
    ],
)
def test_a_slip_is_told_with_what_was_meant_and_where_to_read(line: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        run(line.split())
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        "classify",
        "timeline",
        "personalize --out a.tflite",
        "record --seconds 5",
        "run --source - --model",
        "run --source - --config",
        "run --source - --trace",
        "watch --url http://kitchen.local:8765/ --token-file",
    ],
)
def test_an_empty_name_is_not_the_current_folder(words: str) -> None:
    with pytest.raises(UsageError, match=r"the name is empty; the current folder is \."):
        run([*words.split(), ""])


def test_an_empty_name_is_not_the_model_of_the_package() -> None:
    with pytest.raises(UsageError, match="--model: the name is empty"):
        run(["bench", "--model", ""])


def test_what_looks_like_nothing_is_no_question() -> None:
    with pytest.raises(UsageError, match="choose from") as caught:
        run(["xyzzy"])
    assert "did you mean" not in str(caught.value)

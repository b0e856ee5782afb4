"""The lines that a card opens with say what its figures say, and nothing where it has none."""

from __future__ import annotations

from typing import Any, cast

from affectd.recognition.model_file import find_model, read_model
from affectd_train.reports.model_card import markdown
from affectd_train.reports.plain_lines import plain_lines
from affectd_train.reports.records import Card


def card(**measured: Any) -> Card:
    evaluation = {"labels": [*"abcde"], "int8": {"unweighted": 0.71}}
    return cast(Card, {"evaluation": evaluation, "measured": measured})


def lines(content: Card, has_voice: bool = False) -> list[str]:
    heading, text = plain_lines(content, has_voice=has_voice)
    assert heading.startswith("## ")
    return text.splitlines()


def test_accuracy_alone_is_one_line() -> None:
    (line,) = lines(card())
    assert "7 of 10 recordings get the right one of 5 labels (by chance 2.0)" in line


def test_every_figure_has_its_line() -> None:
    strangers = [
        {"protocol": "x, speakers and corpora disjoint", "any": 0.21},
        {"protocol": "y, speakers and corpora disjoint", "any": 0.48},
        {"protocol": "z, speakers disjoint", "any": 0.9},
    ]
    worst = "labels that a gain of -20 to +10 dB changes, worst gain, without what clips"
    bars = {"share of clean accuracy at 10 dB, worst noise": 0.87, worst: 0.012}
    everyday = {"speech": {"named_per_hour": 7.2}, "noise": {"named_per_hour": 2.0}}
    found = lines(
        card(
            strangers=strangers,
            robustness={"bars": bars, "corpora": ["emodb"]},
            behavior={"everyday": everyday},
            calibration={"coverage": [(0.2, 0.9, 0.95), (0.4, 0.8, 0.83)]},
        ),
        has_voice=True,
    )
    assert len(found) == 5
    assert "2 to 5 of 10" in found[1]
    assert "a minute of that voice" in found[1]
    assert "names 7 times" in found[2]
    assert "the surest 40% of such recordings 83% are right" in found[3]
    assert "voice in EmoDB leaves 87% of what is right without noise" in found[4]
    assert "1.2% of the labels" in found[4]
    assert "2 times an hour" in found[4]


def test_what_left_corpora_out_is_said_of_them() -> None:
    def corpus(cold: float, known: float) -> dict[str, Any]:
        return {"cold": {"unweighted": cold}, "settled": {"60": {"unweighted": known}}}

    rates = {
        "everyday_mycroft": {"hours": 0.25, "named_per_hour": 4.0},
        "everyday_lt": {"hours": 0.75, "named_per_hour": 9.3},
    }
    content = card(
        settled={"corpora": {"a": corpus(0.31, 0.44), "b": corpus(0.62, 0.71)}}, behavior={"everyday": rates}
    )
    content["named"] = {"known": (0.41, 0.92), "unheard": (0.2, 0.76)}
    found = lines(content, has_voice=True)
    assert "another language: 3 to 6 of 10" in found[1]
    assert "a minute of that voice helps (4 to 7 of 10)" in found[1]
    assert "of sources that it never heard it names 4 to 9 times" in found[2]
    assert found[2].endswith(
        "mostly wrongly (1.0 hours were heard: it may be up to 16)."
    )  # eight, by Garwood 3.5 to 15.8
    content["measured"]["behavior"]["everyday"]["everyday_lt"] = rates["everyday_mycroft"] = {
        "hours": 0.25,
        "named_per_hour": 0.3,
    }  # type: ignore[assignment, typeddict-item]
    assert "it names 0 times something else than neutral (0.5 hours" in lines(content)[2]
    for rate in rates.values():
        rate["hours"] = 0.0  # rounded, of a second of sound
    assert lines(content)[2].endswith("it names 0 times something else than neutral.")
    assert "it names 41% and is right in 92% of these, of others 20% and 76%." in found[3]
    content["measured"]["settled"]["mean_settled"] = {"60": {"named": 0.25, "precision": 0.81}}
    assert "of others 20% and 76%, after a minute of one voice 25% and 81%." in lines(content)[3]
    content["named"] = {"known": (0.41, 0.92), "unheard": (0.0, None)}
    assert "uncertain" not in "".join(lines(content))


def test_without_a_voice_nothing_is_said_of_one() -> None:
    strangers = [{"protocol": "x, speakers and corpora disjoint", "any": 0.3}]
    assert "that voice" not in lines(card(strangers=strangers))[1]


def test_the_card_of_the_shipped_file_opens_with_five() -> None:
    page = markdown(read_model(find_model()))
    opening = page.split("## The network")[0]
    assert opening.count("\n- ") == 5

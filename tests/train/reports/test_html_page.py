"""The page shows the figures of the card and loads nothing; others read its HTML, its tables and its pictures."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import markdown as python_markdown
import pytest

from affectd.errors import DataError, NoInputError
from affectd.recognition.model_file import ModelFile, find_model, read_model, write_model
from affectd_train import cli
from affectd_train.evaluation.denoise import FRONT_ENDS
from affectd_train.evaluation.metrics import metrics
from affectd_train.reports import html_page
from affectd_train.reports.card_sections import table
from affectd_train.reports.html_page import page
from affectd_train.reports.markup import as_html
from affectd_train.reports.model_card import card, markdown
from tiny_corpora import emodb, ravdess
from tiny_model import tiny_model

MODELS = sorted(Path(__file__).parents[3].glob("models/*.tflite"))
VOID = {"meta", "img", "source"}

pytest.importorskip("matplotlib", reason="matplotlib draws the pictures")


class Reader(HTMLParser):
    """Reads tables, text and attributes, and checks that every element is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[tuple[str, str]] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & {*self.open}:
            self.tables[-1][-1][-1] += data
        if data.strip():
            self.text.append((self.open[-1] if self.open else "", " ".join(data.split())))

    def rows(self, *titles: str) -> list[list[str]]:
        """The rows of the first table with these titles."""
        (_, *rows) = next(table for table in self.tables if table[0][: len(titles)] == [*titles])
        return rows


@pytest.fixture(scope="module", params=MODELS, ids=lambda path: path.stem)
def shipped(request: pytest.FixtureRequest) -> tuple[ModelFile, str]:
    model = read_model(request.param)
    return model, page(model)


def test_the_figures_are_those_of_the_card(shipped: tuple[ModelFile, str]) -> None:
    model, text = shipped
    read = Reader(text)
    figures, measured = model.card["evaluation"], model.card["measured"]
    labels = figures["labels"]
    accuracies = {row[0]: row[1:] for row in read.rows("", "int8", "float")}
    for n, network in enumerate(("int8", "float")):
        assert accuracies["unweighted accuracy, mean of the folds"][n] == f"{figures['fold_mean'][network]:.3f}"
        whole, low, high = re.findall(r"[\d.]+", accuracies["unweighted, all folds together (95 % interval)"][n])
        assert [float(whole), float(low), float(high)] == pytest.approx(
            [figures[network]["unweighted"], *figures[network]["unweighted_interval"]]
        )
    for label, *cells in read.rows("label", "precision"):
        of = figures["int8"]["per_class"][label]
        expected = [of["precision"], of["recall"], of["f1-score"], of["support"]]
        assert [float(cell) for cell in cells] == pytest.approx(expected)
    counts = [table for table in read.tables if table[0] == ["", *labels]]
    assert [[[int(n) for n in row[1:]] for row in table[1:]] for table in counts] == [
        figures["int8"]["confusion"],
        figures["float"]["confusion"],
    ]
    rows = read.rows("share of recordings answered")
    assert [[share, float(one), float(other)] for share, one, other in rows] == [
        [f"{share:.0%}", one, other] for share, one, other in measured["calibration"]["coverage"]
    ]
    if "robustness" in measured:
        rows = read.rows("sound", "", "accuracy")
        assert [[group, name, float(right)] for group, name, right, *_ in rows] == [
            row[:3] for row in measured["robustness"]["rows"]
        ]
    tiles = [text for tag, text in read.text if tag == "dd"]
    assert tiles[0] == f"{figures['fold_mean']['int8']:.3f}"
    assert f"{measured['calibration']['ece']:.3f}" in tiles


def test_the_words_are_those_of_the_markdown_as_others_render_it(shipped: tuple[ModelFile, str]) -> None:
    model, text = shipped
    ours, other = markdown(model), python_markdown.markdown(markdown(model), extensions=["tables", "fenced_code"])
    mine = Reader(as_html(ours))
    theirs = Reader(other)
    assert mine.tables == theirs.tables
    # What we mark as the heading of a row is a cell there; two lists in a row are one, with paragraphs in it.
    alike = {"th": "td", "li": "p"}
    assert [(alike.get(tag, tag), words) for tag, words in mine.text] == [
        (alike.get(tag, tag), words) for tag, words in theirs.text
    ]
    said = " ".join(words for _, words in Reader(text).text)
    position = 0
    for _, words in theirs.text:
        position = said.index(words, position)


def test_the_page_loads_nothing_and_runs_nothing(shipped: tuple[ModelFile, str]) -> None:
    read = Reader(shipped[1])
    sources = [value for tag, name, value in read.attributes if name in ("src", "srcset", "href")]
    assert len(sources) > 6
    assert all(re.match(r"data:image/(svg\+xml|png);base64,|#", value) for value in sources)
    assert not [name for _, name, _ in read.attributes if name.startswith("on")]
    assert "<script" not in shipped[1]
    assert not re.search(r"url\(|@import|<link|<iframe", shipped[1])
    assert ("meta", "content", "default-src 'none'; style-src 'unsafe-inline'; img-src data:") in read.attributes
    anchors = {value for _, name, value in read.attributes if name == "id"}
    assert {value[1:] for value in sources if value.startswith("#")} == anchors
    assert len(shipped[1]) < 1_000_000


def test_every_picture_is_there_in_both_colors_and_has_a_name(shipped: tuple[ModelFile, str]) -> None:
    read = Reader(shipped[1])
    light = [value for tag, name, value in read.attributes if (tag, name) == ("img", "src")]
    dark = [value for tag, name, value in read.attributes if (tag, name) == ("source", "srcset")]
    names = [value for tag, name, value in read.attributes if (tag, name) == ("img", "alt")]
    found = shipped[0].card["measured"]
    drawn = {"Reliability": "reliability" in found["calibration"], "Robustness": "robustness" in found}
    assert names == ["Confusion", "Coverage", *(name for name, is_there in drawn.items() if is_there)]
    assert len(light) == len(dark) == len(names)
    assert not {*light} & {*dark}
    figures = shipped[0].card["evaluation"]
    for image, ground in ((light[0], "#ffffff"), (dark[0], "#15191d")):
        svg = base64.b64decode(image.partition(",")[2]).decode()
        assert ground in svg
        words = [*ElementTree.fromstring(svg).itertext()]
        row = figures["int8"]["confusion"][0]
        assert {f"{n / sum(row):.0%}" for n in row} <= {word.strip() for word in words}
        assert any(f"int8: unweighted accuracy {figures['int8']['unweighted']:.3f}" in word for word in words)


def test_the_same_card_gives_the_same_page(shipped: tuple[ModelFile, str]) -> None:
    assert page(shipped[0]) == shipped[1]


def test_pictures_are_drawn_of_the_figures_of_the_card(
    shipped: tuple[ModelFile, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, Any] = {}
    for name in ("confusion", "coverage", "robustness_curves"):
        true = getattr(html_page, name)

        def note(figures: Any, name: str = name, true: Any = true) -> Any:
            drawn[name] = figures
            return true(figures)

        monkeypatch.setattr(html_page, name, note)
    page(shipped[0])
    measured = shipped[0].card["measured"]
    assert drawn["confusion"] == shipped[0].card["evaluation"]
    points = [[p["coverage"], p["unweighted"], p["weighted"]] for p in drawn["coverage"]["coverage"]]
    assert points == measured["calibration"]["coverage"]
    if "robustness" in measured:
        rows = [
            [c["group"], c["name"], *(c[front_end]["unweighted"] for front_end in FRONT_ENDS)]
            for c in drawn["robustness_curves"]["conditions"]
        ]
        assert rows == [[*row[:3], *row[4:]] for row in measured["robustness"]["rows"]]
        assert drawn["robustness_curves"]["recordings"] == measured["robustness"]["recordings"]


def predictions(n: int = 12) -> list[dict[str, Any]]:
    right, wrong = {"angry": 0.7, "happy": 0.3}, {"angry": 0.4, "happy": 0.6}
    return [
        {
            "path": "x",
            "corpus": "emodb",
            "speaker": f"emodb-{i % 3}",
            "gender": "female",
            "truth": ("angry", "happy")[i % 2],
        }
        | dict.fromkeys(("int8", "float"), right if i % 5 else wrong)
        for i in range(n)
    ]


@pytest.fixture
def evaluated(tmp_path: Path) -> tuple[ModelFile, Path]:
    """A model file and the folder of the evaluation that its card is about."""
    evaluation = tmp_path / "run"
    evaluation.mkdir()
    mean = {"int8": 1 / 3, "float": 1 / 3}
    figures = {**metrics(predictions(), "speakers disjoint", n_resamples=10), "folds": {"1": mean}, "fold_mean": mean}
    figures["calibration"] = {
        "network": "int8",
        "ece": 0.04321,
        "reliability": [{"probability": 0.45, "right": 0.5, "n": 4}, {"probability": 0.85, "right": 0.75, "n": 8}],
        "coverage": [{"coverage": c / 20, "weighted": 1 - c / 40, "unweighted": 1 - c / 50} for c in range(1, 21)],
    }
    (evaluation / "metrics.json").write_text(json.dumps(figures))
    (evaluation / "fit.json").write_text(json.dumps({"clips": {"emodb": 18}}))
    training = {"recipe": {"seed": 0, "pretrain_steps": 1, "finetune_steps": 1, "batch_size": 2}, "speakers": ["a"]}
    return tiny_model(card=card(evaluation, evaluation) | {"training": training}), evaluation


RELIABILITY = [["0.450", "0.500", "4"], ["0.850", "0.750", "8"]]


def test_the_reliability_is_in_the_card_and_on_the_page(evaluated: tuple[ModelFile, Path]) -> None:
    read = Reader(page(evaluated[0]))
    assert read.rows("probability of the label") == RELIABILITY
    assert ("img", "alt", "Reliability") in read.attributes


def test_an_earlier_card_gets_it_from_its_own_evaluation_alone(evaluated: tuple[ModelFile, Path]) -> None:
    model, evaluation = evaluated
    del model.card["measured"]["calibration"]["reliability"]
    read = Reader(page(model))
    assert ("img", "alt", "Reliability") not in read.attributes
    assert any("--evaluation" in words for _, words in read.text)
    assert Reader(page(model, evaluation)).rows("probability of the label") == RELIABILITY
    figures = json.loads((evaluation / "metrics.json").read_text())
    figures["clips"] += 1
    (evaluation / "metrics.json").write_text(json.dumps(figures))
    with pytest.raises(DataError, match="is not the evaluation that the card of the model is about"):
        page(model, evaluation)
    with pytest.raises(NoInputError, match="affectd-train evaluate writes it"):
        page(model, evaluation / "nowhere")


def test_examples_are_drawn_of_the_corpora_that_were_trained_on(
    evaluated: tuple[ModelFile, Path], tmp_path: Path
) -> None:
    emodb(tmp_path / "data")
    ravdess(tmp_path / "data", actors=(1,))
    read = Reader(page(evaluated[0], data=tmp_path / "data"))
    assert [value for tag, name, value in read.attributes if name == "alt" and "Examples" in value] == [
        "Examples of EmoDB"
    ]
    ravdess(tmp_path / "other", actors=(1,))
    with pytest.raises(DataError, match="none of the corpora that the model was trained on"):
        page(evaluated[0], data=tmp_path / "other")
    mine = evaluated[0].card | {"training": evaluated[0].card["training"] | {"clips": {"own": 9}}}
    with pytest.raises(DataError, match="of recordings of your own there are no examples: leave out --data"):
        page(dataclasses.replace(evaluated[0], card=mine), data=tmp_path / "other")


def test_what_markdown_would_take_for_a_tag_is_text(evaluated: tuple[ModelFile, Path]) -> None:
    model = evaluated[0]
    model.card["evaluation"]["protocol"] = 'a <b> & "c"'
    assert any('a <b> & "c"' in words for _, words in Reader(page(model)).text)


def test_the_command_writes_the_page_alone_or_both(
    evaluated: tuple[ModelFile, Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "model.tflite", evaluated[0])
    assert cli.main(["report", "model.tflite", "--html", "page.html"]) == 0
    assert capfd.readouterr().out == "page.html\n"
    assert (tmp_path / "page.html").read_text() == page(read_model(tmp_path / "model.tflite")) + "\n"
    assert not (tmp_path / "models").exists()
    assert cli.main(["report", "model.tflite", "--html", "page.html", "--out", "card.md"]) == 0
    assert capfd.readouterr().out == "card.md\npage.html\n"
    assert cli.main(["report", "model.tflite", "--out", "card.md", "--data", "data"]) == 64
    before = Path("model.tflite").read_bytes()
    assert cli.main(["report", "model.tflite", "--out", "model.tflite", "--replace"]) == 64
    assert cli.main(["report", "model.tflite", "--out", "one.md", "--html", "one.md"]) == 64
    assert Path("model.tflite").read_bytes() == before
    assert not Path("one.md").exists()
    assert "--evaluation and --data are for the page of --html" in capfd.readouterr().err
    assert cli.main(["report", "model.tflite", "--html", "new/folder/page.html"]) == 0
    assert (tmp_path / "new/folder/page.html").read_text() == (tmp_path / "page.html").read_text()
    assert cli.main(["report", "model.tflite", "--html", "model.tflite/page.html"]) == 74


def test_a_page_that_is_no_card_of_the_same_network_is_left_alone(
    evaluated: tuple[ModelFile, Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "model.tflite", evaluated[0])
    shipped = find_model()
    assert cli.main(["report", str(shipped), "--out", "shipped.md", "--html", "shipped.html"]) == 0
    (tmp_path / "notes.md").write_bytes(b"mine \xe4")
    for name, option in (("shipped.md", "--out"), ("shipped.html", "--html"), ("notes.md", "--out")):
        before = (tmp_path / name).read_bytes()
        assert cli.main(["report", "model.tflite", "--html", "new.html", option, name]) == 64
        assert f"{name} is there and does not hold a card of model.tflite" in capfd.readouterr().err
        assert (tmp_path / name).read_bytes() == before
        assert not (tmp_path / "new.html").exists()
        assert cli.main(["report", "model.tflite", option, name, "--replace"]) == 0
        assert cli.main(["report", "model.tflite", option, name]) == 0  # made by the same command of the same network
    assert cli.main(["report", "model.tflite", "--out", "."]) == 64


def test_a_card_without_an_evaluation_is_one_sentence() -> None:
    with pytest.raises(DataError, match="affectd-train pack writes them"):
        page(dataclasses.replace(tiny_model(), card={}))


def test_a_bar_in_a_label_ends_no_cell() -> None:
    text = table({"label": "", "a|b": ".1f"}, [("angry | loud", 0.5), ("calm", 1)])
    assert text.splitlines()[2] == r"| angry \| loud | 0.5 |"
    page = as_html(text)
    assert '<th scope="col">a|b</th>' in page
    assert '<tr><th scope="row">angry | loud</th><td>0.5</td></tr>' in page

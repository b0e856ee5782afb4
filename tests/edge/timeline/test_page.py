"""The page of a timeline in a real Chromium: no complaint, nothing asked for, and a cursor for eyes, keys and ears."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import pytest

from affectd.audio.source import wav_blocks
from affectd.config.sections import Config
from affectd.timeline.listening import listen
from affectd.timeline.page import html
from affectd.timeline.summary import Timeline
from affectd.timeline.words import place, sound
from browser import Browser, Page, needs_chromium
from fake_network import FakeNetwork
from own_labels import SIXTEEN, TWO
from page_device import Relabeled

DEMO = Path(__file__).parents[2] / "data" / "demo.wav"

pytestmark = needs_chromium


def timeline(began: datetime | None = None) -> Timeline:
    network = FakeNetwork("ccccaaaaaahhhhhhhhaaaaaaa")
    return listen(wav_blocks(DEMO, 16000), network, Config(), "demo.wav", period_seconds=5, began=began)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("chromium"))
    yield opened
    opened.close()


@pytest.fixture
def found() -> Timeline:
    return timeline()


@pytest.fixture
def page(browser: Browser, tmp_path: Path, found: Timeline) -> Page:
    return opened(browser, tmp_path, found)


def opened(browser: Browser, folder: Path, found: Timeline) -> Page:
    (folder / "talk.html").write_text(html(found, is_first=True))
    page = browser.page()
    page.look(1200, 900)
    page.open((folder / "talk.html").as_uri())
    return page


def choose(page: Page, path: Path) -> None:
    """Choose a file, as a person does in the dialog."""
    root = page.send("DOM.getDocument")["root"]["nodeId"]
    node = page.send("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    page.send("DOM.setFileInputFiles", nodeId=node, files=[str(path)])


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (390, True)])
def test_the_page_asks_for_nothing_and_nothing_in_it_fails(page: Page, width: int, *, dark: bool) -> None:
    page.look(width, 900, dark=dark)
    page.evaluate("document.getElementById('wider').click()")
    assert page.complaints == []
    assert [url for url in page.requests if not url.startswith("file:")] == []
    assert len(page.requests) == 1
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "only the picture scrolls sideways"
    colors = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert colors == ("rgb(13, 17, 23)" if dark else "rgb(255, 255, 255)")


def test_the_tables_say_what_the_picture_shows(page: Page, found: Timeline) -> None:
    rows = page.evaluate(
        "[...document.querySelectorAll('tr[data-start]')].map((r) => [...r.cells].map((c) => c.innerText))"
    )
    assert [row[:3] for row in rows] == [
        [place(found, s.start_seconds, 1), place(found, s.end_seconds, 1), sound(s)] for s in found.segments
    ]
    assert page.evaluate("document.querySelectorAll('#plot rect > title').length") > len(found.segments)


def test_where_all_is_uncertain_it_says_what_to_go_by(page: Page) -> None:
    assert "Hatched: uncertain, in the row of the best guess. Where most is, compare arousal" in page.text()


def test_what_it_is_not_stands_above_the_picture(page: Page) -> None:
    page.look(1200, 900)
    warning = "[...document.querySelectorAll('p')].find((p) => p.innerText.includes('often wrong'))"
    assert page.evaluate(f"{warning}.offsetTop < document.getElementById('over-time').offsetTop")


def test_a_time_in_the_table_moves_the_cursor_and_is_told(page: Page, found: Timeline) -> None:
    page.evaluate("document.querySelectorAll('tr[data-start] button')[2].click()")
    segment = found.segments[2]
    assert float(str(page.evaluate("document.getElementById('cursor').value"))) == pytest.approx(
        segment.start_seconds, abs=0.05
    )
    mark = str(page.evaluate("document.getElementById('mark').getAttribute('x1')"))
    assert float(mark.rstrip("%")) == pytest.approx(100 * segment.start_seconds / found.seconds)
    told = page.evaluate("document.getElementById('cursor').getAttribute('aria-valuetext')")
    assert told == page.text("#now") == f"{place(found, segment.start_seconds, 1)}: {sound(segment)}"
    assert page.evaluate("document.querySelector('tr[aria-current]').rowIndex") == 3


def test_the_cursor_is_moved_by_keys(page: Page, found: Timeline) -> None:
    page.evaluate("document.getElementById('cursor').focus()")
    for _ in range(3):
        page.press("ArrowRight")
    page.wait("document.getElementById('now').value === '0:00.3: no speech'")
    page.press("End")
    page.wait(f"document.getElementById('mark').getAttribute('x1').startsWith('{99 if found.seconds % 0.1 else 100}')")


def test_the_chosen_recording_is_played_from_the_cursor(page: Page, found: Timeline) -> None:
    assert page.evaluate("document.getElementById('sound').hidden")
    choose(page, DEMO)
    page.wait("document.getElementById('sound').duration > 15")
    assert page.text("#about") == ""
    start = found.segments[1].start_seconds
    page.evaluate("document.querySelectorAll('tr[data-start] button')[1].focus()")
    page.press("Enter", "\r")
    page.wait(f"document.getElementById('sound').currentTime > {start} + 0.2")
    page.wait(f"document.getElementById('now').value !== '{place(found, start, 1)}: {sound(found.segments[1])}'")
    page.evaluate("document.getElementById('sound').pause()")
    page.evaluate("document.getElementById('sound').currentTime = 12")
    page.wait("document.getElementById('now').value.startsWith('0:12.0')")
    assert page.complaints == []


def test_another_recording_is_noticed(page: Page, tmp_path: Path) -> None:
    (tmp_path / "short.wav").write_bytes(DEMO.read_bytes()[:200_044])
    choose(page, tmp_path / "short.wav")
    page.wait("document.getElementById('about').innerText.includes('another length')")


def test_a_screen_reader_finds_names_for_all_it_can_use(page: Page) -> None:
    nodes = page.send("Accessibility.getFullAXTree")["nodes"]
    named = {
        (n["role"]["value"], n["name"]["value"]) for n in nodes if not n["ignored"] and n.get("name", {}).get("value")
    }
    assert ("slider", "Position in the recording") in named
    assert ("button", "Zoom in") in named
    assert ("table", "Press a time to go there") in named
    assert any(role == "image" and "demo.wav" in name for role, name in named)
    usable = ("slider", "button", "table", "region", "image")
    unnamed = [
        n["role"]["value"]
        for n in nodes
        if not n["ignored"] and n["role"]["value"] in usable and not n["name"]["value"]
    ]
    assert unnamed == []


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing(page: Page, *, dark: bool) -> None:
    axe = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    page.look(1200, 900, dark=dark)
    choose(page, DEMO)
    page.evaluate(resources.files(axe).joinpath("axe.min.js").read_text("utf-8") + "; 0")
    violations = page.evaluate(
        "axe.run().then((result) => result.violations.map((v) => [v.id, v.nodes.map((n) => n.html)]))"
    )
    assert violations == []


def test_zooming_widens_the_picture_alone_and_keeps_the_times_apart(page: Page) -> None:
    for _ in range(3):
        page.evaluate("document.getElementById('wider').click()")
    assert (
        page.evaluate("document.getElementById('plot').clientWidth / document.getElementById('strip').clientWidth")
        > 2.9
    )
    ticks = page.evaluate("[...document.querySelectorAll('#axis text')].map((t) => t.getBoundingClientRect().left)")
    assert len(ticks) > 10
    assert min(after - before for before, after in itertools.pairwise(ticks[:-1])) > 60


def test_times_of_day_are_shown_over_midnight(browser: Browser, tmp_path: Path) -> None:
    page = opened(browser, tmp_path, timeline(datetime(2026, 1, 31, 23, 59, 50, tzinfo=UTC)))
    texts = page.evaluate("[...document.querySelectorAll('#axis text')].map((t) => t.textContent)")
    assert texts[0] == "23:59:50"
    assert "00:00:00" in texts
    assert page.text("#now").startswith("23:59:50.0: ")


@pytest.mark.parametrize("labels", [SIXTEEN, TWO], ids=["sixteen", "two"])
@pytest.mark.parametrize(("width", "dark"), [(1200, False), (390, True)])
def test_labels_of_ones_own(
    browser: Browser, tmp_path: Path, labels: tuple[str, ...], width: int, *, dark: bool
) -> None:
    blocks = wav_blocks(str(DEMO), 16000)
    found = listen(blocks, Relabeled(labels), Config(), "demo.wav", period_seconds=5)  # type: ignore[arg-type]
    page = opened(browser, tmp_path, found)
    page.look(width, 900, dark=dark)
    assert page.complaints == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # Every name is whole, or without its middle; none is cut off by the plot.
    names = "[...document.querySelectorAll('.picture > svg text')]"
    told = page.evaluate(f"{names}.map((text) => text.textContent)")[1 : len(labels) + 1]
    assert len({*told}) == len(labels)
    assert all(name == label or "..." in name for name, label in zip(told, labels, strict=True))
    room = page.evaluate("document.querySelector('.picture > svg').clientWidth")
    assert max(page.evaluate(f"{names}.map((text) => text.getBBox().width)")) <= room
    colors = page.evaluate(
        f"""[...Array({len(labels)}).keys()].map((k) => {{
            const mark = document.createElementNS("http://www.w3.org/2000/svg", "rect");
            mark.setAttribute("class", `c${{k}}`);
            document.getElementById("plot").append(mark);
            return getComputedStyle(mark).fill;
        }})"""
    )
    assert len({*colors}) == len(labels)
    said = page.text()
    assert "in the row of the best guess." in said
    for words in ("valence", "arousal"):
        assert words not in said

"""The page in a real browser for a network with labels of one's own: sixteen of every kind, and two."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from browser import Browser, Page, needs_chromium
from own_labels import SIXTEEN, TWO
from page_device import Device, heard
from page_viewer import DESKTOP, PHONE, faults, follow, shown
from web_device import DEMO

pytestmark = needs_chromium

ISOLATES = re.compile("[\u2068\u2069]")


@pytest.fixture(scope="module", params=[SIXTEEN, TWO], ids=["sixteen", "two"])
def labels(request: pytest.FixtureRequest) -> tuple[str, ...]:
    found: tuple[str, ...] = request.param
    return found


@pytest.fixture
def device(labels: tuple[str, ...]) -> Iterator[Device]:
    running = Device(labels=labels, card={})
    yield running
    running.stop()


def first_cells(page: Page, table: str) -> list[str]:
    cells = page.evaluate(f"[...document.querySelectorAll('{table} tr')].map((row) => row.cells[0].innerText.trim())")
    return [ISOLATES.sub("", cell) for cell in cells]


@pytest.mark.parametrize(("size", "dark"), [(DESKTOP, False), (PHONE, True)], ids=["desktop", "phone"])
def test_every_label_is_told_from_the_others(
    browser: Browser, device: Device, labels: tuple[str, ...], size: tuple[int, int], dark: bool
) -> None:
    lines = heard(DEMO, labels)
    page = shown(browser, device.url, size, dark=dark, still=True)
    last = follow(page, device, [line for line in lines if line["type"] == "emotion" or line["label"]])
    page.wait("document.querySelector('#sums tr')")
    assert first_cells(page, "#bars") == list(labels)
    assert first_cells(page, "#sums") == [*labels, "uncertain", "too short"]
    colors = page.evaluate(
        "[...document.querySelectorAll('#sums .swatch')].map((mark) => getComputedStyle(mark).backgroundColor)"
    )
    assert len({*colors[: len(labels)]}) == len(labels)

    assert (last["valence"], last["arousal"]) == (None, None)
    page.evaluate("document.querySelector('#events details').open = true")
    page.wait("document.querySelector('#events table')")
    said = page.text()
    for words in ("valence", "arousal", "excited", "pleasant"):
        assert words not in said.lower(), words
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]
    cut = "[...document.querySelectorAll('th, #label')].filter((e) => e.scrollWidth > e.clientWidth + 1).length"
    assert page.evaluate(cut) == 0
    assert faults(page) == []
    assert page.complaints == []


def test_a_name_from_right_to_left_leaves_the_numbers_beside_it(browser: Browser, device: Device) -> None:
    page = shown(browser, device.url)
    line = next(line for line in heard(DEMO, TWO) if line["type"] == "trace" and line["smoothed"])
    arabic = SIXTEEN[9]
    smoothed = {arabic: 0.4, "müde": 0.3}
    follow(page, device, [{**line, "label": "uncertain", "reason": "below_threshold", "smoothed": smoothed}])
    places = page.evaluate(
        """((node) => ["40", "Too"].map((word) => {
            const range = document.createRange(), at = node.data.indexOf(word);
            range.setStart(node, at);
            range.setEnd(node, at + word.length);
            return range.getBoundingClientRect().left;
        }))(document.getElementById('why').firstChild)"""
    )
    name = page.evaluate(
        f"""((node) => {{
            const range = document.createRange(), at = node.data.indexOf({arabic!r});
            range.setStart(node, at);
            range.setEnd(node, at + {len(arabic)});
            return range.getBoundingClientRect().right;
        }})(document.getElementById('why').firstChild)"""
    )
    assert name < places[0] < places[1]

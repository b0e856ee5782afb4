"""A browser that looks at the page of a device (page_device.py), and what it sees there."""

from __future__ import annotations

from importlib import resources
from typing import Any

from browser import Browser, Page
from page_device import Device, heard

PHONE, DESKTOP = (360, 780), (1280, 900)
LIVE = "document.getElementById('link').textContent === 'live'"
MOST_AT_ONCE = 32
AXE = resources.files("axe_core_python").joinpath("axe.min.js")


def shown(browser: Browser, url: str, size: tuple[int, int] = DESKTOP, **preferences: bool) -> Page:
    """Open a page and wait until it is connected."""
    page = browser.page()
    page.look(*size, **preferences)
    page.open(url)
    page.wait(LIVE)
    return page


def until(share: float) -> list[dict[str, Any]]:
    """Return the beginning of the recording, a share of it at least, that ends with a line of the trace in doubt."""
    lines = heard()
    end = next(i for i, line in enumerate(lines) if i > share * len(lines) and _is_doubted(line))
    return lines[: end + 1]


def _is_doubted(line: dict[str, Any]) -> bool:
    return line.get("reason") == "below_threshold" and line["probabilities"] is not None


def follow(page: Page, device: Device, lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Let the device hear these lines, and wait until the page shows the last one; return that."""
    # A few at a time: who takes nothing while many come is dropped.
    for begin in range(0, len(lines), MOST_AT_ONCE):
        piece = lines[begin : begin + MOST_AT_ONCE]
        device.tell(*piece)
        for last in [line for line in piece if line["type"] == "trace"][-1:]:
            page.wait(f"import('./static/story.js').then((m) => m.story.now === {last['end_seconds']})")
    # Two frames: one to draw, one to be drawn.
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return last


def percent(share: float) -> str:
    return f"{int(100 * share + 0.5)}\u00a0%"


def faults(page: Page) -> list[str]:
    """Return what axe-core finds, and targets that are too small for a finger."""
    page.evaluate(f"{AXE.read_text()}; undefined")
    found = page.evaluate("axe.run().then((result) => result.violations)")
    small = page.evaluate(
        "[...document.querySelectorAll('button, input, summary, .blank')].filter((one) => one.checkVisibility() &&"
        "one.getBoundingClientRect().height < 24).map((one) => `too small: ${one.outerHTML.slice(0, 80)}`)"
    )
    return small + [f"{one['id']}: {node['html'][:200]}" for one in found for node in one["nodes"]]

"""The page and the sign for everyone: small screens, keyboards, screen readers, paper, and who has the token."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from affectd.web.page import STATIC
from browser import Browser, needs_chromium
from page_device import STATUS, Device, heard
from page_viewer import DESKTOP, LIVE, PHONE, faults, follow, percent, shown, until

pytestmark = needs_chromium

MUTED = {**STATUS, "id": "muted", "state": "muted", "reason": "asked"}
PEOPLE = Path(__file__).parents[2] / "docs" / "people.md"


@pytest.mark.parametrize(("size", "dark"), [(PHONE, True), (DESKTOP, False)], ids=["dark phone", "light desktop"])
def test_it_is_accessible(browser: Browser, device: Device, size: tuple[int, int], dark: bool) -> None:
    page = shown(browser, device.url, size, dark=dark)
    follow(page, device, until(0.5))
    page.evaluate("document.querySelector('summary').click()")
    page.wait("document.querySelector('details[open] table')")
    assert faults(page) == []
    device.broker = {"connected": False, "refused": ["affectd/kitchen/event"], "outbox": 3}
    device.tell({**STATUS, "id": "quiet", "state": "degraded", "reason": "quiet", "figure": -41.3}, MUTED)
    page.wait(
        "document.getElementById('lamp').textContent === 'muted' && document.querySelectorAll('.bad').length === 1"
    )
    assert faults(page) == []
    sign = browser.page()
    sign.look(*size, dark=dark)
    sign.open(f"{device.url}sign")
    sign.wait("document.getElementById('lamp').className === 'muted'")
    assert faults(sign) == []
    for one in (page, sign):
        assert one.evaluate("document.documentElement.scrollWidth") == size[0], "it scrolls sideways"


def test_it_asks_for_the_token(browser: Browser, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("correct-horse-battery\n")
    token.chmod(0o600)
    device = Device(token)
    try:
        page = browser.page()
        page.look(*PHONE)
        page.open(device.url)
        page.wait("!document.getElementById('token').hidden && document.activeElement.id === 'secret'")
        assert faults(page) == []
        assert "/etc/affectd/web_token" in page.text("#token"), "where the service has it"
        for secret in ("wrong", "correct-horse-battery"):
            page.send("Input.insertText", text=secret)
            page.press("Enter", "\r")
            if secret == "wrong":
                page.wait("document.getElementById('wrong').textContent === 'That is not the token.'")
        page.wait(LIVE)
        assert page.evaluate("document.cookie") == "", "a script must not read the session"
        assert page.evaluate("document.getElementById('token').hidden")
    finally:
        device.stop()


def test_it_can_be_used_from_the_keyboard(browser: Browser, device: Device) -> None:
    device.tell(*heard())
    page = shown(browser, device.url)
    for _ in range(3):
        page.press("Tab")
        if page.evaluate("document.activeElement.matches('#events summary')"):
            break
    assert page.evaluate("document.activeElement.matches('#events summary:focus-visible')")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press("Enter", "\r")
    page.wait("document.querySelector('details[open] table')")
    newest = [line for line in heard() if line["type"] == "emotion"][-1]
    best = max(newest["probabilities"], key=newest["probabilities"].get)
    inside = page.text("details[open] tbody").split("\n")
    assert inside[0].split() == [best, f"{100 * newest['probabilities'][best]:.1f}", "%"]


def test_all_events_are_one_stop_of_the_tab_key(browser: Browser, device: Device) -> None:
    device.tell(*heard())
    page = shown(browser, device.url)
    at = "[...document.querySelectorAll('#events summary')].indexOf(document.activeElement)"
    for _ in range(3):
        if page.evaluate(at) < 0:
            page.press("Tab")
    assert page.evaluate(at) == 0
    n_all = page.evaluate("document.querySelectorAll('#events summary').length")
    assert n_all > 5
    for key, place in (("ArrowDown", 1), ("ArrowDown", 2), ("ArrowUp", 1), ("End", n_all - 1), ("Home", 0)):
        page.press(key)
        assert page.evaluate(at) == place, key
    device.tell({**next(line for line in heard() if line["type"] == "emotion"), "id": "newest"})
    page.wait(f"{at} === 1")
    assert page.evaluate("document.querySelector('#events summary').tabIndex") == 0, "the newest is where one comes in"
    page.press("Tab")
    assert page.evaluate("document.activeElement.matches('footer a')"), "a hundred events are behind it"


def test_a_screen_reader_is_told_little(browser: Browser, device: Device) -> None:
    page = shown(browser, device.url)
    page.evaluate(
        "self.said = []; for (const one of document.querySelectorAll('[role=status], [role=alert], [aria-live]'))"
        "new MutationObserver(() => said.push(one.textContent)).observe(one, "
        "{ childList: true, characterData: true, subtree: true })"
    )
    page.evaluate("{ const now = performance.now(); performance.now = () => now }")
    follow(page, device, heard())
    # All of it in a moment: one utterance, for the others came too soon after it.
    assert len(page.evaluate("said")) == 1
    ends = [line for line in heard() if line.get("phase") == "end"]
    assert page.evaluate("said[0]") == f"{ends[0]['label']}, {percent(ends[0]['probability'])}"
    device.tell(MUTED)
    page.wait("said.at(-1) === 'muted'")


def test_nothing_moves_for_those_who_want_it_still(browser: Browser, device: Device) -> None:
    assert shown(browser, device.url).evaluate("document.getAnimations().length") > 0
    page = shown(browser, device.url, still=True)
    follow(page, device, until(0.5))
    assert page.evaluate("document.getAnimations().length") == 0


def test_the_sign_has_a_lamp(browser: Browser, device: Device) -> None:
    page = browser.page()
    page.open(f"{device.url}sign")
    for state, lines in {"listening": [], "muted": [MUTED]}.items():
        device.tell(*lines)
        page.wait(f"document.getElementById('lamp').className === '{state}'")
        assert state in page.text("#lamp")
    assert page.text("#lamp") == "muted · stumm · coupé"
    device.stop()
    page.wait("document.getElementById('lamp').className === 'unknown'")
    device.start()
    page.wait("document.getElementById('lamp').className === 'listening'")


def test_the_lamp_needs_no_token(browser: Browser, tmp_path: Path) -> None:
    """Else a sign at the door would not know more after each restart."""
    token = tmp_path / "token"
    token.write_text("correct-horse-battery\n")
    token.chmod(0o600)
    device = Device(token)
    try:
        page = browser.page()
        page.open(f"{device.url}sign")
        page.wait("document.getElementById('lamp').className === 'listening'")
        device.tell({**MUTED, "id": "gone", "state": "alarmed", "reason": "missing"})
        page.wait("document.getElementById('lamp').className === 'off'")
        assert page.complaints == []
    finally:
        device.stop()


@pytest.mark.parametrize("size", [(1920, 1080), (1366, 768), (1024, 600), (800, 1280), (1080, 1920)])
def test_the_sign_on_a_screen_is_seen_at_once_and_keeps_what_was_filled_in(
    browser: Browser, device: Device, size: tuple[int, int]
) -> None:
    page = browser.page()
    page.look(*size)
    page.open(f"{device.url}sign")
    words = "ein Knopf & ein Schild, 100 % #1"
    page.evaluate("document.querySelector('section[lang=de] .blank').focus()")
    page.send("Input.insertText", text=words)
    page.evaluate("document.getElementById('screen').click()")
    page.wait("location.search === '?screen' && document.getElementById('lamp').className === 'listening'")
    assert page.text("section[lang=de] .blank").strip() == words
    assert page.evaluate("location.href").startswith(f"{device.url}sign?screen#")
    assert not page.evaluate("document.querySelector('.owner').checkVisibility()")
    usable = "[...document.querySelectorAll('a, button, [contenteditable], [tabindex]')]"
    assert not page.evaluate(f"{usable}.some((one) => one.checkVisibility())"), "nothing to click, nothing to write"
    scrolls = "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
    assert page.evaluate(scrolls) == list(size)
    assert [fault for fault in faults(page) if "too small" not in fault] == [], "nothing is a target there"
    assert page.complaints == []


def test_the_sign_prints_on_one_sheet_of_a4_without_the_lamp(browser: Browser, device: Device) -> None:
    page = browser.page()
    page.open(f"{device.url}sign")
    page.wait("document.getElementById('lamp').className === 'listening'")
    printed = page.pdf()
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 1
    width, height = re.findall(rb"/MediaBox\s*\[0 0 ([\d.]+) ([\d.]+)\]", printed)[0]
    assert [round(float(points) * 25.4 / 72) for points in (width, height)] == [210, 297]
    page.send("Emulation.setEmulatedMedia", media="print")
    assert not page.evaluate("document.getElementById('lamp').checkVisibility()")
    assert page.evaluate("document.querySelector('section[lang=fr] .blank').isContentEditable")


def test_the_sign_says_what_the_documents_say() -> None:
    text = (STATIC / "sign.html").read_text()
    assert re.findall(r'<section lang="(\w+)"', text) == ["en", "de", "fr"]
    words = " ".join(re.sub(r"<[^>]*>", " ", text).split())
    quoted = "".join(line[1:] for line in PEOPLE.read_text().splitlines() if line.startswith(">"))
    sentences = [part.strip(" *#,.") for part in re.split(r"_{4,}|\*\*|(?<=[.:])\s|###", quoted)]
    pieces = [part for part in sentences if len(part) > 5]
    assert len(pieces) > 20
    assert [piece for piece in pieces if piece not in words] == []
    assert len(re.findall(r"50\(3\)|Artikel 50 Absatz 3|article 50, paragraphe 3", words)) == 3

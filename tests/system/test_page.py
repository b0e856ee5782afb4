"""The page of the device in a real browser: what it shows, and what it asks for."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path

import pytest

from affectd.audio.condition import SENTENCES
from affectd.events.event import event_schema
from affectd.recognition.affect import COORDINATES
from affectd.web.page import STATIC
from browser import Browser, needs_chromium
from page_device import BROKER, STATUS, TELEMETRY, Device, Proxy, heard
from page_viewer import DESKTOP, LIVE, follow, percent, shown, until
from web_device import DEMO, WebDevice

pytestmark = needs_chromium

OF_A_MODEL = {"installed", "rolled_back"}
"""Reasons that a microphone never has: of a model that a fleet was sent."""


def test_it_shows_what_is_heard_now(browser: Browser, device: Device) -> None:
    page = shown(browser, device.url)
    last = follow(page, device, until(0.5))
    best = max(last["smoothed"], key=last["smoothed"].get)
    assert page.text("#label") == "uncertain"
    assert f"{best}, {percent(last['smoothed'][best])}" in page.text("#why")
    assert page.text("#gate") == "gate open"
    assert page.text("#dbfs") == f"{last['level_dbfs']:.0f} dBFS".replace("-", "−")
    assert page.text("#valence") == f"{last['valence']:.2f}".replace("-", "−")
    assert page.text("#arousal") == f"{last['arousal']:.2f}".replace("-", "−")
    rows = page.evaluate(
        "[...document.querySelectorAll('#bars tr')].map((row) => [...row.cells].map((c) => c.innerText))"
    )
    assert [[row[0], row[2], row[3]] for row in rows] == [
        [label, percent(last["smoothed"][label]), percent(last["probabilities"][label])] for label in last["smoothed"]
    ]
    hatched = "getComputedStyle(document.querySelector('#bars .best .track span')).backgroundImage"
    assert "repeating-linear-gradient" in page.evaluate(hatched)
    assert "listening" in page.text("#lamp")

    # The same stride, had it been named.
    follow(page, device, [{**last, "label": best, "probability": 0.9, "reason": None, "end_seconds": 99.0}])
    assert page.text("#label") == best
    assert percent(0.9) in page.text("#why")
    assert page.evaluate(hatched) == "none"

    follow(page, device, [line for line in heard() if line["type"] == "trace"][-1:])
    assert page.text("#label") == "no speech"
    assert page.text("#gate") == "gate shut"


def test_of_an_uncertain_utterance_the_best_guess_stays(browser: Browser, device: Device) -> None:
    page = shown(browser, device.url)
    end = next(line for line in heard() if line.get("phase") == "end")
    best = max(end["probabilities"], key=end["probabilities"].get)
    device.tell({**end, "label": "uncertain", "id": "doubted"})
    page.wait("document.getElementById('last').textContent")
    share = percent(end["probabilities"][best])
    assert page.text("#last").startswith(f"The last utterance: uncertain (best guess {best} {share}), ")
    assert page.text("#events summary em") == f"best guess {best} {share}"


def test_it_shows_what_was_heard_before_it_was_opened(browser: Browser, device: Device) -> None:
    device.tell(*heard())
    page = shown(browser, device.url)
    events = [line for line in heard() if line["type"] == "emotion"]
    assert page.evaluate("document.querySelectorAll('#events details').length") == len(events)
    speech: dict[str, float] = {}
    for line in heard():
        if line["type"] == "trace" and line["gate_open"]:
            label = line["label"] or "too short"
            speech[label] = speech.get(label, 0.0) + line["end_seconds"] - line["start_seconds"]
    page.wait("document.querySelector('#sums tr')")
    sums = page.evaluate(
        "[...document.querySelectorAll('#sums tr')].map((row) => [...row.cells].map((c) => c.innerText))"
    )
    told = {label.strip(): seconds for label, seconds, _ in sums}
    assert {label: told[label] for label in speech} == {label: f"{s:.0f} s" for label, s in speech.items()}
    # The picture has as much of it, ten minutes a line: columns with the light color of the hatching, #c3cad1.
    columns, width = page.evaluate(
        """(() => {
            const c = document.getElementById('hour');
            const pixels = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
            const near = (i) => [0xc3, 0xca, 0xd1].every((value, k) => Math.abs(pixels[i + k] - value) < 8);
            const has = (x) => [...Array(c.height).keys()].some((y) => near(4 * (y * c.width + x)));
            return [[...Array(c.width).keys()].filter(has).length, c.width];
        })()"""
    )
    assert columns == pytest.approx(speech["uncertain"] / 600 * (width - 48), abs=6)


@pytest.mark.parametrize("prefixed", [False, True], ids=["at the root", "under a prefix"])
def test_it_asks_nothing_of_others_and_complains_of_nothing(browser: Browser, device: Device, prefixed: bool) -> None:
    proxy = Proxy(device.url) if prefixed else None
    url = proxy.url if proxy else device.url
    try:
        for name in ("", "sign"):
            page = browser.page()
            page.look(*DESKTOP)
            page.open(f"{url}{name}")
            page.wait("document.getElementById('lamp').textContent.includes('listening')")
            if not name:
                last = follow(page, device, until(0.5))
                assert page.text("#label") == last["label"]
            links = page.evaluate("[...document.querySelectorAll('a')].map((link) => link.href)")
            assert [address for address in page.requests + links if not address.startswith(url)] == []
            assert len(page.requests) >= 4
            assert page.complaints == []
    finally:
        if proxy:
            proxy.stop()


def test_it_says_what_is_wrong(browser: Browser, device: Device) -> None:
    page = shown(browser, device.url)
    assert page.evaluate("document.querySelectorAll('.bad').length") == 0
    device.broker = {**BROKER, "connected": False, "refused": ["affectd/kitchen/event"], "outbox": 12}
    device.baseline = {"settled": 0.31}
    device.telemetry = {**TELEMETRY, "dropped_seconds": 3.2, "outbox_dropped": 5, "events_dropped": {"file": 7}}
    device.tell({**STATUS, "id": "quiet", "state": "degraded", "reason": "quiet", "figure": -41.3})
    page.wait("document.querySelectorAll('.bad').length === 3")
    for words in (
        "delivers unfit sound: too quiet (−41.3 dBFS)",
        "not connected; 12 events wait; it refuses affectd/kitchen/event",
        "3.2 s of sound, the board was too slow; 5 events that the outbox had no room for; 7 events for file",
        percent(0.31) + " settled",
    ):
        assert words in page.text("#parts")
    assert "too quiet" in page.text("#events")
    assert "RAVDESS" in page.text("#card")
    assert percent(0.682) in page.text("#card")

    device.tell({**STATUS, "id": "gone", "state": "alarmed", "reason": "missing"})
    page.wait("document.getElementById('lamp').textContent === 'no sound'")
    page.wait("document.getElementById('why').textContent.includes('is lost: no such device')")


def test_it_comes_back_when_the_device_does(browser: Browser, device: Device) -> None:
    page = shown(browser, device.url)
    follow(page, device, until(0.5))
    n_events = page.evaluate("document.querySelectorAll('#events li').length")
    device.stop()
    page.wait("document.getElementById('link').textContent.startsWith('Connection lost')")
    assert page.text("#lamp") == "not known"
    assert page.evaluate("document.querySelectorAll('#events li').length") == n_events
    device.start()
    page.wait(LIVE)
    last = follow(page, device, until(0.2))
    assert page.text("#label") == (last["label"] or "speech …")
    # Those of before are still there, and not twice.
    assert page.evaluate("document.querySelectorAll('#events li').length") == n_events


def test_a_stream_that_says_nothing_is_opened_anew(browser: Browser, device: Device) -> None:
    proxy = Proxy(device.url)
    try:
        page = shown(browser, proxy.url)
        proxy.flows.clear()
        # An hour passes; the clock of the computer, set back meanwhile, says nothing of it.
        page.evaluate("{ const { now } = performance; performance.now = () => now.call(performance) + 3600e3 }")
        page.evaluate("Date.now = () => 0")
        page.wait("document.getElementById('link').textContent.startsWith('Connection lost')")
        proxy.flows.set()
        page.wait(LIVE)
    finally:
        proxy.stop()


def test_a_viewer_too_many_is_told_so_and_waits(browser: Browser, device: Device) -> None:
    # Not of the browser, which opens six connections to a host at most.
    viewers = [urllib.request.urlopen(f"{device.url}events") for _ in range(8)]
    page = browser.page()
    page.open(device.url)
    page.wait("document.getElementById('link').textContent.includes('no room')")
    for viewer in viewers:
        viewer.close()
    page.wait(LIVE)


def test_what_the_device_sends_is_text_and_has_an_end(browser: Browser) -> None:
    bad = "<img src=x onerror=console.error(1)>" * 40
    device = Device(device=bad, labels=[bad, "calm"], version=bad, card={"data": [{"corpus": bad}], bad: [bad] * 500})
    try:
        page = shown(browser, device.url)
        line = {**until(0.5)[-1], "label": bad, "smoothed": {bad: 0.9, "calm": 0.1}, "probabilities": {bad: 1.0}}
        follow(page, device, [line])
        emotion = {**next(e for e in heard() if e["type"] == "emotion"), "label": bad, "probabilities": {bad: 1.0}}
        many = [{**emotion, "id": str(number), "phase": bad} for number in range(500)]
        device.tell(*many, {**STATUS, "id": "odd", "state": bad, "reason": bad, "part": bad, "refused": [bad] * 500})
        page.wait("document.querySelector('#events').textContent.includes('img')")
        page.wait("document.querySelectorAll('#events li').length === 100")
        assert page.evaluate("document.querySelectorAll('img').length") == 0
        assert page.evaluate("document.body.textContent.length") < 40_000
        assert page.evaluate("document.documentElement.scrollWidth") == DESKTOP[0]
        assert page.complaints == []
    finally:
        device.stop()


def test_it_forgets_what_is_old(browser: Browser, device: Device) -> None:
    page = shown(browser, device.url)
    line = until(0.5)[-1]
    stride = line["end_seconds"] - line["start_seconds"]
    counts = page.evaluate(
        f"""import('./static/story.js').then(({{ addTrace, story }}) => {{
            const line = {json.dumps(line)}, at = (n) => n * {stride};
            for (let n = 0; n < 40000; n++)
                addTrace({{ ...line, gate_open: n % 2 === 0, start_seconds: at(n), end_seconds: at(n + 1) }});
            return [story.minute.length, story.hour.length, story.hour[0].end_seconds - story.now];
        }})"""
    )
    assert counts[0] <= 60 / stride + 2
    assert counts[1] <= 5000
    assert counts[2] >= -3600


def test_its_map_has_the_labels_where_the_device_has_them(browser: Browser, device: Device) -> None:
    page = shown(browser, device.url)
    places = page.evaluate("import('./static/story.js').then((module) => module.PLACES)")
    assert places == {label: list(place) for label, place in COORDINATES.items()}


def test_it_has_words_and_a_unit_for_every_reason(browser: Browser, device: Device) -> None:
    page = shown(browser, device.url)

    def told(state: str, reason: str, figure: float | None) -> str:
        message = json.dumps({"state": state, "reason": reason, "figure": figure})
        return str(page.evaluate(f"import('./static/story.js').then((module) => module.condition({message}))"))

    for reason in SENTENCES:
        assert re.fullmatch(r"delivers unfit sound: .+ \(1\.\d+ .+\)", told("degraded", reason, 1.0)), reason
    for reason in {*event_schema()["properties"]["reason"]["enum"]} - {*SENTENCES, "heard", "asked", *OF_A_MODEL}:
        assert ": " in told("alarmed", reason, None), reason


def test_the_files_are_small_and_name_no_other_place() -> None:
    files = [path for path in STATIC.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 60_000
    for path in files:
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"""//[a-z]|(?:src|href)="/|url\(|innerHTML|\sstyle=|\son\w+=""", text), path.name


def test_it_shows_the_real_program_and_outlives_its_death(browser: Browser, tmp_path: Path) -> None:
    device = WebDevice(tmp_path)
    page = browser.page()
    page.look(*DESKTOP)
    for life in range(2):
        with device.running("--source", "-") as program:
            assert program.stdin
            program.stdin.write(DEMO.read_bytes())
            program.stdin.flush()
            if life == 0:
                page.open(f"http://127.0.0.1:{device.port}/")
            page.wait(LIVE)
            page.wait("document.querySelectorAll('#events details').length >= 3")
            assert page.text("#device") == "kiosk-3"
            program.kill()
        page.wait("document.getElementById('link').textContent.startsWith('Connection lost')")

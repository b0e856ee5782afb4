"""Headless Chromium for tests, over the pipe of its debugging protocol: no driver, no port, nothing to install.

https://chromedevtools.github.io/devtools-protocol/ describes the methods.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import itertools
import json
import os
import queue
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (chromium)")
PATIENCE_SECONDS = 90.0
# Without these it looks for updates and for Google's hosts at every start.
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--mute-audio",
    "--hide-scrollbars",
]


def _above(descriptor: int) -> int:
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved


class Browser:
    """One process of Chromium; `page` opens a tab of its own."""

    def __init__(self, folder: Path) -> None:
        assert CHROMIUM is not None
        # It reads commands from descriptor 3 and answers on 4; each message ends with a zero. Ours are above these.
        (read_end, self._to), (self._from, write_end) = (map(_above, os.pipe()) for _ in range(2))
        moved = f'exec "$@" 3<&{read_end} 4>&{write_end} {read_end}<&- {write_end}>&-'
        command = [CHROMIUM, *FLAGS, "--remote-debugging-pipe", f"--user-data-dir={folder}", "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", moved, "bash", *command],
            pass_fds=(read_end, write_end),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "TZ": "UTC", "HOME": str(folder)},
        )
        os.close(read_end)
        os.close(write_end)
        self._numbers = itertools.count(1)
        self._answers: dict[int, queue.Queue[dict[str, Any]]] = {}
        self._pages: dict[str, Page] = {}
        self._contexts: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with open(self._from, "rb") as answers:
            waiting = b""
            while piece := os.read(answers.fileno(), 1 << 16):
                *messages, waiting = (waiting + piece).split(b"\0")
                for message in map(json.loads, messages):
                    if "id" in message:
                        self._answers.pop(message["id"]).put(message)
                    elif (page := self._pages.get(message.get("sessionId"))) is not None:
                        page.seen.append(message)

    def send(self, method: str, session: str | None = None, /, **parameters: object) -> dict[str, Any]:
        """Call a method and return its result."""
        number = next(self._numbers)
        self._answers[number] = answer = queue.Queue()
        message = {"id": number, "method": method, "params": parameters}
        os.write(self._to, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        # Longer than a page waits, which then says for what.
        result = answer.get(timeout=2 * PATIENCE_SECONDS)
        assert "error" not in result, (method, result["error"])
        return dict(result["result"])

    def page(self) -> Page:
        """Open an empty tab with cookies of its own."""
        context = self.send("Target.createBrowserContext")["browserContextId"]
        self._contexts.append(context)
        target = self.send("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.send(f"{domain}.enable")
        return page

    def close_pages(self) -> None:
        """Close all tabs: they would ask on, and draw."""
        while self._contexts:
            self.send("Target.disposeBrowserContext", browserContextId=self._contexts.pop())
        self._pages.clear()

    def close(self) -> None:
        """End the process."""
        self._answers[0] = queue.Queue()
        with contextlib.suppress(BrokenPipeError):
            os.write(self._to, b'{"id": 0, "method": "Browser.close"}\0')
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._to)
        self._reader.join()


class Page:
    """A tab: what it shows, what it asked for, and what went wrong in it."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session
        self.seen: list[dict[str, Any]] = []

    def send(self, method: str, **parameters: object) -> dict[str, Any]:
        """Call a method of this tab."""
        return self._browser.send(method, self._session, **parameters)

    def look(self, width: int, height: int, *, dark: bool = False, still: bool = False) -> None:
        """Set the size of the window, and what the user prefers."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        features = {"prefers-color-scheme": "dark" if dark else "light"} | (
            {"prefers-reduced-motion": "reduce"} if still else {}
        )
        self.send("Emulation.setEmulatedMedia", features=[{"name": n, "value": v} for n, v in features.items()])

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self.send("Page.navigate", url=url)
        self.wait(f"location.href.split('#')[0] === {json.dumps(url)} && document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression, of a promise what it resolves to."""
        done = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, expression: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until an expression, or the promise that it is, holds in the page."""
        code = f"""new Promise((resolve) => {{
            const end = Date.now() + {1000 * seconds};
            const look = async () => {{
                let held = false;
                try {{ held = await ({expression}); }} catch {{ /* not yet */ }}
                if (held || Date.now() > end) resolve(Boolean(held)); else setTimeout(look, 20);
            }};
            look();
        }})"""
        held = False
        for _ in range(5):
            try:
                held = self.evaluate(code)
                break
            except AssertionError as error:  # when it goes to another page meanwhile, the promise is lost
                if "navigated" not in str(error) and "context" not in str(error):
                    raise
        assert held, f"{expression} does not hold after {seconds:g} s; the page says: {self.text()[:2000]}"

    def text(self, selector: str = "body") -> str:
        """Return the text that is shown."""
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText"))

    def press(self, key: str, text: str = "") -> None:
        """Press and release a key, ``Tab`` for instance."""
        code = {"Tab": 9, "Enter": 13, " ": 32}.get(key, 0)
        for kind in ("keyDown", "keyUp"):
            typed = {"text": text} if text and kind == "keyDown" else {}
            self.send("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **typed)

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """Save what is shown, the part below the window as well."""
        data = self.send("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def pdf(self) -> bytes:
        """Print the page on the paper that it asks for."""
        return base64.b64decode(self.send("Page.printToPDF", preferCSSPageSize=True, printBackground=True)["data"])

    @property
    def requests(self) -> list[str]:
        """The addresses that the page asked for; data: is none."""
        sent = [m["params"] for m in list(self.seen) if m["method"] == "Network.requestWillBeSent"]
        return [url for p in sent if not (url := p["request"]["url"]).startswith("data:")]

    @property
    def complaints(self) -> list[str]:
        """What is in the console as an error or a warning, violations of the policy among it."""
        found = []
        for message in list(self.seen):
            about = message["params"]
            if message["method"] == "Runtime.exceptionThrown":
                found.append(json.dumps(about["exceptionDetails"]))
            if message["method"] == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
                found.append(f"{about['entry']['text']} {about['entry'].get('url', '')}")
            if message["method"] == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning", "assert"):
                found.append(json.dumps(about["args"]))
        return found

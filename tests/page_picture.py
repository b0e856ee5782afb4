"""Take the picture of the page in docs/page.md: Chromium looks at a device that hears tests/data/demo.wav.

After a change of the page or of the demonstration: ``python tests/page_picture.py``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from browser import Browser
from page_device import Device, heard
from page_viewer import follow, shown

PICTURE = Path(__file__).parents[1] / "docs" / "page.png"
SIZE = (1280, 462)


def moment() -> list[dict[str, Any]]:
    """Return the demonstration up to the clearest moment of its last utterance that was named."""
    lines = heard()
    named = [i for i, line in enumerate(lines) if "reason" in line and line["label"] and line["reason"] is None]
    last = [i for i in named if i > named[-1] - 12]
    return lines[: max(last, key=lambda i: lines[i]["probability"]) + 1]


def main() -> None:
    """Take it."""
    with tempfile.TemporaryDirectory() as folder:
        browser, device = Browser(Path(folder)), Device()
        try:
            page = shown(browser, device.url, SIZE, still=True)
            follow(page, device, moment())
            page.screenshot(PICTURE, whole=False)
        finally:
            device.stop()
            browser.close()


if __name__ == "__main__":
    main()

"""Links, anchors and paths in the Markdown pages lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from browser import Browser, needs_chromium
from documents import PAGES, REPOSITORY, anchors, identifier, links, spans
from page_viewer import AXE

FOLDERS = ("docs", "edge", "models", "scripts", "tests", "train")


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in links(page):
        target, _, anchor = link.partition("#")
        if target.startswith("https://"):
            continue
        found = page.parent / target if target else page
        assert found.exists(), link
        assert not anchor or anchor in anchors(found), link


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_every_path_in_code_font_exists(page: Path) -> None:
    for span in spans(page):
        if re.fullmatch(rf"({'|'.join(FOLDERS)})/[\w./-]*", span):
            assert (REPOSITORY / span).exists(), span


def test_every_row_of_the_architecture_is_a_folder_or_file_and_none_is_missing() -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text()
    for title, folder in (("device", "edge/affectd"), ("desktop", "train/affectd_train")):
        section = page.split(f"## Folders of the {title}\n")[1].split("\n## ")[0]
        rows = set(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE))
        rooms = {f"{path.parent.name}/" for path in (REPOSITORY / folder).glob("*/__init__.py")}
        files = {path.name for path in (REPOSITORY / folder).glob("[!_]*.py")}
        assert rows == rooms | files


def test_the_architecture_shows_the_layers_that_are_checked() -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text()
    linter = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = [contract["layers"] for contract in linter["contracts"] if contract["type"] == "layers"]
    assert layers
    for lines in layers:
        assert "\n```text\n" + "\n".join(lines) + "\n```\n" in page


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_no_page_names_a_folder_of_a_build_machine(page: Path) -> None:
    assert not re.search(r"/(work|root|home|tmp)/", page.read_text())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the documents as a site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.glob("**/*.html"))
    assert len(pages) > len(list((REPOSITORY / "docs").glob("*.md")))  # 404.html is one more
    for page in pages:
        html = page.read_text()
        loaded = re.findall(r"<(?:script|img|iframe|source)\b[^>]*?\bsrc(?:set)?=\"?([^\"\s>]+)", html)
        loaded += re.findall(r"<link\b[^>]*?\bhref=\"?([^\"\s>]+)", html)
        assert loaded
        assert not [url for url in loaded if "//" in url], page


@needs_chromium
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_site_stands_out_from_its_ground(site: Path, tmp_path: Path, *, dark: bool) -> None:
    browser = Browser(tmp_path)
    try:
        for name in ("index", "user-guide", "page"):
            page = browser.page()
            page.look(1280, 900, dark=dark)
            page.open((site / f"{name}.html").as_uri())
            page.evaluate(f"{AXE.read_text()}; undefined")
            run = "axe.run({runOnly: ['color-contrast']})"
            faint = f"{run}.then((found) => found.violations.flatMap((v) => v.nodes.map((node) => node.html)))"
            assert page.evaluate(faint) == []
    finally:
        browser.close()


def test_the_readme_fits_on_a_page_and_what_matters_on_a_screen() -> None:
    lines = (REPOSITORY / "README.md").read_text().splitlines()
    assert len(lines) <= 150
    screen = "\n".join(lines[:50])
    for part in ("\nscripts/run ", "\nscripts/test ", "<!-- end of accuracy -->", "<!-- end of cost -->"):
        assert part in screen

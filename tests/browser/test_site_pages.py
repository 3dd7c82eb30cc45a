"""The built site (`make docs`) in a browser: pages fit the window, pictures and formulas are there, a search finds.

Run where build/site is; `make docs` does.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from chromium import Browser

SITE = Path(__file__).resolve().parents[2] / "build" / "site"
FORMULAS = "[...document.querySelectorAll('math, .math')].map(m => [m.localName, m.getBoundingClientRect().width])"
pytestmark = pytest.mark.skipif(not (SITE / "index.html").exists(), reason="the site is not built")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_pages_fit_and_have_their_pictures(browser: Browser, scheme: str, width: int, height: int) -> None:
    pages = sorted(SITE.rglob("*.html"))
    tab = browser.open(pages[0], width=width, height=height, color_scheme=scheme)
    wrong, grounds, formulas = [], set(), 0
    for page in pages:
        tab.go(page)
        wide = tab.run("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        missing = tab.run("[...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src)")
        sizes = tab.run(FORMULAS)
        formulas += len(sizes)
        flat = [size for size in sizes if size[0] != "math" or size[1] == 0]
        wrong += [(page.name, wide, missing, flat)] if wide > 0 or missing or flat else []
        grounds.add(sum(map(int, tab.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g)"))) > 400)
    tab.close()
    assert len(pages) > 40 and formulas > 400 and wrong == []
    assert grounds == {scheme == "light"}


@pytest.mark.parametrize(
    ("words", "page"),
    [("beta", "Your trainer\u2019s beta and ours"), ("KL horizon", "Questions"), ("Pareto k", "Questions")],
)
def test_the_search_finds(browser: Browser, words: str, page: str) -> None:
    tab = browser.open(SITE / "search.html")
    tab.run(f"void (location.search = '?q={words.replace(' ', '+')}')")
    end = time.monotonic() + 30
    found: list[str] = []
    while page not in found and time.monotonic() < end:
        time.sleep(0.2)
        found = tab.run("[...document.querySelectorAll('#search-results li > a')].map(a => a.textContent)")
    tab.close()
    assert page in found[:5]

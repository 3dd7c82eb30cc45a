"""One browser for all tests of the page."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import Browser, Tab, find
from worlds import full


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if find() is None:
        if os.environ.get("CLINOMETER_NO_SKIP"):
            pytest.fail("chromium is missing and CLINOMETER_NO_SKIP is set")
        pytest.skip("no chromium here")
    with Browser() as made:
        yield made


@pytest.fixture(scope="session")
def report() -> Any:
    return full()


@pytest.fixture(scope="session")
def file(report: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    report.to_html(path)
    return path


@pytest.fixture
def show(browser: Browser, file: Path) -> Iterator[Callable[..., Tab]]:
    """Opens the report, or another file; every tab must end without requests, dialogs or problems."""
    tabs: list[Tab] = []

    def opened(path: Path = file, **options: Any) -> Tab:
        tab = browser.open(path, **options)
        tabs.append(tab)
        return tab

    yield opened
    for tab in tabs:
        problems, requests, dialogs = tab.problems(), tab.requests(), tab.dialogs()
        tab.close()
        assert (problems, requests, dialogs) == ([], [], [])

"""Imports point down, and nothing with an underscore crosses a room."""

from __future__ import annotations

import sys
from pathlib import Path

import house
import pytest


@pytest.fixture(scope="module")
def found() -> list[house.Arrow]:
    return list(house.arrows(house.modules()))


def test_every_room_imports_from_rooms_below(found: list[house.Arrow]) -> None:
    assert [str(a) for a in house.upward(found)] == []


def test_no_name_with_an_underscore_crosses_a_room(found: list[house.Arrow]) -> None:
    assert [str(a) for a in house.private(found)] == []


def test_modules_import_each_other_in_no_circle(found: list[house.Arrow]) -> None:
    assert house.circles(found) == []


def test_every_room_has_a_floor() -> None:
    assert {house.room(m) for m in house.modules()} == set(house.LEVEL)


def test_what_is_forbidden_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {
        "engine/up.py": "def f() -> None:\n    from clinometer.reporting import text\n",
        "reporting/text.py": "from clinometer.engine.up import _hidden\nfrom . import other\n",
        "reporting/other.py": "from typing import TYPE_CHECKING\n\nfrom .text import f\n\nif TYPE_CHECKING:\n"
        "    from clinometer.cli import main\n",
    }
    for name, text in texts.items():
        path = tmp_path / "clinometer" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(house, "SOURCE", tmp_path)
    arrows = list(house.arrows(house.modules()))
    assert [(a.module, a.source) for a in house.upward(arrows)] == [("engine.up", "reporting.text")]
    assert [a.name for a in house.private(arrows)] == ["_hidden"]
    assert house.circles(arrows) == [["engine.up", "reporting.other", "reporting.text"]]


def test_every_check_behind_a_promise_is_there() -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "torture"))
    from promises import PROMISES

    for name in (check for _, checks in PROMISES for check in checks):
        file, _, test = name.partition("::")
        assert f"def {test or 'test_'}" in (Path(__file__).parent / file).read_text(encoding="utf-8"), name

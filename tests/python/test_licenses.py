"""What others wrote and the wheel holds compiled is named with its licence, and the notice is in the wheel."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
INCLUDED = re.compile(r"^#include <([A-Za-z0-9_]+)/", re.MULTILINE)
SYSTEM = {"clinometer", "sys", "linux", "asm"}


def test_every_library_compiled_in_is_in_the_notice() -> None:
    files = [p for p in (ROOT / "cpp").rglob("*") if p.suffix in (".hpp", ".cpp")]
    used = {name for p in files for name in INCLUDED.findall(p.read_text())} - SYSTEM
    assert used == {"Eigen", "pybind11"}, "a new one needs its notice"
    notice = (ROOT / "licenses/THIRD_PARTY.txt").read_text()
    for name in used:
        assert re.search(rf"^{name}\n-+$", notice, re.MULTILINE), name


def test_the_notice_is_in_the_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"LICENSE", "licenses/THIRD_PARTY.txt"} <= set(project["license-files"])
    assert all((ROOT / name).is_file() for name in project["license-files"])

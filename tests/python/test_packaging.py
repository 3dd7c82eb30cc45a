"""What a release must agree on."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import clinometer as cm

ROOT = Path(__file__).resolve().parents[2]


def test_one_version_everywhere() -> None:
    said = {
        "pyproject.toml": tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"],
        "CMakeLists.txt": re.search(r"project\(clinometer VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())[1],
        "CITATION.cff": re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1],
    }
    assert set(said.values()) == {cm.__version__}, said


def test_states_of_both_languages_have_one_version() -> None:
    from clinometer.stream.fold_file import VERSION

    header = (ROOT / "cpp/include/clinometer/fold_file.hpp").read_text()
    assert f'"version": {VERSION},' in header


def test_every_extra_of_the_package_is_in_all() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (together,) = extras["all"]
    held = set(together.removeprefix("clinometer[").removesuffix("]").split(","))
    assert held == set(extras) - {"all", "test", "bench", "dev", "docs"}


def test_platforms_that_were_never_built_are_marked() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    settings = tomllib.loads(text)["tool"]["cibuildwheel"]
    assert settings["linux"]["archs"] == ["x86_64", "aarch64"] and "musllinux_x86_64" not in settings["skip"]
    for platform in ("linux", "macos", "windows"):
        section = text.split(f"[tool.cibuildwheel.{platform}]")[1].split("[tool.")[0]
        assert "never built" in section, platform
    page = (ROOT / "docs/releasing.md").read_text()
    assert all(
        x in page for x in ("never been built", "auditwheel show", "under 6 MB", "builds offline", "cibuildwheel")
    )


def test_the_citation_file_has_what_its_format_requires() -> None:
    text = (ROOT / "CITATION.cff").read_text()
    keys = {line.split(":")[0] for line in text.splitlines() if not line.startswith(" ")}
    assert {"cff-version", "message", "title", "authors", "version", "license", "type"} <= keys
    assert "cff-version: 1.2.0" in text and re.search(r"authors:\n  - (name|family-names): \S", text)

"""The blocks of the site's pages and of the README run, page by page in a fresh folder, and print what the pages show.

    python tests/python/test_site.py docs/tutorial.md ...

writes into pages what their blocks print: a ```text block right after a ```python block, and in a ```console block the
lines below a command; ```py is for what needs a cluster or files that are not here, and does not run (recipes.md by
test_recipes.py). ```python blocks of a page whose first line is `% needs: torch` run where that package is installed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clinometer as cm

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$(\n\n```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)\n", re.MULTILINE)
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]\d+)?")  # kernels of other machines may differ in the last digit
PAGES = sorted(p for p in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")] if BLOCK.search(p.read_text("utf-8")))


def run_python(source: str, names: dict[str, Any]) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(source, "block", "exec"), names)
    return out.getvalue()


def run_shell(command: str, folder: Path) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env={**os.environ, "PATH": path, "COLUMNS": "100"}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=300, check=True,
    )  # fmt: skip
    return done.stdout.replace(f"{folder}/", "")


def printed(text: str, folder: Path) -> list[tuple[re.Match[str], str]]:
    """Every block of a page with what it prints, in its form on the page; runs/hh-32 is the packaged dump."""
    (folder / "runs").mkdir()
    (folder / "runs/hh-32").symlink_to(Path(cm.__file__).parent / "data/demo")
    names: dict[str, Any] = {"__name__": "page"}
    out = []
    for block in BLOCK.finditer(text):
        if block[1] == "python" and any(importlib.util.find_spec(name) is None for name in needs(text)):
            continue
        if block[1] == "console":
            asked = COMMAND.finditer(block[2])
            out.append((block, "".join(c[0] + run_shell(c[1], folder) for c in asked)))
        else:
            out.append((block, run_python(block[2], names)))
    return out


def same(shown: str, got: str) -> None:
    assert NUMBER.sub("#", shown.rstrip()) == NUMBER.sub("#", got.rstrip())
    shown_, got_ = ([float(x) for x in NUMBER.findall(text)] for text in (shown, got))
    np.testing.assert_allclose(shown_, got_, rtol=0.01, atol=1e-4)


def needs(text: str) -> list[str]:
    first = text.split("\n", 1)[0]
    return first.removeprefix("% needs:").split() if first.startswith("% needs:") else []


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_blocks_of_the_page_print_what_it_shows(page: Path, tmp_path: Path, monkeypatch: Any) -> None:
    text = page.read_text(encoding="utf-8")
    if page.name == "cli.md" and sys.version_info >= (3, 13):
        pytest.skip("argparse of this Python writes options in another form")
    monkeypatch.chdir(tmp_path)
    for block, got in printed(text, tmp_path):
        same(block[2] if block[1] == "console" else block[4] or "", got)


def test_a_page_that_shows_another_number_is_noticed(tmp_path: Path) -> None:
    page = "```python\nprint('gain', 0.5)\n```\n\n```text\ngain 0.7\n```\n"
    ((block, got),) = printed(page, tmp_path)
    assert got == "gain 0.5\n"
    with pytest.raises(AssertionError):
        same(block[4], got)


LINK = re.compile(r"(?<!`)\[([^\]]*)\]\(([^)\s]+)\)")
# what may be linked outside, by its whole form: a build needs no network, so no link is followed
OUTSIDE = re.compile(
    r"https://(arxiv\.org/abs/\d{4}\.\d{5}|keepachangelog\.com/en/1\.1\.0/|semver\.org/spec/v2\.0\.0\.html)"
)
TREE = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def anchors(page: Path) -> set[str]:
    """The names that headings of a page get, as GitHub and MyST make them."""
    text = re.sub(r"^(`{3,}).*?^\1$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    plain = (re.sub(r"[`*]|\]\([^)]*\)|\[", "", h).strip().lower() for h in re.findall(r"^#+ (.*)$", text, re.M))
    return {re.sub(r"[^\w\- ]", "", h).replace(" ", "-") for h in plain}


def wrong_links(text: str, page: Path) -> list[str]:
    """Targets that are no heading or file of the tree, nor an address of a known form whose number its text names."""
    wrong = []
    for shown, target in LINK.findall(re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.M | re.S)):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if ":" in target:
            number = re.search(r"\d{4}\.\d{5}", target)
            good = OUTSIDE.fullmatch(target) and (number is None or number[0] in shown)
        else:
            good = file.exists() and (not anchor or anchor in anchors(file))
            if file.suffix == ".md" and page.name != "README.md":  # the site has the pages of docs, and no others
                good = good and ROOT / "docs" in file.parents
        wrong += [] if good else [target]
    return wrong


@pytest.mark.parametrize("page", TREE, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert wrong_links(text, page) == []
    bare = re.sub(r"^(`{3,}).*?^\1$|`[^`]*`|\]\([^)]*\)", "", text, flags=re.M | re.S)
    assert re.findall(r"https?:\S*", bare) == []  # what is not a link is not checked


@pytest.mark.parametrize(
    "link",
    ["[a](https://arxiv.org/abs/2603.0300)", "[a](https://arxiv.org/abs/2603.03000)", "[a](http://semver.org)",
     "[a](nowhere.md)", "[a](docs/theory.md#nothing)", "[a](https://example.org/)"],
)  # fmt: skip
def test_a_link_to_nowhere_is_noticed(link: str) -> None:
    assert len(wrong_links(link, ROOT / "README.md")) == 1
    assert wrong_links("[a](experiments/README.md)", ROOT / "CONTRIBUTING.md") == ["experiments/README.md"]


def test_the_pages_have_links() -> None:
    links = [target for page in TREE for _, target in LINK.findall(page.read_text(encoding="utf-8"))]
    assert len(links) > 100 and sum(target.startswith("https:") for target in links) > 5


def test_every_finding_has_its_paragraph() -> None:
    scripts = {p.name for p in (ROOT / "findings").glob("*.sh")}
    told = set(re.findall(r"`([\w-]+\.sh)`", (ROOT / "docs" / "surprises.md").read_text("utf-8")))
    assert scripts == told


def write(page: Path) -> None:
    """Put what the blocks print into the page."""
    text, at = page.read_text(encoding="utf-8"), 0
    before, parts = Path.cwd(), []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for block, got in printed(text, Path(folder)):
            body = got if block[1] == "console" else block[2]
            shown = f"\n\n```text\n{got.rstrip()}\n```" if block[1] == "python" and got.strip() else ""
            parts += [text[at : block.start()], f"```{block[1]}\n{body.rstrip()}\n```{shown}"]
            at = block.end()
        os.chdir(before)
    page.write_text("".join(parts) + text[at:], encoding="utf-8")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        write(Path(name).resolve())

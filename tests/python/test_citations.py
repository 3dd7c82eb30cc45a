"""A section of docs/theory.md that the code names exists there, and so does every result of the paper."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from clinometer.verify.registry import claims

ROOT = Path(__file__).resolve().parents[2]
THEORY = (ROOT / "docs/theory.md").read_text(encoding="utf-8")
SECTIONS = set(re.findall(r"^(?:#+|\|) (\d+(?:\.\d+)?)(?:\.| \|)? ", THEORY.split("## 12.")[0], re.M)) | {"12"}
KIND = "Theorem|Proposition|Corollary|Lemma|Definition|Conjecture|Remark|Assumption"
RESULTS = {
    found for line in re.findall(r"^#+ .*", THEORY, re.M) for found in re.findall(rf"\b(?:{KIND}) \d+", line)
} | {"Remark 3"}  # theory 7.1, in a sentence

NUMBER = r"\d+(?:\.\d+)?"
CITED = re.compile(rf"\b[Tt]heory ({NUMBER}(?:(?:, | and | to |, and ){NUMBER})*)")
NAMED = re.compile(rf"\b((?:{KIND}) \d+)")
# what a reader cannot look up: short names, headings in quotation marks, a contract that is not in the tree
UNKNOWN = re.compile(
    r"\b(?:Thm|Props?|Cor|Defs?|Conj|Rem|App)\.? \d+|\b[Tt]heory[, ]+(?:\"|Details|[A-Z]\d)|\bapi (?:\"|\d)|\bapi\.md"
)
FOLDERS = ("python", "cpp", "tests", "benchmarks", "examples", "docs")
KINDS = {".py", ".pyi", ".hpp", ".cpp", ".h", ".md", ".js", ".css", ".sh", ".toml", ".txt"}


def unresolved(text: str) -> list[str]:
    """Citations of `text` that no heading of docs/theory.md answers."""
    numbers = [n for cited in CITED.findall(text) for n in re.findall(NUMBER, cited)]
    found = [f"theory {n}" for n in numbers if n not in SECTIONS]
    found += [name for name in NAMED.findall(text) if name not in RESULTS]
    return found + UNKNOWN.findall(text)


def sources() -> Iterator[Path]:
    here = Path(__file__).resolve()
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in KINDS and path not in (here, ROOT / "docs/theory.md") and path.is_file():
                yield path
    yield from ROOT.glob("*.md")


def test_every_citation_in_the_tree_has_a_heading() -> None:
    read = {path: path.read_text(encoding="utf-8", errors="replace") for path in sources()}
    assert sum(len(CITED.findall(text)) for text in read.values()) > 150  # else nothing was read
    assert {str(path.relative_to(ROOT)): wrong for path, text in read.items() if (wrong := unresolved(text))} == {}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("holds inside prompts (theory 2.4 and 8.1)", []),
        ("the gap of Proposition 5, theory 11.7", []),
        ("see theory 2.99.", ["theory 2.99"]),
        ("of theory 8.1, 9.1 and 9.7", ["theory 9.7"]),
        ("by Theorem 99", ["Theorem 99"]),
        ("by Thm 13", ["Thm 13"]),
        ('(theory, "Details")', ['theory, "']),
        ('(api "values")', ['api "']),
    ],
)
def test_a_citation_without_a_heading_is_found(text: str, wrong: list[str]) -> None:
    assert unresolved(text) == wrong


def test_every_item_of_verify_is_placed_in_a_section() -> None:
    placed = dict(re.findall(r"\| ([^|]+?) \| (\d+\.\d+) (?=\|)", THEORY.split("## 12.")[1]))
    items = {claim.item for claim in claims()}
    assert set(placed.values()) <= SECTIONS
    assert items - set(placed) == {f"11.{n}" for n in range(1, 24)}
    assert set(placed) <= items


def test_the_functions_that_the_theory_names_exist() -> None:
    import clinometer as cm

    for name in set(re.findall(r"`cm\.([a-z_]+(?:\.[a-z_]+)*)", THEORY)):
        at: object = cm
        for part in name.split("."):
            assert hasattr(at, part), f"cm.{name}"
            at = getattr(at, part)

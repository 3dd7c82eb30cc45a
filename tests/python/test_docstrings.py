"""Docstrings of the top-level functions and classes say what the reference needs, and their examples run."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re

import pytest

import clinometer as cm

PUBLIC = [n for n in cm.__all__ if callable(getattr(cm, n)) and not n.endswith(("Error", "Failed"))]
EXTRA_MODULES = ("theory", "lp", "inference", "fit", "stat", "plot", "values", "reference")
# what a docstring says, how it shows, and whom it does not concern
SAYS = {
    "shapes": (r"\([A-Za-z](, ?\w+)*,?\)", "compare merge Fold"),
    "units": (r"\bnats\b|\bsd\b|\bunits?\b|correlation|log-prob|bytes|float(16|32|64)", "compare Fold"),
    "errors": (r"(?i)raises|\berrors?\b|refused|ValueError|DumpError", "Dump Directions Scores"),
    "cost": (r"(?i)\bcosts?\b|memory|flops|\breads?\b|pass\b", "Scores"),
    "source": (r"theory \d", "Dump Directions Scores DumpWriter Fold open_dump write_dump merge scan capture judge"),
    "example": (r">>>", ""),
}


@pytest.mark.parametrize("name", PUBLIC)
@pytest.mark.parametrize("what", SAYS)
def test_the_docstring_says(name: str, what: str) -> None:
    shows, others = SAYS[what]
    assert name in others.split() or re.search(shows, inspect.getdoc(getattr(cm, name)) or "")


def test_no_exception_outlives_its_reason() -> None:
    spare = [
        f"{what}: {name}"
        for what, (shows, others) in SAYS.items()
        for name in others.split()
        if re.search(shows, inspect.getdoc(getattr(cm, name)) or "")
    ]
    assert spare == []


@pytest.mark.parametrize("name", [n for n in PUBLIC if n not in ("capture", "judge")])  # those two want torch
def test_the_example_runs(name: str) -> None:
    what = getattr(cm, name)
    names = vars(importlib.import_module(what.__module__)).copy()
    runner = doctest.DocTestRunner()
    runner.run(doctest.DocTestParser().get_doctest(inspect.getdoc(what) or "", names, name, None, 0))
    assert runner.tries > 0 and runner.failures == 0


@pytest.mark.parametrize("module", EXTRA_MODULES)
def test_every_public_name_of_a_module_has_a_docstring(module: str) -> None:
    home = getattr(cm, module)
    assert [
        n for n in home.__all__ if inspect.isroutine(getattr(home, n)) and not inspect.getdoc(getattr(home, n))
    ] == []

"""A pytest session that runs the collected tests in forks: once to see what they build, then against each mutant."""

from __future__ import annotations

import gc
import inspect
import os
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fields as results
import pytest
from _pytest.runner import runtestprotocol
from forks import forked
from state import State

FACTORS = (1.01, -1.0)
SELDOM = ("test_contributing", "test_torture", "test_fuzz", "test_bench", "test_shell", "test_remote")
FIRST = re.compile(r"/test_every_field_|/verify/")  # what is about every field; the rest is looked at for what is left
EVERY = 40  # runs between two saves
ALIKE = 3  # cases of one test with many parameters


@dataclass(frozen=True)
class Try:
    """A test or a claim: its name, how to run it (True: it noticed something), and its text."""

    name: str
    fails: Callable[[], bool]
    text: str


class Session:
    """The plugin; `chosen` are the fields to take, and `done` says that their mutants have met their tests."""

    def __init__(self, state: State, classes: list[type], seconds: float, again: bool, only: list[str]) -> None:
        self.state, self.classes, self.seconds, self.only = state, {c.__name__: c for c in classes}, seconds, only
        if again:
            state.survived.clear()
        self.chosen: list[str] = []
        self.done = False
        self.out = os.fdopen(os.dup(1), "w", buffering=1)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """In place of running every test once."""
        if session.testsfailed:
            raise session.Interrupted("tests cannot be collected")
        session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]  # one for all forks
        gc.collect()
        gc.freeze()  # forks share these pages
        tries = {t.name: t for t in [*_claims(), *_tests(session)]}
        for gone in set(self.state.seen) - set(tries):
            del self.state.seen[gone]
        self._look([t for t in tries.values() if FIRST.search(t.name)])
        self._meet(tries)
        names = "|".join({_name(f) for f in self.chosen for x in FACTORS if mutant(f, x) not in self.state.noticed})
        self._look([t for t in tries.values() if names and re.search(rf"\b({names})\b", t.text)])
        self._meet(tries)
        self.done = True
        return True

    def _look(self, tries: list[Try]) -> None:
        """Run what has not been seen yet, each alone."""
        state, new = self.state, [t for t in tries if t.name not in self.state.seen]
        for i, one in enumerate(new):
            if i % EVERY == 0:
                self.out.write(f"{i} of {len(new)} tests and claims seen\n")
                state.save()
            state.seen[one.name] = forked(lambda one=one: self._seen(one), self.seconds) or {}
        state.save()
        declared = {f"{c.__name__}.{f}" for c in self.classes.values() for f in results.declared(c)}
        fields = sorted(declared | {f for s in state.seen.values() for f in s.get("fields", {})})
        self.chosen = [f for f in fields if not self.only or {f, f.split(".")[0]} & set(self.only)]

    def _seen(self, one: Try) -> dict[str, Any]:
        found: dict[str, bool] = {}

        def note(field: str, visible: bool) -> None:
            found[field] = found.get(field, False) or visible

        results.watch(list(self.classes.values()), note)
        begun = time.process_time()
        if one.fails():
            self.out.write(f"fails or is skipped by itself: {one.name}\n")
            return {}
        return {"seconds": time.process_time() - begun, "fields": found}

    def _meet(self, tries: dict[str, Try]) -> None:
        """Every mutant meets the tests that build its field, until one notices."""
        todo = [(f, x) for f in self.chosen for x in FACTORS]
        for i, (field, factor) in enumerate(todo):
            if i % EVERY == 0:
                self.out.write(f"{i} of {len(todo)} mutants\n")
                self.state.save()
            key = mutant(field, factor)
            if self.state.noticed.get(key) in tries:
                continue
            met = self.state.survived.setdefault(key, [])
            chosen = [t for t in self._order(field, tries) if t.name not in met]
            by = self._noticing(field, factor, chosen)
            if by:
                self.state.noticed[key] = by
                del self.state.survived[key]
            else:
                met += [t.name for t in chosen]
        self.state.save()

    def _noticing(self, field: str, factor: float, chosen: list[Try]) -> str | None:
        """The first that notices. One that dies of the mutant, or never ends, has noticed: it is looked for alone."""
        if not chosen:
            return None
        found = forked(lambda: self._first(field, factor, chosen), 3 * self.seconds)
        if found is not None:
            return found["by"]
        for one in chosen:
            found = forked(lambda one=one: self._first(field, factor, [one]), 3 * self.seconds)
            if found is None:
                self.out.write(f"dies or does not end with {mutant(field, factor)}: {one.name}\n")
            if found is None or found["by"]:
                return one.name
        return None

    def _order(self, field: str, tries: dict[str, Try]) -> list[Try]:
        """Tests that see a number in the field: what noticed it or others of its class, what names it, the fastest."""
        seen = self.state.seen
        before = [self.state.noticed.get(mutant(field, x)) for x in FACTORS]
        alike = Counter(by for m, by in self.state.noticed.items() if m.split(".")[0] == field.split(".")[0])
        named = re.compile(rf"\b{_name(field)}\b")

        def rank(t: Try) -> tuple[bool, bool, int, float]:
            return t.name not in before, not named.search(t.text), -alike[t.name], seen[t.name]["seconds"]

        some = sorted((t for t in tries.values() if seen.get(t.name, {}).get("fields", {}).get(field)), key=rank)
        spent, chosen = 0.0, []
        for t in some:
            spent += seen[t.name]["seconds"]
            if chosen and spent > self.seconds:
                break
            chosen.append(t)
        return chosen

    def _first(self, field: str, factor: float, chosen: list[Try]) -> dict[str, Any]:
        cls, name = field.split(".")
        results.mutate(self.classes.get(cls), name, factor)  # rows of a report have no class
        return {"by": next((t.name for t in chosen if t.fails()), None)}


def _name(field: str) -> str:
    return field.split(".")[-1].removesuffix("()").lstrip("_")


def mutant(field: str, factor: float) -> str:
    return f"{field} x {factor:g}"


def _tests(session: pytest.Session) -> list[Try]:
    def fails(item: pytest.Item) -> bool:
        item.config.option.verbose, item.config.option.tbstyle = -9, "no"  # tracebacks cost ten times what tests do
        reports = runtestprotocol(item, log=False, nextitem=None)
        return any(not r.passed for r in reports)

    def text(item: pytest.Item) -> str:
        return inspect.getsource(item.function) if isinstance(item, pytest.Function) else ""

    seen: Counter[str] = Counter()
    kept = []
    for item in session.items:
        function = item.nodeid.split("[")[0]
        seen[function] += 1
        if seen[function] <= ALIKE and not function.split("/")[-1].startswith(SELDOM):
            kept.append(item)
    return [Try(item.nodeid, lambda item=item: fails(item), text(item)) for item in kept]


def _claims() -> list[Try]:
    from clinometer.verify.registry import claims, judged

    def one(c: Any) -> Try:
        # of the tree, whether the package is installed or edited in place
        file = Path("python", *c.measure.__module__.split(".")).with_suffix(".py")
        text = inspect.getsource(c.measure)
        return Try(f"{file}::{c.item}: {c.text}", lambda: judged(c).verdict != "pass", text)

    return [one(c) for c in claims()]

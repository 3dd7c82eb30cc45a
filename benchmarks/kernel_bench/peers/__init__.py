"""The libraries that clinometer is compared with, each in a file of its own.

A peer's module has `VERSION` and `KERNELS`, from the name of a kernel to a function that takes a `Problem` and returns
its settings: calls that give what clinometer's own call gives, under names that say how. The fastest exact setting is
the one that counts. A kernel that a library has no good way to compute is left out. To add a peer: a file NAME_peer.py
here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from clinometer.bench.problem import Problem

__all__ = ["LIGHT", "MODULES", "Peer", "Settings", "installed"]

Settings = dict[str, Callable[[], Any]]
LIGHT = ("numpy", "numkong")  # quick to import, with nothing to compile
# name of the peer: the module it needs, NAME up to its first "_"
MODULES = {
    name.replace("_", "."): name.split("_")[0]
    for name in (path.stem.removesuffix("_peer") for path in sorted(Path(__file__).parent.glob("*_peer.py")))
}


@dataclass(frozen=True)
class Peer:
    """One library and the kernels it can compute."""

    name: str
    version: str
    kernels: dict[str, Callable[[Problem], Settings]]

    def settings(self, problem: Problem) -> Settings:
        """Ways to compute the problem, by name; none where the library has none."""
        make = self.kernels.get(problem.kernel)
        return {} if make is None else make(problem)


def installed(names: Iterable[str], threads: int) -> tuple[dict[str, Peer], dict[str, str]]:
    """The peers that can be imported here, set to that many threads, and why the others cannot."""
    found: dict[str, Peer] = {}
    absent: dict[str, str] = {}
    for name in names:
        if find_spec(MODULES[name]) is None:
            absent[name] = "not installed"
            continue
        try:
            module = import_module(f"{__name__}.{name.replace('.', '_')}_peer")
            module.set_threads(threads)
        except (ImportError, OSError, RuntimeError, AttributeError) as error:  # a broken installation is no peer
            absent[name] = f"cannot be used: {type(error).__name__}: {error}".splitlines()[0]
            continue
        found[name] = Peer(name, module.VERSION, module.KERNELS)
    return found, absent

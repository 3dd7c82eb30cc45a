"""The libraries that clinometer is compared with, each in a file of its own.

A peer's module has `VERSION` and `KERNELS`, from the name of a kernel to a function that takes a `Problem` and returns
its settings: calls that give what clinometer's own call gives, under names that say how. The fastest exact setting is
the one that counts. A kernel that a library has no good way to compute is left out. To add a peer: a file NAME_peer.py
in the folder of `--peer-files` (benchmarks/peers in the repository), or here with a line in `MODULES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from clinometer.bench.problem import Problem

__all__ = ["LIGHT", "MODULES", "Peer", "Settings", "add", "installed"]

Settings = dict[str, Callable[[], Any]]
# name of the peer: the module it needs, the file that speaks to it
MODULES = {
    "numpy": ("numpy", "numpy_peer"), "scipy": ("scipy", "scipy_peer"), "torch": ("torch", "torch_peer"),
    "jax": ("jax", "jax_peer"),
}  # fmt: skip
LIGHT = ("numpy", "numkong")  # quick to import, with nothing to compile


def add(folder: str) -> None:
    """Peers of the files NAME_peer.py of a folder; NAME up to its first "_" is the module that they need."""
    for path in sorted(Path(folder).glob("*_peer.py")):
        name = path.stem.removesuffix("_peer").replace("_", ".")
        MODULES[name] = (name.split(".")[0], str(path))


def _module(file: str) -> ModuleType:
    if not file.endswith(".py"):
        return import_module(f"{__name__}.{file}")
    spec = spec_from_file_location(Path(file).stem, file)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
        needs, file = MODULES[name]
        if find_spec(needs) is None:
            absent[name] = "not installed"
            continue
        try:
            module = _module(file)
            module.set_threads(threads)
        except (ImportError, OSError, RuntimeError, AttributeError) as error:  # a broken installation is no peer
            absent[name] = f"cannot be used: {type(error).__name__}: {error}".splitlines()[0]
            continue
        found[name] = Peer(name, module.VERSION, module.KERNELS)
    return found, absent

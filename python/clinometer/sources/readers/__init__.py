"""Files by their suffix: a module here is a reader, found by lying here.

It names SUFFIXES and `read(path, how)`, which gives what the file holds; headers are read and checked, no row is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from clinometer.sources.found import Found, How

__all__ = ["by_suffix"]


@cache
def by_suffix() -> dict[str, Callable[[str, How], Found]]:
    """The reader of each suffix."""
    modules = [import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__)]
    return {suffix: module.read for module in modules for suffix in module.SUFFIXES}

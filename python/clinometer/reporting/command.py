"""Python text that makes a report again."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from clinometer.common.visible import without_secrets
from clinometer.dump import Dump

__all__ = ["command"]


def command(dump: Dump, arguments: dict[str, Any]) -> str:
    """A call of `report`: what can be written as text is, what cannot stands as a name of its own.

    >>> import numpy as np, clinometer as cm
    >>> command(cm.open_dump(np.eye(2)), {"values": ["v"], "kl": [0.1]})
    "import clinometer as cm\\nr = cm.report(dump, values=['v'], kl=[0.1])"
    """
    source = "dump"
    if dump.path is not None:
        site = "" if dump.tensor is None else f", tensor={dump.tensor!r}"
        source = f"cm.open_dump({dump.path!r}{site})"
    parts = [source, *(f"{k}={_written(k, v)}" for k, v in arguments.items() if v is not None)]
    return without_secrets(f"import clinometer as cm\nr = cm.report({', '.join(parts)})")


def _written(name: str, x: Any) -> str:
    """Text of an argument; its own name where it holds arrays or objects."""
    if isinstance(x, os.PathLike):
        return repr(os.fspath(x))
    if isinstance(x, np.ndarray) and x.ndim <= 1 and x.size <= 32 and x.dtype.kind in "fiub":
        x = x.tolist()
    plain = x if isinstance(x, (list, tuple, set, frozenset)) else [x]
    if all(v is None or isinstance(v, (bool, int, float, str)) for v in plain):
        return repr(sorted(x) if isinstance(x, (set, frozenset)) else x)
    return name

"""What a call has to tell beside its result: a warning, or a line for the call that listens around it.

The filters of `warnings` belong to the whole process, so changing them for a while lets the notes of one thread into
the report of another, or silences somebody for good. Nothing here touches them.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass
class _Listener:
    about: str
    outer: _Listener | None
    heard: list[str] = field(default_factory=list)


_listener: ContextVar[_Listener | None] = ContextVar("listener", default=None)


def tell(message: str, *, stacklevel: int) -> None:
    """Warn the caller, unless a call around this one listens."""
    at = _listener.get()
    while at is not None and at.about not in message:
        at = at.outer
    if at is None:
        warnings.warn(message, UserWarning, stacklevel=stacklevel + 1)
    else:
        at.heard.append(message)


@contextlib.contextmanager
def listening(about: str = "") -> Iterator[list[str]]:
    """Take what is told inside the block, in this thread and those that work for it: all, or what holds `about`."""
    listener = _Listener(about, _listener.get())
    token = _listener.set(listener)
    try:
        yield listener.heard
    finally:
        _listener.reset(token)

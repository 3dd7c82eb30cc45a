"""Reports: text, verdict, checks, a page and JSON from one call."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from .build import report
from .report import Report
from .verdict import Choice

__all__ = ["Choice", "Report", "report"]


class _Callable(ModuleType):
    """Importing this package binds it as `clinometer.report`, over the function of that name: so it can be called."""

    def __call__(self, *args: Any, **options: Any) -> Report:
        return report(*args, **options)


sys.modules[__name__].__class__ = _Callable

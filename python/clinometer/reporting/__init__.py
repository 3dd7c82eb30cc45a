"""Reports: text, verdict, checks, a page and JSON from one call."""

from __future__ import annotations

from .build import report
from .result import Report
from .verdict import Choice

__all__ = ["Choice", "Report", "report"]

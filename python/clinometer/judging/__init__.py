"""A language model as judge of a dump's responses under constitutions."""

from __future__ import annotations

from .constitutions import Constitution
from .judgment import Judgment, assessed
from .scoring import judge

__all__ = ["Constitution", "Judgment", "assessed", "judge"]

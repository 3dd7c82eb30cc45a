"""From a model and prompts to a dump: responses, their log-probabilities, and states of layers."""

from __future__ import annotations

from .run import capture

__all__ = ["capture"]

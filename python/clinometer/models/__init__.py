"""Causal language models of transformers: tokens, exact log-probabilities, states of layers, sampling."""

from __future__ import annotations

from .language_model import LanguageModel, Scored
from .loading import loaded
from .prefix import Prefix
from .sampling import not_applied, sampled, uniforms

__all__ = ["LanguageModel", "Prefix", "Scored", "loaded", "not_applied", "sampled", "uniforms"]

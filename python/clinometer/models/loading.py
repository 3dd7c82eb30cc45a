"""A language model from an object, a name or a folder; the only place that loads weights."""

from __future__ import annotations

import os
from typing import Any

from clinometer.common.visible import quote

from .language_model import LanguageModel

__all__ = ["loaded"]


def loaded(model: Any, tokenizer: Any = None, *, dtype: str | None = None) -> LanguageModel:
    """A causal language model of transformers with its tokenizer, ready to score and to sample.

    Parameters
    ----------
    model : LanguageModel, PreTrainedModel, or name or path
        A name or path goes to `AutoModelForCausalLM.from_pretrained`; a path that ends in .gguf is read as such.
        An object is used as it is: its dtype, device and training mode stay.
    tokenizer : tokenizer, name or path, optional
        Default: the model's own, by its name or path.
    dtype : "float32" | "bfloat16" | "float16", optional
        Of the weights, for a name or path. Default: the checkpoint's. In bfloat16 log-probabilities of a sequence
        are off by tenths of a nat.

    Returns
    -------
    LanguageModel

    Errors: ImportError names the extra; ValueError and TypeError what cannot be used, and why. Cost: loading.

    >>> import clinometer.models
    >>> clinometer.models.loaded(3)
    Traceback (most recent call last):
    TypeError: model is of type int; a causal language model of transformers, its name or its path is wanted
    """
    if isinstance(model, LanguageModel):
        if tokenizer is not None or dtype is not None:
            raise ValueError("model is a LanguageModel, which has its tokenizer and dtype; give neither beside it")
        return model
    if isinstance(model, (str, os.PathLike)):
        name = os.fspath(model)
        network = _from_name("model", "AutoModelForCausalLM", name, dtype=dtype or "auto")
        return LanguageModel(network, _tokenizer(tokenizer, name), _shown(name))
    if not hasattr(model, "config") or not hasattr(model, "get_output_embeddings"):
        raise TypeError(
            f"model is of type {type(model).__name__}; "
            "a causal language model of transformers, its name or its path is wanted"
        )
    if dtype is not None:
        raise ValueError("dtype is for a model given by name or path; convert the object itself: model.to(...)")
    name = str(getattr(model.config, "_name_or_path", "") or "")
    return LanguageModel(model, _tokenizer(tokenizer, name), _shown(name) or type(model).__name__)


def _shown(name: str) -> str:
    """The name that dumps bear: of a folder or file its own, so that the same model elsewhere is the same model."""
    return os.path.basename(os.path.abspath(name)) if name and os.path.exists(name) else name


def _tokenizer(tokenizer: Any, name: str) -> Any:
    if tokenizer is None and not name:
        raise ValueError("tokenizer is None and the model has no name to find one by; a tokenizer is wanted")
    if tokenizer is None or isinstance(tokenizer, (str, os.PathLike)):
        return _from_name("tokenizer", "AutoTokenizer", name if tokenizer is None else os.fspath(tokenizer))
    if not callable(tokenizer) or not hasattr(tokenizer, "decode"):
        raise TypeError(f"tokenizer is of type {type(tokenizer).__name__}; a tokenizer of transformers is wanted")
    return tokenizer


def _from_name(argument: str, kind: str, name: str, **options: Any) -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ImportError(f"loading {quote(name)} needs transformers: pip install 'clinometer[torch]'") from error
    folder = name
    if name.endswith(".gguf"):
        folder, options["gguf_file"] = os.path.split(name)
    try:
        return getattr(transformers, kind).from_pretrained(folder or ".", **options)
    except (OSError, ValueError) as error:
        why = str(error).strip().partition("\n")[0]
        raise ValueError(f"{argument} {quote(name)} is no folder or name that transformers loads: {why}") from error

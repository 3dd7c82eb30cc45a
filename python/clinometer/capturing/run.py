"""cm.capture: a model, prompts and layers in, a dump out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from clinometer.common.notices import tell
from clinometer.common.progress import shown
from clinometer.dump import Dump, DumpWriter, open_dump
from clinometer.dump.schema import ROW_TAGS
from clinometer.models import LanguageModel, loaded, not_applied

from .request import Position, Request, as_position, as_request
from .rows import rows_of

__all__ = ["capture"]

_COLUMNS = {"logprob": "float64", "n_tokens": "int64", "response_id": "int64", "ended": "bool"}


def capture(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Any],
    *,
    responses: Sequence[Sequence[Any]] | None = None,
    n: int = 16,
    layers: int | Sequence[int],
    position: str | tuple[int, int | None] = "mean_response",
    out: str | os.PathLike[str],
    max_new_tokens: int = 128,
    random_state: int = 0,
    prompt_ids: Sequence[Any] | None = None,
    chat: bool | None = None,
    policy: str | None = None,
    dtype: str | None = None,
    token_budget: int = 8192,
    progress: bool | Callable[[int, int], None] | None = None,
) -> Dump:
    """Sample responses from a causal language model, or take given ones, and write their states as a dump.

    phi_i = mean over the chosen tokens t of response i of the state h_t after block `layer`;
    logprob_i = sum_t log p(token_t | prompt, tokens before), of exactly the tokens in the response, nats.

    Parameters
    ----------
    model, tokenizer : as in `clinometer.models.loaded`
        A causal language model of transformers (object, name, path, .gguf file) and its tokenizer.
    prompts : sequence of G str or lists of messages
        A str is a message of the user where the tokenizer has a chat template, unless ``chat=False``.
    responses : sequence of G lists, optional
        Given responses, each a str (its end token is put behind it: in a chat the one its template puts there) or
        tokens, taken as they are. Default: n drawn for each prompt from the model itself at temperature 1 over the
        whole vocabulary, with no filter or penalty.
    layers : int or several
        0 the embeddings, k the output of block k; of the last block before the final norm, where the last of
        transformers' `hidden_states` is after it.
    position : "mean_response" | "last" | (a, b)
        Tokens of the response, its end token among them: all, the last, or response[a:b]. A response that has none of
        these has NaN as its row, and a warning counts them (``open_dump(nonfinite="drop")``).
    out : path
        The dump's folder. What an interrupted call left there is gone on with.
    max_new_tokens : int
        Drawn responses are cut there; the column `ended` says which ended by themselves.
    random_state : int
        Each response has random numbers of its own, by this seed, its prompt's id and its number.
    prompt_ids : sequence of G integers or strings, optional
        Default 0 .. G-1.
    policy : "on_policy" | "off_policy", optional
        Who wrote given responses; drawn ones are on-policy.
    dtype : stored dtype of phi, as in `write_dump`. Default: the model's.
    token_budget : int
        Tokens of a batch, prompts and padding included: decides memory, and rounding.
    progress : True or callable(done, total), rows

    Returns
    -------
    Dump : as opened from `out`, of the last of `layers`. Tensors phi_L<layer> (N, d); columns logprob, n_tokens (end
    token counted once), response_id, ended; texts with the response's tokens. N = G n.

    Notes
    -----
    Log-probabilities come from a pass over the finished response, not from the steps that drew it: in bfloat16 these
    differ by tenths of a nat. The same call gives the same bytes on the same machine and versions, killed and called
    again or not; batches decide rounding, and in rare cases through rounding a token. What the model's generation
    config asks for beside (temperature, top_p, penalties) is not applied, is told, and stands in the manifest.

    Errors: before any pass, ValueError or TypeError with the argument's name, ImportError without
    transformers; DumpError where `out` holds something
    else or was begun with other prompts, seed or settings. At the first prompt, ValueError for a model that gives other
    numbers for padded or cached tokens than for a sequence alone.

    Cost: a pass over the prompts, max_new_tokens steps of one token for the rows of a batch that have not ended, and a
    pass over the responses; memory of a batch: keys and values of token_budget tokens, 2^27 logits.

    >>> import clinometer as cm
    >>> dump = cm.capture("HuggingFaceTB/SmolLM2-135M-Instruct", None, ["Name a colour."], n=4, layers=[16, 24],
    ...                   max_new_tokens=24, out="colours")  # doctest: +SKIP
    >>> cm.tilt(dump, ["logprob"], kl=[0.1], values=["n_tokens"])  # doctest: +SKIP
    """
    lm = loaded(model, tokenizer)
    where = as_position(position)
    sites = [int(k) if isinstance(k, np.integer) else k for k in (layers if isinstance(layers, Iterable) else [layers])]
    if not sites or len(set(sites)) < len(sites):
        raise ValueError(f"layers is {layers!r}; distinct numbers of layers are wanted")
    lm.check_layers(sites)
    if isinstance(token_budget, bool) or not isinstance(token_budget, int) or token_budget < 1:
        raise ValueError(f"token_budget is {token_budget!r}; a positive integer is wanted")
    if responses is None and policy not in (None, "on_policy"):
        raise ValueError(f"policy is {policy!r}; responses drawn from the model itself are on-policy")
    request = as_request(
        lm, prompts, responses=responses, prompt_ids=prompt_ids, chat=chat, n=n, longest=max_new_tokens,
        seed=random_state,
    )  # fmt: skip
    sampling = _sampling(lm, request)
    kind = dtype or str(lm.model.dtype).removeprefix("torch.")
    with DumpWriter(
        out, dim=dict.fromkeys(sites, lm.dim), dtype=kind if kind in ROW_TAGS or dtype else "float32",
        source=_source(lm, request, sites, where, chat), sampling=sampling,
        policy="on_policy" if responses is None else policy, columns=_COLUMNS,
    ) as writer:  # fmt: skip
        show = shown(progress, writer.n_rows)
        show(writer.n_rows, request.n_rows)
        for unit in request.units(writer.n_rows, token_budget) if not writer.finished else ():
            phi, ids, columns, texts = rows_of(lm, request, unit, sites, where, token_budget)
            show(writer.append(phi, ids, texts=texts, **columns), request.n_rows)
    dump = open_dump(out, layer=sites[-1])
    _warn(dump, where, sampling)
    return dump


def _source(
    lm: LanguageModel, request: Request, layers: Sequence[int], position: Position, chat: bool | None
) -> dict[str, Any]:
    found = {
        "model": lm.name, "revision": getattr(lm.model.config, "_commit_hash", None),
        "layer": layers[0] if len(layers) == 1 else None, "layer_convention": "0=embeddings",
        "hook": "output of the block, before any final norm", "position": position.name, "drops": ["prompt", "pad"],
        "chat_template_digest": lm.template_digest, "weights_digest": lm.weights_digest,
        "prompts_digest": request.digest(),
        "prompt_format": "chat" if lm.is_chat(chat) else "plain",
    }  # fmt: skip
    return {name: value for name, value in found.items() if value is not None}


def _sampling(lm: LanguageModel, request: Request) -> dict[str, Any]:
    if request.given is not None:
        return {"logprob": "sum"}
    return {
        "temperature": 1.0, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0, "logprob": "sum", "n": request.n,
        "max_new_tokens": request.longest, "random_state": request.seed, "stop_ids": list(lm.stop_ids),
        "generation_config_not_applied": not_applied(lm.model),
    }  # fmt: skip


def _warn(dump: Dump, position: Position, sampling: dict[str, Any]) -> None:
    if left := sampling.get("generation_config_not_applied"):
        tell(
            f"the model's generation config has {left}, which is not applied: responses are the model's own, at "
            "temperature 1 over the whole vocabulary",
            stacklevel=3,
        )
    empty = sum(position.count(int(t)) == 0 for t in dump.columns["n_tokens"])
    if empty:
        tell(f"{empty} responses have no token at {position.name}: their rows are NaN", stacklevel=3)

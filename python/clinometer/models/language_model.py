"""LanguageModel: tokens of prompts and responses, and what one teacher-forced pass says of them."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.common.visible import quote

from .prefix import Prefix, padded, refuse_nan
from .probing import refuse_odd
from .taps import blocks_of, still, tapped

__all__ = ["LanguageModel", "Scored"]

_LOGITS = 1 << 27  # numbers of logits held at once: 512 MiB in float32
_ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}

Tokens = Sequence[int]


@dataclass(frozen=True)
class Scored:
    """What a pass says of one response of T tokens.

    Attributes
    ----------
    index : int
        Which of the given pairs.
    logprobs : (T,) float64
        log p(token | prompt and the tokens before), nats; the softmax taken in float32.
    hidden : mapping {layer: Tensor (T, d)}
        States at the response's tokens, in the model's dtype, on its device.
    """

    index: int
    logprobs: NDArray[np.float64]
    hidden: Mapping[int, Any] = field(default_factory=dict)


class LanguageModel:
    """A causal language model with its tokenizer; made by `loaded`.

    Padding is this class's own affair: batches are padded with a mask and position ids, whatever the tokenizer's side
    or padding token, and only real tokens reach the output layer. Layer 0 is the embeddings, layer k the output of
    block k, the last one before the final norm. The model stays as it is: modes are put back, hooks removed.

    Attributes
    ----------
    model, tokenizer : the objects
    name : str
    template_digest : str or None
        "sha256:..." of the tokenizer's chat template.
    weights_digest : str
        "sha256:..." of some numbers of every parameter, by which another checkpoint of the same name is told.
    n_layers, dim, vocabulary : int
    context : int or None
        Most tokens of prompt and response together; where frequencies of positions change with the longest sequence of
        a batch (longrope), the most without that change.
    stop_ids : tuple of int
        Tokens that end a response: the tokenizer's end and those of the generation config.
    end_id : int or None
        The one that is put behind a given response to plain text: the tokenizer's end.
    turn_end_id : int or None
        The one behind a given response of a chat: the stop token that the chat template puts there, else `end_id`.

    Errors: models that are encoders and decoders, keep a recurrent state or take no position ids are refused with a
    ValueError that says so, and so are, at the first prompt, those that say otherwise of padded and cached tokens than
    of a sequence alone.
    """

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        self.model, self.tokenizer, self.name = model, tokenizer, name
        if why := _unusable(model):
            raise ValueError(f"model {quote(name)} ({type(model).__name__}) {why}")
        # renamed on the way through transformers 5
        self._cache_name = "cache" if "cache" in _arguments(model) else "past_key_values"
        text = model.config.get_text_config()
        self.n_layers, self.dim = int(text.num_hidden_layers), int(text.hidden_size)
        self.vocabulary = int(text.vocab_size)
        self.context = _context(text)
        self.template_digest = _digest(getattr(tokenizer, "chat_template", None))
        self.stop_ids = _stops(model, tokenizer)
        own = getattr(tokenizer, "eos_token_id", None)
        self.end_id = own if own is not None else next(iter(self.stop_ids), None)
        self.turn_end_id = _turn_end(tokenizer, self.stop_ids, self.end_id)
        self._probed = False

    @property
    def weights_digest(self) -> str:
        """Sixteen numbers or so of every parameter that is in memory, hashed with its name and shape."""
        found = hashlib.sha256()
        for name, held in self.model.named_parameters():
            found.update(f"{name} {tuple(held.shape)}".encode())
            if not held.is_meta:
                some = held.detach().flatten()[:: max(1, held.numel() // 16)]
                found.update(some.double().cpu().numpy().tobytes())
        return f"sha256:{found.hexdigest()}"

    @property
    def device(self) -> Any:
        """Where token ids go."""
        return self.model.get_input_embeddings().weight.device

    def prompt_tokens(self, prompt: str | Sequence[Mapping[str, Any]], *, chat: bool | None = None) -> list[int]:
        """Tokens of a prompt, up to where the response begins.

        Parameters
        ----------
        prompt : str, or list of messages {"role", "content"}
            Messages go through the chat template with its generation prompt. A str is one message of the user where
            the tokenizer has a chat template, plain text (with the tokenizer's own first token) where it has none.
        chat : bool, optional
            True or False decides what a str is.
        """
        if isinstance(prompt, str) and not self.is_chat(chat):
            return self._known(_begun(self.tokenizer, _whole(prompt)))
        messages = _checked([{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt)
        if self.template_digest is None:
            raise ValueError(f"prompt has messages, but the tokenizer of {quote(self.name)} has no chat template")
        from jinja2 import TemplateError

        try:
            made = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
        except TemplateError as error:
            raise ValueError(f"prompt is one that the chat template of {quote(self.name)} refuses: {error}") from error
        return self._known(made["input_ids"])

    def is_chat(self, chat: bool | None) -> bool:
        """Whether a str is a message of the user; by default, where there is a chat template."""
        return self.template_digest is not None if chat is None else chat

    def response_tokens(self, text: str, *, end: bool = True, chat: bool | None = None) -> list[int]:
        """Tokens of a response's text, without special ones; with `end`, the end token once behind them.

        `chat` says whether the prompt is a chat, as for `prompt_tokens`: many models end their turn by another token
        than a document. Text that a model wrote may have been other tokens: keep those where there are some.
        """
        tokens = self._known(self.tokenizer(_whole(text), add_special_tokens=False)["input_ids"])
        mark = self.turn_end_id if self.is_chat(chat) else self.end_id
        if end and mark is not None and not (tokens and tokens[-1] in self.stop_ids):
            tokens.append(mark)
        return tokens

    def _known(self, tokens: Iterable[Any]) -> list[int]:
        """The tokens, all of which the model has."""
        found = [int(t) for t in tokens]
        if max(found, default=0) >= self.vocabulary:
            raise ValueError(
                f"the tokenizer is another model's: it gives token {max(found)}, and {quote(self.name)} has "
                f"{self.vocabulary} of them"
            )
        return found

    def response_text(self, tokens: Tokens) -> str:
        """The text of a response without its end token."""
        kept = list(tokens[:-1] if tokens and tokens[-1] in self.stop_ids else tokens)
        text: str = self.tokenizer.decode(kept, skip_special_tokens=False)
        return text

    def forward(
        self, prompts: Sequence[Tokens], responses: Sequence[Tokens], *, layers: Sequence[int] = (),
        token_budget: int = 8192,
    ) -> Iterator[Scored]:  # fmt: skip
        """Log-probabilities of every token of every response, and states there, pair by pair in order.

        Parameters
        ----------
        prompts, responses : sequences of P token lists
            Pairs; a prompt has at least one token, a response may be empty. Equal prompts of a batch are read once.
        layers : sequence of int, 0 to n_layers
        token_budget : int
            Tokens of a batch with padding, and so its memory; a single pair may be longer.

        Yields
        ------
        Scored, one a pair. Cost: one pass over the prompts and one over the responses; memory of a batch's keys and
        values, and of at most 2^27 logits or one response's. Results depend on the batch by rounding only.
        """
        if len(prompts) != len(responses):
            raise ValueError(f"responses has {len(responses)} entries; {len(prompts)} are wanted, one per prompt")
        self.check_layers(layers)
        for batch in self.batches(prompts, responses, token_budget):
            distinct: dict[tuple[int, ...], int] = {}
            rows = [distinct.setdefault(tuple(prompts[i]), len(distinct)) for i in batch]
            prefix = self.prefix(list(distinct))
            if rows != list(range(len(distinct))):
                prefix = prefix.take(rows)
            for i, (logprobs, hidden) in zip(
                batch, self.score(prefix, [responses[i] for i in batch], layers), strict=True
            ):
                yield Scored(i, logprobs, hidden)

    def check_layers(self, layers: Sequence[int]) -> None:
        """ValueError for a layer that there is not, or where layers cannot be numbered."""
        for layer in layers:
            if type(layer) is not int or not 0 <= layer <= self.n_layers:
                raise ValueError(f"layers holds {layer!r}; 0 (embeddings) to {self.n_layers} (last block) are wanted")
        if layers:
            blocks_of(self.model)

    def check_length(self, n_tokens: int, what: str) -> None:
        """ValueError where prompt and response are longer together than the model reads."""
        if self.context is not None and n_tokens > self.context:
            raise ValueError(f"{what} has {n_tokens} tokens; the context of {quote(self.name)} is {self.context}")

    def batches(self, prompts: Sequence[Tokens], responses: Sequence[Tokens], budget: int) -> Iterator[list[int]]:
        """Consecutive pairs within the budget of tokens and of logits."""
        batch: list[int] = []
        widest = [0, 0]
        total = 0
        for i, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
            self.check_length(len(prompt) + len(response), f"pair {i}")
            wide = [max(widest[0], len(prompt)), max(widest[1], len(response))]
            logits = (total + len(response)) * self.vocabulary
            if batch and ((len(batch) + 1) * sum(wide) > budget or logits > _LOGITS):
                yield batch
                batch, wide, total = [], [len(prompt), len(response)], 0
            batch.append(i)
            widest, total = wide, total + len(response)
        if batch:
            yield batch

    def prefix(self, prompts: Sequence[Tokens]) -> Prefix:
        """Read prompts side by side: the cache to score and sample responses from."""
        if not all(len(p) for p in prompts):
            raise ValueError("prompts holds one without tokens; at least one is wanted, such as the first-token mark")
        if not self._probed:
            refuse_odd(self, self._read)
            self._probed = True
        return self._read(prompts)

    def _read(self, prompts: Sequence[Tokens]) -> Prefix:
        import torch
        from transformers import DynamicCache

        ids, mask = padded(prompts, self.device, left=True)
        last = torch.arange(len(ids)), torch.full((len(ids),), ids.shape[1] - 1)
        # without the configuration the cache keeps all positions of sliding layers too, so that rows can be taken
        prefix = Prefix(DynamicCache(), mask[:, :0], None)
        prefix.logits, _ = self.extend(prefix, ids, mask, last)
        if prefix.cache.get_seq_length() != ids.shape[1]:
            raise ValueError(
                f"model {quote(self.name)} ({type(self.model).__name__}) keeps no keys and values in the cache; a "
                "causal language model that does is wanted"
            )
        return prefix

    def extend(
        self, prefix: Prefix, ids: Any, mask: Any, logits_at: tuple[Any, Any], layers: Sequence[int] = (),
        states_at: tuple[Any, Any] | None = None,
    ) -> tuple[Any, dict[int, Any]]:  # fmt: skip
        """One pass over further tokens (B, S): logits (M, V) and states at places (rows, columns) of them."""
        prefix.mask = whole = _joined(prefix.mask, mask)
        positions = (whole.cumsum(-1) - 1).clamp_min(0)[:, -ids.shape[1] :]
        with still(self.model), tapped(self.model, layers, states_at or logits_at, logits_at) as states:
            there = {"attention_mask": whole, "position_ids": positions, self._cache_name: prefix.cache}
            made = self.model(input_ids=ids, use_cache=True, **there)
        if made.logits.shape[:2] != (1, len(logits_at[0])):
            raise ValueError(f"model {type(self.model).__name__} does not end in its output layer; it cannot be used")
        return made.logits[0], states

    def score(
        self, prefix: Prefix, responses: Sequence[Tokens], layers: Sequence[int] = ()
    ) -> list[tuple[NDArray[np.float64], dict[int, Any]]]:
        """Log-probabilities and states of one response to each sequence of `prefix`, which is used up."""
        import torch

        lengths = [len(r) for r in responses]
        # one column at least, so that a batch of empty responses has states of width d
        ids, mask = padded([r if len(r) else [0] for r in responses], self.device, left=False)
        real = torch.arange(ids.shape[1])[None] < torch.tensor(lengths)[:, None]
        at = real.nonzero(as_tuple=True)
        inner = real[:, 1:].nonzero(as_tuple=True)  # all but the last token predict one
        first = torch.tensor([i for i, n in enumerate(lengths) if n], dtype=torch.long)
        before = prefix.logits
        logits, states = self.extend(prefix, ids, mask, inner, layers, at)
        found = torch.zeros(ids.shape, dtype=torch.float64)
        targets = ids.cpu()
        found[first, 0] = _logprobs(before[first.to(before.device)], targets[first, 0])
        found[inner[0], inner[1] + 1] = _logprobs(logits, targets[inner[0], inner[1] + 1])
        parts = {layer: s.split(lengths) for layer, s in states.items()}
        return [(found[i, :n].numpy(), {k: parts[k][i] for k in layers}) for i, n in enumerate(lengths)]


def _joined(mask: Any, more: Any) -> Any:
    import torch

    return torch.cat([mask, more], dim=1)


def _logprobs(logits: Any, targets: Any) -> Any:
    """log softmax in float32 at the targets (M,), a few rows at a time."""
    import torch

    step = max(1, (_LOGITS >> 5) // max(logits.shape[-1], 1))
    out = []
    for part, at in zip(logits.split(step), targets.to(logits.device).split(step), strict=True):
        values = part.float()
        out.append(values.gather(1, at[:, None])[:, 0] - values.logsumexp(-1))
    found = torch.cat(out).double().cpu()
    refuse_nan(found)
    return found


def _whole(text: str) -> str:
    """The text, unless it holds halves of characters, which no tokenizer reads."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"text has half a character (a lone surrogate) at {error.start}") from None
    return text


def _checked(messages: Any) -> list[Mapping[str, Any]]:
    """A conversation that ends with a message to answer."""
    given = [] if isinstance(messages, Mapping) or not isinstance(messages, Iterable) else list(messages)
    if not given or not all(isinstance(m, Mapping) and "role" in m for m in given):
        raise TypeError(
            f"prompt is {messages!r:.80}; a str or a list of messages {{'role': ..., 'content': ...}} is wanted"
        )
    if given[-1]["role"] == "assistant":
        raise ValueError("prompt ends with a message of the assistant; one of somebody else is wanted last")
    if not isinstance(given[-1].get("content"), (str, list)):
        raise TypeError(f"prompt ends with {given[-1]!r:.80}; a message with a content is wanted last")
    for message in given:
        _whole(str(message.get("content")))
    return given


def _unusable(model: Any) -> str:
    """Why a model cannot be used, or nothing."""
    config = model.config.get_text_config()
    if getattr(model.config, "is_encoder_decoder", False):
        return "is an encoder with a decoder; a causal language model is wanted"
    if model.get_output_embeddings() is None:
        return "has no output layer; a model with a language modelling head is wanted"
    kinds = set(getattr(config, "layer_types", None) or ()) - _ATTENTION
    if getattr(model, "_is_stateful", False) or kinds:
        return "keeps a recurrent state, which cannot be shared between responses; a transformer is wanted"
    if "position_ids" not in _arguments(model):
        return "takes no position_ids, without which padded batches are wrong"
    return ""


def _arguments(model: Any) -> Any:
    """Names of what the forward pass takes; an adapter's is the one of the model inside."""
    base = model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model
    return inspect.signature(base.forward).parameters


def _context(text: Any) -> int | None:
    """Most tokens, of longrope those of the short factors: beyond, a long row changes all that share its batch."""
    longest: int | None = getattr(text, "max_position_embeddings", None)
    rope = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    if "longrope" in (rope.get("rope_type"), rope.get("type")):
        own = getattr(text, "original_max_position_embeddings", None)
        return int(rope.get("original_max_position_embeddings") or own or longest or 0) or None
    return longest


def _begun(tokenizer: Any, text: str) -> list[int]:
    """Tokens of text to go on with: the tokenizer's first mark stays, the end that some put behind every text goes."""
    whole = list(tokenizer(text)["input_ids"])
    ends = {getattr(tokenizer, name, None) for name in ("eos_token_id", "sep_token_id")} - {None}
    if len(whole) < 2 or whole[-1] not in ends:
        return whole
    said = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    return whole if said[-1:] == whole[-1:] else whole[:-1]


def _turn_end(tokenizer: Any, stops: tuple[int, ...], otherwise: int | None) -> int | None:
    """The stop token that the chat template puts behind a reply."""
    if getattr(tokenizer, "chat_template", None) is None:
        return otherwise
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "reply"}]
    try:
        shown = tokenizer.apply_chat_template(said, tokenize=False)
        _, found, rest = shown.rpartition("reply")
        behind = tokenizer(rest.strip(), add_special_tokens=False)["input_ids"] if found else []
    except Exception:  # a template is a program of its own, which may refuse such a conversation
        return otherwise
    return int(behind[0]) if behind and behind[0] in stops else otherwise


def _digest(template: Any) -> str | None:
    if template is None:
        return None
    text = template if isinstance(template, str) else json.dumps(template, sort_keys=True)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _stops(model: Any, tokenizer: Any) -> tuple[int, ...]:
    config = getattr(model, "generation_config", None)
    found = [getattr(tokenizer, "eos_token_id", None), getattr(config, "eos_token_id", None)]
    flat = [t for x in found for t in (x if isinstance(x, (list, tuple)) else [x]) if t is not None]
    return tuple(sorted({int(t) for t in flat}))

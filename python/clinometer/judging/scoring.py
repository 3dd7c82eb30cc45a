"""judge: scores and pairs of a dump's responses under constitutions, by a language model."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.common.notices import tell
from clinometer.common.visible import quote
from clinometer.dump import Dump, open_dump
from clinometer.errors import DumpError
from clinometer.models import LanguageModel, loaded

from .asking import KINDS, Settings
from .constitutions import Constitution, as_constitutions
from .judgment import Judgment, assessed
from .writing import Work, in_folder, in_memory

__all__ = ["judge", "open_texts"]

Floats = NDArray[np.float64]


def judge(
    model: Any, tokenizer: Any, dump: Any, constitutions: Any, *, kind: str = "contrast", out: Any = None,
    texts: Any = None, gold: Any = None, levels: tuple[int, int] = (1, 5), per_token: bool = False,
    pairs_per_prompt: int | None = None, tie: float = 0.0, random_state: int = 0, token_budget: int = 8192,
    progress: bool | Callable[[int, int], None] | None = None,
) -> Judgment:  # fmt: skip
    """Score a dump's responses under constitutions by a language model, the one that wrote them or another.

    - "contrast": log p(y | x, persona) - log p(y | x, opposite), nats, of the response's tokens without an end token.
      It reads the model's taste instead of asking for it, which works where a small model answers A to everything.
    - "pairwise": log-odds of the letters A and B for two replies, in both orders. Half the difference of the two is
      free of a constant pull of the first place, which is reported; scores are those whose differences fit best.
    - "pointwise": the expected rating, sum r p(r) / sum p(r) over the numbers of the scale.

    Parameters
    ----------
    model, tokenizer : as in `clinometer.models.loaded`; a name is loaded in float32, since differences of bfloat16
        log-probabilities are quantised
    dump : Dump or path, with texts; of a path with several layers, .dump is of the last
    constitutions : mapping of name to a text, to (persona, opposite), or to {"persona", "opposite"}; or a JSON file of
        one. Contrast without an opposite is against the bare prompt, which is weaker; the other kinds ask by `text`
    kind : "contrast" | "pairwise" | "pointwise"
    out : folder of a new dump with the rows, columns judge/NAME float32, n_tokens where there was none, and the pairs;
        a run that was stopped goes on where it was. None: in memory
    texts : sequence (N,) of {"prompt": str, "response": str}, with "messages" for a prompt that is several; default the
        dump's own
    gold : column, or labels (N,), whose order inside prompts the scores are compared with; NaN: none
    levels : ends of the scale, whole numbers
    per_token : contrast as a mean over tokens instead of the sum
    pairs_per_prompt : None is a random cycle: n pairs of n responses (1 of 2), each response in two
    tie : |prob - 1/2| up to which a pair counts as undecided; its prob is then 1/2
    random_state : of which pairs, and which of the two is first
    token_budget : tokens read at once; memory is their keys and values
    progress : True or callable(done, total), rows

    Returns
    -------
    Judgment
        .scores (N, K), .pairs with .prob, .position_bias with its error, agreements, .warnings (also given as
        warnings), and .dump. Pairs of contrast have prob = sigmoid(score difference), of pointwise the probability
        that independent ratings are in that order, ties half, and of pairwise sigmoid of the debiased log-odds.

    Cost: a prompt's tokens are read once for all constitutions, each constitution's once a prompt, and each response's
    once a constitution (twice: persona and opposite). Pairwise and pointwise read two and one replies a question.

    Errors: ValueError for a dump without texts, an unknown kind, a prompt longer than the model's context, and
    names with their row; TypeError for constitutions of another form; ImportError names the extra ``torch``.

    >>> import clinometer as cm
    >>> cm.judge("model", None, cm.simulate(2, 2, 2), {"kind": "Be kind."}, kind="guess")
    Traceback (most recent call last):
    ValueError: kind is 'guess'; one of contrast, pairwise, pointwise is wanted
    """
    held, levels = _checked(constitutions, kind, levels, pairs_per_prompt, tie)
    opened = open_texts(dump)
    replies = _checked_texts(opened, texts)
    labels = _gold(opened, gold)
    lm = _loaded(model, tokenizer)
    settings = Settings(lm, held, kind, levels, per_token, pairs_per_prompt, tie, int(random_state), int(token_budget))
    if kind == "contrast" and any(c.opposite is None for c in held):
        bare = ", ".join(quote(c.name) for c in held if c.opposite is None)
        tell(
            f"constitutions {bare} have no opposite: contrast is against the bare prompt, which is weaker", stacklevel=2
        )
    work = Work(settings, replies, progress)
    written = in_memory(opened, work) if out is None else in_folder(opened, work, out)
    made = _assessed(written, settings, labels)
    for warning in made.warnings:
        tell(str(warning), stacklevel=2)
    return made


def _checked(
    constitutions: Any, kind: str, levels: Any, pairs_per_prompt: Any, tie: float
) -> tuple[tuple[Constitution, ...], tuple[int, int]]:
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; one of {', '.join(KINDS)} is wanted")
    if len(levels) != 2 or not all(isinstance(x, int) and x >= 0 for x in levels) or not levels[0] < levels[1] <= 100:
        raise ValueError(f"levels is {levels!r}; two whole numbers, the smaller first, of 0 to 100 are wanted")
    if pairs_per_prompt is not None and (not isinstance(pairs_per_prompt, int) or pairs_per_prompt < 1):
        raise ValueError(f"pairs_per_prompt is {pairs_per_prompt!r}; a whole number >= 1 or None is wanted")
    if not 0 <= tie < 0.5:
        raise ValueError(f"tie is {tie!r}; a number in [0, 1/2) is wanted")
    return as_constitutions(constitutions), (levels[0], levels[1])


def _loaded(model: Any, tokenizer: Any) -> LanguageModel:
    named = isinstance(model, (str, os.PathLike))
    lm = loaded(model, tokenizer, dtype="float32") if named else loaded(model, tokenizer)
    if str(lm.model.dtype) in ("torch.bfloat16", "torch.float16"):
        kind = str(lm.model.dtype).removeprefix("torch.")
        tell(
            f"model is in {kind}, whose differences of log-probabilities are quantised; judge in float32", stacklevel=3
        )
    return lm


def open_texts(dump: Any, **options: Any) -> Dump:
    """A dump whose texts are judged: of several layers any will do."""
    try:
        return open_dump(dump, **options)
    except DumpError as error:
        if not error.candidates:
            raise
        return open_dump(dump, **{**options, "tensor": error.candidates[-1]})


def _checked_texts(dump: Dump, texts: Any) -> Any:
    """Prompt and response of every row."""
    held = dump.texts if texts is None else texts
    if held is None:
        raise ValueError(f"{dump.name} has no texts; texts= takes a prompt and a response for each of its rows")
    if len(held) != dump.n_rows:
        raise ValueError(f"texts has {len(held)} entries; {dump.n_rows} are wanted, one per row of the dump")
    for row, entry in enumerate(held):
        asked = isinstance(entry, Mapping) and (entry.get("messages") or entry.get("prompt"))
        if not asked or not isinstance(entry.get("response"), str):
            raise TypeError(f"texts[{row}] is {entry!r:.80}; a mapping with a prompt and a response is wanted")
    return held


def _gold(dump: Dump, gold: Any) -> Floats | None:
    if gold is None:
        return None
    labels = np.asarray(dump.column(gold) if isinstance(gold, str) else gold, np.float64)
    if labels.shape != (dump.n_rows,):
        raise ValueError(f"gold has shape {labels.shape}; ({dump.n_rows},) is wanted, a label or NaN per row")
    return labels


def _assessed(dump: Dump, s: Settings, gold: Floats | None) -> Judgment:
    names = [c.name for c in s.held]
    scores = np.stack([np.asarray(dump.columns[f"judge/{n}"], np.float64) for n in names], axis=1)
    pairs = dump.pairs or {}
    ends = np.stack([pairs["chosen"], pairs["rejected"]], axis=1) if pairs else None
    ids = np.zeros(dump.n_rows) if dump.prompt_ids is None else dump.prompt_ids
    return assessed(
        names, s.kind, scores, ids, n_tokens=dump.column("n_tokens"), pairs=ends, prob=pairs.get("prob"),
        order_logits=pairs.get("order_logits"), gold=gold, levels=s.levels, tie=s.tie, dump=dump,
    )  # fmt: skip

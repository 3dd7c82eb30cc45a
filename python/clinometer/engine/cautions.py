"""Warnings about rows and directions, given before numbers are read as findings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clinometer.common.notices import tell
from clinometer.common.visible import few, quote

if TYPE_CHECKING:
    from .inputs import Call


def warn_of_stillness(call: Call) -> None:
    """Warn of directions that are zero, and of prompts whose one response is all there is to choose from."""
    p = call.population
    if call.directions is not None:
        moved = np.asarray(call.directions.reshape(-1, call.n_folds, call.dump.dim).any(axis=(1, 2)))
        flat = np.append(~moved, np.full(call.n_scores - len(moved), False))
        flat = flat if call.order is None else flat[call.order]
        if flat.any():
            names = few([n for n, still in zip(call.names, flat, strict=True) if still], 20)
            tell(f"directions {names} are zero: so are their scores, and their tilt changes nothing", stacklevel=3)
    single = int((p.sizes == 1).sum())
    if single and call.within and p.base != "logprob":
        tell(
            f"{single} of {p.n_prompts} prompts have one response: no tilt changes them, yet they count "
            "in every mean; prompt_weights of 0 leave them out",
            stacklevel=3,
        )


def warn_of_twins(call: Call) -> None:
    """Warn of rows that seem to be there twice, or of prompts of several files that bear one id.

    Rows in order of prompt and response cost a look, others a sort.
    """
    dump, ids = call.dump, call.ids
    if ids is None or not dump.n_rows:
        return
    begin = np.append(True, ids[1:] != ids[:-1])
    begins = np.flatnonzero(begin)
    prompts, prompt = np.unique(ids[begins], return_inverse=True)
    tell_of_spaces(prompts)
    again = len(prompt) - int(prompt.max()) - 1
    if "response_id" in dump.columns:
        responses = np.asarray(dump.columns["response_id"])
        in_order = not again and (begin[1:] | (responses[1:] > responses[:-1])).all()
        rows = None if in_order else _first_twins(ids, responses)
    else:
        rows = None
    if rows:
        a, b, n = rows
        tell(
            f"{n} rows have the prompt_id and response_id of another row, first {a} and {b}, both of prompt "
            f"{quote(ids[a])}: rows are there twice, or ids of other prompts start again",
            stacklevel=4,
        )
        return
    if not again or len(dump.segments) < 2 or dump.n_rows < 2 * len(begins):
        return
    file = np.searchsorted([s.row_start for s in dump.segments], begins, side="right")
    if len(np.unique(np.stack([file, prompt]), axis=1).T) == len(prompt):
        second = int(begins[np.setdiff1d(np.arange(len(prompt)), np.unique(prompt, return_index=True)[1])[0]])
        tell(
            f"{again} prompt ids of one file start again in another, first {quote(ids[second])} at row {second}: their "
            "rows are taken as responses to one prompt; if they are other prompts, number them on",
            stacklevel=4,
        )


def tell_of_spaces(prompts: Iterable[Any]) -> None:
    """Warn of prompts whose ids differ in spaces at their ends alone, as those of a padded column and a plain one."""
    seen: dict[str, str] = {}
    if isinstance(prompts, np.ndarray) and (
        prompts.dtype.kind not in "UT" or (np.char.strip(prompts) == prompts).all()
    ):
        return
    for one in prompts:
        if isinstance(one, str) and (other := seen.setdefault(one.strip(), one)) != one:
            tell(
                f"prompt_ids: {quote(other)} and {quote(one)} are two prompts, whose ids differ in spaces at their "
                "ends; .strip() of each makes them one",
                stacklevel=5,
            )
            return


def _first_twins(ids: NDArray[Any], responses: NDArray[Any]) -> tuple[int, int, int] | None:
    """Two rows of one prompt and response, and how many have such a row before them."""
    codes, responses = (np.unique(x, return_inverse=True)[1] for x in (ids, responses))
    order = np.lexsort((responses, codes))
    same = (np.diff(codes[order]) == 0) & (np.diff(responses[order]) == 0)
    if not same.any():
        return None
    a, b = np.sort(order[np.flatnonzero(same)[0] :][:2])
    return int(a), int(b), int(same.sum())

"""Gains of subgroups of the prompts under the policy of all: a mean may rise while a topic or a language loses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer.common.results import Axes, Result
from clinometer.common.visible import visible
from clinometer.engine.inputs import Call
from clinometer.engine.intake import by_prompt
from clinometer.engine.population import rows_of, take

from .gold import corrected
from .policy import PolicyGains, policy_gains

Floats = NDArray[np.float64]
MOST = 200  # subgroups of one column: more are names, not groups


@dataclass(frozen=True, repr=False, eq=False)
class GroupGains(Result):
    """Gains (K, B, J) of every subgroup of one per-prompt column, at the betas of all prompts.

    Attributes
    ----------
    gain, gain_se : (M, K, B, J) NaN where a subgroup is too small for an estimate
    interval : (M, K, B, J, 2) 95 % bounds of each number by itself
    paid : (M, K, B, J, 2) bounds that hold together for all subgroups and values asked for of one constitution and KL
    n_prompts : (M,) of each subgroup

    column, groups : the column, and its M labels
    """

    axes: ClassVar[Axes] = {
        "group direction kl value": "gain gain_se",
        "group direction kl value bound": "interval paid",
        "group": "n_prompts",
        "direction kl": "kl",
    }

    column: str
    groups: tuple[str, ...]
    kl: Floats
    gain: Floats
    gain_se: Floats
    interval: Floats
    paid: Floats
    n_prompts: NDArray[np.int64]
    directions: tuple[str, ...]
    values: tuple[str, ...]


def group_columns(call: Call, given: Any) -> dict[str, NDArray[Any]]:
    """Labels of the prompts, by column: names of columns that are constant in each prompt, or entries by name."""
    if given is None:
        return {}
    if isinstance(given, str):
        given = [given]
    if isinstance(given, Mapping):
        made = {str(name): x for name, x in given.items()}
    elif isinstance(given, Sequence) and all(isinstance(x, str) for x in given):
        made = {name: np.asarray(call.dump.column(name)) for name in given}
    else:
        raise TypeError(f"groups is {type(given).__name__}; wanted column names, or a mapping of name to labels")
    return {name: _of_prompts(call, name, x) for name, x in made.items()}


def _of_prompts(call: Call, name: str, labels: Any) -> NDArray[Any]:
    p, ids = call.population, np.zeros(call.dump.n_rows, np.int64) if call.ids is None else call.ids
    assert p.every is not None
    return np.asarray(by_prompt(f"groups: {visible(name)}", labels, p.every, ids, text=True)[p.place])


def group_gains(
    call: Call, kept: Floats, of_all: PolicyGains, name: str, labels: NDArray[Any], n_asked: int,
    gold: Floats | None = None,
) -> GroupGains:  # fmt: skip
    """Of one column; `n_asked` values share the bounds that are paid for. Cost: as of the gains of all prompts.

    With `gold` labels by row every subgroup is corrected by its own; one without any has no gains of these values.
    """
    found, code = np.unique(labels, return_inverse=True)
    if len(found) > MOST:
        raise ValueError(f"groups: {visible(name)} has {len(found)} labels, wanted at most {MOST}")
    parts = [_part(call, kept, of_all, np.flatnonzero(code == m), n_asked, gold) for m in range(len(found))]
    level = 0.95 ** (1 / max(len(found) * n_asked, 1))
    gain, se, interval = (np.stack([getattr(x, field) for x in parts]) for field in ("gain", "gain_se", "interval"))
    return GroupGains(
        name, tuple(map(str, found)), of_all.kl, gain, se, interval, np.stack([x.bounds(level) for x in parts]),
        np.bincount(code), call.names, call.value_names,
    )  # fmt: skip


def _part(
    call: Call, kept: Floats, of_all: PolicyGains, prompts: NDArray[np.int64], n_asked: int, gold: Floats | None
) -> PolicyGains:
    rows = np.ascontiguousarray(kept[rows_of(call.population, prompts)])
    small = replace(call, population=_weights_of(call, prompts), progress=None)
    if gold is not None:
        return corrected(small, rows, gold, None, of_all.betas, n_asked).policy
    return policy_gains(small, rows, None, of_all.betas)


def _weights_of(call: Call, prompts: NDArray[np.int64]) -> Any:
    """The population of some prompts, with the weights of their rows."""
    p = call.population
    part, rows = take(p, prompts), rows_of(p, prompts)
    return replace(
        part, weight=None if p.weight is None else p.weight[rows], draws=None if p.draws is None else p.draws[rows],
        unbias=None if p.unbias is None else p.unbias[prompts],
    )  # fmt: skip

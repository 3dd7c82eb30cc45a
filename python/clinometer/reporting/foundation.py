"""What every section of a report rests on, taken once: one read for the scores, one tilt, gains by prompt."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer import _core
from clinometer.common.results import TiltResult
from clinometer.dump import Dump
from clinometer.engine import kl as roots
from clinometer.engine.checks import need_moderate_scores
from clinometer.engine.inputs import Call, prepare
from clinometer.engine.passes import adjusted, covariance_of, kept_with_spread, origin_table, tilt_of
from clinometer.engine.weights import spread_within, within_sd
from clinometer.inference.gold import GoldCorrection, corrected, corrected_tilt, gold_labels
from clinometer.inference.groups import GroupGains, group_columns, group_gains
from clinometer.inference.policy import PolicyGains, gains_and_horizon, pooled_gains
from clinometer.inference.simpler import difference_state, mean_differences

Floats = NDArray[np.float64]


@dataclass
class Scene:
    """K constitutions at B levels on J values, the first `n_requested` of them asked for.

    `kept` (N, K) are scores in canonical order, relative to `origins` as every pass keeps them, and `spread` (K,) their
    variances within prompts; `variances` (d,) those of the rows and `differences` (F, J, d) mean differences of the
    values without each of F folds, where a section wants them; `notes` are what sections say when they cannot be had.
    """

    call: Call
    judges: list[Any]
    levels: Floats
    n_requested: int
    length: str | None
    options: dict[str, Any]
    kept: Floats
    origins: Floats
    variances: Floats | None
    differences: Floats | None
    spread: Floats
    tilt: TiltResult
    net_of_length: bool
    gold_given: Any = None
    notes: list[str] = field(default_factory=list)

    @property
    def dump(self) -> Dump:
        return self.call.dump

    @property
    def values(self) -> tuple[str, ...]:
        """Names of all values shown."""
        return self.call.value_names

    @property
    def quiet(self) -> dict[str, Any]:
        """The pass options of further passes, inside prompts and without a progress bar."""
        return {**self.options, "progress": None, "within": True}

    @cached_property
    def sd(self) -> Floats:
        """Within-prompt sd of each value."""
        return within_sd(self.call)

    @cached_property
    def scale(self) -> Floats:
        """The sd of values that vote when a cell is chosen: those asked for that vary; NaN for the others."""
        asked = np.arange(len(self.sd)) < self.n_requested
        return np.where(asked & (self.sd > 0), self.sd, np.nan)

    @cached_property
    def _found(self) -> tuple[PolicyGains, Floats]:
        """Gains and horizons of the constitutions, and behind them of their scores net of length: one solve for all."""
        kept, call, start = self.kept, self.call, self.tilt.betas
        if self._net_kept is not None:
            kept = np.append(kept, self._net_kept, axis=1)
            call, start = replace(call, names=2 * call.names), np.append(start, np.full_like(start, np.nan), axis=0)
        return gains_and_horizon(call, kept, self.levels, start, len(self.call.names))

    @cached_property
    def policy(self) -> PolicyGains:
        """Gains of the policy behind the rows, which every claim of the report rests on."""
        if not self.call.within:
            return pooled_gains(self.tilt, self.call.population, self.levels)
        return self._found[0].part(slice(len(self.call.names))) if self.gold is None else self.gold.policy

    @cached_property
    def gold(self) -> GoldCorrection | None:
        """What gold labels make of the gains; None without any."""
        if self.labels is None:
            return None
        made = corrected(self.call, self.kept, self.labels, self.levels, self.tilt.betas, self.n_requested)
        return replace(made, gain_rows_values=self.tilt.gain)

    @cached_property
    def labels(self) -> Floats | None:
        """Gold labels by row, or None."""
        if self.gold_given is None:
            return None
        if not self.call.within:
            raise ValueError("gold: within=False has no gains of prompts that gold labels could correct")
        return gold_labels(self.call, self.gold_given, self.n_requested)

    @cached_property
    def shown_tilt(self) -> TiltResult:
        """The tilt of the rows, corrected by gold labels where there are any."""
        if self.labels is None or self.gold is None:
            return self.tilt
        return corrected_tilt(self.call, self.kept, self.tilt, self.labels, self.gold.power, self.n_requested)

    def groups(self, given: Any) -> tuple[GroupGains, ...]:
        """Gains of subgroups, a result for each column."""
        if given is None:
            return ()
        if not self.call.within:
            raise ValueError("groups: within=False has one normaliser for all prompts, and no gains of some of them")
        columns = group_columns(self.call, given)
        return tuple(
            group_gains(self.call, self.kept, self.policy, name, labels, self.n_requested, self.labels)
            for name, labels in columns.items()
        )

    @property
    def horizon(self) -> Floats:
        """Largest KL at which the rows give an estimate, (K,); NaN where no horizon applies."""
        K = len(self.call.names)
        return self._found[1] if self.call.within else np.full(K, np.nan)

    @cached_property
    def _net_kept(self) -> Floats | None:
        """Scores with length partialled out; None without a finite length that varies, or where it is not looked at."""
        if self.length is None or not self.net_of_length:
            return None
        length = self.dump.column(self.length).astype(np.float64)
        if not np.isfinite(length).all() or not spread_within(length, self.call.population) > 0:
            return None
        return adjusted(self.call, self.kept, self.length)

    def net(self) -> PolicyGains | None:
        """Gains with length partialled out of the scores; None without a finite length."""
        if self._net_kept is None:
            return None
        if self.labels is not None:
            call = replace(self.call, progress=None)
            return corrected(call, self._net_kept, self.labels, self.levels, None, self.n_requested).policy
        if self.call.within:
            return self._found[0].part(slice(len(self.call.names), None))
        call = replace(self.call, progress=None)
        found = tilt_of(call, self._net_kept, kl=self.levels, pareto_k=False, roots_in_kl=False, origins=self.origins)
        return pooled_gains(found, call.population, self.levels)

    def correlation(self) -> Floats:
        """Correlation of score and value inside prompts, (K, J)."""
        ddof = 0 if self.call.population.base == "logprob" else 1
        return covariance_of(replace(self.call, progress=None), self.kept, ddof).correlation


def gather(
    dump: Dump, judges: list[Any], shown: tuple[str, ...], n_requested: int, levels: Floats, length: str | None,
    options: dict[str, Any], *, variances: bool, folds: int, net: bool, gold: Any = None,
) -> Scene:  # fmt: skip
    """Read the dump once and tilt; mean differences of the values are looked for without each of `folds` folds."""
    call = prepare(dump, judges, list(shown), **options)
    need_moderate_scores(call)
    if not call.population.n_rows:
        raise ValueError(f"{dump.name} has no rows to pass over ({call.population.n_dropped} prompts dropped)")
    states = [_core.Moments(dump.dim, 0, 1, 0, False)] if variances else []
    if folds:
        states.append(difference_state(call, folds))
    origins = origin_table(call)
    kept, spread, done = kept_with_spread(replace(call, values=None) if states else call, states, origins)
    by_column, differences = None, mean_differences(done.pop(), call.n_values) if folds else None
    if done:
        moments = done[0].finish()
        by_column = moments["scatter"][0, : dump.dim, 0] / moments["mass"][0]
    spread = roots.spread(call, kept) if spread is None else spread
    found = tilt_of(call, kept, kl=levels, origins=origins, spread=spread)
    return Scene(
        call,
        judges,
        levels,
        n_requested,
        length,
        options,
        kept,
        origins,
        by_column,
        differences,
        spread["variance"],
        found,
        net,
        gold,
    )

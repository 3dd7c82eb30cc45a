"""What every section of a report rests on, taken once: one read for the scores, one tilt, gains by prompt."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..directions import Scores
from ..dump import Dump
from ..inference.table import GainTable, Split, gain_table
from ..inputs import Call, prepare
from ..passes import adjusted, covariance_of, in_range, kept_beside, origin_table, tilt_of
from ..results import TiltResult
from .summary import within_sd

__all__ = ["Scene", "gather"]

Floats = NDArray[np.float64]
SPLITS = 200


@dataclass
class Scene:
    """K constitutions at B levels on J values, the first `n_requested` of them asked for.

    `kept` (N, K) are scores in canonical order, relative to `origins` as every pass keeps them; `variances` (d,) within
    prompts where a section wants them; `notes` are what sections say when they cannot be had.
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
    tilt: TiltResult
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
    def table(self) -> GainTable:
        """Gains prompt by prompt."""
        scaled, exponent = in_range(self.kept)
        with np.errstate(over="ignore", under="ignore"):
            return gain_table(self.call, scaled, np.ldexp(self.tilt.betas, -exponent[:, None]))

    @cached_property
    def split(self) -> Split:
        """Random halves of the prompts."""
        return Split.of(self.table, SPLITS, 0)

    def scores(self, ks: Any = slice(None)) -> Scores:
        """Constitutions `ks` as scores of the dump's rows: passes over them read nothing."""
        table = np.full((self.dump.n_rows, self.kept.shape[1]), np.nan)
        table[self.call.population.rows] = self.kept
        names = tuple(np.array(self.call.names, object)[ks])
        return Scores(table[:, ks], names=names)

    def net(self) -> TiltResult | None:
        """Gains with length partialled out of the scores; None without a finite length."""
        if self.length is None or not np.isfinite(self.dump.column(self.length).astype(np.float64)).all():
            return None
        try:
            kept = adjusted(self.call, self.kept, self.length)
        except ValueError:  # a length that does not vary
            return None
        call = replace(self.call, progress=None)
        return tilt_of(call, kept, kl=self.levels, pareto_k=False, roots_in_kl=False, origins=self.origins)

    def correlation(self) -> Floats:
        """Correlation of score and value inside prompts, (K, J)."""
        ddof = 0 if self.call.population.base == "logprob" else 1
        return covariance_of(replace(self.call, progress=None), self.kept, ddof).correlation


def gather(
    dump: Dump, judges: list[Any], shown: tuple[str, ...], n_requested: int, levels: Floats, length: str | None,
    options: dict[str, Any], *, variances: bool,
) -> Scene:  # fmt: skip
    """Read the dump once and tilt."""
    call = prepare(dump, judges, list(shown), **options)
    if not call.population.n_rows:
        raise ValueError(f"{dump.name} has no rows to pass over ({call.population.n_dropped} prompts dropped)")
    states = [_core.Moments(dump.dim, 0, 1, 0, False)] if variances else []
    origins = origin_table(call)
    kept, done = kept_beside(replace(call, values=None) if states else call, states, origins)
    spread = None
    if done:
        moments = done[0].finish()
        spread = moments["scatter"][0, : dump.dim, 0] / moments["mass"][0]
    found = tilt_of(call, kept, kl=levels, origins=origins)
    return Scene(call, judges, levels, n_requested, length, options, kept, origins, spread, found)

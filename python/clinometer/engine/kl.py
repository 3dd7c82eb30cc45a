"""Roots in KL, the KL horizon, Pareto k and pooled errors: what is computed from kept scores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clinometer import _core
from clinometer.common import memory
from clinometer.common.notices import tell
from clinometer.common.resampling import unit_covariance
from clinometer.common.threads import applied
from clinometer.common.visible import few

if TYPE_CHECKING:
    from .inputs import Call
    from .population import Population

Floats = NDArray[np.float64]
HORIZON_LEVELS = 32
HORIZON_AT_ONCE = 1 << 14  # scores up to which all levels are looked at together
LANES = 8  # tilts that the jackknife forms side by side
FEWEST_RATIOS = 21  # of which a fifth, rounded up, are five
SAMPLED_ROWS, SAMPLE_SHARE = 1 << 17, 16  # rows from which roots are sought on one of so many first
DENSE = 8  # levels of one direction whose roots are near enough to each other for a cubic
LONG = 6  # passes after which a root is one of a curve that levels off
SURE = 2.0  # by how much a parabola may miss the tolerance where a cubic meets it


def kl_at(call: Call, kept: Floats, betas: Floats) -> Floats:
    """Mean KL of each tilt, (K, B)."""
    from .inputs import run

    bare = _without_values(call)
    statistic = _core.Tilt(0, kept.shape[1], 0, 0, betas, False, not call.in_double, False)
    return np.asarray(run(bare, [statistic], kept=kept)[0].finish()["kl"])


def _without_values(call: Call) -> Call:
    return replace(call, values=None, progress=None)


def solve(
    call: Call, kept: Floats, kl: Floats, names: tuple[str, ...], variance: Floats | None = None
) -> Floats:  # fmt: skip
    """beta (K, B) with KL(beta_kb) = kl_b: interpolated in log lam; 0 past the rows' reach, inf without variance.

    KL is non-decreasing in lam = 1/beta and behaves as lam^2 Var/2 near 0 (theory 2.2). All levels of a direction lie
    on one curve, so each pass over the scores serves every level. Of many rows, roots on a sample of whole prompts
    come first: one pass on both sides of them is mostly all.
    """
    curve = _Curve(call, kept, kl, score_variance(call, kept) if variance is None else variance)
    if len(kept) > SAMPLED_ROWS:
        sample = Sample.of(call.population, kept, len(kept) // SAMPLE_SHARE)
        own = sample.call(call)
        if 8 * len(sample.kept) <= len(kept):
            rough = _Curve(own, sample.kept, kl, score_variance(own, sample.kept))
            rough.search()
            curve.start(np.where(rough.beyond, np.nan, rough.lam), 1 / np.sqrt(own.population.n_prompts))
    curve.search()
    if curve.beyond.any():
        hit = [names[k] for k in range(kept.shape[1]) if curve.beyond[k].any()]
        tell(
            f"kl: beyond what the rows can reach for {few(hit)}; those entries are the argmax limit "
            f"(betas 0), with .kl the KL reached",
            stacklevel=4,
        )
    return np.where(curve.flat[:, None], np.inf, np.where(curve.beyond, 0.0, 1 / curve.lam))


class _Curve:
    """KL over lam of K directions, known at some points, and lam (K, B) where it comes to B levels."""

    def __init__(self, call: Call, kept: Floats, kl: Floats, variance: Floats) -> None:
        self.call, self.kept, self.flat = call, kept, variance <= 0
        self.shape = K, B = kept.shape[1], len(kl)
        self.target = np.broadcast_to(kl, (K, B))
        safe = np.where(self.flat, 1.0, variance)[:, None]
        self.done = np.broadcast_to(self.flat[:, None], (K, B)).copy()
        self.beyond = np.zeros((K, B), bool)
        self.lam = np.where(self.done, 1.0, np.sqrt(2 * self.target / safe))
        self.low, self.high = np.zeros((K, B)), np.full((K, B), np.inf)
        self.tolerance = 1e-11 if call.in_double else 3e-7  # what KL itself is good to
        near_zero = self.lam.min(axis=1, keepdims=True) * 1e-3
        self.x, self.y = np.log(near_zero), np.log(near_zero**2 * safe / 2)

    def start(self, lam: Floats, apart: float) -> None:
        """Begin at roots (K, B) that are good to about `apart`, on both sides of each."""
        self.lam = np.where(np.isfinite(lam) & ~self.done, lam, self.lam)
        sides = np.array([[1 - apart], [1 + apart]] if self.shape[1] < DENSE else [[1.0]])
        self._look((self.lam[:, None] * sides).reshape(self.shape[0], -1))
        self._step(0)

    def search(self) -> None:
        """Look at the curve where the roots are expected until they are as good as KL itself."""
        for round_ in range(80):
            if self.done.all():
                break
            at = self._look_at_open()
            # where KL levels off its own rounding is several times as large
            self.done |= np.abs(at - self.target) <= self.tolerance * (1 if round_ < LONG else 2) * self.target
            self.done |= self.high - self.low <= 1e-15 * self.lam
            if round_ == 2:
                self._reach()
            self._step(round_)

    def _look_at_open(self) -> Floats:
        """KL (K, B) where the roots that are not known yet are expected, NaN elsewhere."""
        most = int((~self.done).sum(axis=1).max())
        first = np.argsort(self.done, axis=1, kind="stable")[:, :most]
        lam = np.take_along_axis(np.where(self.done, 0.0, self.lam), first, axis=1)  # of fewer levels, no tilt
        at = np.full(self.shape, np.nan)
        np.put_along_axis(at, first, np.where(lam > 0, self._look(lam), np.nan), axis=1)
        return at

    def _look(self, lam: Floats) -> Floats:
        """KL at lam (K, m), which is known from then on and brackets every level; 0 is no look."""
        with np.errstate(divide="ignore"):
            at = kl_at(self.call, self.kept, 1 / lam)
            self.x = np.hstack([self.x, np.log(lam)])
            self.y = np.hstack([self.y, np.log(np.where((at > 0) & (lam > 0), at, np.nan))])
        below = at[:, None] < self.target[:, :, None]
        known = lam[:, None] > 0
        self.low = np.maximum(self.low, np.where(below & known, lam[:, None], 0.0).max(axis=2))
        self.high = np.minimum(self.high, np.where(~below & known, lam[:, None], np.inf).min(axis=2))
        return at

    def _reach(self) -> None:
        """What three passes have not bracketed may lie beyond what the rows can reach."""
        wanted = np.flatnonzero((~self.done & np.isinf(self.high)).any(axis=1))
        if len(wanted):
            most = kl_at(self.call, memory.columns(self.kept, wanted), np.zeros((len(wanted), 1)))
            self.beyond[wanted] = self.target[wanted] >= most * (1 - 1e-12)
            self.done |= self.beyond

    def _step(self, round_: int) -> None:
        """Where the curve as known comes to the levels; done where it is known too well for another look."""
        goal, points = np.log(self.target), np.isfinite(self.y).sum(axis=1, keepdims=True)
        with np.errstate(over="ignore", invalid="ignore"):  # a curve that levels off points beyond all numbers
            at = inverted(self.x, self.y, goal, 4)
            off = np.abs(at - inverted(self.x, self.y, goal, 3))
            step = np.exp(np.where(np.isinf(self.high), at + off, at))  # a level from below is mostly bracketed so
        inside = np.isfinite(step) & (step > self.low) & (step < self.high)
        sure = inside & np.isfinite(self.high) & (points > 4) & (2 * off <= SURE * self.tolerance)
        step = np.where(inside & (step < np.where(np.isinf(self.high), 4 * self.lam, np.inf)), step, np.nan)
        middle = np.where(np.isinf(self.high), 2 * self.lam, (self.low + self.high) / 2)
        step = np.where(sure, step, np.where(np.isnan(step) | (round_ > 12), middle, step))
        self.lam = np.where(self.done, self.lam, step)
        self.done |= sure


def inverted(x: Floats, y: Floats, target: Floats, n: int) -> Floats:
    """x where y reaches the targets (K, B), by the polynomial through the nearest n of the points (K, m)."""
    apart = np.abs(np.where(np.isnan(y), np.inf, y)[:, None, :] - target[:, :, None])
    chosen = np.argsort(apart, axis=2, kind="stable")[:, :, :n]
    xs, ys = (np.take_along_axis(np.broadcast_to(a[:, None, :], apart.shape), chosen, axis=2) for a in (x, y))
    with np.errstate(divide="ignore", invalid="ignore"):
        out = np.zeros(target.shape)
        for i in range(xs.shape[2]):
            others = [j for j in range(xs.shape[2]) if j != i]
            out += xs[:, :, i] * np.prod(
                [(target - ys[:, :, j]) / (ys[:, :, i] - ys[:, :, j]) for j in others], axis=0
            )  # fmt: skip
    return out


def spread(call: Call, kept: Floats) -> dict[str, Floats]:
    """Of each score (K,) E_x Var_{y|x}(t) as `variance`, that of the policy behind the rows as `unbiased` (NaN without
    two rows in a prompt)."""
    from .inputs import run

    return dict(run(_without_values(call), [_core.ScoreVariance(kept.shape[1])], kept=kept)[0].finish())


def score_variance(call: Call, kept: Floats) -> Floats:
    """E_x Var_{y|x}(t) of each score, (K,)."""
    return spread(call, kept)["variance"]


def gaussian_kl(variance: Floats, betas: Floats) -> Floats:
    """lam^2 Var/2 of each tilt, (K, B): the KL of a Gaussian policy of that variance (K,) (theory 2.4)."""
    variance = variance[:, None]
    with np.errstate(all="ignore"):
        root = np.sqrt(variance) / betas
        return np.where(np.isinf(betas) | (variance == 0), 0.0, root * root / 2)


def _per_prompt(x: Floats, offsets: NDArray[np.int64]) -> Floats:
    if len(offsets) < 2:
        return np.zeros((0, *x.shape[1:]))
    return np.asarray(np.add.reduceat(x, offsets[:-1], axis=0))


def log_ratios(call: Call, kept: Floats, betas: Floats, population: Population | None = None) -> Floats:
    """log pi/pi0 of every kept row, (K * B, N); of the rows that count in another population."""
    from .inputs import run

    out = np.empty((betas.size, len(kept)))
    state = _core.LogRatios(0, kept.shape[1], betas, out)
    run(_without_values(call), [state], kept=kept, population=population)
    return out


def written_out(call: Call, kept: Floats) -> tuple[Call, Floats]:
    """Whole counts as copies of their rows: for statistics of single draws, or of leaving one out."""
    copies = call.population.copies()
    if copies is None:
        return call, kept
    return replace(call, population=call.population.written_out()), np.repeat(kept, copies, axis=0)


def first_levels(call: Call, kept: Floats, variance: Floats) -> Any | None:
    """The jackknife that `horizons` begins with, to go along with another pass; None where there is none.

    Of few rows it has the levels of `sized_horizon` too, last.
    """
    if call.population.draws is not None or not (variance > 0).all() or not _cap(call) > 0:
        return None
    betas, whole = _levels(_cap(call), variance, 0, kept.size), len(kept) <= SIZED_ROWS
    if whole:
        betas = np.hstack([betas, 1 / _sized_lam(_cap(call), variance)])
    return _core.Jackknife(kept.shape[1], betas, whole) if call.effective().n_prompts > 1 else None


def horizons(
    call: Call, kept: Floats, variance: Floats, first: dict[str, Floats] | None = None
) -> tuple[Floats, Floats]:
    """`horizon` and `sized_horizon`, no less than the other where it is not 0; `first` is what `first_levels` found."""
    own, n = None, len(SIZED_STEPS)
    if first is not None and len(kept) <= SIZED_ROWS:
        first, own = {k: x[:, :-n] for k, x in first.items()}, {k: x[:, -n:] for k, x in first.items()}
    strict, sized = horizon(call, kept, variance, first), sized_horizon(call, kept, variance, own)
    return strict, np.where(sized > 0, np.maximum(strict, sized), sized)


def _sized_lam(cap: float, variance: Floats) -> Floats:
    return np.asarray(np.sqrt(2 * cap / variance)[:, None] * SIZED_STEPS)


def _levels(cap: float, variance: Floats, at: int, size: int) -> Floats:
    """betas (K, m) of the next levels of the horizon: of many scores at first as many as vectors have lanes for."""
    grid = np.geomspace(0.03, 2.0, HORIZON_LEVELS)
    few = -(-LANES // len(variance)) if at == 0 and size > HORIZON_AT_ONCE else len(grid)
    return np.asarray(1 / (np.sqrt(2 * cap / variance)[:, None] * grid[at : at + few]))


def horizon(call: Call, kept: Floats, variance: Floats, first: dict[str, Floats] | None = None) -> Floats:
    """KL horizon (theory 2.8): largest KL where the jackknifed bias of the judge's own gain is below its error.

    Never above log(m)/2, m the median size of prompts with two or more responses, times their share of
    the prompt weight. Found on a grid of levels geometric in lam. `call` and `kept` have counts written out; `first` is
    what `first_levels` came to.
    """
    cap, K = _cap(call), kept.shape[1]
    out, open_ = np.zeros(K), np.flatnonzero(variance > 0)
    if not cap > 0 or call.effective().n_prompts < 2:  # the error of one prompt's gain is not known
        return np.full(K, min(cap, 0.0))
    # level by level, directions leave at their first failure: with many rows mostly the first levels settle it
    at = 0
    while len(open_) and at < HORIZON_LEVELS:
        betas = _levels(cap, variance[open_], at, kept.size)
        tilted = first if first is not None and at == 0 else jackknife(call, memory.columns(kept, open_), betas)
        holds = (np.abs(tilted["bias"]) <= tilted["se"]) & (tilted["kl"] <= cap)
        held = np.logical_and.accumulate(holds, axis=1)
        last = held.sum(axis=1) - 1
        out[open_] = np.where(last >= 0, np.take_along_axis(tilted["kl"], last[:, None], axis=1)[:, 0], out[open_])
        open_, at = open_[held[:, -1]], at + betas.shape[1]
    return np.minimum(out, cap)


def sized_horizon(call: Call, kept: Floats, variance: Floats, own: dict[str, Floats] | None = None) -> Floats:
    """Largest KL (K,) at which the size of a gain is good to a tenth, or to its error where that is more.

    What counts is the bias at matched KL: rows whose prompts are small tilt less far at a given beta, but their KL is
    low as well, and the gain at that KL is low by much less (in a Gaussian world by sqrt((n - 1)/n) at small KL,
    not (n - 1)/n). The delete-one jackknife gives both biases of the judge's own score, whose slope in KL is beta. Cap
    as in `horizon`, and 0 where prompts have a median of 4 responses or fewer (theory 2.8: only first order is an
    estimate). Crossings lie between seven levels by interpolation; beyond SIZED_ROWS rows from evenly spread prompts.
    `call` and `kept` have counts written out; `own` is the jackknife at these levels where all directions vary.
    """
    p, cap, K = call.effective(), _cap(call), kept.shape[1]
    moving = np.flatnonzero(variance > 0)
    if not cap > 0 or np.median(p.sizes[p.sizes > 1]) <= FEW_RESPONSES or not len(moving):
        return np.full(K, min(cap, 0.0))
    sample = Sample.of(p, kept, SIZED_ROWS)
    lam = _sized_lam(cap, variance[moving])
    if own is None:
        own = jackknife(
            sample.call(call), memory.columns(sample.kept, moving), 1 / lam, kl_too=True, population=sample.p
        )
    fewer = np.sqrt(sample.p.n_prompts / p.n_prompts)
    with np.errstate(divide="ignore", invalid="ignore"):  # a row that takes all of a prompt cannot be left out
        matched = np.abs(own["bias"] - own["kl_bias"] / lam)  # d gain / d KL of the score itself is 1/lam
        off = matched / np.fmax(own["se"] * fewer, SIZED_SHARE * own["gain"])
    out = np.zeros(K)
    out[moving] = [_crossing(at, wrong, cap) for at, wrong in zip(own["kl"], off, strict=True)]
    return np.minimum(out, cap)


@dataclass(frozen=True)
class Sample:
    """Evenly spread whole prompts of a population, about so many rows, and their kept scores."""

    p: Population
    kept: Floats

    @classmethod
    def of(cls, p: Population, kept: Floats, n_rows: int) -> Sample:
        """All prompts where they are few."""
        step = max(1, -(-p.n_rows // n_rows)) if p.n_prompts > 1 else 1
        if step == 1:
            return cls(p, kept)
        prompts = np.arange(p.n_prompts)[::step]
        sizes = p.sizes[prompts]
        offsets = np.append(0, np.cumsum(sizes))
        rows = np.repeat(p.offsets[prompts] - offsets[:-1], sizes) + np.arange(offsets[-1])

        def of_rows(x: NDArray[Any] | None) -> NDArray[Any] | None:
            return None if x is None else np.ascontiguousarray(x[rows])

        def of_prompts(x: NDArray[Any] | None) -> NDArray[Any] | None:
            return None if x is None else np.ascontiguousarray(x[prompts])

        thin = replace(
            p, offsets=offsets, ids=p.ids[prompts], order=np.ascontiguousarray(p.rows[rows]), weight=of_rows(p.weight),
            draws=of_rows(p.draws), omega=of_prompts(p.omega), unbias=of_prompts(p.unbias), cluster=None,
            cluster_ids=None,
        )  # fmt: skip
        return cls(thin, np.ascontiguousarray(kept[rows]))

    def call(self, call: Call) -> Call:
        """The call over these prompts."""
        return replace(call, population=self.p, values=None, progress=None, fold=None)


FEW_RESPONSES = 4  # up to which only the first order is an estimate (theory 2.8)
SIZED_SHARE, SIZED_ROWS = 0.1, 1 << 13
SIZED_STEPS = np.array([0.05, 0.2, 0.4, 0.7, 1.0, 1.4, 2.0])


def _cap(call: Call) -> float:
    """log(m)/2 times the share of prompts with two responses or more; NaN for "logprob", 0 without such prompts."""
    p = call.effective()
    many = p.sizes > 1
    if p.base == "logprob":
        return float("nan")
    return float(np.log(np.median(p.sizes[many])) / 2 * p.prompt_weight()[many].sum()) if many.any() else 0.0


def _crossing(kl: Floats, off: Floats, cap: float) -> float:
    """KL at which `off` first exceeds 1, between levels in logarithms; 0 at the first level, the cap if nowhere."""
    wrong = ~(off <= 1)
    if wrong[0]:
        return 0.0
    if not wrong.any():
        return cap if kl[-1] >= cap else float(kl[-1])
    i = int(np.argmax(wrong))
    a, b = np.log(np.maximum(off[i - 1], 1e-300)), np.log(off[i])
    at = np.clip(-a / (b - a), 0.0, 1.0) if np.isfinite(b) and b > a else 0.0
    return float(np.exp((1 - at) * np.log(kl[i - 1]) + at * np.log(kl[i])))


def jackknife(
    call: Call, kept: Floats, betas: Floats, *, kl_too: bool = False, population: Population | None = None
) -> dict[str, Floats]:
    """Of each score's own mean gain at betas (K, B) the `gain`, delete-one `bias`, `se` over prompts and `kl`, (K, B).

    `kl_too` adds `kl_bias`, which is 0 else.
    """
    from .inputs import run

    state = _core.Jackknife(kept.shape[1], betas, kl_too)
    return dict(run(_without_values(call), [state], kept=kept, population=population)[0].finish())


def pareto_table(call: Call, kept: Floats, betas: Floats, limit: int = 10_000_000) -> tuple[Floats, NDArray[np.str_]]:
    """Pareto k of every tilt and why it is NaN, (K, B); above `limit` rows from evenly spread ones of them.

    `call` and `kept` have counts written out.
    """
    p = call.effective()
    if p.base == "logprob":
        return np.full(betas.shape, np.nan), np.full(betas.shape, "nothing was drawn: the candidates are all there is")
    own, base = call.population, None
    if p.base == "reweight":  # the ratio to the proposal is n w p/pi0, so equal weights give what "sampled" gives
        with np.errstate(divide="ignore"):
            base = np.log(own.row_weight() * np.repeat(own.sizes, own.sizes))
    every = p.n_rows // 1_000_000 if p.n_rows > limit else 1
    out = _core.pareto_tails(kept, betas, p.offsets, p.weight, base, every, call.n_threads)
    few = p.n_rows < FEWEST_RATIOS * every
    why = f"fewer than {FEWEST_RATIOS} rows leave no tail" if few else "too many of the largest ratios are equal"
    return out, np.where(np.isnan(out), why, "ok")


def pooled_errors(call: Call, kept: Floats, betas: Floats, values: Floats) -> Floats:
    """Joint covariance of within=False gains over values, (K, B, J, J), from the influence of each prompt.

    Of a prompt it is the sum of (q - w)(f - E_w f) - q gain over its labelled rows, under their one normaliser.
    """
    (K, B), J, p = betas.shape, values.shape[1], call.population
    psi, present = np.full((K, B, p.n_prompts, J), np.nan), np.zeros((p.n_prompts, J), bool)
    for j in range(J):
        known = p.labelled(values[:, j]).pooled()
        w = known.row_weight()
        seen, present[:, j] = w > 0, _per_prompt(w, p.offsets) > 0
        if not seen.any():
            continue
        f = np.where(seen, np.nan_to_num(values[p.rows, j]), 0.0)
        f = np.where(seen, f - f[np.argmax(seen)], 0.0)
        f = np.where(seen, f - applied(f, w), 0.0)
        for k, b in np.ndindex(K, B):
            ratio = log_ratios(call, np.ascontiguousarray(kept[:, [k]]), betas[[k], b : b + 1], known)[0]
            with np.errstate(over="ignore"):
                change = np.where(seen, w * np.expm1(ratio), 0.0)
            psi[k, b, :, j] = _per_prompt(change * f - (w + change) * applied(change, f), p.offsets)
    covariances = [clustered(cell, present, p.cluster) for cell in psi.reshape(-1, *psi.shape[2:])]
    return np.array(covariances).reshape(K, B, J, J)


def clustered(psi: Floats, present: NDArray[np.bool_], cluster: NDArray[np.int64] | None) -> Floats:
    """C/(C-1) sum_c psi_c psi_c' over clusters of prompts (theory 2.6); NaN below two clusters. psi (G, J)."""
    psi = np.where(present, psi, 0.0)
    if cluster is not None:
        psi = np.stack([np.bincount(cluster, weights=c) for c in psi.T], axis=1)
        present = np.stack([np.bincount(cluster, weights=c) > 0 for c in present.T], axis=1)
    return unit_covariance(psi, present.astype(float))

"""Roots in KL, the KL horizon, Pareto k and pooled errors: what is computed from kept scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clinometer import _core
from clinometer.common import memory
from clinometer.common.notices import tell
from clinometer.common.resampling import unit_covariance
from clinometer.common.threads import applied, shared
from clinometer.common.visible import few

if TYPE_CHECKING:
    from .inputs import Call
    from .population import Population

Floats = NDArray[np.float64]
HORIZON_LEVELS = 32
FEWEST_RATIOS = 21  # of which a fifth, rounded up, are five
STRIP_ENTRIES = 1 << 20  # scores that are copied together
RATIO_BYTES = 1 << 26  # of the log-ratios of one direction, up to which several are held at once


def kl_at(call: Call, kept: Floats, betas: Floats) -> Floats:
    """Mean KL of each tilt, (K, B)."""
    from .inputs import run

    bare = _without_values(call)
    statistic = _core.Tilt(0, kept.shape[1], 0, 0, betas, False, not call.in_double, False)
    return np.asarray(run(bare, [statistic], kept=kept)[0].finish()["kl"])


def _without_values(call: Call) -> Call:
    return replace(call, values=None, progress=None)


def solve(call: Call, kept: Floats, kl: Floats, names: tuple[str, ...]) -> Floats:
    """beta (K, B) with KL(beta_kb) = kl_b: interpolated in log lam; 0 past the rows' reach, inf without variance.

    KL is non-decreasing in lam = 1/beta and behaves as lam^2 Var/2 near 0 (theory 2.2). All levels of a direction lie
    on one curve, so each pass over the scores serves every level: from the Gaussian roots, three or four passes.
    """
    K, B = kept.shape[1], len(kl)
    variance = score_variance(call, kept)
    flat = variance <= 0
    target, open_ = np.broadcast_to(kl, (K, B)), np.broadcast_to(~flat[:, None], (K, B)).copy()
    safe = np.where(flat, 1.0, variance)[:, None]
    lam = np.where(open_, np.sqrt(2 * target / safe), 1.0)
    low, high = np.zeros((K, B)), np.full((K, B), np.inf)
    tolerance = 1e-11 if call.in_double else 3e-7  # what KL itself is good to
    done, reach = ~open_, np.full(K, np.nan)
    near_zero = lam.min(axis=1, keepdims=True) * 1e-3
    curve = [(np.log(near_zero), np.log(near_zero**2 * safe / 2))]
    for round_ in range(80):
        at = kl_at(call, kept, np.where(done, np.inf, 1 / lam))
        low = np.where(~done & (at < target), np.maximum(low, lam), low)
        high = np.where(~done & (at >= target), np.minimum(high, lam), high)
        done |= (np.abs(at - target) <= tolerance * target) | (high - low <= 1e-15 * lam)
        if round_ == 1:  # what two passes have not bracketed may lie beyond what the rows can reach
            wanted = np.flatnonzero((~done & np.isinf(high)).any(axis=1))
            if len(wanted):
                reach[wanted] = kl_at(call, memory.columns(kept, wanted), np.zeros((len(wanted), 1)))[:, 0]
                done |= target >= reach[:, None] * (1 - 1e-12)
        if done.all():
            break
        with np.errstate(divide="ignore"):
            curve.append((np.log(lam), np.log(np.where(at > 0, at, np.nan))))
        x, y = (np.hstack(part) for part in zip(*curve, strict=True))
        step = np.exp(_inverted(x, y, np.log(target)))
        farthest = np.where(np.isinf(high), 4 * lam, high)
        step = np.where(np.isfinite(step) & (step > low) & (step < farthest), step, np.nan)
        middle = np.where(np.isinf(high), 2 * lam, (low + high) / 2)
        lam = np.where(done, lam, np.where(np.isnan(step) | (round_ > 12), middle, step))
    beyond = target >= reach[:, None] * (1 - 1e-12)
    if beyond.any():
        hit = [names[k] for k in range(K) if beyond[k].any()]
        tell(
            f"kl: beyond what the rows can reach for {few(hit)}; those entries are the argmax limit "
            f"(betas 0), with .kl the KL reached",
            stacklevel=4,
        )
    return np.where(flat[:, None], np.inf, np.where(beyond, 0.0, 1 / lam))


def _inverted(x: Floats, y: Floats, target: Floats) -> Floats:
    """x where y reaches the targets (K, B), by the cubic through the nearest four of the points (K, m)."""
    apart = np.abs(np.where(np.isnan(y), np.inf, y)[:, None, :] - target[:, :, None])
    chosen = np.argsort(apart, axis=2, kind="stable")[:, :, :4]
    xs, ys = (np.take_along_axis(np.broadcast_to(a[:, None, :], apart.shape), chosen, axis=2) for a in (x, y))
    with np.errstate(divide="ignore", invalid="ignore"):
        out = np.zeros(target.shape)
        for i in range(xs.shape[2]):
            others = [j for j in range(xs.shape[2]) if j != i]
            out += xs[:, :, i] * np.prod(
                [(target - ys[:, :, j]) / (ys[:, :, i] - ys[:, :, j]) for j in others], axis=0
            )  # fmt: skip
    return out


def score_variance(call: Call, kept: Floats, *, unbiased: bool = False) -> Floats:
    """E_x Var_{y|x}(t) of each score, (K,); unbiased: of the policy behind the rows, NaN without two in a prompt."""
    from .inputs import run

    p = call.effective()
    if not unbiased or p.base == "logprob":
        state = run(_without_values(call), [_core.ScoreVariance(kept.shape[1])], kept=kept)[0]
        return np.asarray(state.finish()["variance"])
    omega, by_prompt = p.prompt_weight(), np.empty((p.n_prompts, kept.shape[1]))
    for a, b in _runs(p.offsets, kept.shape[1]):
        by_prompt[a:b] = _spread(kept, p.row_weight(), p.offsets[a : b + 1])
    factor = np.divide(p.sizes, p.sizes - 1, where=p.sizes > 1, out=np.zeros(len(omega)))
    factor = factor if p.unbias is None else p.unbias
    mass = omega[factor > 0].sum()
    return np.asarray(applied(by_prompt.T, omega * factor) / mass) if mass > 0 else np.full(kept.shape[1], np.nan)


def _runs(offsets: NDArray[np.int64], width: int) -> Iterator[tuple[int, int]]:
    """Whole prompts [a, b) of about STRIP_ENTRIES scores together."""
    a = 0
    while a + 1 < len(offsets):
        far = offsets[a] + STRIP_ENTRIES // max(width, 1)
        b = max(a + 1, int(np.searchsorted(offsets, far, side="right")) - 1)
        yield a, b
        a = b


def _spread(kept: Floats, weight: Floats, offsets: NDArray[np.int64]) -> Floats:
    """Variance of each score in each of some prompts, by the rows' weights."""
    w, sizes, from_ = weight[offsets[0] : offsets[-1], None], np.diff(offsets), offsets - offsets[0]
    t = np.asarray(kept[offsets[0] : offsets[-1]])
    t = t - np.repeat(t[from_[:-1]], sizes, axis=0)  # a pilot: scores that agree give exact zeros
    t = t - np.repeat(_per_prompt(t * w, from_), sizes, axis=0)
    return _per_prompt(w * t * t, from_)


def gaussian_kl(call: Call, kept: Floats, betas: Floats) -> Floats:
    """lam^2 Var/2 of each tilt with the unbiased variance, (K, B): the KL of a Gaussian policy (theory 2.4)."""
    variance = score_variance(call, kept, unbiased=True)[:, None]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        root = np.sqrt(variance) / betas
        return np.where(np.isinf(betas) | (variance == 0), 0.0, root * root / 2)


def _per_prompt(x: Floats, offsets: NDArray[np.int64]) -> Floats:
    if len(offsets) < 2:
        return np.zeros((0, *x.shape[1:]))
    return np.asarray(np.add.reduceat(x, offsets[:-1], axis=0))


def log_ratios(call: Call, kept: Floats, betas: Floats) -> Floats:
    """log pi/pi0 of every kept row, (K * B, N)."""
    from .inputs import run

    out = np.empty((betas.size, len(kept)))
    run(_without_values(call), [_core.LogRatios(0, kept.shape[1], betas, out)], kept=kept)
    return out


def written_out(call: Call, kept: Floats) -> tuple[Call, Floats]:
    """Whole counts as copies of their rows: for statistics of single draws, or of leaving one out."""
    copies = call.population.copies()
    if copies is None:
        return call, kept
    return replace(call, population=call.population.written_out()), np.repeat(kept, copies, axis=0)


def horizon(call: Call, kept: Floats) -> Floats:
    """KL horizon (theory 2.8): largest KL where the jackknifed bias of the judge's own gain is below its error.

    Never above log(m)/2, m the median size of prompts with two or more responses, times their share of
    the prompt weight. Found on a grid of levels geometric in lam.
    """
    call, kept = written_out(call, kept)
    cap, K = _cap(call), kept.shape[1]
    if not cap > 0:
        return np.full(K, cap)
    variance = score_variance(call, kept)
    out, open_ = np.zeros(K), np.flatnonzero(variance > 0)
    # level by level, directions leave at their first failure: mostly the first levels settle it
    for step in np.geomspace(0.03, 2.0, HORIZON_LEVELS):
        if not len(open_):
            break
        lam = np.sqrt(2 * cap / variance[open_]) * step
        tilted = jackknife(call, memory.columns(kept, open_), 1 / lam)
        holds = (np.abs(tilted["bias"]) <= tilted["se"]) & (tilted["kl"] <= cap)
        out[open_[holds]] = tilted["kl"][holds]
        open_ = open_[holds]
    return np.minimum(out, cap)


def sized_horizon(call: Call, kept: Floats) -> Floats:
    """Largest KL (K,) at which the size of a gain is good to a tenth, or to its error where that is more.

    What counts is the bias at matched KL: rows whose prompts are small tilt less far at a given beta, but their KL is
    low as well, and the gain at that KL is low by much less (in a Gaussian world by sqrt((n - 1)/n) at small KL,
    not (n - 1)/n). The delete-one jackknife gives both biases of the judge's own score, whose slope in KL is beta. Cap
    as in `horizon`, and 0 where prompts have a median of 4 responses or fewer (theory 2.8: only first order is an
    estimate). Crossings lie between seven levels by interpolation; beyond SIZED_ROWS rows from evenly spread prompts.
    """
    call, kept = written_out(call, kept)
    p, cap = call.effective(), _cap(call)
    if not cap > 0 or np.median(p.sizes[p.sizes > 1]) <= FEW_RESPONSES:
        return np.full(kept.shape[1], min(cap, 0.0))
    some = Thinned.of(p)
    fewer = np.sqrt(len(some.omega) / p.n_prompts)
    out = np.zeros(kept.shape[1])
    for k, variance in enumerate(score_variance(call, kept)):
        if variance > 0:
            lam = np.sqrt(2 * cap / variance) * SIZED_STEPS
            own = own_gain(some.weight, kept[some.rows, k], lam, some.offsets, some.omega)
            off = np.abs(own.matched_bias(lam)) / np.fmax(own.se * fewer, SIZED_SHARE * own.gain)
            out[k] = _crossing(own.kl, off, cap)
    return np.minimum(out, cap)


@dataclass(frozen=True)
class Thinned:
    """Evenly spread whole prompts of a population, about SIZED_ROWS rows: enough for a bias."""

    rows: NDArray[np.int64]
    offsets: NDArray[np.int64]
    weight: Floats
    omega: Floats

    @classmethod
    def of(cls, p: Population) -> Thinned:
        """All prompts where they are few."""
        prompts = np.arange(p.n_prompts)[:: max(1, -(-p.n_rows // SIZED_ROWS)) if p.n_prompts > 1 else 1]
        sizes = p.sizes[prompts]
        offsets = np.append(0, np.cumsum(sizes))
        rows = np.repeat(p.offsets[prompts] - offsets[:-1], sizes) + np.arange(offsets[-1])
        omega = p.prompt_weight()[prompts]
        return cls(rows, offsets, p.row_weight()[rows], omega / omega.sum())


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


@dataclass(frozen=True)
class OwnGain:
    """Of R tilts the gain of the score itself, its error by prompt, the KL, and the delete-one biases of both, (R,)."""

    gain: Floats
    se: Floats
    kl: Floats
    gain_bias: Floats
    kl_bias: Floats

    def matched_bias(self, lam: Floats) -> Floats:
        """Bias of the gain at the KL reached: d gain / d KL of the score itself is 1/lam."""
        return self.gain_bias - self.kl_bias / lam


def own_gain(weight: Floats, t: Floats, lam: Floats, offsets: NDArray[np.int64], omega: Floats) -> OwnGain:
    """Tilts of the rows by lam t for each of lam (R,), with the delete-one jackknife inside prompts in closed form."""
    sizes = np.diff(offsets)

    def total(x: Floats) -> Floats:
        return np.asarray(np.add.reduceat(x, offsets[:-1], axis=-1))

    def spread(x: Floats) -> Floats:
        return np.repeat(x, sizes, axis=-1)

    t = t - np.repeat(t[offsets[:-1]], sizes)  # a pilot: scores that agree give exact zeros
    t = t - spread(total(weight * t))
    top = np.maximum.reduceat(np.where(weight > 0, t, -np.inf), offsets[:-1])
    x = np.where(weight > 0, lam[:, None] * (t - spread(top)), -np.inf)
    prob = weight * np.exp(x)
    mass = total(prob)
    prob /= spread(mass)
    log_ratio = np.where(prob > 0, x - spread(np.log(mass)), 0.0)
    part, share = prob * t, prob * log_ratio
    gain, kl = total(part), total(share)
    with np.errstate(divide="ignore", invalid="ignore"):
        left = 1 / (1 - prob)
        gain_without = (spread(gain) - part) * left + weight * t / (1 - weight)
        kl_without = (spread(kl) - share) * left + np.log((1 - weight) * left)
        biases = [(sizes - 1) * (total(w) / sizes - full) for w, full in ((gain_without, gain), (kl_without, kl))]
    many, groups, mean = sizes > 1, len(omega), applied(gain, omega)
    factor = groups / (groups - 1) if groups > 1 else np.nan
    se = np.sqrt(factor * ((omega * (gain - mean[:, None])) ** 2).sum(axis=-1))
    return OwnGain(mean, se, applied(kl, omega), *(applied(b[:, many], omega[many]) for b in biases))


def jackknife(call: Call, kept: Floats, betas: Floats) -> dict[str, Floats]:
    """Delete-one `bias` of each score's own mean gain, the gain's `se` over prompts, and the `kl`, (K,) each."""
    from .inputs import run

    return dict(run(_without_values(call), [_core.Jackknife(betas)], kept=kept)[0].finish())


def pareto_table(call: Call, kept: Floats, betas: Floats, limit: int = 10_000_000) -> tuple[Floats, NDArray[np.str_]]:
    """Pareto k of every tilt and why it is NaN, (K, B); above `limit` rows from an evenly spread tenth of them."""
    call, kept = written_out(call, kept)
    if call.population.base == "logprob":
        return np.full(betas.shape, np.nan), np.full(betas.shape, "nothing was drawn: the candidates are all there is")
    rows, base = _tail_rows(call, limit)
    # directions in parallel where their ratios are small, else one after the other with all threads each
    at_once = call.n_threads if 8 * betas.shape[1] * len(kept) <= RATIO_BYTES else 1
    own_call = replace(call, n_threads=call.n_threads // at_once)

    out = np.empty(betas.shape)

    def fill(k: int) -> None:
        ratios = log_ratios(own_call, kept[:, k : k + 1], betas[k : k + 1])
        out[k] = _core.pareto_k(np.ascontiguousarray(ratios[:, rows]), base, own_call.n_threads)

    shared(fill, range(kept.shape[1]), at_once)
    few = len(kept[rows]) < FEWEST_RATIOS
    why = f"fewer than {FEWEST_RATIOS} rows leave no tail" if few else "too many of the largest ratios are equal"
    return out, np.where(np.isnan(out), why, "ok")


def _tail_rows(call: Call, limit: int) -> tuple[slice | NDArray[np.int64], Floats | None]:
    """The rows whose ratios are looked at, and what is added to their logarithms."""
    p, base = call.population, None
    counts = np.repeat(p.prompt_weight() > 0, p.sizes)
    if p.base == "reweight":  # the ratio to the proposal is n w p/pi0, so equal weights give what "sampled" gives
        with np.errstate(divide="ignore"):
            base = np.log(p.row_weight() * np.repeat(p.sizes, p.sizes))
    else:
        counts &= p.row_weight() > 0
    if counts.all() and len(counts) <= limit:
        return slice(None), base
    rows = np.flatnonzero(counts)
    rows = rows[:: len(rows) // 1_000_000] if len(rows) > limit else rows
    return rows, None if base is None else base[rows]


def pooled_errors(call: Call, kept: Floats, betas: Floats, values: Floats) -> Floats:
    """Joint covariance of within=False gains over values, (K, B, J, J), from the influence of each prompt."""
    (K, B), J, p = betas.shape, values.shape[1], call.population
    out = np.full((K, B, J, J), np.nan)
    columns = [_PooledValue(p, values[:, j]) for j in range(J)]
    present = np.stack([c.present for c in columns], axis=1)
    for k in range(K):
        for b in range(B):
            psi = np.stack([c.influence(kept[:, k], float(betas[k, b])) for c in columns], axis=1)
            out[k, b] = clustered(psi, present, p.cluster)
    return out


class _PooledValue:
    """One value under the one normaliser of within=False, on its labelled rows."""

    def __init__(self, p: Population, values: Floats) -> None:
        known = p.labelled(values)
        self.offsets = p.offsets
        self.weight = known.pooled().row_weight()
        self.seen = self.weight > 0
        f = np.where(self.seen, np.nan_to_num(values[p.rows]), 0.0)
        self.first = int(np.argmax(self.seen))
        f = np.where(self.seen, f - f[self.first], 0.0)
        self.centred = np.where(self.seen, f - applied(f, self.weight), 0.0)
        self.present = _per_prompt(self.weight, p.offsets) > 0

    def influence(self, t: Floats, beta: float) -> Floats:
        """Sum over a prompt of (q - w) (f - E_w f) - q gain, (G,)."""
        w, change = self.weight, np.zeros_like(self.weight)
        if not self.seen.any():
            return np.full(len(self.present), np.nan)
        t = np.where(self.seen, t, t[self.seen].max())
        t = t - t[self.first]  # from a pilot: exact where scores agree
        t = t - applied(t, w)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            x = np.where(t == 0, 0.0, t / beta)
            y = np.where(t == t.max(), 0.0, (t - t.max()) / beta)
        if np.abs(x).max() < 0.5:  # q - w as w expm1(l): nothing cancels at small tilts
            change = w * np.expm1(x - np.log1p(applied(np.expm1(x), w)))
        else:
            q = w * np.exp(y)
            change = q / q.sum() - w
        gain = float(applied(change, self.centred))
        return _per_prompt(change * self.centred - (w + change) * gain, self.offsets)


def clustered(psi: Floats, present: NDArray[np.bool_], cluster: NDArray[np.int64] | None) -> Floats:
    """C/(C-1) sum_c psi_c psi_c' over clusters of prompts (theory 2.6); NaN below two clusters. psi (G, J)."""
    psi = np.where(present, psi, 0.0)
    if cluster is not None:
        psi = np.stack([np.bincount(cluster, weights=c) for c in psi.T], axis=1)
        present = np.stack([np.bincount(cluster, weights=c) > 0 for c in present.T], axis=1)
    return unit_covariance(psi, present.astype(float))

"""Gains of values that are models, corrected by gold labels on some prompts (prediction-powered inference)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer.common.notices import listening
from clinometer.common.options import listed, used
from clinometer.common.resampling import t_bounds, unit_errors, worth
from clinometer.common.results import Axes, Result, TiltResult
from clinometer.common.threads import applied
from clinometer.engine.checks import check_strength, need_scores
from clinometer.engine.inputs import BARE, Call, prepare
from clinometer.engine.passes import adjusted, in_range, kept_scores, strength, tilt_of, true_betas
from clinometer.engine.population import Population

from .gains import cells
from .intervals import check_level
from .matched import MatchedRows
from .policy import PolicyGains, policy_gains
from .tails import opened

Floats = NDArray[np.float64]
OF_GOLD = ("win_rate", "win_rate_se", "win_freedom", "harmed", "harmed_se")  # of the gold prompts alone
LINEAR = ("gain", "first_order", "second_order", "first_order_unbiased")  # of a tilt, in the values


@dataclass(frozen=True, repr=False, eq=False)
class PPIResult(Result):
    """Gains corrected by gold labels; axes direction, beta, value, and bounds last.

    `gain` with `se`, `interval` is the corrected one, `gain_values` that of the values as given, `gain_gold` with
    `gain_gold_se` that of the gold prompts alone, `power` the (mean) weight lambda in [0, 1] of the values.

    All are (K, B, J) but for `interval` (K, B, J, 2) and the prompts with gold labels, `n_gold` (J,); gains in
    units of the value.
    """

    axes: ClassVar[Axes] = {
        "direction beta value": "gain se gain_values gain_gold gain_gold_se power",
        "direction beta value bound": "interval",
        "direction beta": "betas",
        "value": "n_gold",
        "direction": "fit_status",
    }

    betas: Floats
    gain: Floats
    se: Floats
    interval: Floats
    gain_values: Floats
    gain_gold: Floats
    gain_gold_se: Floats
    power: Floats
    n_gold: NDArray[np.int64]
    directions: tuple[str, ...]
    values: tuple[str, ...]
    fit_status: tuple[str, ...]
    level: float


@dataclass(frozen=True, repr=False, eq=False)
class GoldCorrection(Result):
    """What gold labels on some prompts make of the gains of values that are models; axes direction, kl, value.

    Attributes
    ----------
    gain_values, interval_values : gains of the values as given, of the policy, with 95 % bounds
    gain_rows_values : of the tilt of the rows, the values as given: what random directions are compared with
    shared, shared_interval : by how much these exceed the corrected ones, (K, B, J), with bounds (K, B, J, 2): what
        the judge and the labels owe to errors they share. Bounds are NaN where gold labels are too rare to show an
        error, and one of them is infinite where they are skewed
    power : weight in [0, 1] of the values where there is no gold
    n_gold : (J,) prompts with a gold label
    policy : PolicyGains, corrected; a value without gold stays as given
    """

    axes: ClassVar[Axes] = {
        "direction kl value": "gain_values gain_rows_values shared power",
        "direction kl value bound": "interval_values shared_interval",
        "value": "n_gold",
        "direction kl": "kl",
    }

    kl: Floats
    gain_values: Floats
    shared: Floats
    shared_interval: Floats
    power: Floats
    n_gold: NDArray[np.int64]
    directions: tuple[str, ...]
    values: tuple[str, ...]
    policy: PolicyGains
    interval_values: Floats
    gain_rows_values: Floats | None = None


def gold_labels(call: Call, gold: Any, n_asked: int) -> Floats:
    """Gold labels (N, J) of the first n_asked values in the dump's order, NaN where there are none."""
    truth = np.full((call.dump.n_rows, call.n_values), np.nan)
    asked = replace(call, values=np.asarray(call.values)[:, :n_asked], value_names=call.value_names[:n_asked])
    truth[:, :n_asked] = _gold(asked, gold)
    return truth


def corrected(
    call: Call, kept: Floats, truth: Floats, kl: Floats | None, start: Floats | None, n_asked: int
) -> GoldCorrection:
    """Policy gains corrected by `gold_labels` of the first n_asked values (prediction-powered inference, PPI++).

    With g(y) of the gold labels, and g(f | gold), g(f) of the values on the gold prompts and on all, the gain is
    g(y) - lambda (g(f | gold) - g(f)): the bracket has mean 0 if gold prompts are a random sample, and lambda in
    [0, 1] is what leaves least variance: the slope of g(y) in g(f | gold) over the units with gold labels. Each
    unit's comes from the others: chosen on what it corrects, it would draw gains to 0.
    """
    J = call.n_values
    p = policy_gains(_both(call, truth), kept, kl, start)
    f, y, on_gold = _parts(J)
    known, labelled = (
        np.add.reduceat(~np.isnan(x[call.population.rows]), call.population.offsets[:-1], axis=0) > 0
        for x in (truth, np.asarray(call.values))
    )
    n_gold = known.sum(axis=0)
    rest = 1.0 - call.population.prompt_weight() @ known / (call.population.prompt_weight() @ labelled)
    psi = p._influence
    lam, drawn = _powers(psi[..., y], psi[..., on_gold], p._held[:, y], rest)
    given = np.arange(J) >= n_asked  # no gold was asked for
    paid = p.gain[..., y] - lam * (p.gain[..., on_gold] - p.gain[..., f]) - drawn.sum(axis=0)
    gain = np.where(given, p.gain[..., f], paid)
    influence = np.where(given, psi[..., f], psi[..., y] - lam * (psi[..., on_gold] - psi[..., f]) - drawn)
    held = np.where(given, p._held[:, f], p._held[:, y])
    unseen = np.where(given, p.unseen[f], np.where(p.unseen[y] != "", p.unseen[y], p.unseen[on_gold]))
    by_score = np.where(given, p.labelled_by_score[:, f], p.labelled_by_score[:, f] | p.labelled_by_score[:, y])
    side = p.skewed
    skewed = np.where(given, side[..., f], np.where(side[..., y] != 0, side[..., y], side[..., on_gold]))
    se, freedom = (np.where(unseen != "", np.nan, x) for x in _of_units(influence, held))
    shared_se, shared_freedom = _of_units(psi[..., f] - influence, held)
    shared, shared_se = p.gain[..., f] - gain, np.where(unseen != "", np.nan, shared_se)
    shared_bounds = t_bounds(shared, shared_se, shared_freedom + 1, 0.95)
    null_se, lopsided = np.where(given, p.null_se[..., f], np.nan), np.where(given, p.lopsided[f], 0)
    others = {name: np.where(given, getattr(p, name)[..., f], getattr(p, name)[..., y]) for name in OF_GOLD}
    plain = t_bounds(gain, se, freedom + 1, 0.95)
    made = replace(
        p, gain=gain, gain_se=se, null_se=null_se, freedom=freedom,
        interval=opened(plain, gain, skewed, null_se, 0.95, lopsided, p.overshoot[..., None]),
        win_interval=np.where(given[:, None], p.win_interval[..., f, :], p.win_interval[..., y, :]),
        values=call.value_names, unseen=unseen, labelled_by_score=by_score, skewed=skewed, lopsided=lopsided,
        _influence=influence, _held=held, **others,
    )  # fmt: skip
    return GoldCorrection(
        p.kl, p.gain[..., f], shared, opened(shared_bounds, shared, -skewed), lam, n_gold, p.directions,
        call.value_names, made, p.interval[..., f, :],
    )  # fmt: skip


def _powers(y: Floats, on_gold: Floats, held: Floats, rest: Floats) -> tuple[Floats, Floats]:
    """Mean lambda (K, B, J) of the units, and (C, K, B, J) what each one's own, less the mean, takes off its gain.

    From influences y, on_gold (C, K, B, J) of units of weight held (C, J); `rest` (J,) is the share of prompts without
    gold: the lambdas depend on the gold prompts alone, so that they are to weigh the values of the others alone.
    """
    of_gold = np.where((held > 0)[:, None, None], on_gold, 0.0)
    top, square = y * of_gold, of_gold * of_gold
    spread = square.sum(axis=0) - square
    lam = np.clip((top.sum(axis=0) - top) / np.where(spread > 0, spread, 1.0), 0.0, 1.0)
    weight = (held / np.maximum(held.sum(axis=0), 1e-300))[:, None, None]
    mean = (weight * lam).sum(axis=0)
    return mean, rest * (lam - mean) * of_gold


def _parts(J: int) -> tuple[slice, slice, slice]:
    """Columns of `_both`: the values, the gold labels, the values where there are gold labels."""
    return slice(0, J), slice(J, 2 * J), slice(2 * J, 3 * J)


def corrected_tilt(
    call: Call, kept: Floats, tilt: TiltResult, truth: Floats, power: Floats, n_asked: int
) -> TiltResult:
    """The tilt of the rows with what is linear in the values corrected as `corrected` does, by its `power`.

    Win rates are those of the gold labels, and a corrected first order has no error here (NaN).
    """
    J = call.n_values
    both = tilt_of(replace(_both(call, truth), progress=None), kept, tilt.betas, pareto_k=False, roots_in_kl=False)
    given, own = np.arange(J) >= n_asked, np.eye(J)
    weights = np.where(given, 1.0, power), np.where(given, 0.0, np.ones(power.shape)), np.where(given, 0.0, -power)
    mix = np.concatenate([own * x[..., None] for x in weights], axis=-1)  # (K, B, J, 3 J), as `_both` has them

    def linear(x: Floats) -> Floats:
        return np.asarray(np.where(mix != 0, mix * x[..., None, :], 0.0).sum(axis=-1))

    spread = np.einsum("kbij,kbjl,kbml->kbim", mix, np.nan_to_num(both._gain_cov), mix)
    made: dict[str, Any] = {name: np.where(given, getattr(tilt, name), linear(getattr(both, name))) for name in LINEAR}
    se = np.where(np.isnan(made["gain"]), np.nan, np.sqrt(np.einsum("kbii->kbi", spread)))
    return replace(
        tilt, **made, gain_se=np.where(given, tilt.gain_se, se), _gain_cov=spread,
        win_rate=np.where(given, tilt.win_rate, both.win_rate[..., _parts(J)[1]]),
        first_order_se=np.where(given, tilt.first_order_se, np.nan),
    )  # fmt: skip


def _of_units(influence: Floats, held: Floats) -> tuple[Floats, Floats]:
    """Errors and degrees of freedom (K, B, J) of influences (C, K, B, J) on units of weight held (C, J)."""
    shape = influence.shape[1:]
    wide = np.broadcast_to(held[:, None, None], influence.shape).reshape(len(held), -1)
    flat = influence.reshape(len(held), -1)
    se, freedom = unit_errors(flat, wide).reshape(shape), worth(flat, wide).reshape(shape) - 1
    none = ~(np.abs(influence).max(axis=0) > 0)
    return np.where(none, np.nan, se), np.where(none, np.nan, freedom)


@listed("within")
def ppi_gain(
    dump: Any, directions: Any, betas: Any = None, values: Any = None, *, gold: Any, kl: Any = None,
    adjust: Any = None, power: float | None = None, level: float = 0.95, **options: Any,
) -> PPIResult:  # fmt: skip
    """Gains of the gold labels, from many model labels and a few gold ones (theory 10.5).

    With c_x(f) the gain of f in prompt x, over prompts without (u) and with gold labels (g):
    gain = lambda mean_u c(f) + mean_g (c(y) - lambda c(f)), unbiased for any lambda that does not depend on these
    means, however wrong the values are, if the gold prompts are a random sample. lambda of n gold prompts beside N,
    Cov_g(c(y), c(f)) / ((1 + n/N) Var_g c(f)) cut to [0, 1], is the choice of least variance (PPI++); useless values
    get 0 and gold labels alone are left. Each prompt's (or cluster's) lambda comes from the other gold prompts: one
    chosen on what it corrects draws gains to 0, by a fifth and more where few prompts have long tails.

    Parameters
    ----------
    directions, betas, values, kl, adjust : as in `tilt`; values are the model's labels
    gold : gold labels of the values in the same order and sign: column names, (N,) or (N, J), NaN where there are
        none. Label whole prompts: in one labelled in part, this tilt is among its labelled rows
    power : lambda, or None for the best, of which the result has the mean
    level : coverage of the interval, by Student's t over the prompts or clusters with gold labels (their
        effective number), at the betas given or solved; NaN where gold labels are too rare to show an
        error (`PolicyGains.unseen`), and one of them infinite where they are skewed (`PolicyGains.skewed`)

    Returns
    -------
    PPIResult, axes direction, beta, value. Cost: one pass, then work on kept scores.

    Errors: ValueError for gold labels of another length, none of a value, or a power outside [0, 1].

    >>> import numpy as np, clinometer as cm
    >>> world = cm.simulate(n_prompts=100, n_responses=8, dim=4, n_values=1, random_state=1)
    >>> gold = np.where(np.repeat(np.arange(100), 8) < 40, np.asarray(world.columns["s"]), np.nan)
    >>> found = cm.inference.ppi_gain(world, "judge/c0", values="judge/c0", gold=gold, kl=[0.1])
    >>> found.n_gold.tolist(), bool(found.se[0, 0, 0] < found.gain_gold_se[0, 0, 0])
    ([40], True)
    """
    check_level(level)
    if power is not None and (isinstance(power, bool) or not isinstance(power, (int, float)) or not 0 <= power <= 1):
        raise ValueError(f"power is {power!r}, wanted None or a number from 0 to 1")
    call = prepare(dump, directions, values, **used("ppi_gain", options, within="is of gains inside prompts"))
    need_scores(call)
    check_strength(betas, kl, call.n_scores)
    if call.n_values == 0:
        raise ValueError("values is empty, wanted at least one value")
    truth = _gold(call, gold)
    kept, exponent = in_range(adjusted(call, kept_scores(call), adjust))
    table = strength(call, kept, exponent, betas, kl)
    both = _both(call, truth)
    J = call.n_values
    shape = (*table.shape, J)
    arrays = {name: np.full(shape, np.nan) for name in ("gain", "se", "values", "gold", "gold_se", "power", "units")}
    n_gold = np.zeros(J, np.int64)
    for cell in cells(both, kept, table):
        for j in range(J):
            own = _Value(cell.gain[:, j], cell.gain[:, J + j], cell.gain[:, 2 * J + j], call.population)
            at = (cell.k, cell.b, j)
            n_gold[j] = int(own.gold.sum())
            arrays["values"][at] = applied(np.nan_to_num(own.f), cell.share[:, j])
            lam = own.best_power() if power is None else np.full(len(own.f), float(power))
            arrays["power"][at] = applied(lam, own.in_gold)
            arrays["gain"][at], arrays["se"][at], arrays["units"][at] = own.corrected(lam)
            arrays["gold"][at], arrays["gold_se"][at], _ = own.corrected(0.0)
    table = true_betas(call, table, exponent, betas)
    on_gold = MatchedRows(replace(call, values=truth))
    interval = t_bounds(arrays["gain"], arrays["se"], arrays["units"], level)
    interval = opened(interval, arrays["gain"], np.array([law.rare for law in on_gold.tails]))
    interval[..., on_gold.unseen != "", :] = np.nan
    return PPIResult(
        table, arrays["gain"], arrays["se"], interval, arrays["values"], arrays["gold"], arrays["gold_se"],
        arrays["power"], n_gold, call.names, call.value_names, call.fit_status, float(level),
    )  # fmt: skip


def _gold(call: Call, gold: Any) -> Floats:
    ids = np.zeros(call.dump.n_rows, np.int64) if call.ids is None else call.ids
    try:
        with listening(BARE):  # without a label of some value there is an error below
            found = prepare(call.dump, None, gold, prompt_ids=ids)
    except (ValueError, TypeError) as error:
        raise type(error)(f"gold: {error}") from None
    truth = found.values
    if truth is None or truth.shape[1] != call.n_values:
        have = 0 if truth is None else truth.shape[1]
        raise ValueError(f"gold has {have} columns, wanted {call.n_values}: one for each value, in their order")
    _same_names(found.value_names, call.value_names)
    for j, name in enumerate(call.value_names):
        if np.isnan(truth[call.population.rows, j]).all():
            raise ValueError(f"gold: no row has a gold label of {name!r}")
    return truth


def _same_names(gold: tuple[str, ...], values: tuple[str, ...]) -> None:
    """Refuse gold under the name of another value, or of its column where the value is that column negated."""
    for own, value in zip(gold, values, strict=True):
        if own != value and own in values:
            raise ValueError(f"gold: {own!r} stands where {value!r} is wanted: bring it into the order of the values")
        if "-" + own == value:
            raise ValueError(f"gold: {own!r} stands for {value!r}: negate it and name it so, or pass an array")


def _both(call: Call, truth: Floats) -> Call:
    """Values, gold labels, and values where there are gold labels, as 3 J columns of one call."""
    values = np.asarray(call.values)
    on_gold = np.where(np.isnan(truth), np.nan, values)
    return replace(call, values=np.ascontiguousarray(np.concatenate([values, truth, on_gold], axis=1)))


class _Value:
    """Gains by prompt of one value: f over its rows, y of the gold labels, and f on the rows of those."""

    def __init__(self, f: Floats, y: Floats, on_gold: Floats, p: Population) -> None:
        self.f, self.p = f, p
        self.gold = ~np.isnan(y) & ~np.isnan(on_gold) & (p.prompt_weight() > 0)
        self.rest = ~np.isnan(f) & np.isnan(y) & (p.prompt_weight() > 0)
        self.y, self.hat = np.where(self.gold, y, 0.0), np.where(self.gold, on_gold, np.where(self.rest, f, 0.0))
        self.in_gold, self.in_rest = _share(self.gold, p), _share(self.rest, p)

    def best_power(self) -> Floats:
        """lambda of each prompt (G,), chosen on the units of errors other than its own."""
        y, f = (x - applied(x, self.in_gold) for x in (self.y, self.hat))
        g = self.in_gold
        n, N, g, gy, gf, gyf, gff = _without_own(self.p, self.gold, self.rest, g, g * y, g * f, g * y * f, g * f * f)
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = gff / g - (gf / g) ** 2
            best = (gyf / g - gy * gf / g**2) / ((1 + n / N) * spread)
        return np.asarray(np.where((n > 1) & (N > 0) & (spread > 0), np.clip(best, 0.0, 1.0), 0.0))

    def corrected(self, power: Floats | float) -> tuple[float, float, float]:
        """(gain, error, effective units with gold labels): two means, the influence of each unit in both."""
        lam = np.where(self.rest.any(), power, 0.0)
        error = np.where(self.gold, self.y - lam * self.hat, 0.0)
        of_rest = applied(np.broadcast_to(lam, error.shape), self.in_gold) * self.hat
        first, second = applied(of_rest, self.in_rest), applied(error, self.in_gold)
        psi = np.stack([self.in_rest * (of_rest - first), self.in_gold * (error - second)], axis=1)
        factors = []
        for present in (self.rest, self.gold):
            units = self.p.unit_sums(present[:, None].astype(float)) > 0
            n = int(units.sum())
            factors.append(np.sqrt(n / (n - 1)) if n > 1 else (np.nan if present is self.gold else 0.0))
        units = self.p.unit_sums(psi) @ np.array(factors)
        held = self.p.unit_sums(self.in_gold[:, None])
        return float(first + second), float(np.sqrt((units**2).sum())), float(worth(units[:, None], held)[0])


def _without_own(p: Population, *columns: NDArray[Any]) -> Floats:
    """Sums of columns (G,) over all prompts but those of the prompt's own unit of errors, (columns, G)."""
    x = np.stack(columns, axis=1).astype(float)
    own = p.unit_sums(x)
    return np.asarray((x.sum(axis=0) - (own if p.cluster is None else own[p.cluster])).T)


def _share(mask: NDArray[np.bool_], p: Population) -> Floats:
    omega = np.where(mask, p.prompt_weight(), 0.0)
    return np.asarray(omega / max(omega.sum(), 1e-300))

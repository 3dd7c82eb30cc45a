"""The passes over the rows, one function each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer import _core
from clinometer.common import memory
from clinometer.common.notices import listening
from clinometer.common.options import listed, used
from clinometer.common.results import CrossCovarianceResult, Moments, TiltedMeanResult, TiltResult
from clinometer.common.threads import applied
from clinometer.dump import open_dump
from clinometer.dump.directions import Scores

from . import kl as roots
from .adjusting import net_of
from .cautions import warn_of_stillness
from .checks import (
    DEFAULT_KL,
    check_ddof,
    check_strength,
    checked_betas,
    checked_kl,
    need_finite,
    need_float32,
    need_projection,
    need_rows,
    need_scores,
)
from .inputs import WIDTHS, Call, prepare, run, tops
from .population import Population

Floats = NDArray[np.float64]
KEPT_BYTES = 1 << 30
LARGE = 2.0**100  # fourth powers of scores and values up to here, and down to one over it, are plain numbers
_NO_ERRORS = "has no errors and deals no folds that it could cluster"
_ROWWISE = "scores each row alone"
SUMS_BYTES = 1 << 26  # of one state of a tilted mean


@listed("within", "clusters")
def score(dump: Any, directions: Any, *, out: NDArray[Any] | None = None, **options: Any) -> NDArray[Any]:
    """Scores <u_k, phi_i> of every row, in dump order.

    Parameters
    ----------
    dump : Dump, path or (N, d) array
    directions : (K, d) array, Directions, DirectionFit, column names or Scores
    out : (N, K) float32 (float64 in double), optional
    **options : the base policy and pass options of every function (`precision`, `n_threads`, ...). Scores of half
        rows may also have ``precision="bfloat16"``: directions are rounded to bfloat16, to nearest and once, which
        moves a score by at most 2^-8 sum_i |u_i x_i|; all else is "mixed"

    Returns
    -------
    (N, K) float32, float64 with ``precision="double"``. Rows of dropped prompts, and rows of weight 0
    (prompt weight 0, count 0, probability 0), are NaN.

    Cost: one pass over the dump. See theory 0.1.

    Errors: DumpError for a row that holds NaN or Inf (the first and their number are named); ValueError where
    directions and rows differ in width, or "bfloat16" is asked of rows that are not half.

    >>> import numpy as np, clinometer as cm
    >>> cm.score(np.eye(3, dtype=np.float32), [[1.0, 2.0, 3.0]], prompt_ids=[0, 0, 1]).ravel().tolist()
    [1.0, 2.0, 3.0]
    """
    options = used("score", options, within=_ROWWISE, clusters=_NO_ERRORS)
    rounded = options.get("precision") == "bfloat16"
    with listening("no prompt ids"):
        call = prepare(dump, directions, **(options | {"precision": "mixed"} if rounded else options))
    need_scores(call)
    if rounded:
        call.directions, call.rounded = _rounded(call), True
    dtype = np.float64 if call.in_double else np.float32
    shape = (call.dump.n_rows, call.n_scores)
    if out is None:
        out = _blank(call, shape, dtype)
    elif not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous:
        raise ValueError(f"out must be a C-contiguous {np.dtype(dtype).name} array of shape {shape}")
    table = out if call.order is None else _blank(call, shape, dtype)
    run(call, [_core.Scores(0, call.n_scores, table, not call.in_double, False, False)], population=call.population)
    need_float32(call, table)
    if call.order is not None:
        out[...] = table[:, call.order]
    return out


def _rounded(call: Call) -> Floats | None:
    """Directions of eight significant bits, as bfloat16 has them; ties to even."""
    if WIDTHS[call.dump.dtype] != 2:
        raise ValueError(
            f"precision is 'bfloat16', which is for rows of float16 or bfloat16; these are {call.dump.dtype}"
        )
    if call.directions is None:
        return None
    mantissa, power = np.frexp(call.directions)
    return np.asarray(np.ldexp(np.rint(256 * mantissa), power - 8))


def _blank(call: Call, shape: tuple[int, int], dtype: Any) -> NDArray[Any]:
    """NaN for the rows that a pass leaves out; where it leaves out none, its threads touch the memory first."""
    whole = call.population.n_rows == call.dump.n_rows
    return np.empty(shape, dtype) if whole else np.full(shape, np.nan, dtype)


@listed("clusters", "check_source")
def moments(dump: Any, *, within: bool = True, ddof: int = 0, covariance: bool = True, **options: Any) -> Moments:
    """Mean and covariance Sigma = E_x Cov_{y|x}(phi) of the rows (theory 0.3).

    Parameters
    ----------
    within : covariances inside prompts; False gives the covariance over all rows with weights omega_x w_i
    ddof : 1 scales each prompt by n/(n-1) and leaves out singletons
    covariance : False for variances alone, without a d x d matrix

    Returns
    -------
    Moments with .mean (d,) in the unit of phi, .covariance (d, d) float64 or None and .variances (d,) in its square

    Cost: one pass, N d^2 multiply-adds with the covariance; d^2 / 2 float64 for each node of the tree of leaves that
    waits for its sibling, at most log2(N / 8192) + 2 of them, and the result.

    Errors: DumpError for a row that holds NaN or Inf (the first and their number are named); ValueError where ddof is
    neither 0 nor 1.

    >>> import numpy as np, clinometer as cm
    >>> cm.moments(np.array([[0.0], [2.0], [0.0], [2.0], [5.0]]), prompt_ids=[0, 0, 0, 0, 1]).covariance.tolist()
    [[0.5]]
    """
    why = {"clusters": _NO_ERRORS, "check_source": "takes no directions"}
    call = prepare(dump, within=within, **used("moments", options, **why))
    need_rows(call)
    from . import stat

    statistic = stat.Moments(ddof=ddof, covariance=bool(covariance))
    return statistic.result(call, run(call, [statistic.state(call, 0, 0, 0, 0)])[0], (), ())


@listed("clusters")
def covariance_projection(dump: Any, directions: Any, *, within: bool = True, ddof: int = 0, **options: Any) -> Floats:
    """Rows Sigma u_k, with Sigma the within-prompt covariance, which is never formed (theory 3.1).

    Returns
    -------
    (K, d) float64. Cost: one pass, 4 N d K flops.

    Errors: ValueError where directions and rows differ in width or ddof is neither 0 nor 1; DumpError for NaN or
    Inf in a row.

    >>> import numpy as np, clinometer as cm
    >>> cm.covariance_projection(np.array([[0.0, 0.0], [2.0, 1.0]]), [[1.0, 0.0]], prompt_ids=[0, 0]).tolist()
    [[1.0, 0.5]]
    """
    options = used("covariance_projection", options, clusters=_NO_ERRORS)
    call = prepare(dump, directions, within=within, **options)
    need_scores(call)
    n_ddof = check_ddof(ddof, call.population.base)
    if not within and call.n_folds > 1:
        raise ValueError("within=False cannot apply a direction out of fold; pass its .vectors")
    state = run(call, [_core.CovarianceProjection(call.dump.dim, 0, call.n_scores, n_ddof)])[0].finish()
    return _as_given(call, need_projection(call, np.asarray(state["projection"])))


def _as_given(call: Call, rows: Floats) -> Floats:
    """Rows of scores in the caller's order."""
    return rows if call.order is None else rows[call.order]


def origin_table(call: Call) -> Floats:
    """Room for what kept scores are relative to, by leaf: of its own prompts, and of one that goes on behind it."""
    return np.zeros((-(-call.population.n_rows // _core.LEAF_ROWS), 2, call.n_folds, call.n_scores))


def kept_scores(call: Call, origins: Floats | None = None, *, absolute: bool = False) -> Floats:
    """Scores of the counted rows in canonical order, in memory to 1 GiB and in a temporary file beyond.

    They are relative to an origin of each prompt (the one prompt of within=False), which `origins` takes: whatever
    the means of the columns, no digit of a difference inside a prompt is lost. `absolute` gives them with it.
    """
    return kept_beside(call, [], origins, absolute=absolute)[0]


def kept_beside(
    call: Call, states: list[Any], origins: Floats | None = None, *, absolute: bool = False
) -> tuple[Floats, list[Any]]:
    """Kept scores, and further statistics of the same read."""
    # each fold's direction has an origin of its own: only absolute scores share one across prompts
    absolute = absolute or (not call.within and call.n_folds > 1)
    out = memory.empty((call.population.n_rows, call.n_scores), np.float64, KEPT_BYTES, "kept scores")
    population = call.population if call.n_folds > 1 or absolute else call.effective()
    given = None if absolute else origins
    first = _core.Scores(0, call.n_scores, out, False, True, not absolute)
    done = run(call, [first, *states], population=population, origins=given)[1:]
    if call.order is None:
        return out, done
    if given is not None:
        given[...] = given[..., call.order]
    for rows in memory.strips(out):
        out[rows] = out[rows][:, call.order]
    return out, done


def kept_with_spread(
    call: Call, states: list[Any], origins: Floats
) -> tuple[Floats, dict[str, Floats] | None, list[Any]]:
    """Kept scores, their `spread` in the order of the call, and further statistics, from one read."""
    if not call.within and call.n_folds > 1:  # absolute scores by prompt, which are pooled only afterwards
        kept, done = kept_beside(call, states, origins)
        return kept, None, done
    kept, done = kept_beside(call, [*states, _core.ScoreVariance(call.n_scores)], origins)
    spread = done.pop().finish()
    return kept, {n: x if call.order is None else x[call.order] for n, x in spread.items()}, done


def absolute_scores(call: Call, kept: Floats, origins: Floats) -> Floats:
    """Kept scores (N, K) with what they are relative to, which is that of the leaf in which their prompt begins."""
    p = call.effective() if call.n_folds == 1 else call.population
    leaf, last = p.offsets[:-1] // _core.LEAF_ROWS, (p.offsets[1:] - 1) // _core.LEAF_ROWS
    fold = np.zeros(p.n_prompts, np.int64) if call.fold is None else call.fold
    own = origins[leaf, (last > leaf).astype(np.int64), np.minimum(fold, call.n_folds - 1)]
    return np.asarray(kept + p.on_rows(own))


def in_range(kept: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Scores over a power of two of each direction, and its exponents: powers of them neither overflow nor vanish.

    The division is exact, and only t / beta matters to a tilt. Scores of common size are left as they are; large ones
    are left at 2^8, so that 1 / beta stays finite where t / beta does.
    """
    top = np.zeros(kept.shape[1])
    for rows in memory.strips(kept):
        np.maximum(top, tops(kept[rows]), out=top)
    extreme = (top > LARGE) | ((top > 0) & (top < 1 / LARGE))
    exponent = np.where(extreme, np.frexp(top)[1] - np.where(top > 1, 8, 0), 0)
    if not extreme.any():
        return kept, exponent
    out = memory.like(kept, kept.shape[1])
    for rows in memory.strips(kept):
        np.ldexp(kept[rows], -exponent, out=out[rows])
    return out, exponent


def values_in_range(call: Call) -> tuple[Call, NDArray[np.int64]]:
    """The call with its values over a power of two each, and the exponents; those of common size are left."""
    if call.values is None or not call.values.size:
        return call, np.zeros(call.n_values, np.int64)
    top = tops(call.values)
    exponent = np.where((top > LARGE) | ((top > 0) & (top < 1 / LARGE)), np.frexp(top)[1], 0)
    if not exponent.any():
        return call, exponent
    return replace(call, values=np.ldexp(call.values, -exponent)), exponent


def _ldexp(x: Floats, exponent: NDArray[np.int64]) -> Floats:
    """x[k, ...] 2^exponent[k]; what leaves the range becomes 0 or inf."""
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(np.ldexp(x, exponent.reshape(-1, *[1] * (x.ndim - 1))))


def _by_values(x: Floats, exponent: NDArray[np.int64]) -> Floats:
    """x[..., j] 2^exponent[j]; what leaves the range becomes 0 or inf."""
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(np.ldexp(x, exponent)) if exponent.any() else x


def adjusted(call: Call, kept: Floats, adjust: Any) -> Floats:
    """Scores net of the columns of `adjust`, as they are without any."""
    return kept if adjust is None else net_of(call, kept, adjust).kept


@listed()
def cross_covariance(
    dump: Any, directions: Any, values: Any, *, ddof: int | None = None, adjust: Any = None, **options: Any
) -> CrossCovarianceResult:
    """E_x Cov_{y|x}(value, score) with errors clustered by prompt (theory 2.3 and 8.1).

    Parameters
    ----------
    directions, values : as in `tilt`
    ddof : None means 1, and 0 for base="logprob"
    adjust : columns taken out of the scores inside prompts, as in `tilt`

    Returns
    -------
    CrossCovarianceResult with .value .se .correlation (K, J) and .cov(k) (J, J)

    Cost: one pass over the dump; kept scores of 8 N K bytes.

    Errors: ValueError where a column is not in the dump, ddof is neither 0 nor 1, or ddof is 1 with
    base="logprob"; DumpError for NaN or Inf in a row.

    >>> import numpy as np, clinometer as cm
    >>> cm.cross_covariance(np.array([[0.0], [1.0]]), [[1.0]], np.array([0.0, 4.0]), prompt_ids=[0, 0]).value.tolist()
    [[2.0]]
    """
    call = prepare(dump, directions, values, any_size=True, **options)
    need_scores(call)
    n_ddof = check_ddof((0 if call.population.base == "logprob" else 1) if ddof is None else ddof, call.population.base)
    if call.n_values == 0:
        raise ValueError("values is empty, wanted at least one value")
    warn_of_stillness(call)
    return covariance_of(call, adjusted(call, kept_scores(call), adjust), n_ddof)


def covariance_of(call: Call, kept: Floats, n_ddof: int) -> CrossCovarianceResult:
    """`cross_covariance` of kept scores (N, K)."""
    kept, scale = in_range(kept)
    call, units = values_in_range(call)
    if call.within:
        state = run(call, [_core.CrossCovariance(0, call.n_scores, 0, call.n_values, n_ddof)], kept=kept)[0].finish()
        se, joint = state["se"], state["cov"]
    else:
        state = _by_value(call, kept, lambda: _core.CrossCovariance(0, call.n_scores, 0, 1, n_ddof))
        se, joint = _pooled_covariance_errors(call, kept, n_ddof)
    p = call.population
    value, se, joint = _ldexp(state["value"], scale), _ldexp(se, scale), _ldexp(joint, 2 * scale)
    value, se, joint = _by_values(value, units), _by_values(se, units), _by_values(joint, units[:, None] + units)
    return CrossCovarianceResult(
        value, se, state["correlation"], joint, call.names, call.value_names,
        p.n_rows, p.n_prompts, p.n_dropped, call.n_unlabelled, call.fit_status,
    )  # fmt: skip


def _by_value(call: Call, kept: Floats, statistic: Callable[[], Any]) -> dict[str, Floats]:
    """Under one normaliser each value has the population of its own labels: a fold for each, values last."""
    parts = []
    for v in np.asarray(call.values).T:
        one = replace(call, values=np.ascontiguousarray(v[:, None]), progress=None)
        p = call.population.labelled(v) if not np.isnan(v).all() else call.population
        parts.append(run(one, [statistic()], kept=kept, population=p.pooled())[0].finish())
    names = ("value", "correlation", "baseline", "gain", "win_rate", "first_order", "second_order",
             "first_order_unbiased", "cumulants")  # fmt: skip
    return {n: np.concatenate([s[n] for s in parts], axis=-1) for n in names if n in parts[0]}


def _pooled_covariance_errors(call: Call, kept: Floats, ddof: int) -> tuple[Floats, Floats]:
    """Errors (K, J) and joint covariance (K, J, J) of within=False covariances, by influence of each prompt."""
    K, J, p = kept.shape[1], call.n_values, call.population
    psi, present = np.zeros((K, p.n_prompts, J)), np.zeros((p.n_prompts, J), bool)
    for j, v in enumerate(np.asarray(call.values).T):
        if np.isnan(v).all():
            continue
        one = p.labelled(v).pooled()
        w, factor = one.row_weight(), one.unbias[0] if ddof and one.unbias is not None else 1.0
        f = np.where(w > 0, np.nan_to_num(v[p.rows]), 0.0)
        product = factor * _centred(kept, w) * _centred(f, w)[:, None]
        terms = w[:, None] * (product - applied(product.T, w))
        psi[:, :, j] = p.sums(terms).T
        present[:, j] = p.sums(w) > 0 if factor else False
    joint = np.stack([roots.clustered(one, present, p.cluster) for one in psi])
    return np.sqrt(np.einsum("kjj->kj", joint)), joint


def _centred(x: Floats, w: Floats) -> Floats:
    """Less the weighted mean; from a pilot, so that a column that does not vary gives zeros."""
    x = x - x[:1]
    return np.asarray(x - applied(x.T, w))


def strength(
    call: Call, kept: Floats, scale: NDArray[np.int64], betas: Any, kl: Any, variance: Floats | None = None
) -> Floats:
    """betas (K, B) in units of the kept scores."""
    if betas is not None:
        return _ldexp(checked_betas(betas, call.n_scores), -scale)
    return roots.solve(call, kept, checked_kl(DEFAULT_KL if kl is None else kl), call.names, variance)


def true_betas(call: Call, table: Floats, scale: NDArray[np.int64], betas: Any) -> Floats:
    """betas (K, B) in the caller's units: those given, bit for bit, or those solved on scaled scores."""
    if betas is not None:
        return checked_betas(betas, call.n_scores)
    true = _ldexp(table, scale)
    lost = ((np.isinf(true) & np.isfinite(table)) | ((true == 0) & (table > 0))).any(axis=1)
    if lost.any():
        name = call.names[int(np.argmax(lost))]
        raise ValueError(f"kl: its beta for the scores of {name!r} is beyond float64; rescale these scores")
    return true


@listed()
def tilt(
    dump: Any, directions: Any, betas: Any = None, values: Any = None, *, kl: Any = None, adjust: Any = None,
    pareto_k: bool = True, **options: Any,
) -> TiltResult:  # fmt: skip
    """What pi(y|x) proportional to pi0(y|x) exp(t/beta) does to each value: exact on rows and first order (theory 2).

    Parameters
    ----------
    dump : Dump, path, array; or ``cm.Scores`` with ``directions=None``
    directions : (K, d) array, Directions, DirectionFit, names of judge columns, or Scores
    betas : (B,) or (K, B), each >= 0; inf is the base policy, 0 the argmax limit. Exactly one of betas and kl
    values : names of columns ("-harm": smaller is better), (N,) or (N, J); NaN means unlabelled. What has no names is
        called value0, value1, ...; of a DirectionFit pass ``cm.score(dump, fit)``
    kl : nats, solved per direction; default 0.1, 0.25, 0.5, 1 when betas is not given either
    adjust : columns taken out of the score inside prompts: names such as "n_tokens", arrays (N,) or (N, m), lists of
        them; by smooth curves fitted on other prompts, or as `Adjust` says. `.adjusted_r2` is what they explain of the
        score and `.adjusted_gone` the share of each gain that goes with them, to first order and at equal KL: what is
        left of the score is tilted harder
    pareto_k : False skips the tail index

    Returns
    -------
    TiltResult, axes direction, beta, value. Gains, win rates and KL are those of these rows, of which n responses a
    prompt fall short of the policy's (theory 2.5): what training gains is in `report` and `inference.gain_intervals`.

    Cost: one pass over the dump, kept scores of 8 N K bytes, then passes over the scores alone.

    Errors: DumpError for a row that holds NaN or Inf (the first and their number are named); ValueError where both
    betas and kl are given, a beta is below 0, or values have another length than the dump.

    >>> import numpy as np, clinometer as cm
    >>> scores = cm.Scores(np.array([[0.0], [1.0]]), prompt_ids=[0, 0])
    >>> round(float(cm.tilt(scores, None, [1.0], np.array([0.0, 1.0])).gain[0, 0, 0]), 4)
    0.2311
    """
    if isinstance(dump, Scores):
        dump, directions = score_dump(dump, directions)
    call = prepare(dump, directions, values, any_size=True, **options)
    need_scores(call)
    check_strength(betas, kl, call.n_scores)
    warn_of_stillness(call)
    origins = origin_table(call)
    if adjust is None:
        kept, spread = kept_with_spread(call, [], origins)[:2]
        return tilt_of(call, kept, betas, kl, pareto_k=pareto_k, origins=origins, spread=spread)
    kept = kept_scores(call, origins)
    net = net_of(call, kept, adjust)
    result = tilt_of(call, net.kept, betas, kl, pareto_k=pareto_k, origins=origins)
    return replace(result, adjusted_r2=net.r2, adjusted_gone=_gone(call, kept, net.kept))


def _gone(call: Call, kept: Floats, net: Floats) -> Floats:
    """1 less the ratio of the correlations with each value, of net scores to scores, (K, J)."""
    quiet = replace(call, progress=None)
    if not call.n_values:
        return np.zeros((call.n_scores, 0))
    before, after = (covariance_of(quiet, t, 0).correlation for t in (kept, net))
    after = np.where(np.abs(net).max(axis=0, initial=0.0)[:, None] > 0, after, 0.0)  # nothing is left
    return np.asarray(1 - np.divide(after, before, out=np.full(before.shape, np.nan), where=before != 0))


IN_UNITS = ("baseline", "gain", "gain_se", "first_order", "second_order", "first_order_unbiased", "first_order_se")


def tilt_of(
    call: Call, kept: Floats, betas: Any = None, kl: Any = None, *, pareto_k: bool = True, roots_in_kl: bool = True,
    origins: Floats | None = None, spread: dict[str, Floats] | None = None,
) -> TiltResult:  # fmt: skip
    """`tilt` of kept scores (N, K), which are relative to `origins` and vary by `spread` if given.

    Without `roots_in_kl` sign flips and horizons are NaN and not computed.
    """
    spread = roots.spread(call, kept) if spread is None else spread
    kept, scale = in_range(kept)
    spread = roots.spread(call, kept) if scale.any() else spread
    call, units = values_in_range(call)
    table = strength(call, kept, scale, betas, kl, spread["variance"])
    reweight = call.population.base == "reweight"
    statistic = _core.Tilt(0, call.n_scores, 0, call.n_values, table, reweight, not call.in_double)
    moved = None if origins is None else np.ldexp(origins, -scale)
    levels = roots.first_levels(call, kept, spread["variance"]) if roots_in_kl else None
    done = run(call, [statistic] if levels is None else [statistic, levels], kept=kept, origins=moved)
    found = done[0].finish() | {"levels": None if levels is None else done[1].finish()}
    scaled = _tilt_result(call, kept, table, found, spread, pareto_k, roots_in_kl)
    if units.any():
        own: dict[str, Any] = {name: _by_values(getattr(scaled, name), units) for name in IN_UNITS}
        scaled = replace(scaled, **own, _gain_cov=_by_values(scaled._gain_cov, units[:, None] + units))
    if not scale.any():
        return scaled
    true = true_betas(call, table, scale, betas)
    radius, flip = _ldexp(scaled.linear_radius, -scale), _ldexp(scaled.sign_flip, -scale)
    return replace(scaled, betas=true, linear_radius=radius, sign_flip=flip)


def score_dump(scores: Scores, directions: Any) -> tuple[Any, Any]:
    if directions is not None:
        raise ValueError("directions must be None when scores are passed in place of a dump")
    n = len(scores.array)
    carrier = np.broadcast_to(np.zeros((1, 1), np.float32), (n, 1))  # no rows are read: only prompts and N matter
    dump = open_dump(carrier, prompt_ids=scores.own_ids())
    return dump.with_options(labels=None if scores.labels is None else scores.labels.labels), scores


def _tilt_result(
    call: Call, kept: Floats, betas: Floats, s: dict[str, Any], spread: dict[str, Floats], pareto: bool,
    roots_in_kl: bool,
) -> TiltResult:  # fmt: skip
    p, (K, B), J = call.population, betas.shape, call.n_values
    se, joint = s["gain_se"], s["gain_cov"]
    unbiased_se = s["first_order_se"]
    if not call.within and J:
        joint = roots.pooled_errors(call, kept, betas, np.asarray(call.values))
        se = np.sqrt(np.einsum("kbjj->kbj", joint))
        s = s | _by_value(call, kept, lambda: _core.Tilt(0, K, 0, 1, betas, False, not call.in_double))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            unbiased_se = _pooled_covariance_errors(call, kept, 1)[0][:, None, :] / betas[..., None]
    unbiased = s["first_order_unbiased"]
    if p.base == "logprob":
        unbiased, unbiased_se = np.full_like(unbiased, np.nan), np.full_like(unbiased_se, np.nan)
    k2, k3, k4 = np.moveaxis(s["cumulants"], 1, 0) if J else (np.zeros((K, 0)),) * 3
    strict, sized, flips = np.full(K, np.nan), np.full(K, np.nan), np.full((K, J), np.nan)
    draws = roots.written_out(call, kept) if pareto or roots_in_kl else (call, kept)
    if roots_in_kl:
        flips = _sign_flip(call, kept, betas, s["gain"], k2)
        strict, sized = roots.horizons(*draws, spread["variance"], s["levels"])
    variance = spread["variance" if p.base == "logprob" else "unbiased"]
    tails, why = np.full((K, B), np.nan), np.full((K, B), "not asked for")
    if pareto:
        tails, why = roots.pareto_table(*draws, betas)
    return TiltResult(
        betas=betas, baseline=s["baseline"], gain=s["gain"], gain_se=se, win_rate=s["win_rate"],
        kl=s["kl"], reverse_kl=s["reverse_kl"], chi2=s["chi2"], ess=s["ess"], ess_min=s["ess_min"],
        max_ratio=s["max_ratio"],
        pareto_k=tails, pareto_status=why,
        log_partition=s["log_partition"], log_partition_centred=s["log_partition_centred"],
        first_order=s["first_order"], second_order=s["second_order"],
        first_order_unbiased=unbiased, first_order_se=unbiased_se,
        linear_radius=linear_radius(k2, k3, k4), sign_flip=flips,
        kl_horizon=strict, kl_horizon_sized=sized, gaussian_kl=roots.gaussian_kl(variance, betas),
        directions=call.names, values=call.value_names, n_rows=p.n_rows, n_prompts=p.n_prompts,
        n_prompts_unbiased=_n_unbiased(p), n_dropped=p.n_dropped, n_unlabelled=call.n_unlabelled,
        fit_status=call.fit_status, policy=call.dump.policy, _gain_cov=joint,
    )  # fmt: skip


def _n_unbiased(p: Population) -> int:
    """Prompts with a ddof-1 factor: two draws or more, none for "logprob"."""
    known = p.sizes > 1 if p.unbias is None else p.unbias > 0
    return int((known & (p.prompt_weight() > 0)).sum())


def linear_radius(k2: Floats, k3: Floats, k4: Floats, q: float = 0.1) -> Floats:
    """Tilt up to which first order is within a fraction q, by the cumulant series (theory 2.4)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        cubic = np.where(k3 == 0, np.inf, 2 * q * np.abs(k2 / k3))
        quartic = np.where(k4 == 0, np.inf, np.sqrt(6 * q * np.abs(k2 / k4)))
    radius = np.where(k2 == 0, 0.0, np.minimum(cubic, quartic))
    return np.where((k3 == 0) & (k4 == 0), np.inf, radius)


FLIP_POINTS, FLIP_APART, FLIP_WALKS = 32, 0.06, 4  # points of a bracket at most, so far apart in log lam, and walks
FLIP_STEPS = 4.0 ** np.array([0, 1, 3])  # to either side of where it seems to be, in units of the error


def _sign_flip(call: Call, kept: Floats, betas: Floats, gain: Floats, k2: Floats) -> Floats:
    """Smallest 1/beta at which a gain crosses zero, (K, J): bracketed on the betas, refined on kept scores."""
    with np.errstate(divide="ignore", over="ignore"):  # 1 / 5e-324 is inf, as 1 / 0 is
        lam = 1 / betas
    order = np.argsort(lam, axis=1, kind="stable")
    lam = np.take_along_axis(lam, order, axis=1)
    gain = np.take_along_axis(gain, order[..., None], axis=1)
    crossed = (gain * np.sign(k2)[:, None] < 0) & (lam > 0)[..., None]
    first = crossed.argmax(axis=1)
    high, low = (np.take_along_axis(lam, np.maximum(at, 0), axis=1) for at in (first, first - 1))
    out = np.where(crossed.any(axis=1), high, np.inf)
    k, j = np.nonzero(np.isfinite(out))
    for js in [j] if call.within else [j[j == one] for one in np.unique(j)]:  # else each value has its own population
        some = k if call.within else k[j == js[0]]
        if len(some):
            below = np.where(first[some, js] > 0, low[some, js], 0.0)
            out[some, js] = _refined(call, kept, some, js, np.sign(k2[some, js]), below, high[some, js])
    return out


def _refined(
    call: Call, kept: Floats, ks: NDArray[np.int64], js: NDArray[np.int64], sign: Floats, low: Floats, high: Floats
) -> Floats:  # fmt: skip
    """Where gain / lam of each direction and value first crosses zero between low and high, for all of them at once.

    A walk over the kept scores looks at points all over the brackets, of which narrow ones need few, and the next ones
    at points around where the cubic through the nearest of them crosses.
    """
    held, at = np.unique(js, return_inverse=True)
    values = np.ascontiguousarray(np.asarray(call.values)[:, held])
    one = replace(call, values=values, progress=None)
    known = None if call.within else call.population.labelled(values[:, 0]).pooled()
    scores, allowed = memory.columns(kept, ks), 1e-9 if call.in_double else 1e-7
    cells, low = np.arange(len(ks)), np.where(low > 0, low, high * 2.0**-20)
    ends = np.log(np.stack([low, high], axis=1))
    many = np.clip(np.ceil(np.ptp(ends, axis=1).max() / FLIP_APART), 4, FLIP_POINTS).astype(int)
    points = ends[:, :1] + np.linspace(0, 1, many) * (ends[:, 1:] - ends[:, :1])
    x, y = np.empty((2, len(ks), 0))
    for _ in range(FLIP_WALKS):
        lam = np.exp(points)
        statistic = _core.Tilt(0, len(ks), 0, len(held), 1 / lam, False, not call.in_double, False)
        gain = run(one, [statistic], kept=scores, population=known)[0].finish()["gain"][cells, :, at]
        x, y = np.append(x, points, axis=1), np.append(y, gain * sign[:, None] / lam, axis=1)
        order = np.argsort(x, axis=1, kind="stable")
        x, y = np.take_along_axis(x, order, axis=1), np.take_along_axis(y, order, axis=1)
        beyond = np.where((y <= 0).any(axis=1), (y <= 0).argmax(axis=1), x.shape[1] - 1)
        inner = x[cells, np.maximum(beyond - 1, 0)], x[cells, beyond]
        near = np.clip(beyond - 2, 0, x.shape[1] - 4)[:, None] + np.arange(4)
        some = np.take_along_axis(x, near, axis=1), np.take_along_axis(y, near, axis=1), np.zeros((len(ks), 1))
        best, rise = roots.inverted(*some, 4)[:, 0], y[cells, np.maximum(beyond - 1, 0)]
        line = inner[0] + (inner[1] - inner[0]) * rise / np.fmax(rise - y[cells, beyond], 1e-300)
        inside = (best > inner[0]) & (best < inner[1])
        off = np.where(inside, np.abs(best - line), (inner[1] - inner[0]) / 4)
        best = np.where(inside, best, np.clip(line, *inner))
        if (off <= allowed).all():
            break
        steps = np.maximum(off, 10 * allowed)[:, None] * FLIP_STEPS
        most = np.linspace(0.5, 0.9, len(FLIP_STEPS))  # of the way to what is known
        below, above = (np.minimum(steps, side[:, None] * most) for side in (best - inner[0], inner[1] - best))
        points = np.append(best[:, None] - below, best[:, None] + above, axis=1)
    return np.asarray(np.exp(best))


@listed("clusters")
def tilted_mean(dump: Any, directions: Any, betas: Any = None, *, kl: Any = None, **options: Any) -> TiltedMeanResult:
    """Mean representation E_x E_{pi_C}[phi] under each tilt (theory 2.2); directions and strengths as in `tilt`.

    Returns
    -------
    TiltedMeanResult with .mean (K, B, d) float64 and .betas (K, B).

    Cost: one pass, 2 N d K (1 + B) flops; with kl= one more for kept scores. States of 8 K B d bytes, in strips
    of at most 64 MiB.

    Errors: DumpError for a row that holds NaN or Inf (the first and their number are named); ValueError where both
    betas and kl are given, or a beta is below 0.

    >>> import numpy as np, clinometer as cm
    >>> cm.tilted_mean(np.array([[0.0], [4.0]]), [[1.0]], [np.inf], prompt_ids=[0, 0]).mean.tolist()
    [[[2.0]]]
    """
    call = prepare(dump, directions, **used("tilted_mean", options, clusters=_NO_ERRORS))
    need_scores(call)
    check_strength(betas, kl, call.n_scores)
    warn_of_stillness(call)
    if betas is not None:
        table = checked_betas(betas, call.n_scores)
    else:
        kept, scale = in_range(kept_scores(call))
        table = _ldexp(strength(call, kept, scale, None, kl), scale)
    own = table if call.order is None else table[np.argsort(call.order)]  # the fold takes projected scores first
    (K, B), d = table.shape, call.dump.dim
    out = np.empty((K, B, d))
    step = max(1, SUMS_BYTES // (8 * K * d))
    for b in range(0, B, step):
        state = _core.TiltedMean(d, 0, K, np.ascontiguousarray(own[:, b : b + step]))
        mean = run(call, [state], population=None)[0].finish()["mean"]
        out[:, b : b + step] = mean if call.order is None else mean[call.order]
    return TiltedMeanResult(need_finite(call.dump, out, "means of rows"), table)

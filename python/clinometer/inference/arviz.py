"""The importance weights of tilts as ArviZ takes draws with weights: an xarray DataTree, which is its InferenceData."""

from __future__ import annotations

from typing import Any

import numpy as np

from clinometer.common.options import listed, used
from clinometer.engine import kl as roots
from clinometer.engine.checks import check_strength, need_scores
from clinometer.engine.inputs import prepare
from clinometer.engine.passes import in_range, kept_scores, strength, true_betas


@listed("clusters")
def to_arviz(
    dump: Any, directions: Any, betas: Any = None, values: Any = None, *, kl: Any = None, **options: Any
) -> Any:  # fmt: skip
    """Responses as draws of the base policy, with their weights under each tilt (theory 2.2; extra ``frame``).

    ArviZ 1, and arviz-base from 0.8, take what is returned as it is; before that ``arviz.from_datatree`` makes an
    InferenceData of it.

    Parameters
    ----------
    dump, directions, betas, values, kl, **options : as in `clinometer.tilt`

    Returns
    -------
    xarray.DataTree. ``posterior`` has ``values`` (N, J) over (chain, draw, value): one chain, and a draw for each
    response that counts, with coordinates ``row`` and ``prompt_id``. ``sample_stats`` has ``log_weight``, the log
    probability of the response under the tilt times its prompt's weight (exponentials sum to 1), and ``log_ratio``, log
    pi/pi0 in nats, both (N, K, B) over (chain, draw, direction, beta). Cost: one pass over the dump, 16 N K B bytes.
    ValueError as `clinometer.tilt`.

    >>> import numpy as np
    >>> tree = to_arviz(np.array([[0.0], [1.0]]), [[1.0]], [1.0], np.array([0.0, 1.0]), prompt_ids=[0, 0])
    >>> np.exp(tree["sample_stats"]["log_weight"].values).ravel().round(4).tolist()
    [0.2689, 0.7311]
    """
    try:
        from xarray import Dataset, DataTree
    except ImportError as error:
        raise ImportError("to_arviz needs xarray from 2024.10: pip install 'clinometer[frame]'") from error
    call = prepare(dump, directions, values, **used("to_arviz", options, clusters="has no errors to cluster"))
    need_scores(call)
    check_strength(betas, kl, call.n_scores)
    kept, scale = in_range(kept_scores(call))
    table = strength(call, kept, scale, betas, kl)
    p, known = call.effective(), call.population
    order = np.argsort(p.rows)
    ratio = np.moveaxis(roots.log_ratios(call, kept, table)[:, order].reshape(*table.shape, -1), 2, 0)[None]
    with np.errstate(divide="ignore"):
        base = np.log(p.row_weight() * np.repeat(p.prompt_weight(), p.sizes))[order]
    rows, dims = p.rows[order], ("chain", "draw", "direction", "beta")
    ids = np.repeat(known.ids, known.sizes)[order]
    draws = {"chain": [0], "draw": np.arange(len(rows)), "row": ("draw", rows), "prompt_id": ("draw", ids)}
    tilts = {"direction": list(call.names), "betas": (dims[2:], true_betas(call, table, scale, betas))}
    of_rows = np.zeros((len(rows), 0)) if call.values is None else call.values[rows]
    weights = {"log_weight": (dims, base[None, :, None, None] + ratio), "log_ratio": (dims, ratio)}
    values_of = {"values": ((*dims[:2], "value"), of_rows[None])}
    posterior = Dataset(values_of, {**draws, "value": list(call.value_names)})
    return DataTree.from_dict({"posterior": posterior, "sample_stats": Dataset(weights, {**draws, **tilts})})

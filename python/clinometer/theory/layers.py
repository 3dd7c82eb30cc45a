"""How a value's encoding, and with it the gain it allows, depends on the layer (theory 4.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer import fit
from clinometer.common.options import listed
from clinometer.common.results import Axes, Result
from clinometer.dump import Dump, open_dump

from .arrays import Floats
from .best_of import expected_max_normal
from .rows import levels, scored


@dataclass(frozen=True, repr=False, eq=False)
class CeilingByLayer(Result):
    """Encoding quality and the gain it allows, by layer and value (L, J).

    `quality` is the out-of-fold within R^2 with `quality_ci` (L, J, 2), `correlation` the out-of-fold r; `ceiling`
    (L, B, J) = r sd_s sqrt(2 KL) and `best_of` (L, M, J) = e_n r sd_s are Gaussian-world gains of a judge that reads
    the layer that well, `oracle` (B, J) and `best_of_oracle` (M, J) the same for r = 1. `best` (J,) is a layer.

    `layers` (L,), `kl` (B,) and the best-of-n sizes `n` (M,) are those compared; gains are in units of the value.
    """

    axes: ClassVar[Axes] = {
        "layer value": "quality correlation",
        "layer value bound": "quality_ci",
        "layer kl value": "ceiling",
        "layer n value": "best_of",
        "kl value": "oracle",
        "n value": "best_of_oracle",
        "kl": "kl",
        "n": "n",
        "value": "best",
    }

    layers: tuple[Any, ...]
    quality: Floats
    quality_ci: Floats
    correlation: Floats
    ceiling: Floats
    best_of: Floats
    oracle: Floats
    best_of_oracle: Floats
    kl: Floats
    n: NDArray[np.int64]
    best: tuple[Any, ...]
    values: tuple[str, ...]


@listed("within")
def ceiling_by_layer(
    dump: Any, values: Any, layers: Any = None, *, kl: Any = None, n: Any = (4, 16), fits: Any = None, **options: Any
) -> CeilingByLayer:
    """Compare layers by how much of a value their directions hold, and by the gain that allows (theory 4.4).

    The ceiling at matched KL is r sd_s sqrt(2 KL), monotone in rho within the same rows and prompts. r is the quality
    of the fitted direction and lower than rho; if E[s | phi] is not linear a judge may exceed it.

    Parameters
    ----------
    dump : a dump with several layers, or a mapping of name to dump
    values : as in `clinometer.fit_value_direction`
    layers : layers to compare; None takes all that the dump has
    kl, n : KL levels and best-of-n sizes
    fits : keyword arguments of `fit_value_direction`

    Returns
    -------
    CeilingByLayer, gains (L, B, J) in units of the value
        Cost: one fit a layer.

    Errors: ValueError for a dump that names no layers, an empty mapping, or a column that a layer has not.

    >>> import clinometer as cm
    >>> world = cm.simulate(n_prompts=60, n_responses=8, dim=4, random_state=3)
    >>> ceiling_by_layer({"only": world}, "s").ceiling.shape
    (1, 4, 1)
    """
    sources = _sources(dump, layers)
    asked, sizes = levels(kl), np.atleast_1d(np.asarray(n))
    e = expected_max_normal(sizes)
    found = [fit.fit_value_direction(d, values, **(fits or {}), **options).encoding_quality for d in sources.values()]
    one = next(iter(sources.values()))
    s = scored(one, np.zeros((1, one.dim)), values, **options)
    sd = np.array([_spread(s, j) for j in range(s.values.shape[1])])
    quality, r = (np.stack([getattr(q, name) for q in found]) for name in ("value", "r"))
    line, names = np.sqrt(2.0 * asked)[:, None] * sd, tuple(sources)
    top = np.argmax(np.where(np.isnan(quality), -np.inf, quality), axis=0)
    return CeilingByLayer(
        names, quality, np.stack([q.ci for q in found]), r, r[:, None, :] * line, r[:, None, :] * e[:, None] * sd,
        line, e[:, None] * sd, asked, sizes, tuple(names[i] for i in top), s.call.value_names,
    )  # fmt: skip


def _sources(dump: Any, layers: Any) -> dict[Any, Any]:
    if isinstance(dump, dict):
        if not dump or layers is not None:
            raise ValueError("dump is a mapping; wanted at least one entry and layers=None")
        return {name: d if isinstance(d, Dump) else open_dump(d) for name, d in dump.items()}
    if not isinstance(dump, Dump):
        raise TypeError("dump: wanted a Dump with several layers, or a mapping of name to dump")
    chosen = dump.layers if layers is None else list(layers)
    if not chosen:
        raise ValueError(f"{dump.name} names no layers; wanted layers=, or a mapping of name to dump")
    return {layer: dump.select(layer=layer) for layer in chosen}


def _spread(s: Any, j: int) -> float:
    w = s.weights(j)
    return float(np.sqrt(w.mean(w.total(w.row * w.centre(s.value(j)) ** 2))))

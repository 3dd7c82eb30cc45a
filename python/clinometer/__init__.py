"""clinometer: what each constitution's tilt does to each value, before any training run.

At the top level is what most work needs: `open_dump` and `write_dump`, the passes (`score`, `moments`, `tilt`, ...),
the fits of directions, `report`, `compare`, `examples`. The rest has a module of its own:

theory       frontiers, best-of-n, ceilings, spectra, screens
lp           small linear programs with certificates, mixtures of constitutions, prices
inference    intervals of gains, gold labels, null bands, recommendations, simpler measures; `Adjust` for `adjust=`
fit          what the fits return
stat         statistics of `scan` and `Fold`
distributed  passes, fits and reports by the workers of a Dask cluster
plot         figures of results
values       values of the responses' texts
reference    every definition again in plain NumPy
errors       `DumpError`, `DumpChangedError`, `CheckFailed`
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import errors as errors
from .dump import Dump, DumpWriter, open_dump, write_dump
from .dump.directions import Directions, Scores
from .engine.passes import covariance_projection as covariance_projection
from .engine.passes import cross_covariance as cross_covariance
from .engine.passes import moments, score, tilt, tilted_mean
from .errors import CheckFailed, DumpChangedError, DumpError

if TYPE_CHECKING:
    from . import distributed as distributed
    from . import fit as fit
    from . import inference, lp, plot, reference, theory, values
    from .capturing import capture
    from .engine import stat
    from .engine.scan import scan
    from .fit import fit_generation_direction, fit_preference_direction, fit_value_direction
    from .judging import judge
    from .lp.pareto_cone import pareto_cone
    from .reporting import report
    from .reporting.responses import examples
    from .stream.fold import Fold
    from .stream.shards import merge
    from .theory.comparing import compare
    from .theory.simulation import simulate

__version__ = "0.1.0"

# loaded at first use, so that importing the package costs little beyond NumPy
_LAZY = {
    "capture": "capturing",
    "compare": "theory.comparing",
    "distributed": "",
    "examples": "reporting.responses",
    "fit": "",
    "fit_generation_direction": "fit",
    "fit_preference_direction": "fit",
    "fit_value_direction": "fit",
    "Fold": "stream.fold",
    "inference": "",
    "judge": "judging",
    "lp": "",
    "merge": "stream.shards",
    "pareto_cone": "lp.pareto_cone",
    "plot": "",
    "reference": "",
    "report": "reporting",
    "scan": "engine.scan",
    "simulate": "theory.simulation",
    "stat": "engine.stat",
    "theory": "",
    "values": "",
}
# stood here in 0.1.0's previews; each still resolves, with a DeprecationWarning, for one version
_MOVED = {
    "ConeResult": "lp.pareto_cone",
    "DirectionFit": "fit",
    "Report": "reporting",
    **dict.fromkeys(
        (
            "Adjust", "Baselines", "GainIntervals", "NullBand", "PPIResult", "Recommendation", "baselines",
            "benjamini_hochberg", "gain_intervals", "holm", "null_band", "ppi_gain", "recommend",
        ),
        "inference",
    ),
}  # fmt: skip

__all__ = [
    "CheckFailed",
    "Directions",
    "Dump",
    "DumpChangedError",
    "DumpError",
    "DumpWriter",
    "Fold",
    "Scores",
    "capture",
    "compare",
    "distributed",
    "examples",
    "fit_generation_direction",
    "fit_preference_direction",
    "fit_value_direction",
    "inference",
    "judge",
    "lp",
    "merge",
    "moments",
    "open_dump",
    "pareto_cone",
    "plot",
    "reference",
    "report",
    "scan",
    "score",
    "simulate",
    "stat",
    "theory",
    "tilt",
    "tilted_mean",
    "values",
    "write_dump",
]


def __getattr__(name: str) -> Any:
    if name in _MOVED:
        return _moved(name)
    if name not in _LAZY:
        raise AttributeError(f"module 'clinometer' has no attribute {name!r}")
    module = import_module(f".{_LAZY[name] or name}", __name__)
    found = getattr(module, name, module)
    globals()[name] = found
    return found


def _moved(name: str) -> Any:
    import warnings

    where = f"{__name__}.{_MOVED[name]}"
    warnings.warn(
        f"clinometer.{name} has moved to {where}.{name}; the next version has it there alone", DeprecationWarning,
        stacklevel=3,
    )  # fmt: skip
    return getattr(import_module(where), name)


def __dir__() -> list[str]:
    return sorted(__all__)

"""clinometer: what each constitution's tilt does to each value, before any training run."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import errors
from .dump import Dump, DumpWriter, open_dump, write_dump
from .dump.directions import Directions, Scores
from .engine.passes import covariance_projection, cross_covariance, moments, score, tilt, tilted_mean
from .errors import CheckFailed, DumpChangedError, DumpError

if TYPE_CHECKING:
    from . import lp, plot, reference, theory, values
    from .engine import stat
    from .engine.scan import scan
    from .fit import DirectionFit, fit_generation_direction, fit_preference_direction, fit_value_direction
    from .inference import (
        Baselines,
        GainIntervals,
        NullBand,
        PPIResult,
        Recommendation,
        baselines,
        benjamini_hochberg,
        gain_intervals,
        holm,
        null_band,
        ppi_gain,
        recommend,
    )
    from .judging import Judgment, judge
    from .lp.pareto_cone import ConeResult, pareto_cone
    from .report import Report, report
    from .report.responses import examples
    from .stream.fold import Fold
    from .stream.shards import merge
    from .theory.comparing import compare
    from .theory.simulation import simulate

__version__ = "0.1.0"

# loaded at first use, so that importing the package costs little beyond NumPy
_LAZY = {
    "Adjust": "engine.adjusting",
    "Baselines": "inference",
    "baselines": "inference",
    "benjamini_hochberg": "inference",
    "compare": "theory.comparing",
    "ConeResult": "lp.pareto_cone",
    "DirectionFit": "fit",
    "examples": "report.responses",
    "fit_generation_direction": "fit",
    "fit_preference_direction": "fit",
    "fit_value_direction": "fit",
    "Fold": "stream.fold",
    "gain_intervals": "inference",
    "GainIntervals": "inference",
    "holm": "inference",
    "judge": "judging",
    "Judgment": "judging",
    "lp": "",
    "merge": "stream.shards",
    "null_band": "inference",
    "NullBand": "inference",
    "pareto_cone": "lp.pareto_cone",
    "plot": "",
    "ppi_gain": "inference",
    "PPIResult": "inference",
    "recommend": "inference",
    "Recommendation": "inference",
    "reference": "",
    "Report": "report",
    "report": "report",
    "scan": "engine.scan",
    "simulate": "theory.simulation",
    "stat": "engine.stat",
    "theory": "",
    "values": "",
}

__all__ = [
    "Adjust",
    "Baselines",
    "CheckFailed",
    "ConeResult",
    "DirectionFit",
    "Directions",
    "Dump",
    "DumpChangedError",
    "DumpError",
    "DumpWriter",
    "Fold",
    "GainIntervals",
    "Judgment",
    "NullBand",
    "PPIResult",
    "Recommendation",
    "Report",
    "Scores",
    "baselines",
    "benjamini_hochberg",
    "compare",
    "covariance_projection",
    "cross_covariance",
    "errors",
    "examples",
    "fit_generation_direction",
    "fit_preference_direction",
    "fit_value_direction",
    "gain_intervals",
    "holm",
    "judge",
    "lp",
    "merge",
    "moments",
    "null_band",
    "open_dump",
    "pareto_cone",
    "plot",
    "ppi_gain",
    "recommend",
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
    if name not in _LAZY:
        raise AttributeError(f"module 'clinometer' has no attribute {name!r}")
    module = import_module(f".{_LAZY[name] or name}", __name__)
    found = getattr(module, name, module)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)

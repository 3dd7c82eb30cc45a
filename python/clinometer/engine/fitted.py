"""What a fit returns: directions, their fold fits, and how well they do out of fold."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer.common.notices import tell
from clinometer.common.results import Axes, Result
from clinometer.common.visible import few
from clinometer.dump import Dump
from clinometer.dump.directions import Directions

from . import fitted_file
from .encoding_quality import EncodingQuality
from .seen_prompts import folds_of_seen

if TYPE_CHECKING:
    from .population import Population

__all__ = ["DirectionFit", "load_any"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class DirectionFit(Result):
    """Directions fitted on a dump, with the fold fits that score it out of fold.

    A pass over prompts that the fit has seen scores each by the fold that did not see it ("cross-fitted"), and
    other prompts by `vectors` ("given"). Prompts are recognised by id and first row, also in a selection.

    Attributes
    ----------
    vectors, fold_vectors : (J, d) and (F, J, d); fold f never saw the prompts dealt to f
    intercepts : (J,) of logistic fits, the position bias of pairs; otherwise 0
    alpha : (J,) penalty in units of tr(Sigma)/d, massive columns in their own unit
    encoding_quality, pooled_quality : inside prompts; over all rows, of directions fitted to all rows, where topic
        alone can make it large (None where not asked for)
    within : False: fitted to all rows about their one mean, and its quality is over all rows too
    labels : for each direction "scores", "binary", "soft", "hard", or "separable": hard labels that the direction
        separates without error, so that its norm is the penalty's and beta means nothing (theory 1.3)

    names, method, source : names of the directions, how they were fitted, where (model, layer, position)
    fingerprint : `Dump.fingerprint` of the dump it was fitted on
    n_pairs : pairs of a preference fit
    """

    axes: ClassVar[Axes] = {
        "direction": "alpha intercepts labels",
        "direction feature": "vectors",
        "fold direction feature": "fold_vectors",
    }

    vectors: Floats
    fold_vectors: Floats
    names: tuple[str, ...]
    method: str
    alpha: Floats
    encoding_quality: EncodingQuality
    n_rows: int
    n_prompts: int
    n_dropped: int
    fingerprint: str = field(repr=False)
    source: dict[str, Any] = field(default_factory=dict, repr=False)
    pooled_quality: EncodingQuality | None = None
    intercepts: Floats = field(default_factory=lambda: np.zeros(0))
    labels: tuple[str, ...] = ()
    n_pairs: int = 0
    _seen: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))  # keys of prompts, sorted
    _folds: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # and their folds
    _training: Any = None  # labels, kept for errors that include them; not saved
    within: bool = True

    @property
    def vector(self) -> Floats:
        """The direction of a single value, (d,)."""
        if len(self.vectors) != 1:
            raise ValueError(f"this fit holds {len(self.vectors)} directions; use .vectors")
        return np.asarray(self.vectors[0])

    @property
    def linear_share(self) -> Floats:
        """Share of a judge's within-prompt variance that is linear in phi, out of fold, (J,).

        NaN for pairs, and for fits over all rows.

        What a direction keeps of the judge it was fitted to (theory 10.1).
        """
        known = self.within and not self.n_pairs
        return self.encoding_quality.value if known else np.full(len(self.vectors), np.nan)

    @property
    def quality_status(self) -> tuple[str, ...]:
        """Of each direction "ok", or why its quality has no interval."""
        out = []
        for j, se in enumerate(self.encoding_quality.se):
            if self.labels and self.labels[j] == "separable":
                out.append("the labels are separable: how sure the predictions are is set by the penalty alone")
            elif np.isnan(se):
                out.append("the labels do not vary, or come from fewer than two prompts or clusters")
            else:
                out.append("ok")
        return tuple(out)

    def directions(self) -> Directions:
        """The full fits as `Directions`: for other dumps. On the dump of the fit a pass calls them "in-sample"."""
        return Directions(self.names, self.vectors, source={**self.source, "fitted_on": self.fingerprint})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file atomically; a pass takes its path like the fit itself."""
        fitted_file.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> DirectionFit:
        """Read what `save` wrote, bit for bit; a malformed file is a DumpError."""
        return cls(**fitted_file.load(path))

    def _for_dump(self, dump: Dump, p: Population) -> tuple[str, NDArray[np.int64] | None]:
        """Fit status in a pass, and for each prompt the fold that did not see it: F where none did."""
        if self.vectors.shape[1] != dump.dim:
            raise ValueError(f"the fit has {self.vectors.shape[1]} columns but rows of the dump have {dump.dim}")
        fold = folds_of_seen(dump, p, self._seen, self._folds, len(self.fold_vectors))
        known = fold < len(self.fold_vectors)
        if dump.fingerprint() == self.fingerprint and not known.all():
            tell(
                f"the fit of {few(self.names)} saw these rows under other prompt ids, so it cannot "
                "be applied out of fold: gains are optimistic; fit with the prompt ids of this pass",
                stacklevel=6,
            )
            return "in-sample", None
        return ("cross-fitted", fold) if known.any() else ("given", None)


def load_any(path: str | os.PathLike[str]) -> DirectionFit | Directions:
    """What a file of ours or of another tool holds: a fit, or directions."""
    return DirectionFit.load(path) if fitted_file.holds_fit(path) else Directions.load(path)

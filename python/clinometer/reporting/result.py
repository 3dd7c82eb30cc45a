"""The report: what each constitution does to each value, with everything needed to trust it or not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer.common.results import Axes, Result, TiltResult
from clinometer.files.atomic import save_text

from .summary import DumpSummary

if TYPE_CHECKING:
    from clinometer.fit import EncodingQuality
    from clinometer.inference import Baselines, Recommendation
    from clinometer.inference.gold import GoldCorrection
    from clinometer.inference.groups import GroupGains
    from clinometer.inference.policy import PolicyGains
    from clinometer.lp.pareto import ParetoResult
    from clinometer.lp.pareto_cone import ConeResult

    from .verdict import Choice

Floats = NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class Report(Result):
    """Tilts of a dump by constitutions, with the gain of every value (theory 2.9 and 8.4); made by `report`.

    K constitutions, B KL levels, J values: the first `n_requested` are those asked for, a length follows
    where the dump has one and it was not asked for.

    Attributes
    ----------
    dump : DumpSummary
    policy : PolicyGains, what the page calls the gain, its 95 % interval, win rate and beta: those of the policy
    net : PolicyGains, the same with length taken out of the scores inside prompts (None without)
    tilt : TiltResult, the tilt of these very rows with its diagnostics; `gain_rows` are its gains. Gold labels correct
        its gains and first orders by the rule of the others
    kl : (B,) nats asked for
    classes : (K, B) str, by gains and standard errors of the values asked for (theory 8.4)
    value_sd : (J,) within-prompt sd of each value
    correlation : (K, J) within-prompt correlation of score and value; `generation_correlation` (J,) of u_gen
    cone, encoding_quality : of directions fitted to the values asked for, or None with a note
    notes, not_covered : sentences

    The rest is None where its section was not asked for or cannot be had; then a note says why.

    gain_interval_labels : (K, B, J, 2) 95 % with the error of the labels the judge was fitted to (NaN where
        `labels_known` (K,) is False)
    label_status : (K,) "ok", or why an interval with labels cannot be had
    horizon : (K,) largest KL at which the rows give an estimate of the policy (theory 2.9); `tilt.kl_horizon` is of the
        tilt's own gain (theory 2.8)
    compared : how many independent comparisons a choice among all cells with an estimate pays for
    null_band : (B, J, 2) 95 % of the gains of random directions at the same KL
    baselines : Baselines, what simpler measures say
    linear_share : (K,) share of the score's within-prompt variance that a direction predicts out of fold
    selection : Recommendation, how often each cell is chosen on half the prompts and its optimism
    pareto : ParetoResult, best direction, best mixture, prices of floors
    layers : one dict a site of the dump: "site", "layer", "quality" (J,), "quality_ci" (J, 2), "margin", "gain"
        (K, B, J) or None where it does not depend on the layer
    spectrum : dict with "eigenvalues" (the largest), "effective_rank", "participation", "stable", "concentration" (J,)
    iterated : dict with "rounds", "beta", "gain" (T, J), "kl" (T,), "ess" (T,) of the recommended constitution
    value_correlation : (J, J) correlations of the values inside prompts
    chance : chance that a cell recommended by these rows raises every value asked for, by its gains on halves of the
        prompts that did not choose it; 1/2 for one value and less for several where no constitution does anything
    groups : GroupGains, one for each column that splits the prompts
    gold : GoldCorrection, what gold labels made of the gains, and how far judge and value share errors. The null
        band, cone, mixtures, rounds, correlations, encoding and simpler measures stay those of the values as given
    needs : sentences, what would decide what the rows leave open
    command : Python text that makes this report again

    self_judged : whether the values themselves act as judges
    examples : one dict a response that the recommended tilt changes most, with its texts
    """

    axes: ClassVar[Axes] = {
        "constitution kl": "classes",
        "constitution kl value bound": "gain_interval_labels",
        "constitution value": "correlation",
        "constitution": "labels_known linear_share label_status horizon",
        "kl value bound": "null_band",
        "value value_2": "value_correlation",
        "value": "value_sd generation_correlation",
        "kl": "kl",
    }

    dump: DumpSummary
    constitutions: tuple[str, ...]
    values: tuple[str, ...]
    n_requested: int
    self_judged: bool
    kl: Floats
    tilt: TiltResult
    policy: PolicyGains
    horizon: Floats
    compared: float
    net: PolicyGains | None
    length: str | None
    classes: NDArray[np.str_]
    value_sd: Floats
    correlation: Floats
    generation_correlation: Floats | None
    cone: ConeResult | None
    encoding_quality: EncodingQuality | None
    examples: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]
    not_covered: tuple[str, ...]
    gain_interval_labels: Floats | None = None
    labels_known: NDArray[np.bool_] | None = None
    null_band: Floats | None = None
    baselines: Baselines | None = None
    linear_share: Floats | None = None
    selection: Recommendation | None = None
    pareto: ParetoResult | None = None
    layers: tuple[dict[str, Any], ...] | None = None
    spectrum: dict[str, Any] | None = None
    iterated: dict[str, Any] | None = None
    value_correlation: Floats | None = None
    chance: float | None = None
    groups: tuple[GroupGains, ...] = ()
    gold: GoldCorrection | None = None
    needs: tuple[str, ...] = ()
    command: str | None = None
    label_status: tuple[str, ...] | None = None

    @property
    def gain(self) -> Floats:
        """Gains of the policy, (K, B, J)."""
        return self.policy.gain

    @property
    def gain_interval(self) -> Floats:
        """Their 95 % bounds, (K, B, J, 2)."""
        return self.policy.interval

    @property
    def gain_rows(self) -> Floats:
        """Gains of the tilt of these very rows at that KL, which fall short of the policy's, (K, B, J)."""
        return self.tilt.gain

    @property
    def chosen_bounds(self) -> Floats:
        """Bounds (K, B, J, 2) that hold together at 95 % for every cell that could be picked."""
        return self.policy.bounds(0.95 ** (1 / self.compared))

    @property
    def length_note(self) -> str:
        """How length entered the report, or why it could not."""
        if self.length is None:
            return "no column n_tokens in the dump: whether length explains the gains cannot be checked"
        if self.net is None:
            return f"length ({self.length}) is shown as a value, but gains net of it could not be computed"
        return f"net of length: the share of the score that a smooth curve of {self.length} explains is removed"

    @property
    def as_given(self) -> str:
        """Stands beside what gold labels do not correct; "" without them."""
        return "" if self.gold is None else "of the values as given, which gold labels do not correct here"

    @property
    def idle(self) -> NDArray[np.bool_]:
        """Judges (K,) whose scores are equal inside every prompt, so that no KL can be had from them."""
        return np.asarray(np.isinf(self.tilt.betas).all(axis=1))

    @property
    def gain_sd(self) -> Floats:
        """Gains in within-prompt sd of each value, [K, B, J]; NaN where a value does not vary."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.value_sd > 0, self.gain / self.value_sd, np.nan)

    @property
    def reached(self) -> NDArray[np.bool_]:
        """Whether the rows reach the KL asked for, (K, B)."""
        return np.isclose(self.tilt.kl, self.kl[None, :], rtol=1e-6, atol=0)

    @property
    def past_horizon(self) -> NDArray[np.bool_]:
        """Whether the rows give no estimate at that KL, (K, B)."""
        return np.asarray(self.policy.kind == "none")

    def verdict(self) -> str:
        """Say in a sentence or two what the recommended constitution does; "Cannot tell" is an answer.

        Bounds are corrected for having picked the best of all trusted cells (theory 10.4).
        """
        from .text import shortened
        from .verdict import verdict

        return verdict(shortened(self))

    def best(self, floor: float | Mapping[str, float] | None = None) -> Choice | None:
        """Recommend a constitution and a KL.

        Without a floor: the largest lower bound, in sd units, of the value that does worst. With one, in the
        values' own units (a number for all, or by name): the largest mean gain among the cells whose lower
        bounds all clear it, or None. Only cells within the rows' reach and horizon, where there are any.
        """
        from .verdict import choose

        return choose(self, floor)

    def check(self, expression: str) -> dict[str, Any]:
        """Return the row that proves "VALUE OP NUMBER at kl=K [for NAME|all|any|recommended]", or raise.

        With several constitutions the check must say for which: one by name, each of them (all), at least one (any,
        whose bounds pay for the choice) or the one that `best` recommends (likewise).

        Errors: CheckFailed where the 95 % bound on the unfavourable side does not hold, or the rows cannot tell;
        `.row` is the row; ValueError where the check cannot be read, or names a value, KL or constitution that the
        report does not have.
        """
        from .check import run

        return run(self, expression)

    def to_text(self, *, full: bool = False) -> str:
        """Aligned text of at most 110 columns: 30 lines that begin with the verdict, or with `full` all there
        is at every KL.
        """
        from .brief import brief
        from .text import shortened, text

        return text(shortened(self)) if full else brief(self)

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        from clinometer.common.visible import visible

        return (
            f"Report({visible(self.dump.name)}: {len(self.constitutions)} constitutions, "
            f"{len(self.kl)} KL levels, {len(self.values)} values)"
        )

    def _repr_html_(self) -> str:
        from clinometer.common.visible import markup

        return "<pre>" + "\n".join(markup(line) for line in self.to_text().split("\n")) + "</pre>"

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """One HTML file that loads nothing and reads without JavaScript; written to `path` if given, and returned."""
        from .page import page
        from .text import shortened

        made = page(shortened(self))
        if path is not None:
            save_text(path, made)
        return made

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """Strict JSON of every field, verdict and choice, returned, and written to `path` if given; NaN is null,
        infinities "inf" and "-inf".
        """
        from .export import dumps

        made = dumps({**self.to_dict(), "best": self.best(), "verdict": self.verdict()})
        if path is not None:
            save_text(path, made + "\n")
        return made

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """CSV with one row per constitution, KL and value, returned, and written to `path` if given; text in it is
        never taken for a formula.
        """
        from .export import table

        made = table(self)
        if path is not None:
            with open(path, "w", encoding="utf-8", newline="") as file:
                file.write(made)
        return made

    def to_frame(self) -> Any:
        """A pandas DataFrame with one row per constitution, KL and value (extra ``frame``)."""
        from .export import records

        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("to_frame needs pandas: pip install 'clinometer[frame]'") from error
        made = pd.DataFrame.from_records(records(self))
        made.attrs["notes"] = list(self.notes)
        return made

    def to_xarray(self) -> Any:
        """An xarray Dataset over constitution, kl and value, with classes and what is net of length (extra ``frame``).

        ``kl`` is what was asked for, ``kl_reached`` (constitution, kl) what the rows allow.
        """
        axes = {"direction": "constitution", "beta": "kl"}
        made = self.tilt.to_xarray().drop_vars("beta", errors="ignore").rename({"kl": "kl_reached"}).rename(axes)
        of_rows = ("gain", "gain_se", "win_rate", "betas", "kl_horizon", "kl_horizon_sized")
        rows = {name: f"{name}_rows" for name in of_rows}
        made = made.rename(rows)
        cells, table = ("constitution", "kl", "value"), ("constitution", "value")
        extra = {
            "gain": (cells, self.gain), "gain_se": (cells, self.policy.gain_se),
            "win_rate": (cells, self.policy.win_rate), "beta": (cells[:2], self.policy.betas),
            "lower": (cells, self.gain_interval[..., 0]), "upper": (cells, self.gain_interval[..., 1]),
            "class": (cells[:2], self.classes), "past_horizon": (cells[:2], self.past_horizon),
            "gain_sd": (cells, self.gain_sd), "correlation": (table, self.correlation),
            "value_sd": ("value", self.value_sd), "horizon": ("constitution", self.horizon),
        }  # fmt: skip
        if self.net is not None:
            extra |= {"net_gain": (cells, self.net.gain), "net_gain_se": (cells, self.net.gain_se)}
        if self.gold is not None:
            extra["gain_values"] = (cells, self.gold.gain_values)
        made = made.assign_coords(kl=("kl", self.kl, {"units": "nats"})).assign(extra)
        return made.assign_attrs(result="Report", verdict=self.verdict(), notes="\n".join(self.notes))

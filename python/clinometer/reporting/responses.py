"""The responses a tilt makes more and less likely, with their values, lengths and texts (theory 2.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinometer.arrays.carriers import carried, is_array
from clinometer.common.options import listed, used
from clinometer.common.results import Axes, Result
from clinometer.common.visible import quote, visible
from clinometer.dump.aligned import check_labels
from clinometer.engine import kl as roots
from clinometer.engine.checks import checked_kl, need_scores
from clinometer.engine.inputs import Call, prepare
from clinometer.engine.passes import kept_scores
from clinometer.theory.arrays import Floats

if TYPE_CHECKING:
    from .result import Report

SHOWN = 300


@dataclass(frozen=True, repr=False, eq=False)
class Examples(Result):
    """The n responses that gain most, most first, then the n that lose most, most last; arrays are (M,), M <= 2n.

    `row` in the dump, `prompt_id`, `before` and `after` the response's probability inside its prompt, `ratio` their
    quotient, `gains` whether it is of the first kind; `values` (M, J) signed as asked for, `mean_values` (J,) over
    all rows; `n_tokens` NaN without such a column; `prompts` and `responses` "" without texts.

    `constitution`, `kl` (nats) and `beta` are of the tilt; `value_names` name the axis of `values`.
    """

    axes: ClassVar[Axes] = {
        "example": "row prompt_id before after ratio gains n_tokens prompts responses",
        "example value": "values",
        "value": "mean_values",
    }

    constitution: str
    kl: float
    beta: float
    row: NDArray[np.int64]
    prompt_id: NDArray[Any]
    before: Floats
    after: Floats
    ratio: Floats
    gains: NDArray[np.bool_]
    values: Floats
    mean_values: Floats
    n_tokens: Floats
    prompts: tuple[str, ...]
    responses: tuple[str, ...]
    value_names: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{visible(self.constitution)} at KL {self.kl:.3g} (beta {self.beta:.4g})"]
        for i in range(len(self.row)):
            if i == 0 or self.gains[i] != self.gains[i - 1]:
                lines.append("gain most" if self.gains[i] else "lose most")
            cells = [f"{visible(n)} {v:+.3g}" for n, v in zip(self.value_names, self.values[i], strict=True)]
            if np.isfinite(self.n_tokens[i]):
                cells.append(f"{self.n_tokens[i]:.0f} tokens")
            head = f"  x{self.ratio[i]:.3g} ({self.before[i]:.3g} to {self.after[i]:.3g})"
            lines.append("  ".join([head, f"row {self.row[i]}, prompt {visible(self.prompt_id[i])}", *cells]))
            for text in (self.prompts[i], self.responses[i]):
                if text:
                    lines.append("      " + visible(text[:SHOWN]))
        return "\n".join(lines)


@listed("within", "clusters")
def examples(
    dump: Any, constitution: Any, *, kl: float = 0.5, n: int = 5, texts: Any = None, values: Any = None,
    **options: Any,
) -> Examples:  # fmt: skip
    """Responses that gain and lose most probability under one constitution's tilt.

    Ranked by pi_C / pi0 inside the prompt (theory 2.2); rows of base weight 0 are left out, and ties keep the dump's
    order.

    Parameters
    ----------
    dump, constitution, **options : as in `clinometer.tilt`, one constitution, ``within=True``
    kl : nats of the tilt; beyond what the rows reach, the argmax limit with a warning
    n : how many of each
    texts : sequence (N,) of strings or of {"prompt": .., "response": ..}; default those of the dump
    values : columns or arrays shown beside

    Returns
    -------
    Examples
        ``print`` shows them. Cost: one pass over the dump.

    Errors: ValueError for more than one constitution, n below 1, or a kl not above 0; DumpError for NaN
    or Inf in a row.

    >>> import numpy as np, clinometer as cm
    >>> found = examples(np.array([[0.0], [1.0], [2.0]]), [[1.0]], kl=0.1, n=1, prompt_ids=[0, 0, 0])
    >>> found.row.tolist(), found.gains.tolist()
    ([2, 0], [True, False])
    """
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise ValueError(f"n is {n!r}; wanted a whole number >= 1")
    level = checked_kl(kl)
    if len(level) != 1:
        raise ValueError(f"kl is {kl!r}; wanted one level")
    if not options.get("within", True):
        raise ValueError("within is False; wanted True: ratios are those of a prompt's own policy")
    call = prepare(dump, constitution, values, **used("examples", options, clusters="has no errors to cluster"))
    need_scores(call)
    if call.n_scores != 1:
        raise ValueError(f"constitution holds {call.n_scores} directions; wanted one")
    texts = texts_by_row(call, getattr(call.dump, "texts", None) if texts is None else texts)
    kept = kept_scores(call)
    betas = roots.solve(call, kept, level, call.names)
    log_ratio = roots.log_ratios(call, kept, betas)[0]
    p = call.population
    weight, rows = p.row_weight(), p.rows
    alive = np.flatnonzero(weight > 0.0)
    order = alive[np.lexsort((rows[alive], -log_ratio[alive]))]
    top = order[log_ratio[order] > 0.0][:n]
    bottom = order[log_ratio[order] < 0.0][-n:]
    pick = np.concatenate([top, bottom])
    at = rows[pick]
    shown = [_text(texts, int(i)) for i in at]
    table = np.zeros((call.dump.n_rows, 0)) if call.values is None else np.asarray(call.values)
    with np.errstate(invalid="ignore"):
        mean = np.array([np.nanmean(c) if not np.isnan(c).all() else np.nan for c in table[rows].T])
    return Examples(
        call.names[0], float(roots.kl_at(call, kept, betas)[0, 0]), float(betas[0, 0]), at,
        p.on_rows(p.ids)[pick], weight[pick], weight[pick] * np.exp(log_ratio[pick]),
        np.exp(log_ratio[pick]), log_ratio[pick] > 0.0, table[at], mean, _lengths(call.dump, at),
        tuple(t[0] for t in shown), tuple(t[1] for t in shown), call.value_names,
    )  # fmt: skip


def _lengths(dump: Any, rows: NDArray[np.int64]) -> Floats:
    if not dump.has_column("n_tokens"):
        return np.full(len(rows), np.nan)
    return np.asarray(dump.column("n_tokens")[rows], np.float64)


def texts_by_row(call: Call, given: Any) -> Any:
    """Texts of a sequence, a Series, an Arrow array or the like; of a frame, its columns as mappings; None of None."""
    if given is None:
        return None
    if is_array(given):
        held = carried(given, "texts")
        check_labels("texts", held, call.dump, call.ids)
        columns = held.columns if held.columns is None or len(held.columns) > 1 else None
        given = held.column.tolist() if columns is None else [
            dict(zip(columns, row, strict=True)) for row in zip(*(c.tolist() for c in columns.values()), strict=True)
        ]  # fmt: skip
    if len(given) != call.dump.n_rows:
        raise ValueError(f"texts has {len(given)} entries, wanted {call.dump.n_rows}: one per row of the dump")
    if isinstance(given, list) and given and isinstance(given[0], dict) and "response" not in given[0]:
        raise ValueError(f"texts holds {quote(list(given[0]))}; 'response', and 'prompt' beside it, are wanted")
    return given


def _text(texts: Any, row: int) -> tuple[str, str]:
    if texts is None:
        return "", ""
    entry = texts[row]
    if isinstance(entry, dict):
        return _said(entry.get("prompt")), _said(entry.get("response"))
    if isinstance(entry, (tuple, list)) and len(entry) == 2:
        return _said(entry[0]), _said(entry[1])
    return "", _said(entry)


def _said(text: Any) -> str:
    """A text; "" where it is missing."""
    return "" if text is None or text != text else str(text)


LONGEST = 20_000  # characters of a prompt or response


def _shortened(text: str) -> str:
    """A page holds what is read; a text may have a hundred million characters."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... ({len(text) - LONGEST:,} more characters)"


def moved_rows(
    report: Report, call: Call, kept: NDArray[np.float64], texts: Any, n: int = 3
) -> tuple[dict[str, Any], ...]:
    """The n rows with the largest and the n with the smallest ratio pi_C / pi0, from scores (N, K), one dict each.

    Keys: row, prompt_id, ratio, before and after (probability inside the prompt), values (J,), prompt, text.
    """
    texts = texts_by_row(call, texts)
    best = report.best()
    assert best is not None
    k, b = best.index
    own = np.ascontiguousarray(kept[:, k : k + 1])
    ratio = roots.log_ratios(call, own, report.tilt.betas[k : k + 1, b : b + 1])[0]
    weight, rows = call.population.row_weight(), call.population.rows
    order = np.argsort(ratio, kind="stable")
    order = order[weight[order] > 0]
    ends = dict.fromkeys([*order[::-1][:n].tolist(), *order[:n].tolist()])
    ids, table = np.repeat(call.population.ids, call.population.sizes), np.asarray(call.values, np.float64)
    out = []
    for i in ends:
        prompt, response = map(_shortened, _text(texts, int(rows[i])))
        out.append({
            "row": int(rows[i]), "prompt_id": str(ids[i]), "ratio": float(np.exp(ratio[i])),
            "before": float(weight[i]), "after": float(weight[i] * np.exp(ratio[i])),
            "values": table[rows[i]].tolist(), "prompt": prompt, "text": response,
        })  # fmt: skip
    return tuple(out)

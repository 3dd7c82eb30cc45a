"""Who counts how much: prompts in canonical order, base weights, prompt weights, clusters, folds.

Canonical order is the order of first appearance of prompts, rows of a prompt in dump order: the identity
where rows come grouped, an index of 8 bytes a row otherwise. With clusters their prompts are made adjacent.
What has weight 0 is absent: a prompt of prompt weight 0, and a row of count or probability 0, are left out here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clinometer.common.notices import tell

from .intake import by_prompt, ids_of

COPIES = 1 << 24  # rows that counts are written out to, at most
BASES = ("sampled", "counts", "logprob", "reweight")
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Population:
    """The base policy over the rows of a dump (theory 0.2)."""

    n_dump: int
    offsets: Ints
    ids: NDArray[Any]
    order: Ints | None = None
    weight: Floats | None = None
    omega: Floats | None = None
    unbias: Floats | None = None
    cluster: Ints | None = None
    cluster_ids: NDArray[Any] | None = None  # the labels behind `cluster`
    draws: Floats | None = None  # canonical: how many draws a row of base="counts" stands for
    base: str = "sampled"
    n_dropped: int = 0
    every: NDArray[Any] | None = None  # ids of all prompts of the dump by first appearance, those left out too
    place: Ints | None = None  # of each prompt among them
    n_stored: int | None = None  # rows before counts were written out

    @property
    def n_rows(self) -> int:
        return int(self.offsets[-1])

    @property
    def n_prompts(self) -> int:
        return len(self.offsets) - 1

    @property
    def sizes(self) -> Ints:
        return np.diff(self.offsets)

    @property
    def rows(self) -> Ints:
        """Row in the dump of each canonical row."""
        return np.arange(self.n_rows) if self.order is None else self.order

    def for_every(self, own: NDArray[Any], fill: Any) -> NDArray[Any]:
        """Entries of these prompts (n_prompts, ...) in the order of `Dump.prompts`, `fill` for those left out."""
        if self.every is None or self.place is None:
            return own
        out = np.full((len(self.every), *own.shape[1:]), fill, own.dtype)
        out[self.place] = own
        return out

    def sums(self, x: NDArray[Any]) -> NDArray[Any]:
        """Sums over the rows of each prompt, (G, ...)."""
        if not self.n_prompts:
            return np.zeros((0, *x.shape[1:]), x.dtype)
        return np.asarray(np.add.reduceat(x, self.offsets[:-1], axis=0))

    def on_rows(self, x: NDArray[Any]) -> NDArray[Any]:
        """A number a prompt (G, ...), repeated on its rows."""
        return np.repeat(x, self.sizes, axis=0)

    def unit_sums(self, x: Floats) -> Floats:
        """Sums over the prompts (G, m) of each unit of errors, (C, m)."""
        if self.cluster is None:
            return x
        out = np.zeros((int(self.cluster.max(initial=-1)) + 1, x.shape[1]))
        for j, column in enumerate(x.T):
            out[:, j] = np.bincount(self.cluster, column)
        return out

    def row_weight(self) -> Floats:
        """Base weight inside the prompt of each canonical row."""
        return np.repeat(1.0 / self.sizes, self.sizes) if self.weight is None else self.weight

    def prompt_weight(self) -> Floats:
        """omega, summing to 1; NaN where no prompt has any, as where a value has no label at all."""
        omega = np.ones(self.n_prompts) if self.omega is None else self.omega
        with np.errstate(invalid="ignore", under="ignore"):
            return np.asarray(omega / omega.sum())

    def pooled(self) -> Population:
        """All rows as one prompt with weights omega_x w_i: the covariance over (x, y)."""
        weight = self.row_weight() * np.repeat(self.prompt_weight(), self.sizes)
        total = weight.sum()
        square = float(self._lost(weight / total).sum())
        unbias = np.array([1 / (1 - square) if square < 1 else 0.0])
        ends = np.array([0, self.n_rows], np.int64)
        return replace(
            self,
            offsets=ends,
            ids=np.zeros(1, int),
            weight=weight / total,
            omega=None,
            unbias=unbias,
            cluster=None,
            cluster_ids=None,
        )

    def _lost(self, weight: Floats) -> Floats:
        """Terms of the share of variance lost to a sample mean, sum w^2 / draws: the ddof-1 factor is 1/(1 - sum)."""
        square = np.square(weight)
        return (
            square if self.draws is None else np.divide(square, self.draws, out=np.zeros_like(square), where=square > 0)
        )

    def copies(self) -> Ints | None:
        """How many copies of each row whole counts stand for; None without, and where rows would be too many."""
        if self.draws is None or self.draws.sum() > COPIES or np.any(self.draws % 1):
            return None
        return self.draws.astype(np.int64)

    def written_out(self) -> Population:
        """Counts as rows: the same policy as base="sampled", for what looks at single draws."""
        copies = self.copies()
        if copies is None:
            return self
        ends = np.add.reduceat(copies, self.offsets[:-1]) if self.n_rows else copies
        return replace(
            self, offsets=np.append(0, np.cumsum(ends)).astype(np.int64), order=np.repeat(self.rows, copies),
            weight=None, unbias=None, draws=None, base="sampled", n_stored=self.n_rows,
        )  # fmt: skip

    def folds(self, n_folds: int) -> Ints:
        """Fold of each prompt: a hash of its id, or of its cluster's label, so it survives reordering and sharding."""
        return fold_of(self.ids if self.cluster_ids is None else self.cluster_ids, n_folds)

    def regrouped(self, group: Ints) -> Population:
        """The rows of each group of prompts as one prompt, whose id is the group and whose weight is its mass."""
        prompts = np.argsort(group, kind="stable")
        index = rows_of(self, prompts)
        ends = np.append(np.flatnonzero(np.diff(group[prompts])) + 1, len(prompts)) if len(prompts) else prompts
        offsets = np.append(0, np.cumsum(self.sizes[prompts])[ends - 1]).astype(np.int64)
        weight = (self.row_weight() * np.repeat(self.prompt_weight(), self.sizes))[index]
        mass = np.add.reduceat(weight, offsets[:-1]) if len(ends) else np.zeros(0)
        weight = weight / np.repeat(np.where(mass > 0, mass, 1.0), np.diff(offsets))
        return replace(
            self, offsets=offsets, ids=np.unique(group), order=self.rows[index], weight=weight, omega=mass,
            unbias=None, cluster=None, cluster_ids=None, draws=None,
        )  # fmt: skip

    def labelled(self, values: Floats) -> Population:
        """The population on rows where `values` (N,) is not NaN; prompts without a label get no weight."""
        keep = ~np.isnan(values[self.rows])
        if keep.all():
            return self
        weight = np.where(keep, self.row_weight(), 0.0)
        total = np.add.reduceat(weight, self.offsets[:-1]) if self.n_rows else np.zeros(0)
        safe = np.where(total > 0, total, 1.0)
        weight = weight / np.repeat(safe, self.sizes)
        omega = np.where(total > 0, np.ones(self.n_prompts) if self.omega is None else self.omega, 0.0)
        square = np.add.reduceat(self._lost(weight), self.offsets[:-1]) if self.n_rows else np.zeros(0)
        unbias = np.where((square > 0) & (square < 1), 1 / np.where(square < 1, 1 - square, 1.0), 0.0)
        return replace(self, weight=weight, omega=omega, unbias=unbias)


def fold_of(ids: NDArray[Any], n_folds: int) -> Ints:
    """Fold numbers from a hash of each id; equal ids get equal folds whatever their order."""
    return (hash_of(ids) % np.uint64(n_folds)).astype(np.int64)


def hash_of(ids: NDArray[Any]) -> NDArray[np.uint64]:
    """A 64-bit hash of each id."""
    if ids.dtype.kind in "iu":
        return mixed(ids.astype(np.uint64))
    digests = [hashlib.sha256(str(i).encode()).digest()[:8] for i in ids]
    return np.array([int.from_bytes(b, "little") for b in digests], np.uint64)


def mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64: every bit of the result depends on every bit of x."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return np.asarray(x ^ (x >> np.uint64(31)))


def population(
    n_rows: int,
    prompt_ids: ArrayLike | None,
    *,
    base: str = "sampled",
    logprobs: Floats | None = None,
    counts: Floats | None = None,
    proposal_logprobs: Floats | None = None,
    prompt_weights: Any = None,
    clusters: Any = None,
    drop: Callable[[Ints], Ints | None] | None = None,
) -> Population:
    """Order prompts and weigh rows; `drop` says of rows that count which are bad, and their prompts go whole."""
    if base not in BASES:
        raise ValueError(f"base is {base!r}, wanted one of {', '.join(BASES)}")
    ids = _ids(prompt_ids, n_rows)
    order, starts = _canonical(ids)
    canonical = ids if order is None else ids[order]
    names = canonical[starts] if n_rows else ids[:0]
    offsets = np.append(starts, n_rows).astype(np.int64)
    p = Population(n_rows, offsets, names, order, base=base, every=names, place=np.arange(len(names)))
    if prompt_weights is not None:
        p = replace(p, omega=by_prompt("prompt_weights", prompt_weights, names, ids, text=False))
    if clusters is not None:
        cluster = by_prompt("clusters", clusters, names, ids, text=True)
        codes = np.unique(cluster, return_inverse=True)[1].astype(np.int64)
        p = replace(p, cluster=codes, cluster_ids=cluster)
    if p.omega is not None and not p.omega.all():
        p = take(p, np.flatnonzero(p.omega))
    if p.omega is not None:
        p = replace(p, omega=_in_range(p.omega))
    p = _present(p, counts if base == "counts" else logprobs if base == "logprob" else None)
    if p.cluster is not None:
        p = take(p, np.argsort(p.cluster, kind="stable"))
    bad = drop(p.rows) if drop is not None else None
    if bad is not None and len(bad):
        p = _dropped(p, bad)
    return _weighted(p, logprobs, counts, proposal_logprobs)


def _ids(prompt_ids: ArrayLike | None, n_rows: int) -> NDArray[Any]:
    if prompt_ids is not None:
        return ids_of(prompt_ids, n_rows)
    if n_rows:
        tell(
            "no prompt ids: all rows are taken as one prompt; pass prompt_ids= for within-prompt results",
            stacklevel=5,
        )
    return np.zeros(n_rows, np.int64)


def _canonical(ids: NDArray[Any]) -> tuple[Ints | None, Ints]:
    """Stable order by first appearance (None: already grouped) and where prompts start in it."""
    if not len(ids):
        return None, np.zeros(0, np.int64)
    starts = _changes(ids)
    runs = ids[starts]
    by_id = None if (runs[1:] > runs[:-1]).all() else np.argsort(runs, kind="stable")
    if by_id is None or len(_changes(runs[by_id])) == len(runs):
        return None, starts
    # by sort and comparison, because the first np.unique of a process imports numpy.ma: ten times a small pass
    by_id = np.argsort(ids, kind="stable")
    new = _changes(ids[by_id])
    first = by_id[new]
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first))
    label = np.empty(len(ids), np.int64)
    label[by_id] = np.repeat(rank, np.diff(np.append(new, len(ids))))
    order = np.argsort(label, kind="stable")
    return order, _changes(label[order])


def _changes(a: NDArray[Any]) -> Ints:
    """Where a run of equal entries starts."""
    return np.flatnonzero(np.append(True, a[1:] != a[:-1]))


def _in_range(weights: Floats) -> Floats:
    """Weights over a power of two, where their squares may leave the range: only ratios matter, and they are kept."""
    top = weights.max(initial=0.0)
    with np.errstate(under="ignore"):
        return weights if 1e-6 <= top <= 1e6 else np.ldexp(weights, -int(np.frexp(top)[1]))


def take(p: Population, prompts: Ints) -> Population:
    """The prompts given, in that order."""
    return replace(
        p,
        offsets=np.append(0, np.cumsum(p.sizes[prompts])).astype(np.int64),
        ids=p.ids[prompts],
        order=p.rows[rows_of(p, prompts)],
        omega=None if p.omega is None else p.omega[prompts],
        cluster=None if p.cluster is None else p.cluster[prompts],
        cluster_ids=None if p.cluster_ids is None else p.cluster_ids[prompts],
        place=None if p.place is None else p.place[prompts],
    )


def _present(p: Population, weight: Floats | None) -> Population:
    """Without the rows of count 0 or log-probability -inf; a prompt all of whose counts are 0 goes with them."""
    if weight is None or not p.n_rows:
        return p
    keep = weight[p.rows] != (0.0 if p.base == "counts" else -np.inf)
    if keep.all():
        return p
    sizes = p.sums(keep.astype(np.int64))
    if p.base == "logprob" and not sizes.all():
        return p  # no candidate has any probability: `_normalise` names the prompt
    ends = np.append(0, np.cumsum(sizes)).astype(np.int64)
    held = replace(p, order=p.rows[keep], offsets=ends)
    if not sizes.any():
        raise ValueError("counts are 0 in every row; at least one positive count is wanted")
    return take(held, np.flatnonzero(sizes))


def rows_of(p: Population, prompts: Ints) -> Ints:
    """Canonical rows of the prompts given, in that order."""
    sizes = p.sizes[prompts]
    ends = np.cumsum(sizes)
    return np.asarray(np.repeat(p.offsets[prompts] - np.append(0, ends)[:-1], sizes) + np.arange(int(sizes.sum())))


def _dropped(p: Population, bad: Ints) -> Population:
    mark = np.zeros(p.n_dump, bool)
    mark[bad] = True
    hit = p.sums(mark[p.rows].astype(np.int64)) > 0
    return replace(take(p, np.flatnonzero(~hit)), n_dropped=int(hit.sum()))


def _weighted(p: Population, logprobs: Floats | None, counts: Floats | None, proposal: Floats | None) -> Population:
    if p.base == "sampled" or not p.n_rows:
        return p
    needs = {"counts": counts, "logprob": logprobs, "reweight": logprobs}[p.base]
    name = {"counts": "counts", "logprob": "logprobs", "reweight": "logprobs"}[p.base]
    if needs is None:
        raise ValueError(f"base={p.base!r} needs {name}= or a column of that kind")
    if p.base == "counts":
        if (needs < 0).any() or not np.isfinite(needs).all():
            raise ValueError("counts must be finite and not negative")
        with np.errstate(divide="ignore"):
            log_weight = np.log(needs)
    elif p.base == "reweight":
        if proposal is None:
            raise ValueError("base='reweight' needs proposal_logprobs= or a column proposal_logprob")
        log_weight = needs - proposal
    else:
        log_weight = needs
    if np.isnan(log_weight).any() or np.isposinf(log_weight).any():
        raise ValueError(f"base={p.base!r}: log-probabilities hold NaN or +inf")
    return _normalise(p, log_weight[p.rows], counts)


def _normalise(p: Population, log_weight: Floats, counts: Floats | None) -> Population:
    starts, sizes = p.offsets[:-1], p.sizes
    top = np.maximum.reduceat(log_weight, starts)
    if np.isneginf(top).any():
        bad = p.ids[int(np.argmax(np.isneginf(top)))]
        raise ValueError(f"prompt {bad!r}: every response has base weight 0; drop the prompt or mend its weights")
    with np.errstate(over="ignore", under="ignore"):
        weight = np.exp(log_weight - np.repeat(top, sizes))
    weight /= np.repeat(np.add.reduceat(weight, starts), sizes)
    if p.base == "logprob":
        unbias = np.zeros(p.n_prompts)
    elif p.base == "counts":
        with np.errstate(over="ignore"):
            n = np.minimum(np.add.reduceat(np.asarray(counts, float)[p.rows], starts), np.finfo(float).max)
        unbias = np.where(n > 1, n / np.where(n > 1, n - 1, 1.0), 0.0)
    else:
        square = np.add.reduceat(weight**2, starts)
        unbias = np.where(square < 1, 1 / np.where(square < 1, 1 - square, 1.0), 0.0)
    draws = np.asarray(counts, float)[p.rows] if p.base == "counts" else None
    return replace(p, weight=weight, unbias=unbias, draws=draws)

"""Batches of small LPs beside their peers, and one game over many columns beside HiGHS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np
from lp_peers import Highs, daqp_cone, quadprog_margin, scipy_game
from lp_peers_qp import clarabel_game, clarabel_margin, glop_game, proxqp_margin, torchjd_margin
from numpy.typing import NDArray

from clinometer import _core, lp
from clinometer.bench.pairs import interval, median
from clinometer.engine.inputs import thread_count

__all__ = ["LPCase", "lp_cases", "render_lp", "time_lp"]

Floats = NDArray[np.float64]
Peer = Callable[[Floats], float]
AGREE = 1e-6  # the peers' own tolerances are 1e-7; daqp, given a Hessian of 0, regularises


@dataclass
class LPCase:
    """One cell: our call on the whole batch, a peer on a sample of it, and the ratio wanted (None: no target)."""

    kernel: str
    size: str
    peer_name: str
    batch: Floats
    ours: Callable[[Floats], Floats]
    peer: Any
    target: float | None
    sample: int
    one_game: bool = False
    tolerance: float | None = AGREE  # None: a peer that is not exact by design
    seconds: list[float] = field(default_factory=list)  # of ours, a problem
    peer_seconds: list[float] = field(default_factory=list)
    difference: float = 0.0
    inside: float = float("nan")  # HiGHS: its C++ solve alone, seconds a problem

    @property
    def ratios(self) -> list[float]:
        return [b / a for a, b in zip(self.seconds, self.peer_seconds, strict=True)]

    @property
    def checked(self) -> bool:
        return self.tolerance is None or bool(self.difference <= self.tolerance)

    @property
    def verdict(self) -> str:
        """met or missed where the whole 95 % interval is on one side of the target."""
        bounds = interval(self.ratios)
        if self.target is None:
            return ""
        if bounds is None:
            return "too few pairs"
        return "met" if bounds[0] >= self.target else "missed" if bounds[1] < self.target else "not resolved"


def _cone(batch: Floats) -> Floats:
    return np.asarray(lp.cone(batch).value)


def _gram(batch: Floats) -> Floats:
    return np.asarray(lp.gram_cone(batch).margin)


def _games(batch: Floats) -> Floats:
    """Games of (k, n) as the prompts they come from: uniform base weights, no cap, unit scales."""
    count, k, n = batch.shape
    values = np.ascontiguousarray(batch.transpose(0, 2, 1)).reshape(-1, k)
    offsets = np.arange(count + 1, dtype=np.int64) * n
    weight = np.full(count * n, 1.0 / n)
    return np.asarray(_core.lp_prompts(values, offsets, weight, np.ones(k), np.inf, False, thread_count(None))[1])


def lp_cases(quick: bool) -> Iterator[LPCase]:
    """Every cell; peers that are not installed are left out."""
    rng = np.random.default_rng(0)
    sample = 30 if quick else 60
    highs = find_spec("highspy") is not None
    for k, by_scipy, by_highs in ((2, 5000, 500), (3, 5000, 500), (4, 5000, 500), (8, None, 200), (16, None, 100)):
        batch = rng.standard_normal((400_000 // k**2 if quick else 1_600_000 // k**2, k, k))
        yield LPCase("cone", f"k={k}", "SciPy", batch, _cone, scipy_game("cone"), by_scipy, sample)
        if highs:
            yield LPCase("cone", f"k={k}", "highspy", batch, _cone, Highs("cone"), by_highs, sample)
        others = (("daqp", daqp_cone(), 10, 1e-4), ("Clarabel", clarabel_game("cone"), 1, AGREE),
                  ("OR-tools GLOP", glop_game("cone"), 1, AGREE))  # fmt: skip
        for name, peer, more, tolerance in others:
            if peer is not None:
                yield LPCase("cone", f"k={k}", name, batch, _cone, peer, None, more * sample, tolerance=tolerance)
        grams = batch @ batch.transpose(0, 2, 1)
        scale = np.sqrt(np.einsum("pii->pi", grams))
        grams /= scale[:, :, None] * scale[:, None, :]
        margins: tuple[tuple[str, Peer | None, int, float | None], ...]
        margins = (("quadprog", quadprog_margin(), 10, AGREE), ("ProxQP", proxqp_margin(), 10, 1e-4),
                   ("Clarabel", clarabel_margin(), 1, 1e-4), ("TorchJD MGDA", torchjd_margin(), 1, None))  # fmt: skip
        for name, margin, more, error in margins:
            if margin is not None:
                wanted = 10 if k == 16 and name == "quadprog" else None
                yield LPCase("gram_cone", f"k={k}", name, grams, _gram, margin, wanted, more * sample, tolerance=error)
    for k in (3, 4, 8):
        for n in (8, 16, 64):
            target = (500 if n <= 16 else 150) if k <= 4 else (250 if n <= 16 else 120)
            batch = rng.standard_normal(((300_000 if quick else 3_000_000) // (k * n), k, n))
            batch -= batch.mean(axis=2, keepdims=True)
            if highs:
                yield LPCase("prompt", f"{k} x {n}", "highspy", batch, _games, Highs("game"), target, sample)
            for name, peer in (("Clarabel", clarabel_game("game")), ("OR-tools GLOP", glop_game("game"))):
                if peer is not None and k == 4:
                    yield LPCase("prompt", f"{k} x {n}", name, batch, _games, peer, None, sample)
    for k in (4, 8, 16):
        n = 10_000 if quick else 1_000_000
        batch = rng.standard_normal((1, k, n))
        if highs:
            peer = Highs("game", primal=True)
            wanted = None if quick else 200  # which is for 1e6 columns
            yield LPCase("ensemble", f"{k} x {n:.0e}", "HiGHS primal", batch, _ensemble, peer, wanted, 1, one_game=True)


def _ensemble(batch: Floats) -> Floats:
    return np.array([lp.ensemble(m).value for m in batch])


def time_lp(case: LPCase, repeats: int) -> LPCase:
    """Pairs in turn: our batch, then the peer on its sample. A game's model is built before the clock starts."""
    step = max(1, len(case.batch) // case.sample)
    chosen = case.batch[::step][: case.sample]
    models = [case.peer.model(m) for m in chosen] if case.one_game else list(chosen)
    call: Peer = case.peer.run if case.one_game else case.peer
    case.ours(case.batch), call(models[0])
    inside = getattr(case.peer, "inside", None)
    for _ in range(repeats):
        start = time.perf_counter()
        ours = case.ours(case.batch)
        middle = time.perf_counter()
        theirs = [call(m) for m in models]
        end = time.perf_counter()
        case.seconds.append((middle - start) / len(case.batch))
        case.peer_seconds.append((end - middle) / len(models))
    if inside is not None:
        case.inside = (case.peer.inside - inside) / (repeats * len(models))
    case.difference = float(np.abs(ours[::step][: case.sample] - theirs).max())
    case.batch = case.batch[:0]  # a game of 1e6 columns need not outlive its row
    return case


def render_lp(cases: list[LPCase]) -> str:
    """The table that is printed."""
    out = [
        f"{'kernel':10}{'size':12}{'peer':14}{'ours, us':>11}{'problems/s':>13}{'peer / ours':>26}{'target':>8}"
        f"{'':15}{'C++ / ours':>11}{'differ by':>11}"
    ]
    for c in cases:
        bounds = interval(c.ratios)
        spread = f" [{bounds[0]:,.0f}, {bounds[1]:,.0f}]" if bounds else ""
        inside = f"{c.inside / median(c.seconds):,.0f}" if c.inside == c.inside else ""
        wrong = "  WRONG" if not c.checked else ""
        out.append(
            f"{c.kernel:10}{c.size:12}{c.peer_name:14}{1e6 * median(c.seconds):11,.3f}{1 / median(c.seconds):13,.0f}"
            f"{f'{median(c.ratios):,.0f}{spread}':>26}{c.target or '':>8} {c.verdict:14}{inside:>11}"
            f"{c.difference:11.0e}{wrong}"
        )
    out += [
        "",
        "peer / ours: median over interleaved pairs of seconds a problem, in brackets a 95 % interval (six pairs or",
        "more). Peers are called one problem at a time from Python, ours once a batch. C++ / ours: HiGHS' own clock",
        "inside run(). prompt has no ratio cap. ensemble: HiGHS' model is built before the clock starts.",
    ]
    return "\n".join(out)

"""Coverage of the intervals over simulated dumps: ``python benchmarks/coverage.py --dumps 200``.

Each line is one world and one interval: the share of dumps whose 90 % and 95 % interval holds the target, and
the mean width of the 95 % one over that of an oracle who knows the spread of the estimate. The target is the
mean of the estimate over the dumps, what it would be on average over repeated sampling; for the debiased rho^2
it is the true rho^2.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

import clinometer as cm

Floats = NDArray[np.float64]
KL = 0.2
Z90, Z95 = (NormalDist().inv_cdf(p) for p in (0.95, 0.975))
BASE: dict[str, Any] = {"n_prompts": 100, "n_responses": 8, "dim": 16, "alignment": [0.6], "n_constitutions": 1}
WORLDS: dict[str, dict[str, Any]] = {
    "equal": {},
    "unequal": {"unequal": True},
    "heavy tails": {"heavy_tails": True},
    "N < d": {"n_prompts": 40, "n_responses": 5, "dim": 300},
    "clustered": {"n_prompts": 200},
    "100 hard pairs": {"pairs": 100},
    "300 hard pairs": {"pairs": 300},
    "1000 hard pairs": {"pairs": 1000},
}


def world(name: str, seed: int) -> tuple[cm.Dump, Any, dict[str, Any]]:
    """A dump, the fit of its judge, and options of the passes."""
    made = BASE | WORLDS[name]
    pairs = made.pop("pairs", 0)
    dump = cm.simulate(**made, random_state=seed)
    rng = np.random.default_rng([seed, 1])
    ids = np.asarray(dump.prompt_ids)
    options: dict[str, Any] = {}
    if name == "clustered":  # what raises the value differs from cluster to cluster of five prompts
        taste = rng.normal(size=(made["n_prompts"] // 5, dump.dim))[ids // 5]
        moved = np.asarray(dump.column("s")) + 0.5 * (dump.read(0, dump.n_rows) * taste).sum(axis=1)
        dump = dump.with_options(columns=dump.columns.merged({"s": moved}))
        options["clusters"] = np.arange(made["n_prompts"]) // 5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not pairs:
            return dump, cm.fit_value_direction(dump, "s", pooled=False, **options), options
        rows, prob = hard_pairs(ids, np.asarray(dump.column("judge/c0")), pairs, rng)
        return dump, cm.fit_preference_direction(dump, rows, prob, **options), options


def hard_pairs(ids: Any, judge: Floats, count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], Floats]:
    """Pairs of rows of one prompt, and verdicts drawn with the judge's score as log-odds."""
    first = rng.integers(0, len(ids), count)
    starts, sizes = np.searchsorted(ids, ids[first]), np.bincount(ids)[ids[first]]
    second = starts + (first - starts + 1 + rng.integers(0, np.maximum(sizes - 1, 1))) % sizes
    prob = 1 / (1 + np.exp(-2 * (judge[first] - judge[second])))
    return np.stack([first, second], axis=1), (rng.random(count) < prob).astype(float)


def estimates(name: str, dumps: int) -> Iterator[dict[str, tuple[float, float, float]]]:
    """Of each dump: estimate, error (half the 95 % width over z), and target (NaN: the mean) by quantity."""
    for seed in range(dumps):
        dump, fit, options = world(name, seed)
        given = cm.gain_intervals(dump, dump.truth.u_c, values="s", kl=[KL], **options)
        fitted = cm.gain_intervals(dump, fit, values="s", kl=[KL], **options)
        out = {
            "gain, direction given": (given.gain.item(), given.se.item(), np.nan),
            "gain, labels included": (fitted.gain.item(), fitted.se_labels.item(), np.nan),
            "gain, labels ignored": (fitted.gain.item(), fitted.se.item(), np.nan),
        }
        q = fit.encoding_quality
        out["quality out of fold"] = (q.value.item(), float(np.diff(q.ci[0])[0]) / 2 / Z95, np.nan)
        if np.isfinite(q.rho2_debiased.item()) and name != "clustered":
            width = float(np.diff(q.rho2_ci[0])[0])
            out["rho^2 debiased"] = (q.rho2_debiased.item(), width / 2 / Z95, dump.truth.rho2)
        yield out


def table(name: str, dumps: int) -> Iterator[str]:
    """The lines of one world."""
    held: dict[str, list[tuple[float, float, float]]] = {}
    for one in estimates(name, dumps):
        for quantity, numbers in one.items():
            held.setdefault(quantity, []).append(numbers)
    for quantity, rows in held.items():
        x, se, target = np.array(rows).T
        aim = np.where(np.isnan(target), x.mean(), target)
        off = np.abs(x - aim) / se
        share = [np.mean(off <= z) for z in (Z90, Z95)]
        ratio = np.mean(se) / np.sqrt(np.mean((x - aim) ** 2))
        yield f"{name:<16} {quantity:<22} {share[0]:6.3f} {share[1]:6.3f} {ratio:7.2f} {np.mean(aim):+8.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dumps", type=int, default=200)
    parser.add_argument("--worlds", nargs="*", default=list(WORLDS), choices=list(WORLDS))
    args = parser.parse_args()
    print(f"{args.dumps} dumps a world, KL {KL}; a share of 0.95 has error {np.sqrt(0.95 * 0.05 / args.dumps):.3f}")
    print(f"{'world':<16} {'interval':<22} {'90 %':>6} {'95 %':>6} {'width':>7} {'target':>8}")
    for name in args.worlds:
        for line in table(name, args.dumps):
            print(line, flush=True)


if __name__ == "__main__":
    main()

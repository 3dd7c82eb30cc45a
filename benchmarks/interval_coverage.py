"""Coverage of every interval over simulated dumps (``make coverage``, 2,000 a world).

A line is a world, a statistic and its target: the share of dumps whose 90 % and 95 % interval holds the target,
each with its Monte Carlo error, the mean width of the 95 % interval over that of an oracle who knows how far the
estimate falls from the target (root mean square), and the share of dumps without an interval. Targets:

- truth: the number the world was built with, known in closed form
- mean: what the estimate is on average over repeated dumps of this size, fits and their labels drawn anew
- mean at alpha: the same of the out-of-fold quality at the penalty that was chosen (from every tenth dump)

Dumps that are done are kept in a state file and not drawn again while the code of the intervals is the same.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from coverage_worlds import ALIGNMENT, GENERATION, WORLDS, Draw, draw
from numpy.typing import NDArray
from resumable import Draws, commit, fingerprint

import clinometer as cm
from clinometer.common.resampling import t_bounds
from clinometer.fit.options import ALPHAS
from clinometer.theory import generation_judgment_gap

Floats = NDArray[np.float64]
HERE = Path(__file__).parent
KL, BETAS = 0.2, [1.6, 1.0]
LEVELS = (0.9, 0.95)
Z95 = 1.959963984540054
BATCH, EVERY = 50, 10
TRUTH, MEAN, AT_ALPHA = "truth", "mean", "mean at alpha"


class One(dict[str, Any]):
    """Of one dump: statistic -> [estimate, bounds at 90 %, bounds at 95 %, target kind, target]."""

    def put(self, name: str, x: Any, bounds: list[Any], kind: str, target: float | int | None = None) -> None:
        ends = [None if not np.isfinite(b) else float(b) for level in bounds for b in np.ravel(level)]
        self[name] = [float(np.ravel(x)[0]), *ends, kind, target]


def measured(world: str, seed: int) -> One:
    """Every statistic of one dump."""
    d, out = draw(world, seed), One()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = cm.fit_value_direction(d.dump, "s", pooled=False, **d.options)
        judge = _judge(d, "cv")
        ridge = 1.0 if d.dump.dim > d.dump.n_rows else 0.0  # least squares would interpolate
        generator = cm.fit_generation_direction(d.dump, "noisy logprob", alpha=ridge, **d.options)
        _gains(out, d, value if d.pairs is None else judge, WORLDS[world].heavy_tails)
        _quality(out, world, value if d.pairs is None else judge, d.dump.truth.rho2, WORLDS[world].clusters > 0)
        _gap(out, d, value, judge, generator)
        if seed % EVERY == 0:
            out["path"] = _path(d)
    return out


def _judge(d: Draw, alpha: Any) -> Any:
    if d.pairs is None:
        return cm.fit_value_direction(d.dump, "noisy judge", pooled=False, alpha=alpha, **d.options)
    return cm.fit_preference_direction(d.dump, d.pairs, d.verdict, alpha=alpha, **d.options)


def _gains(out: One, d: Draw, fit: Any, heavy: bool) -> None:
    """Scores are fitted to the value itself, the hardest case: its labels are in the fit and in the gain."""
    truth = d.dump.truth
    given = cm.inference.gain_intervals(d.dump, truth.u_c, values="s", kl=[KL], **d.options)
    fitted = cm.inference.gain_intervals(d.dump, fit, values="s", kl=[KL], **d.options)
    policy = cm.inference.gain_intervals(d.dump, truth.u_c, BETAS, "s", **d.options)
    out.put("gain, this judge", given.gain, [given.at(level).interval for level in LEVELS], MEAN)
    out.put("gain, with labels", fitted.gain, [fitted.at(level).interval_labels for level in LEVELS], MEAN)
    out.put("gain, labels ignored", fitted.gain, [fitted.at(level).interval for level in LEVELS], MEAN)
    wins = [t_bounds(policy.win_rate, policy.win_rate_se, policy.units, level)[0, 0] for level in LEVELS]
    out.put("win rate, this judge", policy.win_rate, wins, MEAN)
    rows = [policy.at(level).estimate_interval[0] for level in LEVELS]
    for b, beta in enumerate(BETAS):
        if policy.estimate_kind[0, b] != "none" and not heavy:  # t tails have no tilt
            name = f"policy, beta {beta:g}"
            out.put(name, policy.estimate[0, b], [r[b] for r in rows], TRUTH, float(truth.gain(beta).item()))


def _quality(out: One, world: str, fit: Any, rho2: float, clustered: bool) -> None:
    q = fit.encoding_quality
    out.put("quality", q.value, [q.interval(level) for level in LEVELS], AT_ALPHA, _nearest(world, fit.alpha[0]))
    if fit.n_pairs == 0 and np.isfinite(q.rho2_debiased[0]):
        target = (MEAN, None) if clustered else (TRUTH, rho2)
        out.put("rho^2", q.rho2_debiased, [q.rho2_interval(level) for level in LEVELS], *target)


def _gap(out: One, d: Draw, value: Any, judge: Any, generator: Any) -> None:
    t = d.dump.truth
    given = generation_judgment_gap(t.u_star, t.u_c, t.u_gen, d.dump, **d.options)
    fitted = generation_judgment_gap(value, judge, generator, d.dump, **d.options)
    out.put("gap, directions", given.gap, [given.interval(x) for x in LEVELS], TRUTH, ALIGNMENT - GENERATION)
    out.put("gap, fits", fitted.gap, [fitted.interval(x) for x in LEVELS], MEAN)


def _grid(world: str) -> Floats:
    return ALPHAS[::2] if WORLDS[world].pairs else ALPHAS


def _nearest(world: str, alpha: float) -> int:
    return int(np.argmin(np.abs(np.log(_grid(world) / alpha))))


def _path(d: Draw) -> list[float]:
    """Quality at every penalty of the grid."""
    if d.pairs is not None:
        return [float(_judge(d, float(a)).encoding_quality.value[0]) for a in ALPHAS[::2]]
    fits = (cm.fit_value_direction(d.dump, "s", pooled=False, alpha=float(a), **d.options) for a in ALPHAS)
    return [float(fit.encoding_quality.value[0]) for fit in fits]


def files() -> list[Path]:
    """The code whose intervals these are."""
    package = Path(cm.__file__).parent
    return [
        *package.glob("fit/*.py"), *package.glob("inference/*.py"), package / "common/resampling.py",
        package / "theory/gap.py", package / "theory/simulation.py", HERE / "coverage_worlds.py",
    ]  # fmt: skip


def run(worlds: list[str], dumps: int, minutes: float, state: Path) -> dict[str, dict[int, Any]]:
    """Measures of each world, by seed: what is missing is drawn until time is up."""
    return Draws(state, fingerprint(files()), list(WORLDS)).run(measured, worlds, dumps, minutes, BATCH)


def table(world: str, done: dict[int, Any]) -> Iterator[str]:
    """The lines of one world."""
    paths = np.array([one["path"] for one in done.values() if "path" in one])
    names = dict.fromkeys(name for one in done.values() for name in one if name != "path")
    for name in names:
        yield _line(world, name, [one[name] for one in done.values() if name in one], paths)


def _line(world: str, name: str, rows: list[Any], paths: Floats) -> str:
    x = np.array([row[0] for row in rows])
    bounds = np.array([row[1:5] for row in rows], float)
    kind, aims = rows[0][5], [row[6] for row in rows]
    if kind == MEAN:
        target = np.full(len(x), x.mean())
    else:
        target = paths.mean(axis=0)[aims] if kind == AT_ALPHA else np.array(aims, float)
    known = np.isfinite(bounds).all(axis=1)
    low, high, at = bounds[known, 0::2], bounds[known, 1::2], target[known, None]
    share = ((low <= at) & (at <= high)).mean(axis=0)
    error = np.sqrt(share * (1 - share) / max(known.sum(), 1))
    oracle = 2 * Z95 * np.sqrt(np.mean((x - target) ** 2))
    width, none = (high[:, 1] - low[:, 1]).mean() / oracle, 1 - known.mean()
    verdict = "" if name == "gain, labels ignored" else _verdict(share, error, float(width), float(none))
    return (
        f"{world:<16} {name:<21} {share[0]:6.3f} {error[0]:5.3f} {share[1]:6.3f} {error[1]:5.3f} {width:6.2f} "
        f"{none:5.2f} {kind:<13} {np.mean(target):+7.3f} {len(rows):5d}  {verdict}"
    )


def _verdict(share: Floats, error: Floats, width: float, none: float) -> str:
    off = share - LEVELS
    if width > 1.3 or none > 0.1 or (off + Z95 * error < -0.02).any():
        return "MISSED"
    if (np.abs(off) <= 0.02).all():
        return "met"
    return "wide" if (off - Z95 * error > 0.02).any() else "open"


def shown(worlds: list[str], done: dict[str, dict[int, Any]], code: str) -> Iterator[str]:
    """The table, line by line."""
    yield f"{time.strftime('%Y-%m-%d')}, commit {commit()}, code {code}; KL {KL}, policy gains at beta {BETAS}"
    yield "met: both levels within 2 points, width at most 1.3, abstentions at most 10 %; wide: covers more than that"
    yield "open: off by more than 2 points, and by less within 1.96 Monte Carlo errors: more dumps would tell"
    yield (
        f"{'world':<16} {'interval':<21} {'90 %':>6} {'+-':>5} {'95 %':>6} {'+-':>5} {'width':>6} {'none':>5} "
        f"{'target':<13} {'is':>7} {'dumps':>5}"
    )
    for world in worlds:
        yield from table(world, done[world])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dumps", type=int, default=2000)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop drawing after this long")
    parser.add_argument("--worlds", nargs="*", default=list(WORLDS), choices=list(WORLDS))
    parser.add_argument("--state", type=Path, default=HERE / "results/.coverage.jsonl")
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    args = parser.parse_args()
    done = run(args.worlds, args.dumps, args.minutes, args.state)
    lines = list(shown(args.worlds, done, fingerprint(files())))
    print("\n".join(lines))
    if args.output:
        args.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

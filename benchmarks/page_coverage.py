"""What a report's page shows, held against worlds whose policy is known (part of ``make coverage``).

A line is a world and a number of the page. For gains and win rates: the share of dumps whose 95 % interval holds the
policy's, the width over that of an oracle who knows the spread of the estimate, the same over an oracle who knows all
but the error itself (t with as many degrees of freedom as there are prompts or clusters less one), the share of dumps
without an interval, and that of dumps with one bound, which is to hold in 97.5 % and has no width. For claims: how
often the page makes a false one, and how often it cannot tell beside an oracle.
Dumps that are done are kept in a state file and not drawn again while the code of the inference is the same.
"""

from __future__ import annotations

import argparse
import re
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from page_worlds import WORLDS, World, draw, truth
from resumable import Draws, commit, fingerprint
from scipy.special import ndtr, ndtri, stdtrit

import clinometer as cm

HERE = Path(__file__).parent
KL = (0.1, 0.5, 1.0)
SECTIONS = ("selection", "pareto")
POINTS = {"95 %": 0.02}
BATCH = 25


def measured(world: World, seed: int) -> dict[str, Any]:
    """What one page says."""
    dump = draw(world, seed)
    options: dict[str, Any] = {}
    if world.clusters:
        options["clusters"] = np.arange(world.prompts) * world.clusters // world.prompts
    judges = [f"judge/{k}" for k in range(world.judges)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        r = cm.report(dump, constitutions=judges, values=["value"], kl=KL, sections=SECTIONS, n_threads=1, **options)
    p, best = r.policy, r.best()
    return {
        "gain": p.gain[0, :, 0].tolist(), "bounds": p.interval[0, :, 0].tolist(), "win": p.win_rate[0, :, 0].tolist(),
        "wins": p.win_interval[0, :, 0].tolist(), "classes": r.classes.ravel().tolist(),
        "raises": "raises" in r.verdict().split(":")[0], "told": not r.verdict().startswith("Cannot tell"),
        "sure": None if r.pareto is None else r.pareto.mixture_sure, "compared": r.compared,
        "lower": float(best.lower[0]), "check": bool(p.interval[0, 0, 0, 0] >= 0),
        "chosen": None if r.selection is None else [float(r.selection.gain[0]), *r.selection.interval[0].tolist()],
    }  # fmt: skip


def files() -> list[Path]:
    """The code whose numbers these are; what writes them down in words is not."""
    package = Path(cm.__file__).parent
    words = {"brief", "caveats", "export", "notes", "responses", "text"}
    return [
        *package.glob("inference/*.py"), *(p for p in package.glob("reporting/*.py") if p.stem not in words),
        package / "lp/pareto.py", package / "common/resampling.py", HERE / "page_worlds.py",
    ]  # fmt: skip


def run(dumps: int, minutes: float, state: Path, some: str = "") -> dict[str, dict[int, Any]]:
    """Pages of each world, by seed: what is missing of those whose name holds `some` is drawn until time is up."""
    worlds = {world.name: world for world in WORLDS}
    draws = Draws(state, fingerprint(files()), list(worlds))
    asked = [name for name in worlds if re.search(some, name)]
    return draws.run(lambda name, seed: measured(worlds[name], seed), asked, dumps, minutes, BATCH)


def table(world: World, rows: list[dict[str, Any]]) -> Iterator[str]:
    """The lines of one world."""
    if not rows:
        return
    effect = not world.kind.startswith("null")
    free = (world.clusters or world.prompts) - 1
    for b, kl in enumerate(KL):
        gain, win = truth(world.kind, kl)
        for name, x, bounds, target in (("gain", "gain", "bounds", gain), ("win rate", "win", "wins", win)):
            if world.clusters and name == "win rate":
                continue  # the effect of a cluster moves it by an amount that the grid does not know
            yield _covered(world, f"{name} at {kl:g}", rows, x, bounds, b, target, free)
    m = len(rows)
    if not effect:
        yield _claims(world, "false raises", [r["raises"] for r in rows], 0.03)
        yield _claims(world, "false sure", [r["sure"] is not None and r["sure"] > 0.95 for r in rows], 0.05)
        settled = [c not in ("undetermined",) for r in rows for c in r["classes"]]
        yield _claims(world, "false class", settled, 0.05)
        yield _claims(world, "false check", [r["check"] for r in rows], 0.03)
        return
    x = np.array([r["gain"] for r in rows])
    z = np.array([ndtri((1 + 0.95 ** (1 / r["compared"])) / 2) for r in rows])
    spread = np.array([np.std(one[np.isfinite(one)], ddof=1) if np.isfinite(one).sum() > 1 else np.inf for one in x.T])
    with np.errstate(invalid="ignore"):
        best = (~(np.abs(x) > z[:, None] * spread).any(axis=1)).mean()
        # one who has to learn the error from as many prompts, told nothing else
        t = stdtrit(free, ndtr(z)) * np.sqrt(np.random.default_rng(0).chisquare(free, m) / free)
        by_t = (~(np.abs(x) > t[:, None] * spread).any(axis=1)).mean()
    silent = np.mean([not r["told"] for r in rows])
    noise = 2 * np.sqrt(0.25 / m)
    verdict = "met" if silent <= 2 * best + noise else "met by t" if silent <= 2 * by_t + noise else "MISSED"
    error = np.sqrt(silent * (1 - silent) / m)
    line = f"{world.name:<28} {'cannot tell':<16} {silent:6.3f} {error:5.3f} oracle {best:5.3f} by t {by_t:5.3f}"
    yield f"{line} {m:18d}  {verdict}"


def _covered(
    world: World, name: str, rows: list[dict[str, Any]], x: str, bounds: str, b: int, target: float, free: int
) -> str:
    value = np.array([r[x][b] for r in rows], float)
    ends = np.array([r[bounds][b] for r in rows], float)
    known = ~np.isnan(ends).any(axis=1)
    both = np.isfinite(ends).all(axis=1)
    m, none = int(known.sum()), 1 - known.mean()
    if m < 2:
        return f"{world.name:<28} {name:<16} {'no interval in any dump':<53}{len(rows):6d}  none"
    share = ((ends[known, 0] <= target) & (target <= ends[known, 1])).mean()
    error = np.sqrt(max(share * (1 - share), 0.0475) / m)  # of all of fifty dumps no less than of most
    spread = value[known].std(ddof=1)
    one = 1 - both.sum() / m
    width = np.mean(ends[both, 1] - ends[both, 0]) / (2 * spread) if both.any() else np.nan
    wide, t_wide = width / 1.96, width / stdtrit(free, 0.975)
    allowed = 0.02 if world.prompts >= 5 else 0.03
    off = 0.95 + 0.025 * one - share  # of one bound it is no fault to hold more often
    off = max(off, 0.0) if one > 0.5 else abs(off)
    if one > 0.5:  # a width of the few that have two says nothing
        wide = t_wide = np.nan
    sure = off - allowed > 1.96 * error
    verdict = "MISSED" if sure or t_wide > 1.3 else "open" if off > allowed else "met by t" if wide > 1.3 else "met"
    if none > 0.5 and (1 - share) * (1 - none) <= 0.05:
        verdict = "few"
    return (
        f"{world.name:<28} {name:<16} {share:6.3f} {error:5.3f} {wide:6.2f} {t_wide:6.2f} {none:5.2f} {one:5.2f} "
        f"{(np.mean(value[known]) - target) / spread:+6.2f} {len(rows):6d}  {verdict}"
    )


def _claims(world: World, name: str, made: list[bool], allowed: float) -> str:
    share = float(np.mean(made))
    error = np.sqrt(max(share * (1 - share), allowed * (1 - allowed)) / len(made))
    verdict = "met" if share <= allowed else "open" if share - 1.96 * error <= allowed else "MISSED"
    return f"{world.name:<28} {name:<16} {share:6.3f} {error:5.3f} wanted <= {allowed:g} {len(made):26d}  {verdict}"


def shown(done: dict[str, dict[int, Any]], code: str) -> Iterator[str]:
    """The table, line by line."""
    yield f"{time.strftime('%Y-%m-%d')}, commit {commit()}, code {code}; a report at KL {', '.join(map(str, KL))}"
    yield "share: of dumps whose 95 % interval holds the policy's number, or that make the claim; +-: Monte Carlo error"
    yield "width: over an oracle's who knows the spread; by t: who knows all but the error; off: bias over the spread"
    yield "met: within 2 points and 1.3 times the oracle's width; met by t: 1.3 times only by t, as few prompts are;"
    yield "open: off by no more than 1.96 Monte Carlo errors; MISSED; none: no number, past what the rows can say;"
    yield "few: a number in less than half of the dumps (its share is of those), a false one in at most 5 % of all"
    yield "one: of dumps with a number, those with one bound, which is to hold in 97.5 % less 2 points, or more"
    head = f"{'world':<28} {'number':<16} {'share':>6} {'+-':>5} {'width':>6} {'by t':>6} {'none':>5} {'one':>5}"
    yield f"{head} {'off':>6} {'dumps':>6}"
    for world in WORLDS:
        yield from table(world, list(done[world.name].values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dumps", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop drawing after this long")
    parser.add_argument("--worlds", default="", metavar="REGEX", help="draw only worlds whose name has a match")
    parser.add_argument("--state", type=Path, default=HERE / "results/.page.jsonl")
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    args = parser.parse_args()
    lines = list(shown(run(args.dumps, args.minutes, args.state, args.worlds), fingerprint(files())))
    print("\n".join(lines))
    if args.output:
        args.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

"""Verdicts of cm.lp against rational arithmetic, on planted margins and on the families that fool solvers.

    python benchmarks/lp_families.py [--instances 10000] [--seed 0]

Every instance has a true margin, known by construction in integers or computed in rational arithmetic on the stored
doubles. A verdict is wrong if it contradicts the sign of that margin or if a witness fails in rational arithmetic. The
last column counts "undecided" where the true margin, rows scaled to largest entry 1, is 1e-13 or more: wanted zero.
Exit code 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from clinometer import lp, reference

FLOOR = Fraction(1, 10**13)
TINY = 1e-300  # prices below have too few digits to prove anything: rows 1e400 apart have no common simplex of doubles
PLANTED = (0.0, 1e-12, 1e-11, 1e-10, 1e-9, 1e-8, 1e-6, 1e-4, 1e-2, 1.0)


@dataclass
class Tally:
    """One family: how many, how many wrong, undecided, and undecided above 1e-13."""

    count: int = 0
    wrong: int = 0
    undecided: int = 0
    above: int = 0

    def add(self, status: str, margin: Fraction, size: Fraction, proved: bool) -> None:
        """A verdict on a problem of true margin `margin`, with rows scaled `size` (a lower bound of its size)."""
        self.count += 1
        if status == "undecided":
            self.undecided += 1
            self.above += size >= FLOOR
        else:
            truth = {"improvable": margin > 0, "optimal": margin >= 0, "blocked": margin <= 0, "infeasible": margin < 0}
            self.wrong += not (truth[status] and proved)


def exact(row: np.ndarray, vector: np.ndarray) -> Fraction:
    return sum((Fraction(float(a)) * Fraction(float(b)) for a, b in zip(row, vector, strict=True) if b), Fraction(0))


def scaled(a: np.ndarray) -> np.ndarray:
    """Rows over powers of two, largest entry in [1/2, 1): exact, and no larger than rows scaled to 1."""
    exponent = np.frexp(np.abs(a).max(axis=1))[1]
    return np.ldexp(a, -exponent[:, None])


def cones(tally: Tally, problems: np.ndarray, margin: Callable[[np.ndarray], Fraction] | None = None) -> None:
    """Solve a batch; the true margin of each is the rational one unless the family knows its sign."""
    found = lp.cone(problems)
    for p, a in enumerate(problems):
        status = str(found.status[p])
        proved = status != "improvable" or min(exact(row, found.weights[p]) for row in a) > 0
        truth = reference.cone_value(scaled(a)) if margin is None else margin(a)
        tally.add(status, truth, truth, proved)


def games(tally: Tally, problems: np.ndarray) -> None:
    for m in problems:
        found = lp.ensemble(m)
        w, y = found.weights, found.dual
        low = min(exact(row, w) for row in m)
        proved = low > 0 if found.status == "improvable" else True
        if found.status == "blocked" and found.upper < 0 and y[y > 0].min() > TINY:
            proved = max(exact(column, y) for column in m.T) < 0
        truth = reference.game_value(scaled(m))
        tally.add(str(found.status), truth, abs(truth), proved)


# ---- families: each takes a number of instances and yields problems


def closed(rng: np.random.Generator, count: int, k: int, d: int) -> np.ndarray:
    """Integer rows whose positive integer combination vanishes."""
    a = rng.integers(-9, 10, (count, k, d)).astype(float)
    a[:, -1] = -np.einsum("pk,pkd->pd", rng.integers(1, 6, (count, k - 1)), a[:, :-1])
    return a


def planted_cones(rng: np.random.Generator, count: int) -> Iterator[tuple[str, Tally]]:
    for e in PLANTED:
        tally = Tally()
        for k, d in [(2, 2), (3, 4), (5, 8), (8, 8), (16, 16)]:
            a = closed(rng, max(1, count // 50), k, d)
            order = rng.permutation(d)
            if e:
                a[:, :, 0] = e  # what closed in d - 1 dimensions is opened by the last: v = (1, 0, ...) has products e
            size = Fraction(e) / max(1, int(np.abs(a).max()))
            cones(tally, a[:, :, order], lambda _, e=e, size=size: size if e else Fraction(0))
        yield f"cone, planted {e:g}", tally


def other_cones(rng: np.random.Generator, count: int) -> Iterator[tuple[str, Tally]]:
    n = max(1, count // 8)

    def tallied(problems: np.ndarray) -> Tally:
        tally = Tally()
        cones(tally, problems)
        return tally

    yield "cone, integers", tallied(rng.integers(-3, 4, (n, 5, 3)).astype(float))
    yield "cone, ties", tallied(rng.integers(-1, 2, (n, 4, 3)).astype(float))
    yield "cone, copies", tallied(np.repeat(rng.integers(-3, 4, (n, 3, 3)).astype(float), 2, axis=1))
    zero = rng.integers(-3, 4, (n, 4, 3)).astype(float)
    zero[:, 1] *= rng.integers(0, 2, (n, 1))
    yield "cone, zero rows", tallied(zero)
    yield "cone, scales 1e+-12", tallied(rng.standard_normal((n, 4, 3)) * 10.0 ** rng.uniform(-12, 12, (n, 4, 1)))
    huge = np.where(rng.random((n, 4, 1)) < 0.5, 1e200, 1e-200)
    yield "cone, 1e+-200", tallied(rng.integers(-3, 4, (n, 4, 3)) * huge)
    e = 10.0 ** -rng.uniform(0, 14, (n, 1))
    yield "cone, nearly opposite", tallied(np.stack([np.c_[np.ones(n), 0 * e], np.c_[-np.ones(n), e]], axis=1))
    yield "cone, one value, one dimension", tallied(rng.integers(-1, 2, (n, 1, 1)).astype(float))


def hadamard(order: int) -> np.ndarray:
    """The 2^order square of signs whose rows are orthogonal."""
    square = np.ones((1, 1))
    for _ in range(order):
        square = np.block([[square, square], [square, -square]])
    return square


def signed_squares(rng: np.random.Generator, count: int) -> Iterator[tuple[str, Tally]]:
    """Hadamard rows and columns with signs turned; and their negatives, which close a cone and a game."""
    cone, game = Tally(), Tally()
    for _ in range(max(1, count // 16)):
        square = hadamard(int(rng.integers(1, 4)))
        turned = square * rng.choice([-1.0, 1.0], (len(square), 1)) * rng.choice([-1.0, 1.0], len(square))
        both = np.vstack([turned, -turned[:1]])
        for a in (turned, both):
            cones(cone, a[None])
            games(game, a[None])
    yield "cone, Hadamard", cone
    yield "ensemble, Hadamard", game


def beside_nan(rng: np.random.Generator, count: int) -> Iterator[tuple[str, Tally]]:
    """NaN or Inf in one problem of a batch: that one is invalid, and the others keep every bit."""
    for name, solve in (("cone", lp.cone), ("ensemble", lp.ensemble), ("gram_cone", lp.gram_cone)):
        tally = Tally()
        for _ in range(max(1, count // 40)):
            problems = rng.standard_normal((9, 3, 5))
            if name == "gram_cone":
                problems = problems @ problems.transpose(0, 2, 1)
            alone = solve(problems)
            bad = int(rng.integers(9))
            spoilt = problems.copy()
            spoilt[bad, -1, 0] = rng.choice([np.nan, np.inf, -np.inf])
            found = solve(spoilt)
            others = np.arange(9) != bad
            same = all(
                np.array_equal(getattr(found, part)[others], getattr(alone, part)[others])
                for part in ("status", "lower", "upper", "weights")
            )
            tally.count += 1
            tally.wrong += not (same and found.status[bad] == "invalid")
        yield f"{name}, NaN or Inf in one of nine", tally


def wide_games(rng: np.random.Generator, count: int) -> Iterator[tuple[str, Tally]]:
    """More columns than are priced without a sieve; integers plus a power of two, so the value is known exactly."""
    n = 70_000
    for exponent in (None, -40, -30, -20, 0):
        tally = Tally()
        e = 0.0 if exponent is None else 2.0**exponent
        for k in (2, 4, 8, 16):
            for _ in range(max(1, count // 800)):
                m = closed(rng, 1, k, n)[0]
                m[:, 0] = 0.0  # the value is 0 with this column, and some prices make every column 0
                truth = e * rng.choice([-1.0, 1.0]) if e else 0.0
                order = rng.permutation(n)
                given = (m + truth)[:, order]
                found = lp.ensemble(given)
                low = min(exact(row[found.weights > 0], found.weights[found.weights > 0]) for row in given)
                proved = low > 0 if found.status == "improvable" else True
                if found.status == "blocked" and found.upper < 0:
                    proved = float((found.dual @ given).max()) < 0
                gap = abs(found.value - truth) <= max(1e-9 * e, 1e-15 * np.abs(given).max())
                tally.add(str(found.status), Fraction(truth), abs(Fraction(truth)) / 64, proved and gap)
        yield f"ensemble, 70,000 columns, planted +-{e:.0e}", tally
    tally = Tally()
    for k in (8, 16, 32):
        for _ in range(max(1, count // 1600)):
            m = rng.standard_normal((k, 2)) @ rng.standard_normal((2, n)) + 1e-7 * rng.standard_normal((k, n))
            found = lp.ensemble(m)
            low = min(exact(row[found.weights > 0], found.weights[found.weights > 0]) for row in m)
            tally.add(str(found.status), low, abs(low), found.upper - found.lower <= 2e-15 * np.abs(m).max())
    yield "ensemble, 70,000 columns, rank 2 + 1e-7", tally


def planted_games(rng: np.random.Generator, count: int) -> Iterator[tuple[str, Tally]]:
    for e in PLANTED:
        tally = Tally()
        for k, n in [(2, 3), (3, 5), (4, 6)]:
            m = closed(rng, max(1, count // 60), k, n)  # some lambda makes every column 0: nothing improves
            m[:, :, 0] = 0.0  # and this column makes the value 0
            if e:
                m = m + e * rng.choice([-1.0, 1.0], (len(m), 1, 1))
            games(tally, m)
        yield f"ensemble, planted +-{e:g}", tally


def other_games(rng: np.random.Generator, count: int) -> Iterator[tuple[str, Tally]]:
    n = max(1, count // 12)

    def tallied(problems: np.ndarray) -> Tally:
        tally = Tally()
        games(tally, problems)
        return tally

    yield "ensemble, integers", tallied(rng.integers(-2, 3, (n, 3, 4)).astype(float))
    yield "ensemble, copies", tallied(np.repeat(rng.integers(-2, 3, (n, 3, 3)).astype(float), 3, axis=2))
    scales = 10.0 ** rng.uniform(-12, 12, (n, 3, 1))
    yield (
        "ensemble, scales 1e+-12",
        tallied((rng.standard_normal((n, 3, 4)) + rng.choice([-0.5, 0.5], (n, 1, 1))) * scales),
    )
    far = np.where(rng.random((n, 3, 1)) < 0.5, 1e200, 1e-200)
    yield "ensemble, 1e+-200", tallied(rng.integers(-3, 4, (n, 3, 4)) * far)
    yield "ensemble, one value", tallied(rng.standard_normal((n, 1, 3)))
    yield "ensemble, one candidate", tallied(rng.integers(-1, 2, (n, 3, 1)).astype(float))
    yield "ensemble, all equal", tallied(np.broadcast_to(rng.integers(-1, 2, (n, 1, 1)).astype(float), (n, 3, 4)))
    tally = Tally()
    for _ in range(max(1, count // 400)):
        for k in (8, 16):
            m = rng.standard_normal((k, 2)) @ rng.standard_normal((2, 3000)) + 1e-7 * rng.standard_normal((k, 3000))
            found = lp.ensemble(m)
            low = min(exact(row, found.weights) for row in m)
            tally.add(str(found.status), low, abs(low), found.upper - found.lower <= 2e-15 * np.abs(m).max())
    yield "ensemble, rank 2 + 1e-7 noise, wide", tally


def floors(rng: np.random.Generator, count: int) -> Iterator[tuple[str, Tally]]:
    for gap in (1e-6, 1e-9, 1e-10, 1e-12):
        tally = Tally()
        for _ in range(max(1, count // 20)):
            n = int(rng.integers(2, 40))
            m = np.c_[np.eye(2), rng.uniform(0, 0.4, (2, n))]
            share = float(rng.uniform(0.2, 0.8))
            for sign in (1, -1):
                tau = np.array([share, 1 - share - sign * gap])
                truth = 1 - Fraction(tau[0]) - Fraction(tau[1])  # what is left of the simplex
                found = lp.constrained(m, rng.standard_normal(n + 2), tau)
                proved = found.violation <= 1e-13
                if found.status == "infeasible":
                    proved = max(exact(column - 0, found.dual) - exact(tau, found.dual) for column in m.T) < 0
                tally.add(str(found.status), truth, abs(truth) / 2, proved)
        yield f"floors met or missed by {gap:g}", tally


def prompts(rng: np.random.Generator, count: int) -> Iterator[tuple[str, Tally]]:
    tally, groups = Tally(), max(1, count // 4)
    values = rng.integers(-4, 5, (4 * groups, 4)).astype(float)
    found = lp.prompt(values, prompt_ids=np.repeat(np.arange(groups), 4), uncapped=True)
    for g in range(groups):
        s = values[4 * g : 4 * g + 4]
        s = s[:, np.ptp(s, axis=0) > 0]  # t > 0 iff the differences to one response leave a cone
        truth = reference.cone_value(scaled((s[:3] - s[3]).T)) if s.size else Fraction(0)
        tally.add(str(found.status[g]), truth, truth, True)
    yield "prompt, integers, 4 values, 4 responses", tally


def run(instances: int, seed: int) -> dict[str, Tally]:
    """All families; about `instances` problems in all."""
    rng, part = np.random.default_rng(seed), max(1, instances // 5)
    out: dict[str, Tally] = {}
    families = (
        planted_cones, other_cones, signed_squares, beside_nan, planted_games, other_games, wide_games, floors, prompts,
    )  # fmt: skip
    for family in families:
        out.update(family(rng, part * 2 if family in (planted_cones, other_cones) else part))
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    start = time.perf_counter()
    tallies = run(args.instances, args.seed)
    print(f"{'family':42}{'instances':>10}{'wrong':>7}{'undecided':>11}{'of these >= 1e-13':>19}")
    for name, t in tallies.items():
        print(f"{name:42}{t.count:10}{t.wrong:7}{t.undecided:11}{t.above:19}")
    total = Tally(*(sum(getattr(t, f) for t in tallies.values()) for f in ("count", "wrong", "undecided", "above")))
    print(f"{'all':42}{total.count:10}{total.wrong:7}{total.undecided:11}{total.above:19}")
    print(f"seed {args.seed}, {time.perf_counter() - start:.0f} s")
    return 1 if total.wrong or total.above else 0


if __name__ == "__main__":
    sys.exit(main())

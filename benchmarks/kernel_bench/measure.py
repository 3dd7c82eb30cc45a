"""From a cell to its record: calls made, timed in rounds, checked against float64."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

import clinometer as cm
from clinometer.bench import exact, ours
from clinometer.bench.limits import Limits, names, share, undisturbed
from clinometer.bench.pairs import LEAST, Rounds, once, ratios, timed_rounds
from clinometer.bench.problem import Problem
from clinometer.bench.rows import Files, Rows

from . import small
from .cells import Cell
from .peers import Peer, Settings

__all__ = ["Bench", "Record"]

Record = dict[str, Any]
RIVALS, RIVAL = 2, 2.0  # so many of the fastest peers, at most so many times slower than the first, are in the rounds
NAMED = {"covariance": ("numpy", "torch.cov")}  # peers that a target names
REPORT_PASSES, REPORT_SECONDS = 2, 1.0
REPORT_KL = np.geomspace(0.01, 1.0, 16)
STAGE_SHARE, STAGE_SLACK = 0.6, 1.1  # of the exp rate, and times that, for a stage that is fused


@dataclass
class Bench:
    """What every measurement needs."""

    files: Files
    peers: dict[str, Peer]
    limits: Limits
    pairs: int = LEAST
    most: int = 25
    pause: float = 0.03

    def record(self, cell: Cell) -> Record:
        """Measure one cell; `skipped` says why one could not be."""
        out: Record = {"name": cell.name, **{k: v for k, v in asdict(cell).items() if v is not None}}
        begun = time.perf_counter()
        try:
            return out | _HOW[cell.how](self, cell) | {"took": time.perf_counter() - begun}
        except ours.NotBuilt as error:
            return out | {"skipped": f"not built: {error}"}
        except small.NotHere as error:
            return out | {"skipped": str(error)}

    def rounds(self, calls: dict[str, Callable[[], Any]], probes: dict[str, Any]) -> Rounds:
        return timed_rounds(calls, probes, least=self.pairs, most=max(self.most, self.pairs), pause=self.pause)

    def rows(self, c: Cell) -> Rows:
        """Rows of a cell. Narrower or shorter cells read a file of their own: rows are contiguous, as in a dump."""
        if c.kernel in ("tilt", "tilt_global") and c.how != "whole":  # scores of no rows
            return Rows("float32", np.broadcast_to(np.zeros((1, 1), np.float32), (c.n, 1)), c.group)
        if c.mean:
            noise = np.random.default_rng(6).standard_normal((c.n, c.d), dtype=np.float32)
            return Rows(c.dtype, noise + np.float32(c.mean), c.group)
        need = c.n * c.d * (4 if c.dtype == "float32" else 2)
        small.need_room(self.files.folder, need)
        rows = self.files.rows(c.dtype, c.n, c.d, repeat=c.how == "growth")
        return _one_byte_on(rows) if c.shifted else rows.first(c.n, group=c.group)


def _one_byte_on(rows: Rows) -> Rows:
    """The same values at an address that is no multiple of the size of an element."""
    room = np.empty(rows.n_bytes + 1, np.uint8)
    room[1:] = np.ascontiguousarray(rows.stored).view(np.uint8).reshape(-1)
    moved = np.ndarray(rows.stored.shape, rows.stored.dtype, room.data, offset=1)
    return Rows(rows.dtype, moved, rows.group)


def _tried(problem: Problem, name: str, settings: Settings, pause: float, hopeless: float) -> list[Record]:
    """Every setting of a peer called twice, since the first call warms up; once where it is hopeless."""
    out = []
    for setting, call in settings.items():
        first, result = once(call, pause)
        again, result = once(call, pause) if first < hopeless else (first, result)
        found = exact.checked(problem, result)
        out.append({"peer": name, "setting": setting, "seconds": min(first, again), "call": call, **found})
    return out


def _best_settings(bench: Bench, problem: Problem) -> tuple[list[Record], dict[str, str]]:
    """The fastest exact setting of each peer, else its fastest, and the peers that failed."""
    best: list[Record] = []
    failed: dict[str, str] = {}
    for name, peer in bench.peers.items():
        try:
            fastest = min((r["seconds"] for r in best if r["checked"]), default=math.inf)
            tried = _tried(problem, name, peer.settings(problem), bench.pause, max(3 * fastest, 0.5))
        except Exception as error:  # somebody else's library: whatever it raises, the others are still measured
            failed[name] = f"{type(error).__name__}: {error}".splitlines()[0]
            continue
        if tried:
            best.append(min(tried, key=lambda r: (not r["checked"], r["seconds"])))
            best += [r for r in tried if not r["checked"] and r["seconds"] < best[-1]["seconds"]]
    return best, failed


def _with_peers(bench: Bench, cell: Cell) -> Record:
    problem = Problem(cell.kernel, bench.rows(cell), cell.k)
    call = ours.call(problem)
    call()
    tried, failed = _best_settings(bench, problem)
    counted = sorted((r for r in tried if r["checked"]), key=lambda r: float(r["seconds"]))
    close = [r["peer"] for r in counted[:RIVALS] if r["seconds"] <= RIVAL * counted[0]["seconds"]]
    rivals = {r["peer"]: r for r in counted if r["peer"] in (*close, *NAMED.get(cell.kernel, ()))}
    probes = bench.limits.probes(names(problem.work, cell.kernel not in ("tilt", "tilt_global")), problem.rows)
    rounds = bench.rounds({"ours": call, **{name: r["call"] for name, r in rivals.items()}}, probes)
    for name, r in rivals.items():
        r |= {"rounds": rounds.seconds[name], **exact.checked(problem, rounds.results[name])}
    mine = rounds.seconds["ours"]
    in_rounds = {r["peer"]: np.median(r["rounds"]) for r in counted if "rounds" in r and r["checked"]}
    best = min(in_rounds, key=in_rounds.__getitem__, default=None)
    against = {name: ratios(rounds.seconds[name], mine) for name in in_rounds}
    return {
        "seconds": mine, **exact.checked(problem, rounds.results["ours"]), **share(problem, rounds, mine),
        "peers": [{k: v for k, v in r.items() if k != "call"} for r in tried], "failed": failed,
        "best_peer": best, "against": against, "peer": against.get(best, []) if best else [],
    }  # fmt: skip


def _parts(bench: Bench, cell: Cell) -> Record:
    """Scores and tilt in one pass, over scores alone plus the time the stage may take."""
    problem = Problem(cell.kernel, bench.rows(cell), cell.k)
    calls = {"ours": ours.call(problem), "scores": ours.score_into(problem, None)}
    for call in calls.values():
        call()
    rounds = bench.rounds(calls, bench.limits.probes(names(problem.work, True), problem.rows))
    stage = [STAGE_SLACK * problem.work.n_exps / (STAGE_SHARE * rate) for rate in undisturbed(rounds.rates["exp"])]
    allowed = [s + t for s, t in zip(rounds.seconds["scores"], stage, strict=True)]
    mine = rounds.seconds["ours"]
    return {
        "seconds": mine, "scores": rounds.seconds["scores"], **exact.checked(problem, rounds.results["ours"]),
        **share(problem, rounds, mine), "parts": ratios(allowed, mine),
    }  # fmt: skip


def _two(bench: Bench, cell: Cell, measure: str, problem: Problem, mine: Any, other: Any, scale: float = 1) -> Record:
    """Time of the other call over the time of ours, times `scale`."""
    mine(), other()
    rounds = bench.rounds({"ours": mine, "other": other}, {})
    seconds = rounds.seconds
    found = [scale * r for r in ratios(seconds["other"], seconds["ours"])]
    return {
        "seconds": seconds["ours"], "other_seconds": seconds["other"], measure: found,
        **exact.checked(problem, rounds.results["ours"]),
    }  # fmt: skip


def _extras(bench: Bench, cell: Cell) -> Record:
    problem = Problem(cell.kernel, bench.rows(cell), cell.k)
    return _two(bench, cell, "extras", problem, ours.call(problem), ours.call(problem, extras=False))


def _other(cell: Cell) -> Cell:
    assert cell.other is not None
    n, d, k, group = cell.other
    return replace(cell, n=n, d=d, k=k, group=group, shifted=False)


def _odd(bench: Bench, cell: Cell) -> Record:
    problem, whole = (Problem(c.kernel, bench.rows(c), c.k) for c in (cell, _other(cell)))
    return _two(bench, cell, "odd", problem, ours.call(problem), ours.call(whole))


def _threads(bench: Bench, cell: Cell) -> Record:
    if bench.limits.threads < 2:
        raise small.NotHere("one thread only")
    problem = Problem(cell.kernel, bench.rows(cell), cell.k)
    return _two(bench, cell, "threads", problem, ours.call(problem, 2), ours.call(problem, 1))


def _growth(bench: Bench, cell: Cell) -> Record:
    """Time per row and direction at the smallest size over that at this size."""
    problem, least = (Problem(c.kernel, bench.rows(c), c.k) for c in (cell, _other(cell)))
    mine, call = ours.call(problem), ours.call(least)
    times = problem.rows.n * cell.k / (least.rows.n * least.k)
    repeats = max(1, math.ceil(times / 10))

    def again() -> None:
        for _ in range(repeats):
            call()

    out = _two(bench, cell, "growth", problem, mine, again, times / repeats)
    if problem.rows.n_bytes > 1 << 30:
        bench.files.drop(cell.dtype, cell.n, cell.d)
    return out


def _accuracy(bench: Bench, cell: Cell) -> Record:
    problem = Problem(cell.kernel, bench.rows(cell), cell.k)
    found = exact.checked(problem, ours.call(problem)())
    return {**found, "accuracy": found["tolerance"] / max(found["error"], 1e-300)}


def _whole_tilt(p: Problem) -> Callable[[], Any]:
    """`cm.tilt` as a user calls it: rows, directions and values, at the default levels of KL."""
    values = p.values.astype(np.float64)
    return lambda: cm.tilt(p.rows.dump, p.u, values=values)


def _report_call(p: Problem) -> Callable[[], Any]:
    """Tables, frontiers, cone and diagnostics of K directions, three values and 16 KLs."""
    values = {f"v{j}": p.values[:, j].astype(np.float64) for j in range(3)}
    dump = cm.open_dump(p.rows.dump, columns=values)
    given = cm.Directions([f"c{k}" for k in range(p.k)], p.u)

    def build() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of random values; the report keeps them as notes
            return cm.report(dump, constitutions=given, values=list(values), kl=REPORT_KL, sections=["cone"])

    return build


def _whole(bench: Bench, cell: Cell) -> Record:
    """Scores alone over a tilt from rows."""
    problem = Problem("fused", bench.rows(cell), cell.k)
    mine, scores = _whole_tilt(problem), ours.score_into(problem, None)
    result = mine()
    scores()
    seconds = bench.rounds({"ours": mine, "scores": scores}, {}).seconds
    error = exact.gain_error(problem, 0, float(result.betas[0, -1]), result.gain[0, -1])
    return {
        "seconds": seconds["ours"], "whole": ratios(seconds["scores"], seconds["ours"]), "error": error,
        "tolerance": 1.0, "checked": bool(error <= 1),
    }  # fmt: skip


def _report(bench: Bench, cell: Cell) -> Record:
    """Two passes of scores and a second, over the time of a report; once where that is less than half."""
    problem = Problem("fused", bench.rows(cell), cell.k)
    mine, scores = _report_call(problem), ours.score_into(problem, None)
    scores()
    seconds, result = once(mine)
    allowed = REPORT_PASSES * once(scores)[0] + REPORT_SECONDS
    t, last = result.tilt, len(REPORT_KL) - 1
    error = exact.gain_error(problem, 0, float(t.betas[0, last]), t.gain[0, last, :3])
    found: Record = {"error": error, "tolerance": 1.0, "checked": bool(error <= 1)}
    if allowed < seconds / 2 or bench.pairs < LEAST:  # too slow for rounds; a quick look wants none
        ratio = allowed / seconds
        return found | {"seconds": [seconds], "parts": [ratio] if bench.pairs < LEAST else ratio}
    rounds = bench.rounds({"ours": mine, "scores": scores}, {})
    each = [REPORT_PASSES * s + REPORT_SECONDS for s in rounds.seconds["scores"]]
    return found | {"seconds": rounds.seconds["ours"], "parts": ratios(each, rounds.seconds["ours"])}


def _import(bench: Bench, cell: Cell) -> Record:
    excess = small.import_seconds(bench.pairs)
    return {"seconds": excess, "allowed": [small.IMPORT_SECONDS / max(s, 1e-9) for s in excess]}


def _first(bench: Bench, cell: Cell) -> Record:
    path = bench.files.file(cell.dtype, cell.n, cell.d)
    seconds = small.first_answer_seconds(path, cell.k, bench.pairs, cell.d)
    return {"seconds": seconds, "allowed": [small.FIRST_SECONDS / s for s in seconds]}


def _memory(bench: Bench, cell: Cell) -> Record:
    path = bench.files.file(cell.dtype, cell.n, cell.d)
    peak, allowed = small.peak_bytes(cell.kernel, path, cell.n, cell.d, cell.k)
    return {"bytes": peak, "allowed_bytes": allowed, "allowed": allowed / peak}


_HOW: dict[str, Callable[[Bench, Cell], Record]] = {
    "peers": _with_peers, "parts": _parts, "extras": _extras, "odd": _odd, "threads": _threads, "growth": _growth,
    "accuracy": _accuracy, "import": _import, "first": _first, "memory": _memory, "report": _report, "whole": _whole,
}  # fmt: skip

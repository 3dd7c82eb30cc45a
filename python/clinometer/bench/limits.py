"""What this machine can do, probed in the same rounds as the calls that are compared with it."""

from __future__ import annotations

import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import numpy as np

from clinometer import _core

from .pairs import Rounds, ratios
from .problem import Problem, Work
from .rows import SHORT, Rows

__all__ = ["RESOURCES", "Limits", "limit_key", "limit_seconds", "machine", "names", "share", "undisturbed"]

RESOURCES = ("read", "fma", "exp")
STREAMS = (1, 4, 8)
Probe = Callable[[], float]


def names(work: Work, stored: bool) -> tuple[str, ...]:
    """The resources that can bind: reading where rows are stored, exponentials where there are any."""
    return tuple(r for r, used in zip(RESOURCES, (stored, work.n_flops > 0, work.n_exps > 0), strict=True) if used)


def limit_seconds(work: Work, rates: dict[str, float]) -> tuple[float, str]:
    """The least time the work can take, as if reading, flops and exponentials overlapped, and which of them binds."""
    need = {"read": work.n_bytes, "fma": work.n_flops, "exp": work.n_exps}
    return max((need[name] / rate, name) for name, rate in rates.items())


def limit_key(resource: str, rows: Rows) -> str:
    """What a rate holds for: reading for one file, multiply-adds for one dtype (some are multiplied by units of their
    own, whose rate is no limit of the others), exponentials for the machine.
    """
    if resource == "read":
        return f"read {SHORT[rows.dtype]} n={rows.n} d={rows.d}"
    return f"fma {SHORT[rows.dtype]}" if resource == "fma" else resource


def undisturbed(rates: list[float]) -> list[float]:
    """The rate of each round, but no less than their upper quartile: a probe that something disturbed flatters us.

    >>> undisturbed([4.0, 1.0, 5.0, 4.0])
    [4.25, 4.25, 5.0, 4.25]
    """
    least = float(np.quantile(rates, 0.75))
    return [max(rate, least) for rate in rates]


def share(problem: Problem, rounds: Rounds, seconds: list[float]) -> dict[str, Any]:
    """Share of the limit in each round; the probes ran in the same one."""
    lifted = {name: undisturbed(rates) for name, rates in rounds.rates.items()}
    each = [dict(zip(lifted, rates, strict=True)) for rates in zip(*lifted.values(), strict=True)]
    bound = [limit_seconds(problem.work, rates) for rates in each]
    by = max({name for _, name in bound}, key=[name for _, name in bound].count)
    return {
        "rates": rounds.rates, "limit_by": by, "limit_key": limit_key(by, problem.rows),
        "work": asdict(problem.work), "limit": ratios([s for s, _ in bound], seconds),
    }  # fmt: skip


def machine(threads: int) -> dict[str, Any]:
    """CPU, threads and versions: what times depend on."""
    return {
        "cpu": _cpu(), "cores": os.cpu_count(), "threads": threads, "isa": _core.isa(),
        "system": f"{platform.system()} {platform.machine()}", "python": platform.python_version(),
        "numpy": np.__version__, "date": time.strftime("%Y-%m-%d"),
    }  # fmt: skip


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


class Limits:
    """For each resource the fastest of several probes: that one then takes part in the rounds.

    `settings` holds the rate of every probe tried, for the report. `effort` scales how long a probe of flops or
    exponentials runs: 1 is about 25 ms.
    """

    def __init__(self, threads: int, effort: float = 1.0) -> None:
        self.threads = threads
        self.settings: dict[str, dict[str, float]] = {}
        self._effort = effort
        self._pool = ThreadPoolExecutor(threads)
        self._chosen: dict[str, str] = {}

    def probes(self, resources: tuple[str, ...], rows: Rows) -> dict[str, Probe]:
        """One call a resource that returns a rate per second; reading is probed on the file of these rows."""
        out = {}
        for resource in resources:
            found = self._all(resource, rows)
            key = limit_key(resource, rows)
            if key not in self._chosen or self._chosen[key] not in found:
                self.settings[key] = {name: max(probe(), probe(), probe()) for name, probe in found.items()}
                self._chosen[key] = max(found, key=self.settings[key].__getitem__)
            out[resource] = found[self._chosen[key]]
        return out

    def _all(self, resource: str, rows: Rows) -> dict[str, Probe]:
        counts = sorted({1, self.threads})
        if resource == "read":
            return self._reading(rows, counts)
        if resource == "fma":
            return {_label(t): lambda t=t: _core.probe_fma(3 * self._effort, t) for t in counts}  # type: ignore[misc]
        return {_label(t): lambda t=t: _core.probe_exp(120 * self._effort, t) for t in counts}  # type: ignore[misc]

    def _reading(self, rows: Rows, counts: list[int]) -> dict[str, Probe]:
        found: dict[str, Probe] = {
            f"{s} streams, {_label(t)}": lambda s=s, t=t: rows.n_bytes / _core.probe_read(rows.stored, s, t)  # type: ignore[misc]
            for s in STREAMS for t in counts
        }  # fmt: skip
        words = self._words(rows)
        if words is not None:
            pieces = np.array_split(words, self.threads)
            found["numpy.sum"] = lambda: _rate(rows, lambda: list(self._pool.map(_sum, pieces)))
            torch = sys.modules.get("torch")  # where it is a peer
            if torch is not None:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # the map is read-only, and nothing here writes
                    tensor = torch.from_numpy(words)
                found["torch.sum"] = lambda: _rate(rows, tensor.sum)
        return found

    def _words(self, rows: Rows) -> Any:
        """The rows as one run of f32 words, whatever they mean; None where they are no such run."""
        stored = rows.stored
        if not stored.flags.c_contiguous or stored.nbytes % 4 or stored.ctypes.data % 4:
            return None
        return stored.reshape(-1).view(np.float32)


def _sum(x: Any) -> Any:
    with np.errstate(all="ignore"):  # words of half-precision rows may be anything
        return np.add.reduce(x)


def _rate(rows: Rows, call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return rows.n_bytes / (time.perf_counter() - start)


def _label(threads: int) -> str:
    return f"{threads} thread" + "s" * (threads > 1)

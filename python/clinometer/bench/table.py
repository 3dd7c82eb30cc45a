"""Timed cells as text and as JSON."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _core
from .cases import Case
from .limits import Limits
from .pairs import interval, median

__all__ = ["Timed", "as_json", "machine", "render"]

UNITS = {"read": (1e9, "GB/s"), "float32": (1e9, "GFLOP/s"), "exp": (1e9, "G/s")}
NOTES = """\
best, median: seconds of one call. of limit: max(bytes / bandwidth, flops / peak, exps / exp rate) over the best time.
NumPy / ours: median over the interleaved pairs, in brackets a 95 % interval for it (six pairs or more); above 1
clinometer is the faster. error: of clinometer's timed result and of NumPy's, against float64 on a sample.
BLAS: threads of NumPy's matrix products, one or all, whichever was the faster (- where threadpoolctl is missing and
the environment decides). On a busy machine products on several threads wait for each other.
The peak is a lower bound (the best NumPy matmul); a limit that any timed call beat is raised to that call's rate.
tilt starts from kept scores. tilt_call is the public function from the rows on: it also returns errors, win rates,
ESS, radii and horizons, where NumPy computes gain, KL and log partition only. All rows are in memory.
These are ratios of one run on this machine, and no target is claimed."""


@dataclass
class Timed:
    """One cell with its times and errors."""

    case: Case
    ours: list[float]
    numpy: list[float]
    error: float
    numpy_error: float
    numpy_threads: int | None

    @property
    def ratios(self) -> list[float]:
        return [b / a for a, b in zip(self.ours, self.numpy, strict=True)]

    @property
    def checked(self) -> bool:
        return bool(self.error <= self.case.tolerance)  # False for NaN


def machine(threads: int) -> dict[str, Any]:
    """CPU, threads and versions."""
    return {
        "cpu": _cpu(), "cores": os.cpu_count(), "threads": threads, "isa": _core.isa(),
        "system": f"{platform.system()} {platform.machine()}", "python": platform.python_version(),
        "numpy": np.__version__,
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


def as_json(about: dict[str, Any], limits: Limits, raised: list[str], rows: list[Timed]) -> dict[str, Any]:
    """Everything measured, in seconds and per second."""
    used = {"bandwidth": limits.bandwidth, "flops": limits.flops, "exps": limits.exps}
    return {
        "machine": about,
        "limits": {**limits.by_probe, "used": used, "raised": raised},
        "rows": [_record(t, limits) for t in rows],
    }


def _record(t: Timed, limits: Limits) -> dict[str, Any]:
    c = t.case
    return {
        "kernel": c.kernel, "dtype": c.dtype, "size": c.size, "seconds": t.ours, "numpy_seconds": t.numpy,
        "best": min(t.ours), "median": median(t.ours), "numpy_best": min(t.numpy), "numpy_median": median(t.numpy),
        "of_limit": limits.seconds(c.n_bytes, c.n_flops, c.n_exps) / min(t.ours),
        "ratio": median(t.ratios), "ratio_interval": interval(t.ratios),
        "bytes": c.n_bytes, "flops": c.n_flops, "exps": c.n_exps,
        "error": t.error, "numpy_error": t.numpy_error, "tolerance": c.tolerance, "checked": t.checked,
        "numpy_threads": t.numpy_threads,
    }  # fmt: skip


def render(about: dict[str, Any], limits: Limits, raised: list[str], rows: list[Timed]) -> str:
    """The tables that `clinometer bench` prints."""
    out = [
        f"{about['cpu']}, {about['cores']} cores, {about['threads']} threads, kernels {about['isa']}, "
        f"{about['system']}, Python {about['python']}, NumPy {about['numpy']}",
        f"{about['rows']:,} rows of {about['dim']}, prompts of 16", "", "limits measured in this run",
    ]  # fmt: skip
    for name, rate in limits.by_probe.items():
        scale, unit = UNITS[name.replace(",", " ").split()[0]]
        bound = " (a lower bound of the FMA peak)" if name.startswith("float32") else ""
        out.append(f"  {name:27}{rate / scale:9.2f} {unit}{bound}")
    if raised:
        out.append(f"  raised to a rate seen in a timed call: {', '.join(raised)}")
    out += [
        f"  used: {limits.bandwidth / 1e9:.2f} GB/s, {limits.flops / 1e9:.2f} GFLOP/s, {limits.exps / 1e9:.2f} G exp/s",
        "",
        f"{'kernel':22}{'rows':9}{'size':9}{'best':>9}{'median':>9}{'of limit':>10}{'NumPy best':>11}"
        f"{'NumPy / ours':>21}{'BLAS':>5}{'pairs':>6}{'error':>8}{'NumPy':>8}",
    ]  # fmt: skip
    out += [_line(t, limits) for t in rows]
    return "\n".join([*out, "", NOTES])


def _line(t: Timed, limits: Limits) -> str:
    r = _record(t, limits)
    low_high = r["ratio_interval"]
    spread = f" [{low_high[0]:.2f}, {low_high[1]:.2f}]" if low_high else ""
    ratio = f"{r['ratio']:.2f}{spread}"
    wrong = "" if t.checked else f"  WRONG: above {t.case.tolerance:.0e}"
    return (
        f"{r['kernel']:22}{r['dtype']:9}{r['size']:9}{r['best']:9.5f}{r['median']:9.5f}{r['of_limit']:9.0%} "
        f"{r['numpy_best']:11.5f}{ratio:>21}{t.numpy_threads or '-':>5}{len(t.ours):6}"
        f"{t.error:8.0e}{t.numpy_error:8.0e}{wrong}"
    )

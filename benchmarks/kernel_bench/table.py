"""Records as text."""

from __future__ import annotations

from typing import Any

from clinometer.bench.pairs import median, spread

from .targets import NOT_HERE, Judged, judge, of_limit, raised

__all__ = ["render", "verdicts"]

Json = dict[str, Any]
UNITS = {"read": (1e9, "GB/s"), "fma": (1e9, "GFLOP/s"), "exp": (1e9, "G/s")}
NOTES = """\
best, median: seconds of one call. of limit: the least time the work can take, max(bytes / read bandwidth, flops / FMA
peak, exps / exp rate), over the time taken; the probe of what binds runs in the same round. peer / ours: the fastest
exact peer, each at its fastest setting; above 1 clinometer is the faster. In brackets 95 % intervals for the median.
error: largest error of the timed result against float64, over what the accuracy mode allows: above 1 is WRONG.
A peer marked inexact misses that too and is not counted. Ratios of one run on one machine."""


def render(about: Json, settings: dict[str, dict[str, float]], records: list[Json]) -> str:
    """The tables that `clinometer bench` prints."""
    factors = raised(records)
    parts = [_head(about), _limits(settings, factors)]
    timed = [r for r in records if r["how"] in ("peers", "parts") and "skipped" not in r]
    if timed:
        parts.append("\n".join(["kernels", _KERNELS, *(_kernel(r, factors) for r in timed)]))
    if any(r.get("peers") for r in timed):
        parts.append("\n".join(["peers", _PEERS, *(line for r in timed for line in _peers(r))]))
    parts += [verdicts(judge(records)), _accuracy(records), NOTES]
    return "\n\n".join(parts)


def _head(about: Json) -> str:
    peers = ", ".join(f"{name} {version}" for name, version in about["peers"].items()) or "none"
    out = [
        f"{about['cpu']}, {about['cores']} cores, {about['threads']} threads, kernels {about['isa']}, "
        f"{about['system']}, Python {about['python']}, NumPy {about['numpy']}",
        f"date {about['date']}, commit {about['commit'] or 'unknown'}, sizes {about['setting']}", f"peers: {peers}",
    ]  # fmt: skip
    out += [f"absent: {name}, {why}" for name, why in about["absent"].items()]
    return "\n".join(out)


def _limits(settings: dict[str, dict[str, float]], factors: dict[str, float]) -> str:
    out = ["limits, the fastest probe of each when it was chosen; --json-file keeps them all"]
    for key, probes in settings.items():
        scale, unit = UNITS[key.split()[0]]
        best = max(probes, key=probes.__getitem__)
        raised = f"; raised by {factors[key]:.3f}, since a timed call beat the probes" if key in factors else ""
        out.append(f"  {key:30}{probes[best] / scale:9.1f} {unit:8} {best}{raised}")
    return "\n".join(out)


WIDTH = 62
_KERNELS = (
    f"{'kernel':{WIDTH}}{'best':>9}{'median':>9}{'of limit':>21}{'by':>5}{'peer / ours':>22} {'best peer':12}"
    f"{'pairs':>6}{'error':>7}"
)


def _kernel(r: Json, factors: dict[str, float]) -> str:
    share = r["error"] / r["tolerance"]
    return (
        f"{r['name']:{WIDTH}}{min(r['seconds']):9.5f}{median(r['seconds']):9.5f}{spread(of_limit(r, factors)):>21}"
        f"{r['limit_by']:>5}{spread(r.get('peer', [])):>22} {r.get('best_peer') or '-':12}{len(r['seconds']):6}"
        f"{share:7.0e}{'' if r['checked'] else '  WRONG'}"
    )


_PEERS = f"{'kernel':{WIDTH}}{'peer':10} {'setting':26}{'best':>9}{'/ ours':>8}{'error':>7}"


def _peers(r: Json) -> list[str]:
    out = []
    for p in sorted(r.get("peers", []), key=lambda p: float(min(p.get("rounds", [p["seconds"]])))):
        best = min(p.get("rounds", [p["seconds"]]))
        note = "" if p["checked"] else "  inexact"
        once = "" if "rounds" in p else "  timed once"
        out.append(
            f"{r['name']:{WIDTH}}{p['peer']:10} {p['setting']:26}{best:9.5f}{best / min(r['seconds']):8.2f}"
            f"{p['error'] / p['tolerance']:7.0e}{note}{once}"
        )
    return out + [f"{r['name']:{WIDTH}}{name:10} failed: {why}" for name, why in r.get("failed", {}).items()]


def _accuracy(records: list[Json]) -> str:
    checked = [r for r in records if "checked" in r]
    wrong = [r["name"] for r in checked if not r["checked"]]
    text = f"accuracy modes: hold for {len(checked) - len(wrong)} of {len(checked)} timed results"
    return "\n".join([text, *(f"  WRONG: {name}" for name in wrong)])


def verdicts(judged: list[Judged]) -> str:
    """The targets table."""
    out = ["targets", f"{'row':29}{'cell':{WIDTH}}{'measure':19}{'least':>7}{'figure':>28}  verdict"]
    for j in judged:
        figure = "-" if j.figure is None else f"{j.figure:.3g}"
        if j.low_high:
            figure += f" [{j.low_high[0]:.3g}, {j.low_high[1]:.3g}]"
        out.append(
            f"{j.target.row:29}{j.cell:{WIDTH}}{j.target.measure:19}{j.target.least:7.3g}{figure:>28}  {j.verdict}"
        )
    counted = {word: sum(j.verdict == word for j in judged) for word in ("met", "missed", "not resolved", "WRONG")}
    other = len(judged) - sum(counted.values())
    out.append(", ".join(f"{n} {word}" for word, n in counted.items()) + (f", {other} not measured" if other else ""))
    out.append(f"not measured by this command: {', '.join(NOT_HERE)}")
    return "\n".join(out)
